// Devices, node facts, resources, mount sources and the rootfs's preparation.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/spec/devices.h"
#include "lib/spec/mount_sources.h"
#include "lib/spec/node_facts.h"
#include "lib/spec/resource_update.h"
#include "lib/spec/resources.h"
#include "lib/spec/rootfs.h"

namespace berth::spec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TreeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = ::testing::TempDir() + "/spec_test.XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    char real[PATH_MAX];
    ASSERT_NE(::realpath(path.c_str(), real), nullptr);
    root_ = real;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(root_).ok()); }
  void Write(const std::string& name, const std::string& text) {
    const std::string path = root_ + "/" + name;
    ASSERT_TRUE(base::MakeDirs(path.substr(0, path.rfind('/')), 0755).ok());
    ASSERT_TRUE(base::WriteFile(path, text, 0644).ok());
  }
  bool IsDir(const std::string& name) {
    struct stat status = {};
    return ::lstat((root_ + "/" + name).c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  }

  std::string root_;
};

using ResolveDevicesTest = TreeTest;

TEST_F(ResolveDevicesTest, FollowsLinks) {
  ASSERT_EQ(::symlink("/dev/null", (root_ + "/link").c_str()), 0);
  const auto devices = ResolveDevices({{"", root_ + "/link", ""}, {"/dev/z", "/dev/zero", "rwr"}});
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_EQ(devices->size(), 2u);
  EXPECT_EQ((*devices)[0].host.path, "/dev/null");
  EXPECT_EQ((*devices)[0].host.type, 'c');
  EXPECT_EQ((*devices)[0].host.major, 1);
  EXPECT_EQ((*devices)[0].host.minor, 3);
  EXPECT_EQ((*devices)[0].host.mode, 0666u);
  EXPECT_EQ((*devices)[0].container_path, root_ + "/link");
  EXPECT_EQ((*devices)[0].access, "rwm");
  EXPECT_EQ((*devices)[1].container_path, "/dev/z");
  EXPECT_EQ((*devices)[1].host.minor, 5);
  EXPECT_EQ((*devices)[1].access, "rw");
}

TEST_F(ResolveDevicesTest, Refusals) {
  Write("file", "");
  const auto refusal = [&](model::DeviceSpec spec) {
    const auto devices = ResolveDevices({std::move(spec)});
    EXPECT_FALSE(devices.ok());
    return devices.status().ToString();
  };
  EXPECT_THAT(refusal({"", root_ + "/file", ""}), HasSubstr("neither a device nor a directory"));
  EXPECT_THAT(refusal({"", root_ + "/none", ""}), HasSubstr("NOT_FOUND"));
  EXPECT_THAT(refusal({"", "dev/null", ""}), HasSubstr("path on the node 'dev/null'"));
  EXPECT_THAT(refusal({"x", "/dev/null", ""}), HasSubstr("path in the container 'x'"));
  EXPECT_THAT(refusal({"", "/dev/null", "rx"}), HasSubstr("permissions 'rx'"));
  EXPECT_TRUE(ResolveDevices({{"/dev/none", root_, ""}})->empty());
}

TEST(ListHostDevices, Sorted) {
  const auto devices = ListHostDevices("/dev");
  ASSERT_TRUE(devices.ok()) << devices.status();
  std::vector<std::string> paths;
  for (const HostDevice& device : *devices) {
    paths.push_back(device.path);
  }
  EXPECT_THAT(paths, ::testing::Contains("/dev/null"));
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  for (const std::string& path : paths) {
    EXPECT_NE(path, "/dev/ptmx");
    EXPECT_NE(path.rfind("/dev/pts/", 0), 0u);
  }
  EXPECT_EQ(ListHostDevices("/nowhere").status().code(), absl::StatusCode::kNotFound);
}

using ProbeNodeTest = TreeTest;

