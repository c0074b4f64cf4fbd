// When plugins are asked for their STATUS, and what counts meanwhile. The plugins are scripts.
#include "lib/cni/network_health.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/process_runner.h"

namespace berth::cni {
namespace {

using ::testing::HasSubstr;

class NetworkHealthTest : public ::testing::Test {
 protected:
  NetworkHealthTest() {
    char name[] = "/tmp/berth-cni-XXXXXX";
    root_ = ::mkdtemp(name);
    std::filesystem::create_directories(root_ + "/net.d");
    Configure("1.1.0");
    Plugin("");
  }
  ~NetworkHealthTest() override { std::filesystem::remove_all(root_); }

  void Configure(const std::string& version, const std::string& name = "net1") {
    ASSERT_TRUE(base::WriteFile(root_ + "/net.d/10.conflist",
                                R"({"cniVersion": ")" + version + R"(", "name": ")" + name +
                                    R"(", "plugins": [{"type": "plugin"}]})",
                                0644)
                    .ok());
  }
  // A plugin that counts its calls and then runs `script`. Put in place whole: it may be running.
  void Plugin(const std::string& script) {
    ASSERT_TRUE(base::WriteFileAtomic(
                    root_ + "/plugin",
                    "#!/bin/sh\necho $CNI_COMMAND >> " + root_ + "/calls\n" + script + "\n", 0755)
                    .ok());
  }
  size_t Calls() const {
    const auto text = base::ReadFile(root_ + "/calls", 1 << 20);
    return text.ok() ? std::count(text->begin(), text->end(), '\n') : 0;
  }
  std::string Ready(NetworkHealth& health) {
    const absl::Status status = health.Ready(base::OpContext::WithTimeout(absl::Seconds(20)));
    return status.ok() ? "ready" : std::string(status.message());
  }

  static constexpr char kDown[] =
      R"(echo '{"cniVersion": "1.1.0", "code": 50, "msg": "agent is down"}'; exit 1)";
  std::string root_;
  base::SystemProcessRunner runner_;
  NetworkConfigs& networks() {
    if (!networks_) {
      networks_.emplace(NetworkOptions{.conf_dir = root_ + "/net.d", .plugin_dirs = {root_}});
    }
    return *networks_;
  }
  std::optional<NetworkConfigs> networks_;
};

TEST_F(NetworkHealthTest, OlderNetworksAreNotAsked) {
  Configure("1.0.0");
  Plugin(kDown);
  const CniInvoker invoker(runner_, {root_});
  NetworkHealth health(networks(), invoker);
  EXPECT_EQ(Ready(health), "ready");
  EXPECT_EQ(Calls(), 0u);
}

TEST_F(NetworkHealthTest, WhatPluginsSayCountsForAWhile) {
  const CniInvoker invoker(runner_, {root_});
  NetworkHealth health(networks(), invoker, {.fresh = absl::Milliseconds(700)});
  EXPECT_EQ(Ready(health), "ready");
  Plugin(kDown);
  EXPECT_EQ(Ready(health), "ready");
  EXPECT_EQ(Calls(), 1u);
  absl::SleepFor(absl::Milliseconds(800));
  EXPECT_EQ(Ready(health), "network 'net1': cni plugin 'plugin': agent is down (cni code 50)");
  Plugin(R"(echo '{"cniVersion": "1.1.0", "code": 51, "msg": "uplink lost"}'; exit 1)");
  absl::SleepFor(absl::Milliseconds(800));
  EXPECT_THAT(Ready(health), HasSubstr("uplink lost (cni code 51)"));
  Plugin("");
  absl::SleepFor(absl::Milliseconds(800));
  EXPECT_EQ(Ready(health), "ready");
  EXPECT_EQ(Calls(), 4u);
}

TEST_F(NetworkHealthTest, AnotherNetworkIsAskedAnew) {
  const CniInvoker invoker(runner_, {root_});
  NetworkHealth health(networks(), invoker);
  EXPECT_EQ(Ready(health), "ready");
  Plugin(kDown);
  Configure("1.1.0", "net2");
  networks().Reload();
  EXPECT_THAT(Ready(health), HasSubstr("network 'net2': cni plugin 'plugin': agent is down"));
}

TEST_F(NetworkHealthTest, WhatIsMissingIsSaidWithoutAsking) {
  std::filesystem::remove(root_ + "/plugin");
  const CniInvoker invoker(runner_, {root_});
  NetworkHealth health(networks(), invoker);
  EXPECT_THAT(Ready(health), HasSubstr("cni plugin 'plugin' is not in " + root_));
}

TEST_F(NetworkHealthTest, ASlowPluginHoldsNobodyUp) {
  const CniInvoker invoker(runner_, {root_});
  NetworkHealth health(networks(), invoker,
                       {.fresh = absl::Milliseconds(300),
                        .patience = absl::Milliseconds(300),
                        .budget = absl::Milliseconds(2000)});
  Plugin("exec sleep 1000");
  const absl::Time began = absl::Now();
  EXPECT_THAT(Ready(health), HasSubstr("have not answered to STATUS yet"));
  EXPECT_LT(absl::Now() - began, absl::Seconds(1.5));
  EXPECT_THAT(Ready(health), HasSubstr("have not answered to STATUS yet"));
  EXPECT_EQ(Calls(), 1u);  // nobody asks twice at a time
  while (absl::Now() - began < absl::Seconds(10) &&
         Ready(health).find("deadline") == std::string::npos) {
  }
  EXPECT_THAT(Ready(health), HasSubstr("deadline passed"));  // also while it is asked again
}

TEST_F(NetworkHealthTest, ALateAnswerIsWaitedForAndAskedForOnce) {
  const CniInvoker invoker(runner_, {root_});
  NetworkHealth health(networks(), invoker, {.patience = absl::Seconds(10)});
  Plugin("sleep 0.5");
  EXPECT_EQ(Ready(health), "ready");
  absl::SleepFor(absl::Seconds(1));
  EXPECT_EQ(Calls(), 1u);
}

TEST_F(NetworkHealthTest, TheEndDoesNotWaitForAPlugin) {
  const CniInvoker invoker(runner_, {root_});
  Plugin("exec sleep 1000");
  const absl::Time began = absl::Now();
  {
    NetworkHealth health(networks(), invoker, {.patience = absl::Milliseconds(50)});
    EXPECT_THAT(Ready(health), HasSubstr("have not answered"));
  }
  EXPECT_LT(absl::Now() - began, absl::Seconds(5));
}

}  // namespace
}  // namespace berth::cni
