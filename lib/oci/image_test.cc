#include "lib/oci/image.h"

#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::oci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const std::string kA = "sha256:" + std::string(64, 'a');
const std::string kB = "sha256:" + std::string(64, 'b');

std::string DescriptorJson(const std::string& type, const std::string& digest,
                           const std::string& more = "") {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":123{}}})", type, digest, more);
}

const std::string kConfigDescriptor = DescriptorJson(kOciConfigType, kA);
const std::string kLayer = DescriptorJson("application/vnd.oci.image.layer.v1.tar+gzip", kB);

std::string ManifestJson(const std::string& layers) {
  return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}})",
                     kOciManifestType, kConfigDescriptor, layers);
}

absl::Status Refusal(const std::string& json, const std::string& type = "") {
  return ParseManifest(json, type).status();
}

TEST(ManifestTest, Manifest) {
  const std::string json = fmt::format(
      R"({{"schemaVersion":2,"config":{},"layers":[{},{}],"annotations":{{"a":"b"}},"subject":null,"x":[1]}})",
      kConfigDescriptor, kLayer, kLayer);
  auto parsed = ParseManifest(json, "");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& manifest = std::get<ImageManifest>(*parsed);
  EXPECT_EQ(manifest.media_type, kOciManifestType);
  EXPECT_EQ(manifest.config.digest.ToString(), kA);
  EXPECT_EQ(manifest.layers.size(), 2u);
  EXPECT_EQ(manifest.TotalSize(), 369);
  EXPECT_THAT(manifest.annotations, ElementsAre(Pair("a", "b")));
}

TEST(ManifestTest, TypeOfTheHeaderStandsInForAMissingOne) {
  const std::string json =
      fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[]}})", kConfigDescriptor);
  auto parsed = ParseManifest(json, kDockerManifestType);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(std::get<ImageManifest>(*parsed).media_type, kDockerManifestType);
  EXPECT_TRUE(ParseManifest(ManifestJson(kLayer), "application/json").ok());
  EXPECT_TRUE(ParseManifest(ManifestJson(kLayer), "text/plain").ok());
}

TEST(ManifestTest, Index) {
  const std::string json = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}})", kDockerIndexType,
      DescriptorJson(kDockerManifestType, kA,
                     R"(,"platform":{"os":"linux","architecture":"arm","variant":"v7"})"),
      DescriptorJson(kDockerManifestType, kB));
  auto parsed = ParseManifest(json, kDockerIndexType);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& index = std::get<ImageIndex>(*parsed);
  ASSERT_EQ(index.manifests.size(), 2u);
  EXPECT_EQ(index.manifests[0].platform->ToString(), "linux/arm/v7");
  EXPECT_FALSE(index.manifests[1].platform.has_value());
}

TEST(ManifestTest, RefusesAmbiguousDocuments) {
  const std::string both =
      fmt::format(R"({{"schemaVersion":2,"config":{0},"layers":[{1}],"manifests":[{1}]}})",
                  kConfigDescriptor, kLayer);
  EXPECT_THAT(Refusal(both).ToString(), HasSubstr("both an index"));
  EXPECT_THAT(Refusal(both, kOciManifestType).ToString(), HasSubstr("both an index"));
  EXPECT_THAT(Refusal(both, kOciIndexType).ToString(), HasSubstr("both an index"));
  EXPECT_THAT(Refusal(ManifestJson(kLayer), kOciIndexType).ToString(), HasSubstr("announced as"));
  EXPECT_THAT(Refusal(ManifestJson(kLayer), kDockerManifestType).ToString(),
              HasSubstr("announced as"));
}

TEST(ManifestTest, RefusesSchema1) {
  const std::string signed_one = R"({"schemaVersion":1,"name":"x","fsLayers":[],"history":[]})";
  EXPECT_EQ(Refusal(signed_one).code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Refusal("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws").code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_THAT(Refusal(signed_one).ToString(), HasSubstr("docker schema 1"));
}

TEST(ManifestTest, RefusesMalformedDocuments) {
  struct Row {
    std::string json;
    std::string message;
  };
  const std::string index = fmt::format(R"("schemaVersion":2,"mediaType":"{}")", kOciIndexType);
  const Row table[] = {
      {"", "not valid JSON"},
      {"nonsense", "not valid JSON"},
      {"[]", "not an object"},
      {"null", "not an object"},
      {"{}", "'schemaVersion' is 0"},
      {R"({"schemaVersion":"2"})", "'schemaVersion' is a JSON string"},
      {R"({"schemaVersion":3})", "'schemaVersion' is 3"},
      {R"({"schemaVersion":2})", "'config' is missing"},
      {R"({"schemaVersion":2,"config":[]})", "'config' is a JSON array"},
      {R"({"schemaVersion":2,"mediaType":"text/plain"})", "neither an image manifest"},
      {"{" + index + "}", "'manifests' is missing"},
      {"{" + index + R"(,"manifests":{}})", "'manifests' is a JSON object"},
      {"{" + index + R"(,"manifests":[7]})", "'manifests[0]' is a JSON number"},
      {"{" + index + R"(,"manifests":[{}]})", "'manifests[0].mediaType' is missing"},
      {ManifestJson(R"({"mediaType":"x","digest":"sha256:../../x","size":1})"),
       "'layers[0].digest'"},
      {ManifestJson(fmt::format(R"({{"mediaType":"x","digest":"{}"}})", kA)), "'layers[0].size'"},
      {ManifestJson(fmt::format(R"({{"mediaType":"x","digest":"{}","size":-1}})", kA)),
       "'layers[0].size'"},
      {ManifestJson(fmt::format(R"({{"mediaType":"x","digest":"{}","size":1e3}})", kA)),
       "'layers[0].size' is a JSON number"},
      {ManifestJson(
           fmt::format(R"({{"mediaType":"x","digest":"{}","size":18446744073709551615}})", kA)),
       "too large"},
      {ManifestJson(
           fmt::format(R"({{"mediaType":"x","digest":"{}","size":9223372036854775807}})", kA)),
       "not a size"},
      {ManifestJson(kLayer) + "{}", "not valid JSON"},
  };
  for (const Row& row : table) {
    const absl::Status status = Refusal(row.json);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.json;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message)) << row.json;
  }
}

