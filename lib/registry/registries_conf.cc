#include "lib/registry/registries_conf.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::registry {

namespace {

absl::Status Error(absl::StatusCode code, std::string_view message) {
  return base::MakeStatus(code, message);
}

// A prefix ends where a component of the reference ends.
bool EndsComponent(std::string_view reference, size_t position) {
  return position == reference.size() || reference[position] == '/' || reference[position] == ':' ||
         reference[position] == '@';
}

// How much of the reference the prefix covers; 0: it does not match.
size_t MatchedLength(std::string_view reference, std::string_view prefix) {
  if (prefix.substr(0, 2) != "*.") {
    const bool matches = reference.substr(0, prefix.size()) == prefix;
    return matches && EndsComponent(reference, prefix.size()) ? prefix.size() : 0;
  }
  // "*.example.com" stands for any host below example.com, not for example.com itself.
  const std::string_view suffix = prefix.substr(1);
  const size_t host_end = reference.find('/');
  for (size_t at = reference.find(suffix, 1); at != std::string_view::npos && at < host_end;
       at = reference.find(suffix, at + 1)) {
    if (EndsComponent(reference, at + suffix.size())) {
      return at + suffix.size();
    }
  }
  return 0;
}

absl::StatusOr<Endpoint> MakeEndpoint(const oci::Reference& reference, const std::string& location,
                                      size_t matched, bool insecure, bool is_mirror) {
  Endpoint endpoint{reference.domain(), reference.path(), insecure, is_mirror};
  if (!location.empty()) {
    const std::string rewritten = location + reference.ToString().substr(matched);
    auto parsed = oci::Reference::Parse(rewritten);
    if (!parsed.ok() || parsed->is_short_name()) {
      return Error(absl::StatusCode::kInvalidArgument,
                   fmt::format("rewrite image '{}' by registries.conf: '{}' is not a valid name",
                               reference.ToString(), rewritten));
    }
    endpoint.host = parsed->domain();
    endpoint.repository = parsed->path();
  }
  return endpoint;
}

bool MayUse(const RegistriesConf::Registry& registry, const RegistriesConf::Mirror& mirror,
            const oci::Reference& reference) {
  const bool by_digest = reference.digest().has_value();
  if (registry.mirror_by_digest_only) {
    return by_digest;
  }
  switch (mirror.pull_from) {
    case RegistriesConf::PullFrom::kAll:
      return true;
    case RegistriesConf::PullFrom::kDigestOnly:
      return by_digest;
    case RegistriesConf::PullFrom::kTagOnly:
      return !by_digest;
  }
  return false;
}

}  // namespace

const RegistriesConf::Registry* RegistriesConf::Find(const std::string& reference,
                                                     size_t* matched) const {
  const Registry* best = nullptr;
  for (const Registry& registry : registries_) {
    const size_t length = MatchedLength(reference, registry.prefix);
    if (length > 0 && (best == nullptr || registry.prefix.size() > best->prefix.size())) {
      best = &registry;
      *matched = length;
    }
  }
  return best;
}

absl::StatusOr<std::vector<Endpoint>> RegistriesConf::Endpoints(
    const oci::Reference& reference) const {
  size_t matched = 0;
  const Registry* registry = Find(reference.ToString(), &matched);
  if (registry == nullptr) {
    return std::vector<Endpoint>{{reference.domain(), reference.path(), false, false}};
  }
  if (registry->blocked) {
    return Error(absl::StatusCode::kPermissionDenied,
                 fmt::format("registry '{}' is blocked in registries.conf, so image '{}' may not "
                             "be fetched",
                             registry->prefix, reference.ToString()));
  }
  std::vector<Endpoint> endpoints;
  for (const Mirror& mirror : registry->mirrors) {
    if (MayUse(*registry, mirror, reference)) {
      ASSIGN_OR_RETURN(Endpoint endpoint,
                       MakeEndpoint(reference, mirror.location, matched, mirror.insecure, true));
      endpoints.push_back(std::move(endpoint));
    }
  }
  ASSIGN_OR_RETURN(Endpoint endpoint,
                   MakeEndpoint(reference, registry->location, matched, registry->insecure, false));
  endpoints.push_back(std::move(endpoint));
  return endpoints;
}

absl::StatusOr<std::vector<oci::Reference>> RegistriesConf::Candidates(
    const oci::Reference& reference) const {
  if (!reference.is_short_name()) {
    return std::vector<oci::Reference>{reference};
  }
  const std::string& name = reference.short_name();
  if (const auto alias = aliases_.find(name);
      alias != aliases_.end() && short_name_mode_ != ShortNameMode::kDisabled) {
    ASSIGN_OR_RETURN(oci::Reference full, reference.WithName(alias->second));
    return std::vector<oci::Reference>{std::move(full)};
  }
  if (search_registries_.empty()) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("short name '{}' has no alias, and registries.conf names no "
                             "unqualified-search-registries: write the registry in front of it",
                             name));
  }
  if (search_registries_.size() > 1 && short_name_mode_ == ShortNameMode::kEnforcing) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("short name '{}' is ambiguous: registries.conf has {} "
                             "unqualified-search-registries and short-name-mode is enforcing: "
                             "write the registry in front of it",
                             name, search_registries_.size()));
  }
  std::vector<oci::Reference> candidates;
  for (const std::string& registry : search_registries_) {
    ASSIGN_OR_RETURN(oci::Reference full, reference.WithName(registry + "/" + name));
    candidates.push_back(std::move(full));
  }
  return candidates;
}

}  // namespace berth::registry
