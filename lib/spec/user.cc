#include "lib/spec/user.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <limits>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "lib/base/beneath.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

constexpr int64_t kMaxId = std::numeric_limits<int32_t>::max();
constexpr char kPasswd[] = "etc/passwd";
constexpr char kGroup[] = "etc/group";

struct PasswdLine {
  std::string name, home;
  int64_t uid = 0, gid = 0;
};

absl::Status CheckId(int64_t id, std::string_view what) {
  if (id < 0 || id > kMaxId) {
    return absl::InvalidArgumentError(
        fmt::format("{} {} is not between 0 and {}", what, id, kMaxId));
  }
  return absl::OkStatus();
}

// Takes the piece up to the next separator off `rest`; false when nothing is left. Files of a MiB
// of separators cost no memory that way.
bool NextPiece(std::optional<std::string_view>& rest, char separator, std::string_view& piece) {
  if (!rest.has_value()) {
    return false;
  }
  const size_t at = rest->find(separator);
  piece = rest->substr(0, at);
  rest = at == std::string_view::npos ? std::nullopt : std::optional(rest->substr(at + 1));
  return true;
}

// The first fields of a line; the rest are not looked at.
std::vector<std::string_view> Fields(std::string_view line) {
  std::vector<std::string_view> fields;
  std::optional<std::string_view> rest = line;
  std::string_view field;
  while (fields.size() < 6 && NextPiece(rest, ':', field)) {
    fields.push_back(field);
  }
  return fields;
}

struct GroupLine {
  std::string name;
  int64_t gid = 0;
  std::string_view members;  // "a,b"

  bool Has(std::string_view user) const {
    std::optional<std::string_view> rest = members;
    std::string_view member;
    while (NextPiece(rest, ',', member)) {
      if (member == user) {
        return true;
      }
    }
    return false;
  }
};

// An id in a line of the files: digits only, in range.
std::optional<int64_t> ParseFileId(std::string_view text) {
  int64_t id = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), id);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() ||
      id < 0 || id > kMaxId) {
    return std::nullopt;
  }
  return id;
}

// Whether text is meant as a number: then it is never looked up as a name.
bool IsNumeric(std::string_view text) {
  if (!text.empty() && text.front() == '-') {
    text.remove_prefix(1);
  }
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

absl::StatusOr<int64_t> ParseId(std::string_view text, std::string_view what) {
  int64_t id = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), id);
  if (result.ec != std::errc() || id < 0 || id > kMaxId) {
    return absl::InvalidArgumentError(
        fmt::format("{} '{}' is not between 0 and {}", what, text, kMaxId));
  }
  return id;
}

// Empty when there is no such file.
absl::StatusOr<std::string> ReadUserFile(int root_fd, const std::string& path) {
  auto text = base::ReadFileInRoot(root_fd, path, kMaxUserFileBytes);
  // A component that is not a directory means "no such file" as well.
  if (absl::IsNotFound(text.status())) {
    return std::string();
  }
  if (!text.ok()) {
    return base::Annotate(text.status(), fmt::format("look up the user in the image's /{}", path));
  }
  return text;
}

std::optional<PasswdLine> ParsePasswdLine(std::string_view line) {
  const std::vector<std::string_view> fields = Fields(line);
  if (fields.size() < 4 || fields[0].empty()) {
    return std::nullopt;
  }
  const auto uid = ParseFileId(fields[2]);
  const auto gid = ParseFileId(fields[3]);
  if (!uid.has_value() || !gid.has_value()) {
    return std::nullopt;
  }
  return PasswdLine{.name = std::string(fields[0]),
                    .home = fields.size() > 5 ? std::string(fields[5]) : std::string(),
                    .uid = *uid,
                    .gid = *gid};
}

std::optional<GroupLine> ParseGroupLine(std::string_view line) {
  const std::vector<std::string_view> fields = Fields(line);
  if (fields.size() < 3 || fields[0].empty()) {
    return std::nullopt;
  }
  const auto gid = ParseFileId(fields[2]);
  if (!gid.has_value()) {
    return std::nullopt;
  }
  return GroupLine{.name = std::string(fields[0]),
                   .gid = *gid,
                   .members = fields.size() > 3 ? fields[3] : std::string_view()};
}

