#include "cmd/berthctl/run_command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cmd/berthctl/node_commands.h"
#include "cmd/berthctl/testing/fake_cri.h"

namespace berth::berthctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kOut[] = "2026-11-22T20:04:05.000000000+00:00 stdout ";
constexpr char kErr[] = "2026-11-22T20:04:05.000000000+00:00 stderr ";

class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.image = "example.com/busybox:1";
    out_.Reset(memfd_create("out", MFD_CLOEXEC));
    err_.Reset(memfd_create("err", MFD_CLOEXEC));
    options_.stdout_fd = out_.get();
    options_.stderr_fd = err_.get();
  }

  absl::StatusOr<int> DoRun() {
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(fake_.socket());
    EXPECT_TRUE(client.ok()) << client.status();
    return berthctl::Run(**client, interrupt_, options_);
  }
  static std::string Written(const base::UniqueFd& fd) {
    lseek(fd.get(), 0, SEEK_SET);
    return base::ReadFd(fd.get(), 1 << 20).value_or("unreadable");
  }
  // Sends the signal as soon as the fake has got the call, or after a while when it does not.
  std::thread SignalAt(const std::string& call, int signal) {
    return std::thread([this, call, signal] {
      for (int i = 0; i < 10'000 && !fake_.Called(call); ++i) {
        usleep(1000);
      }
      EXPECT_TRUE(fake_.Called(call)) << call;
      kill(getpid(), signal);
    });
  }
  void ExpectNothingLeft() {
    EXPECT_EQ(fake_.pods(), 0u);
    const std::string log_dir = fake_.pod_config().log_directory();
    EXPECT_TRUE(log_dir.empty() || !base::PathExists(log_dir)) << log_dir;
  }

  Interrupt interrupt_;  // before the server's threads
  FakeCri fake_;
  RunOptions options_;
  base::UniqueFd out_;
  base::UniqueFd err_;
};

TEST_F(RunTest, ShowsTheOutputAndReturnsTheExitCode) {
  fake_.log = {kOut + std::string("F one\n"), "", kErr + std::string("F oops\n") + kOut + "P tw",
               "o\n"};
  fake_.exit_code = 7;
  fake_.reason = "Error";
  const absl::StatusOr<int> code = DoRun();
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 7);
  EXPECT_EQ(Written(out_), "one\ntwo");
  EXPECT_EQ(Written(err_), "oops\n");
  EXPECT_FALSE(fake_.Called("PullImage"));
  EXPECT_FALSE(fake_.Called("StopContainer"));
  ExpectNothingLeft();
}

TEST_F(RunTest, PullsWhatIsAbsent) {
  fake_.has_image = false;
  ASSERT_TRUE(DoRun().ok());
  EXPECT_THAT(fake_.calls(), ElementsAre("ImageStatus", "PullImage", "RunPodSandbox",
                                         "CreateContainer", "StartContainer", "ContainerStatus",
                                         "ListPodSandbox", "StopPodSandbox", "RemovePodSandbox"));
}

TEST_F(RunTest, NoPullSaysWhatIsMissing) {
  fake_.has_image = false;
  options_.no_pull = true;
  const absl::Status status = DoRun().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("image 'example.com/busybox:1' is not on this node"));
  EXPECT_THAT(fake_.calls(), ElementsAre("ImageStatus"));
}

