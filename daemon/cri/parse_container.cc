#include "daemon/cri/parse_container.h"

#include <utility>

#include "fmt/format.h"

#include "daemon/cri/fields.h"
#include "daemon/cri/parse_security.h"
#include "daemon/cri/signal_map.h"
#include "daemon/cri/text.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace berth::cri {

namespace {

absl::Status CheckCount(std::string_view field, int count, int max) {
  return count <= max
             ? absl::OkStatus()
             : FieldError(field, fmt::format("has {} entries; at most {} are allowed", count, max));
}

absl::Status ParseImageSpec(const api::ContainerConfig& config, model::ContainerSpec& spec) {
  RETURN_IF_ERROR(CheckName("config.image.image", config.image().image(), kMaxImageNameBytes));
  RETURN_IF_ERROR(CheckWord("config.image.user_specified_image",
                            config.image().user_specified_image(), kMaxImageNameBytes));
  // Every handler's containers stand on the same images.
  RETURN_IF_ERROR(CheckWord("config.image.runtime_handler", config.image().runtime_handler()));
  RETURN_IF_ERROR(
      CheckWord("config.image.image_ref", config.image().image_ref(), kMaxImageNameBytes));
  spec.image = config.image().image();
  spec.user_specified_image = config.image().user_specified_image();
  ASSIGN_OR_RETURN(spec.image_annotations,
                   ParseAnnotations("config.image.annotations", config.image().annotations()));
  return absl::OkStatus();
}

absl::Status ParseProcess(const api::ContainerConfig& config, model::ContainerSpec& spec) {
  ASSIGN_OR_RETURN(spec.command, ParseTexts("config.command", config.command()));
  ASSIGN_OR_RETURN(spec.args, ParseTexts("config.args", config.args()));
  if (!config.working_dir().empty()) {
    RETURN_IF_ERROR(CheckAbsolutePath("config.working_dir", config.working_dir()));
    spec.working_dir = config.working_dir();
  }
  RETURN_IF_ERROR(CheckCount("config.envs", config.envs_size(), kMaxEnvs));
  for (int i = 0; i < config.envs_size(); ++i) {
    const api::KeyValue& env = config.envs(i);
    const std::string field = fmt::format("config.envs[{}]", i);
    RETURN_IF_ERROR(CheckName(field + ".key", env.key(), 128 << 10));
    if (env.key().find('=') != std::string::npos) {
      return FieldError(field + ".key", fmt::format("'{}' contains '='", OneLine(env.key(), 64)));
    }
    const std::string value_field =
        fmt::format("{}.value (of '{}')", field, OneLine(env.key(), 64));
    RETURN_IF_ERROR(CheckNoNul(value_field, env.value()));
    if (!base::IsUtf8(env.value())) {
      return FieldError(
          value_field,
          "is not UTF-8; OCI runtimes are given it as JSON, which cannot hold other bytes");
    }
    spec.envs.push_back({.key = env.key(), .value = env.value()});
  }
  return absl::OkStatus();
}

bool HasDotDot(const std::string& path) { return (path + '/').find("/../") != std::string::npos; }

absl::Status CheckMountSource(const std::string& field, const api::Mount& mount) {
  if (!mount.has_image()) {
    RETURN_IF_ERROR(CheckAbsolutePath(field + ".host_path", mount.host_path()));
    return mount.image_sub_path().empty()
               ? absl::OkStatus()
               : FieldError(field + ".image_sub_path", "is set, but image is not");
  }
  RETURN_IF_ERROR(CheckName(field + ".image.image", mount.image().image(), kMaxImageNameBytes));
  const std::string& sub_path = mount.image_sub_path();
  RETURN_IF_ERROR(CheckNoNul(field + ".image_sub_path", sub_path));
  if (sub_path.substr(0, 1) == "/" || HasDotDot("/" + sub_path)) {
    return FieldError(field + ".image_sub_path",
                      fmt::format("'{}' is not a relative path without '..'", OneLine(sub_path)));
  }
  return mount.host_path().empty() ? absl::OkStatus()
                                   : FieldError(field, "has both a host_path and an image");
}

absl::StatusOr<model::MountSpec> ParseMount(const std::string& field, const api::Mount& mount) {
  RETURN_IF_ERROR(CheckAbsolutePath(field + ".container_path", mount.container_path()));
  if (HasDotDot(mount.container_path())) {
    return FieldError(field + ".container_path",
                      fmt::format("'{}' contains '..'", OneLine(mount.container_path())));
  }
  RETURN_IF_ERROR(CheckMountSource(field, mount));
  if (!api::MountPropagation_IsValid(mount.propagation())) {
    return FieldError(field + ".propagation", fmt::format("has the unknown value {}",
                                                          static_cast<int>(mount.propagation())));
  }
  if (mount.recursive_read_only() && !mount.readonly()) {
    return FieldError(field + ".recursive_read_only", "is set, but readonly is not");
  }
  if (mount.recursive_read_only() && mount.propagation() != api::PROPAGATION_PRIVATE) {
    return FieldError(field + ".recursive_read_only",
                      "is set, but propagation is not PROPAGATION_PRIVATE");
  }
  model::MountSpec spec{
      .container_path = mount.container_path(),
      .host_path = mount.host_path(),
      .readonly = mount.readonly(),
      .recursive_readonly = mount.recursive_read_only(),
      .selinux_relabel = mount.selinux_relabel(),
      .propagation = static_cast<model::MountPropagation>(mount.propagation()),
      .image = mount.image().image(),
      .image_sub_path = mount.image_sub_path(),
  };
  if (!mount.uidmappings().empty() || !mount.gidmappings().empty()) {
    ASSIGN_OR_RETURN(spec.uid_mappings, ParseIdMap(field + ".uidMappings", mount.uidmappings()));
    ASSIGN_OR_RETURN(spec.gid_mappings, ParseIdMap(field + ".gidMappings", mount.gidmappings()));
    if (mount.propagation() == api::PROPAGATION_BIDIRECTIONAL) {
      return FieldError(field + ".propagation",
                        "is PROPAGATION_BIDIRECTIONAL, which a mount with mapped ids cannot have");
    }
  }
  for (const std::string& option : mount.mount_options()) {
    RETURN_IF_ERROR(CheckName(field + ".mount_options", option));
    spec.options.push_back(option);
  }
  return spec;
}

absl::Status ParseMountsAndDevices(const api::ContainerConfig& config, model::ContainerSpec& spec) {
  RETURN_IF_ERROR(CheckCount("config.mounts", config.mounts_size(), kMaxMounts));
  for (int i = 0; i < config.mounts_size(); ++i) {
    ASSIGN_OR_RETURN(model::MountSpec mount,
                     ParseMount(fmt::format("config.mounts[{}]", i), config.mounts(i)));
    spec.mounts.push_back(std::move(mount));
  }
  RETURN_IF_ERROR(CheckCount("config.devices", config.devices_size(), kMaxDevices));
  for (int i = 0; i < config.devices_size(); ++i) {
    const api::Device& device = config.devices(i);
    const std::string field = fmt::format("config.devices[{}]", i);
    RETURN_IF_ERROR(CheckAbsolutePath(field + ".host_path", device.host_path()));
    if (!device.container_path().empty()) {
      RETURN_IF_ERROR(CheckAbsolutePath(field + ".container_path", device.container_path()));
    }
    if (device.permissions().find_first_not_of("rwm") != std::string::npos) {
      return FieldError(field + ".permissions", "may have the letters r, w and m only");
    }
    spec.devices.push_back({.container_path = device.container_path(),
                            .host_path = device.host_path(),
                            .permissions = device.permissions()});
  }
  RETURN_IF_ERROR(CheckCount("config.CDI_devices", config.cdi_devices_size(), kMaxDevices));
  for (const api::CDIDevice& device : config.cdi_devices()) {
    RETURN_IF_ERROR(CheckName("config.CDI_devices.name", device.name()));
    spec.cdi_devices.push_back(device.name());
  }
  return absl::OkStatus();
}

absl::Status ParseUser(const std::string& field, const api::LinuxContainerSecurityContext& context,
                       model::ContainerSecurity& security) {
  RETURN_IF_ERROR(CheckWord(field + ".run_as_username", context.run_as_username()));
  security.run_as_username = context.run_as_username();
  if (context.has_run_as_user()) {
    if (!security.run_as_username.empty()) {
      return FieldError(field, "has both run_as_user and run_as_username");
    }
    ASSIGN_OR_RETURN(security.run_as_user,
                     ParseId(field + ".run_as_user", context.run_as_user().value()));
  }
  if (context.has_run_as_group()) {
    if (!context.has_run_as_user() && security.run_as_username.empty()) {
      return FieldError(field + ".run_as_group", "is set without run_as_user or run_as_username");
    }
    ASSIGN_OR_RETURN(security.run_as_group,
                     ParseId(field + ".run_as_group", context.run_as_group().value()));
  }
  RETURN_IF_ERROR(
      CheckCount(field + ".supplemental_groups", context.supplemental_groups_size(), kMaxGroups));
  for (const int64_t group : context.supplemental_groups()) {
    ASSIGN_OR_RETURN(const int64_t id, ParseId(field + ".supplemental_groups", group));
    security.supplemental_groups.push_back(id);
  }
  if (!api::SupplementalGroupsPolicy_IsValid(context.supplemental_groups_policy())) {
    return FieldError(field + ".supplemental_groups_policy", "has an unknown value");
  }
  security.supplemental_groups_policy =
      static_cast<model::SupplementalGroupsPolicy>(context.supplemental_groups_policy());
  return absl::OkStatus();
}

// Kubelets still send both forms.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
const std::string& OldSeccomp(const api::LinuxContainerSecurityContext& context) {
  return context.seccomp_profile_path();
}
const std::string& OldApparmor(const api::LinuxContainerSecurityContext& context) {
  return context.apparmor_profile();
}
#pragma GCC diagnostic pop

absl::Status ParseProfiles(const std::string& field,
                           const api::LinuxContainerSecurityContext& context,
                           model::ContainerSecurity& security) {
  if (context.has_seccomp()) {
    ASSIGN_OR_RETURN(security.seccomp, ParseSeccomp(field + ".seccomp", context.seccomp()));
  } else {
    ASSIGN_OR_RETURN(security.seccomp,
                     ParseSeccompText(field + ".seccomp_profile_path", OldSeccomp(context)));
  }
  if (context.has_apparmor()) {
    ASSIGN_OR_RETURN(security.apparmor, ParseApparmor(field + ".apparmor", context.apparmor()));
  } else {
    ASSIGN_OR_RETURN(security.apparmor,
                     ParseApparmorText(field + ".apparmor_profile", OldApparmor(context)));
  }
  if (!security.apparmor) {
    // CRI v1: no profile given is the same as runtime/default.
    security.apparmor =
        model::SecurityProfile{.type = model::SecurityProfile::Type::kRuntimeDefault};
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ParsePaths(
    const std::string& field, const google::protobuf::RepeatedPtrField<std::string>& paths) {
  for (const std::string& path : paths) {
    RETURN_IF_ERROR(CheckAbsolutePath(field, path));
  }
  return std::vector<std::string>(paths.begin(), paths.end());
}

absl::Status ParseLinux(const api::LinuxContainerConfig& config, model::ContainerSpec& spec) {
  ASSIGN_OR_RETURN(spec.resources, ParseResources("config.linux.resources", config.resources()));
  const std::string field = "config.linux.security_context";
  const api::LinuxContainerSecurityContext& context = config.security_context();
  model::ContainerSecurity& security = spec.security;
  security.privileged = context.privileged();
  security.readonly_rootfs = context.readonly_rootfs();
  security.no_new_privs = context.no_new_privs();
  security.selinux = ParseSelinux(context.selinux_options());
  const api::Capability& capabilities = context.capabilities();
  ASSIGN_OR_RETURN(security.add_capabilities, ParseTexts(field + ".capabilities.add_capabilities",
                                                         capabilities.add_capabilities()));
  ASSIGN_OR_RETURN(security.drop_capabilities, ParseTexts(field + ".capabilities.drop_capabilities",
                                                          capabilities.drop_capabilities()));
  ASSIGN_OR_RETURN(security.add_ambient_capabilities,
                   ParseTexts(field + ".capabilities.add_ambient_capabilities",
                              capabilities.add_ambient_capabilities()));
  ASSIGN_OR_RETURN(security.namespaces,
                   ParseNamespaces(field + ".namespace_options", Owner::kContainer,
                                   context.namespace_options()));
  ASSIGN_OR_RETURN(security.masked_paths,
                   ParsePaths(field + ".masked_paths", context.masked_paths()));
  ASSIGN_OR_RETURN(security.readonly_paths,
                   ParsePaths(field + ".readonly_paths", context.readonly_paths()));
  RETURN_IF_ERROR(ParseUser(field, context, security));
  return ParseProfiles(field, context, security);
}

}  // namespace

absl::StatusOr<model::ContainerSpec> ParseContainer(const api::CreateContainerRequest& request) {
  if (!request.has_config()) {
    return FieldError("config", "is missing");
  }
  const api::ContainerConfig& config = request.config();
  if (!config.has_metadata()) {
    return FieldError("config.metadata", "is missing");
  }
  RETURN_IF_ERROR(CheckNotWindows("config.windows", config.windows()));
  model::ContainerSpec spec;
  RETURN_IF_ERROR(CheckName("config.metadata.name", config.metadata().name()));
  spec.name = config.metadata().name();
  spec.attempt = config.metadata().attempt();
  RETURN_IF_ERROR(ParseImageSpec(config, spec));
  RETURN_IF_ERROR(ParseProcess(config, spec));
  RETURN_IF_ERROR(ParseMountsAndDevices(config, spec));
  ASSIGN_OR_RETURN(spec.labels, ParseLabels("config.labels", config.labels()));
  ASSIGN_OR_RETURN(spec.annotations, ParseAnnotations("config.annotations", config.annotations()));
  RETURN_IF_ERROR(CheckNoNul("config.log_path", config.log_path()));
  spec.log_path = config.log_path();
  spec.stdin_open = config.stdin();
  spec.stdin_once = config.stdin_once();
  spec.tty = config.tty();
  ASSIGN_OR_RETURN(spec.stop_signal, ParseSignal(config.stop_signal()));
  RETURN_IF_ERROR(ParseLinux(config.linux(), spec));
  return spec;
}

absl::Status CheckSandboxConfig(const api::PodSandboxConfig& config,
                                const model::SandboxSpec& pod) {
  const api::PodSandboxMetadata& metadata = config.metadata();
  const auto check = [](const char* field, const std::string& said, const std::string& is) {
    return said.empty() || said == is
               ? absl::OkStatus()
               : FieldError(fmt::format("sandbox_config.metadata.{}", field),
                            fmt::format("is '{}', but the pod's is '{}'", OneLine(said, 64), is));
  };
  RETURN_IF_ERROR(check("name", metadata.name(), pod.name));
  RETURN_IF_ERROR(check("namespace", metadata.namespace_(), pod.ns));
  return check("uid", metadata.uid(), pod.uid);
}

absl::StatusOr<std::vector<std::string>> ParseCommand(
    const google::protobuf::RepeatedPtrField<std::string>& cmd) {
  if (cmd.empty() || cmd[0].empty()) {
    return FieldError("cmd", "is empty; give a program to run");
  }
  return ParseTexts("cmd", cmd);
}

}  // namespace berth::cri
