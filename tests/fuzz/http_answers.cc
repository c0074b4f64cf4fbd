// A registry's answers: redirects, errors, and blobs in ranges, as far as they are not libcurl's.
#include "lib/oci/sha256.h"
#include "lib/registry/blob_transfer.h"
#include "lib/registry/http_exchange.h"
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
      constexpr const char* kNames[] = {"location", "content-type", "retry-after",
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
  BlobTransfer transfer(descriptor, sink);
  for (int attempts = 0; attempts < 8 && !transfer.is_over(); ++attempts) {
    const Attempt attempt = transfer.Run(
        EndpointRequest(), [&](const EndpointRequest&, const HttpTransport::BodySink& body) {
          Attempt made;
          made.response.status = parts.Bool() ? 206 : 200;
          made.response.headers.emplace("content-range", parts.Line());
          // Either what the content has there, or anything.
          const size_t from = parts.Number(2) % (content.size() + 1);
          const std::string_view piece =
              parts.Bool() ? std::string_view(content).substr(from, parts.Number(2))
                           : parts.Piece();
          made.status = body(made.response, {piece.data(), piece.size()});
          return made;
        });
    BERTH_CHECK(received.size() <= content.size());
    BERTH_CHECK(!transfer.is_over() || attempt.status.ok() == (received == content));
    (void)transfer.TakeProgress();
  }
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
