// An image's /etc/passwd and /etc/group, and who its process is with them. First byte: what the
// request says; lines: its user's name, the image's user; a piece: passwd; the rest: group.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/unique_fd.h"
#include "lib/spec/user.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::spec {

namespace {

// A root file system with those two files, on a tmpfs.
base::UniqueFd RootWith(std::string_view passwd, std::string_view group) {
  const std::string root = "/dev/shm/berth-fuzz-root." + std::to_string(::getpid());
  BERTH_CHECK(base::MakeDirs(root + "/etc", 0755).ok());
  BERTH_CHECK(base::WriteFile(root + "/etc/passwd", passwd, 0644).ok());
  BERTH_CHECK(base::WriteFile(root + "/etc/group", group, 0644).ok());
  return base::UniqueFd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

}  // namespace

FUZZ_TARGET(user_files) {
  fuzz::Input parts(input);
  const uint8_t mode = parts.Byte();
  model::ContainerSpec container;
  model::ContainerSecurity& security = container.security;
  security.run_as_username = (mode & 1) != 0 ? parts.Line() : "";
  const std::string image_user = parts.Line();
  if ((mode & 2) != 0) {
    security.run_as_user = static_cast<int32_t>(parts.Number(4));
  }
  if ((mode & 4) != 0) {
    security.run_as_group = static_cast<int32_t>(parts.Number(4));
  }
  if ((mode & 8) != 0) {
    security.supplemental_groups = {static_cast<int32_t>(parts.Number(4)), 5};
  }
  if ((mode & 16) != 0) {
    security.supplemental_groups_policy = model::SupplementalGroupsPolicy::kStrict;
  }
  const std::string_view passwd = parts.Piece();
  const base::UniqueFd root = RootWith(passwd, parts.Rest());
  const auto user = ResolveUser(root.get(), security, image_user);
  if (user.ok()) {
    constexpr int64_t kMaxId = 0x7fffffff;
    BERTH_CHECK(user->uid >= 0 && user->uid <= kMaxId && user->gid >= 0 && user->gid <= kMaxId);
    BERTH_CHECK(user->supplemental_groups.size() <= kMaxSupplementalGroups);
    for (const int64_t group : user->supplemental_groups) {
      BERTH_CHECK(group >= 0 && group <= kMaxId);
    }
    for (const char c : user->home) {
      BERTH_CHECK(static_cast<unsigned char>(c) >= ' ' && c != '\x7f');
    }
    const auto text = PasswdWithUser(root.get(), container, *user, user->home);
    if (text.ok() && *text) {
      // One line more, and the old ones as they were.
      BERTH_CHECK((*text)->substr(0, passwd.size()) == passwd);
      const std::string added = (*text)->substr(passwd.size());
      BERTH_CHECK(std::count(added.begin(), added.end(), '\n') <= 2);
      BERTH_CHECK(std::count(added.begin(), added.end(), ':') == 6);
    }
  }
}

}  // namespace berth::spec
