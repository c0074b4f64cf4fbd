// BlobPart: a stretch of a blob, often all of it, on its way through as many requests as it takes.
// Every byte of it reaches the sink once and in order, whichever request and endpoint it came by.
// Digests are the caller's business. Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>

#include "lib/registry/registry_client.h"
#include "lib/registry/requester.h"

namespace berth::registry {

class BlobPart {
 public:
  using Send = std::function<Attempt(const EndpointRequest&, const HttpTransport::BodySink&)>;

  // Bytes [begin, end) of `size`. Borrows the sink.
  BlobPart(int64_t begin, int64_t end, int64_t size, const RegistryClient::BlobSink& sink)
      : begin_(begin), end_(end), size_(size), offset_(begin), reported_(begin), sink_(sink) {}

  // Called when an answer of the 2xx kind begins: whether it is a range. The first answer to a part
  // that begins at 0 may also be the whole blob: false makes the part all of it.
  void OnAnswer(std::function<void(bool is_range)> on_answer) { on_answer_ = std::move(on_answer); }
  // An answer that is not a range ends it: see is_refused().
  void NeedRanges() { needs_ranges_ = true; }

  // One attempt, from where the last one broke off. `request` gets its Range header here.
  Attempt Run(EndpointRequest request, const Send& send);

  // No further attempt makes sense: all is delivered (the attempt's status is OK), the sink refused
  // it, or there is more than there should be.
  bool is_over() const { return is_over_; }
  // It is over because the server does not do ranges.
  bool is_refused() const { return is_refused_; }
  // Whether bytes came since the last call.
  bool TakeProgress();
  int64_t end() const { return end_; }

 private:
  absl::Status Begin(const HttpResponse& head);
  absl::Status Deliver(std::span<const char> piece);

  const int64_t begin_;
  int64_t end_;
  const int64_t size_;
  int64_t offset_;  // the next byte to deliver
  int64_t reported_;
  const RegistryClient::BlobSink& sink_;
  std::function<void(bool is_range)> on_answer_;
  bool needs_ranges_ = false;
  bool is_over_ = false;
  bool is_refused_ = false;
  // Of the attempt that runs.
  bool has_begun_ = false;
  bool is_wrong_range_ = false;
  int64_t skip_ = 0;  // bytes of this response that come before the next one to deliver
};

}  // namespace berth::registry
