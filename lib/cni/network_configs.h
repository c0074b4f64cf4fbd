// NetworkConfigs: the networks in the configuration directory, and whether pods can be attached to
// the default one.
//
// The default network is the one named by `default_network`, else the first valid file by name
// (`.conf`, `.conflist`, `.json`). A file that is not valid is skipped and reported; it never hides
// a valid one. Plugins are looked for anew at each Ready(), because they are often installed after
// the configuration.
//
// Changes of the directory are seen by inotify: the event loop only notes that there was one, and
// the next call of Ready(), Default() or Find() reads the directory again on its own thread. The
// directory may be made later, or be replaced.
//
// Threads: thread-safe. Ownership: borrows the EventLoop, which must outlive it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "lib/base/event_loop.h"
#include "lib/base/mutex.h"
#include "lib/base/unique_fd.h"
#include "lib/cni/network_config.h"

namespace berth::cni {

struct NetworkOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::vector<std::string> plugin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
  std::string default_network;  // empty: the first valid file
};

class NetworkConfigs {
 public:
  struct Invalid {
    std::string path;
    std::string reason;
  };

  // Reads the directory. Watches it when a loop is given.
  explicit NetworkConfigs(NetworkOptions options, base::EventLoop* loop = nullptr);
  ~NetworkConfigs();
  NetworkConfigs(const NetworkConfigs&) = delete;
  NetworkConfigs& operator=(const NetworkConfigs&) = delete;

  // Reads the directory again, now. Files that are not valid are logged, each once until it
  // changes.
  void Reload();

  // The network that pods are attached to. kUnavailable with the reason of Ready(), except that
  // missing plugins do not matter.
  absl::StatusOr<std::shared_ptr<const NetworkConfig>> Default();
  // A network by name. kNotFound.
  absl::StatusOr<std::shared_ptr<const NetworkConfig>> Find(const std::string& name);

  // OK, or kUnavailable saying what is missing: no configuration (and which files are invalid), or
  // a plugin's program. Its message is the NetworkReady condition's.
  absl::Status Ready();

  std::vector<Invalid> invalid();
  const NetworkOptions& options() const { return options_; }

 private:
  struct Loaded {
    std::vector<std::shared_ptr<const NetworkConfig>> networks;  // by file name
    std::vector<Invalid> invalid;
    std::string problem;  // why the directory could not be read, or empty
  };

  Loaded Load() const;
  void ReloadIfChanged();
  void WatchDirectory() ABSL_EXCLUSIVE_LOCKS_REQUIRED(reload_mu_);
  void OnInotify();
  std::string WhyNoneLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const NetworkOptions options_;
  base::EventLoop* const loop_;
  base::UniqueFd inotify_fd_;
  std::atomic<bool> changed_ = false;

  // Serialises reading the directory; taken before mu_, never by the event loop.
  base::Mutex reload_mu_;
  std::vector<int> watches_ ABSL_GUARDED_BY(reload_mu_);
  base::Mutex mu_;  // leaf
  Loaded loaded_ ABSL_GUARDED_BY(mu_);
};

// The plugin's path in the first directory that has it. kUnavailable names the directories;
// kInvalidArgument: a type with a '/'.
absl::StatusOr<std::string> FindPlugin(const std::vector<std::string>& plugin_dirs,
                                       const std::string& type);

}  // namespace berth::cni
