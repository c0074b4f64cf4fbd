#include "lib/model/record_json.h"

#include <type_traits>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/status.h"

namespace berth::model {

namespace {

using Json = nlohmann::json;

// One list of fields per type serves both directions: Visit(value, archive) calls archive("key",
// field).
template <typename A>
void Visit(IdMapping& v, A& a) {
  a("host", v.host_id);
  a("container", v.container_id);
  a("length", v.length);
}
template <typename A>
void Visit(HugepageLimit& v, A& a) {
  a("size", v.page_size);
  a("limit", v.limit);
}
template <typename A>
void Visit(SelinuxOptions& v, A& a) {
  a("user", v.user);
  a("role", v.role);
  a("type", v.type);
  a("level", v.level);
}
template <typename A>
void Visit(SecurityProfile& v, A& a) {
  a("type", v.type);
  a("ref", v.localhost_ref);
}
template <typename A>
void Visit(DnsConfig& v, A& a) {
  a("servers", v.servers);
  a("searches", v.searches);
  a("options", v.options);
}
template <typename A>
void Visit(EnvVar& v, A& a) {
  a("k", v.key);
  a("v", v.value);
}
template <typename A>
void Visit(DeviceSpec& v, A& a) {
  a("container", v.container_path);
  a("host", v.host_path);
  a("permissions", v.permissions);
}
template <typename A>
void Visit(ContainerUser& v, A& a) {
  a("uid", v.uid);
  a("gid", v.gid);
  a("groups", v.supplemental_groups);
  a("home", v.home);
}

template <typename A>
void Visit(NamespaceOptions& v, A& a) {
  a("network", v.network);
  a("pid", v.pid);
  a("ipc", v.ipc);
  a("target", v.target_id);
  a("user", v.user);
  a("uids", v.uids);
  a("gids", v.gids);
}

template <typename A>
void Visit(Resources& v, A& a) {
  a("cpu_period", v.cpu_period);
  a("cpu_quota", v.cpu_quota);
  a("cpu_shares", v.cpu_shares);
  a("memory", v.memory_limit_bytes);
  a("memory_swap", v.memory_swap_limit_bytes);
  a("oom_score_adj", v.oom_score_adj);
  a("cpus", v.cpuset_cpus);
  a("mems", v.cpuset_mems);
  a("hugepages", v.hugepage_limits);
  a("unified", v.unified);
}

template <typename A>
void Visit(PortMapping& v, A& a) {
  a("protocol", v.protocol);
  a("container_port", v.container_port);
  a("host_port", v.host_port);
  a("host_ip", v.host_ip);
}

template <typename A>
void Visit(SandboxSpec& v, A& a) {
  a("name", v.name);
  a("uid", v.uid);
  a("ns", v.ns);
  a("attempt", v.attempt);
  a("hostname", v.hostname);
  a("log_directory", v.log_directory);
  a("dns", v.dns);
  a("ports", v.port_mappings);
  a("labels", v.labels);
  a("annotations", v.annotations);
  a("handler", v.runtime_handler);
  a("cgroup_parent", v.cgroup_parent);
  a("sysctls", v.sysctls);
  a("namespaces", v.namespaces);
  a("privileged", v.privileged);
  a("selinux", v.selinux);
  a("overhead", v.overhead);
  a("resources", v.resources);
}

template <typename A>
void Visit(SandboxRecord& v, A& a) {
  a("id", v.id);
  a("spec", v.spec);
  a("state", v.state);
  a("created", v.created_ns);
  a("pause_pid", v.pause_pid);
  a("pause_start", v.pause_start);
  a("cgroup", v.cgroup);
  a("hostname", v.hostname);
  a("ips", v.ips);
  a("cni", v.cni_attachment);
  a("network_down", v.network_down);
}

template <typename A>
void Visit(MountSpec& v, A& a) {
  a("to", v.container_path);
  a("from", v.host_path);
  a("ro", v.readonly);
  a("rro", v.recursive_readonly);
  a("relabel", v.selinux_relabel);
  a("propagation", v.propagation);
  a("uids", v.uid_mappings);
  a("gids", v.gid_mappings);
  a("image", v.image);
  a("image_sub_path", v.image_sub_path);
  a("options", v.options);
}

template <typename A>
void Visit(ContainerSecurity& v, A& a) {
  a("privileged", v.privileged);
  a("add", v.add_capabilities);
  a("drop", v.drop_capabilities);
  a("ambient", v.add_ambient_capabilities);
  a("namespaces", v.namespaces);
  a("selinux", v.selinux);
  a("user", v.run_as_user);
  a("group", v.run_as_group);
  a("username", v.run_as_username);
  a("ro", v.readonly_rootfs);
  a("groups", v.supplemental_groups);
  a("groups_policy", v.supplemental_groups_policy);
  a("nnp", v.no_new_privs);
  a("masked", v.masked_paths);
  a("readonly", v.readonly_paths);
  a("seccomp", v.seccomp);
  a("apparmor", v.apparmor);
}

template <typename A>
void Visit(ContainerSpec& v, A& a) {
  a("name", v.name);
  a("attempt", v.attempt);
  a("image", v.image);
  a("user_image", v.user_specified_image);
  a("image_annotations", v.image_annotations);
  a("command", v.command);
  a("args", v.args);
  a("cwd", v.working_dir);
  a("envs", v.envs);
  a("mounts", v.mounts);
  a("devices", v.devices);
  a("cdi", v.cdi_devices);
  a("labels", v.labels);
  a("annotations", v.annotations);
  a("log", v.log_path);
  a("stdin", v.stdin_open);
  a("stdin_once", v.stdin_once);
  a("tty", v.tty);
  a("stop_signal", v.stop_signal);
  a("resources", v.resources);
  a("security", v.security);
}

template <typename A>
void Visit(ResourceUndo& v, A& a) {
  a("files", v.files);
  a("old_oom", v.old_oom_score_adj);
  a("new_oom", v.new_oom_score_adj);
}

template <typename A>
void Visit(ContainerRecord& v, A& a) {
  a("id", v.id);
  a("sandbox", v.sandbox_id);
  a("full_name", v.full_name);
  a("spec", v.spec);
  a("handler", v.runtime_handler);
  a("image", v.image_id);
  a("layers", v.layers);
  a("volume_layers", v.volume_layers);
  a("user", v.user);
  a("log", v.log_path);
  a("stop_signal", v.stop_signal);
  a("created", v.created_ns);
  a("started", v.started_ns);
  a("finished", v.finished_ns);
  a("pid", v.pid);
  a("pid_start", v.pid_start);
  a("monitor", v.monitor_pid);
  a("monitor_start", v.monitor_start);
  a("exit", v.exit_code);
  a("oom", v.oom_killed);
  a("lost_log", v.lost_log_bytes);
  a("reason", v.reason);
  a("message", v.message);
  a("cgroup_parent", v.cgroup_parent);
  a("resource_undo", v.resource_undo);
  a("update_annotations", v.update_annotations);
}

class Writer {
 public:
  template <typename T>
  void operator()(const char* key, T& value) {
    json_[key] = Of(value);
  }
  Json Take() { return std::move(json_); }

