#include "lib/spec/container_spec.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/status.h"
#include "lib/model/id_map.h"
#include "lib/spec/annotations.h"
#include "lib/spec/exec_cpu.h"
#include "lib/spec/linux_section.h"
#include "lib/spec/mounts.h"
#include "lib/spec/resources.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;

// The features in use are those of 1.0.2, which every runtime knows.
constexpr char kOciVersion[] = "1.0.2";
constexpr size_t kMaxImageVolumes = 1024;

// Who is not in the pod's user namespace cannot be in its containers.
absl::Status CheckUser(const model::ContainerUser& user, const model::NamespaceOptions& pod) {
  if (pod.user != model::NamespaceMode::kPod) {
    return absl::OkStatus();
  }
  const auto check = [](const char* what, int64_t id, const std::vector<model::IdMapping>& map) {
    return model::FindMapping(map, id) != nullptr
               ? absl::OkStatus()
               : absl::InvalidArgumentError(
                     fmt::format("{} {} is not in the pod's user namespace, which has {} (see "
                                 "run_as_user, run_as_group, supplemental_groups and the image's "
                                 "user)",
                                 what, id, model::IdRanges(map)));
  };
  RETURN_IF_ERROR(check("user", user.uid, pod.uids));
  RETURN_IF_ERROR(check("group", user.gid, pod.gids));
  for (const int64_t group : user.supplemental_groups) {
    RETURN_IF_ERROR(check("supplemental group", group, pod.gids));
  }
  return absl::OkStatus();
}

absl::Status CheckSupported(const SpecInputs& inputs) {
  if (inputs.container.security.privileged && !inputs.sandbox.spec.privileged) {
    return absl::InvalidArgumentError("a privileged container needs a privileged pod");
  }
  return CheckUser(inputs.user, inputs.sandbox.spec.namespaces);
}

// "K=V" in the place of an earlier K, else at the end.
void SetVariable(const std::string& variable, std::vector<std::string>& env) {
  const std::string key = variable.substr(0, variable.find('=') + 1);
  const auto old = std::find_if(env.begin(), env.end(), [&](const std::string& entry) {
    return entry.compare(0, key.size(), key) == 0;
  });
  if (old != env.end()) {
    *old = variable;
  } else {
    env.push_back(variable);
  }
}

Json BuildHooks(const model::Hooks& hooks) {
  Json json = Json::object();
  for (const auto& [stage, list] : hooks) {
    for (const model::Hook& hook : list) {
      Json entry = {{"path", hook.path}};
      if (!hook.args.empty()) {
        entry["args"] = hook.args;
      }
      if (!hook.env.empty()) {
        entry["env"] = hook.env;
      }
      if (hook.timeout_seconds > 0) {
        entry["timeout"] = hook.timeout_seconds;
      }
      json[stage].push_back(std::move(entry));
    }
  }
  return json;
}

Json BuildRlimits(const SpecInputs& inputs, std::vector<std::string>& warnings) {
  Json list = Json::array();
  for (const Ulimit& wanted : inputs.default_ulimits) {
    Ulimit limit = wanted;
    const auto own = inputs.node.rlimits.find(limit.type);
    if (!inputs.node.may_raise_rlimits && own != inputs.node.rlimits.end() &&
        limit.hard > own->second.hard) {
      warnings.push_back(fmt::format("{} lowered from {} to {}, the most allowed here", limit.type,
                                     limit.hard, own->second.hard));
      limit.hard = own->second.hard;
      limit.soft = std::min(limit.soft, limit.hard);
    }
    list.push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  }
  return list;
}

Json BuildUser(const model::ContainerUser& user) {
  Json json = {{"uid", user.uid}, {"gid", user.gid}};
  if (!user.supplemental_groups.empty()) {
    json["additionalGids"] = user.supplemental_groups;
  }
  return json;
}

Json BuildCapabilities(const SpecInputs& inputs) {
  return {{"bounding", inputs.capabilities},
          {"effective", inputs.capabilities},
          {"permitted", inputs.capabilities},
          {"inheritable", inputs.ambient_capabilities},
          {"ambient", inputs.ambient_capabilities}};
}

