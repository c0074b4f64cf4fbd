// ResolveUser: who a container's first process is, by the request, the image and the rootfs's own
// /etc/passwd and /etc/group.
//
// Those files are the image's and hostile: they are opened with the rootfs as root
// (base/beneath.h), read up to kMaxUserFileBytes and only as regular files; a missing one counts as
// empty. Lines that are not well-formed are skipped.
//
// Errors: kInvalidArgument: a group without a user, a name that is not in the files, an id outside
// 0..2^31-1 (CVE-2024-40635: larger ones wrapped to 0), a home directory with control characters
// (CVE-2026-15809); kOutOfRange: a file too large.
// Threads: no state; reads the file system.
// Source: CRI v1 LinuxContainerSecurityContext, SupplementalGroupsPolicy; image-spec config.md
// "User".
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "lib/model/container.h"

namespace berth::spec {

inline constexpr size_t kMaxUserFileBytes = 1 << 20;
inline constexpr size_t kMaxSupplementalGroups = 65536;  // NGROUPS_MAX

// run_as_username, else run_as_user, else `image_user` ("user", "uid", "user:group", "uid:gid",
// ""), else root. The group: run_as_group, else that of the image's "user:group", else the user's
// in /etc/passwd, else 0. A numeric uid need not be in the files. Supplemental groups: the
// request's, and with kMerge also those that /etc/group lists the user in.
absl::StatusOr<model::ContainerUser> ResolveUser(int root_fd,
                                                 const model::ContainerSecurity& security,
                                                 const std::string& image_user);

// The text of /etc/passwd with a line for `user` added, for programs that ask for their name;
// nullopt when none is needed: the uid has a line, is 0, or can write the file itself, or the
// request mounts something on /etc or /etc/passwd. `home` is the line's home: HOME as the request
// or the image set it, else the user's own, else "/". Errors: as above, and kInvalidArgument for a
// home with ':' or control characters.
absl::StatusOr<std::optional<std::string>> PasswdWithUser(int root_fd,
                                                          const model::ContainerSpec& container,
                                                          const model::ContainerUser& user,
                                                          const std::string& home);

}  // namespace berth::spec
