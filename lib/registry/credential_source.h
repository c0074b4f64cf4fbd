// CredentialSource: what the node knows for a repository, when the caller of a pull brought
// nothing.
//
// The `credential-helpers` of registries.conf are asked in their order; among them
// "containers-auth.json", the default, stands for the auth files (auth_file.h), of which the first
// that knows something counts. Errors are reported only when nobody knows anything, as with
// containers/image: a broken helper must not hide another's credentials.
//
// Threads: thread-safe. Ownership: borrows the runner.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/registry/credential_helper.h"

namespace berth::registry {

inline constexpr char kAuthFileHelper[] = "containers-auth.json";

class CredentialSource {
 public:
  CredentialSource(std::vector<std::string> auth_files, base::ProcessRunner* runner,
                   std::function<absl::Time()> now)
      : auth_files_(std::move(auth_files)), helpers_(runner, std::move(now)) {}

  // Empty credentials: nobody has any, the request is anonymous.
  absl::StatusOr<Credentials> Find(const base::OpContext& ctx,
                                   const std::vector<std::string>& helpers, const std::string& host,
                                   const std::string& repository);

 private:
  absl::StatusOr<std::optional<Credentials>> FromFiles(const base::OpContext& ctx,
                                                       const std::string& host,
                                                       const std::string& repository);

  const std::vector<std::string> auth_files_;
  CredentialHelpers helpers_;
};

}  // namespace berth::registry
