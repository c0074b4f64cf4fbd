// Golden tests: the spec of each case is compared, as JSON, with testdata/<case>.json. After a
// change that is meant, run the test with BERTH_UPDATE_GOLDEN=1 and review the difference like
// code.
#include "lib/spec/container_spec.h"

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"

namespace berth::spec {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Json = nlohmann::json;
using model::NamespaceMode;

constexpr char kDefaultCaps[] = "CAP_CHOWN";

// A pod and a container as a kubelet would ask for, to be changed by the cases.
struct World {
  World() {
    sandbox.id = model::SandboxId(std::string(64, 'a'));
    sandbox.spec.name = "web";
    sandbox.spec.ns = "shop";
    sandbox.spec.uid = "0c9b6b3e";
    sandbox.spec.namespaces.pid = NamespaceMode::kContainer;
    sandbox.hostname = "web-1";
    container.name = "app";
    container.image = std::string(64, 'f');
    container.user_specified_image = "docker.io/library/app:1";
    container.command = {"/bin/app", "serve"};
    container.security.namespaces.pid = NamespaceMode::kContainer;
    image.env = {"PATH=/bin", "LANG=C.UTF-8"};
    image.entrypoint = {"/entry"};
    image.cmd = {"default"};
    node.has_hugetlb = true;
    node.has_swap_accounting = true;
  }

  SpecInputs Inputs() {
    SpecInputs inputs{.container = container, .sandbox = sandbox, .image = image, .node = node};
    inputs.container_id = std::string(64, 'c');
    inputs.image_id = std::string(64, 'f');
    inputs.rootfs_path = "/run/berth/rootfs";
    inputs.cgroups_path = "/berth/berth-c";
    inputs.user = user;
    inputs.namespaces = {.net = "/run/berth/ns/p/net",
                         .ipc = "/run/berth/ns/p/ipc",
                         .uts = "/run/berth/ns/p/uts",
                         .pid = "",
                         .user = ""};
    inputs.pod_files = {.resolv_conf = "/run/berth/p/resolv.conf",
                        .hostname = "/run/berth/p/hostname",
                        .hosts = "",
                        .shm = "/run/berth/p/shm",
                        .containerenv = "/run/berth/p/containerenv"};
    inputs.capabilities = {kDefaultCaps, "CAP_KILL"};
    inputs.abilities = {.recursive_readonly_mounts = true};
    inputs.daemon_dirs = {"/var/lib/berth", "/run/berth"};
    change(inputs);
    return inputs;
  }
  absl::StatusOr<SpecOutput> Build() { return BuildContainerSpec(Inputs()); }

