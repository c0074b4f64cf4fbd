#include "daemon/cri/render_node.h"

#include <string_view>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "daemon/cri/text.h"

namespace berth::cri {

namespace {

void AddHandler(const std::string& name, const runtime::HandlerFeatures& features,
                bool node_has_user_namespaces, api::StatusResponse& response) {
  api::RuntimeHandler& handler = *response.add_runtime_handlers();
  handler.set_name(name);
  handler.mutable_features()->set_recursive_read_only_mounts(features.recursive_read_only);
  handler.mutable_features()->set_user_namespaces(features.user_namespaces &&
                                                  node_has_user_namespaces);
}

}  // namespace

api::RuntimeStatus RenderConditions(const absl::Status& network) {
  api::RuntimeStatus result;
  api::RuntimeCondition& runtime_ready = *result.add_conditions();
  runtime_ready.set_type("RuntimeReady");
  runtime_ready.set_status(true);
  api::RuntimeCondition& network_ready = *result.add_conditions();
  network_ready.set_type("NetworkReady");
  network_ready.set_status(network.ok());
  if (!network.ok()) {
    network_ready.set_reason("NetworkPluginNotReady");
    network_ready.set_message(
        ToUtf8(std::string_view(network.message().data(), network.message().size())));
  }
  return result;
}

void RenderHandlers(const runtime::RuntimeHandlers& handlers, bool node_has_user_namespaces,
                    api::StatusResponse& response) {
  AddHandler("", handlers.default_handler().features, node_has_user_namespaces, response);
  for (const runtime::Handler& handler : handlers.handlers()) {
    AddHandler(handler.name, handler.features, node_has_user_namespaces, response);
  }
}

std::string HandlersJson(const runtime::RuntimeHandlers& handlers) {
  std::vector<std::string> items;
  for (const runtime::Handler& handler : handlers.handlers()) {
    std::vector<std::string> options;
    for (const std::string& option : handler.options) {
      options.push_back(JsonString(option));
    }
    items.push_back(fmt::format(
        R"({{"name":{},"path":{},"root":{},"options":[{}],"version":{},)"
        R"("features":{{"recursiveReadOnlyMounts":{},"idmapMounts":{},"userNamespaces":{}}}}})",
        JsonString(handler.name), JsonString(handler.path), JsonString(handler.root),
        fmt::join(options, ","), JsonString(handler.version), handler.features.recursive_read_only,
        handler.features.idmap_mounts, handler.features.user_namespaces));
  }
  for (const runtime::BrokenHandler& handler : handlers.broken()) {
    items.push_back(fmt::format(R"({{"name":{},"error":{}}})", JsonString(handler.name),
                                JsonString(std::string_view(handler.error.message().data(),
                                                            handler.error.message().size()))));
  }
  return fmt::format("[{}]", fmt::join(items, ","));
}

api::RuntimeFeatures RenderFeatures(bool node_has_user_namespaces) {
  api::RuntimeFeatures features;
  features.set_supplemental_groups_policy(true);
  features.set_user_namespaces_host_network(node_has_user_namespaces);
  features.set_mount_options(true);
  return features;
}

api::CgroupDriver RenderDriver(cgroup::Driver driver) {
  return driver == cgroup::Driver::kSystemd ? api::SYSTEMD : api::CGROUPFS;
}

}  // namespace berth::cri
