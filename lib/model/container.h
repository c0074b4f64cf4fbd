// Containers: what was asked for (ContainerSpec, unchanged after creation except `resources`) and
// what became of it.
//
//   CREATING --runtime create--> CREATED --runtime start--> RUNNING --exit--> EXITED
//   --RemoveContainer--> (gone)
//
// State is derived from facts: times, the exit record, whether the monitor lives. Times are ns
// since the epoch, 0: not yet.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/ids.h"
#include "lib/model/security.h"

namespace berth::model {

enum class MountPropagation { kPrivate = 0, kHostToContainer = 1, kBidirectional = 2 };

struct MountSpec {
  std::string container_path, host_path;
  bool readonly = false;
  bool recursive_readonly = false;
  bool selinux_relabel = false;
  MountPropagation propagation = MountPropagation::kPrivate;
  std::vector<IdMapping> uid_mappings, gid_mappings;
  std::string image;  // CRI Mount.image: mount this image instead of host_path
  std::string image_sub_path;
  std::vector<std::string> options;
};

struct DeviceSpec {
  std::string container_path, host_path, permissions;
};

struct ContainerSecurity {
  bool privileged = false;
  std::vector<std::string> add_capabilities, drop_capabilities, add_ambient_capabilities;
  NamespaceOptions namespaces;
  SelinuxOptions selinux;
  std::optional<int64_t> run_as_user, run_as_group;
  std::string run_as_username;
  bool readonly_rootfs = false;
  std::vector<int64_t> supplemental_groups;
  SupplementalGroupsPolicy supplemental_groups_policy = SupplementalGroupsPolicy::kMerge;
  bool no_new_privs = false;
  std::vector<std::string> masked_paths, readonly_paths;
  std::optional<SecurityProfile> seccomp, apparmor;
};

struct EnvVar {
  std::string key, value;  // value: bytes
};

struct ContainerSpec {
  std::string name;  // CRI v1 ContainerMetadata
  uint32_t attempt = 0;

  std::string image;  // ImageSpec.image: what CreateContainer was told (usually an image id)
  std::string user_specified_image;  // what the pod's author wrote
  std::map<std::string, std::string> image_annotations;
  std::vector<std::string> command, args;
  std::string working_dir;
  std::vector<EnvVar> envs;
  std::vector<MountSpec> mounts;
  std::vector<DeviceSpec> devices;
  std::vector<std::string> cdi_devices;
  std::map<std::string, std::string> labels, annotations;
  std::string log_path;  // relative to the sandbox's log_directory; empty: no log
  bool stdin_open = false, stdin_once = false, tty = false;
  int stop_signal = 0;  // kernel number; 0: the image's or SIGTERM
  Resources resources;
  ContainerSecurity security;
};

// Who the first process runs as, resolved against the container's own /etc/passwd and /etc/group.
struct ContainerUser {
  int64_t uid = 0, gid = 0;
  std::vector<int64_t> supplemental_groups;
  std::string home;
};

// What a change of resources that is under way has touched, as it was: how to undo it.
struct ResourceUndo {
  std::map<std::string, std::string> files;  // cgroup::LimitValues
  int32_t old_oom_score_adj = 0, new_oom_score_adj = 0;
};

enum class ContainerState { kCreating, kCreated, kRunning, kExited };

struct ContainerRecord {
  ContainerId id;
  SandboxId sandbox_id;
  std::string full_name;  // `k8s_<ctr>_<pod>_<ns>_<uid>_<attempt>`: unique on the node
  ContainerSpec spec;
  std::string runtime_handler;  // the name in effect
  std::string image_id;         // 64 hex
  std::vector<int64_t> layers;  // layer numbers, top first: what keeps them from being collected
  std::vector<int64_t>
      volume_layers;  // those of image volumes, of all of them, for the same reason
  ContainerUser user;
  std::string log_path;  // absolute; empty: none
  int stop_signal = 15;  // the one in effect, kernel number
  int64_t created_ns = 0, started_ns = 0, finished_ns = 0;
  int32_t pid = 0;  // init, in the host's PID namespace
  uint64_t pid_start = 0;
  int32_t monitor_pid = 0;
  uint64_t monitor_start = 0;
  int32_t exit_code = 0;  // valid when finished_ns != 0; 128 + signal for signals
  bool oom_killed = false;
  uint64_t lost_log_bytes = 0;  // output that could not be written to the log; once it has exited
  std::string reason, message;  // CRI ContainerStatus; empty reason: derived from the exit code
  std::string
      cgroup_parent;  // the pod's, as requested: with the id it names the container's cgroup
  std::optional<ResourceUndo> resource_undo;              // while spec.resources is being changed
  std::map<std::string, std::string> update_annotations;  // of all UpdateContainerResources

  ContainerState state() const {
    if (finished_ns != 0) return ContainerState::kExited;
    if (started_ns != 0) return ContainerState::kRunning;
    return created_ns != 0 ? ContainerState::kCreated : ContainerState::kCreating;
  }
};

}  // namespace berth::model
