// ServerProcess: a server program for the length of a test, and ScratchDir for its files.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::registry {

class ScratchDir {
 public:
  ScratchDir() {
    char path[] = "/tmp/berth_registry.XXXXXX";
    BERTH_CHECK(mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~ScratchDir() { (void)base::RemoveTree(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::vector<std::string> TestEnv() {
  const char* path = std::getenv("PATH");
  return {fmt::format("PATH={}", path != nullptr ? path : "/usr/bin:/bin"), "HOME=/nonexistent",
          "LC_ALL=C"};
}

// Runs a program to its end; an exit code other than 0 is kInternal with what it printed.
inline absl::StatusOr<std::string> RunTool(std::vector<std::string> argv) {
  base::SystemProcessRunner runner;
  base::ProcessSpec spec;
  ASSIGN_OR_RETURN(argv[0], base::FindProgram(argv[0]));
  spec.argv = std::move(argv);
  spec.env = TestEnv();
  ASSIGN_OR_RETURN(const base::RunResult result,
                   runner.Run(base::OpContext::WithTimeout(absl::Minutes(1)), spec, "", {}));
  if (!result.exit.ok()) {
    return base::MakeStatus(absl::StatusCode::kInternal,
                            fmt::format("{}: {} {}", spec.argv[0], result.out, result.err));
  }
  return result.out;
}

class ServerProcess {
 public:
  // Starts the program and waits until a line of its output matches `port_pattern`, whose first
  // group is the port.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(std::vector<std::string> argv,
                                                              const std::string& before_port) {
    int fds[2];
    BERTH_CHECK(pipe2(fds, O_CLOEXEC) == 0);
    base::UniqueFd read_end(fds[0]);
    base::UniqueFd write_end(fds[1]);
    base::SystemProcessRunner runner;
    base::ProcessSpec spec;
    ASSIGN_OR_RETURN(argv[0], base::FindProgram(argv[0]));
    spec.argv = std::move(argv);
    spec.env = TestEnv();
    spec.stdout_fd = write_end.get();
    spec.stderr_fd = write_end.get();
    auto server = std::unique_ptr<ServerProcess>(new ServerProcess());
    ASSIGN_OR_RETURN(server->process_, runner.Start(spec));
    write_end.Reset();

    const base::OpContext ctx = base::OpContext::WithTimeout(absl::Seconds(20));
    while (ctx.Check().ok()) {
      pollfd poller{read_end.get(), POLLIN, 0};
      char buffer[4096];
      if (poll(&poller, 1, ctx.PollMillis()) <= 0) {
        continue;
      }
      const ssize_t count = read(read_end.get(), buffer, sizeof(buffer));
      if (count <= 0) {
        break;
      }
      server->output_.append(buffer, static_cast<size_t>(count));
      const size_t found = server->output_.find(before_port);
      if (found == std::string::npos) {
        continue;
      }
      const size_t start = found + before_port.size();
      const size_t end = server->output_.find_first_not_of("0123456789", start);
      if (end != std::string::npos && end > start) {
        server->port_ = server->output_.substr(start, end - start);
        server->pipe_ = std::move(read_end);  // stays open: a server that logs must not get SIGPIPE
        return server;
      }
    }
    return base::MakeStatus(absl::StatusCode::kInternal,
                            fmt::format("server did not start: {}", server->output_));
  }

  ~ServerProcess() {
    if (process_.pid() > 0) {
      (void)process_.Kill(SIGKILL);
      (void)process_.Wait(base::OpContext::Background());
    }
  }

  const std::string& port() const { return port_; }

 private:
  ServerProcess() = default;

  base::Process process_;
  base::UniqueFd pipe_;
  std::string output_;
  std::string port_;
};

}  // namespace berth::registry