  model::ContainerSpec container;
  model::SandboxRecord sandbox;
  oci::ImageConfig image;
  NodeFacts node;
  model::ContainerUser user = {.uid = 0, .gid = 0, .supplemental_groups = {0}, .home = "/root"};
  std::function<void(SpecInputs&)> change = [](SpecInputs&) {};
};

void UserNamespace(model::NamespaceOptions& options) {
  options.user = NamespaceMode::kPod;
  options.uids = {{100000, 0, 65536}};
  options.gids = {{200000, 0, 1000}};
}

void InUserNamespace(World& world) {
  UserNamespace(world.sandbox.spec.namespaces);
  world.change = [](SpecInputs& inputs) { inputs.namespaces.user = "/ns/user"; };
}

void Privileged(World& world) {
  world.sandbox.spec.privileged = true;
  world.container.security.privileged = true;
  world.container.security.masked_paths = {"/proc/kcore"};
  world.container.devices = {{"/dev/fuse", "/dev/fuse", "rw"}};
  world.change = [](SpecInputs& inputs) {
    inputs.capabilities = {"CAP_CHOWN", "CAP_SYS_ADMIN"};
    inputs.ambient_capabilities = inputs.capabilities;
    inputs.seccomp_json = R"({"defaultAction":"SCMP_ACT_ERRNO"})";
    inputs.process_selinux_label = "u:r:t:s0";
    inputs.devices = {{.host = {.path = "/dev/fuse", .major = 10, .minor = 229, .mode = 0666},
                       .container_path = "/dev/fuse",
                       .access = "rw"}};
    inputs.host_devices = {{.path = "/dev/fuse", .major = 10, .minor = 229, .mode = 0666},
                           {.path = "/dev/sda",
                            .type = 'b',
                            .major = 8,
                            .minor = 0,
                            .mode = 0660,
                            .uid = 0,
                            .gid = 6}};
  };
}

void HostNamespaces(World& world) {
  world.sandbox.spec.namespaces.network = NamespaceMode::kNode;
  world.sandbox.spec.namespaces.pid = NamespaceMode::kNode;
  world.sandbox.spec.namespaces.ipc = NamespaceMode::kNode;
  world.container.security.namespaces.pid = NamespaceMode::kNode;
  world.change = [](SpecInputs& inputs) {
    inputs.namespaces = {};
    inputs.pod_files.hosts = "/etc/hosts";
  };
}

void Mounts(World& world) {
  using P = model::MountPropagation;
  const auto mount = [&](std::string to, std::string from) -> model::MountSpec& {
    world.container.mounts.push_back(
        {.container_path = std::move(to), .host_path = std::move(from)});
    return world.container.mounts.back();
  };
  mount("/data/deep/er", "/mnt/deep").readonly = true;
  mount("/data/", "/mnt//data/.");
  mount("/etc/hosts", "/var/lib/kubelet/hosts");
  mount("/etc/resolv.conf", "/mnt/resolv.conf");
  mount("/dev/shm", "/mnt/shm");
  mount("/two-way", "/mnt/two-way").propagation = P::kBidirectional;
  mount("/from-host", "/mnt/from-host").propagation = P::kHostToContainer;
  mount("/host", "/");
  model::MountSpec& rro = mount("/rro", "/mnt/rro");
  rro.readonly = rro.recursive_readonly = true;
  mount("/options", "/mnt/options").options = {"noexec", "nosuid"};
  mount("/model", "/run/berth/containers/c/volumes/10/sub").image = "model:1";
  world.change = [](SpecInputs& inputs) {
    inputs.pod_files.hosts = "/etc/hosts";
    inputs.passwd_path = "/run/berth/c/passwd";
  };
}

// What a CDI device and two OCI hooks add.
void Edits(World& world) {
  world.container.envs = {{"MODE", "request"}};
  world.container.devices = {{"/dev/fuse", "/dev/fuse", "rw"}};
  world.container.mounts = {{.container_path = "/data", .host_path = "/mnt/data"},
                            {.container_path = "/lib/driver", .host_path = "/mnt/other"}};
  world.user.supplemental_groups = {0, 44};
  world.change = [](SpecInputs& inputs) {
    const auto device = [](std::string path, char type, std::string access) {
      return Device{.host = {.path = path, .type = type, .major = 195, .minor = 3, .mode = 0600},
                    .container_path = path,
                    .access = std::move(access)};
    };
    // The request's own /dev/fuse comes last: that of the edit counts.
    inputs.devices = {device("/dev/fuse", 'u', "rwm"), device("/dev/quiet", 'b', ""),
                      device("/dev/pipe", 'p', "rwm"), device("/dev/fuse", 'c', "rw")};
    inputs.edits.env = {"MODE=edit", "NEW=1", "NEW=2"};
    inputs.edits.mounts = {{"/usr/lib/driver", "/lib/driver/", "", {"ro", "nosuid"}},
                           {"/usr/lib/hosts", "/etc/resolv.conf", "none", {"bind", "ro"}},
                           {"tmpfs", "/scratch", "tmpfs", {"size=1m"}}};
    inputs.edits.hooks = {
        {"createContainer", {{"/usr/bin/ldconfig", {"ldconfig", "-r"}, {"A=B"}, 5}}},
        {"poststop", {{"/usr/bin/a", {}, {}, 0}, {"/usr/bin/b", {}, {}, 0}}}};
    inputs.edits.intel_rdt = model::IntelRdt{"gold", "L3:0=f", "", true, false};
    inputs.edits.block_io = model::BlockIo{
        70, {{8, 0, 50, 1000, 2000, 30, 40}, {.major = 8, .minor = 16, .write_bps = 5}}};
  };
}

void Limits(World& world) {
  model::Resources& r = world.container.resources;
  r.cpu_period = 100000;
  r.cpu_quota = 50000;
  r.cpu_shares = 512;
  r.memory_limit_bytes = 64 << 20;
  r.oom_score_adj = -997;
  r.cpuset_cpus = "0-1";
  r.cpuset_mems = "0";
  r.hugepage_limits = {{"2MB", 0}, {"1GB", 1 << 30}};
  world.node.min_oom_score_adj = 0;
  world.node.may_raise_rlimits = false;
  world.node.rlimits["RLIMIT_NOFILE"] = {1024, 4096};
  world.change = [](SpecInputs& inputs) {
    inputs.pids_limit = 100;
    inputs.exec_on_first_cpu = true;
    inputs.default_ulimits = {{"RLIMIT_NOFILE", 1024, 1048576}, {"RLIMIT_CORE", 0, 0}};
  };
}

struct Case {
  const char* name;
  std::function<void(World&)> arrange;
};

const std::vector<Case>& Cases() {
  static const auto* const cases = new std::vector<Case>{
      {"plain", [](World&) {}},
      {"image_defaults",
       [](World& w) {
         w.container.command.clear();
         w.image.working_dir = "/srv/app";
         w.image.volumes = {"/var/lib/data", "relative/../vol", "/srv/app"};
         w.image.stop_signal = "SIGQUIT";
       }},
      {"privileged", Privileged},
      {"privileged_without_host_devices",
       [](World& w) {
         Privileged(w);
         w.change = [change = w.change](SpecInputs& inputs) {
           change(inputs);
           inputs.privileged_without_host_devices = true;
         };
       }},
      {"host_namespaces", HostNamespaces},
      {"host_network",
       [](World& w) {
         w.sandbox.spec.namespaces.network = NamespaceMode::kNode;
         w.change = [](SpecInputs& inputs) { inputs.namespaces.net.clear(); };
       }},
      {"shared_pid",
       [](World& w) {
         w.sandbox.spec.namespaces.pid = NamespaceMode::kPod;
         w.container.security.namespaces.pid = NamespaceMode::kPod;
         w.change = [](SpecInputs& inputs) { inputs.namespaces.pid = "/run/berth/ns/p/pid"; };
       }},
      {"target_pid",
       [](World& w) {
         w.container.security.namespaces.pid = NamespaceMode::kTarget;
         w.container.security.namespaces.target_id = std::string(64, 'd');
         w.change = [](SpecInputs& inputs) { inputs.namespaces.pid = "/proc/4711/ns/pid"; };
       }},
      {"user_namespace",
       [](World& w) {
         w.sandbox.spec.namespaces.user = NamespaceMode::kPod;
         w.sandbox.spec.namespaces.uids = {{100000, 0, 65536}};
         w.sandbox.spec.namespaces.gids = {{200000, 0, 65536}};
         w.container.security.namespaces.user = NamespaceMode::kPod;
         w.container.security.namespaces.uids = w.sandbox.spec.namespaces.uids;
         w.container.security.namespaces.gids = w.sandbox.spec.namespaces.gids;
         // Its ids are mapped there, on the node's side.
         w.container.mounts = {{.container_path = "/data",
                                .host_path = "/run/berth/containers/c/volumes/0",
                                .uid_mappings = {{100000, 0, 65536}},
                                .gid_mappings = {{200000, 0, 65536}}}};
         w.change = [](SpecInputs& inputs) {
           inputs.namespaces.user = "/run/berth/ns/p/user";
           inputs.devices = {{.host = {.path = "/dev/kvm", .major = 10, .minor = 232, .mode = 0660},
                              .container_path = "/dev/virt",
                              .access = "rw"}};
         };
       }},
      {"tty", [](World& w) { w.container.tty = true; }},
      {"user",
       [](World& w) {
         w.user = {.uid = 1000, .gid = 3000, .supplemental_groups = {3000, 4000}, .home = ""};
         w.container.security.no_new_privs = true;
         w.container.working_dir = "/home/app";
         w.change = [](SpecInputs& inputs) {
           inputs.passwd_path = "/run/berth/c/passwd";
           inputs.ambient_capabilities = {"CAP_NET_BIND_SERVICE"};
           inputs.capabilities.push_back("CAP_NET_BIND_SERVICE");
         };
       }},
      {"read_only", [](World& w) { w.container.security.readonly_rootfs = true; }},
      {"mounts", Mounts},
      {"own_dev_sys_run",
       [](World& w) {
         w.container.mounts = {{.container_path = "/dev", .host_path = "/dev"},
                               {.container_path = "/sys/", .host_path = "/sys"},
                               {.container_path = "/run", .host_path = "/run/x"}};
       }},
      {"limits_v1", Limits},
      {"limits_v2",
       [](World& w) {
         Limits(w);
         w.node.cgroup_v2 = true;
         w.container.resources.memory_swap_limit_bytes = 96 << 20;
         w.container.resources.unified = {{"memory.high", "60000000"}, {"memory.min", "0"}};
         w.change = [change = w.change](SpecInputs& inputs) {
           change(inputs);
           inputs.cgroups_path = "kubepods-pod1.slice:berth:ccc";
           inputs.systemd_cgroup = true;
         };
         w.container.annotations["io.kubernetes.pod.terminationGracePeriod"] = "30";
       }},
      {"seccomp",
       [](World& w) {
         w.change = [](SpecInputs& inputs) {
           inputs.seccomp_json =
               R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                   {"names":["read"],"action":"SCMP_ACT_ALLOW"}]})";
         };
       }},
      {"labels",
       [](World& w) {
         w.change = [](SpecInputs& inputs) {
           inputs.apparmor_profile = "berth-default";
           inputs.process_selinux_label = "system_u:system_r:container_t:s0:c1,c2";
           inputs.mount_selinux_label = "system_u:object_r:container_file_t:s0:c1,c2";
         };
       }},
      {"paths",
       [](World& w) {
         w.container.security.masked_paths = {"/proc/kcore", "/secret/"};
         w.container.security.readonly_paths = {"/proc/sys"};
         w.node.thermal_throttle_paths = {"/sys/devices/system/cpu/cpu0/thermal_throttle"};
       }},
      {"devices",
       [](World& w) {
         w.change = [](SpecInputs& inputs) {
           inputs.devices = {
               {.host = {.path = "/dev/kvm", .major = 10, .minor = 232, .mode = 0660, .gid = 104},
                .container_path = "/dev/virt",
                .access = "rw"},
               {.host = {.path = "/dev/sda", .type = 'b', .major = 8, .minor = 0, .mode = 0600},
                .container_path = "/dev/disk",
                .access = "rwm"}};
         };
       }},
      {"systemd",
       [](World& w) {
         w.container.command = {"/sbin/init"};
         w.node.cgroup_v2 = true;
       }},
      {"edits", Edits},
      {"annotations",
       [](World& w) {
         w.sandbox.spec.annotations = {{"org.systemd.property.ExecStart", "x"},
                                       {"run.oci.keep_original_groups", "1"},
                                       {"team", "pod"},
                                       {"cdi.k8s.io/by-the-author", "vendor.com/gpu=all"},
                                       {"rdt.resources.beta.kubernetes.io/pod", "gold"},
                                       {"color", "blue"}};
         w.container.labels = {{"io.kubernetes.container.name", "app"}};
         w.container.annotations = {{"team", "container"},
                                    {"io.kubernetes.cri-o.SandboxID", "forged"},
                                    {"io.berth.pod-uid", "forged"},
                                    {"io.container.manager", "forged"},
                                    {"run.oci.handler", "wasm"},
                                    {"run.oci.handlerX", "no"},
                                    {"krun.cpus", "2"},
                                    {"cdi.k8s.io/by-the-kubelet", "vendor.com/gpu=0"}};
         w.change = [](SpecInputs& inputs) {
           inputs.allowed_annotations = {"run.oci.handler", "krun.*"};
         };
       }},
  };
  return *cases;
}

