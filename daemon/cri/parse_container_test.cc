#include "daemon/cri/parse_container.h"

#include <csignal>
#include <functional>

#include "gtest/gtest.h"

namespace berth::cri {
namespace {

api::CreateContainerRequest Minimal() {
  api::CreateContainerRequest request;
  request.set_pod_sandbox_id("abc");
  request.mutable_config()->mutable_metadata()->set_name("web");
  request.mutable_config()->mutable_image()->set_image("nginx");
  return request;
}

api::LinuxContainerSecurityContext& Security(api::CreateContainerRequest& request) {
  return *request.mutable_config()->mutable_linux()->mutable_security_context();
}

api::LinuxContainerResources& Resources(api::CreateContainerRequest& request) {
  return *request.mutable_config()->mutable_linux()->mutable_resources();
}

api::Mount& Mount(api::CreateContainerRequest& request) {
  api::Mount& mount = *request.mutable_config()->add_mounts();
  mount.set_container_path("/data");
  mount.set_host_path("/srv/data");
  return mount;
}

TEST(ParseContainerTest, TakesTheLeastThereIs) {
  const auto spec = ParseContainer(Minimal());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "web");
  EXPECT_EQ(spec->image, "nginx");
  EXPECT_EQ(spec->stop_signal, 0);
  EXPECT_FALSE(spec->security.seccomp);
  EXPECT_EQ(spec->security.apparmor->type, model::SecurityProfile::Type::kRuntimeDefault);
}

TEST(ParseContainerTest, TakesTheProcess) {
  api::CreateContainerRequest request = Minimal();
  api::ContainerConfig& config = *request.mutable_config();
  config.mutable_metadata()->set_attempt(2);
  config.mutable_image()->set_user_specified_image("nginx:1");
  (*config.mutable_image()->mutable_annotations())["a"] = "b";
  config.add_command("/bin/sh");
  config.add_args("-c");
  config.add_args("");
  config.set_working_dir("/tmp");
  api::KeyValue& env = *config.add_envs();
  env.set_key("K.1-x");
  env.set_value("v=1\n");
  config.set_log_path("web/2.log");
  config.set_stdin(true);
  config.set_stdin_once(true);
  config.set_tty(true);
  config.set_stop_signal(api::SIGNAL_SIGQUIT);

  const auto spec = ParseContainer(request);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->attempt, 2u);
  EXPECT_EQ(spec->user_specified_image, "nginx:1");
  EXPECT_EQ(spec->image_annotations.at("a"), "b");
  EXPECT_EQ(spec->command, std::vector<std::string>{"/bin/sh"});
  EXPECT_EQ(spec->args, (std::vector<std::string>{"-c", ""}));
  EXPECT_EQ(spec->working_dir, "/tmp");
  ASSERT_EQ(spec->envs.size(), 1u);
  EXPECT_EQ(spec->envs[0].value, "v=1\n");
  EXPECT_EQ(spec->log_path, "web/2.log");
  EXPECT_TRUE(spec->stdin_open && spec->stdin_once && spec->tty);
  EXPECT_EQ(spec->stop_signal, SIGQUIT);
}

