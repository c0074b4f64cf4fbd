#include "lib/archive/xattrs.h"

#include <sys/xattr.h>

#include <cerrno>

#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

bool IsKeptXattr(const std::string& name) {
  if (name == "security.capability" || name == "security.ima" ||
      name == "system.posix_acl_access" || name == "system.posix_acl_default") {
    return true;
  }
  return name.rfind("user.", 0) == 0 && name.rfind("user.overlay.", 0) != 0;
}

absl::Status SetXattrs(int fd, const std::vector<std::pair<std::string, std::string>>& xattrs,
                       const std::string& path) {
  for (const auto& [name, value] : xattrs) {
    if (!IsKeptXattr(name) || ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) {
      continue;
    }
    const int error = errno;
    if (error != ENOTSUP || name == "security.capability") {
      return base::ErrnoStatus(error, fmt::format("set attribute '{}' of '{}'", name, path));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::archive
