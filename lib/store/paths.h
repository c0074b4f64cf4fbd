// Every path berth makes, as a function of ids. Nothing else in the tree builds one.
//
//   <root>                       survives a reboot; mode 0700
//     berth.db, -wal             images, layers, names, sandboxes, containers (lib/store/schema.cc)
//     lock                       flock(2): one berthd per root
//     reserve                    only takes up room, until a disk is full (lib/store/disk_reserve.h)
//     import/                    archives being imported; emptied at start
//     probe/                     while berthd tries whether it can make user namespaces
//     layers/<number>/           one unpacked layer; the number is its key in the database and is
//                                never used again
//     recipes/<number>           how to make the layer's tar stream again (archive/layer_recipe.h)
//     trash/                     layers being removed; emptied in the background, and at start
//     containers/<id>/upper      the container's writable layer
//     containers/<id>/work       overlayfs' own
//   <state>                      gone at reboot; mode 0700
//     ns/<sandbox id>/{net,ipc,uts,pid,user}   pinned namespaces (bind mounts)
//     sandboxes/<id>/            resolv.conf, hostname, hosts, containerenv (empty)
//       shm                      a tmpfs, the pod's /dev/shm
//       layers                   with a user namespace: <root>/layers with the pod's ids, read-only
//     containers/<id>/           the OCI bundle: config.json, rootfs (overlay mount), pidfile
//       monitor.sock             the monitor listens here while it lives
//       exit                     the exit record, written once by the monitor
//       crun.XXXXXX              only after a `create` that was killed (lib/runtime/oci_runtime.h)
//       process.json             the container's `process`, what an exec session starts from
//       passwd                   /etc/passwd with a line for the container's user, where it needs one
//       volumes/<number>         what the request's mount of this number shows, where it is no path of
//                                the node: an image volume (read-only), or a path with mapped ids
//     tmp/                       of the runtime calls that berthd makes itself; emptied at start
//     runtime-probes.json        what the OCI runtimes said of themselves (lib/runtime/probe_cache.h)
//     apparmor-profile           the text of the AppArmor profile that berthd loaded last
//
// Threads: immutable after construction.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "lib/model/ids.h"

namespace berth::store {

class Paths {
 public:
  // Both absolute, without a final slash.
  Paths(std::string root, std::string state) : root_(std::move(root)), state_(std::move(state)) {}

  const std::string& root() const { return root_; }
  const std::string& state() const { return state_; }

  std::string Database() const { return root_ + "/berth.db"; }
  std::string Lock() const { return root_ + "/lock"; }
  std::string Reserve() const { return root_ + "/reserve"; }
  std::string Import() const { return root_ + "/import"; }
  std::string Probe() const { return root_ + "/probe"; }
  std::string Layers() const { return root_ + "/layers"; }
  std::string Layer(int64_t number) const { return Layers() + "/" + std::to_string(number); }
  std::string Recipes() const { return root_ + "/recipes"; }
  std::string Recipe(int64_t number) const { return Recipes() + "/" + std::to_string(number); }
  std::string Trash() const { return root_ + "/trash"; }
  std::string ContainersRoot() const { return root_ + "/containers"; }
  std::string ContainerRoot(const model::ContainerId& id) const {
    return ContainersRoot() + "/" + id.value();
  }
  std::string Upper(const model::ContainerId& id) const { return ContainerRoot(id) + "/upper"; }
  std::string Work(const model::ContainerId& id) const { return ContainerRoot(id) + "/work"; }

  std::string Temporary() const { return state_ + "/tmp"; }
  std::string RuntimeProbes() const { return state_ + "/runtime-probes.json"; }
  std::string ApparmorProfile() const { return state_ + "/apparmor-profile"; }
  std::string NamespacesState() const { return state_ + "/ns"; }
  std::string Namespaces(const model::SandboxId& id) const {
    return NamespacesState() + "/" + id.value();
  }
  // kind: net, ipc, uts, pid or user.
  std::string Namespace(const model::SandboxId& id, std::string_view kind) const {
    return Namespaces(id) + "/" + std::string(kind);
  }
  std::string SandboxesState() const { return state_ + "/sandboxes"; }
  std::string SandboxState(const model::SandboxId& id) const {
    return SandboxesState() + "/" + id.value();
  }
  std::string ResolvConf(const model::SandboxId& id) const {
    return SandboxState(id) + "/resolv.conf";
  }
  std::string Hostname(const model::SandboxId& id) const { return SandboxState(id) + "/hostname"; }
  std::string Containerenv(const model::SandboxId& id) const {
    return SandboxState(id) + "/containerenv";
  }
  std::string Hosts(const model::SandboxId& id) const { return SandboxState(id) + "/hosts"; }
  std::string Shm(const model::SandboxId& id) const { return SandboxState(id) + "/shm"; }
  std::string LayersView(const model::SandboxId& id) const { return SandboxState(id) + "/layers"; }
  std::string ContainersState() const { return state_ + "/containers"; }
  std::string Bundle(const model::ContainerId& id) const {
    return ContainersState() + "/" + id.value();
  }
  std::string BundleConfig(const model::ContainerId& id) const {
    return Bundle(id) + "/config.json";
  }
  std::string BundleProcess(const model::ContainerId& id) const {
    return Bundle(id) + "/process.json";
  }
  std::string BundlePasswd(const model::ContainerId& id) const { return Bundle(id) + "/passwd"; }
  std::string Rootfs(const model::ContainerId& id) const { return Bundle(id) + "/rootfs"; }
  // `mount`: the index in the request's list of mounts.
  std::string Volume(const model::ContainerId& id, size_t mount) const {
    return Bundle(id) + "/volumes/" + std::to_string(mount);
  }
  std::string MonitorSocket(const model::ContainerId& id) const {
    return Bundle(id) + "/monitor.sock";
  }
  std::string ExitRecord(const model::ContainerId& id) const { return Bundle(id) + "/exit"; }

 private:
  std::string root_;
  std::string state_;
};

// The path of a container's log: log_directory and log_path joined, refused (kInvalidArgument) when
// log_path is absolute or leaves the directory. Empty when either is empty.
absl::StatusOr<std::string> LogPath(const std::string& log_directory, const std::string& log_path);

}  // namespace berth::store
