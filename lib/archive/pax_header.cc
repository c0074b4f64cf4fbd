#include "lib/archive/pax_header.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/escaping.h"
#include "fmt/format.h"

#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kMaxXattrs = 1024;
constexpr size_t kMaxXattrTotal = 1 << 20;
constexpr std::string_view kSchilyXattr = "SCHILY.xattr.";
constexpr std::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";
constexpr std::string_view kGnuSparse = "GNU.sparse.";

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) {
    return false;
  }
  text.remove_prefix(prefix.size());
  return true;
}

absl::Status Bad(std::string_view key, std::string_view value) {
  return absl::DataLossError(fmt::format("pax header: '{:.64}' is '{:.64}'", key, value));
}

absl::StatusOr<int64_t> Number(std::string_view key, std::string_view value) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) {
    return Bad(key, value);
  }
  return number;
}

absl::Status Set(std::optional<int64_t>& field, std::string_view key, std::string_view value) {
  field.reset();
  if (!value.empty()) {
    ASSIGN_OR_RETURN(field, Number(key, value));
  }
  return absl::OkStatus();
}

absl::Status Set(std::optional<std::string>& field, std::string_view key, std::string_view value) {
  field.reset();
  if (value.find('\0') != std::string_view::npos) {
    return Bad(key, "a name with a zero byte");
  }
  if (!value.empty()) {
    field = std::string(value);
  }
  return absl::OkStatus();
}

// Decimal seconds with any number of digits after the point, of which nine count.
absl::StatusOr<struct timespec> Time(std::string_view key, std::string_view value) {
  const size_t point = value.find('.');
  const std::string_view seconds = value.substr(0, point);
  struct timespec time = {0, 0};
  if (seconds != "" && seconds != "-") {
    ASSIGN_OR_RETURN(time.tv_sec, Number(key, seconds));
  } else if (point == std::string_view::npos) {
    return Bad(key, value);
  }
  if (point != std::string_view::npos) {
    const std::string_view digits = value.substr(point + 1);
    if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      return Bad(key, value);
    }
    for (size_t i = 0; i < 9; ++i) {
      time.tv_nsec = time.tv_nsec * 10 + (i < digits.size() ? digits[i] - '0' : 0);
    }
  }
  if (!seconds.empty() && seconds[0] == '-' && time.tv_nsec > 0 && time.tv_sec > INT64_MIN) {
    --time.tv_sec;
    time.tv_nsec = 1'000'000'000 - time.tv_nsec;
  }
  return time;
}

// "%XX" to the byte, as GNU tar writes "=" and "%" in names of attributes and libarchive others.
std::string PercentDecoded(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* begin = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(begin, begin + 2, value, 16).ptr == begin + 2) {
      plain.push_back(static_cast<char>(value));
      i += 2;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

absl::StatusOr<uint64_t> SparseNumber(std::string_view key, std::string_view value) {
  ASSIGN_OR_RETURN(const int64_t number, Number(key, value));
  if (number < 0) {
    return Bad(key, value);
  }
  return static_cast<uint64_t>(number);
}

}  // namespace

absl::Status PaxHeader::Parse(std::string_view records, const LayerLimits& limits) {
  *this = PaxHeader();
  Version version;
  while (!records.empty()) {
    // "LENGTH KEY=VALUE\n", where the length counts itself.
    size_t length = 0;
    const auto [end, error] =
        std::from_chars(records.data(), records.data() + records.size(), length);
    const size_t digits = static_cast<size_t>(end - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 2 ||
        records[digits] != ' ' || records[length - 1] != '\n') {
      return absl::DataLossError(fmt::format("pax header: no record at '{:.64}'", records));
    }
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    const size_t equal = record.find('=');
    if (equal == 0 || equal == std::string_view::npos) {
      return absl::DataLossError(fmt::format("pax header: no key in '{:.64}'", record));
    }
    RETURN_IF_ERROR(Add(record.substr(0, equal), record.substr(equal + 1), limits, version));
    records.remove_prefix(length);
  }
  if (version.major == "1" && version.minor == "0") {
    sparse = Sparse::kMapInContent;
    sparse_map.clear();
  } else if (version.has_map && (version.major.empty() || version.major == "0") &&
             (version.minor.empty() || version.minor == "0" || version.minor == "1")) {
    sparse = Sparse::kMapHere;
  } else if (version.has_map || !version.major.empty() || !version.minor.empty()) {
    return absl::DataLossError(fmt::format(
        "pax header: sparse file of unknown format '{:.16}.{:.16}'", version.major, version.minor));
  }
  if (version.wants_size) {
    return absl::DataLossError("pax header: a sparse file's map ends with an offset");
  }
  return absl::OkStatus();
}

