#include "tests/bench/cri_client.h"

#include <fmt/format.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/time/clock.h"

#include "lib/base/id.h"
#include "lib/base/status.h"

namespace berth::bench {
namespace {

namespace cri = runtime::v1;

std::shared_ptr<grpc::Channel> Connect(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // gRPC servers written in Go refuse the socket's path as an authority.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status CheckCount(const char* what, int found, int expected) {
  if (found >= expected) {
    return absl::OkStatus();
  }
  return base::MakeStatus(absl::StatusCode::kDataLoss,
                          fmt::format("{}: {} listed, expected {}", what, found, expected));
}

}  // namespace

CriClient::CriClient(const std::string& endpoint, PodOptions options)
    : options_(std::move(options)), run_id_(base::GenerateId().substr(0, 8)) {
  const std::shared_ptr<grpc::Channel> channel = Connect(endpoint);
  runtime_ = cri::RuntimeService::NewStub(channel);
  images_ = cri::ImageService::NewStub(channel);
}

absl::Status CriClient::Timed(const char* name, Samples* samples,
                              const std::function<grpc::Status(grpc::ClientContext*)>& call) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Minutes(10)));
  const absl::Time start = absl::Now();
  const grpc::Status status = call(&context);
  const absl::Duration duration = absl::Now() - start;
  if (!status.ok()) {
    return base::MakeStatus(static_cast<absl::StatusCode>(status.error_code()),
                            fmt::format("{}: {}", name, status.error_message()));
  }
  if (samples != nullptr) {
    samples->Add(name, duration);
  }
  return absl::OkStatus();
}

absl::StatusOr<cri::VersionResponse> CriClient::Version() {
  cri::VersionResponse response;
  RETURN_IF_ERROR(
      Timed("Version", nullptr, [&](auto* ctx) { return runtime_->Version(ctx, {}, &response); }));
  return response;
}

absl::Status CriClient::NeedImage() {
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(options_.image);
  cri::ImageStatusResponse response;
  RETURN_IF_ERROR(Timed("ImageStatus", nullptr,
                        [&](auto* ctx) { return images_->ImageStatus(ctx, request, &response); }));
  return response.has_image() ? absl::OkStatus() : PullImage(nullptr);
}

cri::PodSandboxConfig CriClient::PodConfig(int index) const {
  cri::PodSandboxConfig config;
  config.mutable_metadata()->set_name(fmt::format("bench-{}-{}", run_id_, index));
  config.mutable_metadata()->set_namespace_(kBenchLabel);
  config.mutable_metadata()->set_uid(fmt::format("{}-{}", run_id_, index));
  config.set_log_directory(options_.log_directory);
  (*config.mutable_labels())[kBenchLabel] = "1";
  if (!options_.host_network) {
    config.set_hostname(fmt::format("bench-{}", index));
  }
  config.mutable_linux()->set_cgroup_parent(options_.cgroup_parent);
  auto& namespaces =
      *config.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  namespaces.set_network(options_.host_network ? cri::NODE : cri::POD);
  namespaces.set_pid(cri::CONTAINER);
  return config;
}

cri::ContainerConfig CriClient::ContainerConfig() const {
  cri::ContainerConfig config;
  config.mutable_metadata()->set_name("main");
  config.mutable_image()->set_image(options_.image);
  for (const char* arg : {"sleep", "86400"}) {
    config.add_command(arg);
  }
  config.mutable_linux()->mutable_resources()->set_memory_limit_in_bytes(options_.memory_bytes);
  auto& namespaces =
      *config.mutable_linux()->mutable_security_context()->mutable_namespace_options();
  namespaces.set_network(options_.host_network ? cri::NODE : cri::POD);
  namespaces.set_pid(cri::CONTAINER);
  return config;
}

absl::StatusOr<Pod> CriClient::Up(int index, Samples* samples) {
  const absl::Time start = absl::Now();
  cri::RunPodSandboxRequest run;
  *run.mutable_config() = PodConfig(index);
  run.set_runtime_handler(options_.handler);
  cri::RunPodSandboxResponse ran;
  RETURN_IF_ERROR(Timed("RunPodSandbox", samples,
                        [&](auto* ctx) { return runtime_->RunPodSandbox(ctx, run, &ran); }));

  cri::CreateContainerRequest create;
  create.set_pod_sandbox_id(ran.pod_sandbox_id());
  *create.mutable_config() = ContainerConfig();
  create.mutable_config()->set_log_path(fmt::format("{}.log", index));
  *create.mutable_sandbox_config() = run.config();
  cri::CreateContainerResponse created;
  RETURN_IF_ERROR(Timed("CreateContainer", samples, [&](auto* ctx) {
    return runtime_->CreateContainer(ctx, create, &created);
  }));

  cri::StartContainerRequest start_request;
  start_request.set_container_id(created.container_id());
  cri::StartContainerResponse started;
  RETURN_IF_ERROR(Timed("StartContainer", samples, [&](auto* ctx) {
    return runtime_->StartContainer(ctx, start_request, &started);
  }));
  if (samples != nullptr) {
    samples->Add("up", absl::Now() - start);
  }
  return Pod{ran.pod_sandbox_id(), created.container_id()};
}

