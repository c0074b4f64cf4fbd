#include "lib/registry/http_exchange.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"
#include "lib/registry/certs_dir.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxErrorBody = 8192;

absl::Status Error(absl::StatusCode code, std::string_view message) {
  return base::MakeStatus(code, message);
}

bool IsSuccess(int status) { return status >= 200 && status < 300; }

bool IsRedirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

void DropAuthorization(HttpRequest& request) {
  std::erase_if(request.headers, [](const auto& h) { return h.first == "Authorization"; });
}

// What kept the transport from getting a response.
void ExplainTransportError(const absl::Status& error, const Url& url,
                           const ExchangeOptions& options, Attempt& attempt) {
  std::string text(error.message());
  absl::StatusCode code = error.code();
  switch (error.code()) {
    case absl::StatusCode::kUnavailable:
      attempt.unreachable = attempt.may_pass = true;
      if (!options.insecure && text.find("wrong version number") != std::string::npos) {
        text += " (does it speak plain HTTP? then mark it insecure in registries.conf)";
      }
      text = fmt::format("cannot be reached at '{}': {}", url.ForMessage(), text);
      break;
    case absl::StatusCode::kAborted:
      code = absl::StatusCode::kUnavailable;
      attempt.may_pass = true;
      text = fmt::format("the connection broke at '{}': {}", url.ForMessage(), text);
      break;
    case absl::StatusCode::kFailedPrecondition:
      text = fmt::format("its certificate is not trusted: {} (a CA goes into '{}/{}/ca.crt')", text,
                         options.certs_dirs.empty() ? "<certs_dir>" : options.certs_dirs.front(),
                         url.HostPort());
      break;
    default:
      break;
  }
  attempt.status = Error(code, text);
}

void ExplainHttpError(int status, const std::string& body, const Url& url,
                      const ExchangeOptions& options, Attempt& attempt) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  std::string_view meaning = "it failed";
  if (status == 401) {
    code = absl::StatusCode::kUnauthenticated;
    meaning = "credentials are missing or wrong, or there is no such image";
  } else if (status == 403) {
    code = absl::StatusCode::kPermissionDenied;
    meaning = "access is denied";
  } else if (status == 404) {
    code = absl::StatusCode::kNotFound;
    meaning = "not found";
  } else if (status == 429) {
    code = absl::StatusCode::kResourceExhausted;
    meaning = "too many requests";
  } else if (status == 416) {
    code = absl::StatusCode::kDataLoss;
    meaning = "the content is shorter than expected";
  } else if (status >= 300 && status < 400) {
    code = absl::StatusCode::kFailedPrecondition;
    meaning = "a redirect to nowhere";
  } else if (status < 500) {
    code = absl::StatusCode::kFailedPrecondition;
    meaning = "the request was refused";
  }
  attempt.may_pass = status == 408 || status == 429 || status == 500 || status == 502 ||
                     status == 503 || status == 504;
  if (const auto header = attempt.response.Header("retry-after")) {
    attempt.retry_after = ParseRetryAfter(*header, options.now());
  }
  const std::string text = ErrorText(body);
  attempt.status = Error(code, fmt::format("{} (HTTP {} from '{}'{}{})", meaning, status,
                                           url.ForMessage(), text.empty() ? "" : ": ", text));
}

// A server may repeat what it was sent in any of its words, a Location header too.
void ScrubStatus(absl::Status& status, const std::vector<std::string>& secrets) {
  const std::string message(status.message());
  std::string scrubbed = Scrub(message, secrets);
  if (scrubbed == message) {
    return;  // with its payloads
  }
  absl::Status clean = Error(status.code(), scrubbed);
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& value) { clean.SetPayload(url, value); });
  status = clean;
}

