// The classes of disk use (blockio) and of cache and memory bandwidth (RDT) that annotations ask
// for.
//
// Threads: pure. Source: containerd's and CRI-O's annotations, in the order in which they count:
//   io.kubernetes.cri.KIND-class                       of the container
//   KIND.resources.beta.kubernetes.io/container.NAME   of the pod, NAME the container's
//   KIND.resources.beta.kubernetes.io/pod              of the pod
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace berth::qos {

using Annotations = std::map<std::string, std::string>;

// kind: "blockio" or "rdt". Empty: none asked for.
std::string ClassOf(std::string_view kind, const std::string& container_name,
                    const Annotations& container, const Annotations& pod);

}  // namespace berth::qos
