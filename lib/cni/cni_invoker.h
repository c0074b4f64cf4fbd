// CniInvoker: attaches pods to networks by running the network's plugins, one process each.
//
// ADD runs the chain first to last, each plugin given the result of the one before; when one fails,
// the whole chain is DELeted (with a time budget of its own) and the first error returned. DEL runs
// it last to first with the cached result; it does not stop at a failing plugin, so that one broken
// plugin does not leak what the others hold, and returns the first error. DEL may be repeated, and
// works when the netns or the configuration file has gone.
//
// Threads: thread-safe, without any lock: the pods' calls are independent. Ownership: borrows the
// ProcessRunner. Time: a plugin still running at the context's end is killed. Limits: 1 MiB of
// output. Errors name the plugin, the network and the pod. kUnavailable: a plugin is missing (with
// the directories searched), or asks to try again later; kFailedPrecondition: it refuses the
// configuration or its version; kInternal: it failed or printed nonsense. Source: CNI spec 1.1
// sections 2 (protocol), 3 (execution of configurations), 5 (results); CNI conventions.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/cni/attachment.h"
#include "lib/cni/network_config.h"
#include "lib/cni/result.h"

namespace berth::cni {

class CniInvoker {
 public:
  static constexpr size_t kMaxOutput = 1 << 20;
  // For the DEL that follows a failed ADD.
  static constexpr absl::Duration kUndoBudget = absl::Seconds(30);

  CniInvoker(base::ProcessRunner& runner, std::vector<std::string> plugin_dirs);

  // What Add will do, without doing it. kInvalidArgument: an id, name, interface or port that
  // cannot be passed to plugins.
  absl::StatusOr<Attachment> Plan(const NetworkConfig& network, const PodNetwork& pod) const;

  // ADD of the chain; returns the attachment with its result and addresses.
  absl::StatusOr<Attachment> Add(const base::OpContext& ctx, Attachment planned) const;

  // DEL of the chain. An attachment whose ADD never ran or failed is fine.
  absl::Status Del(const base::OpContext& ctx, const Attachment& attachment) const;

  // CHECK of the chain. kUnimplemented: the network's version is below 0.4.0; OK without a run when
  // it says disableCheck.
  absl::Status Check(const base::OpContext& ctx, const Attachment& attachment) const;

  // STATUS of the chain (1.1): kUnavailable with the plugin's words when it cannot serve ADD. OK
  // without a run for older networks.
  absl::Status NetworkStatus(const base::OpContext& ctx, const NetworkConfig& network) const;

  // GC of the chain (1.1): each plugin frees what it holds for attachments to the network that are
  // not in `valid`; entries of other networks are left out. OK without a run for older networks and
  // those that say disableGC. It does not stop at a failing plugin, and returns the first error.
  // Nobody may run ADD or DEL meanwhile.
  absl::Status CollectGarbage(const base::OpContext& ctx, const NetworkConfig& network,
                              const std::set<AttachmentId>& valid) const;

  // VERSION: the versions that a plugin supports.
  absl::StatusOr<std::vector<std::string>> PluginVersions(const base::OpContext& ctx,
                                                          const std::string& type) const;

 private:
  struct Call;
  absl::StatusOr<std::string> Invoke(const base::OpContext& ctx, const Call& call) const;
  absl::StatusOr<std::string> AddChain(const base::OpContext& ctx, const NetworkConfig& network,
                                       const Attachment& attachment) const;
  absl::Status DelChain(const base::OpContext& ctx, const NetworkConfig& network,
                        const Attachment& attachment) const;

  base::ProcessRunner& runner_;
  const std::vector<std::string> plugin_dirs_;
  const std::string path_env_;
};

}  // namespace berth::cni
