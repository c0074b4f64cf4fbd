// PaxHeader: what a POSIX pax extended header ('x') says about the entry that follows it.
//
// Records that mean nothing here are ignored; an empty value means "as the entry's own header
// says", except for an extended attribute, which may be empty. Of records with the same key the
// last counts.
//
// Threads: a value. Errors of Parse: kDataLoss: not a list of records, or a value that is none;
// kInvalidArgument: more extended attributes than LayerLimits has.
// Source: POSIX.1-2017 pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files"; star's
// SCHILY.xattr.* (values are bytes) and libarchive's LIBARCHIVE.xattr.* (names URL-encoded, values
// base64).
#pragma once

#include <time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "lib/archive/layer_limits.h"
#include "lib/archive/tar_header.h"

namespace berth::archive {

struct PaxHeader {
  std::optional<std::string> path;
  std::optional<std::string> link;
  std::optional<int64_t> size;
  std::optional<int64_t> uid;
  std::optional<int64_t> gid;
  std::optional<struct timespec> mtime;
  std::vector<std::pair<std::string, std::string>> xattrs;

  // GNU's sparse files. 0.0 and 0.1 have the map here, 1.0 has it in front of the content.
  enum class Sparse { kNone, kMapHere, kMapInContent };
  Sparse sparse = Sparse::kNone;
  std::vector<SparsePiece> sparse_map;
  std::optional<std::string> sparse_name;
  std::optional<int64_t> sparse_size;

  // Replaces what was here.
  absl::Status Parse(std::string_view records, const LayerLimits& limits);

 private:
  struct Version {
    std::string major;
    std::string minor;
    bool has_map = false;
    bool wants_size = false;  // an offset was given without its size
  };
  absl::Status Add(std::string_view key, std::string_view value, const LayerLimits& limits,
                   Version& version);
  absl::Status AddSparse(std::string_view key, std::string_view value, Version& version);
  absl::Status AddXattr(std::string name, std::string value, bool replace,
                        const LayerLimits& limits);
  size_t xattr_bytes_ = 0;
};

}  // namespace berth::archive
