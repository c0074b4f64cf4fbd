// TarWriter: a tar stream of plain files and directories, in pieces: archives of images, and what
// a blob that is one file looks like as a layer.
//
// Everything is root's, files are 0644, directories 0755, and all times are the epoch: the same
// content gives the same stream. ustar, with a pax record where a name or a size needs one.
// Threads: one owner. Errors: the sink's; kInvalidArgument: a file with more or fewer bytes than
// were announced. After an error the stream is of no use. Source: POSIX pax, "ustar Interchange
// Format", "pax Header Block".
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace berth::archive {

class TarWriter {
 public:
  using Sink = std::function<absl::Status(std::string_view piece)>;

  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}

  // `path` ends with a slash.
  absl::Status Directory(const std::string& path);
  // Begins a file of `size` bytes, which come by Write.
  absl::Status BeginFile(const std::string& path, uint64_t size);
  absl::Status Write(std::string_view piece);
  absl::Status File(const std::string& path, std::string_view content);
  // The end of the archive.
  absl::Status Finish();

 private:
  absl::Status Entry(const std::string& path, char type, uint64_t size);
  absl::Status EndFile();
  absl::Status Pad(uint64_t size);

  const Sink sink_;
  uint64_t missing_ = 0;  // bytes of the file that was begun
  uint64_t padding_ = 0;  // that follow them
};

}  // namespace berth::archive