TEST_F(RunTest, RemovesEverythingWhateverFails) {
  for (const char* call :
       {"RunPodSandbox", "CreateContainer", "StartContainer", "ContainerStatus"}) {
    fake_.errors = {{call, grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no such luck")}};
    const absl::Status status = DoRun().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << call;
    EXPECT_THAT(std::string(status.message()), HasSubstr(": no such luck")) << call;
    ExpectNothingLeft();
  }
  EXPECT_EQ(Written(err_), "");
}

TEST_F(RunTest, SaysWhatItCouldNotRemove) {
  fake_.errors = {{"StopPodSandbox", grpc::Status(grpc::StatusCode::INTERNAL, "cni is broken")}};
  const absl::StatusOr<int> code = DoRun();
  ASSERT_TRUE(code.ok());
  EXPECT_EQ(Written(err_), "berthctl: clean up: pod 'pod1' is left: stop pod: cni is broken\n");
  EXPECT_FALSE(base::PathExists(fake_.pod_config().log_directory()));
}

TEST_F(RunTest, SaysWhyAContainerWasKilled) {
  fake_.exit_code = 137;
  fake_.reason = "OOMKilled";
  EXPECT_EQ(*DoRun(), 137);
  EXPECT_EQ(Written(err_), "berthctl: the container ended: OOMKilled\n");
}

TEST_F(RunTest, ALogThatIsNoneIsAnError) {
  fake_.log = {"hello\n"};
  EXPECT_EQ(DoRun().status().code(), absl::StatusCode::kDataLoss);
  ExpectNothingLeft();
}

TEST_F(RunTest, AClosedOutputStillCleansUp) {
  fake_.log = {kOut + std::string("F one\n")};
  fake_.never_exits = true;
  options_.stdout_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(DoRun().status().code(), absl::StatusCode::kResourceExhausted);
  close(options_.stdout_fd);
  ExpectNothingLeft();
}

TEST_F(RunTest, SigtermStopsRemovesAndExits143) {
  fake_.log = {kOut + std::string("F running\n")};
  fake_.never_exits = true;
  std::thread signal = SignalAt("ContainerStatus", SIGTERM);
  const absl::StatusOr<int> code = DoRun();
  signal.join();
  EXPECT_EQ(*code, 143);
  EXPECT_EQ(fake_.stop_timeout(), 5);
  EXPECT_EQ(Written(out_), "running\n");
  ExpectNothingLeft();
}

TEST_F(RunTest, SigintEndsAPull) {
  fake_.has_image = false;
  fake_.hangs = "PullImage";
  std::thread signal = SignalAt("PullImage", SIGINT);
  const absl::StatusOr<int> code = DoRun();
  signal.join();
  EXPECT_EQ(*code, 130);
  EXPECT_THAT(fake_.calls(), ElementsAre("ImageStatus", "PullImage"));
}

TEST_F(RunTest, SigintWhileThePodIsMadeRemovesIt) {
  fake_.hangs = "RunPodSandbox";
  std::thread signal = SignalAt("RunPodSandbox", SIGINT);
  const absl::StatusOr<int> code = DoRun();
  signal.join();
  EXPECT_EQ(*code, 130);
  EXPECT_FALSE(fake_.Called("CreateContainer"));
  ExpectNothingLeft();
}

TEST_F(RunTest, HostNetworkAndHandlerReachThePod) {
  options_.host_network = true;
  options_.runtime_handler = "runc";
  ASSERT_TRUE(DoRun().ok());
  EXPECT_EQ(fake_.handler(), "runc");
  const auto& namespaces = fake_.pod_config().linux().security_context().namespace_options();
  EXPECT_EQ(namespaces.network(), cri::NODE);
  EXPECT_EQ(namespaces.pid(), cri::CONTAINER);
}

TEST_F(RunTest, AnotherRuntimeDoesNotKnowTheAdministratorsCalls) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(fake_.socket());
  ASSERT_TRUE(client.ok());
  const absl::Status status = Status(**client, false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("it is another runtime"));
}

TEST(MakeContainerConfigTest, TakesArgsEnvAndUser) {
  RunOptions options;
  options.image = "img";
  options.args = {"sh", "-c", "true"};
  options.env = {"A=1", "B=x=y", "C="};
  options.user = "1000:2000";
  const absl::StatusOr<cri::ContainerConfig> config = MakeContainerConfig(options);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->args_size(), 3);
  EXPECT_EQ(config->command_size(), 0);
  EXPECT_EQ(config->envs(1).key(), "B");
  EXPECT_EQ(config->envs(1).value(), "x=y");
  EXPECT_EQ(config->envs(2).value(), "");
  EXPECT_EQ(config->linux().security_context().run_as_user().value(), 1000);
  EXPECT_EQ(config->linux().security_context().run_as_group().value(), 2000);
}

TEST(MakeContainerConfigTest, TakesUsersByName) {
  RunOptions options;
  options.user = "nobody";
  absl::StatusOr<cri::ContainerConfig> config = MakeContainerConfig(options);
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->linux().security_context().run_as_username(), "nobody");
  EXPECT_FALSE(config->linux().security_context().has_run_as_user());
  options.user = "0";
  config = MakeContainerConfig(options);
  ASSERT_TRUE(config.ok());
  EXPECT_TRUE(config->linux().security_context().has_run_as_user());
}

TEST(MakeContainerConfigTest, RefusesBadEnvAndUser) {
  for (const char* env : {"", "A", "=x"}) {
    RunOptions options;
    options.env = {env};
    EXPECT_EQ(MakeContainerConfig(options).status().code(), absl::StatusCode::kInvalidArgument)
        << env;
  }
  for (const char* user : {"1:", ":1", "1:group", "1:-1", "1:4294967295"}) {
    RunOptions options;
    options.user = user;
    EXPECT_EQ(MakeContainerConfig(options).status().code(), absl::StatusCode::kInvalidArgument)
        << user;
  }
}

TEST(ClientConnect, SaysWhatToDoWhenThereIsNoDaemon) {
  const std::string path = testing::TempDir() + "/berthctl-none.sock";
  unlink(path.c_str());
  const absl::Status absent = Client::Connect("unix://" + path).status();
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.message()),
              HasSubstr("connect to '" + path + "': no such socket"));
  EXPECT_THAT(std::string(absent.message()), HasSubstr("`systemctl status berth`"));

  // A socket that a daemon left when it was killed.
  const base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const absl::Status dead = Client::Connect("unix://" + path).status();
  EXPECT_EQ(dead.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(dead.message()), HasSubstr("nobody listens"));
  unlink(path.c_str());
}

TEST(ClientConnect, RefusesOtherForms) {
  for (const std::string& socket :
       {std::string("tcp://127.0.0.1:1"), std::string("unix://relative"), std::string(),
        "/" + std::string(107, 'x')}) {
    EXPECT_EQ(Client::Connect(socket).status().code(), absl::StatusCode::kInvalidArgument)
        << socket;
  }
}

}  // namespace
}  // namespace berth::berthctl