TEST(ManifestTest, Limits) {
  std::string layers = kLayer;
  for (size_t i = 1; i < kMaxLayers; ++i) {
    layers += "," + kLayer;
  }
  EXPECT_TRUE(ParseManifest(ManifestJson(layers), "").ok());
  EXPECT_EQ(Refusal(ManifestJson(layers + "," + kLayer)).code(), absl::StatusCode::kOutOfRange);

  const std::string deep(1 << 20, '[');
  EXPECT_EQ(Refusal(deep).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Refusal("{\"a\":" + deep).code(), absl::StatusCode::kOutOfRange);
  std::string wide = "[0";
  while (wide.size() < 1 << 20) {
    wide += ",0";
  }
  EXPECT_THAT(Refusal(wide + "]").ToString(), HasSubstr("more than 100000 values"));
  // Brackets and escaped quotes in strings do not count.
  const std::string text = fmt::format(R"("\"{}\\")", std::string(2000, '['));
  EXPECT_THAT(Refusal(text).ToString(), HasSubstr("not an object"));
  EXPECT_EQ(Refusal(std::string(kMaxManifestBytes + 1, ' ')).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ParseImageConfig(std::string(kMaxConfigBytes + 1, ' ')).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(MediaTypeTest, Compression) {
  const auto gzip = CompressionOf("application/vnd.docker.image.rootfs.diff.tar.gzip");
  EXPECT_EQ(*gzip, LayerCompression::kGzip);
  EXPECT_EQ(*CompressionOf("application/vnd.oci.image.layer.v1.tar"), LayerCompression::kNone);
  EXPECT_EQ(*CompressionOf("application/vnd.oci.image.layer.v1.tar+zstd"), LayerCompression::kZstd);
  EXPECT_THAT(
      CompressionOf("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").status().ToString(),
      HasSubstr("encrypted"));
  EXPECT_FALSE(CompressionOf("application/x-sbom").ok());
}

Descriptor Entry(const std::string& name, std::optional<Platform> platform) {
  Descriptor descriptor;
  descriptor.media_type = kOciManifestType;
  descriptor.artifact_type = name;  // tells entries apart
  descriptor.platform = std::move(platform);
  return descriptor;
}

std::string Selected(const std::vector<Descriptor>& entries, const Platform& platform) {
  ImageIndex index;
  index.manifests = entries;
  auto selected = SelectPlatform(index, platform);
  return selected.ok() ? selected->artifact_type : selected.status().ToString();
}

TEST(SelectPlatformTest, BestVariantThatRunsHere) {
  const std::vector<Descriptor> entries = {
      Entry("attestation", Platform{"unknown", "unknown", "", ""}),
      Entry("windows", Platform{"windows", "amd64", "", "10.0"}),
      Entry("v6", Platform{"linux", "arm", "v6", ""}),
      Entry("v5", Platform{"linux", "arm", "v5", ""}),
      Entry("v7", Platform{"linux", "arm", "v7", ""}),
      Entry("arm64", Platform{"linux", "aarch64", "v8", ""}),
      Entry("amd64", Platform{"linux", "amd64", "", ""}),
      Entry("amd64v3", Platform{"linux", "amd64", "v3", ""}),
  };
  EXPECT_EQ(Selected(entries, {"linux", "amd64", "v1", ""}), "amd64");
  EXPECT_EQ(Selected(entries, {"linux", "amd64", "v2", ""}), "amd64");
  EXPECT_EQ(Selected(entries, {"linux", "amd64", "v4", ""}), "amd64v3");
  EXPECT_EQ(Selected(entries, {"linux", "arm", "v7", ""}), "v7");
  EXPECT_EQ(Selected(entries, {"linux", "arm", "v6", ""}), "v6");
  EXPECT_EQ(Selected(entries, {"linux", "arm64", "v8", ""}), "arm64");
  const std::string none = Selected(entries, {"linux", "s390x", "", ""});
  EXPECT_THAT(none, HasSubstr("NOT_FOUND"));
  EXPECT_THAT(none, HasSubstr("linux/arm/v6"));
}

TEST(SelectPlatformTest, EntriesWithoutPlatformAreTheLastResort) {
  const Platform amd64{"linux", "amd64", "v1", ""};
  EXPECT_EQ(Selected({Entry("plain", std::nullopt)}, amd64), "plain");
  EXPECT_EQ(Selected({Entry("plain", std::nullopt), Entry("exact", amd64)}, amd64), "exact");
  Descriptor sbom = Entry("sbom", std::nullopt);
  sbom.media_type = "application/spdx+json";
  EXPECT_THAT(Selected({sbom}, amd64), HasSubstr("NOT_FOUND"));
}

TEST(SelectPlatformTest, ThisPlatform) {
  EXPECT_EQ(ThisPlatform().os, "linux");
  EXPECT_FALSE(ThisPlatform().architecture.empty());
}

TEST(ConfigTest, Full) {
  const std::string json = fmt::format(R"({{
    "created": "2024-03-01T10:20:30.123456789Z", "os": "linux", "architecture": "amd64",
    "config": {{"User": "1000:1000", "ExposedPorts": {{"80/tcp": {{}}, "443/tcp": null}}, "Env": ["A=1", "PATH=/bin"],
      "Entrypoint": ["/init"], "Cmd": null, "Volumes": {{"/data": {{}}}}, "WorkingDir": "/w",
      "Labels": {{"k": "v", "empty": null}}, "StopSignal": "SIGQUIT", "Healthcheck": {{"Test": []}}}},
    "rootfs": {{"type": "layers", "diff_ids": ["{}", "{}"]}}, "history": [{{}}]}})",
                                       kA, kB);
  auto config = ParseImageConfig(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(absl::ToUnixNanos(*config->created), 1709288430123456789);
  EXPECT_EQ(config->platform.ToString(), "linux/amd64");
  EXPECT_EQ(config->user, "1000:1000");
  EXPECT_THAT(config->exposed_ports, ElementsAre("443/tcp", "80/tcp"));
  EXPECT_THAT(config->env, ElementsAre("A=1", "PATH=/bin"));
  EXPECT_THAT(config->entrypoint, ElementsAre("/init"));
  EXPECT_TRUE(config->cmd.empty());
  EXPECT_THAT(config->volumes, ElementsAre("/data"));
  EXPECT_EQ(config->working_dir, "/w");
  EXPECT_THAT(config->labels, ElementsAre(Pair("empty", ""), Pair("k", "v")));
  EXPECT_EQ(config->stop_signal, "SIGQUIT");
  ASSERT_EQ(config->diff_ids.size(), 2u);
  EXPECT_EQ(config->diff_ids[1].ToString(), kB);

  ImageManifest manifest;
  manifest.layers.resize(2);
  EXPECT_TRUE(CheckLayersMatch(manifest, *config).ok());
  manifest.layers.resize(1);
  EXPECT_EQ(CheckLayersMatch(manifest, *config).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ConfigTest, RefusesMalformedOnes) {
  struct Row {
    std::string json;
    std::string message;
  };
  const std::string rootfs = R"("rootfs":{"type":"layers","diff_ids":[]})";
  const Row table[] = {
      {"{}", "'rootfs' is missing"},
      {R"({"rootfs":{"type":"squashfs"}})", "'rootfs.type'"},
      {R"({"rootfs":{"diff_ids":["x"]}})", "'rootfs.diff_ids[0]'"},
      {R"({"rootfs":{"diff_ids":"x"}})", "'rootfs.diff_ids' is a JSON string"},
      {"{" + rootfs + R"(,"config":{"Env":["A=1",7]}})", "'config.Env[1]' is a JSON number"},
      {"{" + rootfs + R"(,"config":{"Env":["A=\u0000B"]}})", "NUL"},
      {"{" + rootfs + R"(,"config":{"Cmd":"sh -c x"}})", "'config.Cmd' is a JSON string"},
      {"{" + rootfs + R"(,"config":{"Labels":{"a":1}}})", "'config.Labels.a' is a JSON number"},
      {"{" + rootfs + R"(,"config":{"Volumes":["/a"]}})", "'config.Volumes' is a JSON array"},
      {"{" + rootfs + R"(,"config":{"User":5}})", "'config.User' is a JSON number"},
      {"{" + rootfs + R"(,"created":"yesterday"})", "'created'"},
      {"{" + rootfs + ",\"author\":\"\xff\"}", "not valid JSON"},
  };
  for (const Row& row : table) {
    const absl::Status status = ParseImageConfig(row.json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.json;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message)) << row.json;
  }
  EXPECT_TRUE(ParseImageConfig("{" + rootfs + ",\"config\":null}").ok());
}

}  // namespace
}  // namespace berth::oci
