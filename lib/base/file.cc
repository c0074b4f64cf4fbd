#include "lib/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "fmt/format.h"

#include "lib/base/id.h"
#include "lib/base/op_context.h"
#include "lib/base/remove_tree.h"
#include "lib/base/status.h"

namespace berth::base {

absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) {
    return ErrnoStatus(errno, fmt::format("open '{}'", path));
  }
  return fd;
}

absl::StatusOr<std::string> ReadFd(int fd, size_t max_bytes) {
  std::string data;
  char buffer[16384];
  while (true) {
    const ssize_t n = ::read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return ErrnoStatus(errno, "read");
    }
    if (n == 0) {
      return data;
    }
    data.append(buffer, static_cast<size_t>(n));
    if (data.size() > max_bytes) {
      return absl::OutOfRangeError(fmt::format("larger than {} bytes", max_bytes));
    }
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  absl::StatusOr<std::string> data = ReadFd(fd.get(), max_bytes);
  if (!data.ok()) {
    return Annotate(data.status(), fmt::format("read '{}'", path));
  }
  return data;
}

absl::Status WriteFd(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return ErrnoStatus(errno, "write");
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, std::string_view data, mode_t mode) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
  return Annotate(WriteFd(fd.get(), data), fmt::format("write '{}'", path));
}

absl::Status WriteFileAtomic(const std::string& path, std::string_view data, mode_t mode) {
  const std::string temporary = fmt::format("{}.{}", path, GenerateId().substr(0, 8));
  absl::Status status = WriteFile(temporary, data, mode);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(errno, fmt::format("rename '{}' to '{}'", temporary, path));
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
  }
  return status;
}

absl::Status MakeDirs(const std::string& path, mode_t mode) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      // A read-only parent that exists already answers EROFS, not EEXIST.
      struct stat st;
      const int error = errno;
      if (::stat(part.c_str(), &st) != 0 || !S_ISDIR(st.st_mode)) {
        return ErrnoStatus(error, fmt::format("make directory '{}'", part));
      }
    }
    if (end == std::string::npos) {
      break;
    }
  }
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) {
    return ErrnoStatus(errno, fmt::format("make directory '{}'", path));
  }
  if (!S_ISDIR(st.st_mode)) {
    return ErrnoStatus(ENOTDIR, fmt::format("make directory '{}'", path));
  }
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  return RemoveTree(OpContext::Background(), path);
}

absl::Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, fmt::format("remove '{}'", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDir(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) {
    return ErrnoStatus(errno, fmt::format("read directory '{}'", path));
  }
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  ::closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

bool PathExists(const std::string& path) {
  struct stat st;
  return ::lstat(path.c_str(), &st) == 0;
}

}  // namespace berth::base
