// TokenAuth: answers a registry's authentication challenge with an Authorization header, and keeps
// the answer.
//
// Basic: from the credentials. Bearer: a token from the challenge's realm (distribution project,
// "Token Authentication Specification"): by GET, with basic authentication where there is a
// password; by POST with grant_type=refresh_token for an identity token (OAuth2 form); anonymous
// without credentials. Tokens are kept per origin, repository and credentials until shortly before
// they expire.
//
// Threads: thread-safe. Memory: at most kMaxKept answers.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/registry/challenge.h"
#include "lib/registry/credentials.h"
#include "lib/registry/http_exchange.h"
#include "lib/registry/http_transport.h"

namespace berth::registry {

class TokenAuth {
 public:
  static constexpr size_t kMaxKept = 128;

  // Who asks for what, where.
  struct Subject {
    Url registry;  // any URL there
    std::string repository;
    Credentials credentials;  // empty: anonymous
  };

  TokenAuth(HttpTransport& transport, std::function<absl::Time()> now)
      : transport_(transport), now_(std::move(now)) {}

  // A header that worked before and should still, or nullopt.
  std::optional<std::string> Kept(const Subject& subject);
  // It did not.
  void Forget(const Subject& subject);

  // The header for the challenges of a 401 response. The attempt is that at the token server: its
  // status is kUnauthenticated when it refuses, and says whether trying later makes sense.
  // `insecure` is the registry's.
  Attempt Answer(const base::OpContext& ctx, const Subject& subject, const HttpResponse& refusal,
                 const ExchangeOptions& options, std::string& header);

 private:
  struct Answered {
    std::string header;
    absl::Time expires;
  };
  struct Token {
    std::string value;
    absl::Duration lifetime;
  };

  static std::string KeyOf(const Subject& subject);
  void Keep(const Subject& subject, std::string header, absl::Time expires);
  Attempt FetchToken(const base::OpContext& ctx, const Subject& subject, const Challenge& challenge,
                     const ExchangeOptions& options, Token& token);

  HttpTransport& transport_;
  const std::function<absl::Time()> now_;
  base::Mutex mu_;
  std::map<std::string, Answered> kept_ ABSL_GUARDED_BY(mu_);
};

// What must not appear in any message.
std::vector<std::string> SecretsOf(const Credentials& credentials);

}  // namespace berth::registry
