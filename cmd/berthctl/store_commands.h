// `berthctl export`, `check` and `wipe`: the store of images and what containers leave. Where a
// berthd must not run, or none does, the berthd program itself does the work (`berthd --check`,
// `--wipe`): it is found beside this program, or by $PATH.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "berth/v1/admin.pb.h"
#include "cmd/berthctl/client.h"

namespace berth::berthctl {

struct ExportArguments {
  std::vector<std::string> images;
  std::string output;  // "-": standard output
  std::string format = "oci";
  bool compress = false;
};
// A file is written under another name and gets its own when it is whole. kInvalidArgument:
// standard output is a terminal.
absl::Status Export(Client& client, const ExportArguments& arguments);

// Where the berthd program finds its root; empty: as it does by itself.
struct RootArguments {
  std::string config, config_dir, root, state;
};

struct CheckArguments {
  bool repair = false;
  bool layers = false;
  RootArguments root;
};
// Asks the berthd at `socket`; where nobody listens, has the root checked by the berthd program.
absl::StatusOr<v1::CheckResponse> Check(const std::string& socket, const CheckArguments& arguments);

struct WipeArguments {
  bool images = false;
  bool all = false;
  bool force = false;  // asks nothing
  RootArguments root;
};
// Does not return when it has begun: the process becomes `berthd --wipe`, with its exit code.
// kFailedPrecondition: a berthd answers at `socket`; kInvalidArgument: there is nobody to ask;
// kCancelled: somebody said no.
absl::Status Wipe(const std::string& socket, const WipeArguments& arguments);

// For people; ends with a newline.
std::string CheckText(const v1::CheckResponse& report);
// The message as one JSON object; ends with a newline.
absl::StatusOr<std::string> CheckJson(const v1::CheckResponse& report);

}  // namespace berth::berthctl
