#include "cmd/monitor/oom_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cmd/monitor/scratch.h"
#include "cmd/monitor/text.h"

namespace berth::monitor {
namespace {

// The value of `key` in "key value" lines; -1: not there.
int64_t FindValue(const char* content, const char* key) {
  const size_t size = strlen(key);
  for (const char* line = content; line != nullptr && *line != '\0';) {
    if (strncmp(line, key, size) == 0 && line[size] == ' ') {
      return ParseNumber(line + size + 1);
    }
    line = strchr(line, '\n');
    line = line == nullptr ? nullptr : line + 1;
  }
  return -1;
}

// Reads a small file of a cgroup from its start; empty on an error, which is in errno.
void ReadAgain(int fd, char* content, size_t capacity) {
  const ssize_t size = pread(fd, content, capacity - 1, 0);
  content[size < 0 ? 0 : size] = '\0';
}

// Whether the comma-separated list [list, end) has "memory".
bool HasMemory(const char* list, const char* end) {
  while (list < end) {
    const char* comma =
        static_cast<const char*>(memchr(list, ',', static_cast<size_t>(end - list)));
    const size_t size = static_cast<size_t>((comma == nullptr ? end : comma) - list);
    if (size == 6 && memcmp(list, "memory", 6) == 0) {
      return true;
    }
    list += size + 1;
  }
  return false;
}

// The scratch while a watch is opened: the process's cgroups, and two names made of one of them.
constexpr size_t kContentBytes = kScratchBytes / 2;
constexpr size_t kNameBytes = kScratchBytes / 4;
char* const first_name = scratch + kContentBytes;
char* const second_name = first_name + kNameBytes;

}  // namespace

void OomWatch::Open(pid_t pid) {
  TextBuffer<64> name;
  name.Add("/proc/").AddNumber(pid).Add("/cgroup");
  char* const content = scratch;
  if (ReadSmallFile(name.c_str(), content, kContentBytes) <= 0) {
    return;
  }

  // "4:memory:/path" (v1) is tried before "0::/path" (v2): on a hybrid node both are there.
  const char* v1 = nullptr;
  const char* v2 = nullptr;
  for (char* line = content; *line != '\0';) {
    char* end = strchr(line, '\n');
    if (end == nullptr) {
      break;
    }
    *end = '\0';
    const char* list = strchr(line, ':');
    const char* list_end = list == nullptr ? nullptr : strchr(list + 1, ':');
    if (list_end != nullptr) {
      if (list_end == list + 1) {
        v2 = list_end + 1;
      } else if (HasMemory(list + 1, list_end)) {
        v1 = list_end + 1;
      }
    }
    line = end + 1;
  }
  if (v1 == nullptr || !OpenV1(v1)) {
    if (v2 != nullptr) {
      OpenV2(v2);
    }
  }
  Read();
}

bool OomWatch::OpenV2(const char* path) {
  // Under systemd crun puts the container into a cgroup below its scope, and systemd removes both.
  const char* const scope = strstr(path, ".scope/");
  const size_t size = scope == nullptr ? strlen(path) : static_cast<size_t>(scope - path) + 6;
  Text name(first_name, kNameBytes);
  name.Add("/sys/fs/cgroup").Add(path, size);
  const size_t slash = static_cast<size_t>(strrchr(name.c_str(), '/') - name.c_str());
  name.Add("/memory.events");
  count_fd_ = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  poll_fd_ = count_fd_;
  poll_events_ = POLLPRI;

  Text parent(second_name, kNameBytes);
  parent.Add(name.c_str(), slash).Add("/memory.events");  // the root has none
  parent_fd_ = open(parent.c_str(), O_RDONLY | O_CLOEXEC);
  return count_fd_ >= 0;
}

bool OomWatch::OpenV1(const char* path) {
  Text name(first_name, kNameBytes);
  name.Add("/sys/fs/cgroup/memory").Add(path).Add("/");
  Text control(second_name, kNameBytes);
  control.Add(name.c_str()).Add("cgroup.event_control");
  name.Add("memory.oom_control");
  count_fd_ = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (count_fd_ < 0) {
    return false;
  }
  const int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  TextBuffer<64> line;
  line.AddNumber(event_fd).Add(" ").AddNumber(count_fd_);
  if (event_fd >= 0 && WriteSmallFile(control.c_str(), line.c_str()) == 0) {
    poll_fd_ = event_fd;
    poll_events_ = POLLIN;
  } else if (event_fd >= 0) {
    close(event_fd);
  }
  return true;
}

int64_t OomWatch::ReadParent() const {
  char content[kFileBytes];
  content[0] = '\0';
  if (parent_fd_ >= 0) {
    ReadAgain(parent_fd_, content, sizeof(content));
  }
  return FindValue(content, "oom_kill");
}

void OomWatch::Read() {
  if (count_fd_ < 0) {
    return;
  }
  // The parent first: what happens between the two reads is then seen as new at the end.
  const int64_t parent_count = ReadParent();
  char content[kFileBytes];
  errno = 0;
  ReadAgain(count_fd_, content, sizeof(content));
  if (errno != 0) {
    gone_ = gone_ || errno == ENODEV;
    return;
  }
  parent_count_ = parent_count;
  killed_ = killed_ || FindValue(content, "oom_kill") > 0;
  was_short_ = was_short_ || FindValue(content, "under_oom") > 0;
}

bool OomWatch::OnEvent() {
  const bool before = killed_;
  uint64_t count;
  if (poll_fd_ >= 0 && poll_fd_ != count_fd_ && read(poll_fd_, &count, sizeof(count)) > 0) {
    look_until_ = MonotonicNanos() + kLookNanos;
  }
  Read();
  if (gone_) {
    poll_fd_ = -1;  // a removed cgroup is reported without end
  }
  if (killed_ || gone_ || MonotonicNanos() >= look_until_) {
    look_until_ = 0;
  }
  return killed_ && !before;
}

bool OomWatch::AtEnd(int signal) {
  Read();
  if (gone_ && signal == SIGKILL) {
    killed_ = killed_ || was_short_ || ReadParent() > parent_count_;
  }
  return killed_;
}

}  // namespace berth::monitor
