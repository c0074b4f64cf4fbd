// RuntimeHandlers: the OCI runtimes of this node by the name that a pod's runtime class gives (CRI
// v1 "runtime_handler").
//
// Made once at start from the configuration, plus crun and runc where they are on PATH and not
// configured. Each one's `--version` and `features` are run then, unless a ProbeCache has what they
// said. A runtime that does not work is kept out and listed in broken().
//
// Threads: immutable after Load; may be shared. Ownership: handlers live as long as this object.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"

namespace berth::runtime {

struct HandlerConfig {
  std::string name;
  std::string path;  // empty: `name` on PATH
  std::string root;  // the runtime's state directory (--root); empty: "/run/" + name
  std::vector<std::string> options;  // further global options, put before the command
};

// What a pod may ask of it: what both the runtime and the kernel can. False where the runtime does
// not say.
struct HandlerFeatures {
  bool recursive_read_only = false;  // mount option "rro"
  bool idmap_mounts = false;         // mount options "idmap" and "ridmap"
  bool user_namespaces = false;      // joins a user namespace; berth maps the ids of mounts itself
  bool operator==(const HandlerFeatures&) const = default;
};

struct Handler {
  std::string name;
  std::string path;
  std::string root;
  std::vector<std::string> options;
  std::string version;  // first line of `--version`: "runc version 1.1.5+ds1"
  HandlerFeatures features;

  // path --root ROOT [options] [--systemd-cgroup]: what every call of the runtime begins with.
  std::vector<std::string> Command(bool systemd_cgroup) const;
};

struct BrokenHandler {
  std::string name;
  absl::Status error;
};

class RuntimeHandlers {
 public:
  // Runs each runtime for at most kProbeTimeout. default_name must be usable, or be absent from
  // `configs` and PATH while another one is usable and default_name was not chosen by the
  // administrator (default_is_required false): then the first usable one of crun and runc, else of
  // `configs`, is the default. scratch_dir: as in OciRuntimeOptions. cache_path: a ProbeCache's.
  // kFailedPrecondition: there is no usable one, or not the required one; the message has each one's
  // error.
  static absl::StatusOr<RuntimeHandlers> Load(const base::OpContext& ctx,
                                              base::ProcessRunner& runner,
                                              const std::vector<HandlerConfig>& configs,
                                              const std::string& default_name,
                                              bool default_is_required,
                                              const std::string& scratch_dir = {},
                                              const std::string& cache_path = {});
  static constexpr absl::Duration kProbeTimeout = absl::Seconds(5);

  // By name; "" is the default one. kNotFound names the known ones, or why this one is broken.
  absl::StatusOr<const Handler*> Get(std::string_view name) const;
  const Handler& default_handler() const { return handlers_.front(); }
  // The default one first.
  const std::vector<Handler>& handlers() const { return handlers_; }
  const std::vector<BrokenHandler>& broken() const { return broken_; }

 private:
  RuntimeHandlers() = default;

  std::vector<Handler> handlers_;
  std::vector<BrokenHandler> broken_;
};

// Whether the kernel has mount_setattr(2), Linux 5.12, without which neither recursive read-only
// nor id-mapped mounts can be made.
bool KernelHasMountSetattr();

// Reads the output of `<runtime> features` (OCI runtime-spec "features.md"). kInvalidArgument: not
// such a document.
absl::StatusOr<HandlerFeatures> ParseFeatures(std::string_view json);

}  // namespace berth::runtime
