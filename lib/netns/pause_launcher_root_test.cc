// Needs root. A shell script stands in for berth-pause: what is tested is what the launcher does
// around it.
#include <dirent.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/netns/pause_launcher.h"

namespace berth::netns {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr absl::Duration kTime = absl::Seconds(20);

class PauseLauncherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    char name[] = "/tmp/berth-pause-XXXXXX";
    dir_ = ::mkdtemp(name);
    ASSERT_TRUE(base::WriteFile(dir_ + "/pause", "#!/bin/sh\nexec sleep 1000\n", 0755).ok());
    spec_.pins_dir = dir_ + "/ns";
  }
  void TearDown() override {
    if (dir_.empty()) {
      return;
    }
    EXPECT_TRUE(UnpinAll(spec_.pins_dir).ok());
    std::filesystem::remove_all(dir_);
  }
  absl::StatusOr<Pause> Launch() {
    PauseLauncher launcher(runner_, dir_ + "/pause");
    return launcher.Launch(base::OpContext::WithTimeout(kTime), spec_);
  }
  static void Stop(const Pause& pause) {
    EXPECT_TRUE(
        StopPause(base::OpContext::WithTimeout(kTime), pause.process.pid(), pause.start_time).ok());
  }
  static ino_t Inode(const std::string& path) {
    struct stat st = {};
    return ::stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
  }
  // What `path` says to a thread inside the pod's namespaces.
  static std::string ReadInside(const Pause& pause, const std::string& path) {
    std::vector<std::string> pins;
    for (const auto& [type, pin] : pause.pins) {
      pins.push_back(pin);
    }
    std::string content;
    EXPECT_TRUE(RunInNamespaces(pins, [&] {
                  absl::StatusOr<std::string> read = base::ReadFile(path, 4096);
                  content = read.value_or("");
                  return read.status();
                }).ok());
    return content;
  }
  static bool HasChildren() {
    const pid_t found = ::waitpid(-1, nullptr, WNOHANG);
    return !(found < 0 && errno == ECHILD);
  }

  base::SystemProcessRunner runner_;
  std::string dir_;
  PauseSpec spec_;
};

TEST_F(PauseLauncherTest, ROOT_NamespacesAreReadyWhenItReturns) {
  spec_.hostname = "pod-host";
  spec_.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "0"},
                   {"kernel.shm_rmid_forced", "1"},
                   {"net.core.somaxconn", "77"}};
  const std::string host_somaxconn = *base::ReadFile("/proc/sys/net/core/somaxconn", 64);
  auto pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  ASSERT_EQ(pause->pins.size(), 3u);
  for (const auto& [type, pin] : pause->pins) {
    const std::string proc =
        "/proc/" + std::to_string(pause->process.pid()) + "/ns/" + std::string(NamespaceName(type));
    EXPECT_EQ(Inode(pin), Inode(proc));
    EXPECT_NE(Inode(pin), Inode("/proc/self/ns/" + std::string(NamespaceName(type))));
  }
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/kernel/hostname"), "pod-host\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/kernel/shm_rmid_forced"), "1\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/net/core/somaxconn"), "77\n");
  EXPECT_EQ(*base::ReadFile("/proc/sys/net/core/somaxconn", 64), host_somaxconn);
  const auto addresses = InterfaceAddresses(pause->pins[NamespaceType::kNet]);
  ASSERT_TRUE(addresses.ok());
  EXPECT_THAT(*addresses, Contains(InterfaceAddress{"lo", "127.0.0.1", 8, false}));
  EXPECT_EQ(*base::ProcessStartTime(pause->process.pid()), pause->start_time);
  Stop(*pause);
  EXPECT_FALSE(HasChildren());
}

