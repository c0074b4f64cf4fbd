// GzipWriter: a gzip stream (RFC 1952, one member) of what is written to it, by ISA-L. The same
// bytes give the same stream, however they are cut into pieces; no name and no time are in it.
//
// Threads: one owner. Errors: the sink's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

struct isal_zstream;

namespace berth::archive {

class GzipWriter {
 public:
  using Sink = std::function<absl::Status(std::string_view piece)>;

  explicit GzipWriter(Sink sink);
  ~GzipWriter();

  absl::Status Write(std::string_view piece);
  // The end of the stream. Once.
  absl::Status Finish();

 private:
  absl::Status Deflate(bool is_last);

  const Sink sink_;
  std::unique_ptr<isal_zstream> stream_;
  std::unique_ptr<unsigned char[]> level_buffer_;
  std::unique_ptr<unsigned char[]> output_;
  std::string block_;  // not compressed yet: ISA-L's stream depends on where its input is cut
};

}  // namespace berth::archive
