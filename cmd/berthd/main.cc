// berthd: flags to configuration to App; nothing else.
#include <cstdio>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"

#include "daemon/app/app.h"
#include "daemon/config/config.h"
#include "lib/base/log.h"

namespace {

int Fail(const absl::Status& status) {
  berth::base::Log("app").error("berthd does not start: {}", std::string(status.message()));
  return 1;
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
  berth::app::PrepareProcess();
  const absl::Status status = berth::app::Run(*config);
  return status.ok() ? 0 : Fail(status);
}
