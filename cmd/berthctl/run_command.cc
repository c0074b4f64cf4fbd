#include "cmd/berthctl/run_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "cmd/berthctl/log_decoder.h"
#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/status.h"

namespace berth::berthctl {
namespace {

namespace cri = runtime::v1;

constexpr absl::Duration kCallTimeout = absl::Minutes(4);  // as long as the kubelet waits for a pod
constexpr absl::Duration kCleanupTimeout = absl::Minutes(1);
constexpr int kStopSeconds = 5;  // from SIGTERM to SIGKILL
constexpr char kRunLabel[] = "berth.run/id";
constexpr char kLogName[] = "container.log";

std::optional<int64_t> ParseId(std::string_view text) {
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id > INT32_MAX) {
    return std::nullopt;
  }
  return id;
}

absl::Status SetUser(const std::string& user, cri::LinuxContainerSecurityContext& security) {
  if (user.empty()) {
    return absl::OkStatus();
  }
  const size_t colon = user.find(':');
  const std::string name = user.substr(0, colon);
  if (const std::optional<int64_t> uid = ParseId(name)) {
    security.mutable_run_as_user()->set_value(*uid);
  } else {
    security.set_run_as_username(name);
  }
  if (colon == std::string::npos) {
    return absl::OkStatus();
  }
  const std::optional<int64_t> gid = ParseId(std::string_view(user).substr(colon + 1));
  if (name.empty() || !gid.has_value()) {
    return base::MakeStatus(
        absl::StatusCode::kInvalidArgument,
        fmt::format("user '{}': expected UID, NAME, UID:GID or NAME:GID", user));
  }
  security.mutable_run_as_group()->set_value(*gid);
  return absl::OkStatus();
}

// The same for pod and container.
void SetNamespaces(const RunOptions& options, cri::NamespaceOption& namespaces) {
  namespaces.set_network(options.host_network ? cri::NODE : cri::POD);
  namespaces.set_pid(cri::CONTAINER);
}

// One run. The members are what exists on the node because of it.
class PodRun {
 public:
  PodRun(Client& client, Interrupt& interrupt, const RunOptions& options)
      : client_(client),
        interrupt_(interrupt),
        options_(options),
        decoder_([this](Stream stream, std::string_view text) {
          return base::WriteFd(stream == Stream::kStdout ? options_.stdout_fd : options_.stderr_fd,
                               text);
        }) {}

  absl::StatusOr<int> RunToTheEnd() {
    ASSIGN_OR_RETURN(const cri::ContainerConfig container, MakeContainerConfig(options_));
    RETURN_IF_ERROR(PullIfAbsent(container.image()));
    RETURN_IF_ERROR(MakePod());
    RETURN_IF_ERROR(StartContainer(container));
    return Follow();
  }

  // Removes pod and log. The pod is found by its label, since a call that was cancelled may have
  // made it all the same.
  absl::Status CleanUp() {
    absl::Status result = absl::OkStatus();
    if (may_have_pod_) {
      result = RemovePods();
    }
    if (!log_dir_.empty()) {
      result.Update(base::RemoveTree(log_dir_));
    }
    return result;
  }

 private:
  absl::Status PullIfAbsent(const cri::ImageSpec& image) {
    cri::ImageStatusRequest query;
    *query.mutable_image() = image;
    cri::ImageStatusResponse found;
    RETURN_IF_ERROR(
        client_.Call(fmt::format("look for image '{}'", options_.image), kCallTimeout, &interrupt_,
                     [&](auto* ctx) { return client_.images().ImageStatus(ctx, query, &found); }));
    if (found.has_image()) {
      return absl::OkStatus();
    }
    if (options_.no_pull) {
      return base::MakeStatus(
          absl::StatusCode::kNotFound,
          fmt::format("image '{}' is not on this node; run without --no-pull, or import it",
                      options_.image));
    }
    cri::PullImageRequest request;
    *request.mutable_image() = image;
    cri::PullImageResponse pulled;
    return client_.Call(
        fmt::format("pull image '{}'", options_.image), absl::InfiniteDuration(), &interrupt_,
        [&](auto* ctx) { return client_.images().PullImage(ctx, request, &pulled); });
  }

