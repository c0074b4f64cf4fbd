// ScratchDir: an empty directory on a tmpfs of a mount namespace in which all else but the working
// directory is read-only: what a layer writes elsewhere fails loudly and harms nothing. For a
// thread that lives as long as the program.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::fuzz {

class ScratchDir {
 public:
  static constexpr char kPlace[] = "/mnt";

  // The calling thread's view of the file system changes for good.
  ScratchDir() {
    BERTH_CHECK(::unshare(CLONE_FS | CLONE_NEWNS) == 0);
    BERTH_CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    // But for the working directory, where libFuzzer puts what it finds, on whichever thread.
    char here[4096];
    BERTH_CHECK(::getcwd(here, sizeof(here)) != nullptr);
    BERTH_CHECK(::mount(here, here, nullptr, MS_BIND, nullptr) == 0);
    constexpr uint64_t kReadOnly = MS_RDONLY;  // MOUNT_ATTR_RDONLY has the same value
    SetAttributes("/", 0x8000 /* AT_RECURSIVE */, {kReadOnly, 0, 0, 0});
    SetAttributes(here, 0, {0, kReadOnly, 0, 0});
    BERTH_CHECK(::chdir(here) == 0);
    BERTH_CHECK(::mount("fuzz", kPlace, "tmpfs", 0, "mode=700,size=64m,nr_inodes=20000") == 0);
  }

  // An empty directory in an otherwise empty one, for the next input.
  base::UniqueFd Clean() {
    BERTH_CHECK(base::RemoveTree(root_).ok());
    BERTH_CHECK(::mkdir(root_.c_str(), 0755) == 0);
    base::UniqueFd fd(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    BERTH_CHECK(fd.valid());
    return fd;
  }
  // Nothing was made beside it.
  void CheckNeighbours() const {
    const auto names = base::ListDir(kPlace);
    BERTH_CHECK(names.ok() && names->size() == 1);
  }

 private:
  struct Attributes {
    uint64_t set, clear, propagation, userns_fd;
  };
  static void SetAttributes(const char* path, int flags, const Attributes& attributes) {
    BERTH_CHECK(
        ::syscall(442 /* mount_setattr */, -1, path, flags, &attributes, sizeof(attributes)) == 0);
  }

  const std::string root_ = std::string(kPlace) + "/root";
};

// Runs calls one by one on a thread of its own, which is never ended.
class Worker {
 public:
  void Run(const std::function<void(ScratchDir&)>& call) {
    std::unique_lock lock(mu_);
    if (!started_) {
      started_ = true;
      std::thread([this] { Work(); }).detach();
    }
    call_ = &call;
    changed_.notify_all();
    changed_.wait(lock, [this] { return call_ == nullptr; });
  }

 private:
  void Work() {
    // libFuzzer's alarm, by which it finds what takes too long, is for its own thread.
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    ::pthread_sigmask(SIG_BLOCK, &alarm, nullptr);
    ScratchDir scratch;
    std::unique_lock lock(mu_);
    while (true) {
      changed_.wait(lock, [this] { return call_ != nullptr; });
      (*call_)(scratch);
      call_ = nullptr;
      changed_.notify_all();
    }
  }

  std::mutex mu_;
  std::condition_variable changed_;
  const std::function<void(ScratchDir&)>* call_ = nullptr;
  bool started_ = false;
};

inline Worker& TheWorker() {
  static Worker* const worker = new Worker;
  return *worker;
}

}  // namespace berth::fuzz
