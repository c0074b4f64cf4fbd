// Needs root and the reference plugins. The test's own thread lives in a network namespace made for
// each test, which plays the node: bridges, addresses and NAT rules vanish with it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/process_runner.h"
#include "lib/cni/bandwidth.h"
#include "lib/cni/cni_invoker.h"
#include "lib/cni/network_configs.h"

namespace berth::cni {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kPlugins[] = "/usr/lib/cni";

void BringUpLoopback() {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = {};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
}

std::set<std::string> Links() {
  std::set<std::string> names;
  struct if_nameindex* list = ::if_nameindex();
  for (const struct if_nameindex* at = list; at != nullptr && at->if_index != 0; ++at) {
    names.insert(at->if_name);
  }
  ::if_freenameindex(list);
  return names;
}

class CniRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    for (const char* plugin : {"bridge", "host-local", "portmap", "loopback", "bandwidth"}) {
      if (!FindPlugin({kPlugins}, plugin).ok()) {
        GTEST_SKIP() << "needs the cni plugin " << plugin << " in " << kPlugins;
      }
    }
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    BringUpLoopback();
    char name[] = "/tmp/berth-cni-XXXXXX";
    root_ = ::mkdtemp(name);
  }
  void TearDown() override {
    for (base::Process& process : processes_) {
      (void)process.Kill(SIGKILL);
      (void)process.Wait(ctx_);
    }
    if (!root_.empty()) {
      std::filesystem::remove_all(root_);
    }
  }

  // A process in a network namespace of its own, and what it asks for.
  PodNetwork NewPod(const std::string& name) {
    base::ProcessSpec spec;
    spec.argv = {"/bin/sleep", "1000"};
    spec.clone_flags = CLONE_NEWNET;
    absl::StatusOr<base::Process> process = runner_.Start(spec);
    EXPECT_TRUE(process.ok()) << process.status();
    PodNetwork pod;
    pod.id = "id-" + name;
    pod.name = name;
    pod.namespace_name = "test";
    pod.uid = "uid-" + name;
    pod.netns_path = fmt::format("/proc/{}/ns/net", process->pid());
    processes_.push_back(*std::move(process));
    return pod;
  }
  void EndPods() {
    for (base::Process& process : processes_) {
      ASSERT_TRUE(process.Kill(SIGKILL).ok());
      ASSERT_TRUE(process.Wait(ctx_).ok());
    }
    processes_.clear();
  }

  // Bridge with two ranges, then `more` plugins.
  NetworkConfig Network(const std::string& version, const std::string& more = "") const {
    const auto network = ParseNetworkConfig(fmt::format(
        R"({{"cniVersion": "{}", "name": "berthtest", "plugins": [
          {{"type": "bridge", "bridge": "berthtest0", "isGateway": true, "ipMasq": true, "ipam": {{"type": "host-local",
            "dataDir": "{}/ipam", "ranges": [[{{"subnet": "10.211.7.0/24"}}], [{{"subnet": "fd00:211:7::/64"}}]],
            "routes": [{{"dst": "0.0.0.0/0"}}, {{"dst": "::/0"}}]}}}}{}]}})",
        version, root_, more));
    EXPECT_TRUE(network.ok()) << network.status();
    return *network;
  }
  absl::StatusOr<Attachment> Add(const NetworkConfig& network, const PodNetwork& pod) {
    auto plan = invoker_.Plan(network, pod);
    return plan.ok() ? invoker_.Add(ctx_, *plan) : plan;
  }
  // Addresses that host-local holds.
  std::vector<std::string> Reserved() const {
    std::vector<std::string> reserved;
    for (const std::string& name :
         base::ListDir(root_ + "/ipam/berthtest").value_or(std::vector<std::string>())) {
      if (name.find("lock") == std::string::npos && name.find("last") == std::string::npos) {
        reserved.push_back(name);
      }
    }
    return reserved;
  }

  // A listening socket inside the namespace: a connection to it succeeds without an accept.
  static base::UniqueFd ListenIn(const std::string& netns, int family, uint16_t port) {
    base::UniqueFd listener;
    std::thread thread([&] {
      const base::UniqueFd ns(::open(netns.c_str(), O_RDONLY | O_CLOEXEC));
      ASSERT_EQ(::setns(ns.get(), CLONE_NEWNET), 0);
      listener.Reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in any = {};
      any.sin_family = AF_INET;
      any.sin_port = htons(port);
      sockaddr_in6 any6 = {};
      any6.sin6_family = AF_INET6;
      any6.sin6_port = htons(port);
      const int bound =
          family == AF_INET
              ? ::bind(listener.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any))
              : ::bind(listener.get(), reinterpret_cast<sockaddr*>(&any6), sizeof(any6));
      ASSERT_EQ(bound, 0);
      ASSERT_EQ(::listen(listener.get(), 8), 0);
    });
    thread.join();
    return listener;
  }
  static bool Connects(const std::string& ip, uint16_t port) {
    const bool v6 = ip.find(':') != std::string::npos;
    const base::UniqueFd socket(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval timeout = {1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout,
                 sizeof(timeout));  // bounds connect, too
    if (v6) {
      sockaddr_in6 to = {};
      to.sin6_family = AF_INET6;
      to.sin6_port = htons(port);
      EXPECT_EQ(::inet_pton(AF_INET6, ip.c_str(), &to.sin6_addr), 1);
      return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
    }
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    EXPECT_EQ(::inet_pton(AF_INET, ip.c_str(), &to.sin_addr), 1);
    return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }

  // A new bridge answers IPv6 only when it has found its own address to be unique, some seconds
  // later.
  static bool Reaches(const std::string& ip, uint16_t port) {
    bool connected = false;
    for (int i = 0; i < 10 && !connected; ++i) {
      connected = Connects(ip, port);
    }
    return connected;
  }

  const base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Seconds(120));
  base::SystemProcessRunner runner_;
  CniInvoker invoker_{runner_, {kPlugins}};
  std::vector<base::Process> processes_;
  std::string root_;
};

