#include "daemon/streaming/status_text.h"

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace berth::streaming {

namespace {

using Json = nlohmann::ordered_json;

}  // namespace

std::string StatusText(const Outcome& outcome) {
  switch (outcome.kind) {
    case Outcome::Kind::kSuccess:
      return {};
    case Outcome::Kind::kExitCode:
      return fmt::format("command terminated with non-zero exit code: exit status {}",
                         outcome.exit_code);
    case Outcome::Kind::kError:
      return fmt::format("Internal error occurred: {}", outcome.error);
  }
  return {};
}

std::string StatusJson(const Outcome& outcome) {
  Json status = {{"metadata", Json::object()}};
  switch (outcome.kind) {
    case Outcome::Kind::kSuccess:
      status["status"] = "Success";
      break;
    case Outcome::Kind::kExitCode:
      status["status"] = "Failure";
      status["message"] = StatusText(outcome);
      status["reason"] = "NonZeroExitCode";
      status["details"]["causes"] = {
          {{"reason", "ExitCode"}, {"message", std::to_string(outcome.exit_code)}}};
      break;
    case Outcome::Kind::kError:
      status["status"] = "Failure";
      status["message"] = StatusText(outcome);
      status["reason"] = "InternalError";
      status["details"]["causes"] = {{{"message", outcome.error}}};
      status["code"] = 500;
      break;
  }
  // Texts from runtimes may hold any bytes.
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace berth::streaming
