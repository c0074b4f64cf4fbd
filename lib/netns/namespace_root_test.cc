// Needs root: real namespaces and mounts. Each test has a directory of its own and leaves nothing
// mounted.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/process_runner.h"
#include "lib/netns/namespace.h"

namespace berth::netns {
namespace {

using ::testing::Contains;

class NamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    char name[] = "/tmp/berth-netns-XXXXXX";
    dir_ = ::mkdtemp(name);
    base::ProcessSpec spec;
    spec.argv = {"/bin/sleep", "1000"};
    spec.clone_flags = CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC;
    absl::StatusOr<base::Process> process = runner_.Start(spec);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
  }
  void TearDown() override {
    if (dir_.empty()) {
      return;
    }
    EndProcess();
    EXPECT_TRUE(UnpinAll(Pins()).ok());
    std::filesystem::remove_all(dir_);
  }
  void EndProcess() {
    if (process_.pid() > 0) {
      (void)process_.Kill(SIGKILL);
      (void)process_.Wait(base::OpContext::WithTimeout(absl::Seconds(10)));
      process_ = base::Process();
    }
  }
  std::string Pins() const { return dir_ + "/pins"; }
  std::string NetPin() const { return PinPath(Pins(), NamespaceType::kNet); }

  base::SystemProcessRunner runner_;
  base::Process process_;
  std::string dir_;
};

ino_t InodeOf(const std::string& path) {
  struct stat st = {};
  return ::stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

TEST_F(NamespaceTest, ROOT_PinOutlivesTheProcess) {
  const ino_t inode = InodeOf("/proc/" + std::to_string(process_.pid()) + "/ns/net");
  ASSERT_TRUE(PinNamespace(process_.pid(), NamespaceType::kNet, NetPin()).ok());
  EndProcess();
  EXPECT_TRUE(IsNamespace(NetPin()));
  EXPECT_EQ(InodeOf(NetPin()), inode);
  EXPECT_NE(InodeOf(NetPin()), InodeOf("/proc/self/ns/net"));
  struct stat st = {};
  ASSERT_EQ(::stat(Pins().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
}

TEST_F(NamespaceTest, ROOT_PinIsIdempotentAndNeverReplaces) {
  ASSERT_TRUE(PinNamespace(process_.pid(), NamespaceType::kNet, NetPin()).ok());
  EXPECT_TRUE(PinNamespace(process_.pid(), NamespaceType::kNet, NetPin()).ok());
  EXPECT_EQ(PinNamespace(::getpid(), NamespaceType::kNet, NetPin()).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(UnpinNamespace(NetPin()).ok());
  EXPECT_FALSE(base::PathExists(NetPin()));
}

TEST_F(NamespaceTest, ROOT_PinOfNoProcessLeavesNoFile) {
  const pid_t pid = process_.pid();
  EndProcess();
  EXPECT_EQ(PinNamespace(pid, NamespaceType::kNet, NetPin()).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(base::PathExists(NetPin()));
}

TEST_F(NamespaceTest, ROOT_UnpinOfWhatIsNotThere) {
  EXPECT_TRUE(UnpinNamespace(dir_ + "/absent/net").ok());
  ASSERT_TRUE(base::WriteFile(dir_ + "/plain", "", 0600).ok());
  EXPECT_FALSE(IsNamespace(dir_ + "/plain"));
  EXPECT_EQ(OpenNamespace(dir_ + "/plain").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(UnpinNamespace(dir_ + "/plain").ok());
  EXPECT_FALSE(base::PathExists(dir_ + "/plain"));
  EXPECT_TRUE(UnpinAll(dir_ + "/absent").ok());
}

TEST_F(NamespaceTest, ROOT_UnpinAllRemovesTheDirectory) {
  for (NamespaceType type : {NamespaceType::kNet, NamespaceType::kIpc, NamespaceType::kUts}) {
    ASSERT_TRUE(PinNamespace(process_.pid(), type, PinPath(Pins(), type)).ok());
  }
  // Pinned over a pin: both must go.
  ASSERT_EQ(::system(("mount --bind " + NetPin() + " " + NetPin()).c_str()), 0);
  EXPECT_TRUE(UnpinAll(Pins()).ok());
  EXPECT_FALSE(base::PathExists(Pins()));
  const absl::StatusOr<std::string> mounts = base::ReadFile("/proc/self/mountinfo", 1 << 20);
  EXPECT_EQ(mounts->find(dir_), std::string::npos);
}

TEST_F(NamespaceTest, ROOT_RunsInsideAndComesBack) {
  ASSERT_TRUE(PinNamespace(process_.pid(), NamespaceType::kNet, NetPin()).ok());
  const std::string uts = "/proc/" + std::to_string(process_.pid()) + "/ns/uts";
  const ino_t mine = InodeOf("/proc/thread-self/ns/net");
  ino_t inside = 0;
  ASSERT_TRUE(RunInNamespaces(std::vector<std::string>{NetPin(), uts}, [&] {
                inside = InodeOf("/proc/thread-self/ns/net");
                return ::sethostname("inside", 6) == 0 ? absl::OkStatus()
                                                       : absl::InternalError("sethostname");
              }).ok());
  EXPECT_EQ(inside, InodeOf(NetPin()));
  EXPECT_EQ(InodeOf("/proc/thread-self/ns/net"), mine);
  char name[65] = "";
  ASSERT_EQ(::gethostname(name, sizeof(name)), 0);
  EXPECT_STRNE(name, "inside");
}

TEST_F(NamespaceTest, ROOT_ErrorsComeBack) {
  EXPECT_EQ(
      RunInNamespaces(std::vector<std::string>{}, [] { return absl::AbortedError("x"); }).code(),
      absl::StatusCode::kAborted);
  const absl::Status user = RunInNamespaces(std::vector<std::string>{"/proc/self/ns/user"},
                                            [] { return absl::OkStatus(); });
  EXPECT_EQ(user.code(), absl::StatusCode::kInvalidArgument) << user;
  EXPECT_EQ(RunInNamespaces(std::vector<std::string>{dir_ + "/no"}, [] { return absl::OkStatus(); })
                .code(),
            absl::StatusCode::kNotFound);
}

TEST_F(NamespaceTest, ROOT_LoopbackAndAddresses) {
  ASSERT_TRUE(PinNamespace(process_.pid(), NamespaceType::kNet, NetPin()).ok());
  auto before = InterfaceAddresses(NetPin());
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_TRUE(before->empty());
  ASSERT_TRUE(BringUpLoopback(NetPin()).ok());
  ASSERT_TRUE(BringUpLoopback(NetPin()).ok());
  auto after = InterfaceAddresses(NetPin());
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_THAT(*after, Contains(InterfaceAddress{"lo", "127.0.0.1", 8, false}));
  EXPECT_THAT(*after, Contains(InterfaceAddress{"lo", "::1", 128, true}));
  EXPECT_FALSE(InterfaceAddresses(dir_ + "/absent").ok());
}

}  // namespace
}  // namespace berth::netns
