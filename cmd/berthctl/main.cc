// berthctl: what an administrator asks of the berthd on this node. A thin client of its socket.
//
// Exit codes: 0; 1: it did not work; 2: wrong usage; `run`: the container's own, or 125 when it
// could not be run.
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "cmd/berthctl/client.h"
#include "cmd/berthctl/interrupt.h"
#include "cmd/berthctl/node_commands.h"
#include "cmd/berthctl/run_command.h"

namespace berth::berthctl {
namespace {

int Fail(const absl::Status& status, int code) {
  fmt::print(stderr, "berthctl: {}\n", std::string(status.message()));
  return code;
}

int Print(const absl::StatusOr<std::string>& text) {
  if (!text.ok()) {
    return Fail(text.status(), 1);
  }
  // An error of the output shows at the flush.
  fputs(text->c_str(), stdout);
  if (fflush(stdout) != 0) {
    perror("berthctl: write");
    return 1;
  }
  return 0;
}

int RunAndReport(const std::string& socket, const RunOptions& options) {
  // A closed pipe must not end us before the pod is removed.
  signal(SIGPIPE, SIG_IGN);
  Interrupt interrupt;
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(socket);
  if (!client.ok()) {
    return Fail(client.status(), kRunFailed);
  }
  const absl::StatusOr<int> code = Run(**client, interrupt, options);
  return code.ok() ? *code : Fail(code.status(), kRunFailed);
}

struct Arguments {
  std::string socket = "unix:///run/berth/berth.sock";
  RunOptions run;
  std::string import_path;
  std::vector<std::string> import_names;
  bool json = false;
};

void DefineRun(CLI::App& app, RunOptions& run) {
  CLI::App* command = app.add_subcommand(
      "run", "Run one container in a pod of its own: its output, its exit code, nothing left");
  command
      ->add_option("--runtime-handler", run.runtime_handler,
                   "Runtime of the pod; without it the default one")
      ->type_name("NAME");
  command->add_flag("--host-network", run.host_network,
                    "The node's network instead of a pod's own");
  command->add_option("--env,-e", run.env, "Environment variable; may be repeated")
      ->type_name("K=V")
      ->allow_extra_args(false);
  command->add_option("--user,-u", run.user, "User to run as; without it the image's")
      ->type_name("UID[:GID]|NAME");
  command->add_flag("--no-pull", run.no_pull, "Fail when the image is not on the node");
  command->add_option("image", run.image, "Image to run")->required()->type_name("");
  command->add_option("command", run.args, "After --: arguments in place of the image's own")
      ->type_name("");
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Administers the berthd on this node.", "berthctl");
  app.set_version_flag("--version", "berthctl " BERTH_VERSION);
  app.add_option("--socket", arguments.socket, "berthd's socket")
      ->type_name("unix:///PATH")
      ->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();  // --socket is taken after the subcommand too
  DefineRun(app, arguments.run);
  CLI::App* import = app.add_subcommand(
      "import", "Add images from an OCI layout or docker-archive, tar or directory");
  import->add_option("path", arguments.import_path, "What to import")->required()->type_name("");
  import->add_option("--name", arguments.import_names, "Name for the image; may be repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
  CLI::App* status =
      app.add_subcommand("status", "Version, storage, counts, network and runtimes of the node");
  status->add_flag("--json", arguments.json, "As JSON");
  app.add_subcommand("config", "The running daemon's effective configuration, as TOML");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  if (app.got_subcommand("run")) {
    return RunAndReport(arguments.socket, arguments.run);
  }
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(arguments.socket);
  if (!client.ok()) {
    return Fail(client.status(), 1);
  }
  if (app.got_subcommand(import)) {
    return Print(Import(**client, arguments.import_path, arguments.import_names));
  }
  return Print(app.got_subcommand(status) ? Status(**client, arguments.json)
                                          : EffectiveConfig(**client));
}

}  // namespace
}  // namespace berth::berthctl

int main(int argc, char** argv) { return berth::berthctl::Main(argc, argv); }
