// RegistriesConf: which servers an image reference is fetched from: `registries.conf` version 2 and
// its drop-ins, as CRI-O and Podman read them (containers-registries.conf(5)).
//
// Drop-ins are read in the order of their names; a [[registry]] of the same prefix replaces the
// earlier one, scalars and the search list replace, [aliases] merge (an empty value removes one).
// Differences: without any `unqualified-search-registries` short names mean docker.io, so that a
// node without the file works; set it to [] to refuse them. ~/.config/containers/registries.conf is
// not read: a daemon's configuration is the node's. There is never a terminal to ask on, so
// mode "enforcing" refuses a short name that more than one registry could have, and "permissive"
// and "disabled" try them in order.
//
// Threads: immutable after Load; share by shared_ptr<const>. To reload, Load another one.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "lib/oci/reference.h"

namespace berth::registry {

inline constexpr char kAliasesFile[] = "/var/cache/containers/short-name-aliases.conf";

// One server that may have an image.
struct Endpoint {
  std::string host;  // "quay.io", "127.0.0.1:5000", "[::1]:5000"; docker.io stays "docker.io" here
  std::string repository;  // path of the image there
  bool insecure =
      false;  // certificates are not verified, and plain HTTP is tried when HTTPS does not answer
  bool is_mirror = false;

  bool operator==(const Endpoint&) const = default;
};

class RegistriesConf {
 public:
  enum class ShortNameMode { kEnforcing, kPermissive, kDisabled };
  enum class PullFrom { kAll, kDigestOnly, kTagOnly };

  struct Mirror {
    std::string location;
    bool insecure = false;
    PullFrom pull_from = PullFrom::kAll;
  };
  struct Registry {
    std::string prefix;  // "docker.io/library", "*.example.com"
    std::string
        location;  // what the prefix is replaced by; empty: nothing is replaced (wildcards only)
    bool insecure = false;
    bool blocked = false;
    bool mirror_by_digest_only = false;
    std::vector<Mirror> mirrors;
  };

  // No file at all: every registry at its own host, over verified HTTPS; short names are
  // docker.io's.
  RegistriesConf() = default;

  // Reads `file` and then `dir`/*.conf sorted by name; "" or absent ones are skipped.
  // kInvalidArgument names file and line: not TOML, a wrong type, the version 1 format, a malformed
  // name.
  // `aliases_file`, the cache that podman keeps and CRI-O reads too (kAliasesFile), has [aliases]
  // that win over all others; one that cannot be read is a warning.
  static absl::StatusOr<RegistriesConf> Load(const std::string& file, const std::string& dir,
                                             const std::string& aliases_file = "");
  // From text, for tests and for one file's worth of configuration. `name` appears in errors.
  static absl::StatusOr<RegistriesConf> Parse(const std::string& text, const std::string& name);

  // Unknown or ignored keys, one sentence each with file and line. The caller logs them.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Where to ask for the image, in order: usable mirrors, then the location itself.
  // kPermissionDenied: the registry is blocked; kInvalidArgument: a rewritten name is not a valid
  // reference.
  absl::StatusOr<std::vector<Endpoint>> Endpoints(const oci::Reference& reference) const;

  // The full names a reference may stand for, in the order to try: itself when it has a domain;
  // else its alias; else one per search registry. Never empty. kFailedPrecondition: no search
  // registry, or ambiguous in mode "enforcing".
  absl::StatusOr<std::vector<oci::Reference>> Candidates(const oci::Reference& reference) const;

  const std::vector<Registry>& registries() const { return registries_; }
  const std::vector<std::string>& search_registries() const { return search_registries_; }
  // Who knows credentials, in order; see credential_source.h.
  const std::vector<std::string>& credential_helpers() const { return credential_helpers_; }
  ShortNameMode short_name_mode() const { return short_name_mode_; }

 private:
  friend class RegistriesConfParser;

  const Registry* Find(const std::string& name, size_t* matched) const;

  std::vector<Registry> registries_;
  std::vector<std::string> search_registries_ = {"docker.io"};
  ShortNameMode short_name_mode_ = ShortNameMode::kPermissive;
  std::map<std::string, std::string> aliases_;  // short name -> "domain/path"
  std::vector<std::string> credential_helpers_ = {"containers-auth.json"};
  std::vector<std::string> warnings_;
};

}  // namespace berth::registry
