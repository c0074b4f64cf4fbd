#include "lib/base/log.h"

#include <map>
#include <memory>
#include <mutex>

#include "fmt/format.h"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/stdout_sinks.h"

#include "lib/base/status.h"

namespace berth::base {

namespace {

// Escapes what a JSON string may not hold, so one log line is one JSON object.
class JsonText : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&,
              spdlog::memory_buf_t& dest) override {
    for (char c : msg.payload) {
      if (c == '"' || c == '\\') {
        dest.push_back('\\');
        dest.push_back(c);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        const std::string escaped = fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        dest.append(escaped.data(), escaped.data() + escaped.size());
      } else {
        dest.push_back(c);
      }
    }
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonText>();
  }
};

struct Loggers {
  std::mutex mu;
  std::shared_ptr<spdlog::sinks::stderr_sink_mt> sink =
      std::make_shared<spdlog::sinks::stderr_sink_mt>();
  spdlog::level::level_enum level = spdlog::level::info;
  std::map<std::string, std::shared_ptr<spdlog::logger>, std::less<>> by_name;

  Loggers() { sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v"); }
};

Loggers& All() {
  static Loggers* loggers = new Loggers;
  return *loggers;
}

}  // namespace

spdlog::logger& Log(std::string_view name) {
  Loggers& all = All();
  std::lock_guard lock(all.mu);
  auto it = all.by_name.find(name);
  if (it == all.by_name.end()) {
    auto logger = std::make_shared<spdlog::logger>(std::string(name), all.sink);
    logger->set_level(all.level);
    it = all.by_name.emplace(std::string(name), std::move(logger)).first;
  }
  return *it->second;
}

absl::Status ConfigureLog(std::string_view level, std::string_view format) {
  const auto parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off") {
    return absl::InvalidArgumentError(
        fmt::format("log level '{}' is none of trace, debug, info, warn, error, off", level));
  }
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(
        fmt::format("log format '{}' is neither text nor json", format));
  }
  Loggers& all = All();
  std::lock_guard lock(all.mu);
  all.level = parsed;
  for (auto& [name, logger] : all.by_name) {
    logger->set_level(parsed);
  }
  if (format == "json") {
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<JsonText>('*').set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","logger":"%n","message":"%*"})");
    all.sink->set_formatter(std::move(formatter));
  } else {
    all.sink->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
  }
  return absl::OkStatus();
}

}  // namespace berth::base
