// CriClient: the calls that berth-bench times, to any CRI v1 endpoint. Each is timed under its
// RPC's name.
//
// Threads: thread-safe. Every pod carries the label kBenchLabel, by which RemoveAll finds it, also
// those of an earlier run.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "runtime/v1/api.grpc.pb.h"
#include "tests/bench/samples.h"

namespace berth::bench {

inline constexpr char kBenchLabel[] = "berth-bench";

struct PodOptions {
  std::string image;
  std::string handler;
  std::string cgroup_parent;
  std::string log_directory;
  int64_t memory_bytes = 64 << 20;  // limit of each container; 0: none
  bool host_network = false;
};

struct Pod {
  std::string id;
  std::string container_id;
};

class CriClient {
 public:
  // `endpoint`: unix:///PATH. `samples` may be null: nothing is timed.
  CriClient(const std::string& endpoint, PodOptions options);

  absl::StatusOr<runtime::v1::VersionResponse> Version();
  // Pulls the image unless it is there.
  absl::Status NeedImage();

  // A pod with one running container, number `index` of this run; timed in parts and as "up".
  absl::StatusOr<Pod> Up(int index, Samples* samples);
  // Stops (at once) and removes it; timed in parts and as "down".
  absl::Status Down(const Pod& pod, Samples* samples);

  absl::Status ExecTrue(const Pod& pod, Samples* samples);
  // kDataLoss when fewer than `expected` are listed.
  absl::Status ListContainers(int expected, Samples* samples);
  absl::Status ListImages(int expected, Samples* samples);
  absl::Status ListPods(int expected, Samples* samples);
  absl::Status ListContainerStats(int expected, Samples* samples);
  absl::Status ListPodStats(int expected, Samples* samples);
  absl::Status PullImage(Samples* samples);
  absl::Status RemoveImage(Samples* samples);

  // Ids of all pods with the label.
  absl::StatusOr<std::vector<std::string>> BenchPods();
  absl::Status RemovePod(const std::string& id);

 private:
  absl::Status Timed(const char* name, Samples* samples,
                     const std::function<grpc::Status(grpc::ClientContext*)>& call);
  runtime::v1::PodSandboxConfig PodConfig(int index) const;
  runtime::v1::ContainerConfig ContainerConfig() const;

  const PodOptions options_;
  const std::string run_id_;
  std::unique_ptr<runtime::v1::RuntimeService::Stub> runtime_;
  std::unique_ptr<runtime::v1::ImageService::Stub> images_;
};

}  // namespace berth::bench
