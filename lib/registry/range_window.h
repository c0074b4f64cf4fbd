// RangeWindow: the stretches of a blob that are being fetched ahead of the one that is delivered.
//
// Fetchers claim the next stretch, fill it, and end it; one consumer takes the bytes in order, as
// soon as they are there. A fetcher waits for its next stretch while `max_open` are not yet
// delivered whole: memory is bounded by max_open * stretch bytes.
//
// Threads: thread-safe; one consumer.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>

#include "absl/status/statusor.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/registry/registry_client.h"

namespace berth::registry {

class RangeWindow {
 public:
  // Of bytes [begin, size).
  RangeWindow(int64_t begin, int64_t size, int64_t stretch_bytes, size_t max_open)
      : size_(size), stretch_bytes_(stretch_bytes), max_open_(max_open), next_(begin) {}

  struct Stretch;

  // The next stretch, with its bounds; null: none is left, or the window is closed, or the context
  // ended.
  std::shared_ptr<Stretch> Claim(const base::OpContext& ctx);
  static int64_t BeginOf(const Stretch& stretch);
  static int64_t EndOf(const Stretch& stretch);
  // Its next bytes, which fit. Its fetcher alone.
  void Append(Stretch& stretch, std::span<const char> bytes);
  // No more comes. OK: it is full.
  void End(Stretch& stretch, absl::Status status);
  // No stretch is claimed any more.
  void Close();

  // Gives the sink what follows, until a stretch that failed: its error, or the sink's, or the
  // context's. OK: everything is delivered.
  absl::Status Drain(const base::OpContext& ctx, const RegistryClient::BlobSink& sink);

 private:
  const int64_t size_;
  const int64_t stretch_bytes_;
  const size_t max_open_;

  base::Mutex mu_;
  base::CondVar changed_;
  int64_t next_ ABSL_GUARDED_BY(mu_);  // the first byte that nobody has claimed
  bool is_closed_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::shared_ptr<Stretch>> open_ ABSL_GUARDED_BY(mu_);  // in order
};

}  // namespace berth::registry
