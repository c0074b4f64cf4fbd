// Names in a layer's tar: made clean by text alone, before anything is opened. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/archive/layer_limits.h"

namespace berth::archive {

// "./usr//lib/x/" -> "usr/lib/x"; "" is the root. A leading "/" is dropped, "a/../b" is "b".
// kInvalidArgument: it leads out of the root, or a name or the path is longer than a file system
// takes.
absl::StatusOr<std::string> CleanEntryPath(std::string_view raw, const LayerLimits& limits);

// "usr/lib/x" -> {"usr/lib", "x"}; "x" -> {"", "x"}.
struct SplitPath {
  std::string_view parent;
  std::string_view name;
};
SplitPath SplitEntryPath(std::string_view clean);

// What an entry's name says about lower layers (OCI image-spec layer.md, Whiteouts).
struct Whiteout {
  enum class Kind {
    kNone,    // an ordinary entry
    kHide,    // `hidden` beside it is gone
    kOpaque,  // everything below its directory is gone
    kIgnored  // aufs's own: .wh..wh.aufs, .wh..wh.plnk/...
  };
  Kind kind = Kind::kNone;
  std::string hidden;
};
// kInvalidArgument: ".wh." with nothing, "." or ".." after it, or in the name of a directory on the
// way.
absl::StatusOr<Whiteout> ParseWhiteout(std::string_view clean);

}  // namespace berth::archive
