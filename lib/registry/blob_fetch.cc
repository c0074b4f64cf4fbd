#include "lib/registry/blob_fetch.h"

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/oci/sha256.h"
#include "lib/registry/endpoint_reports.h"
#include "lib/registry/range_window.h"

namespace berth::registry {

namespace {

// What a fetcher ends its stretch with when the rest has to come in one request.
absl::Status RangesRefused() { return absl::UnimplementedError("no ranges"); }

// Threads that end with the context of theirs, and are waited for.
class Fetchers {
 public:
  Fetchers(const base::OpContext& ctx, RangeWindow& window)
      : ctx_(ctx.deadline(), [this, &ctx] { return is_over_ || !ctx.Check().ok(); }),
        window_(window) {}
  ~Fetchers() { Stop(); }
  Fetchers(const Fetchers&) = delete;
  Fetchers& operator=(const Fetchers&) = delete;

  void Start(int count, const std::function<void(const base::OpContext&)>& work) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, work] { work(ctx_); });
    }
  }
  bool has_started() const { return !threads_.empty(); }
  void Stop() {
    is_over_ = true;
    window_.Close();
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
  }

 private:
  std::atomic<bool> is_over_ = false;
  const base::OpContext ctx_;
  RangeWindow& window_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::string BlobFetcher::Places::Of(const Endpoint& endpoint) {
  base::MutexLock lock(mu_);
  const auto found = urls_.find(&endpoint);
  return found == urls_.end() ? "" : found->second;
}

void BlobFetcher::Places::Set(const Endpoint& endpoint, const std::string& url) {
  base::MutexLock lock(mu_);
  urls_[&endpoint] = url;
}

int BlobFetcher::TakeExtra(int wanted) {
  int used = extra_;
  int taken = 0;
  do {
    taken = std::clamp(kMaxExtra - used, 0, wanted);
  } while (!extra_.compare_exchange_weak(used, used + taken));
  return taken;
}

absl::Status BlobFetcher::FetchPart(const base::OpContext& ctx, const Job& job, BlobPart& part,
                                    const Endpoint** from) {
  EndpointReports reports;
  for (const Endpoint& endpoint : job.source.endpoints) {
    *from = &endpoint;
    Retry retry(options_);
    std::string place = job.places.Of(endpoint);
    absl::Status failure;
    while (failure.ok()) {
      EndpointRequest request;
      request.endpoint = endpoint;
      request.path = "/blobs/" + job.descriptor.digest.ToString();
      request.credentials = job.source.credentials;
      request.stall_timeout = options_.progress_timeout > absl::ZeroDuration()
                                  ? options_.progress_timeout
                                  : absl::InfiniteDuration();
      request.direct_url = std::exchange(place, "");  // once: a signature may have expired
      Attempt attempt =
          part.Run(request, [&](const EndpointRequest& ready, const HttpTransport::BodySink& body) {
            return requester_.Send(ctx, ready, body);
          });
      if (!attempt.moved_to.empty()) {
        job.places.Set(endpoint, attempt.moved_to);
      }
      if (part.is_over()) {
        return base::Annotate(attempt.status, fmt::format("{}: {}", job.what, Role(endpoint)));
      }
      RETURN_IF_ERROR(base::Annotate(ctx.Check(), job.what));
      if (part.TakeProgress()) {
        retry.MadeProgress();
      }
      if (request.direct_url.empty()) {
        failure = retry.Wait(ctx, attempt);
      }
      if (failure.ok()) {
        LogRepetition(endpoint, attempt);
      }
    }
    RETURN_IF_ERROR(base::Annotate(ctx.Check(), job.what));
    reports.Add(endpoint, failure);
  }
  return reports.Fail(job.what);
}

void BlobFetcher::FillWindow(const base::OpContext& ctx, const Job& job, RangeWindow& window) {
  while (const auto stretch = window.Claim(ctx)) {
    const RegistryClient::BlobSink sink = [&](std::span<const char> piece) {
      window.Append(*stretch, piece);
      return absl::OkStatus();
    };
    BlobPart part(RangeWindow::BeginOf(*stretch), RangeWindow::EndOf(*stretch), job.descriptor.size,
                  sink);
    part.NeedRanges();
    const Endpoint* from = nullptr;
    absl::Status status = FetchPart(ctx, job, part, &from);
    const bool is_ok = status.ok();
    window.End(*stretch, part.is_refused() ? RangesRefused() : std::move(status));
    if (!is_ok) {
      window.Close();
      return;
    }
  }
}

absl::Status BlobFetcher::FetchRanges(const base::OpContext& ctx, const Job& job, int connections,
                                      const RegistryClient::BlobSink& sink, const Endpoint** from) {
  const int64_t size = job.descriptor.size;
  int64_t delivered = 0;
  absl::Status sink_status;
  const RegistryClient::BlobSink counting = [&](std::span<const char> piece) {
    delivered += static_cast<int64_t>(piece.size());
    sink_status = sink(piece);
    return sink_status;
  };
  BlobPart first(0, std::min(options_.range_bytes, size), size, counting);
  RangeWindow window(first.end(), size, options_.range_bytes, static_cast<size_t>(connections));
  Fetchers fetchers(ctx, window);
  const auto fill = [&](const base::OpContext& fetch_ctx) { FillWindow(fetch_ctx, job, window); };
  first.OnAnswer([&](bool is_range) {
    // This connection is one of them until the first part is here.
    if (is_range && !fetchers.has_started()) {
      fetchers.Start(connections - 1, fill);
    }
  });
  RETURN_IF_ERROR(FetchPart(ctx, job, first, from));
  if (delivered == size) {
    return absl::OkStatus();
  }
  fetchers.Start(1, fill);
  const absl::Status status = window.Drain(ctx, counting);
  fetchers.Stop();
  RETURN_IF_ERROR(base::Annotate(sink_status, job.what));
  RETURN_IF_ERROR(base::Annotate(ctx.Check(), job.what));
  if (!absl::IsUnimplemented(status)) {
    return status;
  }
  // It sent a range once, and now sends whole blobs: a proxy with servers of two kinds behind it.
  BlobPart rest(delivered, size, size, counting);
  return FetchPart(ctx, job, rest, from);
}

absl::Status BlobFetcher::Fetch(const base::OpContext& ctx, const ImageSource& source,
                                const oci::Descriptor& descriptor,
                                const RegistryClient::BlobSink& sink) {
  Places places;
  const Job job{source, descriptor,
                fmt::format("fetch blob '{}' of image '{}'", descriptor.digest.ToString(),
                            source.reference.ToString()),
                places};
  oci::Hasher hasher(descriptor.digest.algorithm());
  const RegistryClient::BlobSink hashing = [&](std::span<const char> piece) {
    hasher.Update(piece);
    return sink(piece);
  };
  const Endpoint* from = nullptr;
  const int extra = descriptor.size >= options_.min_ranged_bytes
                        ? TakeExtra(options_.connections_per_blob - 1)
                        : 0;
  absl::Status status;
  if (extra > 0) {
    status = FetchRanges(ctx, job, 1 + extra, hashing, &from);
    extra_ -= extra;
  } else {
    BlobPart whole(0, descriptor.size, descriptor.size, hashing);
    status = FetchPart(ctx, job, whole, &from);
  }
  RETURN_IF_ERROR(status);
  if (const oci::Digest actual = hasher.Finish(); actual != descriptor.digest) {
    return base::MakeStatus(absl::StatusCode::kDataLoss,
                            fmt::format("{}: {}: the content has digest '{}'", job.what,
                                        Role(*from), actual.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace berth::registry
