#include "daemon/cri/parse_sandbox.h"

#include <functional>

#include "gtest/gtest.h"

namespace berth::cri {
namespace {

api::RunPodSandboxRequest Minimal() {
  api::RunPodSandboxRequest request;
  api::PodSandboxMetadata& metadata = *request.mutable_config()->mutable_metadata();
  metadata.set_name("dns");
  metadata.set_namespace_("kube-system");
  metadata.set_uid("u1");
  return request;
}

api::NamespaceOption& Namespaces(api::RunPodSandboxRequest& request) {
  return *request.mutable_config()
              ->mutable_linux()
              ->mutable_security_context()
              ->mutable_namespace_options();
}

api::LinuxSandboxSecurityContext& Security(api::RunPodSandboxRequest& request) {
  return *request.mutable_config()->mutable_linux()->mutable_security_context();
}

api::PortMapping& Port(api::RunPodSandboxRequest& request) {
  api::PortMapping& port = *request.mutable_config()->add_port_mappings();
  port.set_container_port(80);
  return port;
}

TEST(ParseSandboxTest, TakesTheLeastThereIs) {
  const auto spec = ParseSandbox(Minimal());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->FullName(), "k8s_dns_kube-system_u1_0");
  EXPECT_EQ(spec->namespaces.network, model::NamespaceMode::kPod);
  EXPECT_EQ(spec->namespaces.user, std::nullopt);
  EXPECT_FALSE(spec->overhead);
}

api::UserNamespace& UserNamespace(api::RunPodSandboxRequest& request) {
  api::UserNamespace& user = *Namespaces(request).mutable_userns_options();
  user.set_mode(api::POD);
  for (auto* mappings : {user.mutable_uids(), user.mutable_gids()}) {
    api::IDMapping& mapping = *mappings->Add();
    mapping.set_host_id(100000);
    mapping.set_length(65536);
  }
  return user;
}

TEST(ParseSandboxTest, TakesAUserNamespace) {
  api::RunPodSandboxRequest request = Minimal();
  EXPECT_EQ(ParseSandbox(request)->namespaces.user, std::nullopt);
  Namespaces(request).mutable_userns_options()->set_mode(api::NODE);
  EXPECT_EQ(ParseSandbox(request)->namespaces.user, model::NamespaceMode::kNode);
  UserNamespace(request).mutable_gids(0)->set_host_id(200000);
  Namespaces(request).set_network(api::NODE);
  const auto spec = ParseSandbox(request);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->namespaces.user, model::NamespaceMode::kPod);
  EXPECT_EQ(spec->namespaces.uids, (std::vector<model::IdMapping>{{100000, 0, 65536}}));
  EXPECT_EQ(spec->namespaces.gids, (std::vector<model::IdMapping>{{200000, 0, 65536}}));
}