class GoldenTest : public ::testing::TestWithParam<Case> {};

TEST_P(GoldenTest, Equals) {
  World world;
  GetParam().arrange(world);
  const auto output = world.Build();
  ASSERT_TRUE(output.ok()) << output.status();
  const Json got = {{"config", Json::parse(output->config_json)},
                    {"rootfs_dirs", output->rootfs_dirs},
                    {"warnings", output->warnings}};
  EXPECT_EQ(Json::parse(output->process_json), got["config"]["process"]);

  const std::string path = std::string(BERTH_SPEC_TESTDATA) + "/" + GetParam().name + ".json";
  if (std::getenv("BERTH_UPDATE_GOLDEN") != nullptr) {
    ASSERT_TRUE(base::WriteFile(path, got.dump(1) + "\n", 0644).ok());
  }
  const auto want = base::ReadFile(path, 1 << 20);
  ASSERT_TRUE(want.ok()) << want.status();
  EXPECT_EQ(got, Json::parse(*want)) << Json::diff(Json::parse(*want), got).dump(1);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, ::testing::ValuesIn(Cases()),
                         [](const auto& c) { return std::string(c.param.name); });

TEST(BuildContainerSpec, IsPure) {
  World world;
  Limits(world);
  EXPECT_EQ(world.Build()->config_json, world.Build()->config_json);
}

