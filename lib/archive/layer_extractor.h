// LayerExtractor: turns the bytes of one image layer into a directory tree, in one pass and without
// a temporary file.
//
// Bytes are pushed in as they arrive; a thread of the extractor inflates them (gzip, zstd or plain,
// told by their first bytes and not by the media type, which producers get wrong), hashes the tar
// stream (its sha256 is the layer's DiffID), parses it and writes the files. At most
// LayerLimits::buffer_bytes wait between the two, so a slow disk slows the network down.
//
// The content is hostile. Everything is created beneath the root descriptor by openat-style calls
// whose last component is never followed; parents are opened component by component without
// following symlinks, and where a parent is a symlink that this layer made, it is resolved with the
// layer's root as "/". What goes wrong is an error, never a file elsewhere:
//   names        a leading "/" is dropped, "." and "a/.." are removed by text; ".." past the root is
//                refused
//   hard links   only to what this layer has written already, never to a directory, never through a
//                symlink at the end
//   symlinks     stored as they are; only the container follows them
//   devices      created, as CRI-O and containerd do: images of full distributions carry /dev/null
//                and the like. A node gives no access by itself: the layer store is 0700 and a
//                container's devices are set by its device cgroup
//   whiteouts    ".wh.NAME" becomes a character device 0:0 NAME, ".wh..wh..opq" the xattr
//                trusted.overlay.opaque=y on its directory (overlayfs's forms); any other ".wh..wh."
//                name (aufs's own files) is ignored; NAME must be a plain name. A whiteout never
//                hides an entry of its own layer (image-spec layer.md, Whiteouts)
//   xattrs       security.capability, security.ima, user.* and POSIX ACLs are kept; trusted.*,
//                user.overlay.* and labels of this machine's security modules are dropped, since
//                they would steer overlayfs or the host's policy
//   duplicates   the later entry replaces the earlier one; a directory again only updates its
//                attributes
//
// Owners, modes with setuid, mtimes in ns, sparse files, fifos and long names (PAX, GNU) are
// restored. Directories get their attributes at the end. Nothing is synced to disk: the caller
// syncs once per image.
//
// Threads: one producer calls Write and Finish; Abort may be called from any thread. Ownership:
// owns a duplicate of root_fd. Errors: kDataLoss: corrupt, truncated or not a tar;
// kInvalidArgument: an entry as above; kResourceExhausted: disk full or a limit; kCancelled: Abort.
// Each names the layer and the byte of the tar stream it was found at. After an error the root
// holds an unfinished tree: remove it. Source: OCI image-spec v1.1 layer.md; POSIX pax; RFC 1952;
// RFC 8878.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/archive/byte_pipe.h"
#include "lib/archive/byte_source.h"
#include "lib/archive/layer_limits.h"
#include "lib/base/unique_fd.h"
#include "lib/oci/digest.h"
#include "lib/oci/image.h"

namespace berth::archive {

struct LayerOptions {
  std::string name;  // for messages: the layer's digest
  LayerLimits limits;
  // Where the layer's recipe is written (layer_recipe.h): an empty file, borrowed; -1: nowhere.
  int recipe_fd = -1;
};

struct LayerResult {
  oci::Digest diff_id;  // of the tar stream, with everything after the archive's end
  oci::LayerCompression compression = oci::LayerCompression::kNone;
  uint64_t compressed_bytes = 0;
  uint64_t tar_bytes = 0;
  uint64_t bytes =
      0;  // disk space of what was written: file data and directories in blocks of 4 KiB
  uint64_t inodes = 0;
  // Directories that no entry described but that entries needed ("" is the root), parents first.
  // They were made 0755 root:root; where a lower layer has them, they should look like there.
  std::vector<std::string> implicit_dirs;
};

// The whole of it on the calling thread, from a source that is pulled. Changes the thread's umask
// for good, and with it that of every thread sharing its file system context: call it on a thread
// that has unshared CLONE_FS.
absl::StatusOr<LayerResult> UnpackLayer(int root_fd, ByteSource& source,
                                        const LayerOptions& options);

class LayerExtractor {
 public:
  // Starts the thread. root_fd: an empty directory on a file system with trusted.* xattrs.
  static absl::StatusOr<std::unique_ptr<LayerExtractor>> Start(int root_fd, LayerOptions options);
  // Aborts and joins.
  ~LayerExtractor();

  // Gives the next bytes; blocks while the buffer is full. After a failure of the extraction
  // returns its error.
  absl::Status Write(std::string_view bytes);
  // Says that all bytes were given, waits for the tree to be complete. Once.
  absl::StatusOr<LayerResult> Finish();
  // Makes the thread stop soon; Write and Finish return `why` (or what failed before).
  void Abort(const absl::Status& why);

 private:
  LayerExtractor(base::UniqueFd root, LayerOptions options);
  void Run();

  base::UniqueFd root_;
  LayerOptions options_;
  BytePipe pipe_;
  absl::StatusOr<LayerResult> result_;  // written by the thread, read after the join
  std::thread thread_;
};

}  // namespace berth::archive
