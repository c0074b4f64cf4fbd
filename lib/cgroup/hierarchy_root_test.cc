// Needs root and mounted cgroups, of either version. Works in a cgroup of its own, /berth-test-PID.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/process_runner.h"
#include "lib/cgroup/hierarchy.h"
#include "lib/cgroup/pod_cgroups.h"
#include "lib/cgroup/testing/fake_scope_bus.h"

namespace berth::cgroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HierarchyRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    absl::StatusOr<Hierarchy> found = Hierarchy::Detect();
    if (!found.ok()) {
      GTEST_SKIP() << "needs cgroups: " << found.status();
    }
    hierarchy_ = std::make_unique<Hierarchy>(*std::move(found));
    parent_ = fmt::format("/berth-test-{}", ::getpid());
  }
  void TearDown() override {
    if (hierarchy_ == nullptr) {
      return;
    }
    EXPECT_TRUE(hierarchy_->KillAll(ctx_, parent_).ok());
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    EXPECT_TRUE(hierarchy_->Remove(ctx_, parent_).ok());
    for (const std::string& dir : hierarchy_->Dirs(parent_)) {
      EXPECT_FALSE(base::PathExists(dir)) << dir;
    }
  }
  base::Process Start(const std::string& script, int cgroup_fd = -1) {
    base::ProcessSpec spec;
    spec.argv = {"/bin/sh", "-c", script};
    spec.cgroup_fd = cgroup_fd;
    absl::StatusOr<base::Process> process = runner_.Start(spec);
    EXPECT_TRUE(process.ok()) << process.status();
    return *std::move(process);
  }
  std::string CgroupsOf(pid_t pid) {
    return base::ReadFile(fmt::format("/proc/{}/cgroup", pid), 65536).value_or("");
  }

  const base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Seconds(30));
  base::SystemProcessRunner runner_;
  std::unique_ptr<Hierarchy> hierarchy_;
  std::string parent_;
};

