#include "lib/image/image_index.h"

#include <gtest/gtest.h>

namespace berth::image {
namespace {

std::string Id(const std::string& start) { return start + std::string(64 - start.size(), '0'); }

model::ImageRecord Record(const std::string& id, std::vector<std::string> tags,
                          std::vector<std::string> digests) {
  model::ImageRecord record;
  record.id = Id(id);
  record.repo_tags = std::move(tags);
  record.repo_digests = std::move(digests);
  return record;
}

const std::string kDigest = "sha256:" + std::string(64, 'd');

ImageIndex MakeIndex(const std::vector<std::string>& pinned = {}) {
  return ImageIndex(
      {Record("abc1", {"docker.io/library/busybox:1.36", "docker.io/library/busybox:latest"},
              {"docker.io/library/busybox@" + kDigest}),
       Record("abc2", {"quay.io/team/app:v1", "localhost:5000/x:y"},
              {"quay.io/team/app@" + kDigest}),
       Record("def3", {}, {"quay.io/team/old@" + kDigest}),
       Record("cafe", {"docker.io/library/abcd:latest"}, {"docker.io/library/abcd@" + kDigest})},
      pinned);
}

TEST(ImageIndex, FindsByNameIdAndPrefix) {
  const ImageIndex index = MakeIndex();
  const std::pair<std::string, std::string> cases[] = {
      {"busybox", "abc1"},
      {"busybox:1.36", "abc1"},
      {"docker.io/library/busybox", "abc1"},
      {"docker.io/busybox:latest", "abc1"},
      {"busybox@" + kDigest, "abc1"},
      {"busybox:1.36@" + kDigest, "abc1"},
      {"quay.io/team/app:v1", "abc2"},
      {"team/app:v1", "abc2"},  // found by a search list once
      {"x:y", "abc2"},
      {"quay.io/team/old@" + kDigest, "def3"},
      {Id("abc1"), "abc1"},
      {"sha256:" + Id("abc2"), "abc2"},
      {"abc1", "abc1"},
      {"sha256:abc2", "abc2"},
      {"def", "def3"},
      {"abcd", "cafe"},  // a name wins over a prefix
  };
  for (const auto& [text, id] : cases) {
    const auto found = index.Find(text);
    ASSERT_TRUE(found.ok()) << text << ": " << found.status();
    EXPECT_EQ((*found)->id, Id(id)) << text;
  }
}

TEST(ImageIndex, AbsentAmbiguousAndMalformed) {
  const ImageIndex index = MakeIndex();
  for (const std::string& text :
       {std::string("nginx"), std::string("busybox:1.35"), Id("1234"), std::string("fff"),
        std::string("quay.io/team/app"), "quay.io/team/none@" + kDigest}) {
    EXPECT_EQ(index.Find(text).status().code(), absl::StatusCode::kNotFound) << text;
  }
  EXPECT_EQ(index.Find("abc").status().code(), absl::StatusCode::kInvalidArgument);
  for (const char* text : {"", "UPPER", "a b", "x@sha256:12"}) {
    EXPECT_EQ(index.Find(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ImageIndex, PinnedPatterns) {
  const std::tuple<const char*, const char*, bool> cases[] = {
      {"registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9", true},
      {"registry.k8s.io/pause", "registry.k8s.io/pause:3.9", true},
      {"Registry.K8S.io/Pause", "registry.k8s.io/pause:3.9", true},
      {"registry.k8s.io/pause:3.8", "registry.k8s.io/pause:3.9", false},
      {"registry.k8s.io/pau", "registry.k8s.io/pause:3.9", false},
      {"registry.k8s.io/*", "registry.k8s.io/pause:3.9", true},
      {"*pause*", "registry.k8s.io/pause:3.9", true},
      {"*", "registry.k8s.io/pause:3.9", true},
      {"*3.9", "registry.k8s.io/pause:3.9", false},
      {"localhost:5000/pause", "localhost:5000/pause:1", true},
      {"localhost", "localhost:5000/pause:1", false},
      {"", "x", false},
  };
  for (const auto& [pattern, name, matches] : cases) {
    EXPECT_EQ(MatchesPinned({pattern}, name), matches) << pattern << " " << name;
  }
  const ImageIndex index = MakeIndex({"*team*", "nothing"});
  EXPECT_TRUE((*index.Find("def3"))->pinned);
  EXPECT_TRUE((*index.Find("abc2"))->pinned);
  EXPECT_FALSE((*index.Find("abc1"))->pinned);
}

TEST(ImageIndex, DocumentsAreReadOnce) {
  int read = 0;
  const auto describe = [&](model::ImageRecord& image) {
    ++read;
    image.user = "user of " + image.id.substr(0, 4);
    image.annotations = {{"k", image.id}};
  };
  const ImageIndex first({Record("abc1", {}, {}), Record("abc2", {}, {})}, {}, ImageIndex(),
                         describe);
  EXPECT_EQ(read, 2);
  const ImageIndex second({Record("abc2", {}, {}), Record("abc3", {}, {})}, {}, first, describe);
  EXPECT_EQ(read, 3);
  for (const auto& image : second.images()) {
    EXPECT_EQ(image->user, "user of " + image->id.substr(0, 4));
    EXPECT_EQ(image->annotations.at("k"), image->id);
  }
}

}  // namespace
}  // namespace berth::image
