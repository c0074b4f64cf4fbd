// RegistryClient: fetches manifests and blobs by the OCI distribution protocol (distribution-spec
// v1.1, "Pulling").
//
//   auto resolved = client.ResolveManifest(ctx, reference, credentials);      // mirrors in order,
//   then the location client.FetchManifest(ctx, resolved->source, index_entry);                 //
//   the platform's manifest client.FetchBlob(ctx, resolved->source, layer, [&](auto piece) { return
//   unpacker.Write(piece); }); client.CloseIdle(); // when no pull is left
//
// It answers authentication challenges (basic; bearer tokens from the realm's token server, kept
// until they expire), follows redirects without taking credentials to another origin, retries what
// may pass (429, 5xx, broken connections) with backoff or as Retry-After says, and resumes broken
// blobs where they broke off, at the next endpoint if need be: content is named by digest, so it
// does not matter who sends it.
//
// The caller's credentials go to the image's own registry only; mirrors get what the auth file has
// for them.
//
// Threads: thread-safe; every call blocks its caller until done, or until the context ends, which
// is noticed within OpContext::kPollInterval. Ownership: borrows the transport, which must outlive
// it. Memory: nothing but a small token cache between pulls; during pulls 256 KiB for each
// connection, and what blob_fetch.h says for large blobs.
//
// Layers are asked of the registry alone. The `urls` of a foreign layer are not followed, though
// containers/image does: whoever makes an image would choose which addresses the node asks, those
// of its own network and of the cloud's metadata service too; image-spec 1.1 gives such layers up,
// and registries store them as others. A token server may be another host than the registry's, over
// https unless the registry is insecure.
//
// Errors name the image, every endpoint asked and what each said with its HTTP status, and never
// contain credentials:
//   kNotFound            404: no such image or blob
//   kUnauthenticated     401 with or without credentials
//   kPermissionDenied    403, or the registry is blocked
//   kUnavailable         not reachable, or 5xx after retries; with reason RegistryUnavailable
//                        (base::GetReason)
//   kResourceExhausted   429 after retries
//   kDataLoss            content differs from its digest, or is shorter or longer than its
//                        descriptor says
//   kOutOfRange          a manifest or config larger than oci::kMaxManifestBytes,
//                        oci::kMaxConfigBytes
//   kFailedPrecondition  the server's certificate is not trusted, or it redirects without end
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/oci/image.h"
#include "lib/oci/reference.h"
#include "lib/registry/credentials.h"
#include "lib/registry/http_transport.h"
#include "lib/registry/registries_conf.h"

namespace berth::registry {

// Sleeps, or returns the context's error as soon as it ends.
absl::Status SleepFor(const base::OpContext& ctx, absl::Duration duration);

struct RegistryOptions {
  std::vector<std::string> certs_dirs;    // see certs_dir.h
  std::vector<std::string> auth_files;    // see auth_file.h; read at every request
  base::ProcessRunner* runner = nullptr;  // for credential helpers; borrowed; null: none run
  // No byte of a blob for so long: broken off, and resumed. Zero: wait as long as the connection
  // lives.
  absl::Duration progress_timeout = absl::ZeroDuration();
  // Connections to fetch one large blob over, where the server sends ranges; 1: never more. See
  // blob_fetch.h, also for the bound of all together.
  int connections_per_blob = 4;
  int64_t min_ranged_bytes = 16 << 20;  // what large means
  int64_t range_bytes = 2 << 20;        // asked for at once; this much memory for each connection
  int max_attempts = 5;  // of one request at one endpoint, without progress in between
  absl::Duration first_backoff = absl::Milliseconds(200);  // doubles, with jitter
  absl::Duration max_backoff = absl::Seconds(10);
  absl::Duration max_retry_after = absl::Seconds(60);  // a longer Retry-After is an error at once
  // The clock, for tests.
  std::function<absl::Time()> now = absl::Now;
  std::function<absl::Status(const base::OpContext&, absl::Duration)> sleep = SleepFor;
};

// Where an image is fetched from. Made by ResolveManifest; copyable into every worker of the pull.
struct ImageSource {
  oci::Reference reference;
  std::vector<Endpoint> endpoints;  // the one that had the manifest first, then the rest
  std::optional<Credentials> credentials;
};

struct ResolvedManifest {
  std::string bytes;       // empty when is_known
  std::string media_type;  // as the registry called it, without parameters; "" when it did not
  oci::Digest digest;      // of bytes, or as the registry said
  bool is_known = false;   // the registry named one of the digests that the caller has
  ImageSource source;

  // The endpoint that had it.
  const Endpoint& endpoint() const { return source.endpoints.front(); }
};

class RegistryClient {
 public:
  // Gets a blob's bytes in order, each exactly once. Its error ends the transfer and is returned.
  using BlobSink = std::function<absl::Status(std::span<const char> piece)>;

  RegistryClient(HttpTransport& transport, std::shared_ptr<const RegistriesConf> conf,
                 RegistryOptions options);
  ~RegistryClient();

  // From now on; pulls that run keep what they have.
  void SetConf(std::shared_ptr<const RegistriesConf> conf);
  std::shared_ptr<const RegistriesConf> conf() const;

  // The manifest or index of a reference with a domain (see RegistriesConf::Candidates for short
  // names). A reference by digest is verified against it. With `known`, digests that the caller
  // has whole, each endpoint is asked by HEAD first, and nothing is fetched when it names one of
  // them. That is a request also for a reference by digest: the registry decides who may have it.
  // One that refuses HEAD or names no digest is asked by GET as ever.
  absl::StatusOr<ResolvedManifest> ResolveManifest(const base::OpContext& ctx,
                                                   const oci::Reference& reference,
                                                   const std::optional<Credentials>& credentials,
                                                   const std::vector<oci::Digest>& known = {});

  // A manifest by its descriptor, verified.
  absl::StatusOr<std::string> FetchManifest(const base::OpContext& ctx, const ImageSource& source,
                                            const oci::Descriptor& descriptor);

  // A blob of at most oci::kMaxConfigBytes into memory, verified: an image's config.
  absl::StatusOr<std::string> FetchConfig(const base::OpContext& ctx, const ImageSource& source,
                                          const oci::Descriptor& descriptor);

  // A blob into `sink`. The digest is known only at the end: what the sink got is not to be trusted
  // before OK is returned.
  absl::Status FetchBlob(const base::OpContext& ctx, const ImageSource& source,
                         const oci::Descriptor& descriptor, const BlobSink& sink);

  // Closes connections kept for reuse. To be called when no pull is running.
  void CloseIdle();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::registry