absl::Status CriClient::Down(const Pod& pod, Samples* samples) {
  const absl::Time start = absl::Now();
  cri::StopContainerRequest stop;
  stop.set_container_id(pod.container_id);
  stop.set_timeout(0);
  cri::StopContainerResponse stopped;
  RETURN_IF_ERROR(Timed("StopContainer", samples,
                        [&](auto* ctx) { return runtime_->StopContainer(ctx, stop, &stopped); }));
  cri::RemoveContainerRequest remove;
  remove.set_container_id(pod.container_id);
  cri::RemoveContainerResponse removed;
  RETURN_IF_ERROR(Timed("RemoveContainer", samples, [&](auto* ctx) {
    return runtime_->RemoveContainer(ctx, remove, &removed);
  }));
  cri::StopPodSandboxRequest stop_pod;
  stop_pod.set_pod_sandbox_id(pod.id);
  cri::StopPodSandboxResponse pod_stopped;
  RETURN_IF_ERROR(Timed("StopPodSandbox", samples, [&](auto* ctx) {
    return runtime_->StopPodSandbox(ctx, stop_pod, &pod_stopped);
  }));
  cri::RemovePodSandboxRequest remove_pod;
  remove_pod.set_pod_sandbox_id(pod.id);
  cri::RemovePodSandboxResponse pod_removed;
  RETURN_IF_ERROR(Timed("RemovePodSandbox", samples, [&](auto* ctx) {
    return runtime_->RemovePodSandbox(ctx, remove_pod, &pod_removed);
  }));
  if (samples != nullptr) {
    samples->Add("down", absl::Now() - start);
  }
  return absl::OkStatus();
}

absl::Status CriClient::ExecTrue(const Pod& pod, Samples* samples) {
  cri::ExecSyncRequest request;
  request.set_container_id(pod.container_id);
  request.add_cmd("true");
  request.set_timeout(60);
  cri::ExecSyncResponse response;
  RETURN_IF_ERROR(Timed("ExecSync", samples,
                        [&](auto* ctx) { return runtime_->ExecSync(ctx, request, &response); }));
  if (response.exit_code() != 0) {
    return base::MakeStatus(
        absl::StatusCode::kInternal,
        fmt::format("ExecSync: exit code {}: {}", response.exit_code(), response.stderr()));
  }
  return absl::OkStatus();
}

absl::Status CriClient::ListContainers(int expected, Samples* samples) {
  cri::ListContainersResponse response;
  RETURN_IF_ERROR(Timed("ListContainers", samples,
                        [&](auto* ctx) { return runtime_->ListContainers(ctx, {}, &response); }));
  return CheckCount("ListContainers", response.containers_size(), expected);
}

absl::Status CriClient::ListImages(int expected, Samples* samples) {
  cri::ListImagesResponse response;
  RETURN_IF_ERROR(Timed("ListImages", samples,
                        [&](auto* ctx) { return images_->ListImages(ctx, {}, &response); }));
  return CheckCount("ListImages", response.images_size(), expected);
}

absl::Status CriClient::ListPods(int expected, Samples* samples) {
  cri::ListPodSandboxResponse response;
  RETURN_IF_ERROR(Timed("ListPodSandbox", samples,
                        [&](auto* ctx) { return runtime_->ListPodSandbox(ctx, {}, &response); }));
  return CheckCount("ListPodSandbox", response.items_size(), expected);
}

absl::Status CriClient::ListContainerStats(int expected, Samples* samples) {
  cri::ListContainerStatsResponse response;
  RETURN_IF_ERROR(Timed("ListContainerStats", samples, [&](auto* ctx) {
    return runtime_->ListContainerStats(ctx, {}, &response);
  }));
  return CheckCount("ListContainerStats", response.stats_size(), expected);
}

absl::Status CriClient::ListPodStats(int expected, Samples* samples) {
  cri::ListPodSandboxStatsResponse response;
  RETURN_IF_ERROR(Timed("ListPodSandboxStats", samples, [&](auto* ctx) {
    return runtime_->ListPodSandboxStats(ctx, {}, &response);
  }));
  return CheckCount("ListPodSandboxStats", response.stats_size(), expected);
}

absl::Status CriClient::PullImage(Samples* samples) {
  cri::PullImageRequest request;
  request.mutable_image()->set_image(options_.image);
  cri::PullImageResponse response;
  return Timed("PullImage", samples,
               [&](auto* ctx) { return images_->PullImage(ctx, request, &response); });
}

absl::Status CriClient::RemoveImage(Samples* samples) {
  cri::RemoveImageRequest request;
  request.mutable_image()->set_image(options_.image);
  cri::RemoveImageResponse response;
  return Timed("RemoveImage", samples,
               [&](auto* ctx) { return images_->RemoveImage(ctx, request, &response); });
}

absl::StatusOr<std::vector<std::string>> CriClient::BenchPods() {
  cri::ListPodSandboxRequest request;
  (*request.mutable_filter()->mutable_label_selector())[kBenchLabel] = "1";
  cri::ListPodSandboxResponse response;
  RETURN_IF_ERROR(Timed("ListPodSandbox", nullptr, [&](auto* ctx) {
    return runtime_->ListPodSandbox(ctx, request, &response);
  }));
  std::vector<std::string> ids;
  for (const cri::PodSandbox& pod : response.items()) {
    ids.push_back(pod.id());
  }
  return ids;
}

absl::Status CriClient::RemovePod(const std::string& id) {
  cri::StopPodSandboxRequest stop;
  stop.set_pod_sandbox_id(id);
  cri::StopPodSandboxResponse stopped;
  RETURN_IF_ERROR(Timed("StopPodSandbox", nullptr,
                        [&](auto* ctx) { return runtime_->StopPodSandbox(ctx, stop, &stopped); }));
  cri::RemovePodSandboxRequest remove;
  remove.set_pod_sandbox_id(id);
  cri::RemovePodSandboxResponse removed;
  return Timed("RemovePodSandbox", nullptr,
               [&](auto* ctx) { return runtime_->RemovePodSandbox(ctx, remove, &removed); });
}

}  // namespace berth::bench