TEST_F(PauseLauncherTest, ROOT_AUserNamespaceOwnsTheOthers) {
  ASSERT_EQ(::chmod(dir_.c_str(), 0755), 0);  // the pod's root starts the program there
  spec_.user = {{{100000, 0, 65536}}, {{200000, 0, 1000}}};
  spec_.new_pid = true;
  spec_.hostname = "pod-host";
  spec_.sysctls = {{"net.ipv4.ip_unprivileged_port_start", "0"},
                   {"net.ipv4.ping_group_range", "0 2147483647"},
                   {"kernel.shm_rmid_forced", "1"},
                   {"kernel.msgmax", "9000"}};
  auto pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  EXPECT_EQ(pause->pins.size(), 5u);
  const std::string proc = "/proc/" + std::to_string(pause->process.pid());
  const std::string status = *base::ReadFile(proc + "/status", 8192);
  EXPECT_THAT(status, HasSubstr("Uid:\t100000\t100000\t100000\t100000\n"));
  EXPECT_THAT(status, HasSubstr("Gid:\t200000\t200000\t200000\t200000\n"));
  EXPECT_THAT(status, HasSubstr("Groups:\t \n"));
  EXPECT_THAT(*base::ReadFile(proc + "/gid_map", 100), HasSubstr(" 200000 "));
  EXPECT_EQ(*base::ReadFile(proc + "/setgroups", 100), "allow\n");
  const base::UniqueFd user = *OpenNamespace(pause->pins[NamespaceType::kUser]);
  uid_t owner = 0;
  ASSERT_EQ(::ioctl(user.get(), NS_GET_OWNER_UID, &owner), 0);
  EXPECT_EQ(owner, 100000u) << "it would count against root's limits";
  for (const auto& [type, pin] : pause->pins) {
    if (type != NamespaceType::kUser) {
      const base::UniqueFd fd = *OpenNamespace(pin);
      const base::UniqueFd of(::ioctl(fd.get(), NS_GET_USERNS));
      EXPECT_EQ(Inode("/proc/self/fd/" + std::to_string(of.get())),
                Inode(pause->pins[NamespaceType::kUser]))
          << NamespaceName(type);
    }
  }
  pause->pins.erase(NamespaceType::kUser);  // a process of several threads cannot enter it
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/kernel/hostname"), "pod-host\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/net/ipv4/ping_group_range"), "200000\t200999\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/kernel/shm_rmid_forced"), "1\n");
  EXPECT_EQ(ReadInside(*pause, "/proc/sys/kernel/msgmax"), "9000\n");
  const auto addresses = InterfaceAddresses(pause->pins[NamespaceType::kNet]);
  EXPECT_THAT(*addresses, Contains(InterfaceAddress{"lo", "127.0.0.1", 8, false}));
  Stop(*pause);
  EXPECT_FALSE(HasChildren());
}

TEST_F(PauseLauncherTest, ROOT_AUserNamespaceThatFailsLeavesNothing) {
  ASSERT_EQ(::chmod(dir_.c_str(), 0755), 0);
  spec_.user = {{{100000, 0, 65536}}, {{200000, 0, 1000}}};
  spec_.sysctls = {{"net.core.no_such", "1"}};
  absl::Status status = Launch().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("set sysctl 'net.core.no_such': this kernel "
                                                       "has no such sysctl in a user namespace"));
  spec_.sysctls.clear();
  spec_.user->uids = {{100000, 0, 0}};
  status = Launch().status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("write uid_map of the user namespace"));
  spec_.user->uids = {{100000, 0, 1}};
  ASSERT_EQ(::chmod(dir_.c_str(), 0700), 0);
  status = Launch().status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("as user 100000 of the node"));
  EXPECT_FALSE(HasChildren());
  EXPECT_FALSE(base::PathExists(spec_.pins_dir));
}

TEST_F(PauseLauncherTest, ROOT_AUserNamespaceForItsMapsAlone) {
  PauseLauncher launcher(runner_, dir_ + "/pause");
  const auto fd = launcher.MakeUserNamespace(base::OpContext::WithTimeout(kTime),
                                             {{{1007, 7, 1}}, {{1008, 8, 1}}});
  ASSERT_TRUE(fd.ok()) << fd.status();
  EXPECT_NE(Inode("/proc/self/fd/" + std::to_string(fd->get())), Inode("/proc/self/ns/user"));
  EXPECT_FALSE(HasChildren());
}

