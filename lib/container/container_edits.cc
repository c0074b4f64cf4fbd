#include "lib/container/container_edits.h"

#include <vector>

#include "lib/base/status.h"
#include "lib/cdi/cdi_devices.h"
#include "lib/cdi/device_name.h"

namespace berth::container {

absl::StatusOr<model::ContainerEdits> EditsFor(const NodeSetup& node,
                                               const model::ContainerSpec& container,
                                               const model::SandboxSpec& pod,
                                               const std::string& command) {
  ASSIGN_OR_RETURN(const std::vector<std::string> devices,
                   cdi::RequestedDevices(container.cdi_devices, container.annotations));
  ASSIGN_OR_RETURN(model::ContainerEdits edits, cdi::LookUpDevices(node.cdi_spec_dirs, devices));
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