TEST(ParseSandboxTest, TakesEverything) {
  api::RunPodSandboxRequest request = Minimal();
  api::PodSandboxConfig& config = *request.mutable_config();
  config.mutable_metadata()->set_attempt(3);
  config.set_hostname("dns-1");
  config.set_log_directory("/var/log/pods/x");
  config.mutable_dns_config()->add_servers("10.0.0.10");
  config.mutable_dns_config()->add_servers("fe80::1%eth0");
  config.mutable_dns_config()->add_searches("svc.cluster.local");
  config.mutable_dns_config()->add_options("ndots:5");
  api::PortMapping& port = Port(request);
  port.set_protocol(api::UDP);
  port.set_host_port(5353);
  port.set_host_ip("127.0.0.1");
  (*config.mutable_labels())["app"] = "dns";
  (*config.mutable_annotations())["note"] = std::string(10000, 'x');
  config.mutable_linux()->set_cgroup_parent("/kubepods/podu1");
  (*config.mutable_linux()->mutable_sysctls())["net.ipv4.ip_forward"] = "1";
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(1 << 20);
  Security(request).set_privileged(true);
  Security(request).mutable_run_as_user()->set_value(1000);
  Security(request).mutable_run_as_group()->set_value(1000);
  Security(request).mutable_selinux_options()->set_level("s0:c1");
  Namespaces(request).set_network(api::NODE);
  Namespaces(request).set_pid(api::CONTAINER);
  Namespaces(request).set_ipc(api::NODE);
  Namespaces(request).mutable_userns_options()->set_mode(api::NODE);
  request.set_runtime_handler("runc");

  const auto spec = ParseSandbox(request);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->attempt, 3u);
  EXPECT_EQ(spec->hostname, "dns-1");
  EXPECT_EQ(spec->log_directory, "/var/log/pods/x");
  EXPECT_EQ(spec->dns.servers, (std::vector<std::string>{"10.0.0.10", "fe80::1%eth0"}));
  EXPECT_EQ(spec->dns.searches, std::vector<std::string>{"svc.cluster.local"});
  EXPECT_EQ(spec->dns.options, std::vector<std::string>{"ndots:5"});
  ASSERT_EQ(spec->port_mappings.size(), 1u);
  EXPECT_EQ(spec->port_mappings[0].protocol, model::PortMapping::Protocol::kUdp);
  EXPECT_EQ(spec->port_mappings[0].container_port, 80);
  EXPECT_EQ(spec->port_mappings[0].host_port, 5353);
  EXPECT_EQ(spec->port_mappings[0].host_ip, "127.0.0.1");
  EXPECT_EQ(spec->labels.at("app"), "dns");
  EXPECT_EQ(spec->annotations.at("note").size(), 10000u);
  EXPECT_EQ(spec->cgroup_parent, "/kubepods/podu1");
  EXPECT_EQ(spec->sysctls.at("net.ipv4.ip_forward"), "1");
  EXPECT_EQ(spec->resources->memory_limit_bytes, 1 << 20);
  EXPECT_TRUE(spec->privileged);
  EXPECT_EQ(spec->selinux.level, "s0:c1");
  EXPECT_EQ(spec->namespaces.network, model::NamespaceMode::kNode);
  EXPECT_EQ(spec->namespaces.pid, model::NamespaceMode::kContainer);
  EXPECT_EQ(spec->namespaces.ipc, model::NamespaceMode::kNode);
  EXPECT_EQ(spec->runtime_handler, "runc");
}