TEST_F(ProbeNodeTest, CgroupV1) {
  Write("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "");
  Write("sys/fs/cgroup/hugetlb/cgroup.procs", "");
  Write("proc/self/status", "Name:\tx\nCapEff:\t000001fffeffffff\n");
  Write("proc/self/oom_score_adj", "-5\n");
  Write("sys/devices/system/cpu/cpu1/thermal_throttle/count", "");
  Write("sys/devices/system/cpu/cpu0/thermal_throttle/count", "");
  Write("sys/devices/system/cpu/cpu2/other", "");
  Write("sys/devices/system/cpu/cpufreq/thermal_throttle/count", "");
  const NodeFacts node = ProbeNode(false, root_);
  EXPECT_FALSE(node.cgroup_v2);
  EXPECT_TRUE(node.has_hugetlb);
  EXPECT_TRUE(node.has_swap_accounting);
  EXPECT_FALSE(node.may_raise_rlimits);
  EXPECT_EQ(node.min_oom_score_adj, -5);
  EXPECT_THAT(node.thermal_throttle_paths,
              ElementsAre("/sys/devices/system/cpu/cpu0/thermal_throttle",
                          "/sys/devices/system/cpu/cpu1/thermal_throttle"));
  struct rlimit files = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_EQ(node.rlimits.at("RLIMIT_NOFILE").hard, files.rlim_max);
  EXPECT_EQ(node.rlimits.size(), 16u);
}

TEST_F(ProbeNodeTest, CgroupV2) {
  Write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
  Write("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
  Write("proc/self/oom_score_adj", "-5\n");
  const auto mounted = [&](const std::string& options) {
    Write("proc/self/mountinfo",
          "22 1 0:21 / /sys rw - sysfs sysfs rw,nsdelegate\n30 22 0:26 / "
          "/sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 " +
              options + "\n");
    return ProbeNode(true, root_).cgroup_namespaces_delegate;
  };
  EXPECT_FALSE(mounted("rw"));
  EXPECT_FALSE(mounted("rw,nsdelegated"));
  EXPECT_TRUE(mounted("rw,nsdelegate,memory_recursiveprot"));
  EXPECT_FALSE(ProbeNode(false, root_).cgroup_namespaces_delegate);
  NodeFacts node = ProbeNode(true, root_);
  EXPECT_TRUE(node.cgroup_v2);
  EXPECT_FALSE(node.has_hugetlb);
  EXPECT_TRUE(node.has_swap_accounting);
  EXPECT_TRUE(node.may_raise_rlimits);
  EXPECT_EQ(node.min_oom_score_adj, -1000);
  // A child with the controller but without the file: booted with swapaccount=0.
  Write("sys/fs/cgroup/a.slice/memory.max", "");
  EXPECT_FALSE(ProbeNode(true, root_).has_swap_accounting);
  Write("sys/fs/cgroup/b.slice/memory.swap.max", "");
  Write("sys/fs/cgroup/cgroup.controllers", "cpu hugetlb");
  node = ProbeNode(true, root_);
  EXPECT_TRUE(node.has_swap_accounting);
  EXPECT_TRUE(node.has_hugetlb);
}

TEST_F(ProbeNodeTest, NothingThere) {
  const NodeFacts node = ProbeNode(false, root_);
  EXPECT_FALSE(node.has_hugetlb);
  EXPECT_FALSE(node.has_swap_accounting);
  EXPECT_FALSE(node.may_raise_rlimits);
  EXPECT_EQ(node.min_oom_score_adj, 0);
}

NodeFacts Node() {
  NodeFacts node;
  node.has_hugetlb = true;
  node.has_swap_accounting = true;
  return node;
}

TEST(BuildResources, Nothing) {
  const auto output = BuildResources({}, Node(), {});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->json, "{}");
  EXPECT_EQ(output->oom_score_adj, 0);
  EXPECT_THAT(output->warnings, IsEmpty());
}

TEST(BuildResources, MemoryAndSwap) {
  struct Case {
    int64_t memory, swap;
    bool accounting;
    std::string json;
    size_t warnings;
  };
  const std::vector<Case> cases = {
      {100, 0, true, R"({"memory":{"limit":100,"swap":100}})", 0},
      {100, 0, false, R"({"memory":{"limit":100}})", 0},
      {100, 150, true, R"({"memory":{"limit":100,"swap":150}})", 0},
      {100, 100, false, R"({"memory":{"limit":100}})", 0},
      {100, 150, false, R"({"memory":{"limit":100}})", 1},
      {100, -1, true, R"({"memory":{"limit":100,"swap":-1}})", 0},
      {0, -1, true, R"({"memory":{"swap":-1}})", 0},
      {-1, 0, true, R"({"memory":{"limit":-1}})", 0},
      {-7, -7, true, R"({"memory":{"limit":-1,"swap":-1}})", 0},
  };
  for (const Case& c : cases) {
    NodeFacts node = Node();
    node.has_swap_accounting = c.accounting;
    model::Resources resources;
    resources.memory_limit_bytes = c.memory;
    resources.memory_swap_limit_bytes = c.swap;
    const auto output = BuildResources(resources, node, {});
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output->json, c.json);
    EXPECT_EQ(output->warnings.size(), c.warnings) << c.json;
  }
}

