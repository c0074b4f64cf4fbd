#include "daemon/cri/list_filter.h"

#include <algorithm>

#include "daemon/cri/fields.h"
#include "daemon/cri/render_container.h"
#include "daemon/cri/render_sandbox.h"

namespace berth::cri {

namespace {

using Labels = std::map<std::string, std::string>;

bool HasAll(const Labels& labels, const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& label) {
    const auto it = labels.find(label.first);
    return it != labels.end() && it->second == label.second;
  });
}

}  // namespace

absl::StatusOr<SandboxFilter> ParseFilter(const api::PodSandboxFilter& filter) {
  SandboxFilter result;
  result.labels = Labels(filter.label_selector().begin(), filter.label_selector().end());
  if (filter.has_state()) {
    if (!api::PodSandboxState_IsValid(filter.state().state())) {
      return FieldError("filter.state", "has an unknown value");
    }
    result.state = filter.state().state();
  }
  return result;
}

absl::StatusOr<ContainerFilter> ParseFilter(const api::ContainerFilter& filter) {
  ContainerFilter result;
  result.labels = Labels(filter.label_selector().begin(), filter.label_selector().end());
  if (filter.has_state()) {
    if (!api::ContainerState_IsValid(filter.state().state())) {
      return FieldError("filter.state", "has an unknown value");
    }
    result.state = filter.state().state();
  }
  return result;
}

bool Matches(const SandboxFilter& filter, const model::SandboxRecord& record) {
  return (!filter.id || *filter.id == record.id.value()) &&
         (!filter.state || *filter.state == RenderState(record.state)) &&
         HasAll(record.spec.labels, filter.labels);
}

bool Matches(const ContainerFilter& filter, const model::ContainerRecord& record) {
  return (!filter.id || *filter.id == record.id.value()) &&
         (!filter.sandbox_id || *filter.sandbox_id == record.sandbox_id.value()) &&
         (!filter.state || *filter.state == RenderState(record.state())) &&
         HasAll(record.spec.labels, filter.labels);
}

}  // namespace berth::cri