  absl::Status MakePod() {
    std::string path = "/tmp/berthctl-run-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      return base::ErrnoStatus(errno, fmt::format("make log directory '{}'", path));
    }
    log_dir_ = path;
    pod_.mutable_metadata()->set_name("run-" + run_id_.substr(0, 12));
    pod_.mutable_metadata()->set_namespace_("berthctl");
    pod_.mutable_metadata()->set_uid(run_id_);
    pod_.set_log_directory(log_dir_);
    (*pod_.mutable_labels())[kRunLabel] = run_id_;
    auto& security = *pod_.mutable_linux()->mutable_security_context();
    SetNamespaces(options_, *security.mutable_namespace_options());
    security.mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);

    cri::RunPodSandboxRequest request;
    *request.mutable_config() = pod_;
    request.set_runtime_handler(options_.runtime_handler);
    cri::RunPodSandboxResponse made;
    may_have_pod_ = true;
    RETURN_IF_ERROR(client_.Call("run pod", kCallTimeout, &interrupt_, [&](auto* ctx) {
      return client_.runtime().RunPodSandbox(ctx, request, &made);
    }));
    pod_id_ = made.pod_sandbox_id();
    return absl::OkStatus();
  }

  absl::Status StartContainer(const cri::ContainerConfig& config) {
    cri::CreateContainerRequest create;
    create.set_pod_sandbox_id(pod_id_);
    *create.mutable_config() = config;
    *create.mutable_sandbox_config() = pod_;
    cri::CreateContainerResponse created;
    RETURN_IF_ERROR(client_.Call("create container", kCallTimeout, &interrupt_, [&](auto* ctx) {
      return client_.runtime().CreateContainer(ctx, create, &created);
    }));
    container_id_ = created.container_id();
    cri::StartContainerRequest start;
    start.set_container_id(container_id_);
    cri::StartContainerResponse started;
    return client_.Call("start container", kCallTimeout, &interrupt_, [&](auto* ctx) {
      return client_.runtime().StartContainer(ctx, start, &started);
    });
  }

  // Copies the log until the container has exited. The state is asked for before the log is read:
  // what is in the log of an exited container is all there will be. There is no event to wait for
  // that every runtime serves.
  absl::StatusOr<int> Follow() {
    absl::Duration pause = absl::Milliseconds(5);
    for (;;) {
      cri::ContainerStatusRequest query;
      query.set_container_id(container_id_);
      cri::ContainerStatusResponse answer;
      RETURN_IF_ERROR(client_.Call("watch container", kCallTimeout, &interrupt_, [&](auto* ctx) {
        return client_.runtime().ContainerStatus(ctx, query, &answer);
      }));
      RETURN_IF_ERROR(CopyLog());
      const cri::ContainerStatus& status = answer.status();
      if (status.state() == cri::CONTAINER_EXITED) {
        ReportReason(status);
        return status.exit_code() & 0xff;
      }
      if (status.state() == cri::CONTAINER_UNKNOWN) {
        return base::MakeStatus(absl::StatusCode::kUnknown,
                                "the container is lost: its state is unknown");
      }
      pollfd raised = {interrupt_.fd(), POLLIN, 0};
      poll(&raised, 1, static_cast<int>(absl::ToInt64Milliseconds(pause)));
      pause = std::min(pause * 1.5, absl::Milliseconds(100));
    }
  }

  absl::Status CopyLog() {
    if (!log_fd_.valid()) {
      absl::StatusOr<base::UniqueFd> fd = base::OpenFile(log_dir_ + "/" + kLogName, O_RDONLY);
      if (absl::IsNotFound(fd.status())) {
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(fd.status());
      log_fd_ = *std::move(fd);
    }
    char buffer[32 << 10];
    for (;;) {
      const ssize_t got = read(log_fd_.get(), buffer, sizeof(buffer));
      if (got < 0) {
        return base::ErrnoStatus(errno, "read the container's log");
      }
      if (got == 0) {
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(decoder_.Feed(std::string_view(buffer, static_cast<size_t>(got))));
    }
  }

  void ReportReason(const cri::ContainerStatus& status) const {
    if (status.reason() != "Completed" && status.reason() != "Error" && !status.reason().empty()) {
      Say(fmt::format("the container ended: {}{}{}", status.reason(),
                      status.message().empty() ? "" : ": ", status.message()));
    }
  }

  void Say(const std::string& text) const {
    // Where stderr is gone there is nobody to tell.
    static_cast<void>(base::WriteFd(options_.stderr_fd, "berthctl: " + text + "\n"));
  }

  absl::Status RemovePods() {
    cri::ListPodSandboxRequest query;
    (*query.mutable_filter()->mutable_label_selector())[kRunLabel] = run_id_;
    cri::ListPodSandboxResponse pods;
    RETURN_IF_ERROR(client_.Call("list pods", kCleanupTimeout, nullptr, [&](auto* ctx) {
      return client_.runtime().ListPodSandbox(ctx, query, &pods);
    }));
    if (!container_id_.empty() && interrupt_.signal() != 0) {
      cri::StopContainerRequest stop;
      stop.set_container_id(container_id_);
      stop.set_timeout(kStopSeconds);
      cri::StopContainerResponse stopped;
      // Only to be polite to it: stopping the pod kills what is left.
      static_cast<void>(client_.Call("stop container", kCleanupTimeout, nullptr, [&](auto* ctx) {
        return client_.runtime().StopContainer(ctx, stop, &stopped);
      }));
      static_cast<void>(CopyLog());
    }
    absl::Status result = absl::OkStatus();
    for (const cri::PodSandbox& pod : pods.items()) {
      result.Update(base::Annotate(RemovePod(pod.id()), fmt::format("pod '{}' is left", pod.id())));
    }
    return result;
  }

  absl::Status RemovePod(const std::string& id) {
    cri::StopPodSandboxRequest stop;
    stop.set_pod_sandbox_id(id);
    cri::StopPodSandboxResponse stopped;
    RETURN_IF_ERROR(client_.Call("stop pod", kCleanupTimeout, nullptr, [&](auto* ctx) {
      return client_.runtime().StopPodSandbox(ctx, stop, &stopped);
    }));
    cri::RemovePodSandboxRequest remove;
    remove.set_pod_sandbox_id(id);
    cri::RemovePodSandboxResponse removed;
    return client_.Call("remove pod", kCleanupTimeout, nullptr, [&](auto* ctx) {
      return client_.runtime().RemovePodSandbox(ctx, remove, &removed);
    });
  }

  Client& client_;
  Interrupt& interrupt_;
  const RunOptions& options_;
  LogDecoder decoder_;
  const std::string run_id_ = base::GenerateId();

  std::string log_dir_;
  base::UniqueFd log_fd_;
  cri::PodSandboxConfig pod_;
  bool may_have_pod_ = false;
  std::string pod_id_;
  std::string container_id_;
};

}  // namespace

