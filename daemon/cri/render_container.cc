#include "daemon/cri/render_container.h"

#include "fmt/format.h"

#include "daemon/cri/signal_map.h"
#include "daemon/cri/text.h"

namespace berth::cri {

namespace {

void RenderImageOf(const model::ContainerRecord& record, const model::ImageRecord* image,
                   api::ContainerStatus& status) {
  const model::ContainerSpec& spec = record.spec;
  api::ImageSpec& out = *status.mutable_image();
  out.set_image(image != nullptr && !image->repo_tags.empty() ? image->repo_tags[0] : spec.image);
  out.set_user_specified_image(spec.user_specified_image);
  out.mutable_annotations()->insert(spec.image_annotations.begin(), spec.image_annotations.end());
  status.set_image_ref(image != nullptr && !image->repo_digests.empty() ? image->repo_digests[0]
                                                                        : record.image_id);
  status.set_image_id(record.image_id);
}

void RenderMount(const model::MountSpec& mount, api::Mount& out) {
  out.set_container_path(mount.container_path);
  out.set_host_path(mount.host_path);
  out.set_readonly(mount.readonly);
  out.set_selinux_relabel(mount.selinux_relabel);
  out.set_propagation(static_cast<api::MountPropagation>(mount.propagation));
  RenderIdMappings(mount.uid_mappings, *out.mutable_uidmappings());
  RenderIdMappings(mount.gid_mappings, *out.mutable_gidmappings());
  out.set_recursive_read_only(mount.recursive_readonly);
  if (!mount.image.empty()) {
    out.mutable_image()->set_image(mount.image);
    out.set_image_sub_path(mount.image_sub_path);
  }
  for (const std::string& option : mount.options) {
    out.add_mount_options(option);
  }
}

void RenderUser(const model::ContainerUser& user, api::LinuxContainerUser& out) {
  out.set_uid(user.uid);
  out.set_gid(user.gid);
  for (const int64_t group : user.supplemental_groups) {
    out.add_supplemental_groups(group);
  }
}

void RenderMetadata(const model::ContainerSpec& spec, api::ContainerMetadata& metadata) {
  metadata.set_name(spec.name);
  metadata.set_attempt(spec.attempt);
}

}  // namespace

void RenderIdMappings(const std::vector<model::IdMapping>& mappings,
                      google::protobuf::RepeatedPtrField<api::IDMapping>& out) {
  for (const model::IdMapping& mapping : mappings) {
    api::IDMapping& added = *out.Add();
    added.set_host_id(mapping.host_id);
    added.set_container_id(mapping.container_id);
    added.set_length(mapping.length);
  }
}

api::ContainerState RenderState(model::ContainerState state) {
  switch (state) {
    case model::ContainerState::kCreating:
    case model::ContainerState::kCreated:
      return api::CONTAINER_CREATED;
    case model::ContainerState::kRunning:
      return api::CONTAINER_RUNNING;
    case model::ContainerState::kExited:
      return api::CONTAINER_EXITED;
  }
  return api::CONTAINER_UNKNOWN;
}

api::LinuxContainerResources RenderResources(const model::Resources& resources) {
  api::LinuxContainerResources result;
  result.set_cpu_period(resources.cpu_period);
  result.set_cpu_quota(resources.cpu_quota);
  result.set_cpu_shares(resources.cpu_shares);
  result.set_memory_limit_in_bytes(resources.memory_limit_bytes);
  result.set_memory_swap_limit_in_bytes(resources.memory_swap_limit_bytes);
  result.set_oom_score_adj(resources.oom_score_adj);
  result.set_cpuset_cpus(resources.cpuset_cpus);
  result.set_cpuset_mems(resources.cpuset_mems);
  for (const model::HugepageLimit& limit : resources.hugepage_limits) {
    api::HugepageLimit& added = *result.add_hugepage_limits();
    added.set_page_size(limit.page_size);
    added.set_limit(limit.limit);
  }
  result.mutable_unified()->insert(resources.unified.begin(), resources.unified.end());
  return result;
}

std::string ReasonOf(const model::ContainerRecord& record) {
  if (!record.reason.empty() || record.state() != model::ContainerState::kExited) {
    return record.reason;
  }
  if (record.oom_killed) {
    return "OOMKilled";
  }
  return record.exit_code == 0 ? "Completed" : "Error";
}

api::Container RenderContainer(const model::ContainerRecord& record) {
  const model::ContainerSpec& spec = record.spec;
  api::Container result;
  result.set_id(record.id.value());
  result.set_pod_sandbox_id(record.sandbox_id.value());
  RenderMetadata(spec, *result.mutable_metadata());
  api::ImageSpec& image = *result.mutable_image();
  image.set_image(spec.image);
  image.set_user_specified_image(spec.user_specified_image);
  image.mutable_annotations()->insert(spec.image_annotations.begin(), spec.image_annotations.end());
  result.set_image_ref(record.image_id);
  result.set_image_id(record.image_id);
  result.set_state(RenderState(record.state()));
  result.set_created_at(record.created_ns);
  result.mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
  result.mutable_annotations()->insert(spec.annotations.begin(), spec.annotations.end());
  return result;
}

api::ContainerStatus RenderContainerStatus(const model::ContainerRecord& record,
                                           const model::ImageRecord* image) {
  const model::ContainerSpec& spec = record.spec;
  api::ContainerStatus result;
  result.set_id(record.id.value());
  RenderMetadata(spec, *result.mutable_metadata());
  result.set_state(RenderState(record.state()));
  result.set_created_at(record.created_ns);
  result.set_started_at(record.started_ns);
  result.set_finished_at(record.finished_ns);
  if (record.state() == model::ContainerState::kExited) {
    result.set_exit_code(record.exit_code);
  }
  RenderImageOf(record, image, result);
  result.set_reason(ToUtf8(ReasonOf(record)));
  result.set_message(ToUtf8(record.message));
  result.mutable_labels()->insert(spec.labels.begin(), spec.labels.end());
  result.mutable_annotations()->insert(spec.annotations.begin(), spec.annotations.end());
  for (const model::MountSpec& mount : spec.mounts) {
    RenderMount(mount, *result.add_mounts());
  }
  result.set_log_path(record.log_path);
  *result.mutable_resources()->mutable_linux() = RenderResources(spec.resources);
  RenderUser(record.user, *result.mutable_user()->mutable_linux());
  result.set_stop_signal(RenderSignal(record.stop_signal));
  return result;
}

std::string ContainerInfo(const model::ContainerRecord& record, std::string_view runtime_spec,
                          std::optional<uint64_t> lost_log_bytes) {
  const bool lives = record.state() != model::ContainerState::kExited;
  std::string annotations;
  for (const auto& [key, value] : record.update_annotations) {
    annotations +=
        fmt::format("{}{}:{}", annotations.empty() ? "" : ",", JsonString(key), JsonString(value));
  }
  return fmt::format(
      R"({{"sandboxID":{},"pid":{},"runtimeSpec":{},"privileged":{},"lostLogBytes":{},"updateAnnotations":{{{}}}}})",
      JsonString(record.sandbox_id.value()), lives ? record.pid : 0,
      runtime_spec.empty() ? "null" : runtime_spec, record.spec.security.privileged,
      lost_log_bytes ? fmt::format("{}", *lost_log_bytes) : "null", annotations);
}

}  // namespace berth::cri