struct Refused {
  std::function<void(api::RunPodSandboxRequest&)> change;
  const char* message;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

TEST(ParseSandboxTest, RefusesWhatIsMissingOrMalformed) {
  using R = api::RunPodSandboxRequest;
  const std::string nul("a\0b", 3);
  const Refused cases[] = {
      {[](R& r) { r.clear_config(); }, "config is missing"},
      {[](R& r) { r.mutable_config()->clear_metadata(); }, "config.metadata is missing"},
      {[](R& r) {
         r.mutable_config()->mutable_windows()->mutable_security_context()->set_host_process(true);
       },
       "config.windows is set; this node runs Linux"},
      {[](R& r) { r.mutable_config()->mutable_metadata()->clear_name(); },
       "config.metadata.name is missing"},
      {[](R& r) { r.mutable_config()->mutable_metadata()->clear_uid(); },
       "config.metadata.uid is missing"},
      {[](R& r) { r.mutable_config()->mutable_metadata()->clear_namespace_(); },
       "config.metadata.namespace is missing"},
      {[&](R& r) { r.mutable_config()->mutable_metadata()->set_name(nul); },
       "config.metadata.name contains a NUL byte"},
      {[](R& r) { r.mutable_config()->set_hostname(std::string(65, 'a')); },
       "config.hostname is 65 bytes; at most 64 are allowed"},
      {[](R& r) { r.mutable_config()->set_hostname("a b"); },
       "config.hostname 'a b' contains a space or a slash"},
      {[](R& r) { r.mutable_config()->set_log_directory("logs"); },
       "config.log_directory 'logs' is not an absolute path"},
      {[](R& r) { r.mutable_config()->mutable_dns_config()->add_servers("dns.example"); },
       "config.dns_config.servers has 'dns.example', which is no IP address"},
      {[](R& r) {
         r.mutable_config()->mutable_dns_config()->add_searches("a\nnameserver 6.6.6.6");
       },
       "config.dns_config.searches contains a control character"},
      {[](R& r) { r.mutable_config()->mutable_dns_config()->add_options("ndots:5 rotate"); },
       "config.dns_config.options has the entry 'ndots:5 rotate', which contains a space"},
      {[](R& r) {
         for (int i = 0; i < 65; ++i)
           r.mutable_config()->mutable_dns_config()->add_options("rotate");
       },
       "config.dns_config.options has 65 entries; at most 64 are allowed"},
      {[](R& r) { Port(r).set_container_port(0); },
       "config.port_mappings[0].container_port is 0; 1 to 65535 are allowed"},
      {[](R& r) { Port(r).set_container_port(65536); },
       "config.port_mappings[0].container_port is 65536; 1 to 65535 are allowed"},
      {[](R& r) { Port(r).set_host_port(-1); },
       "config.port_mappings[0].host_port is -1; 1 to 65535, or 0 for none, are allowed"},
      {[](R& r) { Port(r).set_host_ip("localhost"); },
       "config.port_mappings[0].host_ip 'localhost' is no IP address"},
      {[](R& r) { Port(r).set_protocol(static_cast<api::Protocol>(7)); },
       "config.port_mappings[0].protocol has the unknown value 7"},
      {[](R& r) { (*r.mutable_config()->mutable_labels())["k"] = std::string(4096, 'x'); },
       "config.labels['k'] is 4097 bytes of key and value together; at most 4096 are allowed"},
      {[&](R& r) { (*r.mutable_config()->mutable_annotations())["k"] = nul; },
       "config.annotations['k'] contains a NUL byte"},
      {[](R& r) { Namespaces(r).set_network(api::CONTAINER); },
       "config.linux.security_context.namespace_options.network is CONTAINER; only pid can be"},
      {[](R& r) { Namespaces(r).set_pid(api::TARGET); },
       "config.linux.security_context.namespace_options.pid is TARGET; only a container's pid can "
       "be"},
      {[](R& r) { Namespaces(r).set_ipc(static_cast<api::NamespaceMode>(9)); },
       "config.linux.security_context.namespace_options.ipc has the unknown value 9"},
      {[](R& r) { Namespaces(r).set_target_id("abc"); },
       "config.linux.security_context.namespace_options.target_id is set, but pid is not TARGET"},
      {[](R& r) { Namespaces(r).mutable_userns_options()->set_mode(api::POD); },
       "config.linux.security_context.namespace_options.userns_options.uids is empty"},
      {[](R& r) { UserNamespace(r).clear_gids(); },
       "config.linux.security_context.namespace_options.userns_options.gids is empty"},
      {[](R& r) { UserNamespace(r).mutable_gids(0)->set_length(0); },
       "config.linux.security_context.namespace_options.userns_options.gids[0].length is 0"},
      {[](R& r) { UserNamespace(r).mutable_uids(0)->set_container_id(1); },
       "config.linux.security_context.namespace_options.userns_options.uids does not map id 0 of "
       "the container"},
      {[](R& r) { UserNamespace(r).set_mode(api::NODE); },
       "config.linux.security_context.namespace_options.userns_options has mappings, but its mode "
       "is NODE"},
      {[](R& r) {
         UserNamespace(r);
         Namespaces(r).set_pid(api::NODE);
       },
       "config.linux.security_context.namespace_options.pid is NODE; in a user namespace of the "
       "pod's own (userns_options.mode POD) the kernel does not allow that"},
      {[](R& r) {
         UserNamespace(r);
         Namespaces(r).set_ipc(api::NODE);
       },
       "config.linux.security_context.namespace_options.ipc is NODE; in a user namespace of the "
       "pod's own (userns_options.mode POD) the kernel does not allow that"},
      {[](R& r) { Namespaces(r).mutable_userns_options()->set_mode(api::TARGET); },
       "config.linux.security_context.namespace_options.userns_options.mode is neither POD nor "
       "NODE"},
      {[](R& r) { Security(r).mutable_run_as_group()->set_value(5); },
       "config.linux.security_context.run_as_group is set without run_as_user"},
      {[](R& r) { Security(r).mutable_run_as_user()->set_value(-1); },
       "config.linux.security_context.run_as_user is -1; 0 to 4294967294 are allowed"},
      {[](R& r) {
         Security(r).mutable_seccomp()->set_profile_type(api::SecurityProfile::Localhost);
       },
       "config.linux.security_context.seccomp.localhost_ref is missing"},
      {[](R& r) { r.mutable_config()->mutable_linux()->mutable_overhead()->set_cpu_period(-5); },
       "config.linux.overhead.cpu_period is -5; at least 0 is allowed"},
      {[](R& r) { r.set_runtime_handler("a\nb"); }, "runtime_handler contains a control character"},
  };
  for (const Refused& c : cases) {
    api::RunPodSandboxRequest request = Minimal();
    c.change(request);
    const auto spec = ParseSandbox(request);
    EXPECT_EQ(spec.status().message(), c.message);
    EXPECT_EQ(spec.status().code(), c.code) << c.message;
  }
}

}  // namespace
}  // namespace berth::cri
