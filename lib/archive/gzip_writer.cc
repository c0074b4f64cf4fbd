#include "lib/archive/gzip_writer.h"

#include <algorithm>

#include "fmt/format.h"
#include <isa-l/igzip_lib.h>

#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kOutputBytes = 256 << 10;
constexpr size_t kBlockBytes = 256 << 10;

}  // namespace

GzipWriter::GzipWriter(Sink sink)
    : sink_(std::move(sink)),
      stream_(std::make_unique<isal_zstream>()),
      level_buffer_(std::make_unique<unsigned char[]>(ISAL_DEF_LVL1_DEFAULT)),
      output_(std::make_unique<unsigned char[]>(kOutputBytes)) {
  isal_deflate_init(stream_.get());
  stream_->gzip_flag = IGZIP_GZIP;
  stream_->level = 1;
  stream_->level_buf = level_buffer_.get();
  stream_->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
  stream_->flush = NO_FLUSH;
}

GzipWriter::~GzipWriter() = default;

absl::Status GzipWriter::Deflate(bool is_last) {
  stream_->next_in = reinterpret_cast<unsigned char*>(block_.data());
  stream_->avail_in = static_cast<uint32_t>(block_.size());
  stream_->end_of_stream = is_last ? 1 : 0;
  do {
    stream_->next_out = output_.get();
    stream_->avail_out = kOutputBytes;
    if (const int code = isal_deflate(stream_.get()); code != COMP_OK) {
      return absl::InternalError(fmt::format("compress by gzip: ISA-L error {}", code));
    }
    const size_t size = kOutputBytes - stream_->avail_out;
    if (size > 0) {
      RETURN_IF_ERROR(sink_({reinterpret_cast<const char*>(output_.get()), size}));
    }
  } while (stream_->avail_out == 0);
  block_.clear();
  return absl::OkStatus();
}

absl::Status GzipWriter::Write(std::string_view piece) {
  while (!piece.empty()) {
    const size_t size = std::min(piece.size(), kBlockBytes - block_.size());
    block_.append(piece.data(), size);
    piece.remove_prefix(size);
    if (block_.size() == kBlockBytes) {
      RETURN_IF_ERROR(Deflate(false));
    }
  }
  return absl::OkStatus();
}

absl::Status GzipWriter::Finish() { return Deflate(true); }

}  // namespace berth::archive
