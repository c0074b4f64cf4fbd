// berth-pause as a process: its signals, its memory, and as pid 1 of a namespace.
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

template <typename Condition>
bool Eventually(const Condition& condition) {
  for (int i = 0; i < 1000; i++) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// Whether it ignores and waits for its signals, so is as it will be for the rest of its life.
bool IsReady(pid_t pid) {
  const std::string status = ReadAll("/proc/" + std::to_string(pid) + "/status");
  return status.find("SigIgn:\t0000000000010001") != std::string::npos &&
         status.find("State:\tS") != std::string::npos;
}

pid_t StartPause() {
  const pid_t pid = fork();
  if (pid == 0) {
    execl(BERTH_PAUSE, "berth-pause", nullptr);
    _exit(127);
  }
  EXPECT_TRUE(Eventually([pid] { return IsReady(pid); }));
  return pid;
}

TEST(PauseTest, ExitsWithZeroOnTermAndInt) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const pid_t pid = StartPause();
    kill(pid, SIGHUP);  // ignored
    kill(pid, signal);
    int status;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

TEST(PauseTest, FitsInItsMemoryAndIsRecognisable) {
  const pid_t pid = StartPause();
  const std::string proc = "/proc/" + std::to_string(pid);
  const std::string rollup = ReadAll(proc + "/smaps_rollup");
  const long pss = std::strtol(rollup.c_str() + rollup.find("\nPss:") + 5, nullptr, 10);
  EXPECT_GT(pss, 0);
  EXPECT_LE(pss, 60);
  RecordProperty("pause_pss_kb", static_cast<int>(pss));
  EXPECT_EQ(ReadAll(proc + "/comm"), "berth-pause\n");
  EXPECT_EQ(ReadAll(proc + "/cmdline"), std::string("berth-pause\0", 12));
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

// As pid 1 of a namespace, with a shell beside it that leaves an orphan behind.
TEST(PauseTest, BuriesOrphansOfItsNamespace) {
  if (getuid() != 0) {
    GTEST_SKIP() << "needs root";
  }
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t outer = fork();
  if (outer == 0) {
    if (unshare(CLONE_NEWPID) != 0) {
      _exit(1);
    }
    const pid_t pause = StartPause();
    const pid_t shell = fork();
    if (shell == 0) {
      // Says the pid of a child that ends after its parent has.
      dup2(ends[1], 1);
      execl("/bin/sh", "sh", "-c", "sh -c 'echo ready; sleep 0.3' & true", nullptr);
      _exit(127);
    }
    waitpid(shell, nullptr, 0);
    const std::string children =
        "/proc/" + std::to_string(pause) + "/task/" + std::to_string(pause) + "/children";
    const bool adopted = Eventually([&] { return !ReadAll(children).empty(); });
    const bool buried = Eventually([&] { return ReadAll(children).empty(); });
    kill(pause, SIGTERM);
    int status;
    waitpid(pause, &status, 0);
    const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    _exit(adopted && buried && clean ? 0 : (adopted ? 2 : 3));
  }
  int status;
  ASSERT_EQ(waitpid(outer, &status, 0), outer);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
