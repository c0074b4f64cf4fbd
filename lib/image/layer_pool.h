// LayerPool: gets layers unpacked, each once, however many images want it at the same time.
//
// Who wants a layer claims it. What the database has is ready at once; what another claim is
// fetching is shared; otherwise a worker fetches and unpacks it into a new directory. A worker is a
// thread; there are at most max_workers, and none when there is nothing to do. A claim keeps its
// layer from being collected. When the last claim on a layer is dropped before it was published,
// its transfer is given up and its directory removed.
//
// Threads: thread-safe. Ownership: borrows files and store; claims must not outlive the pool.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/image/layer_files.h"
#include "lib/image/thread_group.h"
#include "lib/oci/digest.h"
#include "lib/store/image_store.h"

namespace berth::image {

using ByteSink = std::function<absl::Status(std::span<const char> piece)>;

// A layer and where its bytes come from.
struct LayerSource {
  oci::Digest diff_id;
  std::string name;  // for messages: the digest of the blob
  // Gives all bytes to the sink, whole and verified when it returns OK.
  std::function<absl::Status(const base::OpContext& ctx, const ByteSink& sink)> fetch;
};

class LayerPool {
 public:
  LayerPool(LayerFiles& files, store::ImageStore& store, int max_workers);
  // Gives up what runs and waits for the workers.
  ~LayerPool();

  struct Entry;  // one layer while it is claimed
  // Drops its claim when destroyed.
  class Claim {
   public:
    Claim(LayerPool* pool, std::shared_ptr<Entry> entry, bool is_own)
        : pool_(pool), entry_(std::move(entry)), is_own_(is_own) {}
    Claim(Claim&&) noexcept = default;
    Claim& operator=(Claim&& other) noexcept;
    ~Claim() { Drop(); }

   private:
    friend class LayerPool;
    void Drop();
    LayerPool* pool_;
    std::shared_ptr<Entry> entry_;
    bool is_own_;  // its source is being used
  };

  absl::StatusOr<Claim> ClaimLayer(LayerSource source);
  // Waits until all are unpacked. The first failure, or the context's. A layer that was being
  // fetched from somebody else's source and failed is claimed again and fetched from ours,
  // `sources` being in the order of the claims.
  absl::Status Wait(const base::OpContext& ctx, const std::vector<LayerSource>& sources,
                    std::vector<Claim>& claims);

  // Drops claims after a failure and waits until workers have stopped on what nobody else wants,
  // and removed it.
  void Abandon(std::vector<Claim> claims);

  // Of a layer that is unpacked.
  static store::LayerRecord RecordOf(const Claim& claim);
  // Not published yet: its directory may still be changed.
  bool IsNew(const Claim& claim);
  // Directories it did not describe. Empties the list.
  std::vector<std::string> TakeImplicitDirs(const Claim& claim);
  // The disk has failed to store something: layers that are being unpacked or wait for their image,
  // and the published ones in `failed`, may be damaged. Who claims such a layer next gets a new
  // one.
  void Spoil(const std::set<int64_t>& failed);
  // kDataLoss: one of them was spoilt.
  absl::Status CheckUnspoilt(const std::vector<Claim>& claims);
  // They are published.
  void MarkComplete(const std::vector<Claim>& claims);

  // Removes the records of complete layers that neither an image, nor in_use, nor a claim holds;
  // returns them.
  absl::StatusOr<std::vector<store::LayerRecord>> Collect(std::set<int64_t> in_use);

 private:
  void Work();
  absl::Status Unpack(Entry& entry);
  absl::Status FetchInto(Entry& entry, const LayerFiles::NewLayer& layer);
  void Discard(int64_t number);
  // Ends kRunning. False, and nothing done: it succeeded, but nobody wants it any more.
  bool Settle(Entry& entry, const absl::Status& status);

  LayerFiles& files_;
  store::ImageStore& store_;
  const int max_workers_;

  base::Mutex mu_;
  base::CondVar changed_;
  std::map<oci::Digest, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mu_);
  std::deque<std::shared_ptr<Entry>> queue_ ABSL_GUARDED_BY(mu_);
  int workers_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<bool> stopping_ = false;
  ThreadGroup threads_;
};

}  // namespace berth::image
