#include "lib/archive/recipe_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::archive {

namespace {

constexpr size_t kMaxRaw = 64 << 10;
constexpr size_t kRecordBytes = 128 << 10;
constexpr size_t kOutBytes = 64 << 10;
// What is compressed are headers, each much like the one before: little is gained by looking
// further back.
constexpr int kLevel = 1;
constexpr int kWindowLog = 17;
constexpr uint64_t kKeptOverhead = 256;  // for each kept content

absl::Status WriteAll(int fd, std::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return base::ErrnoStatus(errno, "write the layer's recipe");
    }
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

// Where a descriptor leads, as the kernel sees it; "" where that is too long to be told.
std::string PathOf(int fd) {
  char path[PATH_MAX];
  const ssize_t size = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path, sizeof(path));
  return size <= 0 || size == sizeof(path) ? "" : std::string(path, static_cast<size_t>(size));
}

}  // namespace

void RecipeWriter::FreeContext::operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }

RecipeWriter::RecipeWriter(int root_fd, int fd)
    : root_fd_(root_fd),
      fd_(fd),
      zstd_(ZSTD_createCCtx()),
      compressed_(kOutBytes),
      written_(kRecipeHeaderBytes) {
  BERTH_CHECK(zstd_ != nullptr);
  ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_windowLog, kWindowLog);
  ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_checksumFlag, 1);
  records_.reserve(kRecordBytes + kMaxRaw);
}

RecipeWriter::~RecipeWriter() = default;

absl::Status RecipeWriter::Raw(std::string_view bytes) {
  header_.tar_bytes += bytes.size();
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kMaxRaw - raw_.size());
    raw_.append(part);
    bytes.remove_prefix(part.size());
    if (raw_.size() == kMaxRaw) {
      RETURN_IF_ERROR(FlushRaw());
    }
  }
  return absl::OkStatus();
}

absl::Status RecipeWriter::Content(uint64_t offset, std::string_view bytes) {
  if (!in_file_) {
    return Raw(bytes);
  }
  header_.tar_bytes += bytes.size();
  hash_.Update(bytes);
  if (!runs_.empty() && runs_.back().offset + runs_.back().size == offset) {
    runs_.back().size += bytes.size();
  } else {
    runs_.push_back({offset, bytes.size()});
  }
  return absl::OkStatus();
}

std::string RecipeWriter::RealPath(const Location& location) const {
  if (!location.by_symlink) {
    return std::string(location.path);
  }
  const std::string root = PathOf(root_fd_);
  const std::string parent = PathOf(location.parent_fd);
  if (root.empty() || parent.size() < root.size() || parent.substr(0, root.size()) != root) {
    return "";
  }
  std::string path = parent.substr(root.size()) + "/" + std::string(location.name);
  return path.substr(path.find_first_not_of('/'));
}

absl::Status RecipeWriter::BeginFile(const Location& file, uint64_t size) {
  file_path_ = RealPath(file);
  // A path that nobody can tell: its content is kept as any other bytes of the stream.
  in_file_ = !file_path_.empty();
  file_size_ = size;
  runs_.clear();
  hash_.Start();
  return absl::OkStatus();
}

absl::Status RecipeWriter::EndFile() {
  if (!in_file_) {
    return absl::OkStatus();
  }
  in_file_ = false;
  if (file_size_ == 0) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(FlushRaw());
  records_.push_back(static_cast<char>(RecipeRecord::kContent));
  AppendText(file_path_);
  AppendVarint(file_size_, records_);
  AppendFixed64(hash_.Finish(), records_);
  AppendVarint(runs_.size(), records_);
  uint64_t end = 0;
  for (const SparsePiece& run : runs_) {
    AppendVarint(run.offset - end, records_);
    AppendVarint(run.size, records_);
    end = run.offset + run.size;
  }
  return EndRecord();
}

absl::Status RecipeWriter::Replacing(const Location& location) {
  const std::string name(location.name);
  struct stat st;
  if (::fstatat(location.parent_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", location.path));
  }
  const std::string path = RealPath(location);
  if (!S_ISREG(st.st_mode) || st.st_size == 0 || path.empty()) {
    return absl::OkStatus();
  }
  const uint64_t size = static_cast<uint64_t>(st.st_size);
  const uint64_t cost = path.size() + kKeptOverhead;
  if (header_.is_lossy || size > kMaxKeptBytes || kept_bytes_ + size + cost > kMaxKeptBytes) {
    header_.is_lossy = true;
    return absl::OkStatus();
  }
  kept_bytes_ += size + cost;
  const base::UniqueFd fd(
      ::openat(location.parent_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    return base::ErrnoStatus(errno, fmt::format("open '{}'", location.path));
  }
  return AppendFile(fd.get(), size, path);
}

absl::Status RecipeWriter::AppendFile(int fd, uint64_t size, const std::string& path) {
  header_.has_kept = true;
  RETURN_IF_ERROR(FlushRaw());
  records_.push_back(static_cast<char>(RecipeRecord::kKept));
  AppendText(path);
  AppendVarint(size, records_);
  std::string part(kMaxRaw, '\0');
  for (uint64_t offset = 0; offset < size;) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(part.size(), size - offset));
    const ssize_t n = ::pread(fd, part.data(), want, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return base::ErrnoStatus(n < 0 ? errno : EIO, fmt::format("read '{}'", path));
    }
    records_.append(part.data(), static_cast<size_t>(n));
    RETURN_IF_ERROR(EndRecord());
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

void RecipeWriter::AppendText(std::string_view text) {
  AppendVarint(text.size(), records_);
  records_.append(text);
}

absl::Status RecipeWriter::FlushRaw() {
  if (raw_.empty()) {
    return absl::OkStatus();
  }
  records_.push_back(static_cast<char>(RecipeRecord::kRaw));
  AppendText(raw_);
  raw_.clear();
  return EndRecord();
}

absl::Status RecipeWriter::EndRecord() {
  return records_.size() < kRecordBytes ? absl::OkStatus() : Compress(false);
}

absl::Status RecipeWriter::Compress(bool is_last) {
  ZSTD_inBuffer in = {records_.data(), records_.size(), 0};
  while (true) {
    ZSTD_outBuffer out = {compressed_.data(), compressed_.size(), compressed_size_};
    const size_t left =
        ZSTD_compressStream2(zstd_.get(), &out, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left) != 0) {
      return absl::InternalError(
          fmt::format("compress the layer's recipe: {}", ZSTD_getErrorName(left)));
    }
    compressed_size_ = out.pos;
    const bool is_done = is_last ? left == 0 : in.pos == in.size;
    if (compressed_size_ == compressed_.size() || (is_last && is_done)) {
      RETURN_IF_ERROR(WriteAll(fd_, {compressed_.data(), compressed_size_}, written_));
      written_ += compressed_size_;
      compressed_size_ = 0;
    }
    if (is_done) {
      records_.clear();
      return absl::OkStatus();
    }
  }
}

absl::Status RecipeWriter::Finish() {
  RETURN_IF_ERROR(FlushRaw());
  RETURN_IF_ERROR(Compress(true));
  return WriteAll(fd_, header_.Encode(), 0);
}

}  // namespace berth::archive
