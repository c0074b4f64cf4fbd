// Which extended attributes of an image's files are set, and setting them. See layer_extractor.h,
// xattrs.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace berth::archive {

bool IsKeptXattr(const std::string& name);

// Sets those that are kept. A file system that has no user attributes or ACLs loses them silently;
// a file capability that cannot be set is an error, since a program would fail without it. `path`
// is for messages.
absl::Status SetXattrs(int fd, const std::vector<std::pair<std::string, std::string>>& xattrs,
                       const std::string& path);

}  // namespace berth::archive