// A daemon that dies before the pause is on record leaves none; afterwards its end does not matter.
TEST_F(PauseLauncherTest, ROOT_APauseNobodyRecordedEndsWithItsHold) {
  const char* program = std::getenv("BERTH_PAUSE");
  if (program == nullptr) {
    GTEST_SKIP() << "BERTH_PAUSE does not name the built berth-pause";
  }
  PauseLauncher launcher(runner_, program);
  auto lost = launcher.Launch(base::OpContext::WithTimeout(kTime), spec_);
  ASSERT_TRUE(lost.ok()) << lost.status();
  lost->hold.Reset();
  EXPECT_EQ(lost->process.Wait(base::OpContext::WithTimeout(kTime))->code, 1);
  ASSERT_TRUE(UnpinAll(spec_.pins_dir).ok());

  auto kept = launcher.Launch(base::OpContext::WithTimeout(kTime), spec_);
  ASSERT_TRUE(kept.ok()) << kept.status();
  ASSERT_TRUE(kept->Release().ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      kept->process.Wait(base::OpContext::WithTimeout(absl::Milliseconds(100))).status()));
  Stop(*kept);
}

TEST_F(PauseLauncherTest, ROOT_HostNamespacesAreShared) {
  spec_.new_net = spec_.new_ipc = spec_.new_uts = false;
  auto pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  EXPECT_TRUE(pause->pins.empty());
  for (const char* type : {"net", "ipc", "uts", "pid"}) {
    EXPECT_EQ(Inode("/proc/" + std::to_string(pause->process.pid()) + "/ns/" + type),
              Inode(std::string("/proc/self/ns/") + type));
  }
  Stop(*pause);
}

TEST_F(PauseLauncherTest, ROOT_SharedPidNamespaceHasPauseAsInit) {
  spec_.new_pid = true;
  auto pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  EXPECT_EQ(pause->pins.count(NamespaceType::kPid), 1u);
  const std::string status =
      *base::ReadFile("/proc/" + std::to_string(pause->process.pid()) + "/status", 8192);
  EXPECT_THAT(status, HasSubstr("NSpid:\t" + std::to_string(pause->process.pid()) + "\t1\n"));
  Stop(*pause);
}

TEST_F(PauseLauncherTest, ROOT_RefusedRequestsStartNothing) {
  spec_.sysctls = {{"kernel.core_pattern", "x"}};
  EXPECT_EQ(Launch().status().code(), absl::StatusCode::kInvalidArgument);
  spec_.sysctls = {{"net.ipv4.ip_forward", "1"}};
  spec_.new_net = false;
  EXPECT_EQ(Launch().status().code(), absl::StatusCode::kInvalidArgument);
  spec_.sysctls.clear();
  spec_.hostname = std::string(65, 'a');
  EXPECT_EQ(Launch().status().code(), absl::StatusCode::kInvalidArgument);
  spec_.hostname = "a b";
  EXPECT_EQ(Launch().status().code(), absl::StatusCode::kInvalidArgument);
  spec_.hostname = "host";
  spec_.new_uts = false;
  EXPECT_EQ(Launch().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(HasChildren());
  EXPECT_FALSE(base::PathExists(spec_.pins_dir));
}

TEST_F(PauseLauncherTest, ROOT_FailingStepsAreNamedAndLeaveNothing) {
  spec_.sysctls = {{"net.core.no_such", "1"}};
  absl::Status status = Launch().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << "the request names it";
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("set sysctl 'net.core.no_such': this kernel has no such sysctl"));
  spec_.sysctls = {{"net.ipv4.ip_forward", "word"}};
  status = Launch().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("net.ipv4.ip_forward"));
  spec_.sysctls.clear();
  ASSERT_TRUE(base::RemoveFile(dir_ + "/pause").ok());
  EXPECT_EQ(Launch().status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(HasChildren());
  EXPECT_FALSE(base::PathExists(spec_.pins_dir));
}

