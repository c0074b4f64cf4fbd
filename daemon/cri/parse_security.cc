#include "daemon/cri/parse_security.h"

#include <utility>

#include "fmt/format.h"

#include "daemon/cri/fields.h"
#include "daemon/cri/text.h"
#include "lib/base/status.h"
#include "lib/model/id_map.h"

namespace berth::cri {

namespace {

using ProfileType = model::SecurityProfile::Type;

constexpr int64_t kMaxId = 0xfffffffe;  // 2^32-1 means "no change" to the kernel
constexpr char kLocalhost[] = "localhost/";

absl::StatusOr<model::NamespaceMode> ParseMode(const std::string& field, api::NamespaceMode mode,
                                               bool of_pid, Owner owner) {
  switch (mode) {
    case api::POD:
      return model::NamespaceMode::kPod;
    case api::NODE:
      return model::NamespaceMode::kNode;
    case api::CONTAINER:
      if (of_pid) {
        return model::NamespaceMode::kContainer;
      }
      return FieldError(field, "is CONTAINER; only pid can be");
    case api::TARGET:
      if (of_pid && owner == Owner::kContainer) {
        return model::NamespaceMode::kTarget;
      }
      return FieldError(field, "is TARGET; only a container's pid can be");
    default:
      return FieldError(field, fmt::format("has the unknown value {}", static_cast<int>(mode)));
  }
}

absl::StatusOr<std::vector<model::IdMapping>> ParsePodMap(
    const std::string& field, const google::protobuf::RepeatedPtrField<api::IDMapping>& mappings) {
  ASSIGN_OR_RETURN(std::vector<model::IdMapping> map, ParseIdMap(field, mappings));
  // Root owns what a container's root file system is made of.
  return model::FindMapping(map, 0) != nullptr
             ? map
             : absl::StatusOr<std::vector<model::IdMapping>>(
                   FieldError(field, "does not map id 0 of the container"));
}

absl::Status ParseUserNamespace(const std::string& field, const api::UserNamespace& user,
                                model::NamespaceOptions& options) {
  if (user.mode() != api::POD && user.mode() != api::NODE) {
    return FieldError(field + ".mode", "is neither POD nor NODE");
  }
  if (user.mode() == api::NODE) {
    options.user = model::NamespaceMode::kNode;
    return user.uids().empty() && user.gids().empty()
               ? absl::OkStatus()
               : FieldError(field, "has mappings, but its mode is NODE");
  }
  options.user = model::NamespaceMode::kPod;
  ASSIGN_OR_RETURN(options.uids, ParsePodMap(field + ".uids", user.uids()));
  ASSIGN_OR_RETURN(options.gids, ParsePodMap(field + ".gids", user.gids()));
  return absl::OkStatus();
}

// The file systems that show processes and queues can be mounted only by who owns their namespaces.
absl::Status CheckOwnNamespaces(const std::string& prefix, const model::NamespaceOptions& options) {
  for (const auto& [name, mode] : {std::pair("pid", options.pid), {"ipc", options.ipc}}) {
    if (options.user == model::NamespaceMode::kPod && mode == model::NamespaceMode::kNode) {
      return FieldError(fmt::format("{}.{}", prefix, name),
                        "is NODE; in a user namespace of the pod's own (userns_options.mode POD) "
                        "the kernel does not allow that");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ProfileType> ParseProfileType(std::string_view field,
                                             api::SecurityProfile::ProfileType type) {
  switch (type) {
    case api::SecurityProfile::RuntimeDefault:
      return ProfileType::kRuntimeDefault;
    case api::SecurityProfile::Unconfined:
      return ProfileType::kUnconfined;
    case api::SecurityProfile::Localhost:
      return ProfileType::kLocalhost;
    default:
      return FieldError(field,
                        fmt::format("has the unknown profile_type {}", static_cast<int>(type)));
  }
}

absl::StatusOr<model::SecurityProfile> ParseProfile(std::string_view field,
                                                    const api::SecurityProfile& profile,
                                                    bool is_path) {
  model::SecurityProfile result;
  ASSIGN_OR_RETURN(result.type, ParseProfileType(field, profile.profile_type()));
  const std::string ref_field = fmt::format("{}.localhost_ref", field);
  if (result.type != ProfileType::kLocalhost) {
    if (!profile.localhost_ref().empty()) {
      return FieldError(ref_field, "is set, but profile_type is not Localhost");
    }
    return result;
  }
  // Some clients keep the prefix that the field's old form, a string, had.
  result.localhost_ref = profile.localhost_ref();
  if (result.localhost_ref.rfind(kLocalhost, 0) == 0) {
    result.localhost_ref.erase(0, sizeof(kLocalhost) - 1);
  }
  RETURN_IF_ERROR(is_path ? CheckAbsolutePath(ref_field, result.localhost_ref)
                          : CheckName(ref_field, result.localhost_ref));
  return result;
}

absl::StatusOr<std::optional<model::SecurityProfile>> ParseProfileText(std::string_view field,
                                                                       const std::string& text,
                                                                       bool is_path) {
  if (text.empty()) {
    return std::nullopt;
  }
  if (text == "runtime/default" || text == "docker/default") {
    return model::SecurityProfile{.type = ProfileType::kRuntimeDefault};
  }
  if (text == "unconfined") {
    return model::SecurityProfile{.type = ProfileType::kUnconfined};
  }
  if (text.rfind(kLocalhost, 0) != 0) {
    return FieldError(
        field,
        fmt::format("'{}' is none of runtime/default, unconfined, localhost/...", OneLine(text)));
  }
  const std::string ref = text.substr(sizeof(kLocalhost) - 1);
  RETURN_IF_ERROR(is_path ? CheckAbsolutePath(field, ref) : CheckName(field, ref));
  return model::SecurityProfile{.type = ProfileType::kLocalhost, .localhost_ref = ref};
}

absl::Status CheckRange(std::string_view field, const char* name, int64_t value, int64_t min,
                        int64_t max) {
  if (value >= min && value <= max) {
    return absl::OkStatus();
  }
  return FieldError(fmt::format("{}.{}", field, name),
                    max == INT64_MAX ? fmt::format("is {}; at least {} is allowed", value, min)
                                     : fmt::format("is {}; {} to {} are allowed", value, min, max));
}

}  // namespace

absl::StatusOr<model::NamespaceOptions> ParseNamespaces(std::string_view field, Owner owner,
                                                        const api::NamespaceOption& options) {
  const std::string prefix(field);
  model::NamespaceOptions result;
  ASSIGN_OR_RETURN(result.network, ParseMode(prefix + ".network", options.network(), false, owner));
  ASSIGN_OR_RETURN(result.pid, ParseMode(prefix + ".pid", options.pid(), true, owner));
  ASSIGN_OR_RETURN(result.ipc, ParseMode(prefix + ".ipc", options.ipc(), false, owner));
  if (result.pid == model::NamespaceMode::kTarget) {
    RETURN_IF_ERROR(CheckName(prefix + ".target_id", options.target_id()));
    result.target_id = options.target_id();
  } else if (!options.target_id().empty()) {
    return FieldError(prefix + ".target_id", "is set, but pid is not TARGET");
  }
  if (options.has_userns_options()) {
    RETURN_IF_ERROR(
        ParseUserNamespace(prefix + ".userns_options", options.userns_options(), result));
    RETURN_IF_ERROR(CheckOwnNamespaces(prefix, result));
  }
  return result;
}

model::SelinuxOptions ParseSelinux(const api::SELinuxOption& options) {
  return {.user = options.user(),
          .role = options.role(),
          .type = options.type(),
          .level = options.level()};
}

absl::StatusOr<std::vector<model::IdMapping>> ParseIdMap(
    const std::string& field, const google::protobuf::RepeatedPtrField<api::IDMapping>& mappings) {
  std::vector<model::IdMapping> map;
  for (const api::IDMapping& mapping : mappings) {
    map.push_back({.host_id = mapping.host_id(),
                   .container_id = mapping.container_id(),
                   .length = mapping.length()});
  }
  const std::string fault = model::FaultOfIdMap(map);
  if (!fault.empty()) {
    return absl::InvalidArgumentError(field + fault);
  }
  return map;
}

absl::StatusOr<int64_t> ParseId(std::string_view field, int64_t value) {
  if (value < 0 || value > kMaxId) {
    return FieldError(field, fmt::format("is {}; 0 to {} are allowed", value, kMaxId));
  }
  return value;
}

absl::StatusOr<model::SecurityProfile> ParseSeccomp(std::string_view field,
                                                    const api::SecurityProfile& profile) {
  return ParseProfile(field, profile, /*is_path=*/true);
}

absl::StatusOr<model::SecurityProfile> ParseApparmor(std::string_view field,
                                                     const api::SecurityProfile& profile) {
  return ParseProfile(field, profile, /*is_path=*/false);
}

absl::StatusOr<std::optional<model::SecurityProfile>> ParseSeccompText(std::string_view field,
                                                                       const std::string& text) {
  return ParseProfileText(field, text, /*is_path=*/true);
}

absl::StatusOr<std::optional<model::SecurityProfile>> ParseApparmorText(std::string_view field,
                                                                        const std::string& text) {
  return ParseProfileText(field, text, /*is_path=*/false);
}

absl::StatusOr<model::Resources> ParseResources(std::string_view field,
                                                const api::LinuxContainerResources& resources) {
  constexpr int64_t kMax = INT64_MAX;
  RETURN_IF_ERROR(CheckRange(field, "cpu_period", resources.cpu_period(), 0, kMax));
  RETURN_IF_ERROR(CheckRange(field, "cpu_quota", resources.cpu_quota(), -1, kMax));
  RETURN_IF_ERROR(CheckRange(field, "cpu_shares", resources.cpu_shares(), 0, kMax));
  RETURN_IF_ERROR(
      CheckRange(field, "memory_limit_in_bytes", resources.memory_limit_in_bytes(), 0, kMax));
  RETURN_IF_ERROR(CheckRange(field, "memory_swap_limit_in_bytes",
                             resources.memory_swap_limit_in_bytes(), -1, kMax));
  RETURN_IF_ERROR(CheckRange(field, "oom_score_adj", resources.oom_score_adj(), -1000, 1000));
  RETURN_IF_ERROR(CheckWord(fmt::format("{}.cpuset_cpus", field), resources.cpuset_cpus()));
  RETURN_IF_ERROR(CheckWord(fmt::format("{}.cpuset_mems", field), resources.cpuset_mems()));
  model::Resources result{
      .cpu_period = resources.cpu_period(),
      .cpu_quota = resources.cpu_quota(),
      .cpu_shares = resources.cpu_shares(),
      .memory_limit_bytes = resources.memory_limit_in_bytes(),
      .memory_swap_limit_bytes = resources.memory_swap_limit_in_bytes(),
      .oom_score_adj = resources.oom_score_adj(),
      .cpuset_cpus = resources.cpuset_cpus(),
      .cpuset_mems = resources.cpuset_mems(),
  };
  for (const api::HugepageLimit& limit : resources.hugepage_limits()) {
    RETURN_IF_ERROR(
        CheckName(fmt::format("{}.hugepage_limits.page_size", field), limit.page_size()));
    result.hugepage_limits.push_back({.page_size = limit.page_size(), .limit = limit.limit()});
  }
  for (const auto& [file, value] : resources.unified()) {
    const std::string name = fmt::format("{}.unified['{}']", field, OneLine(file, 64));
    RETURN_IF_ERROR(CheckName(name, file));
    RETURN_IF_ERROR(CheckNoNul(name, value));
    result.unified.emplace(file, value);
  }
  return result;
}

}  // namespace berth::cri
