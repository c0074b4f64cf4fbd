// Over a fixture tree of cgroup v2 (lib/cgroup/usage_test.cc has both versions' files) and of
// /proc.
#include "lib/stats/stats_service.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::stats {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kNetDev[] =
    "heading\nheading\n"
    "  lo: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0\n"
    "net1: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n"
    "eth0: 100 1 5 0 0 0 0 0 200 1 6 0 0 0 0 0\n"
    "net2: 3 0 0 0 0 0 0 0 4 0 0 0 0 0 0 0\n";

class StatsServiceTest : public ::testing::Test {
 protected:
  StatsServiceTest()
      : root_(MakeRoot()),
        paths_(root_ + "/root", root_ + "/state"),
        hierarchy_(Detect()),
        service_(cgroup::Driver::kCgroupfs, hierarchy_, paths_, root_ + "/proc") {}
  ~StatsServiceTest() override { std::filesystem::remove_all(root_); }

  static std::string MakeRoot() {
    char name[] = "/var/tmp/berth-stats-XXXXXX";
    return ::mkdtemp(name);
  }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    ASSERT_TRUE(base::WriteFile(root_ + path, text, 0644).ok());
  }
  cgroup::Hierarchy Detect() {
    std::filesystem::create_directories(root_ + "/cg");
    Write("/proc/self/mountinfo",
          fmt::format("30 22 0:26 / {}/cg rw - cgroup2 cgroup2 rw\n", root_));
    return *cgroup::Hierarchy::Detect(root_ + "/cg", root_ + "/proc");
  }
  // `scale` times some numbers.
  void FillCgroup(const std::string& cgroup, uint64_t scale) {
    const std::string dir = "/cg" + cgroup;
    Write(dir + "/cpu.stat", fmt::format("usage_usec {}\n", 1000 * scale));
    Write(dir + "/memory.current", fmt::format("{}\n", 100 * scale));
    Write(dir + "/memory.stat",
          fmt::format("anon {}\ninactive_file {}\npgfault {}\npgmajfault {}\n", 10 * scale,
                      20 * scale, 30 * scale, 4 * scale));
    Write(dir + "/memory.max", fmt::format("{}\n", 1000 * scale));
    Write(dir + "/pids.current", fmt::format("{}\n", scale));
    Write(dir + "/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n");
  }

  ContainerPtr Container(const std::string& id, const std::string& pod, const std::string& parent,
                         int64_t finished_ns = 0) {
    auto record = std::make_shared<model::ContainerRecord>();
    record->id = model::ContainerId(id);
    record->sandbox_id = model::SandboxId(pod);
    record->cgroup_parent = parent;
    record->created_ns = record->started_ns = 1;
    record->finished_ns = finished_ns;
    return record;
  }
  std::shared_ptr<model::SandboxRecord> Pod(const std::string& id, const std::string& parent) {
    auto record = std::make_shared<model::SandboxRecord>();
    record->id = model::SandboxId(id);
    record->spec.cgroup_parent = parent;
    record->spec.namespaces.network = model::NamespaceMode::kPod;
    record->state = model::SandboxState::kReady;
    record->pause_pid = 4242;
    record->pause_start = 777;
    return record;
  }
  void FillPause() {
    Write("/proc/4242/stat",
          "4242 (pause) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20\n");
    Write("/proc/4242/net/dev", kNetDev);
  }

  const std::string root_;
  const store::Paths paths_;
  const cgroup::Hierarchy hierarchy_;
  StatsService service_;
  const base::OpContext ctx_ = base::OpContext::Background();
};

