// ImageStore: images, their names and their layers in the database. It knows no files: lib/snapshot
// makes and removes the directories that layer numbers name.
//
// A layer is reserved (complete = 0), unpacked, and becomes visible only in Publish, in the same
// transaction as its image. Threads: thread-safe. Errors as Database.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/model/image.h"
#include "lib/store/database.h"

namespace berth::store {

struct LayerRecord {
  int64_t number = 0;
  std::string diff_id;  // "sha256:<hex>"
  uint64_t size_bytes = 0;
  uint64_t inodes = 0;

  bool operator==(const LayerRecord&) const = default;
};

class ImageStore {
 public:
  explicit ImageStore(Database& db) : db_(db) {}

  // A number for a layer that is about to be unpacked.
  absl::StatusOr<int64_t> ReserveLayer(const std::string& diff_id);
  // Gives a reserved number back after a failed unpack; its directory is gone by then.
  absl::Status DropReservedLayer(int64_t number);

  struct Publication {
    std::string image_id;  // 64 hex
    std::string config;
    std::string manifest;  // as it was pulled; empty: there was none
    bool is_artifact = false;
    int64_t created_ns = 0;
    std::vector<LayerRecord>
        layers;  // base first; reserved ones become complete, complete ones are shared
    std::vector<std::string> repo_tags;  // names that now mean this image; another image loses them
    std::vector<std::string> repo_digests;  // added to the image's
    // Of layers that become complete: the boot during which they were written. They count as not
    // stored until MarkDurable. Empty: their files are on the disk.
    std::string boot_id = {};
  };
  // One transaction; Flush() brings it to the disk. kAborted: another pull completed one of the
  // reserved layers (same DiffID) first, or a shared one is gone: look the layers up again.
  absl::Status Publish(const Publication& publication);

  // Complete layers by DiffID; kNotFound.
  absl::StatusOr<LayerRecord> FindLayer(const std::string& diff_id);
  absl::StatusOr<std::vector<LayerRecord>> Layers();  // complete ones
  absl::StatusOr<std::set<int64_t>> ReservedLayers();

  // Complete layers that are not known to be on the disk, with the boot that wrote them.
  absl::StatusOr<std::map<int64_t, std::string>> PendingLayers();
  // Their files are on the disk. One transaction, on the disk when it returns.
  absl::Status MarkDurable(const std::map<int64_t, std::string>& layers);
  // The disk failed to store them: removes every image with a pending layer and returns those
  // images' ids; FindLayer no longer finds the layers, CollectLayers does.
  absl::StatusOr<std::vector<std::string>> FailPending();

  // Every image, repo_tags and repo_digests sorted, newest first. What is not stored is not set:
  // `pinned`, `user`, `annotations`.
  absl::StatusOr<std::vector<model::ImageRecord>> Load();
  // The manifest an image came by first; empty where there was none. kNotFound: no such image.
  absl::StatusOr<std::string> Manifest(const std::string& image_id);

  // Removes the image with its names; its layers stay until CollectLayers.
  absl::Status RemoveImage(const std::string& image_id);
  // Layers that are not what they should be: images with one of them are removed, and nobody finds
  // one by its DiffID any more, so that the next pull unpacks it anew. The records stay until
  // CollectLayers, for the containers that stand on them. Returns the images' ids.
  absl::StatusOr<std::vector<std::string>> CondemnLayers(const std::set<int64_t>& numbers);
  // Removes the records of complete layers that no image and nothing in `in_use` holds; returns
  // them: remove their directories, after Flush(): after a power cut no record may name a directory
  // that is gone.
  absl::StatusOr<std::vector<LayerRecord>> CollectLayers(const std::set<int64_t>& in_use);
  // What was done before is on the disk when it returns.
  absl::Status Flush() { return db_.Flush(); }
  // At start: forgets every reserved number; returns all that may exist on disk as complete ones.
  // Other directories are leftovers.
  absl::StatusOr<std::set<int64_t>> ForgetReserved();

 private:
  Database& db_;
};

}  // namespace berth::store