// The first line of /etc/passwd that has this uid or this name.
template <typename Matches>
std::optional<PasswdLine> FindUser(std::string_view passwd, const Matches& matches) {
  std::optional<std::string_view> rest = passwd;
  std::string_view line;
  while (NextPiece(rest, '\n', line)) {
    if (auto parsed = ParsePasswdLine(line); parsed.has_value() && matches(*parsed)) {
      return parsed;
    }
  }
  return std::nullopt;
}

// What the request and the image say, before any file is read.
struct Wanted {
  std::string user;                  // name or number; empty: root
  std::optional<std::string> group;  // of "user:group"
};

absl::StatusOr<Wanted> WantedUser(const model::ContainerSecurity& security,
                                  const std::string& image_user) {
  if (!security.run_as_username.empty()) {
    return Wanted{.user = security.run_as_username, .group = std::nullopt};
  }
  if (security.run_as_user.has_value()) {
    RETURN_IF_ERROR(CheckId(*security.run_as_user, "run_as_user"));
    return Wanted{.user = std::to_string(*security.run_as_user), .group = std::nullopt};
  }
  if (security.run_as_group.has_value()) {
    return absl::InvalidArgumentError("run_as_group needs run_as_user or run_as_username");
  }
  const size_t colon = image_user.find(':');
  if (colon == std::string::npos) {
    return Wanted{.user = image_user, .group = std::nullopt};
  }
  std::string group = image_user.substr(colon + 1);
  return Wanted{.user = image_user.substr(0, colon),
                .group = group.empty() ? std::nullopt : std::optional(std::move(group))};
}

absl::StatusOr<int64_t> ResolveGroup(std::string_view text, std::string_view group_file) {
  if (IsNumeric(text)) {
    return ParseId(text, "group");
  }
  std::optional<std::string_view> rest = group_file;
  std::string_view line;
  while (NextPiece(rest, '\n', line)) {
    if (const auto parsed = ParseGroupLine(line); parsed.has_value() && parsed->name == text) {
      return parsed->gid;
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("group '{}' is not in the image's /etc/group", text));
}

// The primary group is among them, so that dropping it is no way around a rule that denies it
// (CVE-2022-2995).
absl::StatusOr<std::vector<int64_t>> CollectGroups(const model::ContainerSecurity& security,
                                                   int64_t gid, const std::string& name,
                                                   std::string_view group_file) {
  std::set<int64_t> groups = {gid};
  for (const int64_t group : security.supplemental_groups) {
    RETURN_IF_ERROR(CheckId(group, "supplemental group"));
    groups.insert(group);
  }
  if (security.supplemental_groups_policy == model::SupplementalGroupsPolicy::kMerge &&
      !name.empty()) {
    std::optional<std::string_view> rest = group_file;
    std::string_view line;
    while (NextPiece(rest, '\n', line)) {
      const auto parsed = ParseGroupLine(line);
      if (parsed.has_value() && parsed->Has(name)) {
        groups.insert(parsed->gid);
      }
    }
  }
  if (groups.size() > kMaxSupplementalGroups) {
    return absl::InvalidArgumentError(
        fmt::format("the user has more than {} groups", kMaxSupplementalGroups));
  }
  return std::vector<int64_t>(groups.begin(), groups.end());
}

bool MountsOn(const model::ContainerSpec& container, std::string_view path) {
  return std::any_of(container.mounts.begin(), container.mounts.end(), [&](const auto& mount) {
    const auto clean = CleanAbsolutePath(mount.container_path, "mount");
    return clean.ok() && *clean == path;
  });
}

// Whether the user could write the file, by its mode.
absl::StatusOr<bool> IsWritable(int root_fd, const model::ContainerUser& user) {
  const auto fd = base::OpenInRoot(root_fd, kPasswd, O_PATH);
  if (absl::IsNotFound(fd.status())) {
    return false;
  }
  if (!fd.ok()) {
    return fd.status();
  }
  struct stat status = {};
  if (::fstat(fd->get(), &status) != 0) {
    return base::ErrnoStatus(errno, "stat the image's /etc/passwd");
  }
  if (static_cast<int64_t>(status.st_uid) == user.uid) {
    return (status.st_mode & S_IWUSR) != 0;
  }
  const auto& groups = user.supplemental_groups;
  if (std::find(groups.begin(), groups.end(), static_cast<int64_t>(status.st_gid)) !=
          groups.end() ||
      static_cast<int64_t>(status.st_gid) == user.gid) {
    return (status.st_mode & S_IWGRP) != 0;
  }
  return (status.st_mode & S_IWOTH) != 0;
}

}  // namespace