TEST(BuildResources, Cpu) {
  model::Resources resources;
  resources.cpu_quota = -5;
  resources.cpu_period = 100000;
  EXPECT_EQ(BuildResources(resources, Node(), {})->json, R"({"cpu":{"period":100000}})");
  resources.cpu_quota = 5;
  EXPECT_EQ(BuildResources(resources, Node(), {})->json, R"({"cpu":{"period":100000,"quota":5}})");
}

TEST(PlanResourceUpdate, HandsOverWhatIsTouchedAndBelongsTogether) {
  const model::Resources current = {.cpu_period = 1000,
                                    .cpu_quota = 500,
                                    .cpu_shares = 2,
                                    .memory_limit_bytes = 100,
                                    .memory_swap_limit_bytes = 100,
                                    .cpuset_cpus = "0"};
  struct Case {
    model::Resources wanted;
    std::string json;
  };
  const std::vector<Case> cases = {
      {{}, ""},
      {{.cpu_shares = 9}, R"({"cpu":{"shares":9}})"},
      {{.cpu_quota = 700}, R"({"cpu":{"period":1000,"quota":700}})"},
      {{.cpu_period = 2000}, R"({"cpu":{"period":2000,"quota":500}})"},
      {{.memory_limit_bytes = 200}, R"({"memory":{"limit":200,"swap":200}})"},
      {{.memory_swap_limit_bytes = 150}, R"({"memory":{"limit":100,"swap":150}})"},
      {{.cpuset_mems = "1"}, R"({"cpu":{"mems":"1"}})"},
      {{.oom_score_adj = 5, .hugepage_limits = {{"2MB", 1}}}, ""},
  };
  for (const Case& c : cases) {
    const auto update = PlanResourceUpdate(current, c.wanted, Node(), {});
    ASSERT_TRUE(update.ok()) << update.status();
    EXPECT_EQ(update->runtime_json, c.json);
    EXPECT_FALSE(update->lifts_cpu_quota);
  }
  const auto update = PlanResourceUpdate(current, {.oom_score_adj = 5}, Node(), {});
  EXPECT_EQ(update->oom_score_adj, 5);
  EXPECT_EQ(update->resources_json, BuildResources(current, Node(), {})->json);
}

TEST(PlanResourceUpdate, LiftsTheCpuQuota) {
  NodeFacts node = Node();
  const model::Resources current = {.cpu_period = 1000, .cpu_quota = 500};
  auto update = PlanResourceUpdate(current, {.cpu_quota = -1}, node, {});
  EXPECT_TRUE(update->lifts_cpu_quota);
  EXPECT_EQ(update->runtime_json, R"({"cpu":{"period":1000}})");
  node.cgroup_v2 = true;
  update = PlanResourceUpdate(current, {.cpu_quota = -1}, node, {});
  EXPECT_EQ(update->runtime_json, R"({"cpu":{"period":1000,"quota":-1}})");
}