TEST_F(CniRootTest, ROOT_NET_DualStackOfEveryVersion) {
  for (const char* version : {"0.3.1", "0.4.0", "1.0.0"}) {
    const PodNetwork pod = NewPod(fmt::format("v{}", version));
    const auto attachment = Add(Network(version), pod);
    ASSERT_TRUE(attachment.ok()) << attachment.status();
    ASSERT_EQ(attachment->ips.size(), 2u) << attachment->result;
    EXPECT_THAT(attachment->ips, ElementsAre(StartsWith("10.211.7."), StartsWith("fd00:211:7::")));
    const base::UniqueFd v4 = ListenIn(pod.netns_path, AF_INET, 80);
    const base::UniqueFd v6 = ListenIn(pod.netns_path, AF_INET6, 81);
    EXPECT_TRUE(Reaches(attachment->ips[0], 80)) << version;
    EXPECT_TRUE(Reaches(attachment->ips[1], 81)) << version;
    const absl::Status checked = invoker_.Check(ctx_, *attachment);
    EXPECT_TRUE(version == std::string("0.3.1") ? absl::IsUnimplemented(checked) : checked.ok())
        << checked;
    const absl::Status removed = invoker_.Del(ctx_, *attachment);
    EXPECT_TRUE(removed.ok()) << removed;
    EXPECT_THAT(Reserved(), IsEmpty());
    EXPECT_FALSE(Connects(attachment->ips[0], 80));
    EXPECT_TRUE(invoker_.Del(ctx_, *attachment).ok());
    if (CompareVersions(version, "0.4.0") >= 0) {
      EXPECT_FALSE(invoker_.Check(ctx_, *attachment).ok());
    }
  }
}

TEST_F(CniRootTest, ROOT_NET_PortMapping) {
  PodNetwork pod = NewPod("portmap");
  pod.port_mappings = {{"tcp", 80, 18080, ""}, {"udp", 53, 0, ""}};
  const NetworkConfig network =
      Network("1.0.0", R"(, {"type": "portmap", "capabilities": {"portMappings": true}})");
  const auto attachment = Add(network, pod);
  ASSERT_TRUE(attachment.ok()) << attachment.status();
  const base::UniqueFd listener = ListenIn(pod.netns_path, AF_INET, 80);
  EXPECT_TRUE(Reaches("10.211.7.1", 18080));  // the node's own address on the bridge
  EXPECT_FALSE(Connects("10.211.7.1", 18081));
  // By the record alone.
  const auto recorded = Attachment::FromJson(attachment->ToJson());
  ASSERT_TRUE(recorded.ok());
  EXPECT_TRUE(invoker_.Del(ctx_, *recorded).ok());
  EXPECT_FALSE(Connects("10.211.7.1", 18080));
}

