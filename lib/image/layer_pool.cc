#include "lib/image/layer_pool.h"

#include <algorithm>

#include "fmt/format.h"

#include "lib/archive/layer_extractor.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::image {

struct LayerPool::Entry {
  enum class State { kQueued, kRunning, kReady, kFailed };

  LayerSource source;
  std::atomic<int> claims = 0;  // written under mu_; the worker's context reads it without
  // Guarded by LayerPool::mu_; `record` and `implicit_dirs` are the worker's alone while kRunning.
  State state = State::kQueued;
  absl::Status failure;
  store::LayerRecord record;
  bool is_complete = false;  // in the database
  bool is_spoilt = false;
  std::vector<std::string> implicit_dirs;
};

LayerPool::LayerPool(LayerFiles& files, store::ImageStore& store, int max_workers)
    : files_(files), store_(store), max_workers_(std::max(1, max_workers)) {}

LayerPool::~LayerPool() {
  stopping_ = true;
  threads_.JoinAll();
}

LayerPool::Claim& LayerPool::Claim::operator=(Claim&& other) noexcept {
  if (this != &other) {
    Drop();
    pool_ = other.pool_;
    entry_ = std::move(other.entry_);
    is_own_ = other.is_own_;
  }
  return *this;
}

void LayerPool::Claim::Drop() {
  if (entry_ == nullptr) {
    return;
  }
  int64_t discard = 0;
  {
    base::MutexLock lock(pool_->mu_);
    if (--entry_->claims == 0) {
      const auto found = pool_->entries_.find(entry_->source.diff_id);
      if (found != pool_->entries_.end() && found->second == entry_) {
        pool_->entries_.erase(found);
      }
      if (entry_->state == Entry::State::kQueued) {
        std::erase(pool_->queue_, entry_);
      } else if (entry_->state == Entry::State::kReady && !entry_->is_complete) {
        discard = entry_->record.number;
      }
      // A running one is noticed by its worker.
    }
  }
  if (discard != 0) {
    pool_->Discard(discard);
  }
  entry_ = nullptr;
}

absl::StatusOr<LayerPool::Claim> LayerPool::ClaimLayer(LayerSource source) {
  base::MutexLock lock(mu_);
  const auto found = entries_.find(source.diff_id);
  if (found != entries_.end()) {
    ++found->second->claims;
    return Claim(this, found->second, false);
  }
  auto entry = std::make_shared<Entry>();
  // Under mu_, so that Collect() does not remove between the look-up and the claim what is found.
  absl::StatusOr<store::LayerRecord> complete = store_.FindLayer(source.diff_id.ToString());
  if (!complete.ok() && !absl::IsNotFound(complete.status())) {
    return complete.status();
  }
  entry->source = std::move(source);
  entry->claims = 1;
  entries_[entry->source.diff_id] = entry;
  if (complete.ok()) {
    entry->record = *std::move(complete);
    entry->is_complete = true;
    entry->state = Entry::State::kReady;
  } else {
    queue_.push_back(entry);
    if (workers_ < max_workers_) {
      ++workers_;
      threads_.Run([this] { Work(); });
    }
  }
  return Claim(this, std::move(entry), true);
}

void LayerPool::Work() {
  while (true) {
    std::shared_ptr<Entry> entry;
    {
      base::MutexLock lock(mu_);
      if (queue_.empty()) {
        --workers_;
        return;
      }
      entry = std::move(queue_.front());
      queue_.pop_front();
      entry->state = Entry::State::kRunning;
    }
    absl::Status status = Unpack(*entry);
    if (status.ok() && !Settle(*entry, status)) {
      // Nobody can claim it any more either: the last Drop() took it off the map.
      Discard(entry->record.number);
      status = absl::CancelledError("nobody wants the layer any more");
    }
    if (!status.ok()) {
      Settle(*entry, status);
    }
  }
}

bool LayerPool::Settle(Entry& entry, const absl::Status& status) {
  base::MutexLock lock(mu_);
  if (status.ok() && entry.claims == 0) {
    return false;
  }
  entry.failure = status;
  entry.state = status.ok() ? Entry::State::kReady : Entry::State::kFailed;
  const auto found = entries_.find(entry.source.diff_id);
  if (!status.ok() && found != entries_.end() && found->second.get() == &entry) {
    entries_.erase(found);  // who wants it next tries anew
  }
  changed_.SignalAll();
  return true;
}

absl::Status LayerPool::Unpack(Entry& entry) {
  const std::string diff_id = entry.source.diff_id.ToString();
  ASSIGN_OR_RETURN(const int64_t number, store_.ReserveLayer(diff_id));
  entry.record.number = number;
  entry.record.diff_id = diff_id;
  absl::Status status;
  {
    const absl::StatusOr<LayerFiles::NewLayer> layer = files_.Make(number);
    status = layer.ok() ? FetchInto(entry, *layer) : layer.status();
  }
  if (!status.ok()) {
    Discard(number);
    entry.record.number = 0;
  }
  return status;
}