  template <typename T>
  static Json Of(T& value) {
    if constexpr (std::is_enum_v<T>) {
      return static_cast<int>(value);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      return value;
    } else {
      Writer writer;
      Visit(value, writer);
      return writer.Take();
    }
  }
  template <typename T>
  static Json Of(std::vector<T>& values) {
    Json list = Json::array();
    for (T& value : values) list.push_back(Of(value));
    return list;
  }
  static Json Of(std::map<std::string, std::string>& map) { return map; }
  template <typename T>
  static Json Of(std::optional<T>& value) {
    return value ? Of(*value) : Json();
  }
  template <typename T>
  static Json Of(base::StrongId<T>& id) {
    return id.value();
  }

 private:
  Json json_ = Json::object();
};

class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}
  template <typename T>
  void operator()(const char* key, T& value) {
    if (const auto it = json_.find(key); it != json_.end()) Into(*it, value);
  }

  template <typename T>
  static void Into(const Json& json, T& value) {
    if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(json.get<int>());
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      value = json.get<T>();
    } else {
      Reader reader(json);
      Visit(value, reader);
    }
  }
  template <typename T>
  static void Into(const Json& json, std::vector<T>& values) {
    for (const Json& item : json) Into(item, values.emplace_back());
  }
  static void Into(const Json& json, std::map<std::string, std::string>& map) {
    map = json.get<std::map<std::string, std::string>>();
  }
  template <typename T>
  static void Into(const Json& json, std::optional<T>& value) {
    if (!json.is_null()) Into(json, value.emplace());
  }
  template <typename T>
  static void Into(const Json& json, base::StrongId<T>& id) {
    id = base::StrongId<T>(json.get<std::string>());
  }

 private:
  const Json& json_;
};

template <typename T>
std::string EncodeRecord(const T& record) {
  // The writer only reads; one Visit serves both directions.
  std::string bytes;
  Json::to_cbor(Writer::Of(const_cast<T&>(record)), bytes);
  return bytes;
}

// Stops a reader, which calls itself for each level, before a damaged record is deeper than the
// stack.
class DepthCheck : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ <= kMaxDepth; }
  bool start_array(size_t) override { return ++depth_ <= kMaxDepth; }
  bool end_object() override { return --depth_ >= 0; }
  bool end_array() override { return --depth_ >= 0; }
  // What is wrong in another way is said by the reader itself.
  bool parse_error(size_t, const std::string&, const Json::exception&) override { return false; }

  bool is_too_deep() const { return depth_ > kMaxDepth; }

 private:
  static constexpr int kMaxDepth = 32;
  int depth_ = 0;
};

template <typename T>
absl::StatusOr<T> DecodeRecord(std::string_view bytes, const char* what) {
  try {
    DepthCheck depth;
    Json::sax_parse(bytes.begin(), bytes.end(), &depth, Json::input_format_t::cbor);
    if (depth.is_too_deep()) {
      return absl::DataLossError(fmt::format("decode the record of a {}: it nests too deep", what));
    }
    T record;
    const Json json = Json::from_cbor(bytes.begin(), bytes.end());
    Reader::Into(json, record);
    if (!json.is_object() || record.id.empty()) {
      return absl::DataLossError(fmt::format("decode the record of a {}: it has no id", what));
    }
    return record;
  } catch (const Json::exception& e) {
    return absl::DataLossError(fmt::format("decode the record of a {}: {}", what, e.what()));
  }
}

}  // namespace

std::string Encode(const SandboxRecord& record) { return EncodeRecord(record); }
std::string Encode(const ContainerRecord& record) { return EncodeRecord(record); }
absl::StatusOr<SandboxRecord> DecodeSandbox(std::string_view bytes) {
  return DecodeRecord<SandboxRecord>(bytes, "pod sandbox");
}
absl::StatusOr<ContainerRecord> DecodeContainer(std::string_view bytes) {
  return DecodeRecord<ContainerRecord>(bytes, "container");
}

}  // namespace berth::model
