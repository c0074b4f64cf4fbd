// berthd: flags to configuration to App, or to what berthctl asks of it; nothing else.
#include <sys/stat.h>

#include <cstdio>
#include <map>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"

#include "daemon/app/app.h"
#include "daemon/app/maintenance.h"
#include "daemon/config/config.h"
#include "lib/base/log.h"

namespace {

int Fail(const absl::Status& status) {
  berth::base::Log("app").error("berthd does not start: {}", std::string(status.message()));
  return 1;
}

// What berthctl has this program do to a root that nobody serves.
struct Maintenance {
  bool check = false;
  bool layers = false;
  bool repair = false;
  std::string wipe;
};

const std::map<std::string, berth::app::WipeScope> kWipeScopes = {
    {"stopped", berth::app::WipeScope::kStopped},
    {"images", berth::app::WipeScope::kImages},
    {"all", berth::app::WipeScope::kAll}};

int Maintain(const berth::config::Config& config, const Maintenance& what) {
  ::umask(022);
  absl::Status status = berth::base::ConfigureLog("warn", config.log.format);
  if (status.ok() && what.check) {
    const absl::StatusOr<std::string> report =
        berth::app::CheckRoot(config, what.layers, what.repair);
    status = report.status();
    std::fputs(report.value_or("").c_str(), stdout);
  } else if (status.ok()) {
    status = berth::app::Wipe(config, kWipeScopes.at(what.wipe), [](const std::string& line) {
      std::fprintf(stdout, "%s\n", line.c_str());
      std::fflush(stdout);
    });
  }
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  }
  return status.ok() && std::fflush(stdout) == 0 ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli("berthd: the container runtime daemon of a Kubernetes node (CRI v1)");
  std::optional<std::string> config_file;
  std::optional<std::string> config_dir;
  berth::config::ConfigOverrides overrides;
  bool print_config = false;
  cli.add_option("--config", config_file, "configuration file (default /etc/berth/berthd.toml)");
  cli.add_option("--config-dir", config_dir, "drop-ins, *.toml (default /etc/berth/conf.d)");
  cli.add_option("--root", overrides.root, "images, layers, writable layers and the database");
  cli.add_option("--state", overrides.state,
                 "sockets, namespaces, bundles: what need not survive a reboot");
  cli.add_option("--listen", overrides.listen, "unix:///PATH of the CRI socket");
  cli.add_option("--log-level", overrides.log_level, "trace, debug, info, warn, error or off");
  cli.add_flag("--print-config", print_config, "print the effective configuration as TOML and end");
  Maintenance maintenance;
  const std::string group = "Instead of serving (use berthctl)";
  cli.add_flag("--check", maintenance.check, "compare database and disk; prints JSON")
      ->group(group);
  cli.add_flag("--layers", maintenance.layers, "with --check: read every layer")->group(group);
  cli.add_flag("--repair", maintenance.repair, "with --check: put it right")->group(group);
  cli.add_option("--wipe", maintenance.wipe, "remove what is stopped, images too, or all")
      ->check(CLI::IsMember({"stopped", "images", "all"}))
      ->group(group);
  cli.set_version_flag("--version", "berthd " BERTH_VERSION);
  CLI11_PARSE(cli, argc, argv);

  const absl::StatusOr<berth::config::Config> config = berth::config::LoadConfig(
      berth::config::SourcesFromFlags(config_file, config_dir), overrides);
  if (!config.ok()) {
    return Fail(config.status());
  }
  if (print_config) {
    std::fputs(berth::config::ToToml(*config).c_str(), stdout);
    return 0;
  }
  if (maintenance.check || !maintenance.wipe.empty()) {
    return Maintain(*config, maintenance);
  }
  berth::app::PrepareProcess();
  const absl::Status status = berth::app::Run(*config);
  return status.ok() ? 0 : Fail(status);
}
