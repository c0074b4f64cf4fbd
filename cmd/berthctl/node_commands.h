// `berthctl import`, `status` and `config`: each asks the running daemon one thing and returns what
// to print.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "cmd/berthctl/client.h"

namespace berth::berthctl {

// kNotFound: no such path here. The path may be relative: the daemon gets it absolute.
absl::StatusOr<std::string> Import(Client& client, const std::string& path,
                                   const std::vector<std::string>& names);
absl::StatusOr<std::string> Status(Client& client, bool json);
absl::StatusOr<std::string> EffectiveConfig(Client& client);

}  // namespace berth::berthctl
