#include "lib/registry/credential_helper.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"
#include "lib/registry/auth_file.h"

namespace berth::registry {

namespace {

constexpr char kHubServer[] = "https://index.docker.io/v1/";  // what docker calls it
constexpr std::string_view kNotFoundText = "credentials not found in native keychain";
constexpr char kTokenUser[] = "<token>";  // the secret is an identity token

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
}

std::vector<std::string> Environment() {
  std::vector<std::string> env;
  bool has_home = false;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    env.emplace_back(*entry);
    has_home = has_home || env.back().rfind("HOME=", 0) == 0;
  }
  if (!has_home) {
    env.emplace_back("HOME=/root");  // a system service has none, and helpers keep files there
  }
  return env;
}

absl::Status Bad(const std::string& program, const std::string& server, std::string_view what) {
  return base::MakeStatus(
      absl::StatusCode::kFailedPrecondition,
      fmt::format(
          "ask credential helper '{}' about '{}': {} (to see what it says: echo {} | {} get)",
          program, oci::Printable(server), what, oci::Printable(server), program));
}

absl::StatusOr<Credentials> ParseAnswer(const std::string& out) {
  const absl::Status bad = base::MakeStatus(absl::StatusCode::kInvalidArgument,
                                            "it printed no JSON object with Username and Secret");
  auto document = oci::ParseJson(out, 8);
  auto root = document.ok() ? oci::JsonObject::Root(*document) : document.status();
  if (!root.ok()) {
    return bad;
  }
  const auto user = root->String("Username");
  const auto secret = root->String("Secret");
  if (!user.ok() || !secret.ok() || secret->empty()) {
    return bad;
  }
  Credentials credentials;
  if (*user == kTokenUser) {
    credentials.identity_token = *secret;
  } else {
    credentials.username = *user;
    credentials.password = *secret;
  }
  return credentials;
}

}  // namespace

absl::StatusOr<std::optional<Credentials>> CredentialHelpers::Ask(const base::OpContext& ctx,
                                                                  const std::string& name,
                                                                  const std::string& server) {
  const std::string program = "docker-credential-" + name;
  if (runner_ == nullptr) {
    return Bad(program, server, "programs cannot be started here");
  }
  base::ProcessSpec spec;
  const auto path = base::FindProgram(program);
  if (!path.ok()) {
    return Bad(program, server, "it is not on PATH");
  }
  spec.argv = {*path, "get"};
  spec.env = Environment();
  const auto result = runner_->Run(ctx.Within(kTimeLimit), spec, server,
                                   base::RunLimits{.max_stdout = kMaxOutput, .max_stderr = 0});
  RETURN_IF_ERROR(ctx.Check());
  if (absl::IsDeadlineExceeded(result.status())) {
    return Bad(program, server,
               fmt::format("it took more than {}", absl::FormatDuration(kTimeLimit)));
  }
  if (!result.ok()) {
    return Bad(program, server, std::string(result.status().message()));
  }
  if (!result->exit.ok()) {
    if (result->out.find(kNotFoundText) != std::string::npos) {
      return std::nullopt;
    }
    return Bad(program, server, fmt::format("it failed with status {}", result->exit.Combined()));
  }
  if (result->out.size() >= kMaxOutput) {
    return Bad(program, server, fmt::format("it printed {} bytes or more", kMaxOutput));
  }
  auto credentials = ParseAnswer(result->out);
  if (!credentials.ok()) {
    return Bad(program, server, std::string(credentials.status().message()));
  }
  return *std::move(credentials);
}

absl::StatusOr<std::optional<Credentials>> CredentialHelpers::Get(const base::OpContext& ctx,
                                                                  const std::string& name,
                                                                  const std::string& host) {
  if (!IsName(name)) {
    return base::MakeStatus(
        absl::StatusCode::kFailedPrecondition,
        fmt::format("'{}' is not the name of a credential helper", oci::Printable(name, 64)));
  }
  const std::string key = name + " " + host;
  {
    base::MutexLock lock(mu_);
    while (kept_.contains(key) && kept_[key].is_running) {
      RETURN_IF_ERROR(ctx.Check());
      changed_.WaitFor(mu_, absl::Milliseconds(ctx.PollMillis()));
    }
    std::erase_if(kept_, [&](const auto& entry) {
      return !entry.second.is_running && entry.second.until <= now_();
    });
    if (const auto found = kept_.find(key); found != kept_.end()) {
      return found->second.credentials;
    }
    kept_[key].is_running = true;
  }
  const std::string canonical = CanonicalHost(host);
  auto answer = Ask(ctx, name, canonical == "docker.io" ? kHubServer : canonical);
  if (canonical == "docker.io" && answer.ok() && !answer->has_value()) {
    answer = Ask(ctx, name, canonical);  // as podman stores it
  }
  base::MutexLock lock(mu_);
  if (answer.ok() && kept_.size() <= kMaxKept) {
    kept_[key] = {false, now_() + kKeepFor, *answer};
  } else {
    kept_.erase(key);
  }
  changed_.SignalAll();
  return answer;
}

}  // namespace berth::registry
