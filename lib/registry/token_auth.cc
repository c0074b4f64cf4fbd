#include "lib/registry/token_auth.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"
#include "lib/oci/sha256.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxTokenReply = 256 << 10;
constexpr size_t kMaxToken = 64 << 10;
constexpr absl::Duration kDefaultLifetime = absl::Seconds(60);  // the specification's
constexpr absl::Duration kExpiryMargin = absl::Seconds(10);
constexpr char kClientId[] = "berth";

absl::Status Error(absl::StatusCode code, std::string_view message) {
  return base::MakeStatus(code, message);
}

std::string BasicHeader(const Credentials& credentials) {
  return "Basic " + absl::Base64Escape(credentials.username + ":" + credentials.password);
}

bool HasPassword(const Credentials& credentials) {
  return !credentials.username.empty() || !credentials.password.empty();
}

// Where to ask for a token, and how.
absl::StatusOr<HttpRequest> TokenRequest(const TokenAuth::Subject& subject,
                                         const Challenge& challenge,
                                         const ExchangeOptions& options) {
  auto realm = Url::Parse(challenge.Param("realm"));
  if (!realm.ok()) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("it asks for a token from a bad realm: {}",
                             std::string(realm.status().message())));
  }
  if (subject.registry.scheme == "https" && realm->scheme == "http" && !options.insecure) {
    return Error(absl::StatusCode::kFailedPrecondition,
                 fmt::format("it asks for a token from plain '{}', which is not trusted",
                             realm->ForMessage()));
  }
  std::string scope = challenge.Param("scope");
  if (scope.empty()) {
    scope = fmt::format("repository:{}:pull", subject.repository);
  }
  const Credentials& credentials = subject.credentials;
  const std::string service = UrlEncode(challenge.Param("service"));
  HttpRequest request;
  request.stall_timeout = absl::Seconds(60);
  request.headers.emplace_back("User-Agent", "berth/" BERTH_VERSION);
  if (!credentials.identity_token.empty()) {
    request.method = "POST";
    request.url = realm->text;
    request.headers.emplace_back("Content-Type", "application/x-www-form-urlencoded");
    request.body =
        fmt::format("grant_type=refresh_token&service={}&client_id={}&scope={}&refresh_token={}",
                    service, kClientId, UrlEncode(scope), UrlEncode(credentials.identity_token));
    return request;
  }
  request.url = realm->text;
  char separator = request.url.find('?') == std::string::npos ? '?' : '&';
  const auto add = [&](std::string_view name, const std::string& encoded) {
    request.url += fmt::format("{}{}={}", separator, name, encoded);
    separator = '&';
  };
  if (!service.empty()) {
    add("service", service);
  }
  for (size_t at = 0; at < scope.size();) {
    const size_t end = std::min(scope.find(' ', at), scope.size());
    if (end > at) {
      add("scope", UrlEncode(scope.substr(at, end - at)));
    }
    at = end + 1;
  }
  if (HasPassword(credentials)) {
    add("account", UrlEncode(credentials.username));
    request.headers.emplace_back("Authorization", BasicHeader(credentials));
  }
  return request;
}

const Challenge* Find(const std::vector<Challenge>& challenges, std::string_view scheme) {
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme == scheme) {
      return &challenge;
    }
  }
  return nullptr;
}

Attempt Refused(absl::StatusCode code, std::string_view message) {
  Attempt attempt;
  attempt.answered = true;
  attempt.status = Error(code, message);
  return attempt;
}

}  // namespace

std::vector<std::string> SecretsOf(const Credentials& credentials) {
  std::vector<std::string> secrets = {credentials.password, credentials.identity_token,
                                      credentials.registry_token};
  if (HasPassword(credentials)) {
    secrets.push_back(BasicHeader(credentials).substr(6));
  }
  std::erase(secrets, "");
  return secrets;
}

std::string TokenAuth::KeyOf(const Subject& subject) {
  // Only a digest of the secrets is kept as the key.
  const Credentials& c = subject.credentials;
  std::string identity;
  for (const std::string* part : {&c.username, &c.password, &c.identity_token, &c.registry_token}) {
    identity += fmt::format("{}:{}", part->size(), *part);
  }
  return fmt::format("{}://{}:{} {} {}", subject.registry.scheme, subject.registry.host,
                     subject.registry.port, subject.repository, oci::DigestOf(identity).hex());
}