TEST(ParseContainerTest, TakesMountsDevicesAndResources) {
  api::CreateContainerRequest request = Minimal();
  api::Mount& mount = Mount(request);
  mount.set_readonly(true);
  mount.set_recursive_read_only(true);
  mount.set_selinux_relabel(true);
  mount.add_mount_options("noexec");
  mount.add_uidmappings()->set_length(7);
  mount.add_gidmappings()->set_length(8);
  Mount(request).set_propagation(api::PROPAGATION_BIDIRECTIONAL);
  api::Mount& image = *request.mutable_config()->add_mounts();
  image.set_container_path("/img");
  image.mutable_image()->set_image("data:1");
  image.set_image_sub_path("sub");
  api::Device& device = *request.mutable_config()->add_devices();
  device.set_host_path("/dev/fuse");
  device.set_permissions("rw");
  request.mutable_config()->add_cdi_devices()->set_name("v.com/c=d");
  Resources(request).set_cpu_quota(-1);
  Resources(request).set_memory_swap_limit_in_bytes(-1);
  Resources(request).set_oom_score_adj(-999);
  Resources(request).set_cpuset_cpus("0-1");
  Resources(request).add_hugepage_limits()->set_page_size("2MB");
  (*Resources(request).mutable_unified())["memory.high"] = "1000";

  const auto spec = ParseContainer(request);
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_EQ(spec->mounts.size(), 3u);
  EXPECT_TRUE(spec->mounts[0].readonly && spec->mounts[0].recursive_readonly &&
              spec->mounts[0].selinux_relabel);
  EXPECT_EQ(spec->mounts[0].options, std::vector<std::string>{"noexec"});
  EXPECT_EQ(spec->mounts[0].uid_mappings[0].length, 7u);
  EXPECT_EQ(spec->mounts[0].gid_mappings[0].length, 8u);
  EXPECT_EQ(spec->mounts[1].propagation, model::MountPropagation::kBidirectional);
  EXPECT_EQ(spec->mounts[2].image, "data:1");
  EXPECT_EQ(spec->mounts[2].image_sub_path, "sub");
  EXPECT_EQ(spec->devices[0].permissions, "rw");
  EXPECT_EQ(spec->cdi_devices, std::vector<std::string>{"v.com/c=d"});
  EXPECT_EQ(spec->resources.cpu_quota, -1);
  EXPECT_EQ(spec->resources.memory_swap_limit_bytes, -1);
  EXPECT_EQ(spec->resources.oom_score_adj, -999);
  EXPECT_EQ(spec->resources.hugepage_limits[0].page_size, "2MB");
  EXPECT_EQ(spec->resources.unified.at("memory.high"), "1000");
}

TEST(ParseContainerTest, TakesSecurity) {
  api::CreateContainerRequest request = Minimal();
  api::LinuxContainerSecurityContext& security = Security(request);
  security.set_privileged(true);
  security.set_readonly_rootfs(true);
  security.set_no_new_privs(true);
  security.mutable_capabilities()->add_add_capabilities("NET_ADMIN");
  security.mutable_capabilities()->add_drop_capabilities("ALL");
  security.mutable_capabilities()->add_add_ambient_capabilities("CHOWN");
  security.mutable_namespace_options()->set_pid(api::TARGET);
  security.mutable_namespace_options()->set_target_id("def");
  security.set_run_as_username("www");
  security.mutable_run_as_group()->set_value(4294967294);
  security.add_supplemental_groups(10);
  security.set_supplemental_groups_policy(api::Strict);
  security.add_masked_paths("/proc/x");
  security.add_readonly_paths("/proc/y");
  security.mutable_seccomp()->set_profile_type(api::SecurityProfile::Localhost);
  security.mutable_seccomp()->set_localhost_ref("/p.json");
  security.mutable_apparmor()->set_profile_type(api::SecurityProfile::Localhost);
  security.mutable_apparmor()->set_localhost_ref("strict");

  const auto parsed = ParseContainer(request);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const model::ContainerSecurity& spec = parsed->security;
  EXPECT_TRUE(spec.privileged && spec.readonly_rootfs && spec.no_new_privs);
  EXPECT_EQ(spec.add_capabilities, std::vector<std::string>{"NET_ADMIN"});
  EXPECT_EQ(spec.drop_capabilities, std::vector<std::string>{"ALL"});
  EXPECT_EQ(spec.add_ambient_capabilities, std::vector<std::string>{"CHOWN"});
  EXPECT_EQ(spec.namespaces.pid, model::NamespaceMode::kTarget);
  EXPECT_EQ(spec.namespaces.target_id, "def");
  EXPECT_EQ(spec.run_as_username, "www");
  EXPECT_EQ(spec.run_as_group, 4294967294);
  EXPECT_EQ(spec.supplemental_groups, std::vector<int64_t>{10});
  EXPECT_EQ(spec.supplemental_groups_policy, model::SupplementalGroupsPolicy::kStrict);
  EXPECT_EQ(spec.masked_paths, std::vector<std::string>{"/proc/x"});
  EXPECT_EQ(spec.readonly_paths, std::vector<std::string>{"/proc/y"});
  EXPECT_EQ(spec.seccomp->localhost_ref, "/p.json");
  EXPECT_EQ(spec.apparmor->localhost_ref, "strict");
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
TEST(ParseContainerTest, TakesTheOldFormOfProfiles) {
  using Type = model::SecurityProfile::Type;
  const struct {
    const char* text;
    Type type;
    const char* ref;
  } cases[] = {
      {"runtime/default", Type::kRuntimeDefault, ""},
      {"unconfined", Type::kUnconfined, ""},
      {"localhost//a/b", Type::kLocalhost, "/a/b"},
  };
  for (const auto& c : cases) {
    api::CreateContainerRequest request = Minimal();
    Security(request).set_seccomp_profile_path(c.text);
    Security(request).set_apparmor_profile(c.text);
    const auto spec = ParseContainer(request);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->security.seccomp->type, c.type);
    EXPECT_EQ(spec->security.seccomp->localhost_ref, c.ref);
    EXPECT_EQ(spec->security.apparmor->type, c.type);
    EXPECT_EQ(spec->security.apparmor->localhost_ref, c.ref);
    // The new form wins.
    Security(request).mutable_seccomp()->set_profile_type(api::SecurityProfile::Unconfined);
    EXPECT_EQ(ParseContainer(request)->security.seccomp->type, Type::kUnconfined);
  }
}
#pragma GCC diagnostic pop

