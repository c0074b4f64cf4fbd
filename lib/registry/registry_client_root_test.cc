// RegistryClient against Debian's docker-registry, filled by skopeo: TLS, basic authentication, an
// index of two platforms.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/oci/sha256.h"
#include "lib/registry/curl_transport.h"
#include "lib/registry/registry_client.h"
#include "lib/registry/testing/server_process.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kGzipLayer[] = "application/vnd.oci.image.layer.v1.tar+gzip";

// Writes an OCI layout with one image for this platform and one for another.
class Layout {
 public:
  explicit Layout(std::string dir) : dir_(std::move(dir)) {
    Must(base::MakeDirs(dir_ + "/blobs/sha256", 0755));
    Must(base::WriteFile(dir_ + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644));
    for (int i = 0; i < 3 << 20; ++i) {
      big_ += static_cast<char>((i * 31 + i / 977) & 255);
    }
    const std::string other = ImageFor("s390x", "other layer");
    const std::string ours = ImageFor(oci::ThisPlatform().architecture, big_);
    index_ = fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}})",
                         oci::kOciIndexType, WithPlatform(other, "s390x"),
                         WithPlatform(ours, oci::ThisPlatform().architecture));
    const std::string entry = Blob(index_, oci::kOciIndexType,
                                   R"(,"annotations":{"org.opencontainers.image.ref.name":"v1"})");
    Must(base::WriteFile(dir_ + "/index.json",
                         fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", entry), 0644));
  }

  const std::string& index() const { return index_; }
  const std::string& big_layer() const { return big_; }

 private:
  static void Must(const absl::Status& status) { ASSERT_TRUE(status.ok()) << status; }

  // Stores a blob; its descriptor.
  std::string Blob(const std::string& content, const std::string& type,
                   const std::string& more = "") {
    const oci::Digest digest = oci::DigestOf(content);
    Must(base::WriteFile(dir_ + "/blobs/sha256/" + digest.hex(), content, 0644));
    return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}{}}})", type, digest.ToString(),
                       content.size(), more);
  }
  static std::string WithPlatform(std::string descriptor, const std::string& architecture) {
    descriptor.pop_back();
    return descriptor +
           fmt::format(R"(,"platform":{{"os":"linux","architecture":"{}"}}}})", architecture);
  }
  std::string ImageFor(const std::string& architecture, const std::string& layer) {
    const std::string config = fmt::format(
        R"({{"os":"linux","architecture":"{}","config":{{"Cmd":["/{}"]}},)"
        R"("rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}})",
        architecture, architecture, oci::DigestOf("x").ToString(), oci::DigestOf("y").ToString());
    const std::string manifest =
        fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}]}})",
                    oci::kOciManifestType, Blob(config, oci::kOciConfigType),
                    Blob("small of " + architecture, kGzipLayer), Blob(layer, kGzipLayer));
    return Blob(manifest, oci::kOciManifestType);
  }

  std::string dir_;
  std::string big_;
  std::string index_;
};

class DockerRegistryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    layout_ = std::make_unique<Layout>(scratch_ / "layout");
    auto table = RunTool({"htpasswd", "-Bbn", "-C", "4", "reader", "hunter2"});
    ASSERT_TRUE(table.ok()) << table.status();
    ASSERT_TRUE(base::WriteFile(scratch_ / "htpasswd", *table, 0644).ok());
    auto made = RunTool({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                         scratch_ / "server.key", "-out", scratch_ / "server.crt"});
    ASSERT_TRUE(made.ok()) << made.status();
  }

  // Starts the server; `http` is more of its http section.
  void StartServer(bool tls) {
    std::string config = fmt::format(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: "
        "{{rootdirectory: {}}}}}\n"
        "auth: {{htpasswd: {{realm: test, path: {}}}}}\nhttp:\n  addr: 127.0.0.1:0\n  secret: x\n",
        scratch_ / "storage", scratch_ / "htpasswd");
    if (tls) {
      config += fmt::format("  tls: {{certificate: {}, key: {}}}\n", scratch_ / "server.crt",
                            scratch_ / "server.key");
    }
    ASSERT_TRUE(base::WriteFile(scratch_ / "config.yml", config, 0644).ok());
    auto server = ServerProcess::Start({"docker-registry", "serve", scratch_ / "config.yml"},
                                       "listening on 127.0.0.1:");
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    host_ = "127.0.0.1:" + server_->port();
    auto copied =
        RunTool({"skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests",
                 "--dest-tls-verify=false", "--dest-creds=reader:hunter2",
                 "oci:" + (scratch_ / "layout") + ":v1", "docker://" + host_ + "/team/app:v1"});
    ASSERT_TRUE(copied.ok()) << copied.status();
  }

  void SetConf(const std::string& text) {
    auto conf = RegistriesConf::Parse(text, "test.conf");
    ASSERT_TRUE(conf.ok()) << conf.status();
    client_ = std::make_unique<RegistryClient>(
        transport_, std::make_shared<const RegistriesConf>(*conf), options_);
  }
  void SetInsecure() {
    SetConf(fmt::format("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", host_));
  }

  absl::StatusOr<ResolvedManifest> Resolve(const std::string& image,
                                           std::optional<Credentials> credentials) {
    return client_->ResolveManifest(ctx_, *oci::Reference::Parse(image), credentials);
  }

  const base::OpContext ctx_ = base::OpContext::WithTimeout(absl::Minutes(1));
  const Credentials reader_{"reader", "hunter2", "", ""};
  ScratchDir scratch_;
  std::unique_ptr<Layout> layout_;
  std::unique_ptr<ServerProcess> server_;
  std::string host_;
  CurlTransport transport_;
  RegistryOptions options_;
  std::unique_ptr<RegistryClient> client_;
};

TEST_F(DockerRegistryTest, WholeImageOverPlainHttp) {
  StartServer(false);
  SetInsecure();
  auto resolved = Resolve(host_ + "/team/app:v1", reader_);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->bytes, layout_->index());
  EXPECT_EQ(resolved->media_type, oci::kOciIndexType);

  auto index = oci::ParseManifest(resolved->bytes, resolved->media_type);
  ASSERT_TRUE(index.ok()) << index.status();
  auto entry = oci::SelectPlatform(std::get<oci::ImageIndex>(*index), oci::ThisPlatform());
  ASSERT_TRUE(entry.ok()) << entry.status();
  auto bytes = client_->FetchManifest(ctx_, resolved->source, *entry);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  auto parsed = oci::ParseManifest(*bytes, entry->media_type);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& manifest = std::get<oci::ImageManifest>(*parsed);

  auto config_bytes = client_->FetchConfig(ctx_, resolved->source, manifest.config);
  ASSERT_TRUE(config_bytes.ok()) << config_bytes.status();
  auto config = oci::ParseImageConfig(*config_bytes);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->platform.architecture, oci::ThisPlatform().architecture);
  EXPECT_TRUE(oci::CheckLayersMatch(manifest, *config).ok());

  std::string layer;
  const absl::Status fetched = client_->FetchBlob(ctx_, resolved->source, manifest.layers[1],
                                                  [&](std::span<const char> piece) {
                                                    layer.append(piece.data(), piece.size());
                                                    return absl::OkStatus();
                                                  });
  EXPECT_TRUE(fetched.ok()) << fetched;
  EXPECT_EQ(layer, layout_->big_layer());

  auto by_digest = Resolve(host_ + "/team/app@" + resolved->digest.ToString(), reader_);
  EXPECT_TRUE(by_digest.ok()) << by_digest.status();
}