TEST_F(CniRootTest, ROOT_NET_Bandwidth) {
  PodNetwork pod = NewPod("bandwidth");
  pod.bandwidth = *BandwidthFromAnnotations(
      {{"kubernetes.io/ingress-bandwidth", "10M"}, {"kubernetes.io/egress-bandwidth", "5M"}});
  const std::set<std::string> before = Links();
  const auto attachment =
      Add(Network("1.0.0", R"(, {"type": "bandwidth", "capabilities": {"bandwidth": true}})"), pod);
  if (!attachment.ok() &&
      absl::StrContains(std::string(attachment.status().message()), "not supported")) {
    GTEST_SKIP() << "this kernel has no ifb or tbf: " << attachment.status();
  }
  ASSERT_TRUE(attachment.ok()) << attachment.status();
  EXPECT_THAT(Links(), Contains(StartsWith("bwp")));
  EXPECT_TRUE(invoker_.Del(ctx_, *attachment).ok());
  EXPECT_THAT(Links(), Not(Contains(StartsWith("bwp"))));
}

TEST_F(CniRootTest, ROOT_NET_DelAfterTheNetnsIsGone) {
  PodNetwork pod = NewPod("gone");
  pod.port_mappings = {{"tcp", 80, 18080, ""}};
  const auto attachment = Add(
      Network("1.0.0", R"(, {"type": "portmap", "capabilities": {"portMappings": true}})"), pod);
  ASSERT_TRUE(attachment.ok()) << attachment.status();
  EXPECT_EQ(Reserved().size(), 2u);
  EndPods();
  ASSERT_FALSE(base::PathExists(pod.netns_path));
  const absl::Status removed = invoker_.Del(ctx_, *Attachment::FromJson(attachment->ToJson()));
  EXPECT_TRUE(removed.ok()) << removed;
  EXPECT_THAT(Reserved(), IsEmpty());
  EXPECT_THAT(Links(), Not(Contains(StartsWith("veth"))));
}

TEST_F(CniRootTest, ROOT_NET_FailedAddLeavesNothing) {
  ASSERT_TRUE(
      base::WriteFile(root_ + "/faulty", "#!/bin/sh\n[ $CNI_COMMAND = DEL ] || exit 1\n", 0755)
          .ok());
  const CniInvoker invoker(runner_, {kPlugins, root_});
  const auto plan = invoker.Plan(Network("1.0.0", R"(, {"type": "faulty"})"), NewPod("unlucky"));
  ASSERT_TRUE(plan.ok());
  const absl::Status status = invoker.Add(ctx_, *plan).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("cni plugin 'faulty'"));
  EXPECT_THAT(Reserved(), IsEmpty());
  EXPECT_THAT(Links(), Not(Contains(StartsWith("veth"))));
}

TEST_F(CniRootTest, ROOT_NET_PodsSideBySide) {
  const NetworkConfig network = Network("1.0.0");
  std::vector<PodNetwork> pods;
  for (int i = 0; i < 6; ++i) {
    pods.push_back(NewPod(fmt::format("p{}", i)));
  }
  std::vector<absl::StatusOr<Attachment>> attachments(pods.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < pods.size(); ++i) {
    threads.emplace_back([&, i] { attachments[i] = Add(network, pods[i]); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::set<std::string> ips;
  for (const auto& attachment : attachments) {
    ASSERT_TRUE(attachment.ok()) << attachment.status();
    ips.insert(attachment->ips[0]);
  }
  EXPECT_EQ(ips.size(), pods.size());
  for (const auto& attachment : attachments) {
    EXPECT_TRUE(invoker_.Del(ctx_, *attachment).ok());
  }
  EXPECT_THAT(Reserved(), IsEmpty());
}

TEST_F(CniRootTest, ROOT_NET_Loopback) {
  PodNetwork pod = NewPod("lo");
  pod.interface_name = "lo";
  const auto network =
      ParseNetworkConfig(R"({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"})");
  const auto attachment = Add(*network, pod);
  ASSERT_TRUE(attachment.ok()) << attachment.status();
  EXPECT_THAT(attachment->ips, Contains("127.0.0.1"));
  EXPECT_TRUE(invoker_.Del(ctx_, *attachment).ok());
}

TEST_F(CniRootTest, ROOT_NET_VersionThatThePluginsDoNotSpeak) {
  const auto versions = invoker_.PluginVersions(ctx_, "bridge");
  ASSERT_TRUE(versions.ok()) << versions.status();
  EXPECT_THAT(*versions, Contains("1.0.0"));
  const absl::Status status = Add(Network("1.1.0"), NewPod("new")).status();
  if (std::find(versions->begin(), versions->end(), "1.1.0") != versions->end()) {
    EXPECT_TRUE(status.ok()) << status;
    return;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace berth::cni
