#include "cmd/berthctl/store_commands.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <iostream>

#include "lib/base/file.h"
#include "lib/base/process_runner.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::berthctl {
namespace {

constexpr size_t kMaxReportBytes = 256 << 20;

absl::StatusOr<std::string> FindBerthd() {
  char self[PATH_MAX] = {};
  const ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
  const std::string exe(self, size > 0 ? static_cast<size_t>(size) : 0);
  const std::string dir = exe.substr(0, exe.rfind('/'));
  // Installed beside each other; the second is where a build tree has it.
  for (const std::string& path : {dir + "/berthd", dir + "/../berthd/berthd"}) {
    if (access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return base::FindProgram("berthd");
}

absl::StatusOr<std::vector<std::string>> BerthdCommand(const RootArguments& root) {
  ASSIGN_OR_RETURN(std::string program, FindBerthd());
  std::vector<std::string> command = {std::move(program)};
  for (const auto& [flag, value] :
       {std::pair("--config", &root.config), std::pair("--config-dir", &root.config_dir),
        std::pair("--root", &root.root), std::pair("--state", &root.state)}) {
    if (!value->empty()) {
      command.insert(command.end(), {flag, *value});
    }
  }
  return command;
}

absl::StatusOr<v1::CheckResponse> CheckByProgram(const CheckArguments& arguments) {
  ASSIGN_OR_RETURN(std::vector<std::string> command, BerthdCommand(arguments.root));
  command.push_back("--check");
  if (arguments.layers) {
    command.push_back("--layers");
  }
  if (arguments.repair) {
    command.push_back("--repair");
  }
  const char* path = getenv("PATH");
  base::SystemProcessRunner runner;
  ASSIGN_OR_RETURN(
      const base::RunResult result,
      runner.Run(base::OpContext::Background(),
                 {.argv = command, .env = {fmt::format("PATH={}", path == nullptr ? "" : path)}},
                 "", {.max_stdout = kMaxReportBytes}));
  if (!result.exit.ok()) {
    std::string error = result.err;
    while (!error.empty() && error.back() == '\n') {
      error.pop_back();
    }
    return absl::UnknownError(error.empty() ? fmt::format("'{}' failed", command[0]) : error);
  }
  v1::CheckResponse report;
  if (!google::protobuf::util::JsonStringToMessage(result.out, &report).ok()) {
    return absl::InternalError(
        fmt::format("'{}' is of another version than this program", command[0]));
  }
  return report;
}

bool IsNobodyThere(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsUnavailable(status);
}

absl::Status Receive(Client& client, const ExportArguments& arguments, int fd) {
  v1::ExportRequest request;
  request.mutable_images()->Assign(arguments.images.begin(), arguments.images.end());
  request.set_format(arguments.format);
  request.set_compress(arguments.compress);
  absl::Status written;
  const absl::Status status =
      client.Call("export", absl::InfiniteDuration(), nullptr, [&](grpc::ClientContext* context) {
        const auto reader = client.admin().Export(context, request);
        v1::ExportPart part;
        while (written.ok() && reader->Read(&part)) {
          written = base::WriteFd(fd, part.data());
        }
        if (!written.ok()) {
          context->TryCancel();
        }
        return reader->Finish();
      });
  RETURN_IF_ERROR(written);
  return status;
}

// What a person is asked before it.
std::string WhatGoes(const WipeArguments& arguments) {
  if (arguments.all) {
    return "This ends all pods and containers of this root and removes everything in it and its "
           "state directory: images, writable layers, database.";
  }
  return fmt::format("This removes all pods and containers of this root{}.",
                     arguments.images ? " and all images" : "");
}

}  // namespace

absl::Status Export(Client& client, const ExportArguments& arguments) {
  if (arguments.output == "-") {
    if (isatty(STDOUT_FILENO) == 1) {
      return absl::InvalidArgumentError(
          "export: standard output is a terminal; name a file with --output");
    }
    return Receive(client, arguments, STDOUT_FILENO);
  }
  const std::string part = arguments.output + ".part";
  const auto fail = [&](const absl::Status& status) {
    base::RemoveFile(part).IgnoreError();
    return status;
  };
  ASSIGN_OR_RETURN(base::UniqueFd fd,
                   base::OpenFile(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644));
  if (const absl::Status status = Receive(client, arguments, fd.get()); !status.ok()) {
    return fail(status);
  }
  if (fsync(fd.get()) != 0 || rename(part.c_str(), arguments.output.c_str()) != 0) {
    return fail(base::ErrnoStatus(errno, fmt::format("export: write '{}'", arguments.output)));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::CheckResponse> Check(const std::string& socket,
                                        const CheckArguments& arguments) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(socket);
  if (IsNobodyThere(client.status())) {
    return CheckByProgram(arguments);
  }
  RETURN_IF_ERROR(client.status());
  v1::CheckRequest request;
  request.set_repair(arguments.repair);
  request.set_layers(arguments.layers);
  v1::CheckResponse response;
  RETURN_IF_ERROR((*client)->Call("check", absl::InfiniteDuration(), nullptr, [&](auto* context) {
    return (*client)->admin().Check(context, request, &response);
  }));
  return response;
}

absl::Status Wipe(const std::string& socket, const WipeArguments& arguments) {
  if (const auto client = Client::Connect(socket); !IsNobodyThere(client.status())) {
    return absl::FailedPreconditionError(
        client.ok() ? fmt::format("wipe: a berthd answers at '{}'; stop it first (systemctl stop "
                                  "berth)",
                                  socket)
                    : std::string(client.status().message()));
  }
  if (!arguments.force) {
    if (isatty(STDIN_FILENO) != 1) {
      return absl::InvalidArgumentError("wipe: there is no terminal to ask at; say --force");
    }
    fmt::print(stderr, "{} Type 'yes' to go on: ", WhatGoes(arguments));
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "yes") {
      return absl::CancelledError("wipe: nothing was removed");
    }
  }
  ASSIGN_OR_RETURN(std::vector<std::string> command, BerthdCommand(arguments.root));
  command.insert(command.end(), {"--wipe", arguments.all      ? "all"
                                           : arguments.images ? "images"
                                                              : "stopped"});
  std::vector<char*> argv;
  for (std::string& argument : command) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  return base::ErrnoStatus(errno, fmt::format("start '{}'", command[0]));
}

std::string CheckText(const v1::CheckResponse& report) {
  std::string text;
  for (const v1::CheckProblem& problem : report.problems()) {
    text += fmt::format("{} {}: {}\n", problem.kind(), problem.object(), problem.text());
    if (!problem.advice().empty()) {
      text += fmt::format("    {}{}\n", problem.repaired() ? "repaired: " : "", problem.advice());
    }
  }
  for (const std::string& note : report.notes()) {
    text += fmt::format("note: {}\n", note);
  }
  text += fmt::format("{} images, {} layers", report.images(), report.layers());
  if (report.verified_layers() > 0) {
    text += fmt::format(" ({} read)", report.verified_layers());
  }
  const auto found = static_cast<uint32_t>(report.problems_size());
  text += fmt::format(", {} pods, {} containers: ", report.pods(), report.containers());
  if (found == 0) {
    return text + "no problems\n";
  }
  return text + (report.left() == found
                     ? fmt::format("{} problems\n", found)
                     : fmt::format("{} problems, {} left\n", found, report.left()));
}

absl::StatusOr<std::string> CheckJson(const v1::CheckResponse& report) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(report, &text, options).ok()) {
    return absl::InternalError("check: the report cannot be written as JSON");
  }
  return text;
}

}  // namespace berth::berthctl
