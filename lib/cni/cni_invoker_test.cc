// What plugins are told, and what is made of what they say; no process is started. Real ones:
// cni_process_test.cc and cni_root_test.cc.
#include "lib/cni/cni_invoker.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"
#include "lib/base/testing/fake_process_runner.h"

namespace berth::cni {
namespace {

using base::FakeProcessRunner;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kId[] = "0123456789abcdef";

class CniInvokerTest : public ::testing::Test {
 protected:
  CniInvokerTest()
      : runner_([this](const base::ProcessSpec& spec, std::string_view input) {
          return answer_(spec, input);
        }) {
    char name[] = "/tmp/berth-cni-XXXXXX";
    root_ = ::mkdtemp(name);
    for (const char* plugin : {"one", "two", "three"}) {
      EXPECT_TRUE(base::WriteFile(root_ + "/" + plugin, "", 0755).ok());
    }
    answer_ = [](const base::ProcessSpec&, std::string_view input) {
      const std::string version = json::parse(input)["cniVersion"];
      return FakeProcessRunner::Exits(
          0, R"({"cniVersion": ")" + version + R"(", "ips": [{"address": "10.1.0.5/16"}]})");
    };
  }
  ~CniInvokerTest() override { std::filesystem::remove_all(root_); }

  static NetworkConfig Network(const std::string& version, const std::string& extra = "") {
    const auto network = ParseNetworkConfig(R"({"cniVersion": ")" + version +
                                            R"(", "name": "net1", )" + extra + R"("plugins": [
        {"type": "one", "key": 1, "capabilities": {"bandwidth": true, "ips": true}},
        {"type": "two", "capabilities": {"portMappings": true, "dns": false}},
        {"type": "three"}]})");
    EXPECT_TRUE(network.ok()) << network.status();
    return *network;
  }
  static PodNetwork Pod() {
    PodNetwork pod;
    pod.id = kId;
    pod.name = "web";
    pod.namespace_name = "prod";
    pod.uid = "u-1";
    pod.netns_path = "/proc/self/ns/net";
    return pod;
  }
  absl::StatusOr<Attachment> AddWith(const NetworkConfig& network, const PodNetwork& pod) {
    const CniInvoker invoker(runner_, {root_ + "/absent", root_});
    auto plan = invoker.Plan(network, pod);
    return plan.ok() ? invoker.Add(ctx_, *plan) : plan;
  }
  absl::Status DelWith(const Attachment& attachment) {
    return CniInvoker(runner_, {root_ + "/absent", root_}).Del(ctx_, attachment);
  }
  // "ADD one", "ADD two", ...
  std::vector<std::string> Commands() {
    std::vector<std::string> commands;
    for (const auto& call : runner_.calls()) {
      commands.push_back(call.Env("CNI_COMMAND") + " " +
                         std::filesystem::path(call.spec.argv[0]).filename().string());
    }
    return commands;
  }
  // Fails `command` of `plugin`, and answers the rest well.
  void Fail(const std::string& command, const std::string& plugin,
            absl::StatusOr<base::RunResult> how) {
    const FakeProcessRunner::Answer good = answer_;
    answer_ = [=, this](const base::ProcessSpec& spec, std::string_view input) {
      const bool hit =
          spec.env[0] == "CNI_COMMAND=" + command && spec.argv[0] == root_ + "/" + plugin;
      return hit ? how : good(spec, input);
    };
  }

  const base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Seconds(20));
  std::string root_;
  FakeProcessRunner::Answer answer_;
  FakeProcessRunner runner_;
};