TEST_F(DockerRegistryTest, Refusals) {
  StartServer(false);
  SetInsecure();
  const absl::Status anonymous = Resolve(host_ + "/team/app:v1", {}).status();
  EXPECT_EQ(anonymous.code(), absl::StatusCode::kUnauthenticated) << anonymous;
  const absl::Status wrong =
      Resolve(host_ + "/team/app:v1", Credentials{"reader", "wrong-password", "", ""}).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kUnauthenticated) << wrong;
  EXPECT_THAT(wrong.ToString(), Not(HasSubstr("wrong-password")));
  const absl::Status tag = Resolve(host_ + "/team/app:nothing", reader_).status();
  EXPECT_EQ(tag.code(), absl::StatusCode::kNotFound) << tag;
  EXPECT_THAT(tag.ToString(), AllOf(HasSubstr("MANIFEST_UNKNOWN"), HasSubstr("HTTP 404"),
                                    HasSubstr(host_ + "/team/app:nothing")));
  const absl::Status repository = Resolve(host_ + "/nobody/nothing:v1", reader_).status();
  EXPECT_EQ(repository.code(), absl::StatusCode::kNotFound) << repository;
}

TEST_F(DockerRegistryTest, RedirectedShortNameThroughADeadMirror) {
  StartServer(false);
  SetConf(
      fmt::format("[[registry]]\nprefix = \"docker.io\"\nlocation = \"{}\"\ninsecure = true\n"
                  "[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\ninsecure = true\n",
                  host_));
  auto resolved = Resolve("team/app:v1", reader_);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->endpoint().host, host_);
  const absl::Status status = Resolve("team/other:v1", reader_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.ToString(),
              AllOf(HasSubstr("image 'docker.io/team/other:v1'"),
                    HasSubstr("mirror '127.0.0.1:1': cannot be reached"), HasSubstr("HTTP 404")));
}

TEST_F(DockerRegistryTest, TlsWithCertsDir) {
  StartServer(true);
  const std::string certs = scratch_ / "certs.d";
  options_.certs_dirs = {certs, scratch_ / "docker.d"};
  SetConf("");
  const absl::Status untrusted = Resolve(host_ + "/team/app:v1", reader_).status();
  EXPECT_EQ(untrusted.code(), absl::StatusCode::kFailedPrecondition) << untrusted;
  EXPECT_THAT(untrusted.ToString(), HasSubstr("certs.d/" + host_ + "/ca.crt"));

  ASSERT_TRUE(base::MakeDirs(certs + "/" + host_).ok());
  auto ca = base::ReadFile(scratch_ / "server.crt", 1 << 20);
  ASSERT_TRUE(ca.ok());
  ASSERT_TRUE(base::WriteFile(certs + "/" + host_ + "/ca.crt", *ca, 0644).ok());
  const auto trusted = Resolve(host_ + "/team/app:v1", reader_);
  EXPECT_TRUE(trusted.ok()) << trusted.status();

  // The second directory serves hosts that the first has nothing for; an empty one is something.
  ASSERT_TRUE(base::MakeDirs(scratch_ / "docker.d").ok());
  ASSERT_EQ(std::rename((certs + "/" + host_).c_str(), (scratch_ / ("docker.d/" + host_)).c_str()),
            0);
  const auto second = Resolve(host_ + "/team/app:v1", reader_);
  EXPECT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE(base::MakeDirs(certs + "/" + host_).ok());
  EXPECT_FALSE(Resolve(host_ + "/team/app:v1", reader_).ok());

  ASSERT_TRUE(base::WriteFile(certs + "/" + host_ + "/me.cert", *ca, 0644).ok());
  const absl::Status no_key = Resolve(host_ + "/team/app:v1", reader_).status();
  EXPECT_EQ(no_key.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(no_key.ToString(), HasSubstr("'me.key'"));

  options_.certs_dirs.clear();
  SetInsecure();
  const auto unverified = Resolve(host_ + "/team/app:v1", reader_);
  EXPECT_TRUE(unverified.ok()) << unverified.status();
}

TEST_F(DockerRegistryTest, PlainHttpIsNotTriedUnlessInsecure) {
  StartServer(false);
  SetConf("");
  const absl::Status status = Resolve(host_ + "/team/app:v1", reader_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.ToString(), HasSubstr("mark it insecure in registries.conf"));
}

}  // namespace
}  // namespace berth::registry
