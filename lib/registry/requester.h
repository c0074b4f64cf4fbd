// Requester: one request to an endpoint, with everything between "this path, please" and its 2xx
// response: the scheme, the credentials, the challenge, the redirects. Requester does not repeat
// what failed: Retry decides that.
//
// Threads: thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/registry/credential_source.h"
#include "lib/registry/http_exchange.h"
#include "lib/registry/registry_client.h"
#include "lib/registry/token_auth.h"

namespace berth::registry {

struct EndpointRequest {
  Endpoint endpoint;
  std::string method = "GET";
  std::string path;  // below /v2/<repository>: "/manifests/latest"
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<Credentials> credentials;  // the caller's; not used for mirrors
  absl::Duration stall_timeout = absl::Seconds(60);
  // Asked instead of the endpoint, without credentials: an Attempt's moved_to.
  std::string direct_url;
};

class Requester {
 public:
  using GetConf = std::function<std::shared_ptr<const RegistriesConf>()>;

  // Borrows transport and options.
  Requester(HttpTransport& transport, const RegistryOptions& options, GetConf conf)
      : transport_(transport),
        options_(options),
        conf_(std::move(conf)),
        node_credentials_(options.auth_files, options.runner, options.now),
        auth_(transport, options.now) {}

  Attempt Send(const base::OpContext& ctx, const EndpointRequest& request,
               const HttpTransport::BodySink& sink);

 private:
  absl::StatusOr<Credentials> CredentialsFor(const base::OpContext& ctx,
                                             const EndpointRequest& request);
  Attempt SendDirect(const base::OpContext& ctx, const EndpointRequest& request,
                     const HttpTransport::BodySink& sink);
  Attempt SendTo(const base::OpContext& ctx, const std::string& scheme,
                 const EndpointRequest& request, const Credentials& credentials,
                 const HttpTransport::BodySink& sink);
  bool SpeaksPlainHttp(const std::string& host);
  void SetPlainHttp(const std::string& host, bool plain);

  HttpTransport& transport_;
  const RegistryOptions& options_;
  const GetConf conf_;
  CredentialSource node_credentials_;
  TokenAuth auth_;
  base::Mutex mu_;
  std::map<std::string, bool> plain_http_ ABSL_GUARDED_BY(mu_);  // insecure hosts seen to answer so
};

// For the debug log, after Retry::Wait.
void LogRepetition(const Endpoint& endpoint, const Attempt& attempt);

// Retry: how often and how soon a request is repeated.
class Retry {
 public:
  explicit Retry(const RegistryOptions& options) : options_(options) {}

  // After a failed attempt: waits and returns OK when it is to be repeated, else the error to give
  // up with (the attempt's, or the context's).
  absl::Status Wait(const base::OpContext& ctx, const Attempt& attempt);
  // The last attempt got somewhere before it failed.
  void MadeProgress() { failures_ = 0; }

 private:
  const RegistryOptions& options_;
  int failures_ = 0;
};

}  // namespace berth::registry
