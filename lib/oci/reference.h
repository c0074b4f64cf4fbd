// Reference: the name of an image as users and the kubelet write it,
// `[domain/]path[:tag][@digest]`.
//
// Parsing follows the grammar of the distribution project's reference package: host names with
// ports, localhost, IPv4 and bracketed IPv6 hosts; names without a domain belong to docker.io, and
// one-word names there to `library/`. A reference always has exactly one of tag and digest: neither
// given means tag `latest`, both given drops the tag (CRI-O and containerd do the same: the digest
// decides).
//
// Names without a domain are short names: `registries.conf` decides which registries they are
// looked for in (registry::RegistriesConf::Candidates); the normalised form here is what they mean
// on docker.io. Threads: a value.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/oci/digest.h"

namespace berth::oci {

class Reference {
 public:
  static constexpr size_t kMaxPath = 255;
  static constexpr size_t kMaxTag = 128;

  Reference() = default;

  // kInvalidArgument quotes the text and says what is wrong with it. 64 hex digits are refused as a
  // name: they are an id.
  static absl::StatusOr<Reference> Parse(std::string_view text);

  const std::string& domain() const {
    return domain_;
  }                                                  // "docker.io", "localhost:5000", "[::1]:5000"
  const std::string& path() const { return path_; }  // "library/busybox"
  const std::string& tag() const { return tag_; }    // "" when there is a digest
  const std::optional<Digest>& digest() const { return digest_; }
  // The text had no domain.
  bool is_short_name() const { return !short_name_.empty(); }
  // The name as it was written then, without tag and digest: "busybox", "library/busybox"; else "".
  const std::string& short_name() const { return short_name_; }

  // "docker.io/library/busybox"
  std::string Name() const { return domain_ + "/" + path_; }
  // "docker.io/library/busybox:latest" or "docker.io/library/busybox@sha256:...". Parse() of it
  // gives an equal reference.
  std::string ToString() const;
  // Shortest name that means the same on docker.io: "busybox", "user/app", "quay.io/x/y".
  std::string FamiliarName() const;
  // FamiliarName with tag or digest.
  std::string ToFamiliarString() const;

  // The same repository with another tag or digest in place of this one's.
  Reference WithTag(std::string tag) const;
  Reference WithDigest(Digest digest) const;
  // The same tag or digest under another name ("quay.io/x/y", no tag): not a short name.
  // kInvalidArgument as Parse.
  absl::StatusOr<Reference> WithName(std::string_view name) const;

  // By meaning: the short name is not compared.
  friend bool operator==(const Reference& a, const Reference& b) {
    return a.domain_ == b.domain_ && a.path_ == b.path_ && a.tag_ == b.tag_ &&
           a.digest_ == b.digest_;
  }

 private:
  std::string domain_;
  std::string path_;
  std::string tag_;
  std::optional<Digest> digest_;
  std::string short_name_;
};

// 64 lower-case hex digits, with or without "sha256:" in front: always an image id, never a name.
bool IsFullImageId(std::string_view text);
// 3 to 64 lower-case hex digits, with or without "sha256:": may be the start of an image id (and
// also a short name, which wins when such an image exists).
bool MayBeImageIdPrefix(std::string_view text);

}  // namespace berth::oci