TEST(PlanResourceUpdate, ChecksWhatWouldBeInForce) {
  const model::Resources current = {.memory_limit_bytes = 100, .memory_swap_limit_bytes = 150};
  for (const model::Resources& wanted :
       {model::Resources{.memory_limit_bytes = 200}, model::Resources{.memory_limit_bytes = 20},
        model::Resources{.memory_swap_limit_bytes = 99}}) {
    const auto update = PlanResourceUpdate(current, wanted, Node(), {.min_memory_bytes = 50});
    EXPECT_TRUE(absl::IsInvalidArgument(update.status())) << update.status();
  }
}

TEST(ResourceFiles, KeepWhatIsNoLimit) {
  ResourceUpdate update;
  update.resources_json = R"({"cpu":{"shares":2}})";
  update.oom_score_adj = 7;
  const auto config = UpdateConfig(
      R"({"hostname":"h","linux":{"resources":{"cpu":{"shares":1},"devices":[1],"pids":{"limit":3}}},)"
      R"("process":{"args":["x"],"oomScoreAdj":1}})",
      update, false);
  EXPECT_EQ(*config, R"({"hostname":"h","linux":{"resources":{"cpu":{"shares":2},"devices":[1],)"
                     R"("pids":{"limit":3}}},"process":{"args":["x"],"oomScoreAdj":7}})");
  EXPECT_EQ(*UpdateProcess(R"({"args":["x"]})", update, false),
            R"({"args":["x"],"oomScoreAdj":7})");
  update.resources_json = "{}";
  for (const char* bad : {"", "[]", "{}", R"({"linux":{}})", R"({"linux":1,"process":{}})"}) {
    EXPECT_TRUE(absl::IsDataLoss(UpdateConfig(bad, update, false).status())) << bad;
  }
  EXPECT_TRUE(absl::IsDataLoss(UpdateProcess("3", update, false).status()));
}

TEST(ResourceFiles, TheCpuOfCommandsFollowsTheCpuset) {
  ResourceUpdate update;
  const auto affinity = [&update](bool on_first) {
    return *UpdateProcess(R"({"execCPUAffinity":{"final":"9","initial":"9"}})", update, on_first);
  };
  for (const auto& [list, cpu] : std::map<std::string, std::string>{
           {"3", "3"}, {"0-1", "0"}, {"8,12-15,2-5", "2"}, {",,7,", "7"}, {"10,9", "9"}}) {
    update.resources.cpuset_cpus = list;
    EXPECT_EQ(affinity(true), R"({"execCPUAffinity":{"final":")" + cpu + R"(","initial":")" + cpu +
                                  R"("},"oomScoreAdj":0})")
        << list;
    EXPECT_EQ(affinity(false), R"({"oomScoreAdj":0})") << list;
  }
  for (const char* list : {"", "-", ",", "99999999999999999999"}) {
    update.resources.cpuset_cpus = list;
    EXPECT_EQ(affinity(true), R"({"oomScoreAdj":0})") << list;
  }
}

TEST(BuildResources, HugepagesWithoutController) {
  NodeFacts node = Node();
  node.has_hugetlb = false;
  model::Resources resources;
  resources.hugepage_limits = {{"2MB", 0}, {"1GB", 0}};
  EXPECT_EQ(BuildResources(resources, node, {})->json, "{}");
  resources.hugepage_limits[0].limit = 1;
  EXPECT_THAT(BuildResources(resources, node, {}).status().ToString(),
              HasSubstr("no hugetlb controller"));
}