TEST(ParseContainerTest, LocalProfilesMayHaveThePrefixOfTheirOldForm) {
  api::CreateContainerRequest request = Minimal();
  for (api::SecurityProfile* profile :
       {Security(request).mutable_seccomp(), Security(request).mutable_apparmor()}) {
    profile->set_profile_type(api::SecurityProfile::Localhost);
    profile->set_localhost_ref("localhost//a/b");
  }
  const auto spec = ParseContainer(request);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->security.seccomp->localhost_ref, "/a/b");
  EXPECT_EQ(spec->security.apparmor->localhost_ref, "/a/b");
}

struct Refused {
  std::function<void(api::CreateContainerRequest&)> change;
  const char* message;
};

void Check(const std::vector<Refused>& cases) {
  for (const Refused& c : cases) {
    api::CreateContainerRequest request = Minimal();
    c.change(request);
    EXPECT_EQ(ParseContainer(request).status(), absl::InvalidArgumentError(c.message));
  }
}

using R = api::CreateContainerRequest;
const std::string kNul("a\0b", 3);

TEST(ParseContainerTest, RefusesWhatIsMissingOrMalformed) {
  Check({
      {[](R& r) { r.clear_config(); }, "config is missing"},
      {[](R& r) { r.mutable_config()->clear_metadata(); }, "config.metadata is missing"},
      {[](R& r) { r.mutable_config()->mutable_windows()->mutable_resources()->set_cpu_shares(1); },
       "config.windows is set; this node runs Linux"},
      {[](R& r) { r.mutable_config()->mutable_image()->set_runtime_handler("a\n"); },
       "config.image.runtime_handler contains a control character"},
      {[](R& r) { r.mutable_config()->mutable_metadata()->clear_name(); },
       "config.metadata.name is missing"},
      {[](R& r) { r.mutable_config()->clear_image(); }, "config.image.image is missing"},
      {[](R& r) { r.mutable_config()->add_command(kNul); },
       "config.command[0] contains a NUL byte"},
      {[](R& r) { r.mutable_config()->add_args(kNul); }, "config.args[0] contains a NUL byte"},
      {[](R& r) { r.mutable_config()->set_working_dir("tmp"); },
       "config.working_dir 'tmp' is not an absolute path"},
      {[](R& r) { r.mutable_config()->add_envs()->set_value("x"); },
       "config.envs[0].key is missing"},
      {[](R& r) { r.mutable_config()->add_envs()->set_key("A=B"); },
       "config.envs[0].key 'A=B' contains '='"},
      {[](R& r) {
         r.mutable_config()->add_envs()->set_key("A");
         r.mutable_config()->mutable_envs(0)->set_value("\xff");
       },
       "config.envs[0].value (of 'A') is not UTF-8; OCI runtimes are given it as JSON, which "
       "cannot hold other bytes"},
      {[](R& r) {
         r.mutable_config()->add_envs()->set_key("A");
         r.mutable_config()->mutable_envs(0)->set_value(kNul);
       },
       "config.envs[0].value (of 'A') contains a NUL byte"},
      {[](R& r) { r.mutable_config()->set_log_path(kNul); }, "config.log_path contains a NUL byte"},
      {[](R& r) { r.mutable_config()->set_stop_signal(static_cast<api::Signal>(77)); },
       "77 is no signal of the CRI"},
      {[](R& r) { (*r.mutable_config()->mutable_labels())["k"] = std::string(4096, 'x'); },
       "config.labels['k'] is 4097 bytes of key and value together; at most 4096 are allowed"},
  });
}

