// How a child comes to life in a user namespace of its own: the parts of process_runner.cc. Others
// use ProcessSpec::user_namespace, and of these CallAs alone.
//
// The order: CallAs(clone3 with CLONE_NEWUSER), WriteIdMaps by the parent while the child waits,
// BecomeMappedRoot in the child. Threads: as each says. Source: man 7 user_namespaces.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace berth::base {

// Calls it on a thread that acts as another user (effective ids), with all capabilities of this
// process; the thread ends afterwards. Returns its result, or -1, with errno. For clone3: a
// namespace belongs to the effective user of who makes it, and counts against that user's limits.
long CallAs(uid_t uid, gid_t gid, const std::function<long()>& call);

// Writes both maps, each as a whole. Errors by errno, naming the file.
absl::Status WriteIdMaps(pid_t pid, const std::string& uid_map, const std::string& gid_map);

// In the child: waits for a byte from the pipe, which says that the maps are there.
// Async-signal-safe. Returns 0 or an errno (ECANCELED: the pipe was closed).
int AwaitIdMaps(int pipe_fd);
// In the child: becomes what the maps call root, without groups. Likewise.
int BecomeMappedRoot();

}  // namespace berth::base
