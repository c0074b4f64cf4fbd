#include "lib/cni/cni_invoker.h"

#include <signal.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/cni/capabilities.h"
#include "lib/cni/json.h"
#include "lib/cni/network_configs.h"

namespace berth::cni {

namespace {

// Error codes of the specification that tell the caller what to do.
constexpr int kIncompatibleVersion = 1;
constexpr int kUnsupportedField = 2;
constexpr int kUnknownContainer = 3;
constexpr int kInvalidEnvironment = 4;
constexpr int kInvalidConfig = 7;
constexpr int kTryAgainLater = 11;
constexpr int kNotAvailable = 50;
constexpr int kLimitedConnectivity = 51;

absl::StatusCode CodeFor(int plugin_code) {
  switch (plugin_code) {
    case kTryAgainLater:
    case kNotAvailable:
    case kLimitedConnectivity:
      return absl::StatusCode::kUnavailable;
    case kIncompatibleVersion:
    case kUnsupportedField:
    case kInvalidEnvironment:
    case kInvalidConfig:
      return absl::StatusCode::kFailedPrecondition;
    case kUnknownContainer:
      return absl::StatusCode::kNotFound;
    default:
      return absl::StatusCode::kInternal;
  }
}

// What a plugin that ended badly has to say for itself.
absl::Status FailureOf(const base::RunResult& run) {
  if (run.exit.signal != 0) {
    return absl::InternalError(fmt::format("killed by signal {}", run.exit.signal));
  }
  if (const std::optional<PluginError> error = ParsePluginError(run.out); error.has_value()) {
    const std::string details = error->details.empty() ? "" : fmt::format(": {}", error->details);
    return base::MakeStatus(CodeFor(error->code), fmt::format("{}{} (cni code {})", error->message,
                                                              details, error->code));
  }
  const std::string said = Excerpt(run.err.empty() ? run.out : run.err);
  return absl::InternalError(said.empty()
                                 ? fmt::format("exited with {} and said nothing", run.exit.code)
                                 : fmt::format("exited with {}: {}", run.exit.code, said));
}

// The stdin of one plugin. CNI spec 1.1 section 3, "Deriving execution configuration from plugin
// configuration".
absl::StatusOr<std::string> PluginInput(const NetworkConfig& network, const PluginConfig& plugin,
                                        const std::string& capability_args,
                                        const std::string& previous,
                                        const std::function<void(Json&)>& add = {}) {
  ASSIGN_OR_RETURN(Json input, ParseJsonObject(plugin.json));
  input["name"] = network.name;
  input["cniVersion"] = network.cni_version;
  input.erase("capabilities");
  input.erase("cniVersions");
  if (!plugin.capabilities.empty() && !capability_args.empty()) {
    ASSIGN_OR_RETURN(const Json given, ParseJsonObject(capability_args));
    Json runtime_config = Json::object();
    for (const std::string& capability : plugin.capabilities) {
      if (const Json* argument = FindMember(given, capability.c_str()); argument != nullptr) {
        runtime_config[capability] = *argument;
      }
    }
    if (!runtime_config.empty()) {
      input["runtimeConfig"] = std::move(runtime_config);
    }
  }
  if (!previous.empty()) {
    ASSIGN_OR_RETURN(input["prevResult"], ParseJsonObject(previous));
  }
  if (add) {
    add(input);
  }
  return DumpJson(input);
}

// The attachment's network as it was at ADD.
absl::StatusOr<NetworkConfig> NetworkOf(const Attachment& attachment) {
  absl::StatusOr<NetworkConfig> network = ParseNetworkConfig(attachment.config_bytes);
  if (!network.ok()) {
    return base::MakeStatus(
        absl::StatusCode::kDataLoss,
        fmt::format("recorded configuration of network '{}': {}", attachment.network,
                    std::string(network.status().message())));
  }
  return network;
}

std::string PathVariable() {
  const char* path = ::getenv("PATH");
  return path != nullptr && *path != '\0'
             ? path
             : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

}  // namespace

// One run of one plugin.
struct CniInvoker::Call {
  const char* command;
  const std::string& type;
  const std::string& input;
  const Attachment* attachment;  // null for VERSION, STATUS and GC
  std::string netns;
};

CniInvoker::CniInvoker(base::ProcessRunner& runner, std::vector<std::string> plugin_dirs)
    : runner_(runner), plugin_dirs_(std::move(plugin_dirs)), path_env_(PathVariable()) {}

absl::StatusOr<std::string> CniInvoker::Invoke(const base::OpContext& ctx, const Call& call) const {
  const std::string what = fmt::format("cni plugin '{}'", call.type);
  base::ProcessSpec spec;
  ASSIGN_OR_RETURN(const std::string program, FindPlugin(plugin_dirs_, call.type));
  spec.argv = {program};
  spec.new_session = true;
  spec.env = {fmt::format("CNI_COMMAND={}", call.command),
              fmt::format("CNI_PATH={}", absl::StrJoin(plugin_dirs_, ":")),
              fmt::format("PATH={}", path_env_)};
  if (call.attachment != nullptr) {
    spec.env.push_back(fmt::format("CNI_CONTAINERID={}", call.attachment->container_id));
    spec.env.push_back(fmt::format("CNI_NETNS={}", call.netns));
    spec.env.push_back(fmt::format("CNI_IFNAME={}", call.attachment->interface_name));
    spec.env.push_back(fmt::format("CNI_ARGS={}", call.attachment->cni_args));
  } else {
    // It works for the daemon, not for a pod, and may be broken off: a GC that outlived the daemon
    // would not know the next one's pods. Sent when the thread that waits for it ends.
    spec.before_exec = [] { return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 ? 0 : errno; };
  }
  base::RunLimits limits;
  limits.max_stdout = kMaxOutput;
  absl::StatusOr<base::RunResult> run = runner_.Run(ctx, spec, call.input, limits);
  if (!run.ok()) {
    return base::Annotate(run.status(), what);
  }
  if (!run->exit.ok()) {
    return base::Annotate(FailureOf(*run), what);
  }
  if (run->out.size() >= kMaxOutput) {
    return absl::InternalError(fmt::format("{}: printed {} bytes or more", what, kMaxOutput));
  }
  return std::move(run->out);
}

absl::StatusOr<Attachment> CniInvoker::Plan(const NetworkConfig& network,
                                            const PodNetwork& pod) const {
  Attachment attachment;
  attachment.network = network.name;
  attachment.config_bytes = network.bytes;
  attachment.container_id = pod.id;
  attachment.interface_name = pod.interface_name;
  attachment.netns_path = pod.netns_path;
  attachment.pod = fmt::format("{}/{}", pod.namespace_name, pod.name);
  RETURN_IF_ERROR(ValidateIdentity(pod));
  attachment.cni_args = CniArgs(pod);
  ASSIGN_OR_RETURN(attachment.capabilities, CapabilityArgs(pod));
  return attachment;
}

absl::StatusOr<Attachment> CniInvoker::Add(const base::OpContext& ctx, Attachment planned) const {
  const std::string what =
      fmt::format("add pod '{}' to network '{}'", planned.pod, planned.network);
  absl::StatusOr<NetworkConfig> network = NetworkOf(planned);
  if (!network.ok()) {
    return base::Annotate(network.status(), what);
  }
  absl::StatusOr<std::string> result = AddChain(ctx, *network, planned);
  if (result.ok()) {
    ASSIGN_OR_RETURN(const Result last, ParseResult(*result, network->cni_version));
    planned.result = *std::move(result);
    planned.ips = last.PodIps();
    return planned;
  }
  // Plugins may have done a part of it, also the failing one.
  const absl::Status undone =
      DelChain(base::OpContext::WithTimeout(kUndoBudget), *network, planned);
  if (!undone.ok()) {
    base::Log("cni").warn("undo of a failed add failed sandbox={} network={}: {}",
                          planned.container_id, planned.network, std::string(undone.message()));
  }
  return base::Annotate(result.status(), what);
}

absl::StatusOr<std::string> CniInvoker::AddChain(const base::OpContext& ctx,
                                                 const NetworkConfig& network,
                                                 const Attachment& attachment) const {
  std::string previous;
  for (const PluginConfig& plugin : network.plugins) {
    ASSIGN_OR_RETURN(const std::string input,
                     PluginInput(network, plugin, attachment.capabilities, previous));
    ASSIGN_OR_RETURN(std::string output,
                     Invoke(ctx, {"ADD", plugin.type, input, &attachment, attachment.netns_path}));
    const absl::StatusOr<Result> result = ParseResult(output, network.cni_version);
    if (!result.ok()) {
      return absl::InternalError(fmt::format("cni plugin '{}': its result is not valid: {}",
                                             plugin.type, std::string(result.status().message())));
    }
    // The next plugin, and DEL, must get it in the network's version. As it is where it can be: a
    // rendering drops what the specification does not know.
    ASSIGN_OR_RETURN(const Json raw, ParseJsonObject(output));
    const bool same = raw.value("cniVersion", Json()) == network.cni_version;
    previous = same ? std::move(output) : RenderResult(*result, network.cni_version);
  }
  return previous;
}

absl::Status CniInvoker::Del(const base::OpContext& ctx, const Attachment& attachment) const {
  const std::string what =
      fmt::format("remove pod '{}' from network '{}'", attachment.pod, attachment.network);
  absl::StatusOr<NetworkConfig> network = NetworkOf(attachment);
  if (!network.ok()) {
    return base::Annotate(network.status(), what);
  }
  return base::Annotate(DelChain(ctx, *network, attachment), what);
}

absl::Status CniInvoker::DelChain(const base::OpContext& ctx, const NetworkConfig& network,
                                  const Attachment& attachment) const {
  // Plugins fail on a netns that is no longer one, but must succeed without any.
  const std::string netns = IsLiveNetns(attachment.netns_path) ? attachment.netns_path : "";
  // The specification gives DEL the cached result since 0.4.0.
  const bool wants_result = CompareVersions(network.cni_version, "0.4.0") >= 0;
  absl::Status first;
  for (auto plugin = network.plugins.rbegin(); plugin != network.plugins.rend(); ++plugin) {
    absl::StatusOr<std::string> input = PluginInput(network, *plugin, attachment.capabilities,
                                                    wants_result ? attachment.result : "");
    absl::Status status = input.status();
    if (status.ok()) {
      status = Invoke(ctx, {"DEL", plugin->type, *input, &attachment, netns}).status();
    }
    if (!absl::IsNotFound(status)) {  // the plugin does not know the pod: nothing to remove
      first.Update(status);
    }
  }
  return first;
}

absl::Status CniInvoker::Check(const base::OpContext& ctx, const Attachment& attachment) const {
  const std::string what =
      fmt::format("check pod '{}' on network '{}'", attachment.pod, attachment.network);
  absl::StatusOr<NetworkConfig> network = NetworkOf(attachment);
  if (!network.ok()) {
    return base::Annotate(network.status(), what);
  }
  if (CompareVersions(network->cni_version, "0.4.0") < 0) {
    return absl::UnimplementedError(
        fmt::format("{}: cniVersion {} has no CHECK", what, network->cni_version));
  }
  if (network->disable_check) {
    return absl::OkStatus();
  }
  if (attachment.result.empty()) {
    return absl::FailedPreconditionError(fmt::format("{}: it has not been added", what));
  }
  for (const PluginConfig& plugin : network->plugins) {
    ASSIGN_OR_RETURN(const std::string input,
                     PluginInput(*network, plugin, attachment.capabilities, attachment.result));
    RETURN_IF_ERROR(base::Annotate(
        Invoke(ctx, {"CHECK", plugin.type, input, &attachment, attachment.netns_path}).status(),
        what));
  }
  return absl::OkStatus();
}

absl::Status CniInvoker::NetworkStatus(const base::OpContext& ctx,
                                       const NetworkConfig& network) const {
  if (!HasStatus(network)) {
    return absl::OkStatus();
  }
  for (const PluginConfig& plugin : network.plugins) {
    ASSIGN_OR_RETURN(const std::string input, PluginInput(network, plugin, "", ""));
    RETURN_IF_ERROR(
        base::Annotate(Invoke(ctx, {"STATUS", plugin.type, input, nullptr, ""}).status(),
                       fmt::format("network '{}'", network.name)));
  }
  return absl::OkStatus();
}

absl::Status CniInvoker::CollectGarbage(const base::OpContext& ctx, const NetworkConfig& network,
                                        const std::set<AttachmentId>& valid) const {
  if (!HasGc(network)) {
    return absl::OkStatus();
  }
  Json attachments = Json::array();
  for (const AttachmentId& id : valid) {
    if (id.network == network.name) {
      attachments.push_back({{"containerID", id.container_id}, {"ifname", id.interface_name}});
    }
  }
  absl::Status first;
  for (const PluginConfig& plugin : network.plugins) {
    absl::StatusOr<std::string> input = PluginInput(network, plugin, "", "", [&](Json& object) {
      object["cni.dev/valid-attachments"] = attachments;
      // Its name in early texts of the specification. A plugin that looks for that one would take
      // all pods for gone.
      object["cni.dev/attachments"] = attachments;
    });
    absl::Status status = input.status();
    if (status.ok()) {
      status = Invoke(ctx, {"GC", plugin.type, *input, nullptr, ""}).status();
    }
    first.Update(status);
  }
  return base::Annotate(first,
                        fmt::format("collect what no pod has in network '{}'", network.name));
}

absl::StatusOr<std::vector<std::string>> CniInvoker::PluginVersions(const base::OpContext& ctx,
                                                                    const std::string& type) const {
  const std::string input = R"({"cniVersion":"1.0.0"})";
  ASSIGN_OR_RETURN(const std::string output, Invoke(ctx, {"VERSION", type, input, nullptr, ""}));
  absl::StatusOr<Json> answer = ParseJsonObject(output);
  absl::StatusOr<std::vector<std::string>> versions =
      answer.ok() ? GetStrings(*answer, "supportedVersions") : answer.status();
  if (!versions.ok() || versions->empty()) {
    return absl::InternalError(
        fmt::format("cni plugin '{}': its answer to VERSION is not valid", type));
  }
  return versions;
}

}  // namespace berth::cni