TEST(ParseContainerTest, RefusesMountsAndDevices) {
  Check({
      {[](R& r) { Mount(r).clear_container_path(); }, "config.mounts[0].container_path is missing"},
      {[](R& r) { Mount(r).set_container_path("data"); },
       "config.mounts[0].container_path 'data' is not an absolute path"},
      {[](R& r) { Mount(r).set_container_path("/a/.."); },
       "config.mounts[0].container_path '/a/..' contains '..'"},
      {[](R& r) { Mount(r).clear_host_path(); }, "config.mounts[0].host_path is missing"},
      {[](R& r) { Mount(r).mutable_image()->set_image("x"); },
       "config.mounts[0] has both a host_path and an image"},
      {[](R& r) { Mount(r).set_image_sub_path("x"); },
       "config.mounts[0].image_sub_path is set, but image is not"},
      {[](R& r) { Mount(r).set_propagation(static_cast<api::MountPropagation>(5)); },
       "config.mounts[0].propagation has the unknown value 5"},
      {[](R& r) { Mount(r).set_recursive_read_only(true); },
       "config.mounts[0].recursive_read_only is set, but readonly is not"},
      {[](R& r) {
         Mount(r).set_recursive_read_only(true);
         r.mutable_config()->mutable_mounts(0)->set_readonly(true);
         r.mutable_config()->mutable_mounts(0)->set_propagation(api::PROPAGATION_HOST_TO_CONTAINER);
       },
       "config.mounts[0].recursive_read_only is set, but propagation is not PROPAGATION_PRIVATE"},
      {[](R& r) {
         Mount(r).clear_host_path();
         r.mutable_config()->mutable_mounts(0)->mutable_image()->set_image("data:1");
         r.mutable_config()->mutable_mounts(0)->set_image_sub_path("a/../../etc");
       },
       "config.mounts[0].image_sub_path 'a/../../etc' is not a relative path without '..'"},
      {[](R& r) {
         Mount(r).clear_host_path();
         r.mutable_config()->mutable_mounts(0)->mutable_image()->set_image("data:1");
         r.mutable_config()->mutable_mounts(0)->set_image_sub_path("/etc");
       },
       "config.mounts[0].image_sub_path '/etc' is not a relative path without '..'"},
      {[](R& r) { r.mutable_config()->add_devices()->set_host_path("fuse"); },
       "config.devices[0].host_path 'fuse' is not an absolute path"},
      {[](R& r) {
         r.mutable_config()->add_devices()->set_host_path("/dev/fuse");
         r.mutable_config()->mutable_devices(0)->set_permissions("rx");
       },
       "config.devices[0].permissions may have the letters r, w and m only"},
      {[](R& r) { r.mutable_config()->add_cdi_devices(); }, "config.CDI_devices.name is missing"},
  });
}

