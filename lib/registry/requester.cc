#include "lib/registry/requester.h"

#include <poll.h>

#include <algorithm>
#include <random>

#include "fmt/format.h"

#include "lib/base/log.h"
#include "lib/base/status.h"
#include "lib/oci/printable.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxPlainHosts = 256;
constexpr int kUnreachableTries = 2;

// Docker Hub's name is not that of its server.
std::string ServerOf(const std::string& host) {
  return host == "docker.io" || host == "index.docker.io" ? "registry-1.docker.io" : host;
}

HttpRequest ToHttp(const EndpointRequest& request, const std::string& url) {
  HttpRequest http;
  http.method = request.method;
  http.url = url;
  http.stall_timeout = request.stall_timeout;
  http.headers = request.headers;
  http.headers.emplace_back("User-Agent", "berth/" BERTH_VERSION);
  return http;
}

}  // namespace

absl::Status SleepFor(const base::OpContext& ctx, absl::Duration duration) {
  const absl::Time end = absl::Now() + duration;
  while (true) {
    RETURN_IF_ERROR(ctx.Check());
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::OkStatus();
    }
    poll(
        nullptr, 0,
        static_cast<int>(std::min<int64_t>(ctx.PollMillis(), absl::ToInt64Milliseconds(left) + 1)));
  }
}

absl::Status Retry::Wait(const base::OpContext& ctx, const Attempt& attempt) {
  ++failures_;
  const int tries = attempt.unreachable ? std::min(kUnreachableTries, options_.max_attempts)
                                        : options_.max_attempts;
  if (!attempt.may_pass || attempt.by_sink || failures_ >= tries) {
    return attempt.status;
  }
  absl::Duration wait =
      std::min(options_.first_backoff * (1 << std::min(failures_ - 1, 10)), options_.max_backoff);
  // Layers that fail together must not come back together.
  thread_local std::minstd_rand random(std::random_device{}());
  wait *= std::uniform_real_distribution<double>(0.75, 1.25)(random);
  if (attempt.retry_after) {
    if (*attempt.retry_after > options_.max_retry_after) {
      return base::MakeStatus(
          attempt.status.code(),
          fmt::format("{} (it wants to be asked again in {}, which is too long to wait)",
                      std::string(attempt.status.message()),
                      absl::FormatDuration(*attempt.retry_after)));
    }
    wait = std::max(wait, *attempt.retry_after);
  }
  if (absl::Now() + wait > ctx.deadline()) {
    return attempt.status;
  }
  return options_.sleep(ctx, wait);
}

void LogRepetition(const Endpoint& endpoint, const Attempt& attempt) {
  base::Log("registry")
      .debug("request failed, repeating host={} repository={} error=\"{}\"", endpoint.host,
             endpoint.repository, std::string(attempt.status.message()));
}

bool Requester::SpeaksPlainHttp(const std::string& host) {
  base::MutexLock lock(mu_);
  return plain_http_.contains(host);
}

void Requester::SetPlainHttp(const std::string& host, bool plain) {
  base::MutexLock lock(mu_);
  if (!plain) {
    plain_http_.erase(host);
  } else if (plain_http_.size() < kMaxPlainHosts) {
    plain_http_[host] = true;
  }
}

absl::StatusOr<Credentials> Requester::CredentialsFor(const base::OpContext& ctx,
                                                      const EndpointRequest& request) {
  if (!request.endpoint.is_mirror && request.credentials && !request.credentials->empty()) {
    return *request.credentials;
  }
  return node_credentials_.Find(ctx, conf_()->credential_helpers(), request.endpoint.host,
                                request.endpoint.repository);
}

Attempt Requester::Send(const base::OpContext& ctx, const EndpointRequest& request,
                        const HttpTransport::BodySink& sink) {
  if (!request.direct_url.empty()) {
    return SendDirect(ctx, request, sink);
  }
  auto credentials = CredentialsFor(ctx, request);
  if (!credentials.ok()) {
    Attempt attempt;
    attempt.status = credentials.status();
    return attempt;
  }
  if (!request.endpoint.insecure) {
    return SendTo(ctx, "https", request, *credentials, sink);
  }
  const std::string& host = request.endpoint.host;
  if (SpeaksPlainHttp(host)) {
    Attempt attempt = SendTo(ctx, "http", request, *credentials, sink);
    if (attempt.unreachable && !attempt.answered) {
      SetPlainHttp(host, false);
    }
    return attempt;
  }
  Attempt secure = SendTo(ctx, "https", request, *credentials, sink);
  if (secure.answered || secure.by_sink || secure.status.ok()) {
    return secure;
  }
  Attempt plain = SendTo(ctx, "http", request, *credentials, sink);
  if (plain.answered) {
    SetPlainHttp(host, true);
  } else if (!plain.by_sink) {
    plain.status = base::MakeStatus(plain.status.code(),
                                    fmt::format("{}; {}", std::string(secure.status.message()),
                                                std::string(plain.status.message())));
  }
  return plain;
}

Attempt Requester::SendDirect(const base::OpContext& ctx, const EndpointRequest& request,
                              const HttpTransport::BodySink& sink) {
  const ExchangeOptions exchange{options_.certs_dirs, request.endpoint.insecure, options_.now, {}};
  return ExchangeFollowing(ctx, transport_, exchange, ToHttp(request, request.direct_url), sink);
}

Attempt Requester::SendTo(const base::OpContext& ctx, const std::string& scheme,
                          const EndpointRequest& request, const Credentials& credentials,
                          const HttpTransport::BodySink& sink) {
  Attempt attempt;
  auto url = Url::Parse(fmt::format("{}://{}/v2/{}{}", scheme, ServerOf(request.endpoint.host),
                                    request.endpoint.repository, request.path));
  if (!url.ok()) {
    attempt.status = url.status();
    return attempt;
  }
  const HttpRequest http = ToHttp(request, url->text);
  ExchangeOptions exchange{options_.certs_dirs, request.endpoint.insecure, options_.now,
                           SecretsOf(credentials)};
  const TokenAuth::Subject subject{*url, request.endpoint.repository, credentials};
  std::optional<std::string> header = auth_.Kept(subject);
  for (int round = 0;; ++round) {
    HttpRequest with_auth = http;
    if (header) {
      with_auth.headers.emplace_back("Authorization", *header);
      exchange.secrets.push_back(header->substr(header->find(' ') + 1));
    }
    attempt = ExchangeFollowing(ctx, transport_, exchange, std::move(with_auth), sink);
    if (attempt.response.status != 401 || !attempt.answered || attempt.crossed_origin) {
      return attempt;
    }
    // A kept answer may have expired early: it gets one replacement. A fresh one that is refused is
    // refused.
    auth_.Forget(subject);
    if (round > 0 || !credentials.registry_token.empty()) {
      return attempt;
    }
    std::string answer;
    Attempt answered = auth_.Answer(ctx, subject, attempt.response, exchange, answer);
    if (!answered.status.ok()) {
      answered.answered = true;  // the registry did, with its challenge
      return answered;
    }
    header = answer;
  }
}

}  // namespace berth::registry
