// AppArmor: which profile confines a container, and berth's own profile, which is loaded into the
// kernel at start.
//
// The kernel takes compiled policy only and the compiler is no library, so berth's own profile
// (conf/apparmor-berth-default, built in) goes through apparmor_parser(8), on its stdin. It is
// loaded when the kernel does not have it, and replaced when this berthd's text is another than the
// one that was loaded by an earlier berthd; a profile of that name that somebody else loaded is
// left alone. All other profiles are the administrator's to load.
//
// AppArmor is in use when the kernel says so (module parameter `enabled`) and its list of profiles
// can be read (securityfs). Where it is not, RuntimeDefault and Unconfined mean no profile and
// Localhost is refused.
//
// Threads: immutable after Load; For reads a file of securityfs.
// Source: CRI v1 SecurityProfile; apparmor.d(5), apparmor_parser(8); OCI runtime-spec
// `process.apparmorProfile`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/model/security.h"

namespace berth::security {

inline constexpr char kDefaultApparmorProfile[] = "berth-default";
inline constexpr char kNoApparmorProfile[] = "unconfined";

// conf/apparmor-berth-default.
std::string_view DefaultApparmorText();

struct ApparmorOptions {
  // What RuntimeDefault means: kDefaultApparmorProfile, kNoApparmorProfile, or a profile that is
  // loaded already.
  std::string profile = kDefaultApparmorProfile;
  // Keeps the text that was loaded; must go away at reboot, as what is loaded does.
  std::string loaded_text_path;
  // This machine's, or a test's.
  std::string sys = "/sys";
  std::string parser;  // absolute; empty: there is none
  std::string abi = "/etc/apparmor.d/abi/3.0";
};

class Apparmor {
 public:
  // AppArmor is not in use.
  Apparmor() = default;
  // Loads berth's own profile where that is to be done. A missing apparmor_parser is no error:
  // RuntimeDefault then means no profile, and warnings() says so. kFailedPrecondition: the parser
  // or the kernel refused the profile (with the parser's words), or the profile that was named is
  // not loaded. kDeadlineExceeded: the parser did not end in time.
  static absl::StatusOr<Apparmor> Load(const base::OpContext& ctx, base::ProcessRunner& runner,
                                       const ApparmorOptions& options);

  // The profile for a container; empty: none. An absent request is RuntimeDefault. Privileged
  // containers have none, unless they ask for one by name. kFailedPrecondition: the named profile
  // is not loaded, or AppArmor is not in use.
  absl::StatusOr<std::string> For(const std::optional<model::SecurityProfile>& requested,
                                  bool privileged) const;

  bool in_use() const { return in_use_; }
  // What an administrator should know about the choice made, one sentence each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  absl::StatusOr<bool> IsLoaded(std::string_view name) const;
  absl::Status LoadDefault(const base::OpContext& ctx, base::ProcessRunner& runner,
                           const ApparmorOptions& options);

  bool in_use_ = false;
  std::string profiles_path_;
  std::string runtime_default_;  // empty: none
  std::vector<std::string> warnings_;
};

}  // namespace berth::security
