#include "cmd/monitor/options.h"

#include <string.h>

#include "cmd/monitor/text.h"

namespace berth::monitor {
namespace {

enum class Kind { kFlag, kText, kNumber };

struct Option {
  const char* name;
  Kind kind;
  void* value;
};

const char* Check(const Options& options) {
  if (options.version) {
    return nullptr;
  }
  if (options.runtime_count < 1) {
    return "no runtime after --";
  }
  if (options.runtime_count > kMaxRuntimeArguments) {
    return "too many runtime arguments";
  }
  if (options.exec) {
    return options.pid_file == nullptr || options.pid_file[0] != '/' || options.id == nullptr
               ? "exec needs --id and --pid-file with an absolute path"
               : nullptr;
  }
  if (options.id == nullptr || options.bundle == nullptr || options.socket == nullptr ||
      options.exit_file == nullptr) {
    return "needs --id, --bundle, --socket and --exit-file";
  }
  if (options.journal != nullptr && options.name == nullptr) {
    return "--journal needs --name";
  }
  return nullptr;
}

}  // namespace

bool ParseOptions(int argc, char** argv, Options* options, const char** error) {
  const Option known[] = {
      {"--id", Kind::kText, &options->id},
      {"--bundle", Kind::kText, &options->bundle},
      {"--socket", Kind::kText, &options->socket},
      {"--exit-file", Kind::kText, &options->exit_file},
      {"--log", Kind::kText, &options->log},
      {"--journal", Kind::kText, &options->journal},
      {"--name", Kind::kText, &options->name},
      {"--pid-file", Kind::kText, &options->pid_file},
      {"--oom-score-adj", Kind::kText, &options->oom_score_adj},
      {"--cpu", Kind::kNumber, &options->cpu},
      {"--log-max-size", Kind::kNumber, &options->log_max_size},
      {"--tty-height", Kind::kNumber, &options->tty_height},
      {"--tty-width", Kind::kNumber, &options->tty_width},
      {"--stdio-uid", Kind::kNumber, &options->stdio_uid},
      {"--stdio-gid", Kind::kNumber, &options->stdio_gid},
      {"--tty", Kind::kFlag, &options->tty},
      {"--stdin", Kind::kFlag, &options->open_stdin},
      {"--stdin-once", Kind::kFlag, &options->stdin_once},
      {"--no-pivot", Kind::kFlag, &options->no_pivot},
      {"--report-start", Kind::kFlag, &options->report_start},
      {"--drain", Kind::kFlag, &options->drain},
      {"--version", Kind::kFlag, &options->version},
  };

  int at = 1;
  if (at < argc && strcmp(argv[at], "exec") == 0) {
    options->exec = true;
    at++;
  }
  for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
    const Option* option = nullptr;
    for (const Option& candidate : known) {
      if (strcmp(candidate.name, argv[at]) == 0) {
        option = &candidate;
      }
    }
    if (option == nullptr) {
      *error = argv[at];
      return false;
    }
    if (option->kind == Kind::kFlag) {
      *static_cast<bool*>(option->value) = true;
      continue;
    }
    if (at + 1 >= argc) {
      *error = argv[at];
      return false;
    }
    at++;
    if (option->kind == Kind::kText) {
      *static_cast<const char**>(option->value) = argv[at];
    } else if ((*static_cast<int64_t*>(option->value) = ParseNumber(argv[at])) < 0) {
      *error = argv[at];
      return false;
    }
  }
  if (at < argc) {
    options->runtime = argv + at + 1;
    options->runtime_count = argc - at - 1;
  }
  *error = Check(*options);
  return *error == nullptr;
}

}  // namespace berth::monitor
