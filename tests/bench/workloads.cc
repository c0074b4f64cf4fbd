#include "tests/bench/workloads.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

#include "lib/base/status.h"

namespace berth::bench {

std::atomic<bool> stop_requested = false;

namespace {

using Json = nlohmann::ordered_json;

// Calls work(0) .. work(count - 1) on `workers` threads; after an error no further one is begun.
// Returns the wall time.
absl::StatusOr<absl::Duration> Spread(int count, int workers,
                                      const std::function<absl::Status(int)>& work) {
  std::atomic<int> next = 0;
  std::mutex mu;
  absl::Status first;
  std::vector<std::thread> threads;
  const absl::Time start = absl::Now();
  for (int i = 0; i < std::min(workers, count); ++i) {
    threads.emplace_back([&] {
      for (;;) {
        const int index = next++;
        if (index >= count) {
          return;
        }
        const absl::Status status =
            stop_requested ? absl::CancelledError("interrupted") : work(index);
        if (!status.ok()) {
          next = count;
          const std::lock_guard<std::mutex> lock(mu);
          first.Update(status);
          return;
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  RETURN_IF_ERROR(first);
  return absl::Now() - start;
}

double PerSecond(int count, absl::Duration duration) {
  return std::round(count / absl::ToDoubleSeconds(duration) * 100) / 100;
}

absl::StatusOr<std::vector<Pod>> MakePods(CriClient& client, int count, int workers,
                                          Samples* samples, absl::Duration* wall) {
  std::vector<Pod> pods(static_cast<size_t>(count));
  ASSIGN_OR_RETURN(const absl::Duration duration,
                   Spread(count, workers, [&](int index) -> absl::Status {
                     ASSIGN_OR_RETURN(pods[static_cast<size_t>(index)], client.Up(index, samples));
                     return absl::OkStatus();
                   }));
  if (wall != nullptr) {
    *wall = duration;
  }
  return pods;
}

// One worker: one pod at a time, up and down. Several: all pods up, then all down, so that the
// rates of both are seen.
absl::StatusOr<Json> Lifecycle(CriClient& client, const WorkloadOptions& options,
                               Samples& samples) {
  RETURN_IF_ERROR(client.NeedImage());
  const auto once = [&](int index, Samples* into) -> absl::Status {
    ASSIGN_OR_RETURN(const Pod pod, client.Up(index, into));
    return client.Down(pod, into);
  };
  for (int i = 0; i < options.warmup; ++i) {
    RETURN_IF_ERROR(once(1'000'000 + i, nullptr));
  }
  if (options.parallel == 1) {
    RETURN_IF_ERROR(
        Spread(options.n, 1, [&](int index) { return once(index, &samples); }).status());
    return Json::object();
  }
  absl::Duration up;
  ASSIGN_OR_RETURN(const std::vector<Pod> pods,
                   MakePods(client, options.n, options.parallel, &samples, &up));
  ASSIGN_OR_RETURN(const absl::Duration down, Spread(options.n, options.parallel, [&](int index) {
                     return client.Down(pods[static_cast<size_t>(index)], &samples);
                   }));
  return Json{{"up_per_s", PerSecond(options.n, up)}, {"down_per_s", PerSecond(options.n, down)}};
}

absl::StatusOr<Json> Exec(CriClient& client, const WorkloadOptions& options, Samples& samples) {
  RETURN_IF_ERROR(client.NeedImage());
  ASSIGN_OR_RETURN(const Pod pod, client.Up(0, nullptr));
  for (int i = 0; i < options.warmup; ++i) {
    RETURN_IF_ERROR(client.ExecTrue(pod, nullptr));
  }
  ASSIGN_OR_RETURN(const absl::Duration wall, Spread(options.n, options.parallel, [&](int) {
                     return client.ExecTrue(pod, &samples);
                   }));
  return Json{{"exec_per_s", PerSecond(options.n, wall)}};
}

using Listing = absl::Status (CriClient::*)(int expected, Samples* samples);

absl::StatusOr<Json> Listings(CriClient& client, const WorkloadOptions& options,
                              const std::vector<Listing>& listings, Samples& samples) {
  RETURN_IF_ERROR(client.NeedImage());
  ASSIGN_OR_RETURN(const std::vector<std::string> present, client.BenchPods());
  const int missing = std::max(0, options.pods - static_cast<int>(present.size()));
  RETURN_IF_ERROR(MakePods(client, missing, 4, nullptr, nullptr).status());
  for (const Listing listing : listings) {
    for (int i = 0; i < options.warmup; ++i) {
      RETURN_IF_ERROR((client.*listing)(options.pods, nullptr));
    }
    RETURN_IF_ERROR(Spread(options.n, options.parallel, [&](int) {
                      return (client.*listing)(options.pods, &samples);
                    }).status());
  }
  return Json{{"pods", options.pods}};
}

absl::StatusOr<Json> Images(CriClient& client, const WorkloadOptions& options, Samples& samples) {
  for (int i = 0; i < options.warmup; ++i) {
    RETURN_IF_ERROR(client.ListImages(options.images, nullptr));
  }
  RETURN_IF_ERROR(Spread(options.n, options.parallel, [&](int) {
                    return client.ListImages(options.images, &samples);
                  }).status());
  return Json{{"images", options.images}};
}

// Each pull begins without the image and with nothing left to write from the removal before it.
absl::StatusOr<Json> Pull(CriClient& client, const WorkloadOptions& options, Samples& samples) {
  for (int i = 0; i < options.warmup + options.n; ++i) {
    Samples* into = i < options.warmup ? nullptr : &samples;
    RETURN_IF_ERROR(client.RemoveImage(into));
    sync();
    if (stop_requested) {
      return absl::CancelledError("interrupted");
    }
    RETURN_IF_ERROR(client.PullImage(into));
  }
  return Json::object();
}

}  // namespace

absl::StatusOr<Json> RunWorkload(CriClient& client, const WorkloadOptions& options,
                                 Samples& samples) {
  if (options.name == "lifecycle") {
    return Lifecycle(client, options, samples);
  }
  if (options.name == "exec") {
    return Exec(client, options, samples);
  }
  if (options.name == "list") {
    return Listings(client, options, {&CriClient::ListContainers, &CriClient::ListPods}, samples);
  }
  if (options.name == "stats") {
    return Listings(client, options, {&CriClient::ListContainerStats, &CriClient::ListPodStats},
                    samples);
  }
  if (options.name == "images") {
    return Images(client, options, samples);
  }
  if (options.name == "pull") {
    return Pull(client, options, samples);
  }
  if (options.name == "fill") {
    RETURN_IF_ERROR(client.NeedImage());
    RETURN_IF_ERROR(MakePods(client, options.pods, options.parallel, &samples, nullptr).status());
  }
  return Json::object();
}

absl::Status RemoveAll(CriClient& client) {
  ASSIGN_OR_RETURN(const std::vector<std::string> pods, client.BenchPods());
  stop_requested = false;
  return Spread(static_cast<int>(pods.size()), 4,
                [&](int index) { return client.RemovePod(pods[static_cast<size_t>(index)]); })
      .status();
}

}  // namespace berth::bench
