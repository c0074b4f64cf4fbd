// Images as the node knows them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace berth::model {

struct ImageRecord {
  std::string id;                      // 64 hex digits: sha256 of the config blob
  std::vector<std::string> repo_tags;  // sorted, "docker.io/library/busybox:1.36"
  std::vector<std::string>
      repo_digests;             // sorted, "docker.io/library/busybox@sha256:..."; never empty
  uint64_t size_bytes = 0;      // layers unpacked, plus config
  std::string config;           // the config blob, JSON as pulled
  std::vector<int64_t> layers;  // layer numbers (directories), top first, as overlayfs wants them
  std::vector<std::string> diff_ids;  // base first, as in the config
  int64_t created_ns = 0;             // when it was pulled
  bool pinned = false;
};

}  // namespace berth::model
