// Config: everything an administrator can set, with its defaults, and how it is read.
//
// Read in this order, later ones win: the defaults below, the file, the drop-ins (*.toml of a
// directory, in the order of their names), the flags. A key of a later file replaces the value of
// an earlier one, lists included; [runtimes.NAME] tables merge key by key. What each key does is
// said in conf/berthd.toml, which a test holds equal to the defaults here.
//
// Values are checked for form, not against the node: that a path is absolute, not that it exists.
// Threads: values and pure functions; LoadConfig blocks on the disk.
// Source: toml.io v1.0.0 for the format.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace berth::config {

struct ApiConfig {
  std::string listen = "unix:///run/berth/berth.sock";

  // The socket's path: `listen` without its scheme.
  std::string SocketPath() const;
  bool operator==(const ApiConfig&) const = default;
};

struct StreamConfig {
  std::string address = "127.0.0.1";
  int port = 0;                                  // 0: any free one
  absl::Duration idle_timeout = absl::Hours(4);  // zero: never
  std::string tls_cert;                          // with tls_key; empty: plain HTTP
  std::string tls_key;
  std::string tls_ca;  // clients must present a certificate of this authority
  std::string tls_min_version = "1.2";
  std::vector<std::string> tls_cipher_suites;  // IANA names; empty: OpenSSL's defaults

  bool operator==(const StreamConfig&) const = default;
};

struct RuntimeConfig {
  std::string default_handler = "crun";  // key `default`
  std::string cgroup_manager = "auto";   // auto, systemd, cgroupfs
  std::string monitor;                   // programs; empty: the installed ones
  std::string pause;
  std::string seccomp_profile;                     // empty: berth's own
  std::string apparmor_profile = "berth-default";  // or one that is loaded, or "unconfined"
  bool selinux = false;
  std::vector<std::string> default_capabilities = {
      "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER", "CAP_SETGID",
      "CAP_SETUID", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_KILL"};
  std::vector<std::string> default_sysctls;  // "name=value"
  std::vector<std::string> default_ulimits;  // "name=soft:hard"
  std::vector<std::string> hooks_dirs = {"/usr/share/containers/oci/hooks.d"};
  std::vector<std::string> cdi_spec_dirs = {"/etc/cdi", "/var/run/cdi"};
  std::string blockio_config_file;  // empty: no classes
  bool rdt = false;
  bool log_to_journald = false;
  int log_size_max = -1;  // bytes; -1: no limit

  bool operator==(const RuntimeConfig&) const = default;
};

// One [runtimes.NAME].
struct HandlerConfig {
  std::string path;  // empty: NAME on PATH
  std::string root;  // empty: /run/NAME
  std::string type = "oci";
  std::vector<std::string> options;  // global ones of its command line
  std::vector<std::string> allowed_annotations;
  bool privileged_without_host_devices = false;
  std::string exec_cpu_affinity;  // "": that of the container; "first"

  bool operator==(const HandlerConfig&) const = default;
};

struct ImageConfig {
  std::string registries_conf = "/etc/containers/registries.conf";
  std::string registries_conf_dir = "/etc/containers/registries.conf.d";
  std::string certs_dir = "/etc/containers/certs.d";
  std::string auth_file;
  std::string policy = "/etc/containers/policy.json";
  std::vector<std::string> pinned;
  int max_parallel_downloads = 8;
  int connections_per_layer = 4;
  absl::Duration pull_progress_timeout = absl::ZeroDuration();  // zero: none

  bool operator==(const ImageConfig&) const = default;
};

struct NetworkConfig {
  std::string conf_dir = "/etc/cni/net.d";
  std::vector<std::string> plugin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
  std::string default_network;  // empty: the first in conf_dir

  bool operator==(const NetworkConfig&) const = default;
};

struct LogConfig {
  std::string level = "info";
  std::string format = "text";

  bool operator==(const LogConfig&) const = default;
};

struct MetricsConfig {
  std::string listen;  // "ADDRESS:PORT"; empty: none

  bool operator==(const MetricsConfig&) const = default;
};

struct Config {
  std::string root = "/var/lib/berth";
  std::string state = "/run/berth";
  ApiConfig api;
  StreamConfig stream;
  RuntimeConfig runtime;
  std::map<std::string, HandlerConfig> runtimes;
  ImageConfig image;
  NetworkConfig network;
  LogConfig log;
  MetricsConfig metrics;

  bool operator==(const Config&) const = default;
};

// Where the files are. Made by SourcesFromFlags.
struct ConfigSources {
  std::string file = "/etc/berth/berthd.toml";
  bool file_must_exist = false;
  std::string dir = "/etc/berth/conf.d";  // empty: no drop-ins
  bool dir_must_exist = false;
};

// --config and --config-dir, where given. A file or directory that was named must exist. --config
// alone leaves out the default directory too, so that a second berthd does not pick up the node's
// drop-ins.
ConfigSources SourcesFromFlags(const std::optional<std::string>& file,
                               const std::optional<std::string>& dir);

// berthd's flags that stand for a key.
struct ConfigOverrides {
  std::optional<std::string> root;
  std::optional<std::string> state;
  std::optional<std::string> listen;
  std::optional<std::string> log_level;
};

// Errors: kInvalidArgument: a file is not TOML, has an unknown key, a wrong type or a bad value
// (named: file, line, key and what is expected), or settings contradict each other; kNotFound: a
// file or directory that must exist does not; kOutOfRange: a file is larger than kMaxConfigBytes.
absl::StatusOr<Config> LoadConfig(const ConfigSources& sources, const ConfigOverrides& overrides);
inline constexpr size_t kMaxConfigBytes = 1 << 20;

// Sets the keys that `text` has in `config`. `name` stands for the file in errors. On an error
// config is half changed.
absl::Status ReadToml(std::string_view text, const std::string& name, Config& config);

// All keys with their values, as a TOML file that reads back to the same.
std::string ToToml(const Config& config);

}  // namespace berth::config