TEST(BuildResources, Refusals) {
  const auto refusal = [](auto change) {
    model::Resources resources;
    NodeFacts node = Node();
    change(resources, node);
    const auto output = BuildResources(resources, node, {.min_memory_bytes = 50});
    EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(output.status().message());
  };
  using R = model::Resources;
  using N = NodeFacts;
  EXPECT_THAT(refusal([](R& r, N&) { r.memory_limit_bytes = 49; }), HasSubstr("below the 50"));
  EXPECT_THAT(refusal([](R& r, N&) {
                r.memory_limit_bytes = 100;
                r.memory_swap_limit_bytes = 99;
              }),
              HasSubstr("below the memory limit"));
  EXPECT_THAT(refusal([](R& r, N&) { r.memory_swap_limit_bytes = 99; }),
              HasSubstr("without memory_limit_in_bytes"));
  EXPECT_THAT(refusal([](R& r, N&) { r.oom_score_adj = 1001; }), HasSubstr("oom_score_adj 1001"));
  EXPECT_THAT(refusal([](R& r, N&) { r.oom_score_adj = int64_t{1} << 40; }),
              HasSubstr("oom_score_adj"));
  EXPECT_THAT(refusal([](R& r, N&) { r.cpu_shares = -1; }), HasSubstr("cpu_shares"));
  EXPECT_THAT(refusal([](R& r, N&) { r.cpuset_cpus = "0\n1"; }), HasSubstr("cpuset_cpus"));
  EXPECT_THAT(refusal([](R& r, N&) {
                r.unified = {{"memory.high", "1"}};
              }),
              HasSubstr("cgroup v2"));
  for (const char* name : {"../memory.high", "a/b.c", ".x", "plain", "a.b\n"}) {
    EXPECT_THAT(refusal([&](R& r, N& n) {
                  n.cgroup_v2 = true;
                  r.unified = {{name, "1"}};
                }),
                HasSubstr("not the name of a cgroup file"));
  }
  for (const char* size : {"", "2", "MB", "2mb", "0MB", "2MB/", "-2MB", "99999999MB"}) {
    EXPECT_THAT(refusal([&](R& r, N&) {
                  r.hugepage_limits = {{size, 1}};
                }),
                HasSubstr("no huge page size"))
        << size;
  }
}

class MountSourcesTest : public TreeTest {
 protected:
  // A mountinfo of two mounts: the root and `point`.
  void WriteMountinfo(const std::string& point, const std::string& tags) {
    Write("proc/self/mountinfo", fmt::format("1 0 8:1 / / rw - ext4 /dev/x rw\n"
                                             "2 1 0:5 / {} rw,noatime {} - tmpfs tmpfs rw\n",
                                             point, tags));
  }
  absl::Status Prepare(model::MountPropagation propagation) {
    std::vector<model::MountSpec> mounts = {
        {.container_path = "/c", .host_path = root_ + "/m m/x", .propagation = propagation}};
    return PrepareMountSources(mounts, root_ + "/proc");
  }
};

TEST_F(MountSourcesTest, MakesAndResolves) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/real", 0755).ok());
  ASSERT_EQ(::symlink("real", (root_ + "/link").c_str()), 0);
  std::vector<model::MountSpec> mounts = {
      {.container_path = "/a", .host_path = root_ + "/link/./new/dir"},
      {.container_path = "/b", .host_path = root_ + "/link"},
      {.container_path = "/c", .image = "busybox"}};
  const absl::Status status = PrepareMountSources(mounts);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(mounts[0].host_path, root_ + "/real/new/dir");
  EXPECT_EQ(mounts[1].host_path, root_ + "/real");
  EXPECT_TRUE(IsDir("real/new/dir"));
}

TEST_F(MountSourcesTest, Refusals) {
  std::vector<model::MountSpec> mounts = {{.container_path = "/a", .host_path = "relative"}};
  EXPECT_EQ(PrepareMountSources(mounts).code(), absl::StatusCode::kInvalidArgument);
  Write("file", "");
  mounts[0].host_path = root_ + "/file/below";
  EXPECT_THAT(PrepareMountSources(mounts).ToString(), HasSubstr("on '/a'"));
  ASSERT_EQ(::symlink("nowhere", (root_ + "/dangling").c_str()), 0);
  mounts[0].host_path = root_ + "/dangling";
  EXPECT_FALSE(PrepareMountSources(mounts).ok());
}

