// MatrixWorld: what a kubelet asks for in an ordinary pod (burstable, systemd, cgroup v2), and the
// steps from there to the OCI spec in the order that lib/container takes them. Rows of
// matrix_rows.h change one thing each.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "lib/cgroup/cgroup_path.h"
#include "lib/security/apparmor.h"
#include "lib/spec/container_spec.h"

namespace berth::spec {

struct MatrixWorld {
  MatrixWorld();

  // {"config", "passwd", "rootfs_dirs", "warnings"}. `root`: a root file system with the users
  // "root" and "app" (see kMatrixPasswd), and at /sys what a kernel with AppArmor shows.
  absl::StatusOr<nlohmann::json> Build(const std::string& root);

  model::ContainerSpec container;
  model::SandboxRecord sandbox;
  oci::ImageConfig image;
  NodeFacts node;
  model::ContainerEdits edits;
  std::vector<Device> devices;  // as ResolveDevices finds them
  std::string target_pid;       // namespace of the container that is the target, or the pod's
  cgroup::Driver driver = cgroup::Driver::kSystemd;
  bool apparmor = false, selinux = false;  // in use on this node
  // What the node's and the handler's configuration say.
  std::function<void(SpecInputs&)> configure = [](SpecInputs&) {};

 private:
  absl::Status Confine(const std::string& root, SpecInputs& inputs) const;
  NamespacePaths Namespaces() const;
};

inline constexpr char kMatrixPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:\n";
inline constexpr char kMatrixGroup[] = "root:x:0:\napp:x:1001:\nstaff:x:50:app\nweb:x:80:\n";

}  // namespace berth::spec