TEST_F(PauseLauncherTest, ROOT_UnpinnableEndsThePause) {
  ASSERT_TRUE(base::WriteFile(dir_ + "/ns", "a file where a directory should be", 0600).ok());
  EXPECT_FALSE(Launch().ok());
  EXPECT_FALSE(HasChildren());
  ASSERT_TRUE(base::RemoveFile(dir_ + "/ns").ok());
}

TEST_F(PauseLauncherTest, ROOT_OomScoreIsSetOrClamped) {
  spec_.oom_score_adj = 500;
  auto pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  const std::string path = "/proc/" + std::to_string(pause->process.pid()) + "/oom_score_adj";
  EXPECT_EQ(*base::ReadFile(path, 64), "500\n");
  Stop(*pause);
  ASSERT_TRUE(UnpinAll(spec_.pins_dir).ok());
  spec_.oom_score_adj = -998;
  pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  const std::string is =
      *base::ReadFile("/proc/" + std::to_string(pause->process.pid()) + "/oom_score_adj", 64);
  EXPECT_TRUE(is == "-998\n" || is == *base::ReadFile("/proc/self/oom_score_adj", 64)) << is;
  Stop(*pause);
}

TEST_F(PauseLauncherTest, ROOT_StopIsIdempotentAndNeverHitsAnother) {
  auto pause = Launch();
  ASSERT_TRUE(pause.ok()) << pause.status();
  const pid_t pid = pause->process.pid();
  // Another start time: the record is of a process that ended before, so this one must live.
  EXPECT_TRUE(StopPause(base::OpContext::WithTimeout(kTime), pid, pause->start_time + 1).ok());
  EXPECT_EQ(OpenProcess(pid, pause->start_time + 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(OpenProcess(pid, pause->start_time).ok());
  // Ended but not reaped: Stop reaps it.
  ASSERT_TRUE(pause->process.Kill(SIGKILL).ok());
  Stop(*pause);
  Stop(*pause);
  EXPECT_EQ(OpenProcess(pid, pause->start_time).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(HasChildren());
}

// While others are in its session the number stays in use, and some kernels answer EINVAL for it.
TEST_F(PauseLauncherTest, ROOT_AnEndedSessionLeaderHasEnded) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const pid_t leader = ::fork();
  if (leader == 0) {
    ::setsid();
    if (::fork() == 0) {
      ::close(pipe_fds[1]);
      char byte;
      (void)!::read(pipe_fds[0], &byte, 1);
    }
    ::_exit(0);
  }
  ::close(pipe_fds[0]);
  ASSERT_EQ(::waitpid(leader, nullptr, 0), leader);
  EXPECT_EQ(OpenProcess(leader, 1).status().code(), absl::StatusCode::kNotFound);
  ::close(pipe_fds[1]);
}

TEST_F(PauseLauncherTest, ROOT_ManyAtOnce) {
  constexpr int kThreads = 8;
  PauseLauncher launcher(runner_, dir_ + "/pause");
  std::vector<absl::Status> results(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      PauseSpec spec;
      spec.pins_dir = dir_ + "/many" + std::to_string(i);
      spec.hostname = "pod" + std::to_string(i);
      auto pause = launcher.Launch(base::OpContext::WithTimeout(kTime), spec);
      results[static_cast<size_t>(i)] = pause.status();
      if (pause.ok()) {
        EXPECT_EQ(ReadInside(*pause, "/proc/sys/kernel/hostname"), spec.hostname + "\n");
        Stop(*pause);
      }
      results[static_cast<size_t>(i)].Update(UnpinAll(spec.pins_dir));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const absl::Status& result : results) {
    EXPECT_TRUE(result.ok()) << result;
  }
  EXPECT_FALSE(HasChildren());
}

}  // namespace
}  // namespace berth::netns
