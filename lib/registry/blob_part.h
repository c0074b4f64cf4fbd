// BlobTransfer: one blob on its way through as many requests as it takes. Every byte reaches the
// sink once and in order, whichever request and endpoint it came by. Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>

#include "lib/oci/image.h"
#include "lib/oci/sha256.h"
#include "lib/registry/registry_client.h"
#include "lib/registry/requester.h"

namespace berth::registry {

class BlobTransfer {
 public:
  using Send = std::function<Attempt(const EndpointRequest&, const HttpTransport::BodySink&)>;

  // Borrows both.
  BlobTransfer(const oci::Descriptor& descriptor, const RegistryClient::BlobSink& sink)
      : descriptor_(descriptor), sink_(sink), hasher_(descriptor.digest.algorithm()) {}

  // One attempt, from where the last one broke off. `request` gets its Range header here.
  Attempt Run(EndpointRequest request, const Send& send);

  // No further attempt makes sense: it is complete (the attempt's status is OK), the sink refused
  // it, or what was delivered is not the blob.
  bool is_over() const { return is_over_; }
  // Whether bytes came since the last call.
  bool TakeProgress();

 private:
  // How many bytes of this response come before the first one wanted; an error when it starts
  // elsewhere.
  absl::StatusOr<int64_t> BytesToSkip(const HttpResponse& head) const;
  absl::Status Deliver(std::span<const char> piece);
  void Conclude(Attempt& attempt);

  const oci::Descriptor& descriptor_;
  const RegistryClient::BlobSink& sink_;
  oci::Hasher hasher_;
  int64_t offset_ = 0;  // bytes delivered
  int64_t reported_ = 0;
  bool is_over_ = false;
};

}  // namespace berth::registry
