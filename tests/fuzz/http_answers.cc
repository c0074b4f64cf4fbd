// A registry's answers: redirects, errors, and blobs in ranges, as far as they are not libcurl's.
#include "lib/oci/sha256.h"
#include "lib/registry/http_exchange.h"
#include "lib/registry/registry_client.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::registry {

namespace {

constexpr char kSecret[] = "Bearer s3cr3t";

// Answers from the input, and looks at what it is asked.
class HostileTransport : public HttpTransport {
 public:
  HostileTransport(fuzz::Input& parts, bool insecure) : parts_(parts), insecure_(insecure) {}

  absl::StatusOr<HttpResponse> Perform(const base::OpContext& /*ctx*/, const HttpRequest& request,
                                       const BodySink& sink) override {
    BERTH_CHECK(++requests_ <= kMaxRedirects + 1);
    const absl::StatusOr<Url> url = Url::Parse(request.url);
    BERTH_CHECK(url.ok());
    left_ = left_ || !url->SameOrigin(first_);
    for (const auto& [name, value] : request.headers) {
      // Credentials are for the origin that was asked first, even on a way back to it.
      BERTH_CHECK(name != "Authorization" || !left_);
    }
    BERTH_CHECK(insecure_ || url->scheme == "https");
    if (parts_.empty()) {
      return absl::UnavailableError("no more");
    }
    HttpResponse response;
    response.status = 100 + static_cast<int>(parts_.Number(2) % 500);
    for (int count = parts_.Byte() % 4; count > 0; --count) {
      constexpr const char* kNames[] = {"location",         "content-type",  "retry-after",
                                        "www-authenticate", "content-range", "content-length"};
      response.headers.emplace(kNames[parts_.Byte() % 6], parts_.Line());
    }
    const std::string_view body = parts_.Piece();
    RETURN_IF_ERROR(sink(response, {body.data(), body.size()}));
    if (parts_.Byte() % 8 == 7) {
      return absl::AbortedError("broke off");
    }
    return response;
  }
  void CloseIdle() override {}

 private:
  fuzz::Input& parts_;
  const bool insecure_;
  const Url first_ = *Url::Parse("https://reg.example/");
  bool left_ = false;
  int requests_ = 0;
};

void Exchange(fuzz::Input& parts) {
  ExchangeOptions options;
  options.insecure = parts.Bool();
  options.now = [] { return absl::FromUnixSeconds(1'700'000'000); };
  options.secrets = {"s3cr3t"};
  HttpRequest request;
  request.url = "https://reg.example/v2/x";
  request.headers = {{"Authorization", kSecret}};
  HostileTransport transport(parts, options.insecure);
  const Attempt attempt = ExchangeFollowing(
      base::OpContext::Background(), transport, options, request,
      [](const HttpResponse& head, std::span<const char>) {
        BERTH_CHECK(head.status / 100 == 2);  // an error's text is not the content
        return absl::OkStatus();
      });
  BERTH_CHECK(attempt.status.message().size() < 4096);
  BERTH_CHECK(attempt.status.message().find("s3cr3t") == absl::string_view::npos);
  BERTH_CHECK(!attempt.retry_after || *attempt.retry_after >= absl::ZeroDuration());
}

// Sends parts of a blob, or anything, as the range that was asked for or another one.
class RangeTransport : public HttpTransport {
 public:
  RangeTransport(fuzz::Input& parts, const std::string& content)
      : parts_(parts), content_(content) {}

  absl::StatusOr<HttpResponse> Perform(const base::OpContext& /*ctx*/,
                                       const HttpRequest& /*request*/,
                                       const BodySink& sink) override {
    BERTH_CHECK(++requests_ < 10'000);
    if (parts_.empty()) {
      return absl::UnavailableError("no more");
    }
    HttpResponse response;
    const uint8_t kind = parts_.Byte();
    response.status = (kind & 1) != 0 ? 206 : (kind & 0x70) == 0x70 ? 503 : 200;
    response.headers.emplace("content-range", parts_.Line());
    const size_t from = parts_.Number(2) % (content_.size() + 1);
    const std::string_view piece = (kind & 2) != 0
                                       ? std::string_view(content_).substr(from, parts_.Number(2))
                                       : parts_.Piece();
    RETURN_IF_ERROR(sink(response, {piece.data(), piece.size()}));
    if ((kind & 4) != 0) {
      return absl::AbortedError("broke off");
    }
    return response;
  }
  void CloseIdle() override {}

 private:
  fuzz::Input& parts_;
  const std::string& content_;
  int requests_ = 0;
};

void Blob(fuzz::Input& parts) {
  const std::string content(parts.Piece());
  oci::Descriptor descriptor;
  descriptor.digest = oci::DigestOf(content);
  descriptor.size = static_cast<int64_t>(content.size());
  std::string received;
  const RegistryClient::BlobSink sink = [&](std::span<const char> piece) {
    received.append(piece.data(), piece.size());
    return absl::OkStatus();
  };
  RegistryOptions options;
  options.now = [] { return absl::FromUnixSeconds(1'700'000'000); };
  options.sleep = [](const base::OpContext&, absl::Duration) { return absl::OkStatus(); };
  RangeTransport transport(parts, content);
  RegistryClient client(transport, std::make_shared<const RegistriesConf>(), options);
  ImageSource source;
  source.reference = *oci::Reference::Parse("reg.example/x");
  source.endpoints = {{"reg.example", "x", false, false}, {"other.example", "y", false, false}};
  const absl::Status status =
      client.FetchBlob(base::OpContext::Background(), source, descriptor, sink);
  BERTH_CHECK(received.size() <= content.size());
  BERTH_CHECK(!status.ok() || received == content);
}

}  // namespace

FUZZ_TARGET(http_answers) {
  fuzz::Input parts(input);
  switch (parts.Byte() % 3) {
    case 0:
      return Exchange(parts);
    case 1:
      return Blob(parts);
    default: {
      const std::string text(parts.Rest());
      const auto delay = ParseRetryAfter(text, absl::FromUnixSeconds(1'700'000'000));
      BERTH_CHECK(!delay || *delay >= absl::ZeroDuration());
      for (const char c : ErrorText(text)) {
        BERTH_CHECK(c >= ' ' && c <= '~');
      }
    }
  }
}

}  // namespace berth::registry
