// Repair: images with damaged layers are forgotten, leftovers removed; nothing that is in use.
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/check/findings.h"
#include "lib/model/ids.h"
#include "lib/runtime/monitor_client.h"

namespace berth::check {

namespace {

using Cure = Finding::Cure;

constexpr absl::Duration kMonitorPatience = absl::Seconds(2);

// The monitor of a container that nobody knows any more answers, or is too busy to: the container
// lives.
bool MonitorLives(const store::Paths& paths, const std::string& id) {
  const absl::Status connected =
      runtime::MonitorConnection::Connect(base::OpContext::WithTimeout(kMonitorPatience),
                                          paths.MonitorSocket(model::ContainerId(id)))
          .status();
  return connected.ok() || absl::IsDeadlineExceeded(connected);
}

class Repairer {
 public:
  Repairer(const CheckDeps& deps, const Survey& survey) : deps_(deps), in_use_(survey.InUse()) {
    for (const model::ContainerRecord& record : survey.records.containers) {
      for (const auto* layers : {&record.layers, &record.volume_layers}) {
        for (const int64_t number : *layers) {
          users_[number].insert(record.id.value());
        }
      }
    }
  }

  absl::Status Forget(std::vector<Finding>& findings) {
    std::set<int64_t> layers;
    std::set<std::string> images;
    for (const Finding& finding : findings) {
      if (finding.cure == Cure::kForgetLayer) {
        layers.insert(finding.layer);
      } else if (finding.cure == Cure::kForgetImage) {
        images.insert(finding.problem.object);
      }
    }
    if (layers.empty() && images.empty()) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(base::Annotate(deps_.forget(layers, images), "forget damaged images"));
    for (Finding& finding : findings) {
      if (finding.cure == Cure::kForgetImage) {
        Done(finding, "the image is forgotten; pull it again");
      } else if (finding.cure == Cure::kForgetLayer) {
        Done(finding, "the images with this layer are forgotten; pull them again");
        if (const auto users = users_.find(finding.layer); users != users_.end()) {
          finding.problem.is_repaired = false;
          finding.problem.advice +=
              fmt::format("; left for container '{}', which stands on it: remove its pod",
                          *users->second.begin());
        }
      }
    }
    return absl::OkStatus();
  }

  void Unmount(Finding& finding) {
    if (IsAlive(finding)) {
      return;
    }
    const absl::Status status = deps_.mounter.Unmount(finding.problem.object, /*detach=*/true);
    status.ok() ? Done(finding, "unmounted") : Left(finding, status);
  }

  void Remove(Finding& finding) {
    if (IsAlive(finding)) {
      return;
    }
    if (finding.layer > 0 && in_use_.contains(finding.layer)) {
      finding.problem.advice =
          "left: a container's root file system stands on it; end the container first";
      return;
    }
    const std::string& path = finding.problem.object;
    absl::Status status = deps_.mounter.MountsUnder(path).status();
    if (const auto mounts = deps_.mounter.MountsUnder(path); mounts.ok()) {
      for (const std::string& mount : *mounts) {
        status = status.ok() ? deps_.mounter.Unmount(mount, /*detach=*/true) : status;
      }
    }
    if (status.ok()) {
      status = base::RemoveTree(path);
    }
    status.ok() ? Done(finding, "removed") : Left(finding, status);
  }

 private:
  bool IsAlive(Finding& finding) const {
    if (finding.owner.empty() || !MonitorLives(deps_.paths, finding.owner)) {
      return false;
    }
    finding.problem.advice = fmt::format(
        "left: container '{}' runs, though the database does not know it; `berthctl wipe --all` "
        "ends it",
        finding.owner);
    return true;
  }
  static void Done(Finding& finding, const char* what) {
    finding.problem.is_repaired = true;
    finding.problem.advice = what;
  }
  static void Left(Finding& finding, const absl::Status& why) {
    finding.problem.advice = "left: " + std::string(why.message());
  }

  const CheckDeps& deps_;
  const std::set<int64_t> in_use_;
  std::map<int64_t, std::set<std::string>> users_;  // containers by layer
};

}  // namespace

absl::Status Repair(const base::OpContext& ctx, const CheckDeps& deps, const Survey& survey,
                    std::vector<Finding>& findings) {
  Repairer repairer(deps, survey);
  RETURN_IF_ERROR(repairer.Forget(findings));
  for (Finding& finding : findings) {
    RETURN_IF_ERROR(ctx.Check());
    if (finding.cure == Cure::kUnmount) {
      repairer.Unmount(finding);
    }
  }
  for (Finding& finding : findings) {
    RETURN_IF_ERROR(ctx.Check());
    if (finding.cure == Cure::kRemove) {
      repairer.Remove(finding);
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::check