// The profile's text is passed on byte for byte, which lets runtimes cache what they compile of it.
TEST(BuildContainerSpec, SeccompIsVerbatim) {
  World world;
  const std::string profile = R"({ "defaultAction" :"SCMP_ACT_LOG"})";
  world.change = [&](SpecInputs& inputs) { inputs.seccomp_json = profile; };
  EXPECT_THAT(world.Build()->config_json, HasSubstr("\"seccomp\":" + profile + "}"));
}

TEST(BuildContainerSpec, PodSharesNoProcessNamespace) {
  World world;
  world.container.security.namespaces.pid = NamespaceMode::kPod;
  const auto output = world.Build();
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_THAT(output->warnings, ElementsAre(HasSubstr("no process namespace to share")));
  EXPECT_THAT(Json::parse(output->config_json)["linux"]["namespaces"],
              Contains(Json({{"type", "pid"}})));
  // In a pod that uses the node's, its containers do too.
  world.sandbox.spec.namespaces.pid = NamespaceMode::kNode;
  const auto host = world.Build();
  EXPECT_THAT(host->warnings, IsEmpty());
  EXPECT_EQ(Json::parse(host->config_json)["linux"]["namespaces"].dump().find("\"pid\""),
            std::string::npos);
}

TEST(BuildContainerSpec, UnmaskedOnlyInUserNamespace) {
  World world;
  EXPECT_TRUE(Json::parse(world.Build()->config_json)["linux"].contains("maskedPaths"));
  InUserNamespace(world);
  const Json config = Json::parse(world.Build()->config_json);
  EXPECT_FALSE(config["linux"].contains("maskedPaths"));
  EXPECT_FALSE(config["linux"].contains("readonlyPaths"));
}

