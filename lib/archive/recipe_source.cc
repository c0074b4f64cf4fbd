#include "lib/archive/recipe_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fmt/format.h"

#include "lib/archive/recipe_writer.h"
#include "lib/base/beneath.h"
#include "lib/base/status.h"

namespace berth::archive {

namespace {

constexpr size_t kBufferBytes = 256 << 10;

}  // namespace

RecipeSource::RecipeSource(int root_fd, int recipe_fd, Mode mode)
    : root_fd_(root_fd),
      recipe_fd_(recipe_fd),
      mode_(mode),
      reader_(recipe_fd),
      buffer_(kBufferBytes) {}

absl::Status RecipeSource::Open() {
  ASSIGN_OR_RETURN(header_, reader_.ReadHeader());
  return header_.has_kept ? ReadKept() : absl::OkStatus();
}

// They come after the contents that they are needed for, so they are gathered first.
absl::Status RecipeSource::ReadKept() {
  RecipeReader reader(recipe_fd_);
  RecipeReader::Record record;
  uint64_t contents = 0;
  uint64_t bytes = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(record));
    if (!more) {
      return absl::OkStatus();
    }
    contents += record.type == RecipeRecord::kContent ? 1 : 0;
    if (record.type != RecipeRecord::kKept) {
      continue;
    }
    Kept kept = {contents, {}};
    while (true) {
      ASSIGN_OR_RETURN(const std::string_view part, reader.ReadBytes());
      if (part.empty()) {
        break;
      }
      bytes += part.size();
      if (bytes > RecipeWriter::kMaxKeptBytes) {
        return BadRecipe("keeps more contents than it may");
      }
      kept.content.append(part);
    }
    kept_[record.path].push_back(std::move(kept));
  }
}

absl::StatusOr<std::string_view> RecipeSource::Next() {
  while (true) {
    std::string_view piece;
    if (in_content_) {
      ASSIGN_OR_RETURN(piece, NextContent());
    } else if (record_.type == RecipeRecord::kRaw) {
      ASSIGN_OR_RETURN(piece, reader_.ReadBytes());
    }
    if (!piece.empty()) {
      bytes_ += piece.size();
      if (bytes_ > header_.tar_bytes) {  // zeros in place of a file that says it is endless, too
        return BadRecipe(fmt::format("makes more than {} bytes", header_.tar_bytes));
      }
      return piece;
    }
    ASSIGN_OR_RETURN(const bool more, reader_.Next(record_));
    if (!more) {
      if (bytes_ != header_.tar_bytes) {
        return BadRecipe(
            fmt::format("makes {} bytes and should make {}", bytes_, header_.tar_bytes));
      }
      record_.type = RecipeRecord::kKept;
      return std::string_view();
    }
    if (record_.type == RecipeRecord::kContent) {
      RETURN_IF_ERROR(BeginContent());
    }
  }
}

absl::Status RecipeSource::Problem(std::string what) {
  if (mode_ == Mode::kStrict) {
    return absl::DataLossError(
        fmt::format("file '{}' of the layer is not what was unpacked: {}", record_.path, what));
  }
  if (!has_problem_) {
    problems_.emplace_back(record_.path, std::move(what));
  }
  has_problem_ = true;
  return absl::OkStatus();
}

absl::Status RecipeSource::BeginContent() {
  in_content_ = true;
  has_problem_ = false;
  run_ = 0;
  run_at_ = 0;
  hash_.Start();
  kept_content_ = nullptr;
  file_.Reset();
  const uint64_t index = contents_++;
  if (const auto kept = kept_.find(record_.path); kept != kept_.end()) {
    for (const Kept& one : kept->second) {
      if (one.after > index) {
        kept_content_ = &one.content;
        return absl::OkStatus();
      }
    }
  }
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  absl::StatusOr<base::UniqueFd> file = base::OpenBeneath(root_fd_, record_.path, kFlags);
  struct stat st = {};
  if (absl::IsResourceExhausted(file.status())) {
    return file.status();
  }
  if (!file.ok()) {
    return Problem(std::string(file.status().message()));
  }
  if (::fstat(file->get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return Problem("it is no file");
  }
  file_ = *std::move(file);
  return static_cast<uint64_t>(st.st_size) == record_.size
             ? absl::OkStatus()
             : Problem(fmt::format("it has {} bytes in place of {}", st.st_size, record_.size));
}

absl::StatusOr<size_t> RecipeSource::ReadFile(uint64_t offset, size_t want) {
  if (kept_content_ != nullptr) {
    if (offset >= kept_content_->size()) {
      return 0;
    }
    return kept_content_->copy(buffer_.data(), want, static_cast<size_t>(offset));
  }
  while (file_) {
    const ssize_t n = ::pread(file_.get(), buffer_.data(), want, static_cast<off_t>(offset));
    if (n >= 0) {
      return static_cast<size_t>(n);
    }
    if (errno != EINTR) {
      RETURN_IF_ERROR(Problem(std::string(base::ErrnoStatus(errno, "read").message())));
      break;
    }
  }
  return 0;
}

absl::StatusOr<std::string_view> RecipeSource::NextContent() {
  while (run_ < record_.runs.size() && run_at_ == record_.runs[run_].size) {
    ++run_;
    run_at_ = 0;
  }
  if (run_ == record_.runs.size()) {
    in_content_ = false;
    RETURN_IF_ERROR(EndContent());
    return std::string_view();
  }
  const SparsePiece& run = record_.runs[run_];
  const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer_.size(), run.size - run_at_));
  ASSIGN_OR_RETURN(size_t have, ReadFile(run.offset + run_at_, want));
  if (have == 0) {
    RETURN_IF_ERROR(Problem("it is shorter"));
    std::memset(buffer_.data(), 0, want);
    have = want;
  }
  run_at_ += have;
  hash_.Update({buffer_.data(), have});
  return std::string_view(buffer_.data(), have);
}

absl::Status RecipeSource::EndContent() {
  if (hash_.Finish() != record_.hash) {
    RETURN_IF_ERROR(Problem("its content has changed"));
  }
  if (mode_ == Mode::kCheck && file_) {
    RETURN_IF_ERROR(CheckHoles());
  }
  file_.Reset();
  return absl::OkStatus();
}

absl::Status RecipeSource::CheckHoles() {
  uint64_t at = 0;
  for (size_t i = 0; i <= record_.runs.size(); ++i) {
    const uint64_t end = i < record_.runs.size() ? record_.runs[i].offset : record_.size;
    while (at < end) {
      const off_t data = ::lseek(file_.get(), static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 || static_cast<uint64_t>(data) >= end) {
        break;
      }
      at = static_cast<uint64_t>(data);
      const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer_.size(), end - at));
      ASSIGN_OR_RETURN(const size_t have, ReadFile(at, want));
      if (have == 0) {
        return absl::OkStatus();
      }
      if (buffer_[0] != '\0' || std::memcmp(buffer_.data(), buffer_.data() + 1, have - 1) != 0) {
        return Problem(fmt::format("it has data in a hole, near byte {}", at));
      }
      at += have;
    }
    at = i < record_.runs.size() ? record_.runs[i].offset + record_.runs[i].size : end;
  }
  return absl::OkStatus();
}

}  // namespace berth::archive