absl::Status PaxHeader::Add(std::string_view key, std::string_view value, const LayerLimits& limits,
                            Version& version) {
  if (key == "path") {
    return Set(path, key, value);
  }
  if (key == "linkpath") {
    return Set(link, key, value);
  }
  if (key == "size") {
    return Set(size, key, value);
  }
  if (key == "uid") {
    return Set(uid, key, value);
  }
  if (key == "gid") {
    return Set(gid, key, value);
  }
  if (key == "mtime") {
    mtime.reset();
    if (!value.empty()) {
      ASSIGN_OR_RETURN(mtime, Time(key, value));
    }
    return absl::OkStatus();
  }
  if (TakePrefix(key, kSchilyXattr)) {
    return AddXattr(PercentDecoded(key), std::string(value), true, limits);
  }
  if (TakePrefix(key, kLibarchiveXattr)) {
    std::string decoded;
    if (!absl::Base64Unescape(absl::string_view(value.data(), value.size()), &decoded)) {
      return Bad(key, "no base64");
    }
    // bsdtar writes both forms; the other one needs no decoding.
    return AddXattr(PercentDecoded(key), std::move(decoded), false, limits);
  }
  if (TakePrefix(key, kGnuSparse)) {
    return AddSparse(key, value, version);
  }
  return absl::OkStatus();
}

absl::Status PaxHeader::AddSparse(std::string_view key, std::string_view value, Version& version) {
  if (key == "major" || key == "minor") {
    (key == "major" ? version.major : version.minor) = std::string(value.substr(0, 16));
    return absl::OkStatus();
  }
  if (key == "name") {
    return Set(sparse_name, key, value);
  }
  if (key == "size" || key == "realsize") {
    return Set(sparse_size, key, value);
  }
  if (key == "offset" || key == "numbytes") {
    version.has_map = true;
    if (version.wants_size != (key == "numbytes")) {
      return Bad(key, "out of turn");
    }
    ASSIGN_OR_RETURN(const uint64_t number, SparseNumber(key, value));
    if (key == "offset") {
      sparse_map.push_back({number, 0});
    } else {
      sparse_map.back().size = number;
    }
    version.wants_size = key == "offset";
    return absl::OkStatus();
  }
  if (key == "map") {
    version.has_map = true;
    sparse_map.clear();
    bool is_offset = true;
    while (!value.empty()) {
      const size_t comma = std::min(value.find(','), value.size());
      ASSIGN_OR_RETURN(const uint64_t number, SparseNumber(key, value.substr(0, comma)));
      if (is_offset) {
        sparse_map.push_back({number, 0});
      } else {
        sparse_map.back().size = number;
      }
      is_offset = !is_offset;
      value.remove_prefix(std::min(comma + 1, value.size()));
    }
    version.wants_size = !is_offset;
  }
  return absl::OkStatus();
}

absl::Status PaxHeader::AddXattr(std::string name, std::string value, bool replace,
                                 const LayerLimits& limits) {
  const auto same = std::find_if(xattrs.begin(), xattrs.end(),
                                 [&](const auto& xattr) { return xattr.first == name; });
  if (same != xattrs.end() && !replace) {
    return absl::OkStatus();
  }
  xattr_bytes_ += value.size();
  if (value.size() > limits.max_xattr_bytes || xattr_bytes_ > kMaxXattrTotal ||
      xattrs.size() >= kMaxXattrs) {
    return absl::InvalidArgumentError(fmt::format(
        "pax header: extended attributes beyond the limits ({} bytes each, {} in all, {} of them)",
        limits.max_xattr_bytes, kMaxXattrTotal, kMaxXattrs));
  }
  if (same != xattrs.end()) {
    same->second = std::move(value);
  } else {
    xattrs.emplace_back(std::move(name), std::move(value));
  }
  return absl::OkStatus();
}

}  // namespace berth::archive
