#include "lib/qos/blockio.h"

#include <glob.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>

#include "absl/cleanup/cleanup.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"
#include "lib/oci/yaml.h"

namespace berth::qos {
namespace {

constexpr size_t kMaxEntries = 1000;
constexpr int64_t kMinWeight = 10;
constexpr int64_t kMaxWeight = 1000;

// "10k" and the like, as Kubernetes writes quantities; at least 1.
absl::StatusOr<int64_t> Rate(const oci::JsonObject& object, const char* name) {
  ASSIGN_OR_RETURN(const std::string text, object.String(name));
  if (text.empty()) {
    return object.Has(name) ? absl::StatusOr<int64_t>(absl::InvalidArgumentError(
                                  fmt::format("'{}' is empty", object.PathOf(name))))
                            : 0;
  }
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  static constexpr std::pair<std::string_view, int64_t> kUnits[] = {
      {"", 1},
      {"k", 1000},
      {"M", 1000 * 1000},
      {"G", 1000 * 1000 * 1000},
      {"T", int64_t{1000} * 1000 * 1000 * 1000},
      {"Ki", 1 << 10},
      {"Mi", 1 << 20},
      {"Gi", 1 << 30},
      {"Ti", int64_t{1} << 40}};
  for (const auto& [unit, factor] : kUnits) {
    if (error == std::errc() && std::string_view(at, static_cast<size_t>(end - at)) == unit &&
        value > 0 && value <= INT64_MAX / factor) {
      return value * factor;
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is '{}', not a number from 1 on such as 500, 10k or 50Mi",
                  object.PathOf(name), oci::Printable(text)));
}

absl::StatusOr<BlockioEntry> ParseEntry(const oci::JsonObject& object) {
  RETURN_IF_ERROR(object.CheckNames({"Devices", "Weight", "ThrottleReadBps", "ThrottleWriteBps",
                                     "ThrottleReadIOPS", "ThrottleWriteIOPS"}));
  BlockioEntry entry;
  model::BlockIoDevice& limits = entry.limits;
  ASSIGN_OR_RETURN(entry.devices, object.Strings("Devices"));
  for (const std::string& pattern : entry.devices) {
    if (!pattern.starts_with('/')) {
      return absl::InvalidArgumentError(fmt::format("'{}' has '{}', which is no absolute path",
                                                    object.PathOf("Devices"),
                                                    oci::Printable(pattern)));
    }
  }
  ASSIGN_OR_RETURN(limits.weight, object.Integer("Weight"));
  if (object.Has("Weight") && (limits.weight < kMinWeight || limits.weight > kMaxWeight)) {
    return absl::InvalidArgumentError(fmt::format("'{}' is {}, not from {} to {}",
                                                  object.PathOf("Weight"), limits.weight,
                                                  kMinWeight, kMaxWeight));
  }
  ASSIGN_OR_RETURN(limits.read_bps, Rate(object, "ThrottleReadBps"));
  ASSIGN_OR_RETURN(limits.write_bps, Rate(object, "ThrottleWriteBps"));
  ASSIGN_OR_RETURN(limits.read_iops, Rate(object, "ThrottleReadIOPS"));
  ASSIGN_OR_RETURN(limits.write_iops, Rate(object, "ThrottleWriteIOPS"));
  model::BlockIoDevice only_weight;
  only_weight.weight = limits.weight;
  if (entry.devices.empty() && (limits != only_weight || limits.weight == 0)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is empty: without devices an entry has a Weight and nothing else",
                    object.PathOf("Devices")));
  }
  return entry;
}

}  // namespace

std::vector<DeviceNumbers> FindBlockDevices(const std::string& pattern) {
  glob_t found = {};
  const absl::Cleanup release = [&found] { ::globfree(&found); };
  std::vector<DeviceNumbers> devices;
  if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) != 0) {
    return devices;
  }
  for (size_t i = 0; i < found.gl_pathc; ++i) {
    struct stat info = {};
    if (::stat(found.gl_pathv[i], &info) == 0 && S_ISBLK(info.st_mode)) {
      devices.push_back({major(info.st_rdev), minor(info.st_rdev)});
    }
  }
  return devices;
}

absl::StatusOr<BlockioClasses> BlockioClasses::Load(const std::string& path) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxBytes);
  absl::StatusOr<BlockioClasses> classes = text.ok() ? Parse(*text) : text.status();
  RETURN_IF_ERROR(base::Annotate(classes.status(), fmt::format("blockio classes of '{}'", path)));
  return classes;
}

absl::StatusOr<BlockioClasses> BlockioClasses::Parse(std::string_view yaml) {
  ASSIGN_OR_RETURN(const nlohmann::json document,
                   oci::YamlToJson(yaml, [](std::string_view key) { return key == "Weight"; }));
  ASSIGN_OR_RETURN(const oci::JsonObject root, oci::JsonObject::Root(document));
  RETURN_IF_ERROR(root.CheckNames({"Classes"}));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, root.Keys("Classes"));
  BlockioClasses result;
  if (names.empty()) {
    return absl::InvalidArgumentError("'Classes' is empty");
  }
  ASSIGN_OR_RETURN(const std::optional<oci::JsonObject> classes, root.Object("Classes"));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::vector<oci::JsonObject> entries,
                     classes->Objects(name.c_str(), kMaxEntries));
    std::vector<BlockioEntry>& all = result.classes_[name];
    for (const oci::JsonObject& entry : entries) {
      ASSIGN_OR_RETURN(BlockioEntry parsed, ParseEntry(entry));
      all.push_back(std::move(parsed));
    }
  }
  return result;
}

absl::StatusOr<model::BlockIo> BlockioClasses::Resolve(const std::string& name,
                                                       const FindDevices& find) const {
  const auto found = classes_.find(name);
  if (found == classes_.end()) {
    std::vector<std::string> known;
    for (const auto& [other, entries] : classes_) {
      known.push_back("'" + oci::Printable(other) + "'");
    }
    return absl::InvalidArgumentError(fmt::format("no blockio class '{}'; there are {}",
                                                  oci::Printable(name), fmt::join(known, ", ")));
  }
  model::BlockIo result;
  std::map<DeviceNumbers, model::BlockIoDevice> devices;
  for (const BlockioEntry& entry : found->second) {
    if (entry.devices.empty()) {
      result.weight = entry.limits.weight;
    }
    for (const std::string& pattern : entry.devices) {
      const std::vector<DeviceNumbers> matching = find(pattern);
      if (matching.empty()) {
        base::Log("qos").warn("no block device matches class={} pattern='{}'", oci::Printable(name),
                              oci::Printable(pattern));
      }
      for (const DeviceNumbers& numbers : matching) {
        model::BlockIoDevice& device = devices[numbers] = entry.limits;
        device.major = numbers.major;
        device.minor = numbers.minor;
      }
    }
  }
  for (const auto& [numbers, device] : devices) {
    result.devices.push_back(device);
  }
  return result;
}

}  // namespace berth::qos
