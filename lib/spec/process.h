// The process of a container: what runs, where, with which environment; and that of an exec session
// in it.
//
// Threads: pure functions.
// Limits: 128 KiB per argument or variable and 2 MiB together (the kernel's are near), beyond:
// kInvalidArgument. Strings must be UTF-8, since config.json is, and hold no NUL.
// Source: OCI runtime-spec config.md "process"; CRI v1 ContainerConfig, Kubernetes' rules for
// command and args.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/model/container.h"
#include "lib/oci/image.h"

namespace berth::spec {

// command and args of the request, else the image's Entrypoint and Cmd: Entrypoint applies when
// there is no command, Cmd when there are neither command nor args. kInvalidArgument: nothing at
// all.
absl::StatusOr<std::vector<std::string>> AssembleArgs(const model::ContainerSpec& container,
                                                      const oci::ImageConfig& image);

// PATH and TERM defaults, HOSTNAME, `default_env`, the request's, then the image's as far as the
// request does not set them, HOME of `home` when nobody set it and home is not empty. A key set
// again keeps its first place. kInvalidArgument: a key that is empty or contains '=', a NUL, text
// that is not UTF-8, a HOME with control characters (CVE-2026-15809; the value ends up in passwd
// files).
absl::StatusOr<std::vector<std::string>> AssembleEnv(const model::ContainerSpec& container,
                                                     const oci::ImageConfig& image,
                                                     const std::vector<std::string>& default_env,
                                                     const std::string& hostname,
                                                     const std::string& home);

// The request's working directory, else the image's, else "/"; cleaned of "." and "..".
// kInvalidArgument: not absolute.
absl::StatusOr<std::string> AssembleCwd(const model::ContainerSpec& container,
                                        const oci::ImageConfig& image);

// Whether the container boots systemd: it then wants some tmpfs and the variable `container`.
bool IsSystemd(const std::vector<std::string>& args);

struct Ulimit {
  std::string type;  // "RLIMIT_NOFILE"
  uint64_t soft = 0, hard = 0;
};

// "nofile=1024:2048" or "nofile=1024"; -1 or "unlimited". kInvalidArgument says what is wrong.
absl::StatusOr<Ulimit> ParseUlimit(std::string_view text);

// The OCI `process` of an exec session: that of the container (SpecOutput::process_json: same user,
// groups, environment, cwd, capabilities, no_new_privs, limits, labels) with other arguments.
// kInvalidArgument: no arguments, or text that is not UTF-8; kDataLoss: process_json is not what
// BuildContainerSpec wrote.
absl::StatusOr<std::string> BuildProcessJson(std::string_view process_json,
                                             const std::vector<std::string>& args, bool tty);

}  // namespace berth::spec
