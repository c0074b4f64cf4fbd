#include "daemon/app/root_lock.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::app {
namespace {

class RootLockTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-app-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  std::string dir_;
};

TEST_F(RootLockTest, TheSecondIsToldWhoHasIt) {
  {
    const auto first = RootLock::Take(dir_ + "/lock", dir_);
    ASSERT_TRUE(first.ok()) << first.status();
    const auto second = RootLock::Take(dir_ + "/lock", dir_);
    EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
    EXPECT_THAT(std::string(second.status().message()),
                ::testing::HasSubstr(std::to_string(::getpid())));
  }
  EXPECT_TRUE(RootLock::Take(dir_ + "/lock", dir_).ok());
}

TEST_F(RootLockTest, WhatAKilledOneWasStartingIsWaitedFor) {
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    const auto lock = RootLock::Take(dir_ + "/lock", dir_);
    if (lock.ok() && ::fork() == 0) {
      absl::SleepFor(absl::Milliseconds(300));
    }
    ::_exit(lock.ok() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  ASSERT_EQ(status, 0);
  const auto next = RootLock::Take(dir_ + "/lock", dir_);
  EXPECT_TRUE(next.ok()) << next.status();
}

TEST_F(RootLockTest, TwoRootsDoNotShareAState) {
  const auto first = RootLock::Take(dir_ + "/lock", dir_);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = RootLock::Take(dir_ + "/other", dir_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()),
              ::testing::HasSubstr("another root uses this state directory"));
}

TEST_F(RootLockTest, AFileInTheSocketsPlaceIsNotTouched) {
  ASSERT_TRUE(base::WriteFile(dir_ + "/s", "precious", 0600).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckSocketFree(dir_ + "/s")));
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckSocketFree(dir_)));
  EXPECT_EQ(*base::ReadFile(dir_ + "/s", 100), "precious");
}

TEST_F(RootLockTest, ALivingSocketIsNotTakenOver) {
  const std::string path = dir_ + "/s";
  EXPECT_TRUE(CheckSocketFree(path).ok());
  {
    const base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(::listen(fd.get(), 1), 0);
    EXPECT_TRUE(absl::IsFailedPrecondition(CheckSocketFree(path)));
  }
  EXPECT_TRUE(CheckSocketFree(path).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(CheckSocketFree(dir_ + "/" + std::string(120, 'x'))));
}

}  // namespace
}  // namespace berth::app