TEST_F(MountSourcesTest, Propagation) {
  using P = model::MountPropagation;
  const std::string point = root_ + "/m\\040m";
  WriteMountinfo(point, "shared:7 master:2");
  EXPECT_TRUE(Prepare(P::kBidirectional).ok()) << Prepare(P::kBidirectional);
  EXPECT_TRUE(Prepare(P::kHostToContainer).ok());
  WriteMountinfo(point, "master:2");
  EXPECT_TRUE(Prepare(P::kHostToContainer).ok());
  EXPECT_THAT(Prepare(P::kBidirectional).ToString(), HasSubstr("needs a shared mount"));
  WriteMountinfo(point, "");
  EXPECT_TRUE(Prepare(P::kPrivate).ok());
  EXPECT_THAT(Prepare(P::kHostToContainer).ToString(), HasSubstr("needs a shared or slave mount"));
  // The root of all is what it is on when the other one only begins alike.
  WriteMountinfo(root_ + "/m", "shared:7");
  EXPECT_THAT(Prepare(P::kBidirectional).ToString(), HasSubstr("which '/' is not"));
}

class RootfsTest : public TreeTest {
 protected:
  absl::Status Prepare(const std::vector<std::string>& dirs) {
    auto fd = base::OpenFile(root_ + "/rootfs", O_PATH | O_DIRECTORY);
    return fd.ok() ? PrepareRootfs(fd->get(), dirs) : fd.status();
  }
};

TEST_F(RootfsTest, MakesDirectoriesInside) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs/etc", 0755).ok());
  ASSERT_TRUE(base::MakeDirs(root_ + "/outside", 0755).ok());
  ASSERT_EQ(::symlink((root_ + "/outside").c_str(), (root_ + "/rootfs/abs").c_str()), 0);
  ASSERT_EQ(::symlink("../../outside", (root_ + "/rootfs/up").c_str()), 0);
  ASSERT_TRUE(Prepare({"/srv/app"}).ok());
  EXPECT_TRUE(IsDir("rootfs/srv/app"));
  char link[64] = {};
  ASSERT_GT(::readlink((root_ + "/rootfs/etc/mtab").c_str(), link, sizeof(link) - 1), 0);
  EXPECT_STREQ(link, "/proc/mounts");
  EXPECT_TRUE(Prepare({"/srv/app"}).ok());

  // Links that lead out end inside, or nowhere.
  Prepare({"/abs/x"}).IgnoreError();
  Prepare({"/up/x"}).IgnoreError();
  EXPECT_FALSE(IsDir("outside/x"));
  ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs/outside", 0755).ok());
  EXPECT_TRUE(Prepare({"/up/x"}).ok());
  EXPECT_TRUE(IsDir("rootfs/outside/x"));
  EXPECT_FALSE(IsDir("outside/x"));

  Write("rootfs/file", "");
  const absl::Status status = Prepare({"/file/x"});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.ToString(), HasSubstr("make '/file/x' in the root file system"));
}

// CVE-2024-5154: /etc led to the host's, and mtab was made there.
TEST_F(RootfsTest, EtcIsALinkOut) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs", 0755).ok());
  ASSERT_TRUE(base::MakeDirs(root_ + "/outside", 0755).ok());
  ASSERT_EQ(::symlink((root_ + "/outside").c_str(), (root_ + "/rootfs/etc").c_str()), 0);
  EXPECT_TRUE(Prepare({}).ok());
  EXPECT_TRUE(base::ListDir(root_ + "/outside")->empty());
}

TEST_F(RootfsTest, MountPointsThatAreLinks) {
  ASSERT_TRUE(base::MakeDirs(root_ + "/outside", 0755).ok());
  for (const std::string name : {"dev", "proc", "sys"}) {
    ASSERT_TRUE(base::MakeDirs(root_ + "/rootfs", 0755).ok());
    ASSERT_EQ(::symlink((root_ + "/outside").c_str(), (root_ + "/rootfs/" + name).c_str()), 0);
    const absl::Status status = Prepare({});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(status.ToString(), HasSubstr("'/" + name + "' is a symbolic link"));
    ASSERT_TRUE(base::RemoveTree(root_ + "/rootfs").ok());
  }
}

}  // namespace
}  // namespace berth::spec
