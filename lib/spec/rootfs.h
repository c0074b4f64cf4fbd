// What a container's root file system needs before the OCI runtime sees it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "lib/base/beneath.h"
#include "lib/model/container.h"

namespace berth::spec {

// Makes `dirs` (SpecOutput::rootfs_dirs) and the link /etc/mtab -> /proc/mounts, where nothing is
// in its place. All lookups have the rootfs as root, so a hostile symlink in the image leads
// nowhere else (CVE-2024-5154). New directories are 0755, owned by the container's root, which
// is `owner`. kFailedPrecondition: a file is in the way of a directory, named; or one of /dev,
// /proc and /sys is a symbolic link: runc 1.1 makes /dev/fd and its like where that leads, on the
// node. Threads: no state.
absl::Status PrepareRootfs(int root_fd, const std::vector<std::string>& dirs,
                           const base::Owner& owner = base::Owner());

}  // namespace berth::spec
