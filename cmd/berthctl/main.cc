// berthctl: what an administrator asks of the berthd on this node. A thin client of its socket.
//
// Exit codes: 0; 1: it did not work; 2: wrong usage; `run`: the container's own, or 125 when it
// could not be run; `check`: 1 for problems that are there (still), 2 when it could not be made;
// `wipe`: 2 when it did not work.
#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "cmd/berthctl/client.h"
#include "cmd/berthctl/interrupt.h"
#include "cmd/berthctl/node_commands.h"
#include "cmd/berthctl/run_command.h"
#include "cmd/berthctl/store_commands.h"

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
  ExportArguments exports;
  CheckArguments check;
  WipeArguments wipe;
};

int CheckAndReport(const Arguments& arguments) {
  const absl::StatusOr<v1::CheckResponse> report = Check(arguments.socket, arguments.check);
  if (!report.ok()) {
    return Fail(report.status(), 2);
  }
  const int printed = Print(arguments.json ? CheckJson(*report) : CheckText(*report));
  return printed != 0 ? 2 : report->left() > 0 ? 1 : 0;
}

// For the commands that the berthd program carries out.
void DefineRoot(CLI::App* command, RootArguments& root) {
  const std::string group = "Where no berthd runs (as berthd takes them)";
  command->add_option("--config", root.config, "Configuration file")
      ->type_name("FILE")
      ->group(group);
  command->add_option("--config-dir", root.config_dir, "Drop-ins")->type_name("DIR")->group(group);
  command->add_option("--root", root.root, "What survives a reboot")
      ->type_name("DIR")
      ->group(group);
  command->add_option("--state", root.state, "What does not")->type_name("DIR")->group(group);
}

void DefineStore(CLI::App& app, Arguments& arguments) {
  CLI::App* exports = app.add_subcommand(
      "export", "Write images to an archive that `import` takes, with all names");
  exports->add_option("images", arguments.exports.images, "Names or ids")
      ->required()
      ->type_name("");
  exports->add_option("--output,-o", arguments.exports.output, "File, or - for standard output")
      ->required()
      ->type_name("FILE");
  exports->add_option("--format", arguments.exports.format, "OCI layout or docker-archive")
      ->check(CLI::IsMember({"oci", "docker"}))
      ->type_name("oci|docker")
      ->capture_default_str();
  exports->add_flag("--compress", arguments.exports.compress, "Layers by gzip (oci)");
  CLI::App* check = app.add_subcommand(
      "check", "Compare the database with the disk; exit code 1 for problems, 2 for failure");
  check->add_flag("--layers", arguments.check.layers, "Read the files of every layer, too");
  check->add_flag("--repair", arguments.check.repair,
                  "Forget damaged images, remove leftovers; nothing that a container uses");
  check->add_flag("--json", arguments.json, "As JSON");
  DefineRoot(check, arguments.check.root);
  CLI::App* wipe = app.add_subcommand(
      "wipe", "Remove stopped pods and containers and all they left; berthd must not run");
  CLI::Option* images = wipe->add_flag("--images", arguments.wipe.images, "And all images");
  wipe->add_flag("--all", arguments.wipe.all, "Everything; ends what runs")->excludes(images);
  wipe->add_flag("--force", arguments.wipe.force, "Ask nothing");
  DefineRoot(wipe, arguments.wipe.root);
}

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
  DefineStore(app, arguments);
  app.add_subcommand("config", "The running daemon's effective configuration, as TOML");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  if (app.got_subcommand("run")) {
    return RunAndReport(arguments.socket, arguments.run);
  }
  if (app.got_subcommand("check")) {
    return CheckAndReport(arguments);
  }
  if (app.got_subcommand("wipe")) {
    return Fail(Wipe(arguments.socket, arguments.wipe), 2);
  }
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(arguments.socket);
  if (!client.ok()) {
    return Fail(client.status(), 1);
  }
  if (app.got_subcommand("export")) {
    const absl::Status exported = Export(**client, arguments.exports);
    return exported.ok() ? 0 : Fail(exported, 1);
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
