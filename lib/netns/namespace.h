// Namespaces of a pod: pinning them to files, running code inside them, looking at the addresses in
// one.
//
// A pinned namespace is a bind mount of /proc/PID/ns/<type> on an empty file; it lives until the
// file is unpinned and no process is left in it. Pins of a pod are <state>/ns/<pod id>/<type>: see
// store/paths.h.
//
// Threads: free functions without state; all of them may block for milliseconds (the kernel's
// namespace locks). Errors: by errno, naming the path. Source: man 7 namespaces, man 2 setns.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "lib/base/unique_fd.h"

namespace berth::netns {

enum class NamespaceType { kNet, kIpc, kUts, kPid, kUser };

// The name in /proc/PID/ns and of the pin file: "net", "ipc", "uts", "pid", "user".
std::string_view NamespaceName(NamespaceType type);
// CLONE_NEWNET and so on.
int CloneFlag(NamespaceType type);
// <pins_dir>/<name>.
std::string PinPath(const std::string& pins_dir, NamespaceType type);

// Pins the namespace that `pid` is in to `path`, a file that is created 0600 (its directory, when
// absent, 0700). Idempotent for the same namespace; kAlreadyExists when `path` pins another one.
// kNotFound: no such process.
absl::Status PinNamespace(pid_t pid, NamespaceType type, const std::string& path);

// Detaches the mount and removes the file. Absent, or a file with no mount on it: OK.
absl::Status UnpinNamespace(const std::string& path);
// Unpins every known type in the directory and removes the directory. Absent: OK.
absl::Status UnpinAll(const std::string& pins_dir);

// True when `path` is a namespace (a pin, or /proc/PID/ns/...), not an ordinary or absent file.
bool IsNamespace(const std::string& path);

// Opens a pin, or /proc/PID/ns/.... kNotFound: absent; kFailedPrecondition: not a namespace (the
// pin is gone).
absl::StatusOr<base::UniqueFd> OpenNamespace(const std::string& path);

// Runs `work` on a new thread that has entered the namespaces, joins it and returns its status. The
// thread ends afterwards, so no other code ever runs in them; children and sockets that `work`
// makes belong to them. User namespaces cannot be entered by a process of several threads:
// kInvalidArgument. A pid namespace is entered by the children of `work` only.
absl::Status RunInNamespaces(const std::vector<int>& namespace_fds,
                             const std::function<absl::Status()>& work);
absl::Status RunInNamespaces(const std::vector<std::string>& namespace_paths,
                             const std::function<absl::Status()>& work);

// Sets IFF_UP on `lo`. Idempotent.
absl::Status BringUpLoopback(const std::string& netns_path);

struct InterfaceAddress {
  std::string interface;  // "eth0"
  std::string address;    // "10.88.0.5" or "fd00::5", without a zone
  int prefix_length = 0;
  bool is_ipv6 = false;
  bool operator==(const InterfaceAddress&) const = default;
};

// All addresses in the namespace, loopback's and link-local ones too, in the kernel's order.
absl::StatusOr<std::vector<InterfaceAddress>> InterfaceAddresses(const std::string& netns_path);

}  // namespace berth::netns