absl::StatusOr<model::ContainerUser> ResolveUser(int root_fd,
                                                 const model::ContainerSecurity& security,
                                                 const std::string& image_user) {
  ASSIGN_OR_RETURN(Wanted wanted, WantedUser(security, image_user));
  ASSIGN_OR_RETURN(const std::string passwd, ReadUserFile(root_fd, kPasswd));
  ASSIGN_OR_RETURN(const std::string group_file, ReadUserFile(root_fd, kGroup));

  const std::string text = wanted.user.empty() ? "0" : wanted.user;
  model::ContainerUser user;
  std::optional<PasswdLine> line;
  if (IsNumeric(text)) {
    ASSIGN_OR_RETURN(user.uid, ParseId(text, "user"));
    line = FindUser(passwd, [&](const PasswdLine& l) { return l.uid == user.uid; });
  } else {
    line = FindUser(passwd, [&](const PasswdLine& l) { return l.name == text; });
    if (!line.has_value()) {
      return absl::InvalidArgumentError(
          fmt::format("user '{}' is not in the image's /etc/passwd", text));
    }
    user.uid = line->uid;
  }
  if (line.has_value()) {
    user.gid = line->gid;
    user.home = line->home;
  }
  if (security.run_as_group.has_value()) {
    RETURN_IF_ERROR(CheckId(*security.run_as_group, "run_as_group"));
    user.gid = *security.run_as_group;
  } else if (wanted.group.has_value()) {
    ASSIGN_OR_RETURN(user.gid, ResolveGroup(*wanted.group, group_file));
  }
  if (HasControlCharacters(user.home) || !base::IsUtf8(user.home)) {
    return absl::InvalidArgumentError(
        fmt::format("the home directory of user {} in the image's /etc/passwd holds control "
                    "characters",
                    user.uid));
  }
  ASSIGN_OR_RETURN(
      user.supplemental_groups,
      CollectGroups(security, user.gid, line.has_value() ? line->name : "", group_file));
  return user;
}

absl::StatusOr<std::optional<std::string>> PasswdWithUser(int root_fd,
                                                          const model::ContainerSpec& container,
                                                          const model::ContainerUser& user,
                                                          const std::string& home) {
  if (user.uid == 0 || MountsOn(container, "/etc") || MountsOn(container, "/etc/passwd")) {
    return std::optional<std::string>();
  }
  ASSIGN_OR_RETURN(std::string passwd, ReadUserFile(root_fd, kPasswd));
  const bool is_known =
      FindUser(passwd, [&](const PasswdLine& l) { return l.uid == user.uid; }).has_value();
  ASSIGN_OR_RETURN(const bool is_writable, IsWritable(root_fd, user));
  if (is_known || is_writable) {
    return std::optional<std::string>();
  }
  if (home.find(':') != std::string::npos || HasControlCharacters(home)) {
    return absl::InvalidArgumentError(
        "HOME holds a ':', a line break or another control character: it cannot stand in "
        "/etc/passwd");
  }
  if (!passwd.empty() && passwd.back() != '\n') {
    passwd += '\n';
  }
  passwd += fmt::format("{0}:x:{0}:{1}:{0} user:{2}:/sbin/nologin\n", user.uid, user.gid, home);
  return std::optional(std::move(passwd));
}

}  // namespace berth::spec
