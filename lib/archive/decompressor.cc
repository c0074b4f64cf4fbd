#include "lib/archive/decompressor.h"

// For a decoder with an allocator of ours; the shared library exports it.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "fmt/format.h"
#include <isa-l/igzip_lib.h>

#include "lib/archive/window_memory.h"
#include "lib/base/status.h"

namespace berth::archive {

namespace {

// Enough for the magic numbers of both formats.
constexpr size_t kMagicBytes = 4;

bool IsGzip(std::string_view start) { return start.substr(0, 2) == "\x1f\x8b"; }

bool IsZstd(std::string_view start) {
  if (start.size() < kMagicBytes) {
    return false;
  }
  // A frame, or a skippable frame (0x184D2A50 to 0x184D2A5F) in front of one.
  return start.substr(0, 4) == "\x28\xb5\x2f\xfd" ||
         ((static_cast<unsigned char>(start[0]) & 0xf0) == 0x50 &&
          start.substr(1, 3) == "\x2a\x4d\x18");
}

class GzipCodec : public Decompressor::Codec {
 public:
  GzipCodec() : state_(std::make_unique<inflate_state>()) {
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_GZIP;
  }

  void Feed(std::string_view input) override {
    // ISA-L does not write to its input.
    state_->next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));
    state_->avail_in = static_cast<uint32_t>(input.size());
  }

  absl::StatusOr<size_t> Produce(char* output, size_t size) override {
    while (true) {
      if (state_->block_state == ISAL_BLOCK_FINISH) {
        if (state_->avail_in == 0) {
          return 0;
        }
        isal_inflate_reset(state_.get());
        state_->crc_flag = ISAL_GZIP;
      }
      const uint32_t before = state_->avail_in;
      state_->next_out = reinterpret_cast<uint8_t*>(output);
      state_->avail_out = static_cast<uint32_t>(size);
      const int result = isal_inflate(state_.get());
      if (result < 0) {
        return absl::DataLossError(fmt::format("corrupt gzip stream: {}", Describe(result)));
      }
      in_member_ = state_->block_state != ISAL_BLOCK_FINISH;
      const size_t produced = size - state_->avail_out;
      if (produced > 0) {
        return produced;
      }
      if (state_->avail_in == 0) {
        return 0;
      }
      if (state_->avail_in == before && in_member_) {
        return absl::DataLossError("corrupt gzip stream: no progress");
      }
    }
  }

  bool AtEnd() const override { return !in_member_; }
  size_t unused() const override { return state_->avail_in; }

 private:
  static const char* Describe(int result) {
    switch (result) {
      case ISAL_INVALID_WRAPPER:
        return "not a gzip header";
      case ISAL_UNSUPPORTED_METHOD:
        return "unknown compression method";
      case ISAL_INCORRECT_CHECKSUM:
        return "wrong checksum";
      default:
        return "invalid deflate data";
    }
  }

  std::unique_ptr<inflate_state> state_;
  bool in_member_ = false;
};

class ZstdCodec : public Decompressor::Codec {
 public:
  explicit ZstdCodec(int scratch_dir)
      : memory_(scratch_dir), stream_(ZSTD_createDStream_advanced({Allocate, Free, &memory_})) {
    BERTH_CHECK(stream_ != nullptr);
  }
  ~ZstdCodec() override { ZSTD_freeDStream(stream_); }
  ZstdCodec(const ZstdCodec&) = delete;
  ZstdCodec& operator=(const ZstdCodec&) = delete;

  void Feed(std::string_view input) override { input_ = {input.data(), input.size(), 0}; }

  absl::StatusOr<size_t> Produce(char* output, size_t size) override {
    ZSTD_outBuffer out = {output, size, 0};
    while (out.pos == 0 && (input_.pos < input_.size || more_)) {
      const size_t before = input_.pos;
      const size_t result = ZSTD_decompressStream(stream_, &out, &input_);
      if (ZSTD_isError(result) != 0) {
        RETURN_IF_ERROR(memory_.status());
        return absl::DataLossError(
            fmt::format("corrupt zstd stream: {}", ZSTD_getErrorName(result)));
      }
      if (out.pos == 0 && input_.pos == before) {
        break;
      }
      in_frame_ = result != 0;
      // A full output buffer may leave more inside the decoder although the input is used up.
      more_ = out.pos == out.size && in_frame_;
    }
    since_trim_ += out.pos;
    if (since_trim_ >= kTrimBytes && memory_.has_files()) {
      memory_.Trim();
      since_trim_ = 0;
    }
    return out.pos;
  }

  bool AtEnd() const override { return !in_frame_; }
  size_t unused() const override { return input_.size - input_.pos; }

 private:
  static constexpr size_t kTrimBytes = 256 << 10;

  static void* Allocate(void* memory, size_t size) {
    return static_cast<WindowMemory*>(memory)->Allocate(size);
  }
  static void Free(void* memory, void* piece) { static_cast<WindowMemory*>(memory)->Free(piece); }

  WindowMemory memory_;
  ZSTD_DStream* stream_;
  size_t since_trim_ = 0;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  bool in_frame_ = false;
  bool more_ = false;
};

}  // namespace

Decompressor::Decompressor(ByteSource& source, int scratch_dir)
    : source_(source), scratch_dir_(scratch_dir) {}
Decompressor::~Decompressor() = default;

absl::StatusOr<std::string_view> Decompressor::Pull() {
  ASSIGN_OR_RETURN(const std::string_view piece, source_.Next());
  bytes_in_ += piece.size();
  return piece;
}

absl::Status Decompressor::Detect() {
  while (start_.size() < kMagicBytes) {
    ASSIGN_OR_RETURN(const std::string_view piece, Pull());
    if (piece.empty()) {
      ended_ = true;
      break;
    }
    start_.append(piece);
  }
  pending_ = start_;
  detected_ = true;
  if (IsGzip(start_)) {
    compression_ = oci::LayerCompression::kGzip;
    codec_ = std::make_unique<GzipCodec>();
  } else if (IsZstd(start_)) {
    compression_ = oci::LayerCompression::kZstd;
    codec_ = std::make_unique<ZstdCodec>(scratch_dir_);
  }
  if (codec_ != nullptr) {
    output_ = std::make_unique<char[]>(kOutputBytes);
    codec_->Feed(pending_);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> Decompressor::Next() {
  if (!detected_) {
    RETURN_IF_ERROR(Detect());
  }
  if (codec_ == nullptr) {
    if (!pending_.empty()) {
      return std::exchange(pending_, {});
    }
    return Pull();
  }
  while (true) {
    absl::StatusOr<size_t> produced = codec_->Produce(output_.get(), kOutputBytes);
    if (!produced.ok()) {
      return base::MakeStatus(produced.status().code(),
                              fmt::format("{} at byte {}", std::string(produced.status().message()),
                                          bytes_in_ - codec_->unused()));
    }
    if (*produced > 0) {
      return std::string_view(output_.get(), *produced);
    }
    if (!ended_) {
      ASSIGN_OR_RETURN(const std::string_view piece, Pull());
      ended_ = piece.empty();
      codec_->Feed(piece);
    }
    if (ended_) {
      if (!codec_->AtEnd()) {
        return absl::DataLossError(
            fmt::format("{} stream ends in the middle, at byte {}",
                        compression_ == oci::LayerCompression::kGzip ? "gzip" : "zstd", bytes_in_));
      }
      return std::string_view();
    }
  }
}

}  // namespace berth::archive
