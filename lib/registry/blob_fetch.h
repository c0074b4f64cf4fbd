// BlobFetcher: a whole blob, from whichever endpoint has it, verified.
//
// A blob of RegistryOptions::min_ranged_bytes or more comes over several connections, where the
// server sends ranges: the first request asks for the first stretch, and when that is answered by
// 206, threads fetch those that follow, each into memory, while the caller's thread delivers them
// in order (range_window.h). A server that answers 200 sends the whole blob over that one
// connection, as it would have anyway. Of all blobs together at most kMaxExtra connections are more
// than one each, which bounds the memory too; a blob that gets none is fetched in one request.
//
// Where an endpoint redirects to another origin (a store with signed URLs), further parts of the
// blob are asked there at once, and of the endpoint again when that fails.
//
// Threads: thread-safe; Fetch blocks its caller. Ownership: borrows everything.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/registry/blob_part.h"
#include "lib/registry/registry_client.h"
#include "lib/registry/requester.h"

namespace berth::registry {

class RangeWindow;

class BlobFetcher {
 public:
  static constexpr int kMaxExtra = 4;

  BlobFetcher(Requester& requester, const RegistryOptions& options)
      : requester_(requester), options_(options) {}

  // See RegistryClient::FetchBlob.
  absl::Status Fetch(const base::OpContext& ctx, const ImageSource& source,
                     const oci::Descriptor& descriptor, const RegistryClient::BlobSink& sink);

 private:
  // Where the parts of one blob were found in the end.
  class Places {
   public:
    std::string Of(const Endpoint& endpoint);
    void Set(const Endpoint& endpoint, const std::string& url);

   private:
    base::Mutex mu_;
    std::map<const Endpoint*, std::string> urls_ ABSL_GUARDED_BY(mu_);
  };
  // What one Fetch is about.
  struct Job {
    const ImageSource& source;
    const oci::Descriptor& descriptor;
    std::string what;  // for messages
    Places& places;
  };

  // All of a part, from the first endpoint that gives it, with retries. `from` is set to that.
  absl::Status FetchPart(const base::OpContext& ctx, const Job& job, BlobPart& part,
                         const Endpoint** from);
  absl::Status FetchRanges(const base::OpContext& ctx, const Job& job, int connections,
                           const RegistryClient::BlobSink& sink, const Endpoint** from);
  void FillWindow(const base::OpContext& ctx, const Job& job, RangeWindow& window);
  int TakeExtra(int wanted);

  Requester& requester_;
  const RegistryOptions& options_;
  std::atomic<int> extra_ = 0;  // connections in use beyond one of each blob
};

}  // namespace berth::registry
