#include "lib/qos/class_names.h"

#include "fmt/format.h"

namespace berth::qos {

std::string ClassOf(std::string_view kind, const std::string& container_name,
                    const Annotations& container, const Annotations& pod) {
  const auto own = container.find(fmt::format("io.kubernetes.cri.{}-class", kind));
  if (own != container.end()) {
    return own->second;
  }
  const std::string prefix = fmt::format("{}.resources.beta.kubernetes.io/", kind);
  for (const std::string& key : {prefix + "container." + container_name, prefix + "pod"}) {
    if (const auto found = pod.find(key); found != pod.end()) {
      return found->second;
    }
  }
  return std::string();
}

}  // namespace berth::qos
