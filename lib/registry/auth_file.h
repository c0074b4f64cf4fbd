// Auth files: `auth.json` of containers and `config.json` of docker (containers-auth.json(5)).
//
//   {"auths": {"quay.io/team": {"auth": "<base64 of user:password>"},
//              "https://index.docker.io/v1/": {"identitytoken": "..."}},
//    "credHelpers": {"123.dkr.ecr.example": "ecr-login"}, "credsStore": "pass"}
//
// A helper for the host comes first, as everywhere. Then the most specific key wins:
// host/path/to/repository, each parent path, the host. Keys as docker writes them, with a scheme or
// a path like /v1/, count for their host. What has no credentials here is asked of `credsStore`,
// which containers/image does not read and docker does; `docker login` leaves an empty entry per
// host then.
//
// Not read, though CRI-O does: ~/.dockercfg, docker's format of before 2015, and a directory of
// files for pods' namespaces (`namespaced_auth_dir`), a private agreement of CRI-O with its own
// credential provider plugin: the kubelet's standard way for such credentials is the AuthConfig of
// the pull. REGISTRY_AUTH_FILE is read by podman and skopeo alone; here `[image] auth_file` is its
// like.
//
// Threads: pure functions; files are read at every call, so they need no reload.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/registry/credentials.h"
#include "lib/registry/proxy.h"

namespace berth::registry {

struct AuthEntry {
  std::optional<Credentials> credentials;
  std::string helper;  // to be asked instead: docker-credential-<helper>; "": none
  // The file does not say that the helper knows this host: its failure means that it does not.
  bool may_fail = false;
};

// "", an absent file or an empty one has nothing for anybody. kInvalidArgument: malformed;
// messages do not show its content.
absl::StatusOr<AuthEntry> FindAuth(const std::string& file, const std::string& host,
                                   const std::string& repository);
absl::StatusOr<AuthEntry> FindAuthIn(std::string_view json, const std::string& host,
                                     const std::string& repository);

// Where `podman login` and `docker login` leave the credentials of the user that we run as, in the
// order in which containers/image, and so CRI-O, looks: $XDG_RUNTIME_DIR/containers/auth.json or
// /run/containers/<uid>/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json; with
// $XDG_CONFIG_HOME and $DOCKER_CONFIG. Without $HOME ~ is /root.
std::vector<std::string> DefaultAuthFiles(const GetEnv& env = SystemEnv);

// Base64 of "user:password", as in "auth" here and in the CRI's AuthConfig. kInvalidArgument does
// not show the text.
absl::StatusOr<Credentials> DecodeBasicAuth(std::string_view base64);

// Docker Hub's name, whichever of its hosts is meant: "docker.io"; other hosts as they are.
std::string CanonicalHost(const std::string& host);

}  // namespace berth::registry
