#include "lib/registry/credential_source.h"

#include <utility>

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/registry/auth_file.h"

namespace berth::registry {

absl::StatusOr<std::optional<Credentials>> CredentialSource::FromFiles(
    const base::OpContext& ctx, const std::string& host, const std::string& repository) {
  for (const std::string& file : auth_files_) {
    ASSIGN_OR_RETURN(AuthEntry entry, FindAuth(file, host, repository));
    if (!entry.helper.empty()) {
      auto answer = helpers_.Get(ctx, entry.helper, host);
      if (!answer.ok() && entry.may_fail && ctx.Check().ok()) {
        base::Log("registry").warn("{}; going on without", std::string(answer.status().message()));
        continue;
      }
      ASSIGN_OR_RETURN(entry.credentials, std::move(answer));
    }
    if (entry.credentials) {
      return std::move(entry.credentials);
    }
  }
  return std::nullopt;
}

absl::StatusOr<Credentials> CredentialSource::Find(const base::OpContext& ctx,
                                                   const std::vector<std::string>& helpers,
                                                   const std::string& host,
                                                   const std::string& repository) {
  absl::Status failure;
  for (const std::string& helper : helpers) {
    auto found = helper == kAuthFileHelper ? FromFiles(ctx, host, repository)
                                           : helpers_.Get(ctx, helper, host);
    RETURN_IF_ERROR(ctx.Check());
    if (found.ok() && found->has_value()) {
      return **std::move(found);
    }
    if (!found.ok() && failure.ok()) {
      failure = found.status();
    }
  }
  RETURN_IF_ERROR(failure);
  return Credentials();
}

}  // namespace berth::registry
