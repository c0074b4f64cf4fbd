#include "daemon/config/config.h"

#include <fmt/format.h>

#include "daemon/config/rules.h"
#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::config {
namespace {

absl::Status Invalid(const std::string& what) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument, what);
}

absl::Status ReadFileInto(const std::string& path, bool must_exist, Config& config) {
  absl::StatusOr<std::string> text = base::ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status()) && !must_exist) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(text.status());
  return ReadToml(*text, path, config);
}

absl::Status ReadDropIns(const ConfigSources& sources, Config& config) {
  if (sources.dir.empty()) {
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::string>> names = base::ListDir(sources.dir);
  if (absl::IsNotFound(names.status()) && !sources.dir_must_exist) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(names.status());
  for (const std::string& name : *names) {
    // Hidden files are what editors and package managers leave behind.
    if (name.ends_with(".toml") && !name.starts_with('.')) {
      RETURN_IF_ERROR(ReadFileInto(sources.dir + "/" + name, true, config));
    }
  }
  return absl::OkStatus();
}

absl::Status ApplyFlag(const char* flag, const std::optional<std::string>& value, const Rule& rule,
                       std::string& field) {
  if (!value.has_value()) {
    return absl::OkStatus();
  }
  std::string text = *value;
  if (!rule.accept(text)) {
    return Invalid(fmt::format("flag {}: expected {}, found '{}'", flag, rule.expected, *value));
  }
  field = std::move(text);
  return absl::OkStatus();
}

// The longest record of a log must fit.
constexpr int kSmallestLog = 16384;

absl::Status CheckTogether(const Config& config) {
  if (const int size = config.runtime.log_size_max; size != -1 && size < kSmallestLog) {
    return Invalid(
        fmt::format("key 'runtime.log_size_max': expected -1 (no limit) or at least {}, found {}",
                    kSmallestLog, size));
  }
  if ((config.root + "/").starts_with(config.state + "/")) {
    return Invalid(
        fmt::format("root '{}' must not be or lie beneath state '{}', which is gone at reboot",
                    config.root, config.state));
  }
  const StreamConfig& stream = config.stream;
  if (stream.tls_cert.empty() != stream.tls_key.empty()) {
    return Invalid("stream.tls_cert and stream.tls_key must be set together");
  }
  if (!stream.tls_ca.empty() && stream.tls_cert.empty()) {
    return Invalid("stream.tls_ca needs stream.tls_cert and stream.tls_key");
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> Load(const ConfigSources& sources, const ConfigOverrides& overrides) {
  Config config;
  RETURN_IF_ERROR(ReadFileInto(sources.file, sources.file_must_exist, config));
  RETURN_IF_ERROR(ReadDropIns(sources, config));
  RETURN_IF_ERROR(ApplyFlag("--root", overrides.root, kPath, config.root));
  RETURN_IF_ERROR(ApplyFlag("--state", overrides.state, kPath, config.state));
  RETURN_IF_ERROR(ApplyFlag("--listen", overrides.listen, kUnixUrl, config.api.listen));
  RETURN_IF_ERROR(ApplyFlag("--log-level", overrides.log_level, kLogLevel, config.log.level));
  RETURN_IF_ERROR(CheckTogether(config));
  return config;
}

}  // namespace

std::string ApiConfig::SocketPath() const {
  return listen.substr(std::string_view("unix://").size());
}

ConfigSources SourcesFromFlags(const std::optional<std::string>& file,
                               const std::optional<std::string>& dir) {
  ConfigSources sources;
  if (file.has_value()) {
    sources.file = *file;
    sources.file_must_exist = true;
    sources.dir.clear();
  }
  if (dir.has_value()) {
    sources.dir = *dir;
    sources.dir_must_exist = true;
  }
  return sources;
}

absl::StatusOr<Config> LoadConfig(const ConfigSources& sources, const ConfigOverrides& overrides) {
  absl::StatusOr<Config> config = Load(sources, overrides);
  if (!config.ok()) {
    return base::Annotate(config.status(), "load configuration");
  }
  return config;
}

}  // namespace berth::config
