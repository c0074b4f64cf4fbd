#include "cmd/berthctl/render_status.h"

#include <fmt/format.h>

#include <algorithm>

#include <nlohmann/json.hpp>

namespace berth::berthctl {
namespace {

using Json = nlohmann::ordered_json;

std::string Row(const char* name, const std::string& value) {
  return fmt::format("{:<12}{}\n", name, value);
}

std::string Handlers(const v1::NodeStatusResponse& status) {
  size_t width = 0;
  for (const v1::HandlerStatus& handler : status.handlers()) {
    width = std::max(width, handler.name().size());
  }
  std::string text;
  for (const v1::HandlerStatus& handler : status.handlers()) {
    std::string line = fmt::format("{:<{}}  ", handler.name(), width);
    if (handler.ok()) {
      line += fmt::format("{}, {}{}", handler.path(), handler.version(),
                          handler.is_default() ? " (default)" : "");
    } else {
      line += fmt::format("does not work: {}", handler.error());
    }
    text += Row(text.empty() ? "handlers" : "", line);
  }
  return text.empty() ? Row("handlers", "none") : text;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  if (bytes < 1024) {
    return fmt::format("{} B", bytes);
  }
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string HumanDuration(int64_t nanoseconds) {
  const int64_t seconds = std::max<int64_t>(nanoseconds, 0) / 1'000'000'000;
  if (seconds < 60) {
    return fmt::format("{}s", seconds);
  }
  if (seconds < 3600) {
    return fmt::format("{}m{}s", seconds / 60, seconds % 60);
  }
  if (seconds < 86400) {
    return fmt::format("{}h{}m", seconds / 3600, seconds % 3600 / 60);
  }
  return fmt::format("{}d{}h", seconds / 86400, seconds % 86400 / 3600);
}

std::string StatusText(const v1::NodeStatusResponse& status) {
  const v1::CountStatus& counts = status.counts();
  const v1::NetworkStatus& network = status.network();
  std::string text = fmt::format("berthd {}, pid {}, up {}\n", status.version(), status.pid(),
                                 HumanDuration(status.uptime_ns()));
  text += Row("socket", status.socket());
  text += Row("root", fmt::format("{} (overlay, {} in {} files)", status.root(),
                                  HumanBytes(status.storage().used_bytes()),
                                  status.storage().used_inodes()));
  text += Row("state", status.state());
  text += Row("images", std::to_string(counts.images()));
  text += Row("pods", fmt::format("{} ready, {} not ready", counts.sandboxes_ready(),
                                  counts.sandboxes_not_ready()));
  std::string containers =
      fmt::format("{} running, {} created, {} exited", counts.containers_running(),
                  counts.containers_created(), counts.containers_exited());
  if (counts.containers_unknown() > 0) {
    containers += fmt::format(", {} unknown", counts.containers_unknown());
  }
  text += Row("containers", containers);
  text += Row("network", network.ready() ? fmt::format("ready ({})", network.name())
                                         : fmt::format("not ready: {}", network.reason()));
  text +=
      Row("cgroups", fmt::format("v{}, {}", status.cgroup().version(), status.cgroup().driver()));
  return text + Handlers(status);
}

std::string StatusJson(const v1::NodeStatusResponse& status) {
  const v1::CountStatus& counts = status.counts();
  Json handlers = Json::array();
  for (const v1::HandlerStatus& handler : status.handlers()) {
    handlers.push_back({{"name", handler.name()},
                        {"path", handler.path()},
                        {"version", handler.version()},
                        {"ok", handler.ok()},
                        {"error", handler.error()},
                        {"is_default", handler.is_default()}});
  }
  const Json json = {
      {"version", status.version()},
      {"pid", status.pid()},
      {"uptime_ns", status.uptime_ns()},
      {"root", status.root()},
      {"state", status.state()},
      {"socket", status.socket()},
      {"storage",
       {{"used_bytes", status.storage().used_bytes()},
        {"used_inodes", status.storage().used_inodes()}}},
      {"counts",
       {{"images", counts.images()},
        {"sandboxes_ready", counts.sandboxes_ready()},
        {"sandboxes_not_ready", counts.sandboxes_not_ready()},
        {"containers_created", counts.containers_created()},
        {"containers_running", counts.containers_running()},
        {"containers_exited", counts.containers_exited()},
        {"containers_unknown", counts.containers_unknown()}}},
      {"network",
       {{"ready", status.network().ready()},
        {"reason", status.network().reason()},
        {"name", status.network().name()}}},
      {"handlers", handlers},
      {"cgroup", {{"driver", status.cgroup().driver()}, {"version", status.cgroup().version()}}},
  };
  return json.dump(2) + "\n";
}

}  // namespace berth::berthctl
