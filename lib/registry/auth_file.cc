#include "lib/registry/auth_file.h"

#include <unistd.h>

#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/oci/json.h"
#include "lib/oci/printable.h"

namespace berth::registry {

namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr int kMaxDepth = 16;

absl::Status Invalid(std::string_view message) {
  return base::MakeStatus(absl::StatusCode::kInvalidArgument, message);
}

// Docker's own spelling reduced to a host: "https://host/v1/" -> "host".
std::string HostOfKey(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.substr(0, scheme.size()) == scheme) {
      key.remove_prefix(scheme.size());
    }
  }
  return CanonicalHost(std::string(key.substr(0, key.find('/'))));
}

bool IsDockerKey(std::string_view key) {
  const size_t slash = key.find('/');
  const std::string_view path = slash == std::string_view::npos ? "" : key.substr(slash);
  return key.find("://") != std::string_view::npos || path == "/v1/" || path == "/v2/" ||
         path == "/v1" || path == "/v2" || path == "/";
}

absl::StatusOr<Credentials> ParseEntry(const oci::JsonObject& entry) {
  Credentials credentials;
  ASSIGN_OR_RETURN(const std::string auth, entry.String("auth"));
  if (!auth.empty()) {
    ASSIGN_OR_RETURN(credentials, DecodeBasicAuth(auth));
  }
  ASSIGN_OR_RETURN(credentials.identity_token, entry.String("identitytoken"));
  ASSIGN_OR_RETURN(credentials.registry_token, entry.String("registrytoken"));
  return credentials;
}

// The entry of one level of specificity: `wanted` is the whole path, a parent of it, or the host.
// `is_listed` becomes true when there is one, though it be empty.
absl::StatusOr<std::optional<Credentials>> FindKey(const std::vector<std::string>& keys,
                                                   const oci::JsonObject& auths,
                                                   const std::string& wanted, bool& is_listed) {
  const bool is_host_only = wanted.find('/') == std::string::npos;
  for (const bool docker_spelling : {false, true}) {
    for (const std::string& key : keys) {
      const bool matches =
          docker_spelling ? is_host_only && IsDockerKey(key) && HostOfKey(key) == wanted
                          : !IsDockerKey(key) &&
                                (key == wanted || (is_host_only && CanonicalHost(key) == wanted));
      if (!matches) {
        continue;
      }
      ASSIGN_OR_RETURN(const auto entry, auths.Object(key.c_str()));
      if (!entry) {
        continue;
      }
      is_listed = true;
      auto credentials = ParseEntry(*entry);
      if (!credentials.ok()) {
        return base::Annotate(credentials.status(), fmt::format("entry '{}'", oci::Printable(key)));
      }
      if (!credentials->empty()) {
        return *std::move(credentials);
      }
    }
  }
  return std::nullopt;
}

}  // namespace

std::string CanonicalHost(const std::string& host) {
  const bool is_hub =
      host == "index.docker.io" || host == "registry-1.docker.io" || host == "docker.io";
  return is_hub ? "docker.io" : host;
}

absl::StatusOr<Credentials> DecodeBasicAuth(std::string_view base64) {
  std::string decoded;
  if (!absl::Base64Unescape(absl::string_view(base64.data(), base64.size()), &decoded)) {
    return Invalid("'auth' is not base64");
  }
  // Docker pads the text with NULs.
  while (!decoded.empty() && decoded.back() == '\0') {
    decoded.pop_back();
  }
  const size_t colon = decoded.find(':');
  if (colon == std::string::npos || decoded.find('\0') != std::string::npos) {
    return Invalid("'auth' is not base64 of 'user:password'");
  }
  Credentials credentials;
  credentials.username = decoded.substr(0, colon);
  credentials.password = decoded.substr(colon + 1);
  return credentials;
}

absl::StatusOr<AuthEntry> FindAuthIn(std::string_view json, const std::string& host,
                                     const std::string& repository) {
  if (json.empty()) {
    return AuthEntry();
  }
  auto document = oci::ParseJson(json, kMaxDepth);
  if (!document.ok()) {
    // nlohmann quotes what it could not read, which may be part of a secret.
    return Invalid("it is not valid JSON");
  }
  ASSIGN_OR_RETURN(const oci::JsonObject root, oci::JsonObject::Root(*document));
  ASSIGN_OR_RETURN(const auto helpers, root.StringMap("credHelpers"));
  for (const auto& [key, helper] : helpers) {
    if (HostOfKey(key) == CanonicalHost(host) && !helper.empty()) {
      return AuthEntry{std::nullopt, helper, false};
    }
  }
  ASSIGN_OR_RETURN(const auto keys, root.Keys("auths"));
  ASSIGN_OR_RETURN(const auto auths, root.Object("auths"));
  std::string wanted = CanonicalHost(host) + "/" + repository;
  bool is_listed = false;
  while (auths) {
    ASSIGN_OR_RETURN(auto found, FindKey(keys, *auths, wanted, is_listed));
    if (found) {
      return AuthEntry{std::move(found), "", false};
    }
    const size_t slash = wanted.rfind('/');
    if (slash == std::string::npos) {
      break;
    }
    wanted.resize(slash);
  }
  ASSIGN_OR_RETURN(std::string store, root.String("credsStore"));
  return AuthEntry{std::nullopt, std::move(store), !is_listed};
}

absl::StatusOr<AuthEntry> FindAuth(const std::string& file, const std::string& host,
                                   const std::string& repository) {
  if (file.empty()) {
    return AuthEntry();
  }
  auto text = base::ReadFile(file, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) {
    return AuthEntry();
  }
  RETURN_IF_ERROR(base::Annotate(text.status(), "read auth file"));
  auto found = FindAuthIn(*text, host, repository);
  RETURN_IF_ERROR(base::Annotate(found.status(), fmt::format("read auth file '{}'", file)));
  return found;
}

std::vector<std::string> DefaultAuthFiles(const GetEnv& env) {
  const auto either = [&](const char* name, std::string otherwise) {
    std::string value = env(name);
    return value.empty() ? std::move(otherwise) : value;
  };
  const std::string home = either("HOME", "/root");
  const std::string runtime = env("XDG_RUNTIME_DIR");
  return {runtime.empty() ? fmt::format("/run/containers/{}/auth.json", ::getuid())
                          : runtime + "/containers/auth.json",
          either("XDG_CONFIG_HOME", home + "/.config") + "/containers/auth.json",
          either("DOCKER_CONFIG", home + "/.docker") + "/config.json"};
}

}  // namespace berth::registry
