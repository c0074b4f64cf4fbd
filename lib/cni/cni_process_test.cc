// Plugins that misbehave: little scripts run by the real ProcessRunner. Needs no root.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/process_runner.h"
#include "lib/cni/cni_invoker.h"

namespace berth::cni {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CniProcessTest : public ::testing::Test {
 protected:
  CniProcessTest() {
    char name[] = "/tmp/berth-cni-XXXXXX";
    root_ = ::mkdtemp(name);
    pod_.id = "abc";
    pod_.name = "web";
    pod_.namespace_name = "prod";
    pod_.netns_path = "/proc/self/ns/net";
  }
  ~CniProcessTest() override { std::filesystem::remove_all(root_); }

  // A plugin whose ADD runs `script`; DEL leaves a mark.
  void Plugin(const std::string& script) {
    ASSERT_TRUE(base::WriteFile(root_ + "/faulty",
                                "#!/bin/sh\n[ $CNI_COMMAND = DEL ] && { : > " + root_ +
                                    "/deleted; exit 0; }\n" + script + "\n",
                                0755)
                    .ok());
  }
  absl::Status Add(absl::Duration timeout = absl::Seconds(30)) {
    const CniInvoker invoker(runner_, {root_});
    const auto network =
        ParseNetworkConfig(R"({"cniVersion": "1.0.0", "name": "net1", "type": "faulty"})");
    const auto plan = invoker.Plan(*network, pod_);
    const absl::Status status = invoker.Add(base::OpContext::WithTimeout(timeout), *plan).status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("add pod 'prod/web' to network 'net1': cni plugin 'faulty'"));
    EXPECT_LT(status.message().size(), 2000u);
    return status;
  }
  bool Deleted() const { return base::PathExists(root_ + "/deleted"); }

  std::string root_;
  base::SystemProcessRunner runner_;
  PodNetwork pod_;
};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST_F(CniProcessTest, Missing) { EXPECT_EQ(Add().code(), absl::StatusCode::kUnavailable); }

TEST_F(CniProcessTest, ExitWithoutJson) {
  Plugin("echo 'could not find the switch' >&2; exit 3");
  const absl::Status status = Add();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Message(status), HasSubstr("exited with 3: could not find the switch"));
  EXPECT_TRUE(Deleted());
}

TEST_F(CniProcessTest, ExitInSilence) {
  Plugin("exit 1");
  EXPECT_THAT(Message(Add()), HasSubstr("exited with 1 and said nothing"));
}

TEST_F(CniProcessTest, ExitWithJson) {
  Plugin(R"(echo '{"cniVersion": "1.0.0", "code": 11, "msg": "try later"}'; exit 1)");
  const absl::Status status = Add();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(status), HasSubstr("try later (cni code 11)"));
}

TEST_F(CniProcessTest, Killed) {
  Plugin("kill -9 $$");
  EXPECT_THAT(Message(Add()), HasSubstr("killed by signal 9"));
}

TEST_F(CniProcessTest, SucceedsWithNonsense) {
  const char* kScripts[] = {"exit 0",
                            "echo garbage",
                            "echo '[]'",
                            R"(echo '{"cniVersion": "1.0.0", "ips": [{"address": "x"}]}')",
                            R"(printf '{"cniVersion": "1.0.0"')",
                            "cat /dev/urandom | head -c 5000",
                            "echo '{\"cniVersion\": \"1.0.0\"} trailing'"};
  for (const char* script : kScripts) {
    Plugin(script);
    const absl::Status status = Add();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << script;
    EXPECT_THAT(Message(status), HasSubstr("its result is not valid")) << script;
    EXPECT_THAT(Message(status), Not(HasSubstr("\n"))) << script;
    EXPECT_TRUE(Deleted());
    (void)base::RemoveFile(root_ + "/deleted");
  }
}

TEST_F(CniProcessTest, VersionMismatch) {
  Plugin(R"(echo '{"cniVersion": "3.0.0"}')");
  EXPECT_THAT(Message(Add()), HasSubstr("unknown cniVersion '3.0.0'"));
  Plugin(
      R"(echo '{"cniVersion": "1.0.0", "code": 1, "msg": "incompatible CNI versions", "details": "config is 1.0.0"}'; exit 1)");
  EXPECT_EQ(Add().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CniProcessTest, HugeOutput) {
  Plugin("head -c 100000000 /dev/zero | tr '\\0' x");
  EXPECT_THAT(Message(Add()), HasSubstr("printed 1048576 bytes or more"));
  Plugin("head -c 100000000 /dev/zero | tr '\\0' x >&2; exit 1");
  EXPECT_THAT(Message(Add()), HasSubstr("exited with 1: xxx"));
}

TEST_F(CniProcessTest, HangIsKilledAtTheDeadline) {
  Plugin("echo $$ > " + root_ + "/pid; exec sleep 1000");
  const absl::Time begin = absl::Now();
  EXPECT_EQ(Add(absl::Milliseconds(300)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  const pid_t pid = std::atoi(base::ReadFile(root_ + "/pid", 32)->c_str());
  EXPECT_FALSE(base::ProcessStartTime(pid).ok());
  EXPECT_TRUE(Deleted());
}

TEST_F(CniProcessTest, DoesNotReadItsInput) {
  Plugin("exec <&-; exit 5");
  pod_.annotations["big"] = std::string(200000, 'x');
  EXPECT_THAT(Message(Add()), HasSubstr("exited with 5"));
}

TEST_F(CniProcessTest, NotAProgram) {
  ASSERT_TRUE(base::WriteFile(root_ + "/faulty",
                              "\x7f"
                              "ELF nonsense",
                              0755)
                  .ok());
  EXPECT_FALSE(Add().ok());
}

}  // namespace
}  // namespace berth::cni