absl::Status LayerPool::FetchInto(Entry& entry, const LayerFiles::NewLayer& layer) {
  archive::LayerOptions options;
  options.name = entry.source.name;
  options.recipe_fd = layer.recipe.get();
  ASSIGN_OR_RETURN(const std::unique_ptr<archive::LayerExtractor> extractor,
                   archive::LayerExtractor::Start(layer.root.get(), options));
  const base::OpContext ctx(absl::InfiniteFuture(), [&] { return entry.claims == 0 || stopping_; });
  absl::Status fetched = entry.source.fetch(ctx, [&](std::span<const char> piece) {
    return extractor->Write(std::string_view(piece.data(), piece.size()));
  });
  if (!fetched.ok()) {
    extractor->Abort(fetched);
    return fetched;
  }
  ASSIGN_OR_RETURN(archive::LayerResult result, extractor->Finish());
  if (result.diff_id != entry.source.diff_id) {
    return absl::DataLossError(
        fmt::format("layer '{}' unpacks to '{}'; the image's config says '{}'", entry.source.name,
                    result.diff_id.ToString(), entry.source.diff_id.ToString()));
  }
  entry.record.size_bytes = result.bytes;
  entry.record.inodes = result.inodes;
  entry.implicit_dirs = std::move(result.implicit_dirs);
  return absl::OkStatus();
}

void LayerPool::Discard(int64_t number) {
  store::LayerRecord layer;
  layer.number = number;
  files_.MoveToTrash(layer);
  if (files_.IsDiskShort()) {
    files_.WaitIdle();  // who is told that the disk is full may try something smaller at once
  }
  const absl::Status status = store_.DropReservedLayer(number);
  if (!status.ok()) {
    base::Log("image").warn(
        "cannot forget an unfinished layer, leaving it to the next start layer={} error={}", number,
        status.ToString());
  }
}

absl::Status LayerPool::Wait(const base::OpContext& ctx, const std::vector<LayerSource>& sources,
                             std::vector<Claim>& claims) {
  using State = Entry::State;
  while (true) {
    size_t retry = claims.size();
    {
      base::MutexLock lock(mu_);
      while (retry == claims.size()) {
        size_t ready = 0;
        for (size_t i = 0; i < claims.size(); ++i) {
          const Entry& entry = *claims[i].entry_;
          if (entry.state == State::kFailed && claims[i].is_own_) {
            return entry.failure;
          }
          if (entry.state == State::kFailed) {
            retry = i;
            break;
          }
          ready += entry.state == State::kReady ? 1 : 0;
        }
        if (ready == claims.size()) {
          return absl::OkStatus();
        }
        RETURN_IF_ERROR(ctx.Check());
        if (retry == claims.size()) {
          changed_.WaitFor(mu_, absl::Milliseconds(ctx.PollMillis()));
        }
      }
    }
    ASSIGN_OR_RETURN(claims[retry], ClaimLayer(sources[retry]));
  }
}

void LayerPool::Abandon(std::vector<Claim> claims) {
  std::vector<std::shared_ptr<Entry>> entries;
  entries.reserve(claims.size());
  for (const Claim& claim : claims) {
    entries.push_back(claim.entry_);
  }
  claims.clear();
  base::MutexLock lock(mu_);
  for (const std::shared_ptr<Entry>& entry : entries) {
    while (entry->claims == 0 && entry->state == Entry::State::kRunning) {
      changed_.Wait(mu_);
    }
  }
}

store::LayerRecord LayerPool::RecordOf(const Claim& claim) { return claim.entry_->record; }

bool LayerPool::IsNew(const Claim& claim) {
  base::MutexLock lock(mu_);
  return !claim.entry_->is_complete;
}

std::vector<std::string> LayerPool::TakeImplicitDirs(const Claim& claim) {
  base::MutexLock lock(mu_);
  return std::exchange(claim.entry_->implicit_dirs, {});
}

void LayerPool::MarkComplete(const std::vector<Claim>& claims) {
  base::MutexLock lock(mu_);
  for (const Claim& claim : claims) {
    claim.entry_->is_complete = true;
  }
}

void LayerPool::Spoil(const std::set<int64_t>& failed) {
  base::MutexLock lock(mu_);
  std::erase_if(entries_, [&](const auto& item) {
    Entry& entry = *item.second;
    // The number of one that is being unpacked is its worker's.
    const bool is_hit = entry.is_complete ? failed.count(entry.record.number) > 0
                                          : entry.state != Entry::State::kQueued;
    entry.is_spoilt = entry.is_spoilt || is_hit;
    return is_hit;
  });
}

absl::Status LayerPool::CheckUnspoilt(const std::vector<Claim>& claims) {
  base::MutexLock lock(mu_);
  for (const Claim& claim : claims) {
    if (claim.entry_->is_spoilt) {
      return absl::DataLossError(fmt::format(
          "layer '{}': the disk failed to store something while it was unpacked; pull it again",
          claim.entry_->source.name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<store::LayerRecord>> LayerPool::Collect(std::set<int64_t> in_use) {
  base::MutexLock lock(mu_);
  for (const auto& [diff_id, entry] : entries_) {
    if (entry->is_complete) {
      in_use.insert(entry->record.number);
    }
  }
  return store_.CollectLayers(in_use);
}

}  // namespace berth::image
