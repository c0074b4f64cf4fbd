// Seccomp profiles: which system calls a container may make.
//
// A profile is Docker's JSON (conditions on capabilities, architectures and kernels, as in
// conf/seccomp.json) or an OCI `linux.seccomp` object. It is resolved for one container to the
// latter, as text: equal inputs give equal bytes, so that a runtime may cache the filter it
// compiles.
//
// Profiles come from the administrator; they are checked all the same, so that a bad one is refused
// here, with the place named, and not by the runtime.
// Limits: 1 MiB, 4096 names, 1024 rules.
// Errors: kInvalidArgument: not a profile; kNotFound: no such file; kOutOfRange: too large.
// Threads: SeccompProfile is immutable; SeccompPolicy is thread-safe.
// Source: OCI runtime-spec config-linux.md "Seccomp"; man 2 seccomp; man 3 seccomp_rule_add.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/model/security.h"
#include "lib/security/capabilities.h"

namespace berth::security {

inline constexpr size_t kMaxSeccompProfileBytes = 1 << 20;

// What conditions in a profile are about.
struct SeccompTarget {
  std::string arch;  // GOARCH words: "amd64", "arm64"
  int kernel_major = 0, kernel_minor = 0;
  CapabilitySet capabilities = 0;  // granted to the container
};

// This machine's architecture and kernel.
SeccompTarget ThisSeccompTarget(CapabilitySet capabilities);

class SeccompProfile {
 public:
  static absl::StatusOr<SeccompProfile> Parse(std::string_view json);
  // A file of the host.
  static absl::StatusOr<SeccompProfile> Load(const std::string& path);
  // conf/seccomp.json, built in.
  static SeccompProfile Default();

  // The text of `linux.seccomp` for one container.
  std::string Resolve(const SeccompTarget& target) const;

  SeccompProfile(SeccompProfile&&) noexcept;
  SeccompProfile& operator=(SeccompProfile&&) noexcept;
  ~SeccompProfile();

 private:
  struct Rules;
  explicit SeccompProfile(std::unique_ptr<const Rules> rules);
  std::unique_ptr<const Rules> rules_;
};

// Chooses and resolves the profile of a container.
class SeccompPolicy {
 public:
  // `runtime_default`: what RuntimeDefault means on this node, e.g. SeccompProfile::Default().
  explicit SeccompPolicy(SeccompProfile runtime_default);

  // The text of `linux.seccomp`; empty: none. Privileged, no request and Unconfined give none;
  // RuntimeDefault the node's profile (resolved once for each set of capabilities); Localhost the
  // file at that absolute path, read anew.
  absl::StatusOr<std::string> For(const std::optional<model::SecurityProfile>& requested,
                                  bool privileged, CapabilitySet capabilities);

 private:
  static constexpr size_t kMaxResolved = 32;

  const SeccompProfile runtime_default_;
  base::Mutex mu_;
  std::map<CapabilitySet, std::string> resolved_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::security
