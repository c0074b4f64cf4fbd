// BuildContainerSpec: request + pod + image + node -> the OCI runtime's config.json.
//
// A pure function: what it needs from the file system or from lib/security comes in as values, what
// must be done outside comes out as values. The order of work for one container:
//   ResolveUser, PasswdWithUser        (user.h)           who the process is
//   PrepareMountSources                (mount_sources.h)  makes and resolves bind sources
//   ResolveDevices, ListHostDevices    (devices.h, node_facts.h)
//   PrepareEdits                       (edits.h)          looks up what CDI devices name
//   security::GrantCapabilities, security::SeccompPolicy  as values into SpecInputs
//   BuildContainerSpec                                    pure
//   PrepareRootfs                      (rootfs.h)         makes SpecOutput::rootfs_dirs
//
// Errors: kInvalidArgument: the request contradicts itself or cannot be met here, naming the field.
// Nothing is ignored silently: what is met only in part (clamped) is in SpecOutput::warnings.
// Threads: pure. Limits: those of the request, and of process.h.
// Source: OCI runtime-spec 1.0.2 config.md, config-linux.md; CRI v1 ContainerConfig.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/container.h"
#include "lib/model/edits.h"
#include "lib/model/sandbox.h"
#include "lib/oci/image.h"
#include "lib/spec/devices.h"
#include "lib/spec/node_facts.h"
#include "lib/spec/process.h"

namespace berth::spec {

// Files of namespaces to join. Empty: net, ipc, uts, user: the host's is used; pid: see
// SpecInputs::namespaces.
struct NamespacePaths {
  std::string net, ipc, uts, pid, user;
};

// The pod's files that are mounted into its containers, by host path. Empty: not mounted.
struct PodFiles {
  std::string resolv_conf;   // on /etc/resolv.conf
  std::string hostname;      // on /etc/hostname
  std::string hosts;         // on /etc/hosts, where the request mounts nothing there
  std::string shm;           // directory, on /dev/shm
  std::string containerenv;  // on /run/.containerenv
};

// What the chosen OCI runtime and this kernel can do together.
struct RuntimeAbilities {
  // Mount option "rro" (runc >= 1.1, crun >= 1.4; Linux >= 5.12).
  bool recursive_readonly_mounts = false;
};

struct SpecInputs {
  // Borrowed for the call. The mounts are prepared: each one's host_path is what to mount, also
  // that of an image; ids are mapped there already, if at all.
  const model::ContainerSpec& container;
  const model::SandboxRecord& sandbox;
  const oci::ImageConfig& image;
  const NodeFacts& node;

  std::string container_id;
  std::string image_id;      // 64 hex; for an annotation
  std::string rootfs_path;   // absolute
  std::string cgroups_path;  // as lib/cgroup makes it
  bool systemd_cgroup = false;
  std::string service_unit =
      "berthd.service";  // containers' scopes are ordered after it (systemd_cgroup)

  model::ContainerUser user;  // ResolveUser's
  std::string passwd_path;  // host file with PasswdWithUser's text, mounted on /etc/passwd; empty:
                            // not needed

  // net, ipc, uts, user follow the pod. pid follows the container's own mode: kPod joins `pid` (the
  // host's when the pod uses that; a new one, with a warning, when the pod shares none and `pid` is
  // empty), kTarget joins `pid`, kContainer makes a new one, kNode uses the host's.
  NamespacePaths namespaces;
  PodFiles pod_files;
  // PrepareEdits(edits), then ResolveDevices(container.devices): the first one on a
  // path counts.
  std::vector<Device> devices;
  std::vector<HostDevice> host_devices;  // ListHostDevices("/dev"); used when privileged

  // From CDI devices, OCI hooks and classes. Variables and mounts replace what the request says of
  // the same name or place. `devices` and `additional_gids` are not looked at: the first are above,
  // the second belong into `user`.
  model::ContainerEdits edits;

  // From lib/security, e.g. "CAP_CHOWN".
  std::vector<std::string> capabilities;          // bounding, permitted and effective
  std::vector<std::string> ambient_capabilities;  // ambient and inheritable
  std::string seccomp_json;                       // text of linux.seccomp; empty: none
  std::string
      apparmor_profile;  // empty: none; one that was named holds for privileged containers too
  std::string process_selinux_label, mount_selinux_label;

  // From the configuration.
  std::vector<std::string> default_env;  // "K=V"
  std::vector<Ulimit> default_ulimits;
  // Annotations that OCI runtimes act upon and that this handler lets through: exact keys, or
  // "prefix*".
  std::vector<std::string> allowed_annotations;
  bool privileged_without_host_devices = false;
  // Whether annotations that ask for a class have been looked at.
  bool has_blockio_classes = false, has_rdt_classes = false;
  bool exec_on_first_cpu = false;  // of resources.cpuset_cpus, where that is set
  RuntimeAbilities abilities;
  int64_t min_memory_bytes = 0;  // smallest memory limit accepted
  int64_t pids_limit = 0;        // 0: none
  // Directories of the daemon (its root and state): a private mount that contains one gets rslave,
  // so that layers mounted later are not held busy by it.
  std::vector<std::string> daemon_dirs;
};

struct SpecOutput {
  std::string config_json;   // the bundle's config.json
  std::string process_json;  // its `process` alone: what BuildProcessJson takes for exec
  // Directories to make inside the rootfs (0755, symlinks resolved inside): the cwd and the image's
  // volumes.
  std::vector<std::string> rootfs_dirs;
  std::vector<std::string> warnings;  // for the log, lower case: what was clamped or left out
};

absl::StatusOr<SpecOutput> BuildContainerSpec(const SpecInputs& inputs);

}  // namespace berth::spec
