#include "lib/container/container_edits.h"

#include <vector>

#include "lib/base/status.h"
#include "lib/cdi/cdi_devices.h"
#include "lib/cdi/device_name.h"
#include "lib/qos/class_names.h"
#include "lib/qos/rdt.h"

namespace berth::container {
namespace {

// A CDI device that brings its own RDT group knows better.
absl::Status AddClasses(const NodeSetup& node, const model::ContainerSpec& container,
                        const model::SandboxSpec& pod, model::ContainerEdits& edits) {
  const auto wanted = [&](std::string_view kind) {
    return qos::ClassOf(kind, container.name, container.annotations, pod.annotations);
  };
  if (const std::string name = wanted("blockio"); node.blockio && !name.empty()) {
    ASSIGN_OR_RETURN(edits.block_io, node.blockio->Resolve(name));
  }
  if (const std::string name = wanted("rdt"); node.rdt && !name.empty() && !edits.intel_rdt) {
    ASSIGN_OR_RETURN(edits.intel_rdt, qos::RdtClass(name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<model::ContainerEdits> EditsFor(const NodeSetup& node,
                                               const model::ContainerSpec& container,
                                               const model::SandboxSpec& pod,
                                               const std::string& command) {
  ASSIGN_OR_RETURN(const std::vector<std::string> devices,
                   cdi::RequestedDevices(container.cdi_devices, container.annotations));
  ASSIGN_OR_RETURN(model::ContainerEdits edits, cdi::LookUpDevices(node.cdi_spec_dirs, devices));
  RETURN_IF_ERROR(AddClasses(node, container, pod, edits));
  hooks::HookQuery query = {.annotations = container.annotations,
                            .command = command,
                            .has_bind_mounts = !container.mounts.empty()};
  query.annotations.insert(pod.annotations.begin(), pod.annotations.end());
  for (auto& [stage, hooks] : node.hooks->Matching(query)) {
    std::vector<model::Hook>& all = edits.hooks[stage];
    all.insert(all.end(), hooks.begin(), hooks.end());
  }
  return edits;
}

}  // namespace berth::container
