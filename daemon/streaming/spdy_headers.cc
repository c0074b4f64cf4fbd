#include "daemon/streaming/spdy_headers.h"

#include "fmt/format.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/wire_format.h"
#include "lib/base/status.h"

namespace berth::streaming {

namespace {

constexpr std::string_view kDictionaryNames[] = {"options",
                                                 "head",
                                                 "post",
                                                 "put",
                                                 "delete",
                                                 "trace",
                                                 "accept",
                                                 "accept-charset",
                                                 "accept-encoding",
                                                 "accept-language",
                                                 "accept-ranges",
                                                 "age",
                                                 "allow",
                                                 "authorization",
                                                 "cache-control",
                                                 "connection",
                                                 "content-base",
                                                 "content-encoding",
                                                 "content-language",
                                                 "content-length",
                                                 "content-location",
                                                 "content-md5",
                                                 "content-range",
                                                 "content-type",
                                                 "date",
                                                 "etag",
                                                 "expect",
                                                 "expires",
                                                 "from",
                                                 "host",
                                                 "if-match",
                                                 "if-modified-since",
                                                 "if-none-match",
                                                 "if-range",
                                                 "if-unmodified-since",
                                                 "last-modified",
                                                 "location",
                                                 "max-forwards",
                                                 "pragma",
                                                 "proxy-authenticate",
                                                 "proxy-authorization",
                                                 "range",
                                                 "referer",
                                                 "retry-after",
                                                 "server",
                                                 "te",
                                                 "trailer",
                                                 "transfer-encoding",
                                                 "upgrade",
                                                 "user-agent",
                                                 "vary",
                                                 "via",
                                                 "warning",
                                                 "www-authenticate",
                                                 "method",
                                                 "get",
                                                 "status",
                                                 "200 OK",
                                                 "version",
                                                 "HTTP/1.1",
                                                 "url",
                                                 "public",
                                                 "set-cookie",
                                                 "keep-alive",
                                                 "origin"};
constexpr std::string_view kDictionaryText =
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, "
    "Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
    "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

// Cuts a 32-bit length and so many bytes off `rest`.
absl::StatusOr<std::string_view> CutString(std::string_view& rest) {
  if (rest.size() < 4 || rest.size() - 4 < wire_format::Get32(rest.data())) {
    return absl::InvalidArgumentError("a header block ends in the middle of a name or value");
  }
  const size_t size = wire_format::Get32(rest.data());
  const std::string_view text = rest.substr(4, size);
  rest.remove_prefix(4 + size);
  return text;
}

absl::StatusOr<StreamHeaders> Parse(std::string_view block) {
  if (block.size() < 4) {
    return absl::InvalidArgumentError("a header block is shorter than its count of names");
  }
  const uint32_t count = wire_format::Get32(block.data());
  if (count > kMaxHeaders) {
    return absl::InvalidArgumentError(
        fmt::format("a header block has {} names, more than {}", count, kMaxHeaders));
  }
  block.remove_prefix(4);
  StreamHeaders headers;
  for (uint32_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const std::string_view name, CutString(block));
    ASSIGN_OR_RETURN(const std::string_view value, CutString(block));
    headers.Add(std::string(name), std::string(value));
  }
  return headers;
}

}  // namespace

const std::string& SpdyDictionary() {
  static const std::string dictionary = [] {
    std::string text;
    for (const std::string_view name : kDictionaryNames) {
      wire_format::Put32(text, static_cast<uint32_t>(name.size()));
      text += name;
    }
    text += kDictionaryText;
    return text;
  }();
  return dictionary;
}

SpdyHeaderReader::~SpdyHeaderReader() {
  if (started_) {
    inflateEnd(&zlib_);
  }
}

absl::StatusOr<std::string> SpdyHeaderReader::Inflate(std::string_view block) {
  if (!started_) {
    BERTH_CHECK(inflateInit(&zlib_) == Z_OK);
    started_ = true;
  }
  std::string out(kMaxHeaderBlockBytes + 1, '\0');
  zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(block.data()));
  zlib_.avail_in = static_cast<uInt>(block.size());
  zlib_.next_out = reinterpret_cast<Bytef*>(out.data());
  zlib_.avail_out = static_cast<uInt>(out.size());
  int result = inflate(&zlib_, Z_SYNC_FLUSH);
  if (result == Z_NEED_DICT) {
    const std::string& dictionary = SpdyDictionary();
    result = inflateSetDictionary(&zlib_, reinterpret_cast<const Bytef*>(dictionary.data()),
                                  static_cast<uInt>(dictionary.size()));
    if (result == Z_OK) {
      result = inflate(&zlib_, Z_SYNC_FLUSH);
    }
  }
  if (zlib_.avail_out == 0) {
    return absl::InvalidArgumentError(
        fmt::format("a header block is larger than {} bytes", kMaxHeaderBlockBytes));
  }
  // An empty block makes no progress; a stream that ends could not carry the next block.
  if (result != Z_OK || zlib_.avail_in != 0) {
    return absl::InvalidArgumentError(
        fmt::format("a header block cannot be inflated: {}",
                    zlib_.msg != nullptr ? zlib_.msg : zError(result)));
  }
  out.resize(out.size() - zlib_.avail_out);
  return out;
}

absl::StatusOr<StreamHeaders> SpdyHeaderReader::Read(std::string_view block) {
  ASSIGN_OR_RETURN(const std::string text, Inflate(block));
  return Parse(text);
}

std::string SpdyHeaderWriter::NextEmptyBlock() {
  std::string block;
  if (!started_) {
    started_ = true;
    // RFC 1950: deflate with a 32 KB window, a preset dictionary follows by its checksum.
    block += std::string_view("\x78\xbb", 2);
    const std::string& dictionary = SpdyDictionary();
    wire_format::Put32(
        block, static_cast<uint32_t>(adler32(adler32(0, nullptr, 0),
                                             reinterpret_cast<const Bytef*>(dictionary.data()),
                                             static_cast<uInt>(dictionary.size()))));
  }
  // RFC 1951 3.2.4: a stored block of four bytes, the count of names, and an empty one, which is
  // where readers stop (Z_SYNC_FLUSH).
  block += std::string_view("\x00\x04\x00\xfb\xff\x00\x00\x00\x00", 9);
  block += std::string_view("\x00\x00\x00\xff\xff", 5);
  return block;
}

}  // namespace berth::streaming