TEST_F(HierarchyRootTest, ROOT_MovesKillsRemoves) {
  const std::string cgroup = parent_ + "/a";
  ASSERT_TRUE(hierarchy_->Create(cgroup).ok());
  base::Process process = Start("exec sleep 1000");
  ASSERT_TRUE(hierarchy_->AddProcess(cgroup, process.pid()).ok());
  ASSERT_TRUE(hierarchy_->AddProcess(cgroup, process.pid()).ok());
  const std::string cgroups = CgroupsOf(process.pid());
  size_t lines = 0;
  for (size_t at = cgroups.find(":" + cgroup + "\n"); at != std::string::npos;
       at = cgroups.find(":" + cgroup + "\n", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, hierarchy_->mounts().size()) << cgroups;
  EXPECT_THAT(*hierarchy_->Pids(parent_), ElementsAre(process.pid()));
  ASSERT_TRUE(hierarchy_->KillAll(ctx_, parent_).ok());
  const absl::StatusOr<base::ExitStatus> exit = process.Wait(ctx_);
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_TRUE(hierarchy_->Remove(ctx_, parent_).ok());
  EXPECT_THAT(*hierarchy_->Pids(parent_), IsEmpty());
}

TEST_F(HierarchyRootTest, ROOT_KillsWhatForks) {
  const std::string cgroup = parent_ + "/forks";
  ASSERT_TRUE(hierarchy_->Create(cgroup).ok());
  // Bounded, so that a broken KillAll leaves nothing for long.
  base::Process process = Start(
      "i=0; while [ $i -lt 400 ]; do i=$((i+1)); (sleep 0.01; sleep 20) & (sleep 0.01) & sleep "
      "0.005; done");
  ASSERT_TRUE(hierarchy_->AddProcess(cgroup, process.pid()).ok());
  ::usleep(50'000);  // let it fork into the cgroup
  EXPECT_TRUE(hierarchy_->KillAll(ctx_, cgroup).ok());
  (void)process.Wait(ctx_);
  EXPECT_THAT(*hierarchy_->Pids(cgroup), IsEmpty());
}

TEST_F(HierarchyRootTest, ROOT_BusyCgroupIsNotRemoved) {
  ASSERT_TRUE(hierarchy_->Create(parent_).ok());
  base::Process process = Start("exec sleep 1000");
  ASSERT_TRUE(hierarchy_->AddProcess(parent_, process.pid()).ok());
  const absl::Status status = hierarchy_->Remove(ctx_, parent_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  ASSERT_TRUE(process.Kill(SIGKILL).ok());
  // Not reaped yet: a zombie does not hold a cgroup.
  EXPECT_TRUE(hierarchy_->Remove(ctx_, parent_).ok());
  (void)process.Wait(ctx_);
}

TEST_F(HierarchyRootTest, ROOT_EndedProcessIsNotFound) {
  ASSERT_TRUE(hierarchy_->Create(parent_).ok());
  base::Process process = Start("exit 0");
  ASSERT_TRUE(process.Wait(ctx_).ok());
  EXPECT_EQ(hierarchy_->AddProcess(parent_, process.pid()).code(), absl::StatusCode::kNotFound);
}

TEST_F(HierarchyRootTest, ROOT_PodIsBornInItsCgroupOrMoved) {
  FakeScopeBus bus;
  const PodCgroups cgroups(Driver::kCgroupfs, *hierarchy_, bus);
  absl::StatusOr<base::UniqueFd> fd = cgroups.Prepare(ctx_, parent_, "ab");
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_EQ(fd->valid(), hierarchy_->version() == Version::kV2);
  base::Process process = Start("exec sleep 1000", fd->get());
  if (hierarchy_->version() == Version::kV2) {
    EXPECT_THAT(CgroupsOf(process.pid()), HasSubstr(parent_ + "/berth-ab\n"));
  }
  ASSERT_TRUE(cgroups.Place(ctx_, parent_, "ab", process.pid()).ok());
  EXPECT_THAT(CgroupsOf(process.pid()), HasSubstr(parent_ + "/berth-ab\n"));
  ASSERT_TRUE(cgroups.Destroy(ctx_, parent_, "ab").ok());
  const absl::StatusOr<base::ExitStatus> exit = process.Wait(ctx_);
  ASSERT_TRUE(exit.ok());
  EXPECT_EQ(exit->signal, SIGKILL);
  EXPECT_TRUE(cgroups.Destroy(ctx_, parent_, "ab").ok());
}

TEST_F(HierarchyRootTest, ROOT_SYSTEMD_ScopesComeAndGo) {
  SystemdScopeBus bus;
  const absl::StatusOr<Driver> driver = ChooseDriver(ctx_, "auto", bus);
  ASSERT_TRUE(driver.ok()) << driver.status();
  if (*driver != Driver::kSystemd) {
    EXPECT_EQ(ChooseDriver(ctx_, "systemd", bus).status().code(), absl::StatusCode::kUnavailable);
    GTEST_SKIP() << "needs systemd as process 1";
  }
  const PodCgroups cgroups(*driver, *hierarchy_, bus);
  const std::string slice = fmt::format("berthtest-pod{}.slice", ::getpid());
  const std::string id = fmt::format("{:064x}", ::getpid());
  base::Process process = Start("exec sleep 1000");
  const absl::Status placed = cgroups.Place(ctx_, slice, id, process.pid());
  ASSERT_TRUE(placed.ok()) << placed;
  const std::string cgroup = *CgroupOf(*driver, slice, id);
  EXPECT_THAT(CgroupsOf(process.pid()), HasSubstr(cgroup + "\n"));
  // Again, with the scope there already.
  const absl::Status again = cgroups.Place(ctx_, slice, id, process.pid());
  EXPECT_TRUE(again.ok()) << again;
  EXPECT_THAT(*hierarchy_->Pids(cgroup), ElementsAre(process.pid()));
  const absl::Status destroyed = cgroups.Destroy(ctx_, slice, id);
  EXPECT_TRUE(destroyed.ok()) << destroyed;
  ASSERT_TRUE(process.Wait(ctx_).ok());
  for (const std::string& dir : hierarchy_->Dirs(cgroup)) {
    EXPECT_FALSE(base::PathExists(dir)) << dir;
  }
  EXPECT_TRUE(cgroups.Destroy(ctx_, slice, id).ok());
  // The same name can be used anew.
  base::Process next = Start("exec sleep 1000");
  EXPECT_TRUE(cgroups.Place(ctx_, slice, id, next.pid()).ok());
  EXPECT_TRUE(cgroups.Destroy(ctx_, slice, id).ok());
  (void)next.Wait(ctx_);
  EXPECT_FALSE(bus.StartScope(ctx_, "berth-x.scope", slice, next.pid(), "gone").ok());
  EXPECT_TRUE(bus.StopUnit(ctx_, slice).ok());
}

}  // namespace
}  // namespace berth::cgroup
