#include "lib/cdi/cdi_file.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/cdi/device_name.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"
#include "lib/oci/yaml.h"

namespace berth::cdi {
namespace {

using oci::JsonObject;

constexpr int kMaxDepth = 32;
constexpr size_t kMaxEntries = 10'000;

// Oldest first.
constexpr std::array<std::string_view, 8> kVersions = {"0.3.0", "0.4.0", "0.5.0", "0.6.0",
                                                       "0.7.0", "0.8.0", "1.0.0", "1.1.0"};

absl::Status Invalid(const std::string& what) { return absl::InvalidArgumentError(what); }

// The fields that are no text, for YAML, which does not tell.
bool IsTypedKey(std::string_view key) {
  static constexpr std::string_view kTyped[] = {"major",
                                                "minor",
                                                "fileMode",
                                                "uid",
                                                "gid",
                                                "timeout",
                                                "enableCMT",
                                                "enableMBM",
                                                "enableMonitoring",
                                                "additionalGids",
                                                "additionalGIDs"};
  return std::find(std::begin(kTyped), std::end(kTyped), key) != std::end(kTyped);
}

absl::StatusOr<std::string> AbsolutePath(const JsonObject& object, const char* name) {
  ASSIGN_OR_RETURN(std::string path, object.String(name));
  if (!path.starts_with('/')) {
    return Invalid(fmt::format("'{}' is '{}', not an absolute path", object.PathOf(name),
                               oci::Printable(path)));
  }
  return path;
}

absl::StatusOr<std::vector<std::string>> Environment(const JsonObject& object) {
  ASSIGN_OR_RETURN(std::vector<std::string> env, object.Strings("env"));
  for (const std::string& variable : env) {
    const size_t equals = variable.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return Invalid(fmt::format("'{}' has '{}', which is not of the form NAME=VALUE",
                                 object.PathOf("env"), oci::Printable(variable, 80)));
    }
  }
  return env;
}

absl::StatusOr<std::optional<uint32_t>> Unsigned(const JsonObject& object, const char* name) {
  if (!object.Has(name)) {
    return std::nullopt;
  }
  ASSIGN_OR_RETURN(const int64_t value, object.Integer(name));
  if (value < 0 || value > std::numeric_limits<uint32_t>::max()) {
    return Invalid(fmt::format("'{}' is {}", object.PathOf(name), value));
  }
  return static_cast<uint32_t>(value);
}

// Reads the edits of one file; keeps the oldest version that has all it met.
class EditsReader {
 public:
  absl::StatusOr<model::ContainerEdits> Read(const JsonObject& object) {
    RETURN_IF_ERROR(object.CheckNames({"env", "deviceNodes", "mounts", "hooks", "additionalGids",
                                       "additionalGIDs", "intelRdt", "netDevices"}));
    model::ContainerEdits edits;
    ASSIGN_OR_RETURN(edits.env, Environment(object));
    ASSIGN_OR_RETURN(const auto devices, object.Objects("deviceNodes", kMaxEntries));
    for (const JsonObject& device : devices) {
      ASSIGN_OR_RETURN(edits.devices.emplace_back(), Device(device));
    }
    ASSIGN_OR_RETURN(const auto mounts, object.Objects("mounts", kMaxEntries));
    for (const JsonObject& mount : mounts) {
      ASSIGN_OR_RETURN(edits.mounts.emplace_back(), Mount(mount));
    }
    ASSIGN_OR_RETURN(const auto hooks, object.Objects("hooks", kMaxEntries));
    for (const JsonObject& hook : hooks) {
      RETURN_IF_ERROR(Hook(hook, edits.hooks));
    }
    for (const char* name : {"additionalGids", "additionalGIDs"}) {  // both are in use
      RETURN_IF_ERROR(Gids(object, name, edits.additional_gids));
    }
    ASSIGN_OR_RETURN(edits.intel_rdt, Rdt(object));
    ASSIGN_OR_RETURN(const auto net_devices, object.Objects("netDevices", kMaxEntries));
    if (!net_devices.empty()) {
      return absl::UnimplementedError(
          fmt::format("'{}' is not supported", object.PathOf("netDevices")));
    }
    return edits;
  }

  void Need(std::string_view version) { needed_ = std::max(needed_, version); }
  std::string_view needed() const { return needed_; }

