#include <utility>

#include "absl/time/time.h"
#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/image.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"

namespace berth::oci {

namespace {

absl::Status Invalid(std::string_view message) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument, message);
}

absl::Status ParseDefaults(const JsonObject& json, ImageConfig& config) {
  ASSIGN_OR_RETURN(config.user, json.String("User"));
  ASSIGN_OR_RETURN(config.exposed_ports, json.Keys("ExposedPorts"));
  ASSIGN_OR_RETURN(config.env, json.Strings("Env"));
  ASSIGN_OR_RETURN(config.entrypoint, json.Strings("Entrypoint"));
  ASSIGN_OR_RETURN(config.cmd, json.Strings("Cmd"));
  ASSIGN_OR_RETURN(config.volumes, json.Keys("Volumes"));
  ASSIGN_OR_RETURN(config.working_dir, json.String("WorkingDir"));
  ASSIGN_OR_RETURN(config.labels, json.StringMap("Labels"));
  ASSIGN_OR_RETURN(config.stop_signal, json.String("StopSignal"));
  return absl::OkStatus();
}

absl::Status ParseRootfs(const JsonObject& json, ImageConfig& config) {
  ASSIGN_OR_RETURN(const std::string type, json.String("type"));
  if (!type.empty() && type != "layers") {
    return Invalid(fmt::format("'rootfs.type' is '{}', not 'layers'", Printable(type, 60)));
  }
  ASSIGN_OR_RETURN(const auto diff_ids, json.Strings("diff_ids"));
  if (diff_ids.size() > kMaxLayers) {
    return base::MakeStatus(
        absl::StatusCode::kOutOfRange,
        fmt::format("'rootfs.diff_ids' has {} entries, more than {}", diff_ids.size(), kMaxLayers));
  }
  for (const std::string& text : diff_ids) {
    auto digest = Digest::Parse(text);
    RETURN_IF_ERROR(base::Annotate(digest.status(),
                                   fmt::format("'rootfs.diff_ids[{}]'", config.diff_ids.size())));
    config.diff_ids.push_back(*std::move(digest));
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageConfig> Parse(std::string_view bytes) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseJson(bytes, kMaxJsonDepth));
  ASSIGN_OR_RETURN(const JsonObject json, JsonObject::Root(document));
  ImageConfig config;
  ASSIGN_OR_RETURN(const std::string created, json.String("created"));
  if (!created.empty()) {
    absl::Time time;
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, created, &time, &error)) {
      return Invalid(
          fmt::format("'created' is '{}', not an RFC 3339 time", Printable(created, 60)));
    }
    config.created = time;
  }
  ASSIGN_OR_RETURN(config.platform.os, json.String("os"));
  ASSIGN_OR_RETURN(config.platform.architecture, json.String("architecture"));
  ASSIGN_OR_RETURN(config.platform.variant, json.String("variant"));
  ASSIGN_OR_RETURN(config.platform.os_version, json.String("os.version"));

  ASSIGN_OR_RETURN(const auto defaults, json.Object("config"));
  if (defaults) {
    RETURN_IF_ERROR(ParseDefaults(*defaults, config));
  }
  ASSIGN_OR_RETURN(const auto rootfs, json.Object("rootfs"));
  if (!rootfs) {
    return Invalid("'rootfs' is missing");
  }
  RETURN_IF_ERROR(ParseRootfs(*rootfs, config));
  return config;
}

}  // namespace

absl::StatusOr<ImageConfig> ParseImageConfig(std::string_view bytes) {
  if (bytes.size() > kMaxConfigBytes) {
    return base::MakeStatus(absl::StatusCode::kOutOfRange,
                            fmt::format("parse image config: it has {} bytes, more than {}",
                                        bytes.size(), kMaxConfigBytes));
  }
  auto config = Parse(bytes);
  if (!config.ok()) {
    return base::Annotate(config.status(), "parse image config");
  }
  return config;
}

}  // namespace berth::oci