TEST(BuildContainerSpec, HostSysInUserNamespaceWithHostNetwork) {
  World world;
  InUserNamespace(world);
  world.sandbox.spec.namespaces.network = NamespaceMode::kNode;
  const Json config = Json::parse(world.Build()->config_json);
  for (const Json& mount : config["mounts"]) {
    if (mount["destination"] == "/sys") {
      EXPECT_EQ(mount["type"], "bind");
      EXPECT_THAT(mount["options"], Contains("rprivate")) << "or its cgroups get onto the node's";
    }
  }
}

TEST(BuildContainerSpec, ASmallUserNamespaceHasNoGroupOfTerminals) {
  World world;
  InUserNamespace(world);
  EXPECT_THAT(world.Build()->config_json, HasSubstr("gid=5"));
  world.sandbox.spec.namespaces.gids[0].length = 5;
  EXPECT_THAT(world.Build()->config_json, Not(HasSubstr("gid=5")));
}

struct Refusal {
  const char* name;
  std::function<void(World&)> arrange;
  absl::StatusCode code;
  std::string message;
};

TEST(BuildContainerSpec, Refusals) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const auto mount = [](std::function<void(model::MountSpec&)> change) {
    return [change](World& w) {
      w.container.mounts = {{.container_path = "/data", .host_path = "/mnt"}};
      change(w.container.mounts[0]);
    };
  };
  using P = model::MountPropagation;
  const std::vector<Refusal> refusals = {
      {"edited mount on the root",
       [](World& w) {
         w.change = [](SpecInputs& inputs) { inputs.edits.mounts = {{"/x", "/", "", {}}}; };
       },
       kInvalid, "CDI mount on '/': the root itself"},
      {"privileged", [](World& w) { w.container.security.privileged = true; }, kInvalid,
       "needs a privileged pod"},
      {"no command",
       [](World& w) {
         w.container.command.clear();
         w.image.entrypoint.clear();
         w.image.cmd.clear();
       },
       kInvalid, "no command specified"},
      {"image mount with two ways", mount([](model::MountSpec& m) {
         m.image = "busybox";
         m.propagation = P::kBidirectional;
       }),
       kInvalid, "mount on '/data': an image cannot pass mounts on"},
      {"programs of an image mount", mount([](model::MountSpec& m) {
         m.image = "busybox";
         m.options = {"exec"};
       }),
       kInvalid, "mount_options 'exec' is not supported"},
      {"no host path", mount([](model::MountSpec& m) { m.host_path = ""; }), kInvalid,
       "host path '' is not an absolute path"},
      {"relative", mount([](model::MountSpec& m) { m.container_path = "data"; }), kInvalid,
       "container path 'data' is not an absolute path"},
      {"root", mount([](model::MountSpec& m) { m.container_path = "/a/.."; }), kInvalid,
       "root itself"},
      {"rro rw", mount([](model::MountSpec& m) { m.recursive_readonly = true; }), kInvalid,
       "needs readonly"},
      {"rro shared", mount([](model::MountSpec& m) {
         m.recursive_readonly = m.readonly = true;
         m.propagation = P::kHostToContainer;
       }),
       kInvalid, "needs private propagation"},
      {"rro unable",
       [](World& w) {
         w.container.mounts = {{.container_path = "/data",
                                .host_path = "/mnt",
                                .readonly = true,
                                .recursive_readonly = true}};
         w.change = [](SpecInputs& inputs) { inputs.abilities = {}; };
       },
       kInvalid, "does not support recursive_read_only"},
      {"option", mount([](model::MountSpec& m) { m.options = {"rw"}; }), kInvalid,
       "mount_options 'rw' is not supported"},
      // The kernel or a runtime would ignore them.
      {"sync", mount([](model::MountSpec& m) { m.options = {"sync"}; }), kInvalid, "'sync'"},
      {"exec", mount([](model::MountSpec& m) { m.options = {"exec"}; }), kInvalid, "'exec'"},
      {"atimes", mount([](model::MountSpec& m) {
         m.options = {"noatime", "noexec", "strictatime"};
       }),
       kInvalid, "'noatime' and 'strictatime' contradict"},
      {"host network",
       [](World& w) { w.container.security.namespaces.network = NamespaceMode::kNode; }, kInvalid,
       "namespace_options.network is NODE"},
      {"host ipc", [](World& w) { w.container.security.namespaces.ipc = NamespaceMode::kNode; },
       kInvalid, "namespace_options.ipc is NODE"},
      {"many volumes", [](World& w) { w.image.volumes.resize(1025, "/v"); }, kInvalid,
       "more than 1024 volumes"},
      {"no network", [](World& w) { w.change = [](SpecInputs& i) { i.namespaces.net.clear(); }; },
       kInvalid, "no network namespace"},
      {"no ipc", [](World& w) { w.change = [](SpecInputs& i) { i.namespaces.ipc.clear(); }; },
       kInvalid, "no ipc namespace"},
      {"user namespace in a pod without",
       [](World& w) { UserNamespace(w.container.security.namespaces); }, kInvalid,
       "userns_options is not the same as the pod's"},
      {"node's users in a pod with a user namespace",
       [](World& w) {
         InUserNamespace(w);
         w.container.security.namespaces.user = NamespaceMode::kNode;
       },
       kInvalid, "userns_options is not the same as the pod's"},
      {"other maps than the pod's",
       [](World& w) {
         InUserNamespace(w);
         UserNamespace(w.container.security.namespaces);
         w.container.security.namespaces.gids[0].length = 7;
       },
       kInvalid, "userns_options is not the same as the pod's"},
      {"node's processes in a user namespace",
       [](World& w) {
         InUserNamespace(w);
         w.container.security.namespaces.pid = NamespaceMode::kNode;
       },
       kInvalid, "namespace_options.pid is NODE, which the pod's user namespace"},
      {"user outside the map",
       [](World& w) {
         InUserNamespace(w);
         w.user.uid = 65536;
       },
       kInvalid, "user 65536 is not in the pod's user namespace, which has 0-65535 ("},
      {"group outside the map",
       [](World& w) {
         InUserNamespace(w);
         w.user.gid = 1000;
       },
       kInvalid, "group 1000 is not in the pod's user namespace, which has 0-999 ("},
      {"supplemental group outside the map",
       [](World& w) {
         InUserNamespace(w);
         w.user.supplemental_groups = {0, 1000};
       },
       kInvalid, "supplemental group 1000 is not in the pod's user namespace"},
      {"out of a user namespace",
       [mount](World& w) {
         InUserNamespace(w);
         mount([](model::MountSpec& m) { m.propagation = P::kBidirectional; })(w);
       },
       kInvalid, "mount on '/data': bidirectional propagation is not possible"},
      {"no userns", [](World& w) { UserNamespace(w.sandbox.spec.namespaces); }, kInvalid,
       "no user namespace"},
      {"no target", [](World& w) { w.container.security.namespaces.pid = NamespaceMode::kTarget; },
       kInvalid, "not running"},
      {"masked", [](World& w) { w.container.security.masked_paths = {"proc"}; }, kInvalid,
       "masked path 'proc'"},
      {"memory",
       [](World& w) {
         w.container.resources.memory_limit_bytes = 1;
         w.change = [](SpecInputs& i) { i.min_memory_bytes = 2; };
       },
       kInvalid, "below the 2 bytes"},
      {"not utf-8", [](World& w) { w.container.labels["a"] = "\xff"; }, kInvalid, "UTF-8"},
      {"home", [](World& w) { w.image.env = {"HOME=/a\nb"}; }, kInvalid, "HOME"},
  };
  for (const Refusal& refusal : refusals) {
    World world;
    refusal.arrange(world);
    const auto output = world.Build();
    EXPECT_EQ(output.status().code(), refusal.code) << refusal.name << ": " << output.status();
    EXPECT_THAT(std::string(output.status().message()), HasSubstr(refusal.message)) << refusal.name;
  }
}

}  // namespace
}  // namespace berth::spec