TEST_F(StatsServiceTest, ARunningContainer) {
  FillCgroup("/berth/berth-c1", 1);
  Write("/root/containers/c1/upper/file", std::string(50000, 'x'));
  const absl::Time before = absl::Now();
  const auto all = service_.OfContainers(ctx_, {Container("c1", "p", "")});
  ASSERT_THAT(all, SizeIs(1));
  ASSERT_TRUE(all[0].live);
  EXPECT_EQ(all[0].live->usage.cpu_ns, 1'000'000u);
  EXPECT_EQ(all[0].live->usage.WorkingSetBytes(), 80u);
  EXPECT_EQ(all[0].live->usage.AvailableBytes(), 920u);
  EXPECT_FALSE(all[0].live->nano_cores);
  EXPECT_GE(all[0].live->taken, before);
  ASSERT_TRUE(all[0].disk);
  EXPECT_EQ(all[0].disk->usage.inodes, 2u);
  EXPECT_GE(all[0].disk->usage.bytes, 50000u);
}

TEST_F(StatsServiceTest, TheSecondReadingHasARate) {
  FillCgroup("/berth/berth-c1", 1);
  FillCgroup("/berth/berth-c2", 1);
  const ContainerPtr c1 = Container("c1", "p", "");
  service_.OfContainers(ctx_, {c1});
  FillCgroup("/berth/berth-c1", 1000);
  std::this_thread::sleep_for(std::chrono::milliseconds(120));
  const auto again = service_.OfContainers(ctx_, {c1, Container("c2", "p", "")});
  ASSERT_TRUE(again[0].live->nano_cores);
  // 0.999 s of CPU in at least 0.12 s.
  EXPECT_GT(*again[0].live->nano_cores, 0u);
  EXPECT_LE(*again[0].live->nano_cores, 8'325'000'000u);
  EXPECT_FALSE(again[1].live->nano_cores);
}

TEST_F(StatsServiceTest, OnlyRunningContainersHaveLiveNumbers) {
  FillCgroup("/berth/berth-exited", 1);
  FillCgroup("/berth/berth-created", 1);
  Write("/root/containers/exited/upper/file", "x");
  auto created = std::make_shared<model::ContainerRecord>(*Container("created", "p", ""));
  created->started_ns = 0;
  const auto all = service_.OfContainers(ctx_, {Container("exited", "p", "", 5), created});
  EXPECT_FALSE(all[0].live);
  EXPECT_TRUE(all[0].disk);
  EXPECT_FALSE(all[1].live);
  EXPECT_FALSE(all[1].disk);
}

TEST_F(StatsServiceTest, AContainerWhoseCgroupIsGone) {
  const auto all = service_.OfContainers(ctx_, {Container("c1", "p", "")});
  ASSERT_TRUE(all[0].live);
  EXPECT_FALSE(all[0].live->usage.cpu_ns);
  EXPECT_FALSE(all[0].live->usage.memory_bytes);
}

TEST_F(StatsServiceTest, APodHasTheNumbersOfItsParentCgroup) {
  FillPause();
  FillCgroup("/kubepods/pod1", 7);
  FillCgroup("/kubepods/pod1/berth-c1", 1);
  FillCgroup("/kubepods/pod1/berth-c2", 2);
  const auto pods = service_.OfPods(
      ctx_, {Pod("p1", "/kubepods/pod1"), Pod("p2", "/kubepods/pod2")},
      {Container("c1", "p1", "/kubepods/pod1"), Container("c2", "p1", "/kubepods/pod1"),
       Container("c3", "elsewhere", "/kubepods/pod3")});
  ASSERT_THAT(pods, SizeIs(2));
  ASSERT_TRUE(pods[0].live);
  EXPECT_EQ(pods[0].live->usage.cpu_ns, 7'000'000u);
  EXPECT_EQ(pods[0].live->usage.memory_bytes, 700u);
  EXPECT_EQ(pods[0].live->usage.AvailableBytes(), 7000u - 560u);
  EXPECT_TRUE(pods[0].live->usage.io_pressure);
  EXPECT_EQ(pods[0].tasks, 7u);
  ASSERT_THAT(pods[0].containers, SizeIs(2));
  EXPECT_EQ(pods[0].containers[1].live->usage.cpu_ns, 2'000'000u);
  EXPECT_THAT(pods[1].containers, IsEmpty());
  EXPECT_FALSE(pods[1].live->usage.cpu_ns);
  EXPECT_FALSE(pods[1].tasks);
}

TEST_F(StatsServiceTest, APodWithoutAParentIsTheSumOfItsProcesses) {
  FillPause();
  FillCgroup("/berth", 1000);
  FillCgroup("/berth/berth-p1", 1);
  FillCgroup("/berth/berth-c1", 10);
  FillCgroup("/berth/berth-c2", 100);
  FillCgroup("/berth/berth-exited", 500);
  const auto pods = service_.OfPods(
      ctx_, {Pod("p1", "")},
      {Container("c1", "p1", ""), Container("c2", "p1", ""), Container("exited", "p1", "", 5)});
  ASSERT_TRUE(pods[0].live);
  EXPECT_EQ(pods[0].live->usage.cpu_ns, 111'000'000u);
  EXPECT_EQ(pods[0].live->usage.WorkingSetBytes(), 111u * 80);
  EXPECT_EQ(pods[0].live->usage.rss_bytes, 1110u);
  EXPECT_EQ(pods[0].live->usage.page_faults, 3330u);
  EXPECT_EQ(pods[0].live->usage.major_page_faults, 444u);
  EXPECT_FALSE(pods[0].live->usage.AvailableBytes());
  EXPECT_FALSE(pods[0].live->usage.io_pressure);
  EXPECT_EQ(pods[0].tasks, 111u);
  EXPECT_THAT(pods[0].containers, SizeIs(3));
}

TEST_F(StatsServiceTest, TheDefaultInterfaceComesFirst) {
  FillPause();
  const auto pods = service_.OfPods(ctx_, {Pod("p1", "")}, {});
  ASSERT_TRUE(pods[0].network);
  EXPECT_THAT(pods[0].network->interfaces,
              ElementsAre(netns::InterfaceCounters{"eth0", 100, 5, 200, 6},
                          netns::InterfaceCounters{"net1", 1, 0, 2, 0},
                          netns::InterfaceCounters{"net2", 3, 0, 4, 0}));
}

TEST_F(StatsServiceTest, PodsWithoutANetworkOfTheirOwn) {
  FillPause();
  auto host = Pod("host", "");
  host->spec.namespaces.network = model::NamespaceMode::kNode;
  auto reused = Pod("reused", "");  // another process has the pause's pid
  reused->pause_start = 778;
  auto gone = Pod("gone", "");
  gone->pause_pid = 4243;
  for (const PodStats& pod : service_.OfPods(ctx_, {host, reused, gone}, {})) {
    EXPECT_FALSE(pod.network) << pod.record->id.value();
  }
}

TEST_F(StatsServiceTest, AStoppedPodHasItsContainersAndNoNumbers) {
  FillPause();
  FillCgroup("/kubepods/pod1", 7);
  auto stopped = Pod("p1", "/kubepods/pod1");
  stopped->state = model::SandboxState::kNotReady;
  const auto pods = service_.OfPods(ctx_, {stopped}, {Container("c1", "p1", "/kubepods/pod1", 5)});
  EXPECT_FALSE(pods[0].live);
  EXPECT_FALSE(pods[0].tasks);
  EXPECT_FALSE(pods[0].network);
  EXPECT_THAT(pods[0].containers, SizeIs(1));
}

TEST_F(StatsServiceTest, AParentOfTheWrongStyleHasNoNumbers) {
  const auto pods = service_.OfPods(ctx_, {Pod("p1", "kubepods.slice")},
                                    {Container("c1", "p1", "kubepods.slice")});
  EXPECT_FALSE(pods[0].live);
  EXPECT_FALSE(pods[0].containers[0].live);
}

}  // namespace
}  // namespace berth::stats
