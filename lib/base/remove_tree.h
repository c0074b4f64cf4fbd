// RemoveTree that can be given up: for trees that are removed in the background.
// Threads: a free function without state; blocks on the disk.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "lib/base/op_context.h"

namespace berth::base {

// As RemoveTree of file.h, until ctx ends; then with ctx's error, and the rest stays.
absl::Status RemoveTree(const OpContext& ctx, const std::string& path);

}  // namespace berth::base