 private:
  absl::StatusOr<model::DeviceEdit> Device(const JsonObject& object) {
    RETURN_IF_ERROR(object.CheckNames(
        {"path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"}));
    model::DeviceEdit edit;
    ASSIGN_OR_RETURN(edit.container_path, AbsolutePath(object, "path"));
    if (object.Has("hostPath")) {
      Need("0.5.0");
      ASSIGN_OR_RETURN(edit.host_path, AbsolutePath(object, "hostPath"));
    }
    ASSIGN_OR_RETURN(const std::string type, object.String("type"));
    if (type.size() > 1 || std::string_view("bcup").find(type) == std::string_view::npos) {
      return Invalid(fmt::format("'{}' is '{}', not one of 'b', 'c', 'u' and 'p'",
                                 object.PathOf("type"), oci::Printable(type)));
    }
    edit.type = type.empty() ? '\0' : type[0];
    ASSIGN_OR_RETURN(edit.major, object.Integer("major"));
    ASSIGN_OR_RETURN(edit.minor, object.Integer("minor"));
    ASSIGN_OR_RETURN(edit.mode, Unsigned(object, "fileMode"));
    ASSIGN_OR_RETURN(edit.uid, Unsigned(object, "uid"));
    ASSIGN_OR_RETURN(edit.gid, Unsigned(object, "gid"));
    ASSIGN_OR_RETURN(edit.access, object.String("permissions"));
    if (edit.access.empty()) {
      edit.access = "rwm";
    } else if (edit.access == "none") {
      edit.access.clear();
    } else if (edit.access.find_first_not_of("rwm") != std::string::npos) {
      return Invalid(fmt::format("'{}' is '{}', not of 'r', 'w' and 'm'",
                                 object.PathOf("permissions"), oci::Printable(edit.access)));
    }
    return edit;
  }

  absl::StatusOr<model::MountEdit> Mount(const JsonObject& object) {
    RETURN_IF_ERROR(object.CheckNames({"hostPath", "containerPath", "type", "options"}));
    model::MountEdit edit;
    ASSIGN_OR_RETURN(edit.host_path, object.String("hostPath"));  // "tmpfs" for a tmpfs
    if (edit.host_path.empty()) {
      return Invalid(fmt::format("'{}' is missing", object.PathOf("hostPath")));
    }
    ASSIGN_OR_RETURN(edit.container_path, AbsolutePath(object, "containerPath"));
    ASSIGN_OR_RETURN(edit.type, object.String("type"));
    if (!edit.type.empty()) {
      Need("0.4.0");
    }
    ASSIGN_OR_RETURN(edit.options, object.Strings("options"));
    return edit;
  }

  static absl::Status Hook(const JsonObject& object, model::Hooks& hooks) {
    RETURN_IF_ERROR(object.CheckNames({"hookName", "path", "args", "env", "timeout"}));
    ASSIGN_OR_RETURN(const std::string stage, object.String("hookName"));
    if (!model::IsHookStage(stage)) {
      return Invalid(fmt::format("'{}' is '{}', which is no stage of hooks",
                                 object.PathOf("hookName"), oci::Printable(stage)));
    }
    model::Hook hook;
    ASSIGN_OR_RETURN(hook.path, AbsolutePath(object, "path"));
    ASSIGN_OR_RETURN(hook.args, object.Strings("args"));
    ASSIGN_OR_RETURN(hook.env, Environment(object));
    ASSIGN_OR_RETURN(hook.timeout_seconds, object.Integer("timeout"));
    if (object.Has("timeout") && hook.timeout_seconds <= 0) {
      return Invalid(fmt::format("'{}' is {}", object.PathOf("timeout"), hook.timeout_seconds));
    }
    hooks[stage].push_back(std::move(hook));
    return absl::OkStatus();
  }

