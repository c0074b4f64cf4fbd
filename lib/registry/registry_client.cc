#include "lib/registry/registry_client.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/oci/printable.h"
#include "lib/oci/sha256.h"
#include "lib/registry/blob_fetch.h"
#include "lib/registry/endpoint_reports.h"
#include "lib/registry/requester.h"

namespace berth::registry {

namespace {

absl::Status Error(absl::StatusCode code, std::string_view message) {
  return base::MakeStatus(code, message);
}

// "application/json; charset=utf-8" -> "application/json"
std::string MediaType(const HttpResponse& response) {
  std::string type = response.Header("content-type").value_or("");
  type.resize(std::min(type.find(';'), type.size()));
  while (!type.empty() && type.back() == ' ') {
    type.pop_back();
  }
  for (char& c : type) {
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return type;
}

struct Document {
  std::string bytes;
  HttpResponse response;
};

}  // namespace

class RegistryClient::Impl {
 public:
  Impl(HttpTransport& transport, std::shared_ptr<const RegistriesConf> conf,
       RegistryOptions options)
      : options_(std::move(options)),
        transport_(transport),
        requester_(transport, options_, [this] { return this->conf(); }),
        blobs_(requester_, options_),
        conf_(std::move(conf)) {}

  void SetConf(std::shared_ptr<const RegistriesConf> conf) {
    base::MutexLock lock(mu_);
    conf_ = std::move(conf);
  }
  std::shared_ptr<const RegistriesConf> conf() {
    base::MutexLock lock(mu_);
    return conf_;
  }

  HttpTransport& transport() { return transport_; }

  // A whole small document from one endpoint, with retries.
  absl::StatusOr<Document> FetchDocument(const base::OpContext& ctx, const EndpointRequest& request,
                                         size_t max_bytes, const char* kind) {
    Retry retry(options_);
    while (true) {
      Document document;
      Attempt attempt = requester_.Send(
          ctx, request, [&](const HttpResponse&, std::span<const char> piece) -> absl::Status {
            if (document.bytes.size() + piece.size() > max_bytes) {
              return Error(absl::StatusCode::kOutOfRange,
                           fmt::format("the {} has more than {} bytes", kind, max_bytes));
            }
            document.bytes.append(piece.data(), piece.size());
            return absl::OkStatus();
          });
      if (attempt.status.ok()) {
        document.response = std::move(attempt.response);
        return document;
      }
      RETURN_IF_ERROR(retry.Wait(ctx, attempt));
      LogRepetition(request.endpoint, attempt);
    }
  }

  // `fetch` at each endpoint in turn, until one succeeds. Its second argument becomes the context
  // of the error.
  template <typename Fetch>
  auto FirstOf(const base::OpContext& ctx, const std::vector<Endpoint>& endpoints,
               const std::string& what, const Fetch& fetch) -> decltype(fetch(endpoints.front())) {
    EndpointReports reports;
    for (const Endpoint& endpoint : endpoints) {
      auto result = fetch(endpoint);
      if (result.ok()) {
        return result;
      }
      RETURN_IF_ERROR(base::Annotate(ctx.Check(), what));
      reports.Add(endpoint, result.status());
    }
    return reports.Fail(what);
  }

  absl::StatusOr<ResolvedManifest> ResolveAt(const base::OpContext& ctx, const Endpoint& endpoint,
                                             const oci::Reference& reference,
                                             const std::optional<Credentials>& credentials,
                                             const std::vector<oci::Digest>& known);
  absl::StatusOr<std::string> FetchVerified(const base::OpContext& ctx, const ImageSource& source,
                                            const oci::Descriptor& descriptor, const char* kind,
                                            size_t max_bytes);
  BlobFetcher& blobs() { return blobs_; }

  const RegistryOptions options_;

