#include <utility>

#include "lib/spec/testing/matrix_rows.h"

namespace berth::spec {
namespace {

using Row = MatrixRow;
using Rows = MatrixRows;
using World = MatrixWorld;
using model::MountPropagation;

Row Mount(const char* name, std::function<void(model::MountSpec&)> change) {
  return {name, [change = std::move(change)](World& w) {
            model::MountSpec mount{.container_path = "/data", .host_path = "/mnt/data"};
            change(mount);
            w.container.mounts.push_back(std::move(mount));
          }};
}

Row MountOn(const char* name, std::string path) {
  return Mount(name, [=](model::MountSpec& m) { m.container_path = path; });
}

Rows MountRows() {
  using P = MountPropagation;
  return {
      Mount("mount", [](model::MountSpec&) {}),
      Mount("mount_readonly", [](model::MountSpec& m) { m.readonly = true; }),
      Mount("mount_recursive_readonly",
            [](model::MountSpec& m) { m.readonly = m.recursive_readonly = true; }),
      Mount("mount_host_to_container",
            [](model::MountSpec& m) { m.propagation = P::kHostToContainer; }),
      Mount("mount_bidirectional", [](model::MountSpec& m) { m.propagation = P::kBidirectional; }),
      {"mount_bidirectional_then_host_to_container",
       [](World& w) {
         w.container.mounts.push_back(
             {.container_path = "/a", .host_path = "/mnt/a", .propagation = P::kBidirectional});
         w.container.mounts.push_back(
             {.container_path = "/b", .host_path = "/mnt/b", .propagation = P::kHostToContainer});
       }},
      Mount("mount_with_options",
            [](model::MountSpec& m) {
              m.options = {"noexec", "nosuid", "nodev", "noatime"};
            }),
      Mount("mount_of_root_of_node", [](model::MountSpec& m) { m.host_path = "/"; }),
      Mount("mount_of_unclean_paths",
            [](model::MountSpec& m) {
              m.host_path = "/mnt//data/.";
              m.container_path = "/data/x/..";
            }),
      Mount("mount_image", [](model::MountSpec& m) { m.image = "model:1"; }),
      {"mount_image + readonly", [](World& w) { w.container.mounts.back().readonly = true; }},
      {"user_namespace + mount_idmapped",
       [](World& w) {
         w.container.mounts.push_back({.container_path = "/data",
                                       .host_path = "/run/berth/containers/c/volumes/0",
                                       .uid_mappings = {{100000, 0, 65536}},
                                       .gid_mappings = {{100000, 0, 65536}}});
       }},
      {"mounts_are_sorted_by_depth",
       [](World& w) {
         w.container.mounts.push_back({.container_path = "/a/b/c", .host_path = "/mnt/1"});
         w.container.mounts.push_back({.container_path = "/a/b", .host_path = "/mnt/2"});
         w.container.mounts.push_back({.container_path = "/a", .host_path = "/mnt/3"});
       }},
      {"mounts_twice_on_one_place",
       [](World& w) {
         w.container.mounts.push_back({.container_path = "/a", .host_path = "/mnt/1"});
         w.container.mounts.push_back({.container_path = "/a", .host_path = "/mnt/2"});
       }},
      MountOn("mount_on_dev_shm", "/dev/shm"),
      MountOn("mount_on_dev", "/dev"),
      MountOn("mount_on_sys", "/sys"),
      MountOn("mount_on_sys_fs_cgroup", "/sys/fs/cgroup"),
      MountOn("mount_on_run", "/run"),
      MountOn("mount_on_proc", "/proc"),
      MountOn("mount_on_etc", "/etc"),
      MountOn("mount_on_resolv_conf", "/etc/resolv.conf"),
      MountOn("mount_on_hostname", "/etc/hostname"),
      {"no_mounts", [](World& w) { w.container.mounts.clear(); }},
  };
}

// What a CDI device or an OCI hook brings, and devices of the request.
Rows DeviceRows() {
  const auto kvm = [](std::string inside, std::string access) {
    return Device{.host = {.path = "/dev/kvm", .major = 10, .minor = 232, .mode = 0660, .gid = 104},
                  .container_path = std::move(inside),
                  .access = std::move(access)};
  };
  const auto cdi = [](std::string path) {
    return model::DeviceEdit{.container_path = std::move(path),
                             .host_path = "",
                             .type = 'c',
                             .major = 195,
                             .minor = 3,
                             .mode = 0600,
                             .uid = {},
                             .gid = {},
                             .access = "rw"};
  };
  return {
      {"device", [=](World& w) { w.devices = {kvm("/dev/kvm", "rwm")}; }},
      {"device_elsewhere", [=](World& w) { w.devices = {kvm("/dev/virt", "r")}; }},
      {"device_twice_on_one_place",
       [=](World& w) {
         w.devices = {kvm("/dev/kvm", "r"), kvm("/dev/kvm", "rw")};
       }},
      {"device_block",
       [](World& w) {
         w.devices = {{.host = {.path = "/dev/sda", .type = 'b', .major = 8, .mode = 0600},
                       .container_path = "/dev/disk",
                       .access = "rw"}};
       }},
      {"user_namespace + device", [=](World& w) { w.devices = {kvm("/dev/virt", "rw")}; }},
      {"cdi_device", [=](World& w) { w.edits.devices = {cdi("/dev/berth-test0")}; }},
      {"run_as_user_known + cdi_device",
       [=](World& w) { w.edits.devices = {cdi("/dev/berth-test0")}; }},
      {"cdi_device_over_device_of_request",
       [=](World& w) {
         w.devices = {kvm("/dev/berth-test0", "r")};
         w.edits.devices = {cdi("/dev/berth-test0")};
       }},
      {"privileged + cdi_device", [=](World& w) { w.edits.devices = {cdi("/dev/berth-test0")}; }},
      {"cdi_env",
       [](World& w) {
         w.edits.env = {"LANG=cdi", "NEW=1", "KUBERNETES_SERVICE_HOST=cdi"};
       }},
      {"cdi_mounts",
       [](World& w) {
         w.edits.mounts = {{"/proc/version", "/etc/resolv.conf", "", {"ro"}},
                           {"/proc/version", "/opt/driver/version", "none", {"bind", "nosuid"}},
                           {"tmpfs", "/scratch", "tmpfs", {"size=1m"}}};
       }},
      {"cdi_groups",
       [](World& w) {
         w.edits.additional_gids = {44, 0};
       }},
      {"cdi_and_oci_hooks",
       [](World& w) {
         w.edits.hooks = {
             {"createContainer", {{"/usr/bin/ldconfig", {"ldconfig", "-r"}, {"A=B"}, 5}}},
             {"poststop", {{"/usr/bin/a", {}, {}, 0}, {"/usr/bin/b", {}, {}, 0}}}};
       }},
      {"rdt_class",
       [](World& w) {
         // Past PrepareEdits, which wants resctrl on the machine.
         w.configure = [](SpecInputs& i) {
           i.edits.intel_rdt = model::IntelRdt{.clos_id = "gold",
                                               .l3_cache_schema = "",
                                               .mem_bw_schema = "",
                                               .enable_cmt = false,
                                               .enable_mbm = false};
         };
       }},
      {"blockio_class",
       [](World& w) {
         w.edits.block_io = model::BlockIo{
             70, {{8, 0, 50, 1000, 2000, 30, 40}, {.major = 8, .minor = 16, .write_bps = 5}}};
       }},
  };
}

}  // namespace

Rows MountAndDeviceRows() { return Together({MountRows(), DeviceRows()}); }

}  // namespace berth::spec
