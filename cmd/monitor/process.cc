#include "cmd/monitor/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/monitor/text.h"

namespace berth::monitor {
namespace {

const char kOomScorePath[] = "/proc/self/oom_score_adj";
const char kOwnOomScore[] = "-999";

// What Spawn's children get; empty: leave it.
char child_oom_score[8] = "";

struct ProcessStat {
  char state;
  pid_t parent;
  pid_t session;
  uint64_t start_time;
};

bool ReadStat(pid_t pid, ProcessStat* stat) {
  TextBuffer<64> path;
  path.Add("/proc/").AddNumber(pid).Add("/stat");
  char content[1024];
  if (ReadSmallFile(path.c_str(), content, sizeof(content)) <= 0) {
    return false;
  }
  // The command (field 2) may contain anything, so count from its closing parenthesis.
  const char* at = strrchr(content, ')');
  if (at == nullptr) {
    return false;
  }
  *stat = {};
  for (int field = 3; field <= 22; field++) {
    at = strchr(at, ' ');
    if (at == nullptr) {
      return false;
    }
    at++;
    if (field == 3) {
      stat->state = *at;
    } else if (field == 4) {
      stat->parent = static_cast<pid_t>(ParseNumber(at));
    } else if (field == 6) {
      stat->session = static_cast<pid_t>(ParseNumber(at));
    } else if (field == 22) {
      stat->start_time = static_cast<uint64_t>(ParseNumber(at));
    }
  }
  return true;
}

struct Found {
  pid_t pid;
  pid_t parent;
  bool doomed;
  bool dead;
};

// The processes of this machine, in memory that is given back: a tree is killed once in a monitor's
// life, if at all.
class ProcessTable {
 public:
  ProcessTable() {
    void* memory = mmap(nullptr, kMax * sizeof(Found), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    found_ = memory == MAP_FAILED ? nullptr : static_cast<Found*>(memory);
  }
  ~ProcessTable() {
    if (found_ != nullptr) {
      munmap(found_, kMax * sizeof(Found));
    }
  }

  // Reads /proc anew and marks what is below `root` or in `session`.
  void Scan(pid_t root, pid_t session) {
    count_ = 0;
    DIR* proc = opendir("/proc");
    if (proc == nullptr || found_ == nullptr) {
      return;
    }
    while (const dirent* entry = readdir(proc)) {
      const pid_t pid = static_cast<pid_t>(ParseNumber(entry->d_name));
      ProcessStat stat;
      if (pid <= 0 || pid == root || count_ == kMax || !ReadStat(pid, &stat)) {
        continue;
      }
      const bool doomed = stat.parent == root || (session > 0 && stat.session == session);
      // The dead are links to others: a process of several threads looks dead when its first one
      // has ended, and keeps its children until the last one has.
      const bool dead = stat.state == 'Z' || stat.state == 'X';
      found_[count_++] = {pid, stat.parent, doomed, dead};
    }
    closedir(proc);
    while (MarkChildren()) {
    }
  }

  int Signal(int signal) const {
    int count = 0;
    for (size_t i = 0; i < count_; i++) {
      if (found_[i].doomed && !found_[i].dead && kill(found_[i].pid, signal) == 0) {
        count++;
      }
    }
    return count;
  }

 private:
  static constexpr size_t kMax = 1 << 16;

  bool MarkChildren() {
    bool changed = false;
    for (size_t i = 0; i < count_; i++) {
      if (!found_[i].doomed && IsDoomed(found_[i].parent)) {
        found_[i].doomed = true;
        changed = true;
      }
    }
    return changed;
  }
  bool IsDoomed(pid_t pid) const {
    for (size_t i = 0; i < count_; i++) {
      if (found_[i].pid == pid) {
        return found_[i].doomed;
      }
    }
    return false;
  }

  Found* found_;
  size_t count_ = 0;
};

// The child shares this process's memory until it has called execve (vfork), so it touches nothing
// but `error`.
[[noreturn]] void RunChild(char* const* argv, const ChildFiles& files, volatile int* error) {
  if (child_oom_score[0] != '\0') {
    WriteSmallFile(kOomScorePath, child_oom_score);
  }
  setpgid(0, 0);
  if (dup2(files.in, 0) >= 0 && dup2(files.out, 1) >= 0 && dup2(files.err, 2) >= 0) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(argv[0], argv, environ);
  }
  *error = errno;
  _exit(127);
}

}  // namespace

uint64_t ProcessStartTime(pid_t pid) {
  ProcessStat stat;
  return ReadStat(pid, &stat) ? stat.start_time : 0;
}

void LowerOomScore() {
  char former[16];
  const int size = ReadSmallFile(kOomScorePath, former, sizeof(former));
  if (size <= 0 || WriteSmallFile(kOomScorePath, kOwnOomScore) != 0) {
    return;
  }
  Text(child_oom_score, sizeof(child_oom_score))
      .Add(former[0] == '-' ? "0" : former, former[0] == '-' ? 1 : strcspn(former, "\n"));
}

void SetChildOomScore(const char* score) {
  Text(child_oom_score, sizeof(child_oom_score)).Add(score);
}

void SetOomScore(pid_t pid, const char* score) {
  TextBuffer<64> path;
  WriteSmallFile(path.Add("/proc/").AddNumber(pid).Add("/oom_score_adj").c_str(), score);
}

void BindToCpu(pid_t pid, int64_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu < CPU_SETSIZE) {
    CPU_SET(static_cast<size_t>(cpu), &set);
    sched_setaffinity(pid, sizeof(set), &set);
  }
}

void BecomeKeeper() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

pid_t Spawn(char* const* argv, const ChildFiles& files) {
  volatile int error = 0;
  const pid_t pid = vfork();
  if (pid < 0) {
    return -errno;
  }
  if (pid == 0) {
    RunChild(argv, files, &error);
  }
  if (error != 0) {
    waitpid(pid, nullptr, 0);
    return -error;
  }
  return pid;
}

void KillDescendants(pid_t session) {
  constexpr int kRounds = 500;
  const timespec pause = {0, 2000000};
  ProcessTable table;
  for (int round = 0; round < kRounds; round++) {
    // A stopped process forks no more; what was forked before it stopped shows in the next scan.
    int before = -1;
    for (int stop_round = 0; stop_round < 20; stop_round++) {
      table.Scan(getpid(), session);
      const int count = table.Signal(SIGSTOP);
      if (count == before) {
        break;
      }
      before = count;
    }
    if (table.Signal(SIGKILL) == 0) {
      return;
    }
    nanosleep(&pause, nullptr);
  }
}

bool ReapAll(int millis) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  const int64_t end = MonotonicNanos() + millis * INT64_C(1000000);
  while (true) {
    pid_t pid;
    do {
      pid = waitpid(-1, nullptr, WNOHANG);
    } while (pid > 0);
    if (pid < 0 && errno == ECHILD) {
      return true;
    }
    const int64_t left = end - MonotonicNanos();
    if (left <= 0) {
      return false;
    }
    const timespec wait = {static_cast<time_t>(left / 1000000000),
                           static_cast<long>(left % 1000000000)};
    sigtimedwait(&child, nullptr, &wait);
  }
}

}  // namespace berth::monitor