absl::StatusOr<cri::ContainerConfig> MakeContainerConfig(const RunOptions& options) {
  cri::ContainerConfig config;
  config.mutable_metadata()->set_name("main");
  config.mutable_image()->set_image(options.image);
  config.mutable_image()->set_user_specified_image(options.image);
  config.set_log_path(kLogName);
  for (const std::string& arg : options.args) {
    config.add_args(arg);
  }
  for (const std::string& variable : options.env) {
    const size_t equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) {
      return base::MakeStatus(absl::StatusCode::kInvalidArgument,
                              fmt::format("environment variable '{}': expected K=V", variable));
    }
    cri::KeyValue& env = *config.add_envs();
    env.set_key(variable.substr(0, equals));
    env.set_value(variable.substr(equals + 1));
  }
  auto& security = *config.mutable_linux()->mutable_security_context();
  SetNamespaces(options, *security.mutable_namespace_options());
  security.mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  RETURN_IF_ERROR(SetUser(options.user, security));
  return config;
}

absl::StatusOr<int> Run(Client& client, Interrupt& interrupt, const RunOptions& options) {
  PodRun run(client, interrupt, options);
  absl::StatusOr<int> code = run.RunToTheEnd();
  const absl::Status clean = run.CleanUp();
  if (!clean.ok()) {
    const std::string text = fmt::format("berthctl: clean up: {}\n", std::string(clean.message()));
    static_cast<void>(base::WriteFd(options.stderr_fd, text));
  }
  if (interrupt.signal() != 0) {
    return 128 + interrupt.signal();
  }
  return code;
}

}  // namespace berth::berthctl
