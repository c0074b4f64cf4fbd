#include "daemon/cri/render_sandbox.h"

#include <optional>

#include "fmt/format.h"
#include "google/protobuf/util/json_util.h"

#include "daemon/cri/render_container.h"
#include "daemon/cri/text.h"

namespace berth::cri {

namespace {

void RenderMetadata(const model::SandboxSpec& spec, api::PodSandboxMetadata& metadata) {
  metadata.set_name(spec.name);
  metadata.set_uid(spec.uid);
  metadata.set_namespace_(spec.ns);
  metadata.set_attempt(spec.attempt);
}

// As the CRI's message reads in JSON, so that what the kubelet sent can be compared.
std::string ResourcesJson(const std::optional<model::Resources>& resources) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const bool ok =
      resources &&
      google::protobuf::util::MessageToJsonString(RenderResources(*resources), &json, options).ok();
  return ok ? json : "null";
}

api::NamespaceMode RenderMode(model::NamespaceMode mode) {
  switch (mode) {
    case model::NamespaceMode::kPod:
      return api::POD;
    case model::NamespaceMode::kContainer:
      return api::CONTAINER;
    case model::NamespaceMode::kNode:
      return api::NODE;
    case model::NamespaceMode::kTarget:
      return api::TARGET;
  }
  return api::POD;
}

}  // namespace

api::PodSandboxState RenderState(model::SandboxState state) {
  return state == model::SandboxState::kReady ? api::SANDBOX_READY : api::SANDBOX_NOTREADY;
}

api::NamespaceOption RenderNamespaces(const model::NamespaceOptions& options) {
  api::NamespaceOption result;
  result.set_network(RenderMode(options.network));
  result.set_pid(RenderMode(options.pid));
  result.set_ipc(RenderMode(options.ipc));
  result.set_target_id(options.target_id);
  api::UserNamespace& user = *result.mutable_userns_options();
  user.set_mode(RenderMode(options.user.value_or(model::NamespaceMode::kNode)));
  RenderIdMappings(options.uids, *user.mutable_uids());
  RenderIdMappings(options.gids, *user.mutable_gids());
  return result;
}

api::PodSandbox RenderSandbox(const model::SandboxRecord& record) {
  api::PodSandbox result;
  result.set_id(record.id.value());
  RenderMetadata(record.spec, *result.mutable_metadata());
  result.set_state(RenderState(record.state));
  result.set_created_at(record.created_ns);
  result.mutable_labels()->insert(record.spec.labels.begin(), record.spec.labels.end());
  result.mutable_annotations()->insert(record.spec.annotations.begin(),
                                       record.spec.annotations.end());
  result.set_runtime_handler(record.spec.runtime_handler);
  return result;
}

api::PodSandboxStatus RenderSandboxStatus(const model::SandboxRecord& record) {
  api::PodSandboxStatus result;
  result.set_id(record.id.value());
  RenderMetadata(record.spec, *result.mutable_metadata());
  result.set_state(RenderState(record.state));
  result.set_created_at(record.created_ns);
  api::PodSandboxNetworkStatus& network = *result.mutable_network();
  if (record.spec.namespaces.network != model::NamespaceMode::kNode && !record.ips.empty()) {
    network.set_ip(record.ips[0]);
    for (size_t i = 1; i < record.ips.size(); ++i) {
      network.add_additional_ips()->set_ip(record.ips[i]);
    }
  }
  *result.mutable_linux()->mutable_namespaces()->mutable_options() =
      RenderNamespaces(record.spec.namespaces);
  result.mutable_labels()->insert(record.spec.labels.begin(), record.spec.labels.end());
  result.mutable_annotations()->insert(record.spec.annotations.begin(),
                                       record.spec.annotations.end());
  result.set_runtime_handler(record.spec.runtime_handler);
  return result;
}

std::string SandboxInfo(const model::SandboxRecord& record) {
  return fmt::format(
      R"({{"pid":{},"hostname":{},"cgroup":{},"runtimeHandler":{},"cniAttachment":{},)"
      R"("overhead":{},"resources":{}}})",
      record.pause_pid, JsonString(record.hostname), JsonString(record.cgroup),
      JsonString(record.spec.runtime_handler),
      record.cni_attachment.empty() ? "null" : record.cni_attachment,
      ResourcesJson(record.spec.overhead), ResourcesJson(record.spec.resources));
}

}  // namespace berth::cri
