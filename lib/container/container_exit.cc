// How containers end, and how the daemon hears of it.
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/container/container.h"
#include "lib/container/container_service.h"
#include "lib/netns/pause_launcher.h"

namespace berth::container {

namespace {

// What is reported when nobody saw the exit code.
constexpr int kLostExitCode = 255;
constexpr absl::Duration kKillAgain = absl::Seconds(2);
// For callers without a deadline: a process that SIGKILL does not end in this time hangs in the
// kernel.
constexpr absl::Duration kKillBudget = absl::Seconds(30);

// For the processes that an exited container leaves in a PID namespace that is not its own.
constexpr absl::Duration kLeftoverBudget = absl::Seconds(10);

runtime::ExitRecord Lost() {
  runtime::ExitRecord exit;
  exit.code = kLostExitCode;
  exit.exit_time = absl::Now();
  return exit;
}

}  // namespace

// Event loop.
void ContainerService::OnMonitorGone(const std::string& id) {
  Ptr container;
  {
    base::MutexLock lock(early_mu_);
    absl::StatusOr<Ptr> found = index_.Find(id);
    if (!found.ok()) {
      early_gone_.insert(id);
      return;
    }
    container = *std::move(found);
  }
  HandleMonitorGone(container);
}

void ContainerService::HandleMonitorGone(const Ptr& container) {
  const absl::StatusOr<runtime::ExitRecord> exit =
      runtime::ReadExitRecord(deps_.paths.ExitRecord(container->id()));
  if (exit.ok()) {
    Finish(container, *exit, "");
    return;
  }
  base::Log("container")
      .warn(
          "a monitor ended without an exit record: the container's log and exit code are lost "
          "container={} error=\"{}\"",
          container->id().Short(), exit.status().ToString());
  WatchOrphan(container);
}

// The container of a killed monitor runs on; its end can still be seen, its exit code cannot.
void ContainerService::WatchOrphan(const Ptr& container) {
  const ContainerPtr record = container->record();
  constexpr std::string_view kWhy =
      "the container's monitor was killed: its exit code is not known";
  absl::StatusOr<base::UniqueFd> opened = netns::OpenProcess(record->pid, record->pid_start);
  if (!opened.ok()) {
    Finish(container, Lost(), std::string(kWhy));
    return;
  }
  const int pidfd = container->KeepOrphan(*std::move(opened));
  const absl::Status watched = deps_.loop.Watch(
      pidfd, EPOLLIN, [this, weak = std::weak_ptr<Container>(container), kWhy](uint32_t) {
        const Ptr dead = weak.lock();
        const base::UniqueFd fd = dead == nullptr ? base::UniqueFd() : dead->TakeOrphan();
        if (!fd) {
          return;
        }
        deps_.loop.Unwatch(fd.get());
        Finish(dead, Lost(), std::string(kWhy));
      });
  if (!watched.ok()) {
    base::Log("container")
        .error(
            "cannot watch a container without monitor, it will seem to run until berthd is "
            "restarted container={} error=\"{}\"",
            container->id().Short(), watched.ToString());
  }
}

void ContainerService::Finish(const Ptr& container, const runtime::ExitRecord& exit,
                              const std::string& message) {
  bool first = false;
  deps_.events.Publish(
      events::EventType::kStopped, container->id().value(), container->record()->sandbox_id, [&] {
        first = container->UpdateExit([&](model::ContainerRecord& record) {
          record.finished_ns = std::max<int64_t>(1, absl::ToUnixNanos(exit.exit_time));
          if (record.started_ns != 0) {
            // It may have ended before its start was written down.
            record.started_ns = std::min(record.started_ns, record.finished_ns);
          }
          record.exit_code = exit.Combined();
          record.oom_killed = exit.oom_killed;
          record.lost_log_bytes = exit.lost_log_bytes;
          record.message = message;
        });
        return first && !container->starting();
      });
  if (!first) {
    return;
  }
  base::Log("container")
      .info("container exited container={} code={} oom={}", container->id().Short(),
            exit.Combined(), exit.oom_killed);
  if (exit.lost_log_bytes != 0) {
    base::Log("container")
        .warn("part of a container's output could not be written to its log container={} bytes={}",
              container->id().Short(), exit.lost_log_bytes);
  }
  persist_queue_.Add([this, container] {
    if (absl::Status status = Persist(*container); !status.ok()) {
      base::Log("container")
          .warn(
              "an exit is not in the database yet; the monitor's record has it container={} "
              "error=\"{}\"",
              container->id().Short(), status.ToString());
    }
    const absl::Status killed =
        KillLeftovers(base::OpContext::WithTimeout(kLeftoverBudget), *container->record());
    if (!killed.ok()) {
      base::Log("container")
          .warn("processes of an exited container may still run container={} error=\"{}\"",
                container->id().Short(), killed.ToString());
    }
  });
}

// The stop deadline's own kill, for when no caller waits for it.
base::EventLoop::TimerId ContainerService::KillAfter(const Ptr& container, absl::Duration grace) {
  return deps_.loop.After(grace, [this, weak = std::weak_ptr<Container>(container)] {
    const Ptr late = weak.lock();
    if (late == nullptr || late->exited()) {
      return;
    }
    if (absl::Status status = Signal(*late->record(), SIGKILL); !status.ok()) {
      base::Log("container")
          .warn("cannot kill a container at the end of its grace period container={} error=\"{}\"",
                late->id().Short(), status.ToString());
    }
  });
}

absl::Status ContainerService::Persist(Container& container) {
  base::MutexLock lock(container.persist_mu());
  return container.removed() ? absl::OkStatus() : deps_.records.Put(*container.record());
}

absl::Status ContainerService::Signal(const model::ContainerRecord& record, int signal) const {
  const absl::StatusOr<base::UniqueFd> pidfd = netns::OpenProcess(record.pid, record.pid_start);
  if (absl::IsNotFound(pidfd.status())) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(pidfd.status());
  if (::syscall(SYS_pidfd_send_signal, pidfd->get(), signal, nullptr, 0) != 0 && errno != ESRCH) {
    return base::ErrnoStatus(errno,
                             fmt::format("send signal {} to process {}", signal, record.pid));
  }
  return absl::OkStatus();
}

absl::Status ContainerService::KillAndWait(const base::OpContext& ctx, const Ptr& container) {
  const base::OpContext bounded = ctx.Within(kKillBudget);
  container->RequestStop(absl::InfinitePast());
  absl::Time again = absl::InfinitePast();
  while (true) {
    switch (container->AwaitExit(bounded, again)) {
      case Container::Woken::kExited:
        return KillLeftovers(bounded, *container->record());
      case Container::Woken::kCallerGone:
        return base::Annotate(bounded.Check(), fmt::format("process {} does not end on SIGKILL",
                                                           container->record()->pid));
      case Container::Woken::kStopDeadline:
        RETURN_IF_ERROR(Signal(*container->record(), SIGKILL));
        again = absl::Now() + kKillAgain;
        break;
    }
  }
}

// A container with a PID namespace of its own ends with its first process; in a shared one the
// others live on.
absl::Status ContainerService::KillLeftovers(const base::OpContext& ctx,
                                             const model::ContainerRecord& record) const {
  if (record.spec.security.namespaces.pid == model::NamespaceMode::kContainer) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(
      const std::string cgroup,
      cgroup::CgroupOf(deps_.cgroups.driver(), record.cgroup_parent, record.id.value()));
  return deps_.cgroups.hierarchy().KillAll(ctx, cgroup);
}

}  // namespace berth::container
