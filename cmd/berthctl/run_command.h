// `berthctl run`: one pod with one container, its output on the terminal, its exit code; nothing is
// left behind.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "cmd/berthctl/client.h"
#include "cmd/berthctl/interrupt.h"
#include "runtime/v1/api.pb.h"

namespace berth::berthctl {

// What berthctl exits with when the container could not be run, as other command lines do.
inline constexpr int kRunFailed = 125;

struct RunOptions {
  std::string image;
  std::vector<std::string> args;  // empty: the image's
  std::vector<std::string> env;   // "K=V"
  std::string user;               // "UID", "UID:GID" or "NAME"; empty: the image's
  std::string runtime_handler;    // empty: the default
  bool host_network = false;
  bool no_pull = false;
  int stdout_fd = 1;
  int stderr_fd = 2;
};

// What the container is to be. kInvalidArgument: an env without '=', a user that is none.
absl::StatusOr<runtime::v1::ContainerConfig> MakeContainerConfig(const RunOptions& options);

// Runs it to its end. The exit code is the container's; 128 + the signal's number when `interrupt`
// ended it. Pod, container and log are removed on every way out; what cannot be removed is named on
// stderr_fd. Errors: the daemon's; kDataLoss: a log that is none.
absl::StatusOr<int> Run(Client& client, Interrupt& interrupt, const RunOptions& options);

}  // namespace berth::berthctl
