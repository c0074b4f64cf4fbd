// What a start of the daemon finds: half-made pods, and ready ones whose pauses are watched again;
// and the watch itself, which every ready pod has.
#include <sys/epoll.h>
#include <sys/wait.h>

#include <thread>

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/cni/orphans.h"
#include "lib/sandbox/sandbox.h"
#include "lib/sandbox/sandbox_service.h"

namespace berth::sandbox {

namespace {

// What the clean-up at start may take, of all pods together: nothing is served until then.
constexpr absl::Duration kRecoverBudget = absl::Seconds(20);
// For plugins that a killed berthd left at work.
constexpr absl::Duration kOrphanBudget = absl::Seconds(10);

}  // namespace

void SandboxService::Recover(std::vector<model::SandboxRecord> records) {
  for (const model::SandboxRecord& record : records) {
    networks_.Remember(record);
  }
  // Side by side: a plugin that hangs for one pod must not add up with another's.
  const base::OpContext ctx = base::OpContext::WithTimeout(kRecoverBudget);
  std::vector<char> gone(records.size(), 0);
  std::vector<std::thread> undoing;
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].state == model::SandboxState::kCreating) {
      undoing.emplace_back([this, &ctx, &record = records[i], &done = gone[i]] {
        done = UndoHalfMade(ctx, record) ? 1 : 0;
      });
    }
  }
  for (std::thread& thread : undoing) {
    thread.join();
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (gone[i] != 0) {
      continue;
    }
    model::SandboxRecord& record = records[i];
    const model::SandboxId id = record.id;
    deps_.selinux.KeepLevel(record.spec.selinux.level);
    const std::string name = record.spec.FullName();
    const bool ready = record.state == model::SandboxState::kReady;
    auto sandbox = std::make_shared<Sandbox>(std::move(record));
    index_.Insert(id.value(), name, sandbox);
    if (ready) {
      WatchPause(sandbox);
    }
  }
}

// False: something is left, and it is kept, so that RemovePodSandbox can try again, and the next
// start.
bool SandboxService::UndoHalfMade(const base::OpContext& ctx, model::SandboxRecord& record) {
  const model::SandboxId id = record.id;
  const absl::Status quiet = cni::AwaitOrphans(ctx.Within(kOrphanBudget), id.value());
  if (!quiet.ok()) {
    base::Log("sandbox").warn(
        "undoing a half-made pod sandbox all the same sandbox={} error=\"{}\"", id.Short(),
        quiet.ToString());
  }
  const absl::Status undone = TearDown(ctx, record);
  if (!undone.ok()) {
    base::Log("sandbox").warn(
        "half-made pod sandbox is not wholly removed, listing it as not ready sandbox={} "
        "error=\"{}\"",
        id.Short(), undone.ToString());
    return false;
  }
  base::Log("sandbox").info("half-made pod sandbox removed sandbox={}", id.Short());
  if (absl::Status status = deps_.records.Remove(id); !status.ok()) {
    base::Log("sandbox").warn("cannot forget a half-made pod sandbox sandbox={} error=\"{}\"",
                              id.Short(), status.ToString());
  }
  return true;
}

void SandboxService::WatchPause(const Ptr& sandbox) {
  const SandboxPtr record = sandbox->record();
  absl::StatusOr<base::UniqueFd> opened =
      netns::OpenProcess(record->pause_pid, record->pause_start);
  if (!opened.ok()) {
    base::Log("sandbox").warn("the pause of a pod is gone, the pod is not ready sandbox={}",
                              sandbox->id().Short());
    sandbox->MarkNotReady();
    return;
  }
  const int pidfd = sandbox->KeepPidfd(*std::move(opened));
  const absl::Status watched =
      deps_.loop.Watch(pidfd, EPOLLIN, [this, weak = std::weak_ptr<Sandbox>(sandbox)](uint32_t) {
        const Ptr dead = weak.lock();
        base::UniqueFd fd = dead == nullptr ? base::UniqueFd() : dead->TakePidfd();
        if (!fd) {
          return;  // Stop or the destructor has taken it and unwatches it
        }
        deps_.loop.Unwatch(fd.get());
        siginfo_t info = {};
        ::waitid(P_PIDFD, static_cast<id_t>(fd.get()), &info,
                 WEXITED | WNOHANG);  // after a restart it is not our child
        deps_.events.Publish(events::EventType::kStopped, dead->id().value(), dead->id(),
                             [&] { return dead->MarkNotReady(); });
        base::Log("sandbox").warn("the pause of a pod has ended, the pod is not ready sandbox={}",
                                  dead->id().Short());
      });
  if (!watched.ok()) {
    base::Log("sandbox").warn(
        "cannot watch the pause of a pod, its end will be noticed at the next start sandbox={} "
        "error=\"{}\"",
        sandbox->id().Short(), watched.ToString());
  }
}

}  // namespace berth::sandbox
