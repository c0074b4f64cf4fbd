#include "lib/spec/process.h"

#include <sys/resource.h>

#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/spec/text.h"

namespace berth::spec {
namespace {

using Json = nlohmann::json;

constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// An ordered map: a key that is set again keeps its place.
class Environment {
 public:
  void Set(const std::string& key, std::string value) {
    const auto [it, is_new] = index_.emplace(key, entries_.size());
    if (is_new) {
      entries_.emplace_back(key, std::move(value));
    } else {
      entries_[it->second].second = std::move(value);
    }
  }
  bool Has(const std::string& key) const { return index_.count(key) != 0; }

  // Checks and joins: "K=V".
  absl::StatusOr<std::vector<std::string>> Join() const {
    std::vector<std::string> joined;
    size_t bytes = 0;
    for (const auto& [key, value] : entries_) {
      std::string entry = key + "=" + value;
      RETURN_IF_ERROR(CheckText(entry, fmt::format("environment variable '{}'", key)));
      if (key == "HOME" && HasControlCharacters(value)) {
        return absl::InvalidArgumentError(
            "environment variable 'HOME' holds a line break or another control character");
      }
      bytes += entry.size();
      joined.push_back(std::move(entry));
    }
    if (bytes > kMaxProcessBytes) {
      return absl::InvalidArgumentError(
          fmt::format("the environment is larger than {} bytes", kMaxProcessBytes));
    }
    return joined;
  }

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
  std::map<std::string, size_t> index_;
};

// Entries without a key or a value mean nothing and are left out, as every runtime does.
std::optional<std::pair<std::string, std::string>> SplitEnv(const std::string& entry) {
  const size_t equals = entry.find('=');
  if (equals == std::string::npos || equals == 0) {
    return std::nullopt;
  }
  return std::pair(entry.substr(0, equals), entry.substr(equals + 1));
}

absl::Status CheckKey(const std::string& key) {
  if (!base::IsUtf8(key) || key.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the name of an environment variable is not UTF-8 text");
  }
  if (key.empty()) {
    return absl::InvalidArgumentError("an environment variable has no name");
  }
  if (key.find('=') != std::string::npos) {
    return absl::InvalidArgumentError(
        fmt::format("the name of environment variable '{}' holds '='", key));
  }
  return absl::OkStatus();
}

absl::Status CheckArgs(const std::vector<std::string>& args) {
  size_t bytes = 0;
  for (size_t i = 0; i < args.size(); ++i) {
    RETURN_IF_ERROR(CheckText(args[i], fmt::format("argument {} of the command", i)));
    bytes += args[i].size();
  }
  if (bytes > kMaxProcessBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the command is larger than {} bytes", kMaxProcessBytes));
  }
  if (args.empty() || args.front().empty()) {
    return absl::InvalidArgumentError("no command specified");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> AssembleArgs(const model::ContainerSpec& container,
                                                      const oci::ImageConfig& image) {
  std::vector<std::string> args = container.command;
  if (args.empty()) {
    args = image.entrypoint;
  }
  const bool is_cmd = container.command.empty() && container.args.empty();
  const std::vector<std::string>& more = is_cmd ? image.cmd : container.args;
  args.insert(args.end(), more.begin(), more.end());
  RETURN_IF_ERROR(CheckArgs(args));
  return args;
}

absl::StatusOr<std::vector<std::string>> AssembleEnv(const model::ContainerSpec& container,
                                                     const oci::ImageConfig& image,
                                                     const std::vector<std::string>& default_env,
                                                     const std::string& hostname,
                                                     const std::string& home) {
  Environment env;
  env.Set("PATH", kDefaultPath);
  env.Set("TERM", "xterm");
  if (!hostname.empty()) {
    env.Set("HOSTNAME", hostname);
  }
  for (const std::string& entry : default_env) {
    if (auto pair = SplitEnv(entry); pair.has_value()) {
      env.Set(pair->first, std::move(pair->second));
    }
  }
  Environment requested;
  for (const model::EnvVar& variable : container.envs) {
    RETURN_IF_ERROR(CheckKey(variable.key));
    env.Set(variable.key, variable.value);
    requested.Set(variable.key, "");
  }
  for (const std::string& entry : image.env) {
    auto pair = SplitEnv(entry);
    if (pair.has_value() && !requested.Has(pair->first)) {
      env.Set(pair->first, std::move(pair->second));
    }
  }
  if (!home.empty() && !env.Has("HOME")) {
    env.Set("HOME", home);
  }
  return env.Join();
}

absl::StatusOr<std::string> AssembleCwd(const model::ContainerSpec& container,
                                        const oci::ImageConfig& image) {
  const std::string& cwd =
      container.working_dir.empty() ? image.working_dir : container.working_dir;
  return cwd.empty() ? std::string("/") : CleanAbsolutePath(cwd, "working directory");
}

bool IsSystemd(const std::vector<std::string>& args) {
  if (args.empty()) {
    return false;
  }
  const std::string& program = args.front();
  return program == "/sbin/init" || program.substr(program.rfind('/') + 1) == "systemd";
}

absl::StatusOr<Ulimit> ParseUlimit(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        fmt::format("limit '{}': {}, expected as in 'nofile=1024:4096'", text, why));
  };
  static constexpr std::string_view kNames[] = {
      "as",   "core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue",
      "nice", "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack"};
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return bad("no '='");
  }
  std::string name = absl::AsciiStrToLower(std::string(text.substr(0, equals)));
  if (name.rfind("rlimit_", 0) == 0) {
    name = name.substr(7);
  }
  Ulimit limit;
  for (const std::string_view known : kNames) {
    if (name == known) {
      limit.type = "RLIMIT_" + absl::AsciiStrToUpper(name);
    }
  }
  if (limit.type.empty()) {
    return bad(fmt::format("'{}' is no limit", name));
  }
  const auto parse = [](std::string_view number, uint64_t& value) {
    if (number == "-1" || number == "unlimited") {
      value = RLIM_INFINITY;
      return true;
    }
    const auto result = std::from_chars(number.data(), number.data() + number.size(), value);
    return !number.empty() && result.ec == std::errc() &&
           result.ptr == number.data() + number.size();
  };
  const std::string_view values = text.substr(equals + 1);
  const size_t colon = values.find(':');
  const std::string_view hard = colon == std::string_view::npos ? values : values.substr(colon + 1);
  if (!parse(values.substr(0, colon), limit.soft) || !parse(hard, limit.hard)) {
    return bad("not a number");
  }
  if (limit.soft > limit.hard) {
    return bad("the soft limit is above the hard one");
  }
  return limit;
}

absl::StatusOr<std::string> BuildProcessJson(std::string_view process_json,
                                             const std::vector<std::string>& args, bool tty) {
  RETURN_IF_ERROR(CheckArgs(args));
  Json process = Json::parse(process_json, nullptr, /*allow_exceptions=*/false);
  if (!process.is_object() || !process.contains("args")) {
    return absl::DataLossError("the process description of the container is damaged");
  }
  process["args"] = args;
  process["terminal"] = tty;
  return process.dump();
}

}  // namespace berth::spec
