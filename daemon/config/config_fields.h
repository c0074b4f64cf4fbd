// VisitConfig: the one list of keys. The reader (config_reader.cc) and the writer
// (config_writer.cc) walk it, so neither can know a key that the other does not. Part of
// daemon/config only.
//
// A Visitor has Text, Texts, Number, Flag and Time for the kinds of values, Section for a table of
// known keys and Table for a table of the administrator's own names. `C` is Config or const Config.
#pragma once

#include <limits>

#include "daemon/config/config.h"
#include "daemon/config/rules.h"

namespace berth::config {

template <typename Visitor, typename C>
void VisitRuntime(Visitor& v, C& runtime) {
  v.Text("default", runtime.default_handler, kHandlerName);
  v.Text("cgroup_manager", runtime.cgroup_manager, kCgroupManager);
  v.Text("monitor", runtime.monitor, kOptionalPath);
  v.Text("pause", runtime.pause, kOptionalPath);
  v.Text("seccomp_profile", runtime.seccomp_profile, kOptionalPath);
  v.Text("apparmor_profile", runtime.apparmor_profile, kApparmorProfile);
  v.Flag("selinux", runtime.selinux);
  v.Texts("default_capabilities", runtime.default_capabilities, kCapability);
  v.Texts("default_sysctls", runtime.default_sysctls, kSysctl);
  v.Texts("default_ulimits", runtime.default_ulimits, kUlimit);
  v.Texts("hooks_dirs", runtime.hooks_dirs, kPath);
  v.Texts("cdi_spec_dirs", runtime.cdi_spec_dirs, kPath);
  v.Text("blockio_config_file", runtime.blockio_config_file, kOptionalPath);
  v.Flag("rdt", runtime.rdt);
  v.Flag("log_to_journald", runtime.log_to_journald);
  v.Number("log_size_max", runtime.log_size_max, -1, std::numeric_limits<int>::max());
}

template <typename Visitor, typename C>
void VisitImage(Visitor& v, C& image) {
  v.Text("registries_conf", image.registries_conf, kOptionalPath);
  v.Text("registries_conf_dir", image.registries_conf_dir, kOptionalPath);
  v.Text("certs_dir", image.certs_dir, kOptionalPath);
  v.Text("auth_file", image.auth_file, kOptionalPath);
  v.Text("policy", image.policy, kOptionalPath);
  v.Texts("pinned", image.pinned, kAnyText);
  v.Number("max_parallel_downloads", image.max_parallel_downloads, 1, 128);
  v.Number("connections_per_layer", image.connections_per_layer, 1, 5);
  v.Time("pull_progress_timeout", image.pull_progress_timeout);
}

template <typename Visitor, typename C>
void VisitConfig(Visitor& v, C& config) {
  v.Text("root", config.root, kPath);
  v.Text("state", config.state, kPath);
  v.Section("api", [&](Visitor& s) { s.Text("listen", config.api.listen, kUnixUrl); });
  v.Section("stream", [&](Visitor& s) {
    s.Text("address", config.stream.address, kIpAddress);
    s.Number("port", config.stream.port, 0, 65535);
    s.Time("idle_timeout", config.stream.idle_timeout);
    s.Text("tls_cert", config.stream.tls_cert, kOptionalPath);
    s.Text("tls_key", config.stream.tls_key, kOptionalPath);
    s.Text("tls_ca", config.stream.tls_ca, kOptionalPath);
    s.Text("tls_min_version", config.stream.tls_min_version, kTlsVersion);
    s.Texts("tls_cipher_suites", config.stream.tls_cipher_suites, kCipherSuite);
  });
  v.Section("runtime", [&](Visitor& s) { VisitRuntime(s, config.runtime); });
  v.Table("runtimes", config.runtimes, kHandlerName, [](Visitor& s, auto& handler) {
    s.Text("path", handler.path, kOptionalPath);
    s.Text("root", handler.root, kOptionalPath);
    s.Text("type", handler.type, kHandlerType);
    s.Texts("options", handler.options, kAnyText);
    s.Texts("allowed_annotations", handler.allowed_annotations, kAnyText);
    s.Flag("privileged_without_host_devices", handler.privileged_without_host_devices);
    s.Text("exec_cpu_affinity", handler.exec_cpu_affinity, kExecCpuAffinity);
  });
  v.Section("image", [&](Visitor& s) { VisitImage(s, config.image); });
  v.Section("network", [&](Visitor& s) {
    s.Text("conf_dir", config.network.conf_dir, kPath);
    s.Texts("plugin_dirs", config.network.plugin_dirs, kPath);
    s.Text("default_network", config.network.default_network, kAnyText);
  });
  v.Section("log", [&](Visitor& s) {
    s.Text("level", config.log.level, kLogLevel);
    s.Text("format", config.log.format, kLogFormat);
  });
  v.Section("metrics",
            [&](Visitor& s) { s.Text("listen", config.metrics.listen, kOptionalEndpoint); });
}

}  // namespace berth::config