  absl::Status Gids(const JsonObject& object, const char* name, std::vector<uint32_t>& gids) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> values, object.Integers(name));
    for (const int64_t value : values) {
      Need("0.7.0");
      if (value < 0 || value > std::numeric_limits<uint32_t>::max()) {
        return Invalid(fmt::format("'{}' has {}", object.PathOf(name), value));
      }
      if (value != 0) {  // "Values of 0 are ignored."
        gids.push_back(static_cast<uint32_t>(value));
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<model::IntelRdt>> Rdt(const JsonObject& parent) {
    ASSIGN_OR_RETURN(const std::optional<JsonObject> object, parent.Object("intelRdt"));
    if (!object) {
      return std::nullopt;
    }
    Need("0.7.0");
    RETURN_IF_ERROR(object->CheckNames({"closID", "l3CacheSchema", "memBwSchema", "enableCMT",
                                        "enableMBM", "schemata", "enableMonitoring"}));
    for (const char* name : {"schemata", "enableMonitoring"}) {
      if (object->Has(name)) {
        return absl::UnimplementedError(fmt::format("'{}' is not supported", object->PathOf(name)));
      }
    }
    model::IntelRdt rdt;
    ASSIGN_OR_RETURN(rdt.clos_id, object->String("closID"));
    const std::string& id = rdt.clos_id;
    if (id != "/" && (id == "." || id == ".." || id.size() > 255 ||
                      id.find_first_of("/\n") != std::string::npos)) {
      return Invalid(fmt::format("'{}' is '{}', not a file name", object->PathOf("closID"),
                                 oci::Printable(id, 80)));
    }
    ASSIGN_OR_RETURN(rdt.l3_cache_schema, object->String("l3CacheSchema"));
    ASSIGN_OR_RETURN(rdt.mem_bw_schema, object->String("memBwSchema"));
    ASSIGN_OR_RETURN(const std::optional<bool> cmt, object->Boolean("enableCMT"));
    ASSIGN_OR_RETURN(const std::optional<bool> mbm, object->Boolean("enableMBM"));
    rdt.enable_cmt = cmt.value_or(false);
    rdt.enable_mbm = mbm.value_or(false);
    return rdt;
  }

  std::string_view needed_ = kVersions.front();
};

absl::Status ReadDevice(const JsonObject& object, EditsReader& reader, CdiFile& file) {
  RETURN_IF_ERROR(object.CheckNames({"name", "annotations", "containerEdits"}));
  ASSIGN_OR_RETURN(const std::string name, object.String("name"));
  RETURN_IF_ERROR(base::Annotate(CheckShortName(name), object.PathOf("name")));
  if (name[0] >= '0' && name[0] <= '9') {
    reader.Need("0.5.0");
  }
  ASSIGN_OR_RETURN(const auto annotations, object.StringMap("annotations"));
  if (!annotations.empty()) {
    reader.Need("0.6.0");
  }
  ASSIGN_OR_RETURN(const std::optional<JsonObject> edits, object.Object("containerEdits"));
  const auto [device, is_new] = file.devices.emplace(name, model::ContainerEdits());
  if (!is_new) {
    return Invalid(fmt::format("the device '{}' is there twice", name));
  }
  if (edits) {
    ASSIGN_OR_RETURN(device->second, reader.Read(*edits));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CdiFile> ParseCdiFile(std::string_view text, CdiFormat format) {
  ASSIGN_OR_RETURN(const nlohmann::json document, format == CdiFormat::kYaml
                                                      ? oci::YamlToJson(text, IsTypedKey)
                                                      : oci::ParseJson(text, kMaxDepth));
  ASSIGN_OR_RETURN(const JsonObject root, JsonObject::Root(document));
  RETURN_IF_ERROR(
      root.CheckNames({"cdiVersion", "kind", "annotations", "devices", "containerEdits"}));
  ASSIGN_OR_RETURN(std::string version, root.String("cdiVersion"));
  if (version.starts_with('v')) {
    version.erase(0, 1);
  }
  if (std::find(kVersions.begin(), kVersions.end(), version) == kVersions.end()) {
    return Invalid(fmt::format("'cdiVersion' is '{}'; known are {} to {}", oci::Printable(version),
                               kVersions.front(), kVersions.back()));
  }

  CdiFile file;
  EditsReader reader;
  ASSIGN_OR_RETURN(file.kind, root.String("kind"));
  RETURN_IF_ERROR(CheckKind(file.kind));
  if (file.kind.find('.', file.kind.find('/')) != std::string::npos) {
    reader.Need("0.6.0");
  }
  ASSIGN_OR_RETURN(const auto annotations, root.StringMap("annotations"));
  if (!annotations.empty()) {
    reader.Need("0.6.0");
  }
  ASSIGN_OR_RETURN(const std::optional<JsonObject> edits, root.Object("containerEdits"));
  if (edits) {
    ASSIGN_OR_RETURN(file.edits, reader.Read(*edits));
  }
  ASSIGN_OR_RETURN(const auto devices, root.Objects("devices", kMaxEntries));
  if (devices.empty()) {
    return Invalid("there are no devices in it");
  }
  for (const JsonObject& device : devices) {
    RETURN_IF_ERROR(ReadDevice(device, reader, file));
  }
  if (version < reader.needed()) {  // all parts have one digit
    return Invalid(
        fmt::format("'cdiVersion' is {}, but it uses what only {} has", version, reader.needed()));
  }
  return file;
}

}  // namespace berth::cdi