TEST(ParseContainerTest, RefusesSecurityAndResources) {
  Check({
      {[](R& r) { Resources(r).set_memory_limit_in_bytes(-1); },
       "config.linux.resources.memory_limit_in_bytes is -1; at least 0 is allowed"},
      {[](R& r) { Resources(r).set_oom_score_adj(1001); },
       "config.linux.resources.oom_score_adj is 1001; -1000 to 1000 are allowed"},
      {[](R& r) { Resources(r).add_hugepage_limits(); },
       "config.linux.resources.hugepage_limits.page_size is missing"},
      {[](R& r) {
         Security(r).mutable_run_as_user()->set_value(1);
         Security(r).set_run_as_username("www");
       },
       "config.linux.security_context has both run_as_user and run_as_username"},
      {[](R& r) { Security(r).mutable_run_as_group()->set_value(1); },
       "config.linux.security_context.run_as_group is set without run_as_user or run_as_username"},
      {[](R& r) { Security(r).add_supplemental_groups(-5); },
       "config.linux.security_context.supplemental_groups is -5; 0 to 4294967294 are allowed"},
      {[](R& r) { Security(r).add_masked_paths("proc"); },
       "config.linux.security_context.masked_paths 'proc' is not an absolute path"},
      {[](R& r) { Security(r).mutable_namespace_options()->set_pid(api::TARGET); },
       "config.linux.security_context.namespace_options.target_id is missing"},
      {[](R& r) {
         Security(r).mutable_seccomp()->set_profile_type(api::SecurityProfile::Localhost);
         Security(r).mutable_seccomp()->set_localhost_ref("p.json");
       },
       "config.linux.security_context.seccomp.localhost_ref 'p.json' is not an absolute path"},
      {[](R& r) { Security(r).mutable_apparmor()->set_localhost_ref("x"); },
       "config.linux.security_context.apparmor.localhost_ref is set, but profile_type is not "
       "Localhost"},
      {[](R& r) {
         Security(r).mutable_apparmor()->set_profile_type(
             static_cast<api::SecurityProfile::ProfileType>(8));
       },
       "config.linux.security_context.apparmor has the unknown profile_type 8"},
  });
}

TEST(ParseContainerTest, ThePodIsTheOneItSays) {
  const model::SandboxSpec pod = {.name = "n", .uid = "u", .ns = "s"};
  api::PodSandboxConfig config;
  EXPECT_TRUE(CheckSandboxConfig(config, pod).ok());
  config.mutable_metadata()->set_name("n");
  config.mutable_metadata()->set_namespace_("s");
  config.mutable_metadata()->set_uid("u");
  (*config.mutable_annotations())["changed"] = "since";
  EXPECT_TRUE(CheckSandboxConfig(config, pod).ok());
  config.mutable_metadata()->set_uid("v");
  EXPECT_EQ(CheckSandboxConfig(config, pod).message(),
            "sandbox_config.metadata.uid is 'v', but the pod's is 'u'");
}

TEST(ParseContainerTest, CommandsHaveAProgram) {
  google::protobuf::RepeatedPtrField<std::string> cmd;
  EXPECT_EQ(ParseCommand(cmd).status().message(), "cmd is empty; give a program to run");
  *cmd.Add() = "ls";
  *cmd.Add() = "";
  EXPECT_EQ(*ParseCommand(cmd), (std::vector<std::string>{"ls", ""}));
  *cmd.Add() = kNul;
  EXPECT_EQ(ParseCommand(cmd).status().message(), "cmd[2] contains a NUL byte");
}

}  // namespace
}  // namespace berth::cri
