#include "lib/image/artifact.h"

#include <gtest/gtest.h>

#include "lib/oci/sha256.h"

namespace berth::image {
namespace {

constexpr char kEmptyConfig[] = "application/vnd.oci.empty.v1+json";
constexpr char kTarGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";

oci::ImageManifest Manifest(const std::string& config, const std::vector<std::string>& layers,
                            const std::string& artifact_type = "") {
  oci::ImageManifest manifest;
  manifest.config.media_type = config;
  manifest.artifact_type = artifact_type;
  for (const std::string& type : layers) {
    manifest.layers.push_back({.media_type = type});
  }
  return manifest;
}

TEST(ArtifactTest, WhatIsOne) {
  EXPECT_FALSE(IsArtifact(Manifest(oci::kOciConfigType, {kTarGzip})));
  EXPECT_FALSE(IsArtifact(Manifest(oci::kDockerConfigType, {})));
  EXPECT_FALSE(IsArtifact(Manifest(oci::kOciConfigType, {kTarGzip}, "application/vnd.x")));
  // Refused later, by what its layers are: encrypted ones are an image's.
  EXPECT_FALSE(IsArtifact(Manifest(oci::kOciConfigType, {std::string(kTarGzip) + "+encrypted"})));
  EXPECT_FALSE(IsArtifact(Manifest("application/octet-stream", {kTarGzip})));
  EXPECT_TRUE(IsArtifact(Manifest("application/octet-stream", {kTarGzip}, "application/vnd.x")));
  EXPECT_TRUE(IsArtifact(Manifest(kEmptyConfig, {kTarGzip}, "application/vnd.x")));
  EXPECT_TRUE(IsArtifact(Manifest("application/vnd.cncf.helm.config.v1+json", {"a/b"})));
  EXPECT_TRUE(IsArtifact(Manifest(oci::kOciConfigType, {"text/plain"}, "application/vnd.x")));
}

oci::ImageManifest Files(const std::vector<std::string>& titles) {
  oci::ImageManifest manifest;
  for (const std::string& title : titles) {
    oci::Descriptor blob;
    blob.digest = oci::DigestOf(title);
    blob.annotations["org.opencontainers.image.title"] = title;
    manifest.layers.push_back(std::move(blob));
  }
  return manifest;
}

TEST(ArtifactTest, NamesOfFiles) {
  const auto files = ArtifactFiles(Files({"model.bin", "a/b/c", "..hidden", "a/b.d", "sp ace"}));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ((*files)[1].path, "a/b/c");
  oci::ImageManifest untitled = Files({"x"});
  untitled.layers[0].annotations.clear();
  EXPECT_EQ((*ArtifactFiles(untitled))[0].path, "sha256-" + oci::DigestOf("x").hex());
}

TEST(ArtifactTest, NamesThatAreRefused) {
  for (const std::vector<std::string>& titles :
       std::vector<std::vector<std::string>>{{""},
                                             {"/etc/passwd"},
                                             {".."},
                                             {"../x"},
                                             {"a/../../x"},
                                             {"a/./b"},
                                             {"a//b"},
                                             {"a/"},
                                             {"a\nb"},
                                             {std::string("a\0b", 3)},
                                             {".wh.x"},
                                             {"a/.wh..wh..opq"},
                                             {std::string(256, 'x')},
                                             {"x", "x"},
                                             {"a/b", "a"},
                                             {"a", "a/b/c"}}) {
    EXPECT_EQ(ArtifactFiles(Files(titles)).status().code(), absl::StatusCode::kInvalidArgument)
        << titles[0];
  }
  std::string deep = "d";
  for (size_t i = 0; i < kMaxArtifactDepth; ++i) {
    deep += "/d";
  }
  std::vector<std::string> many;
  for (size_t i = 0; i <= kMaxArtifactFiles; ++i) {
    many.push_back(std::to_string(i));
  }
  for (const auto& titles : {std::vector<std::string>{deep}, many,
                             std::vector<std::string>{std::string(kMaxArtifactPath + 1, 'x')}}) {
    EXPECT_EQ(ArtifactFiles(Files(titles)).status().code(), absl::StatusCode::kOutOfRange);
  }
}

TEST(ArtifactTest, ALayerIsNamedByPathAndDigest) {
  const auto name = [](const std::string& path, const std::string& content) {
    return ArtifactLayer({path, {.digest = oci::DigestOf(content)}}, {}).diff_id;
  };
  EXPECT_EQ(name("a", "1"), name("a", "1"));
  EXPECT_NE(name("a", "1"), name("b", "1"));
  EXPECT_NE(name("a", "1"), name("a", "2"));
  EXPECT_NE(name("a", "1"), oci::DigestOf("1"));
}

}  // namespace
}  // namespace berth::image
