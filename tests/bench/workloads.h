// The workloads of berth-bench. Each makes what it needs, times what it is about, and leaves the
// removal to RemoveAll.
#pragma once

#include <atomic>
#include <string>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

#include "tests/bench/cri_client.h"
#include "tests/bench/samples.h"

namespace berth::bench {

struct WorkloadOptions {
  std::string name;  // lifecycle, exec, list, stats, images, pull, fill, clean
  int n = 30;        // samples of each operation
  int parallel = 1;  // workers
  int pods = 100;    // that exist while lists and stats are asked for; that fill leaves
  int images = 500;  // that exist
  int warmup = 1;    // rounds before, not counted
};

// Set by a signal: workers stop after what they are doing, and the run fails with kCancelled.
extern std::atomic<bool> stop_requested;

// Runs one workload into `samples`; returns rates (name -> per second). Errors: the first one of
// any worker.
absl::StatusOr<nlohmann::ordered_json> RunWorkload(CriClient& client,
                                                   const WorkloadOptions& options,
                                                   Samples& samples);

// Removes every pod of berth-bench on the endpoint, four at a time.
absl::Status RemoveAll(CriClient& client);

}  // namespace berth::bench