absl::StatusOr<Json> BuildProcess(const SpecInputs& inputs, std::vector<std::string> args,
                                  int oom_score_adj, std::vector<std::string>& warnings) {
  const model::ContainerSecurity& security = inputs.container.security;
  ASSIGN_OR_RETURN(std::vector<std::string> env,
                   AssembleEnv(inputs.container, inputs.image, inputs.default_env,
                               inputs.sandbox.hostname, inputs.user.home));
  const bool is_told = std::any_of(env.begin(), env.end(), [](const std::string& entry) {
    return entry.rfind("container=", 0) == 0;
  });
  if (IsSystemd(args) && !is_told) {
    env.push_back("container=berth");  // how systemd knows where it runs
  }
  for (const std::string& variable : inputs.edits.env) {
    SetVariable(variable, env);
  }
  ASSIGN_OR_RETURN(std::string cwd, AssembleCwd(inputs.container, inputs.image));
  Json process = {{"args", std::move(args)},
                  {"env", std::move(env)},
                  {"cwd", std::move(cwd)},
                  {"user", BuildUser(inputs.user)},
                  {"terminal", inputs.container.tty},
                  {"noNewPrivileges", security.no_new_privs},
                  {"capabilities", BuildCapabilities(inputs)},
                  {"oomScoreAdj", oom_score_adj}};
  SetExecCpu(process, inputs.container.resources, inputs.exec_on_first_cpu);
  if (Json rlimits = BuildRlimits(inputs, warnings); !rlimits.empty()) {
    process["rlimits"] = std::move(rlimits);
  }
  if (!inputs.apparmor_profile.empty()) {
    process["apparmorProfile"] = inputs.apparmor_profile;
  }
  if (!security.privileged && !inputs.process_selinux_label.empty()) {
    process["selinuxLabel"] = inputs.process_selinux_label;
  } else if (!security.privileged && !security.selinux.empty()) {
    warnings.push_back("SELinux options are not applied: SELinux is not in use on this node");
  }
  return process;
}

absl::StatusOr<std::vector<std::string>> RootfsDirs(const SpecInputs& inputs,
                                                    const std::string& cwd) {
  if (inputs.image.volumes.size() > kMaxImageVolumes) {
    return absl::InvalidArgumentError(
        fmt::format("the image has more than {} volumes", kMaxImageVolumes));
  }
  std::vector<std::string> dirs;
  const auto add = [&](const std::string& dir) {
    if (dir != "/" && std::find(dirs.begin(), dirs.end(), dir) == dirs.end()) {
      dirs.push_back(dir);
    }
  };
  add(cwd);
  for (const std::string& volume : inputs.image.volumes) {
    ASSIGN_OR_RETURN(const std::string clean,
                     CleanAbsolutePath("/" + volume, "volume of the image"));
    add(clean);
  }
  return dirs;
}

// Text that came past the checks (labels, paths of the pod) may still be no UTF-8: the library
// throws then.
absl::StatusOr<std::string> Dump(const Json& json) {
  try {
    return json.dump();
  } catch (const Json::exception& e) {
    return absl::InvalidArgumentError(fmt::format("the request is not UTF-8 text: {}", e.what()));
  }
}

// `object` with one more member, of text that is JSON already: seccomp profiles are large and ready
// made.
std::string AddMember(std::string object, const char* key, const std::string& json) {
  object.pop_back();
  return fmt::format("{},\"{}\":{}}}", object, key, json);
}

}  // namespace

absl::StatusOr<SpecOutput> BuildContainerSpec(const SpecInputs& inputs) {
  SpecOutput output;
  RETURN_IF_ERROR(CheckSupported(inputs));
  ASSIGN_OR_RETURN(std::vector<std::string> args, AssembleArgs(inputs.container, inputs.image));
  ASSIGN_OR_RETURN(MountPlan mounts, PlanMounts(inputs, IsSystemd(args)));
  ASSIGN_OR_RETURN(ResourcesOutput resources,
                   BuildResources(inputs.container.resources, inputs.node,
                                  {.min_memory_bytes = inputs.min_memory_bytes,
                                   .pids_limit = inputs.pids_limit}));
  output.warnings = std::move(resources.warnings);
  ASSIGN_OR_RETURN(const Json process,
                   BuildProcess(inputs, std::move(args), resources.oom_score_adj, output.warnings));
  ASSIGN_OR_RETURN(output.rootfs_dirs, RootfsDirs(inputs, process["cwd"].get<std::string>()));
  ASSIGN_OR_RETURN(const Json linux, BuildLinux(inputs, Json::parse(resources.json),
                                                mounts.rootfs_propagation, output.warnings));
  const auto annotations = BuildAnnotations(inputs, output.warnings);

  Json root = {
      {"ociVersion", kOciVersion},
      {"root",
       {{"path", inputs.rootfs_path}, {"readonly", inputs.container.security.readonly_rootfs}}},
      {"mounts", std::move(mounts.mounts)},
      {"annotations", annotations}};
  if (!inputs.namespaces.uts.empty() && !inputs.sandbox.hostname.empty()) {
    root["hostname"] = inputs.sandbox.hostname;
  }
  if (Json hooks = BuildHooks(inputs.edits.hooks); !hooks.empty()) {
    root["hooks"] = std::move(hooks);
  }
  ASSIGN_OR_RETURN(output.process_json, Dump(process));
  ASSIGN_OR_RETURN(std::string linux_text, Dump(linux));
  ASSIGN_OR_RETURN(std::string text, Dump(root));
  if (!inputs.seccomp_json.empty() && !inputs.container.security.privileged) {
    linux_text = AddMember(std::move(linux_text), "seccomp", inputs.seccomp_json);
  }
  text = AddMember(std::move(text), "process", output.process_json);
  output.config_json = AddMember(std::move(text), "linux", linux_text);
  return output;
}

}  // namespace berth::spec