 private:
  HttpTransport& transport_;
  Requester requester_;
  BlobFetcher blobs_;
  base::Mutex mu_;
  std::shared_ptr<const RegistriesConf> conf_ ABSL_GUARDED_BY(mu_);
};

namespace {

EndpointRequest ManifestRequest(const Endpoint& endpoint, const std::string& tag_or_digest,
                                const std::optional<Credentials>& credentials) {
  EndpointRequest request;
  request.endpoint = endpoint;
  request.path = "/manifests/" + tag_or_digest;
  for (const char* type : {oci::kOciIndexType, oci::kOciManifestType, oci::kDockerIndexType,
                           oci::kDockerManifestType}) {
    request.headers.emplace_back("Accept", type);
  }
  request.credentials = credentials;
  return request;
}

absl::Status CheckDigest(std::string_view bytes, const oci::Digest& wanted) {
  const oci::Digest actual = oci::DigestOf(bytes, wanted.algorithm());
  if (actual != wanted) {
    return Error(absl::StatusCode::kDataLoss, fmt::format("the content has digest '{}', not '{}'",
                                                          actual.ToString(), wanted.ToString()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ResolvedManifest> RegistryClient::Impl::ResolveAt(
    const base::OpContext& ctx, const Endpoint& endpoint, const oci::Reference& reference,
    const std::optional<Credentials>& credentials, const std::vector<oci::Digest>& known) {
  const auto& digest = reference.digest();
  EndpointRequest request =
      ManifestRequest(endpoint, digest ? digest->ToString() : reference.tag(), credentials);
  ResolvedManifest resolved;
  resolved.source.reference = reference;
  resolved.source.credentials = credentials;
  resolved.source.endpoints.push_back(endpoint);
  if (!known.empty()) {
    // Whatever goes wrong here, the GET says it better, and is repeated where that makes sense.
    request.method = "HEAD";
    const Attempt attempt = requester_.Send(
        ctx, request, [](const HttpResponse&, std::span<const char>) { return absl::OkStatus(); });
    const auto named = oci::Digest::Parse(attempt.response.Header("docker-content-digest")
                                              .value_or(digest ? digest->ToString() : ""));
    if (attempt.status.ok() && named.ok() && (!digest || *named == *digest) &&
        std::find(known.begin(), known.end(), *named) != known.end()) {
      resolved.digest = *named;
      resolved.is_known = true;
      return resolved;
    }
    RETURN_IF_ERROR(ctx.Check());
    request.method = "GET";
  }
  ASSIGN_OR_RETURN(Document document,
                   FetchDocument(ctx, request, oci::kMaxManifestBytes, "manifest"));
  if (digest) {
    RETURN_IF_ERROR(CheckDigest(document.bytes, *digest));
    resolved.digest = *digest;
  } else {
    // A registry that announces a digest and sends something else is broken, or something between
    // us is.
    const auto announced =
        oci::Digest::Parse(document.response.Header("docker-content-digest").value_or(""));
    if (announced.ok()) {
      RETURN_IF_ERROR(CheckDigest(document.bytes, *announced));
    }
    resolved.digest = oci::DigestOf(document.bytes);
  }
  resolved.bytes = std::move(document.bytes);
  resolved.media_type = MediaType(document.response);
  return resolved;
}

absl::StatusOr<std::string> RegistryClient::Impl::FetchVerified(const base::OpContext& ctx,
                                                                const ImageSource& source,
                                                                const oci::Descriptor& descriptor,
                                                                const char* kind,
                                                                size_t max_bytes) {
  const bool is_manifest = kind == std::string_view("manifest");
  const std::string what = fmt::format("fetch {} '{}' of image '{}'", kind,
                                       descriptor.digest.ToString(), source.reference.ToString());
  if (descriptor.size < 0 || static_cast<uint64_t>(descriptor.size) > max_bytes) {
    return Error(absl::StatusCode::kOutOfRange,
                 fmt::format("{}: its descriptor says {} bytes, more than {}", what,
                             descriptor.size, max_bytes));
  }
  return FirstOf(
      ctx, source.endpoints, what, [&](const Endpoint& endpoint) -> absl::StatusOr<std::string> {
        EndpointRequest request =
            ManifestRequest(endpoint, descriptor.digest.ToString(), source.credentials);
        if (options_.progress_timeout > absl::ZeroDuration()) {
          request.stall_timeout = std::min(request.stall_timeout, options_.progress_timeout);
        }
        if (!is_manifest) {
          request.path = "/blobs/" + descriptor.digest.ToString();
          request.headers.clear();
        }
        ASSIGN_OR_RETURN(Document document, FetchDocument(ctx, request, max_bytes, kind));
        RETURN_IF_ERROR(CheckDigest(document.bytes, descriptor.digest));
        if (document.bytes.size() != static_cast<uint64_t>(descriptor.size)) {
          return Error(absl::StatusCode::kDataLoss,
                       fmt::format("the content has {} bytes, but its descriptor says {}",
                                   document.bytes.size(), descriptor.size));
        }
        return std::move(document.bytes);
      });
}

RegistryClient::RegistryClient(HttpTransport& transport, std::shared_ptr<const RegistriesConf> conf,
                               RegistryOptions options)
    : impl_(std::make_unique<Impl>(transport, std::move(conf), std::move(options))) {}

RegistryClient::~RegistryClient() = default;

void RegistryClient::SetConf(std::shared_ptr<const RegistriesConf> conf) {
  impl_->SetConf(std::move(conf));
}

std::shared_ptr<const RegistriesConf> RegistryClient::conf() const { return impl_->conf(); }

void RegistryClient::CloseIdle() { impl_->transport().CloseIdle(); }

absl::StatusOr<ResolvedManifest> RegistryClient::ResolveManifest(
    const base::OpContext& ctx, const oci::Reference& reference,
    const std::optional<Credentials>& credentials, const std::vector<oci::Digest>& known) {
  ASSIGN_OR_RETURN(const std::vector<Endpoint> endpoints, impl_->conf()->Endpoints(reference));
  const std::string what = fmt::format("fetch manifest of image '{}'", reference.ToString());
  ASSIGN_OR_RETURN(ResolvedManifest resolved,
                   impl_->FirstOf(ctx, endpoints, what, [&](const Endpoint& endpoint) {
                     return impl_->ResolveAt(ctx, endpoint, reference, credentials, known);
                   }));
  for (const Endpoint& endpoint : endpoints) {
    if (!(endpoint == resolved.source.endpoints.front())) {
      resolved.source.endpoints.push_back(endpoint);
    }
  }
  return resolved;
}

absl::StatusOr<std::string> RegistryClient::FetchManifest(const base::OpContext& ctx,
                                                          const ImageSource& source,
                                                          const oci::Descriptor& descriptor) {
  return impl_->FetchVerified(ctx, source, descriptor, "manifest", oci::kMaxManifestBytes);
}

absl::StatusOr<std::string> RegistryClient::FetchConfig(const base::OpContext& ctx,
                                                        const ImageSource& source,
                                                        const oci::Descriptor& descriptor) {
  return impl_->FetchVerified(ctx, source, descriptor, "config", oci::kMaxConfigBytes);
}

absl::Status RegistryClient::FetchBlob(const base::OpContext& ctx, const ImageSource& source,
                                       const oci::Descriptor& descriptor, const BlobSink& sink) {
  return impl_->blobs().Fetch(ctx, source, descriptor, sink);
}

}  // namespace berth::registry
