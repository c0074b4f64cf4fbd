// ClientFixture: a RegistryClient over a fake server, with a clock that stands still unless
// something sleeps.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "lib/oci/sha256.h"
#include "lib/registry/registry_client.h"
#include "lib/registry/testing/fake_transport.h"

namespace berth::registry {

using Reply = FakeTransport::Reply;

inline constexpr char kImage[] = "reg.example/team/app:v1";
inline constexpr char kManifestUrl[] = "https://reg.example/v2/team/app/manifests/v1";

inline const std::string kManifest =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
    R"("config":{},"layers":[]})";

inline Reply Manifest() {
  return {
      200, {{"content-type", std::string(oci::kOciManifestType) + "; charset=utf-8"}}, kManifest};
}

class ClientFixture {
 public:
  explicit ClientFixture(FakeTransport::Server server, const std::string& conf_text = "")
      : transport(std::move(server)) {
    auto parsed = RegistriesConf::Parse(conf_text, "test.conf");
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    options.now = [this] { return now; };
    options.sleep = [this](const base::OpContext& ctx, absl::Duration duration) {
      slept.push_back(duration);
      now += duration;
      return ctx.Check();
    };
    conf = std::make_shared<const RegistriesConf>(*std::move(parsed));
  }

  RegistryClient& client() {
    if (client_ == nullptr) {
      client_ = std::make_unique<RegistryClient>(transport, conf, options);
    }
    return *client_;
  }

  absl::StatusOr<ResolvedManifest> Resolve(const std::string& image = kImage,
                                           std::optional<Credentials> credentials = {}) {
    return client().ResolveManifest(base::OpContext::Background(), *oci::Reference::Parse(image),
                                    credentials);
  }

  // Fetches `content` as a blob; what came is in `received`.
  absl::Status Blob(const oci::Descriptor& descriptor, std::vector<Endpoint> endpoints = {}) {
    ImageSource source;
    source.reference = *oci::Reference::Parse(kImage);
    source.endpoints = endpoints.empty()
                           ? std::vector<Endpoint>{{"reg.example", "team/app", false, false}}
                           : std::move(endpoints);
    return client().FetchBlob(base::OpContext::Background(), source, descriptor,
                              [this](std::span<const char> piece) {
                                received.append(piece.data(), piece.size());
                                return absl::OkStatus();
                              });
  }

  FakeTransport transport;
  RegistryOptions options;
  std::shared_ptr<const RegistriesConf> conf;
  absl::Time now = absl::FromUnixSeconds(1700000000);
  std::vector<absl::Duration> slept;
  std::string received;

 private:
  std::unique_ptr<RegistryClient> client_;
};

inline oci::Descriptor DescriptorOf(const std::string& content) {
  oci::Descriptor descriptor;
  descriptor.digest = oci::DigestOf(content);
  descriptor.size = static_cast<int64_t>(content.size());
  return descriptor;
}

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

inline std::string HostOf(const HttpRequest& request) {
  const std::string rest = request.url.substr(request.url.find("://") + 3);
  return rest.substr(0, rest.find('/'));
}

}  // namespace berth::registry
