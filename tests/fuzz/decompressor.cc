// Compressed streams. First byte: the rest as it is, or as valid members and frames of its pieces,
// perhaps with some bytes changed; second byte: how the stream is cut.
#include "lib/archive/decompressor.h"

#include "zlib.h"

#include "lib/archive/testing/string_source.h"
#include "lib/archive/testing/tar_builder.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::archive {

namespace {

constexpr size_t kMaxOutput = 4 << 20;

// Everything, or the first error; kResourceExhausted beyond kMaxOutput, as TarStream does.
absl::StatusOr<std::string> Decompress(const std::string& stream, size_t piece) {
  StringSource source(stream, piece);
  Decompressor decompressor(source);
  std::string all;
  while (all.size() <= kMaxOutput) {
    ASSIGN_OR_RETURN(const std::string_view bytes, decompressor.Next());
    BERTH_CHECK(decompressor.bytes_in() <= stream.size());
    BERTH_CHECK(decompressor.compression() == oci::LayerCompression::kNone ||
                bytes.size() <= Decompressor::kOutputBytes);
    if (bytes.empty()) {
      BERTH_CHECK(decompressor.bytes_in() == stream.size());
      // The end stays the end.
      const auto more = decompressor.Next();
      BERTH_CHECK(more.ok() && more->empty());
      return all;
    }
    all += bytes;
  }
  return absl::ResourceExhaustedError("too much");
}

// The same by zlib, to the end of the last member.
std::optional<std::string> ByZlib(const std::string& stream) {
  z_stream zlib = {};
  BERTH_CHECK(inflateInit2(&zlib, 16 + MAX_WBITS) == Z_OK);
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stream.data()));
  zlib.avail_in = static_cast<uInt>(stream.size());
  std::string all;
  int result = Z_OK;
  while (all.size() <= kMaxOutput && zlib.avail_in > 0) {
    char output[4096];
    zlib.next_out = reinterpret_cast<Bytef*>(output);
    zlib.avail_out = sizeof(output);
    result = inflate(&zlib, Z_NO_FLUSH);
    all.append(output, sizeof(output) - zlib.avail_out);
    if (result == Z_STREAM_END) {
      inflateReset(&zlib);
    } else if (result != Z_OK) {
      break;
    }
  }
  inflateEnd(&zlib);
  return result == Z_STREAM_END ? std::optional(all) : std::nullopt;
}

// A stream of the pieces of `parts`, and what it stands for.
std::string Compose(fuzz::Input& parts, std::string& plain) {
  std::string stream;
  while (!parts.empty()) {
    const uint8_t kind = parts.Byte();
    std::string piece(parts.Take(parts.Byte() * (kind & 8 ? 16u : 1u)));
    for (int doubled = kind >> 4; doubled > 0 && piece.size() < kMaxOutput / 64; --doubled) {
      piece += piece;
    }
    plain += piece;
    stream += kind % 2 == 0 ? Gzip(piece) : Zstd(piece);
  }
  return stream;
}

}  // namespace

FUZZ_TARGET(decompressor) {
  fuzz::Input parts(input);
  const uint8_t mode = parts.Byte();
  const size_t piece = 1 + parts.Byte();
  std::string plain;
  std::string stream = mode % 2 == 0 ? std::string(parts.Rest()) : Compose(parts, plain);
  const absl::StatusOr<std::string> pieces = Decompress(stream, piece);
  const absl::StatusOr<std::string> whole = Decompress(stream, 1 << 16);
  // Where it is cut does not matter.
  BERTH_CHECK(pieces.ok() == whole.ok());
  BERTH_CHECK(!pieces.ok() || *pieces == *whole);
  if (mode % 2 == 1 && whole.ok()) {
    BERTH_CHECK(*whole == plain || stream.empty());
  }
  if (stream.substr(0, 2) == "\x1f\x8b") {
    const std::optional<std::string> zlib = ByZlib(stream);
    if (whole.ok() && zlib) {
      BERTH_CHECK(*whole == *zlib);
    }
    // What both formats of a member's checksum protect is not accepted when zlib does not.
    BERTH_CHECK(!whole.ok() || zlib);
  }
}

}  // namespace berth::archive
