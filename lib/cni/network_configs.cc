#include "lib/cni/network_configs.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::cni {

namespace {

constexpr size_t kMaxFile = 1 << 20;
// Files beyond are not read: a directory of that many is a mistake.
constexpr size_t kMaxFiles = 256;
// How many invalid files a message names.
constexpr size_t kMaxNamed = 5;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

bool IsConfigName(const std::string& name) {
  return absl::EndsWith(name, ".conf") || absl::EndsWith(name, ".conflist") ||
         absl::EndsWith(name, ".json");
}

absl::StatusOr<NetworkConfig> LoadFile(const std::string& path) {
  // A FIFO or a device of such a name must not be opened.
  struct stat st = {};
  if (::stat(path.c_str(), &st) != 0) {
    return base::ErrnoStatus(errno, "read");
  }
  if (!S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError("not a regular file");
  }
  ASSIGN_OR_RETURN(const std::string bytes, base::ReadFile(path, kMaxFile));
  ASSIGN_OR_RETURN(NetworkConfig network, ParseNetworkConfig(bytes));
  network.source = path;
  return network;
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

bool Differs(const std::vector<NetworkConfigs::Invalid>& list, const NetworkConfigs::Invalid& one) {
  return std::none_of(list.begin(), list.end(), [&](const auto& other) {
    return other.path == one.path && other.reason == one.reason;
  });
}

}  // namespace

NetworkConfigs::NetworkConfigs(NetworkOptions options, base::EventLoop* loop)
    : options_(std::move(options)), loop_(loop) {
  if (loop_ != nullptr) {
    inotify_fd_.Reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    absl::Status status =
        inotify_fd_ ? loop_->Watch(inotify_fd_.get(), EPOLLIN, [this](uint32_t) { OnInotify(); })
                    : base::ErrnoStatus(errno, "start inotify");
    if (!status.ok()) {
      base::Log("cni").warn("network configuration is read at every use: {}", Text(status));
      inotify_fd_.Reset();
    }
  }
  Reload();
}

NetworkConfigs::~NetworkConfigs() {
  if (inotify_fd_) {
    loop_->Unwatch(inotify_fd_.get());
  }
}

void NetworkConfigs::OnInotify() {
  char buffer[4096];
  while (::read(inotify_fd_.get(), buffer, sizeof(buffer)) > 0) {
  }
  changed_ = true;
}

void NetworkConfigs::WatchDirectory() {
  for (int watch : watches_) {
    (void)::inotify_rm_watch(inotify_fd_.get(), watch);  // gone with its directory, perhaps
  }
  watches_.clear();
  constexpr uint32_t kEntries = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR;
  const int own =
      ::inotify_add_watch(inotify_fd_.get(), options_.conf_dir.c_str(),
                          kEntries | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF);
  if (own >= 0) {
    watches_.push_back(own);
  }
  // The directory above, too, or the nearest there is: the directory may be a symlink that is
  // switched, or be made later.
  for (std::string above = ParentOf(options_.conf_dir);; above = ParentOf(above)) {
    const int watch = ::inotify_add_watch(inotify_fd_.get(), above.c_str(),
                                          kEntries | IN_DELETE_SELF | IN_MOVE_SELF);
    if (watch >= 0) {
      watches_.push_back(watch);
      return;
    }
    if (above == "/" || above == ".") {
      return;
    }
  }
}

NetworkConfigs::Loaded NetworkConfigs::Load() const {
  Loaded loaded;
  absl::StatusOr<std::vector<std::string>> names = base::ListDir(options_.conf_dir);
  if (!names.ok()) {
    loaded.problem = absl::IsNotFound(names.status())
                         ? fmt::format("directory '{}' does not exist", options_.conf_dir)
                         : Text(names.status());
    return loaded;
  }
  names->erase(std::remove_if(names->begin(), names->end(),
                              [](const std::string& name) { return !IsConfigName(name); }),
               names->end());
  std::sort(names->begin(), names->end());
  if (names->size() > kMaxFiles) {
    loaded.invalid.push_back(
        {options_.conf_dir, fmt::format("more than {} files, the rest is not read", kMaxFiles)});
    names->resize(kMaxFiles);
  }
  for (const std::string& name : *names) {
    const std::string path = options_.conf_dir + "/" + name;
    absl::StatusOr<NetworkConfig> network = LoadFile(path);
    if (network.ok()) {
      loaded.networks.push_back(std::make_shared<const NetworkConfig>(*std::move(network)));
    } else if (!absl::IsNotFound(network.status())) {  // gone since it was listed
      loaded.invalid.push_back({path, Text(network.status())});
    }
  }
  return loaded;
}

void NetworkConfigs::Reload() {
  base::MutexLock reload(reload_mu_);
  if (inotify_fd_) {
    WatchDirectory();  // before reading: a change during it is then seen
  }
  Loaded fresh = Load();
  std::vector<Invalid> news;
  {
    base::MutexLock lock(mu_);
    for (const Invalid& one : fresh.invalid) {
      if (Differs(loaded_.invalid, one)) {
        news.push_back(one);
      }
    }
    loaded_ = std::move(fresh);
  }
  for (const Invalid& one : news) {
    base::Log("cni").warn("ignoring network configuration path={}: {}", one.path, one.reason);
  }
}

void NetworkConfigs::ReloadIfChanged() {
  const bool unwatched = loop_ != nullptr && !inotify_fd_;
  if (changed_.exchange(false) || unwatched) {
    Reload();
  }
}

std::string NetworkConfigs::WhyNoneLocked() const {
  if (!loaded_.problem.empty()) {
    return fmt::format("no network configuration: {}", loaded_.problem);
  }
  std::vector<std::string> named;
  for (const Invalid& one : loaded_.invalid) {
    if (named.size() == kMaxNamed) {
      named.push_back("...");
      break;
    }
    named.push_back(fmt::format("{}: {}", one.path, one.reason));
  }
  const std::string because =
      named.empty() ? "" : fmt::format("; not valid: {}", absl::StrJoin(named, "; "));
  if (!options_.default_network.empty()) {
    return fmt::format("no valid network '{}' in '{}'{}", options_.default_network,
                       options_.conf_dir, because);
  }
  return fmt::format("no valid network configuration in '{}'{}", options_.conf_dir, because);
}

absl::StatusOr<std::shared_ptr<const NetworkConfig>> NetworkConfigs::Default() {
  ReloadIfChanged();
  base::MutexLock lock(mu_);
  for (const auto& network : loaded_.networks) {
    if (options_.default_network.empty() || network->name == options_.default_network) {
      return network;
    }
  }
  return absl::UnavailableError(WhyNoneLocked());
}

absl::StatusOr<std::shared_ptr<const NetworkConfig>> NetworkConfigs::Find(const std::string& name) {
  ReloadIfChanged();
  base::MutexLock lock(mu_);
  for (const auto& network : loaded_.networks) {
    if (network->name == name) {
      return network;
    }
  }
  return absl::NotFoundError(fmt::format("no network '{}' in '{}'", name, options_.conf_dir));
}

absl::Status NetworkConfigs::Ready() {
  ASSIGN_OR_RETURN(const std::shared_ptr<const NetworkConfig> network, Default());
  for (const PluginConfig& plugin : network->plugins) {
    RETURN_IF_ERROR(base::Annotate(FindPlugin(options_.plugin_dirs, plugin.type).status(),
                                   fmt::format("network '{}'", network->name)));
  }
  return absl::OkStatus();
}

std::vector<NetworkConfigs::Invalid> NetworkConfigs::invalid() {
  ReloadIfChanged();
  base::MutexLock lock(mu_);
  return loaded_.invalid;
}

absl::StatusOr<std::string> FindPlugin(const std::vector<std::string>& plugin_dirs,
                                       const std::string& type) {
  if (type.empty() || type.find('/') != std::string::npos || type == "." || type == "..") {
    return absl::InvalidArgumentError(
        fmt::format("cni plugin '{}' is not the name of a program", type));
  }
  for (const std::string& dir : plugin_dirs) {
    std::string path = fmt::format("{}/{}", dir, type);
    struct stat st = {};
    if (::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) &&
        ::access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return absl::UnavailableError(fmt::format("cni plugin '{}' is not in {}", type,
                                            plugin_dirs.empty()
                                                ? "any directory: none is configured"
                                                : absl::StrJoin(plugin_dirs, ", ")));
}

}  // namespace berth::cni