// One hop. True: `url` is where to go next.
bool PerformHop(const base::OpContext& ctx, HttpTransport& transport,
                const ExchangeOptions& options, HttpRequest& request, Url& url,
                const HttpTransport::BodySink& sink, Attempt& attempt) {
  auto tls = TlsFor(options.certs_dirs, url, options.insecure);
  if (!tls.ok()) {
    attempt.status = tls.status();
    return false;
  }
  request.url = url.text;
  request.tls = *std::move(tls);
  std::string error_body;
  bool cut_off = false;
  auto response = transport.Perform(
      ctx, request, [&](const HttpResponse& head, std::span<const char> piece) -> absl::Status {
        if (IsSuccess(head.status)) {
          absl::Status status = sink(head, piece);
          attempt.by_sink = !status.ok();
          return status;
        }
        const size_t room = kMaxErrorBody - error_body.size();
        error_body.append(piece.data(), std::min(piece.size(), room));
        // An error page without end is cut off; what it said so far is kept in `head`.
        attempt.response = head;
        cut_off = piece.size() > room;
        return cut_off ? Error(absl::StatusCode::kOutOfRange, "") : absl::OkStatus();
      });
  if (!response.ok() && !cut_off) {
    const absl::Status ended = ctx.Check();
    if (attempt.by_sink || !ended.ok()) {
      attempt.by_sink = true;
      attempt.status = attempt.status.ok() ? response.status() : attempt.status;
    } else {
      ExplainTransportError(response.status(), url, options, attempt);
    }
    return false;
  }
  if (!cut_off) {
    attempt.response = *std::move(response);
  }
  attempt.answered = true;
  const int status = attempt.response.status;
  if (IsSuccess(status)) {
    attempt.status = absl::OkStatus();
    return false;
  }
  const auto location = attempt.response.Header("location");
  if (!IsRedirect(status) || !location) {
    ExplainHttpError(status, error_body, url, options, attempt);
    return false;
  }
  auto next = url.Resolve(*location);
  if (!next.ok()) {
    attempt.status = Error(absl::StatusCode::kFailedPrecondition,
                           fmt::format("it redirects to a bad place (HTTP {}): {}", status,
                                       std::string(next.status().message())));
    return false;
  }
  if (url.scheme == "https" && next->scheme == "http" && !options.insecure) {
    attempt.status =
        Error(absl::StatusCode::kFailedPrecondition,
              fmt::format("it redirects from https to plain '{}' (HTTP {}), which is not followed",
                          next->ForMessage(), status));
    return false;
  }
  if (!url.SameOrigin(*next) && request.method == "POST") {
    attempt.status = Error(absl::StatusCode::kFailedPrecondition,
                           fmt::format("it redirects a request that has a secret in it to '{}' "
                                       "(HTTP {}), which is not followed",
                                       next->ForMessage(), status));
    return false;
  }
  if (!url.SameOrigin(*next)) {
    attempt.crossed_origin = true;
    DropAuthorization(request);
  }
  url = *std::move(next);
  return true;
}

}  // namespace

Attempt ExchangeFollowing(const base::OpContext& ctx, HttpTransport& transport,
                          const ExchangeOptions& options, HttpRequest request,
                          const HttpTransport::BodySink& sink) {
  Attempt attempt;
  auto url = Url::Parse(request.url);
  if (!url.ok()) {
    attempt.status = url.status();
    return attempt;
  }
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    if (!PerformHop(ctx, transport, options, request, *url, sink, attempt)) {
      ScrubStatus(attempt.status, options.secrets);
      if (attempt.crossed_origin && attempt.status.ok()) {
        attempt.moved_to = url->text;
      }
      return attempt;
    }
  }
  attempt.status = Error(absl::StatusCode::kFailedPrecondition,
                         fmt::format("it redirects more than {} times (HTTP {}), last to '{}'",
                                     kMaxRedirects, attempt.response.status, url->ForMessage()));
  ScrubStatus(attempt.status, options.secrets);
  return attempt;
}

std::optional<absl::Duration> ParseRetryAfter(const std::string& value, absl::Time now) {
  if (!value.empty() && value.size() <= 9 && std::all_of(value.begin(), value.end(), [](char c) {
        return std::isdigit(static_cast<unsigned char>(c)) != 0;
      })) {
    return absl::Seconds(std::atoi(value.c_str()));
  }
  absl::Time time;
  std::string error;
  if (absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", value, &time, &error)) {
    return std::max(time - now, absl::ZeroDuration());
  }
  return std::nullopt;
}

std::string ErrorText(const std::string& body) {
  auto document = oci::ParseJson(body, 32);
  if (!document.ok()) {
    return "";
  }
  auto root = oci::JsonObject::Root(*document);
  if (!root.ok()) {
    return "";
  }
  const auto read = [](const oci::JsonObject& object, const char* name) {
    return object.String(name).value_or("");
  };
  std::string text;
  if (auto errors = root->Objects("errors", 100); errors.ok() && !errors->empty()) {
    const std::string code = read(errors->front(), "code");
    const std::string message = read(errors->front(), "message");
    text = code + (code.empty() || message.empty() ? "" : ": ") + message;
  }
  for (const char* name : {"details", "error_description", "error", "message"}) {
    if (text.empty()) {
      text = read(*root, name);
    }
  }
  return oci::Printable(text, 256);
}

std::string Scrub(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    if (secret.empty()) {
      continue;
    }
    for (size_t at = text.find(secret); at != std::string::npos; at = text.find(secret, at + 3)) {
      text.replace(at, secret.size(), "***");
    }
  }
  return text;
}

}  // namespace berth::registry
