// When the network's garbage is collected, and what is not garbage. No plugin runs.
#include "lib/sandbox/pod_networks.h"

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/testing/fake_process_runner.h"

namespace berth::sandbox {
namespace {

using base::FakeProcessRunner;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class PodNetworksTest : public ::testing::Test {
 protected:
  PodNetworksTest()
      : runner_([this](const base::ProcessSpec& spec, std::string_view) {
          return Answer(spec.env[0].substr(std::string("CNI_COMMAND=").size()));
        }) {
    std::filesystem::create_directories(root_ + "/net.d");
    EXPECT_TRUE(base::WriteFile(root_ + "/plugin", "", 0755).ok());
    Configure("1.1.0");
  }
  ~PodNetworksTest() override { std::filesystem::remove_all(root_); }

  static std::string MakeRoot() {
    char name[] = "/tmp/berth-networks-XXXXXX";
    return ::mkdtemp(name);
  }
  void Configure(const std::string& version, const std::string& extra = "") {
    ASSERT_TRUE(base::WriteFile(root_ + "/net.d/10.conflist",
                                R"({"cniVersion": ")" + version + R"(", "name": "net1", )" + extra +
                                    R"("plugins": [{"type": "plugin"}]})",
                                0644)
                    .ok());
    configs_.emplace(cni::NetworkOptions{.conf_dir = root_ + "/net.d", .plugin_dirs = {root_}});
  }
  absl::StatusOr<base::RunResult> Answer(const std::string& command) {
    base::MutexLock lock(mu_);
    running_.push_back(command);
    while (command == held_) {
      changed_.WaitFor(mu_, absl::Milliseconds(10));
    }
    running_.erase(std::find(running_.begin(), running_.end(), command));
    if (command == failing_) {
      return FakeProcessRunner::Exits(1, R"({"code": 50, "msg": "agent is down"})");
    }
    return FakeProcessRunner::Exits(0, R"({"cniVersion": "1.1.0", "ips": []})");
  }
  // Calls of this command do not end, or fail, until another one is named.
  void Hold(const std::string& command) {
    base::MutexLock lock(mu_);
    held_ = command;
  }
  void Fail(const std::string& command) {
    base::MutexLock lock(mu_);
    failing_ = command;
  }
  bool Runs(const std::string& command) {
    base::MutexLock lock(mu_);
    return std::find(running_.begin(), running_.end(), command) != running_.end();
  }
  static bool Eventually(const std::function<bool()>& is_so) {
    const absl::Time end = absl::Now() + absl::Seconds(10);
    while (!is_so() && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    return is_so();
  }
  std::vector<std::string> Commands() {
    std::vector<std::string> commands;
    for (const auto& call : runner_.calls()) {
      commands.push_back(call.Env("CNI_COMMAND"));
    }
    return commands;
  }
  bool Collected() { return CallsOf("GC") > 0; }
  int CallsOf(const std::string& command) {
    const std::vector<std::string> commands = Commands();
    return static_cast<int>(std::count(commands.begin(), commands.end(), command));
  }
  std::string GcInput() {
    for (const auto& call : runner_.calls()) {
      if (call.Env("CNI_COMMAND") == "GC") {
        return call.input;
      }
    }
    return "";
  }
  static model::SandboxRecord Pod(const std::string& name) {
    model::SandboxRecord record;
    record.id = model::SandboxId::Generate();
    record.spec.name = name;
    record.spec.ns = "prod";
    return record;
  }
  model::SandboxRecord Connected(PodNetworks& networks, const std::string& name) {
    model::SandboxRecord pod = Pod(name);
    EXPECT_TRUE(networks.Plan(pod, "/proc/self/ns/net").ok());
    const absl::Status status = networks.Connect(ctx_, pod);
    EXPECT_TRUE(status.ok()) << status;
    return pod;
  }

  const PodNetworks::Times times_ = {.gc_budget = absl::Seconds(5),
                                     .look_again = absl::Milliseconds(50),
                                     .give_up = absl::Seconds(20)};
  const base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Seconds(20));
  const std::string root_ = MakeRoot();
  base::Mutex mu_;
  base::CondVar changed_;
  std::string held_;
  std::string failing_;
  std::vector<std::string> running_;
  FakeProcessRunner runner_;
  std::optional<cni::NetworkConfigs> configs_;
  const cni::CniInvoker invoker_{runner_, {root_}};
};

TEST_F(PodNetworksTest, GarbageIsWhatNoPodHas) {
  PodNetworks networks(*configs_, invoker_, times_);
  model::SandboxRecord earlier = Pod("earlier");
  ASSERT_TRUE(networks.Plan(earlier, "/proc/self/ns/net").ok());
  model::SandboxRecord down = Pod("down");
  ASSERT_TRUE(networks.Plan(down, "/proc/self/ns/net").ok());
  down.network_down = true;
  networks.Remember(earlier);
  networks.Remember(down);
  networks.Remember(Pod("on the node's network"));
  const model::SandboxRecord stays = Connected(networks, "stays");
  model::SandboxRecord gone = Connected(networks, "gone");
  ASSERT_TRUE(networks.Disconnect(ctx_, gone).ok());
  networks.StartCollection();
  ASSERT_TRUE(Eventually([&] { return Collected(); }));
  EXPECT_THAT(GcInput(), HasSubstr(earlier.id.value()));
  EXPECT_THAT(GcInput(), HasSubstr(stays.id.value()));
  EXPECT_THAT(GcInput(), Not(HasSubstr(gone.id.value())));
  EXPECT_THAT(GcInput(), Not(HasSubstr(down.id.value())));
}

TEST_F(PodNetworksTest, APodWhoseDelFailedIsNoGarbage) {
  PodNetworks networks(*configs_, invoker_, times_);
  model::SandboxRecord pod = Connected(networks, "pod");
  Fail("DEL");
  EXPECT_FALSE(networks.Disconnect(ctx_, pod).ok());
  networks.StartCollection();
  ASSERT_TRUE(Eventually([&] { return Collected(); }));
  EXPECT_THAT(GcInput(), HasSubstr(pod.id.value()));
}

TEST_F(PodNetworksTest, WaitsForPluginsThatRunAndHoldsUpNoOthers) {
  PodNetworks networks(*configs_, invoker_, times_);
  Hold("ADD");
  model::SandboxRecord slow = Pod("slow");
  ASSERT_TRUE(networks.Plan(slow, "/proc/self/ns/net").ok());
  std::thread adding([&] { EXPECT_TRUE(networks.Connect(ctx_, slow).ok()); });
  ASSERT_TRUE(Eventually([&] { return Runs("ADD"); }));
  networks.StartCollection();
  ASSERT_TRUE(Eventually([&] { return CallsOf("STATUS") == 1; }));
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_FALSE(Collected());
  model::SandboxRecord other = Pod("other");  // GC that waits is in nobody's way
  ASSERT_TRUE(networks.Plan(other, "/proc/self/ns/net").ok());
  ASSERT_TRUE(networks.Disconnect(ctx_, other).ok());
  EXPECT_FALSE(Collected());
  Hold("");
  adding.join();
  ASSERT_TRUE(Eventually([&] { return Collected(); }));
  EXPECT_THAT(GcInput(), HasSubstr(slow.id.value()));
}

TEST_F(PodNetworksTest, AddAndDelWaitForIt) {
  PodNetworks networks(*configs_, invoker_, times_);
  Hold("GC");
  networks.StartCollection();
  ASSERT_TRUE(Eventually([&] { return Runs("GC"); }));
  model::SandboxRecord pod = Pod("pod");
  ASSERT_TRUE(networks.Plan(pod, "/proc/self/ns/net").ok());
  const absl::Status late =
      networks.Connect(base::OpContext::WithTimeout(absl::Milliseconds(200)), pod);
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(late.message()), HasSubstr("garbage collection"));
  EXPECT_EQ(CallsOf("ADD"), 0);
  std::thread adding([&] { EXPECT_TRUE(networks.Connect(ctx_, pod).ok()); });
  std::thread deleting([&] { EXPECT_TRUE(networks.Disconnect(ctx_, pod).ok()); });
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(CallsOf("ADD") + CallsOf("DEL"), 0);
  Hold("");
  adding.join();
  deleting.join();
  EXPECT_EQ(CallsOf("ADD"), 1);
}

TEST_F(PodNetworksTest, ComesWhenThePluginsAreReadyAndOnce) {
  PodNetworks networks(*configs_, invoker_, times_);
  Fail("STATUS");
  networks.StartCollection();
  ASSERT_TRUE(Eventually([&] { return CallsOf("STATUS") >= 3; }));
  EXPECT_FALSE(Collected());
  Fail("GC");  // is not tried again
  ASSERT_TRUE(Eventually([&] { return Collected(); }));
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(CallsOf("GC"), 1);
  Connected(networks, "pod");
}

TEST_F(PodNetworksTest, NotForOlderNetworksNorWhereItIsDisabled) {
  for (const auto& [version, extra] :
       {std::pair("1.0.0", ""), {"1.1.0", R"("disableGC": true, )"}}) {
    Configure(version, extra);
    PodNetworks networks(*configs_, invoker_, times_);
    networks.StartCollection();
    absl::SleepFor(absl::Milliseconds(200));
  }
  EXPECT_THAT(Commands(), ElementsAre());
}

TEST_F(PodNetworksTest, TheEndDoesNotWait) {
  std::filesystem::remove(root_ + "/net.d/10.conflist");
  configs_.emplace(cni::NetworkOptions{.conf_dir = root_ + "/net.d", .plugin_dirs = {root_}});
  const absl::Time began = absl::Now();
  {
    PodNetworks networks(*configs_, invoker_);
    networks.StartCollection();
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_LT(absl::Now() - began, absl::Seconds(2));
}

}  // namespace
}  // namespace berth::sandbox
