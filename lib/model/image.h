// Images as the node knows them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace berth::model {

struct ImageRecord {
  // 64 hex digits: sha256 of the config blob; of an artifact, of its manifest.
  std::string id;
  // Files that are no root file system (lib/image/artifact.h).
  bool is_artifact = false;
  std::vector<std::string> repo_tags;  // sorted, "docker.io/library/busybox:1.36"
  std::vector<std::string>
      repo_digests;         // sorted, "docker.io/library/busybox@sha256:..."; never empty
  uint64_t size_bytes = 0;  // layers unpacked, plus config
  std::string config;       // the config blob as pulled: JSON; of an artifact, anything
  std::string user;         // what the config says: "uid", "name", "user:group" or ""
  std::map<std::string, std::string> annotations;  // of the manifest it came by first
  std::vector<int64_t> layers;  // layer numbers (directories), top first, as overlayfs wants them
  std::vector<std::string> diff_ids;  // base first, as in the config; names of an artifact's blobs
  int64_t created_ns = 0;             // when it was pulled
  bool pinned = false;
};

}  // namespace berth::model
