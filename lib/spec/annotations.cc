#include "lib/spec/annotations.h"

#include <algorithm>
#include <string_view>

#include "fmt/format.h"

namespace berth::spec {
namespace {

using Annotations = std::map<std::string, std::string>;

bool HasPrefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool HasAnyPrefix(std::string_view key, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return HasPrefix(key, prefix); });
}

// What an OCI runtime or one of its hooks takes for an order.
bool IsRuntimeOrder(std::string_view key) {
  return HasAnyPrefix(
      key, {"org.systemd.property.", "run.oci.", "org.criu.", "io.katacontainers.", "krun.",
            "module.wasm.image/", "dev.gvisor.", "nvidia.cdi.k8s.io/", "cdi.k8s.io/"});
}

// A request for a class of disk use, or of cache and memory bandwidth, where there are none.
bool AsksInVain(std::string_view key, const SpecInputs& inputs) {
  return (!inputs.has_rdt_classes && (key == "io.kubernetes.cri.rdt-class" ||
                                      HasPrefix(key, "rdt.resources.beta.kubernetes.io/"))) ||
         (!inputs.has_blockio_classes && (key == "io.kubernetes.cri.blockio-class" ||
                                          HasPrefix(key, "blockio.resources.beta.kubernetes.io/")));
}

bool IsReserved(std::string_view key) {
  return key == "io.container.manager" || key == "io.kubernetes.cri.container-type" ||
         key == "io.kubernetes.cri.sandbox-id" ||
         HasAnyPrefix(key, {"io.berth.", "io.kubernetes.cri-o."});
}

// An entry admits exactly its key; one that ends in '*' every key that begins so (CVE-2023-6476:
// every entry once was taken for a prefix).
bool IsAllowed(std::string_view key, const std::vector<std::string>& allowed) {
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& entry) {
    const std::string_view view = entry;
    return !view.empty() && view.back() == '*' ? HasPrefix(key, view.substr(0, view.size() - 1))
                                               : key == view;
  });
}

void Merge(const Annotations& from, const SpecInputs& inputs, Annotations& into,
           std::vector<std::string>& warnings) {
  // A container's own CDI annotations come from the kubelet and have been obeyed already; a pod's
  // come from its author, and some OCI runtimes would obey those too.
  const bool is_container = &from == &inputs.container.annotations;
  for (const auto& [key, value] : from) {
    if (IsReserved(key)) {
      continue;
    }
    if (AsksInVain(key, inputs)) {
      warnings.push_back(fmt::format(
          "annotation '{}' has no effect: berthd's configuration has no such classes", key));
    }
    if (IsRuntimeOrder(key) && !IsAllowed(key, inputs.allowed_annotations)) {
      if (is_container && HasPrefix(key, "cdi.k8s.io/")) {
        continue;
      }
      warnings.push_back(
          fmt::format("annotation '{}' is not passed on: the runtime handler's allowed_annotations "
                      "does not list it",
                      key));
      continue;
    }
    into[key] = value;
  }
}

// Only digits go into the unit's property.
void AddSystemdProperties(const SpecInputs& inputs, Annotations& annotations) {
  annotations.emplace("org.systemd.property.DefaultDependencies", "true");
  annotations.emplace("org.systemd.property.After", fmt::format("['{}']", inputs.service_unit));
  const auto period = inputs.container.annotations.find("io.kubernetes.pod.terminationGracePeriod");
  const std::string seconds =
      period == inputs.container.annotations.end() ? std::string() : period->second;
  if (!seconds.empty() && seconds.size() < 10 &&
      seconds.find_first_not_of("0123456789") == std::string::npos) {
    annotations.emplace("org.systemd.property.TimeoutStopUSec",
                        fmt::format("uint64 {}000000", seconds));
  }
}

}  // namespace

Annotations BuildAnnotations(const SpecInputs& inputs, std::vector<std::string>& warnings) {
  const model::SandboxSpec& pod = inputs.sandbox.spec;
  Annotations annotations;
  for (const Annotations* from :
       {&pod.annotations, &inputs.container.labels, &inputs.container.annotations}) {
    Merge(*from, inputs, annotations, warnings);
  }
  if (inputs.systemd_cgroup) {
    AddSystemdProperties(inputs, annotations);
  }
  // Both vocabularies that hooks, kata and gVisor know.
  annotations["io.container.manager"] = "berth";
  annotations["io.kubernetes.cri-o.ContainerType"] = "container";
  annotations["io.kubernetes.cri-o.ContainerID"] = inputs.container_id;
  annotations["io.kubernetes.cri-o.SandboxID"] = inputs.sandbox.id.value();
  annotations["io.kubernetes.cri.container-type"] = "container";
  annotations["io.kubernetes.cri.sandbox-id"] = inputs.sandbox.id.value();
  annotations["io.berth.container-name"] = inputs.container.name;
  annotations["io.berth.image"] = inputs.container.user_specified_image.empty()
                                      ? inputs.container.image
                                      : inputs.container.user_specified_image;
  annotations["io.berth.image-id"] = inputs.image_id;
  annotations["io.berth.pod-name"] = pod.name;
  annotations["io.berth.pod-namespace"] = pod.ns;
  annotations["io.berth.pod-uid"] = pod.uid;
  return annotations;
}

}  // namespace berth::spec