std::optional<std::string> TokenAuth::Kept(const Subject& subject) {
  if (!subject.credentials.registry_token.empty()) {
    return "Bearer " + subject.credentials.registry_token;
  }
  const std::string key = KeyOf(subject);
  base::MutexLock lock(mu_);
  const auto it = kept_.find(key);
  if (it == kept_.end()) {
    return std::nullopt;
  }
  if (it->second.expires <= now_()) {
    kept_.erase(it);
    return std::nullopt;
  }
  return it->second.header;
}

void TokenAuth::Forget(const Subject& subject) {
  const std::string key = KeyOf(subject);
  base::MutexLock lock(mu_);
  kept_.erase(key);
}

void TokenAuth::Keep(const Subject& subject, std::string header, absl::Time expires) {
  std::string key = KeyOf(subject);
  base::MutexLock lock(mu_);
  if (kept_.size() >= kMaxKept) {
    kept_.erase(std::min_element(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) {
      return a.second.expires < b.second.expires;
    }));
  }
  kept_[std::move(key)] = {std::move(header), expires};
}

Attempt TokenAuth::FetchToken(const base::OpContext& ctx, const Subject& subject,
                              const Challenge& challenge, const ExchangeOptions& options,
                              Token& token) {
  auto request = TokenRequest(subject, challenge, options);
  if (!request.ok()) {
    return Refused(request.status().code(), std::string(request.status().message()));
  }
  std::string body;
  Attempt attempt = ExchangeFollowing(
      ctx, transport_, options, *std::move(request),
      [&](const HttpResponse&, std::span<const char> piece) -> absl::Status {
        if (body.size() + piece.size() > kMaxTokenReply) {
          return Error(absl::StatusCode::kOutOfRange,
                       fmt::format("the reply has more than {} bytes", kMaxTokenReply));
        }
        body.append(piece.data(), piece.size());
        return absl::OkStatus();
      });
  if (!attempt.status.ok()) {
    return attempt;
  }
  auto document = oci::ParseJson(body, 32);
  auto root = document.ok() ? oci::JsonObject::Root(*document) : document.status();
  if (!root.ok()) {
    return Refused(absl::StatusCode::kUnavailable, "the reply is not a JSON object");
  }
  token.value = root->String("token").value_or("");
  if (token.value.empty()) {
    token.value = root->String("access_token").value_or("");
  }
  const bool sendable = std::all_of(token.value.begin(), token.value.end(),
                                    [](char c) { return c > 0x20 && c < 0x7f; });
  if (token.value.empty() || token.value.size() > kMaxToken || !sendable) {
    return Refused(absl::StatusCode::kUnavailable, "the reply has no usable token");
  }
  const int64_t seconds = root->Integer("expires_in").value_or(0);
  token.lifetime =
      seconds > 0 ? std::min(absl::Seconds(seconds), absl::Hours(24)) : kDefaultLifetime;
  return attempt;
}

Attempt TokenAuth::Answer(const base::OpContext& ctx, const Subject& subject,
                          const HttpResponse& refusal, const ExchangeOptions& options,
                          std::string& header) {
  std::vector<Challenge> challenges;
  const auto [first, last] = refusal.headers.equal_range("www-authenticate");
  for (auto it = first; it != last; ++it) {
    for (Challenge& challenge : ParseChallenges(it->second)) {
      challenges.push_back(std::move(challenge));
    }
  }
  if (const Challenge* bearer = Find(challenges, "bearer");
      bearer != nullptr && !bearer->Param("realm").empty()) {
    Token token;
    Attempt attempt = FetchToken(ctx, subject, *bearer, options, token);
    if (!attempt.status.ok()) {
      attempt.by_sink = attempt.by_sink && !ctx.Check().ok();
      if (absl::IsNotFound(attempt.status)) {  // the token server, not the image
        attempt.status =
            Error(absl::StatusCode::kFailedPrecondition, std::string(attempt.status.message()));
      }
      attempt.status = base::Annotate(attempt.status, "get a token");
      return attempt;
    }
    header = "Bearer " + token.value;
    Keep(subject, header, now_() + std::max(token.lifetime - kExpiryMargin, token.lifetime / 2));
    return attempt;
  }
  if (Find(challenges, "basic") != nullptr) {
    if (!HasPassword(subject.credentials)) {
      return Refused(absl::StatusCode::kUnauthenticated,
                     "it wants a user and a password, and none were given (HTTP 401)");
    }
    header = BasicHeader(subject.credentials);
    Keep(subject, header, now_() + absl::Hours(1));
    return Attempt();
  }
  return Refused(absl::StatusCode::kUnauthenticated,
                 "it wants an authentication that berth does not know (HTTP 401)");
}

}  // namespace berth::registry