TEST_F(CniInvokerTest, ChainIsRunInOrderWithPreviousResults) {
  const auto attachment = AddWith(Network("1.0.0"), Pod());
  ASSERT_TRUE(attachment.ok()) << attachment.status();
  EXPECT_THAT(Commands(), ElementsAre("ADD one", "ADD two", "ADD three"));
  const auto calls = runner_.calls();
  EXPECT_EQ(calls[0].Env("CNI_CONTAINERID"), kId);
  EXPECT_EQ(calls[0].Env("CNI_NETNS"), "/proc/self/ns/net");
  EXPECT_EQ(calls[0].Env("CNI_IFNAME"), "eth0");
  EXPECT_EQ(calls[0].Env("CNI_ARGS"),
            std::string("IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web;"
                        "K8S_POD_INFRA_CONTAINER_ID=") +
                kId + ";K8S_POD_UID=u-1");
  EXPECT_EQ(calls[0].Env("CNI_PATH"), root_ + "/absent:" + root_);
  EXPECT_FALSE(calls[0].Env("PATH").empty());
  EXPECT_EQ(calls[0].spec.env.size(), 7u);
  const json first = json::parse(calls[0].input);
  EXPECT_EQ(first["name"], "net1");
  EXPECT_EQ(first["cniVersion"], "1.0.0");
  EXPECT_EQ(first["type"], "one");
  EXPECT_EQ(first["key"], 1);
  EXPECT_FALSE(first.contains("prevResult"));
  EXPECT_FALSE(first.contains("capabilities"));
  EXPECT_FALSE(first.contains("runtimeConfig"));
  EXPECT_EQ(json::parse(calls[2].input)["prevResult"]["ips"][0]["address"], "10.1.0.5/16");
  EXPECT_THAT(attachment->ips, ElementsAre("10.1.0.5"));
  EXPECT_EQ(attachment->network, "net1");
  EXPECT_EQ(attachment->pod, "prod/web");
}

TEST_F(CniInvokerTest, CapabilitiesGoToThoseThatDeclareThem) {
  PodNetwork pod = Pod();
  pod.port_mappings = {{"tcp", 80, 8080, ""}, {"udp", 53, 0, ""}, {"udp", 53, 5353, "127.0.0.1"}};
  pod.bandwidth = Bandwidth{1000, 2000, 0, 0};
  pod.dns = DnsConfig{{"1.1.1.1"}, {"a"}, {}};
  pod.ips = {"10.1.0.9"};
  pod.cgroup_path = "/kubepods/x";
  pod.annotations = {{"a", "b"}};
  ASSERT_TRUE(AddWith(Network("1.0.0"), pod).ok());
  const auto calls = runner_.calls();
  EXPECT_EQ(
      json::parse(calls[0].input)["runtimeConfig"],
      json::parse(
          R"({"bandwidth": {"ingressRate": 1000, "ingressBurst": 2000}, "ips": ["10.1.0.9"]})"));
  EXPECT_EQ(json::parse(calls[1].input)["runtimeConfig"], json::parse(R"({"portMappings": [
      {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
      {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}]})"));
  EXPECT_FALSE(json::parse(calls[2].input).contains("runtimeConfig"));
}

TEST_F(CniInvokerTest, KubernetesCapabilities) {
  PodNetwork pod = Pod();
  pod.annotations = {{"k", "v"}};
  pod.cgroup_path = "/kubepods/x";
  const auto network =
      ParseNetworkConfig(R"({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "one",
      "capabilities": {"io.kubernetes.cri.pod-annotations": true, "cgroupPath": true, "portMappings": true}}]})");
  ASSERT_TRUE(AddWith(*network, pod).ok());
  EXPECT_EQ(
      json::parse(runner_.calls()[0].input)["runtimeConfig"],
      json::parse(
          R"({"io.kubernetes.cri.pod-annotations": {"k": "v"}, "cgroupPath": "/kubepods/x"})"));
}

TEST_F(CniInvokerTest, RefusesWhatCannotBePassed) {
  const auto refused = [&](auto change) {
    PodNetwork pod = Pod();
    change(pod);
    return AddWith(Network("1.0.0"), pod).status().code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.id = "../x"; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.id = ""; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.name = "a;K8S_POD_UID=x"; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.namespace_name = "a=b"; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.uid = "a b"; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.interface_name = "interface-too-long"; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.interface_name = "a/b"; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.netns_path = ""; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.port_mappings = {{"tcp", 80, 65536, ""}}; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.port_mappings = {{"tcp", 0, 80, ""}}; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.port_mappings = {{"TCP", 80, 80, ""}}; }));
  EXPECT_TRUE(refused([](PodNetwork& pod) { pod.port_mappings = {{"tcp", 80, 80, "localhost"}}; }));
  EXPECT_TRUE(runner_.calls().empty());
}

TEST_F(CniInvokerTest, FailedAddIsUndoneByDelOfTheWholeChain) {
  Fail("ADD", "two",
       FakeProcessRunner::Exits(1, R"({"code": 100, "msg": "no luck", "details": "at all"})"));
  const absl::Status status = AddWith(Network("1.0.0"), Pod()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(
      std::string(status.message()),
      "add pod 'prod/web' to network 'net1': cni plugin 'two': no luck: at all (cni code 100)");
  EXPECT_THAT(Commands(), ElementsAre("ADD one", "ADD two", "DEL three", "DEL two", "DEL one"));
}

TEST_F(CniInvokerTest, UndoHasItsOwnTime) {
  bool cancelled = false;
  int undone = 0;
  const base::OpContext ctx(absl::InfiniteFuture(), [&] { return cancelled; });
  answer_ = [&](const base::ProcessSpec&, std::string_view) -> absl::StatusOr<base::RunResult> {
    if (!cancelled) {
      cancelled = true;
      return absl::CancelledError("the caller went away");
    }
    ++undone;
    return FakeProcessRunner::Exits(0, "");
  };
  const CniInvoker invoker(runner_, {root_});
  const absl::Status status = invoker.Add(ctx, *invoker.Plan(Network("1.0.0"), Pod())).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(undone, 3);  // started, not just asked for
  EXPECT_THAT(Commands(), ElementsAre("ADD one", "DEL three", "DEL two", "DEL one"));
}

TEST_F(CniInvokerTest, ErrorCodes) {
  const struct {
    int plugin;
    absl::StatusCode status;
  } kCases[] = {{1, absl::StatusCode::kFailedPrecondition},
                {7, absl::StatusCode::kFailedPrecondition},
                {11, absl::StatusCode::kUnavailable},
                {50, absl::StatusCode::kUnavailable},
                {999, absl::StatusCode::kInternal}};
  const FakeProcessRunner::Answer good = answer_;
  for (const auto& c : kCases) {
    answer_ = good;
    Fail("ADD", "one",
         FakeProcessRunner::Exits(1,
                                  R"({"code": )" + std::to_string(c.plugin) + R"(, "msg": "m"})"));
    EXPECT_EQ(AddWith(Network("1.0.0"), Pod()).status().code(), c.status) << c.plugin;
  }
}

TEST_F(CniInvokerTest, MissingPluginNamesTheDirectories) {
  ASSERT_TRUE(base::RemoveFile(root_ + "/two").ok());
  const absl::Status status = AddWith(Network("1.0.0"), Pod()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("cni plugin 'two' is not in " + root_ + "/absent, " + root_));
}

TEST_F(CniInvokerTest, ResultsOfAnotherVersionAreConverted) {
  Fail("ADD", "one",
       FakeProcessRunner::Exits(0,
                                R"({"cniVersion": "1.0.0", "ips": [{"address": "fd00::5/64"}]})"));
  ASSERT_TRUE(AddWith(Network("0.3.1"), Pod()).ok());
  const json previous = json::parse(runner_.calls()[1].input)["prevResult"];
  EXPECT_EQ(previous["cniVersion"], "0.3.1");
  EXPECT_EQ(previous["ips"][0]["version"], "6");
}

TEST_F(CniInvokerTest, UnknownMembersOfResultsSurvive) {
  Fail("ADD", "one", FakeProcessRunner::Exits(0, R"({"cniVersion": "1.0.0", "vendor": {"x": 1}})"));
  ASSERT_TRUE(AddWith(Network("1.0.0"), Pod()).ok());
  EXPECT_EQ(json::parse(runner_.calls()[1].input)["prevResult"]["vendor"]["x"], 1);
}

TEST_F(CniInvokerTest, DelGoesBackwardsWithTheCachedResult) {
  PodNetwork pod = Pod();
  pod.port_mappings = {{"tcp", 80, 8080, ""}};
  const auto added = AddWith(Network("1.0.0"), pod);
  ASSERT_TRUE(added.ok());
  // As after a restart: nothing but the record is left.
  const auto recorded = Attachment::FromJson(added->ToJson());
  ASSERT_TRUE(recorded.ok()) << recorded.status();
  ASSERT_TRUE(DelWith(*recorded).ok());
  const auto calls = runner_.calls();
  ASSERT_EQ(calls.size(), 6u);
  EXPECT_THAT(Commands(),
              ElementsAre("ADD one", "ADD two", "ADD three", "DEL three", "DEL two", "DEL one"));
  EXPECT_EQ(calls[3].Env("CNI_NETNS"), "/proc/self/ns/net");
  EXPECT_EQ(json::parse(calls[3].input)["prevResult"]["ips"][0]["address"], "10.1.0.5/16");
  EXPECT_EQ(json::parse(calls[4].input)["runtimeConfig"]["portMappings"][0]["hostPort"], 8080);
}

TEST_F(CniInvokerTest, DelOfOldVersionsGetsNoResult) {
  const auto added = AddWith(Network("0.3.1"), Pod());
  ASSERT_TRUE(added.ok());
  ASSERT_TRUE(DelWith(*added).ok());
  EXPECT_FALSE(json::parse(runner_.calls()[3].input).contains("prevResult"));
}

TEST_F(CniInvokerTest, DelWithoutTheNetns) {
  auto added = AddWith(Network("1.0.0"), Pod());
  ASSERT_TRUE(added.ok());
  for (const std::string& gone :
       {root_ + "/absent", root_ + "/one"}) {  // no file; a file, but no namespace
    added->netns_path = gone;
    ASSERT_TRUE(DelWith(*added).ok());
    const auto call = runner_.calls().back();
    EXPECT_EQ(call.Env("CNI_NETNS"), "");
    EXPECT_THAT(call.spec.env, ::testing::Contains("CNI_NETNS="));
  }
}

TEST_F(CniInvokerTest, DelGoesOnAfterAFailureAndReportsTheFirst) {
  const auto added = AddWith(Network("1.0.0"), Pod());
  Fail("DEL", "three", FakeProcessRunner::Exits(1, R"({"code": 100, "msg": "first"})"));
  Fail("DEL", "two", FakeProcessRunner::Exits(1, R"({"code": 100, "msg": "second"})"));
  const absl::Status status = DelWith(*added);
  EXPECT_EQ(std::string(status.message()),
            "remove pod 'prod/web' from network 'net1': cni plugin 'three': first (cni code 100)");
  EXPECT_EQ(Commands().back(), "DEL one");
}

TEST_F(CniInvokerTest, DelOfAnUnknownContainerIsDone) {
  const auto added = AddWith(Network("1.0.0"), Pod());
  Fail("DEL", "two", FakeProcessRunner::Exits(1, R"({"code": 3, "msg": "unknown"})"));
  EXPECT_TRUE(DelWith(*added).ok());
}

TEST_F(CniInvokerTest, DelOfAPlanThatWasNeverAdded) {
  const CniInvoker invoker(runner_, {root_});
  ASSERT_TRUE(invoker.Del(ctx_, *invoker.Plan(Network("1.0.0"), Pod())).ok());
  EXPECT_FALSE(json::parse(runner_.calls()[0].input).contains("prevResult"));
}

TEST_F(CniInvokerTest, Check) {
  const CniInvoker invoker(runner_, {root_});
  const auto added = AddWith(Network("1.0.0"), Pod());
  EXPECT_TRUE(invoker.Check(ctx_, *added).ok());
  EXPECT_EQ(Commands()[3], "CHECK one");
  EXPECT_EQ(json::parse(runner_.calls()[3].input)["prevResult"]["ips"][0]["address"],
            "10.1.0.5/16");
  EXPECT_EQ(invoker.Check(ctx_, *invoker.Plan(Network("1.0.0"), Pod())).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(invoker.Check(ctx_, *AddWith(Network("0.3.1"), Pod())).code(),
            absl::StatusCode::kUnimplemented);
  const size_t before = runner_.calls().size();
  EXPECT_TRUE(
      invoker.Check(ctx_, *invoker.Plan(Network("1.0.0", R"("disableCheck": true, )"), Pod()))
          .ok());
  EXPECT_EQ(runner_.calls().size(), before);
  Fail("CHECK", "two", FakeProcessRunner::Exits(1, R"({"code": 100, "msg": "gone"})"));
  EXPECT_THAT(std::string(invoker.Check(ctx_, *added).message()),
              HasSubstr("check pod 'prod/web' on network 'net1'"));
}

TEST_F(CniInvokerTest, StatusOfTheNetwork) {
  const CniInvoker invoker(runner_, {root_});
  EXPECT_TRUE(invoker.NetworkStatus(ctx_, Network("1.0.0")).ok());
  EXPECT_TRUE(runner_.calls().empty());
  EXPECT_TRUE(invoker.NetworkStatus(ctx_, Network("1.1.0")).ok());
  EXPECT_THAT(Commands(), ElementsAre("STATUS one", "STATUS two", "STATUS three"));
  EXPECT_EQ(runner_.calls()[0].spec.env.size(), 3u);
  Fail("STATUS", "two", FakeProcessRunner::Exits(1, R"({"code": 50, "msg": "daemon is down"})"));
  const absl::Status status = invoker.NetworkStatus(ctx_, Network("1.1.0"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("network 'net1': cni plugin 'two': daemon is down"));
}

TEST_F(CniInvokerTest, GarbageCollection) {
  const CniInvoker invoker(runner_, {root_});
  const std::set<AttachmentId> valid = {
      {"net1", "abc", "eth0"}, {"net1", "def", "eth0"}, {"other", "ghi", "eth0"}};
  EXPECT_TRUE(invoker.CollectGarbage(ctx_, Network("1.0.0"), valid).ok());
  EXPECT_TRUE(invoker.CollectGarbage(ctx_, Network("1.1.0", R"("disableGC": true, )"), valid).ok());
  EXPECT_TRUE(runner_.calls().empty());
  EXPECT_TRUE(invoker.CollectGarbage(ctx_, Network("1.1.0"), valid).ok());
  EXPECT_THAT(Commands(), ElementsAre("GC one", "GC two", "GC three"));
  const auto calls = runner_.calls();
  EXPECT_EQ(calls[0].spec.env.size(), 3u);
  const json input = json::parse(calls[0].input);
  EXPECT_EQ(input["cni.dev/valid-attachments"],
            json::parse(R"([{"containerID": "abc", "ifname": "eth0"},
                            {"containerID": "def", "ifname": "eth0"}])"));
  EXPECT_EQ(input["cni.dev/attachments"], input["cni.dev/valid-attachments"]);
  EXPECT_EQ(input["name"], "net1");
  EXPECT_EQ(input["key"], 1);
  EXPECT_FALSE(input.contains("prevResult"));
  // None is said, not left out.
  EXPECT_TRUE(invoker.CollectGarbage(ctx_, Network("1.1.0"), {}).ok());
  EXPECT_EQ(json::parse(runner_.calls()[3].input)["cni.dev/valid-attachments"], json::array());
  Fail("GC", "one", FakeProcessRunner::Exits(1, R"({"code": 100, "msg": "busy"})"));
  EXPECT_EQ(std::string(invoker.CollectGarbage(ctx_, Network("1.1.0"), {}).message()),
            "collect what no pod has in network 'net1': cni plugin 'one': busy (cni code 100)");
  EXPECT_EQ(Commands().back(), "GC three");
}

TEST_F(CniInvokerTest, Versions) {
  answer_ = [](const base::ProcessSpec&, std::string_view) {
    return FakeProcessRunner::Exits(
        0, R"({"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]})");
  };
  const CniInvoker invoker(runner_, {root_});
  EXPECT_THAT(*invoker.PluginVersions(ctx_, "one"), ElementsAre("0.4.0", "1.0.0"));
  answer_ = [](const base::ProcessSpec&, std::string_view) {
    return FakeProcessRunner::Exits(0, "{}");
  };
  EXPECT_FALSE(invoker.PluginVersions(ctx_, "one").ok());
}

TEST_F(CniInvokerTest, AttachmentsSurviveJson) {
  auto added = AddWith(Network("1.0.0"), Pod());
  const auto back = Attachment::FromJson(added->ToJson());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->network, added->network);
  EXPECT_EQ(back->config_bytes, added->config_bytes);
  EXPECT_EQ(back->container_id, added->container_id);
  EXPECT_EQ(back->interface_name, added->interface_name);
  EXPECT_EQ(back->netns_path, added->netns_path);
  EXPECT_EQ(back->pod, added->pod);
  EXPECT_EQ(back->cni_args, added->cni_args);
  EXPECT_EQ(back->capabilities, added->capabilities);
  EXPECT_EQ(back->result, added->result);
  EXPECT_EQ(back->ips, added->ips);
  for (const char* bad :
       {"", "x", "[]", "{}", R"({"schema": 2})", R"({"schema": 1, "network": 5})"}) {
    EXPECT_EQ(Attachment::FromJson(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
  added->config_bytes = "broken";
  EXPECT_EQ(DelWith(*added).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace berth::cni
