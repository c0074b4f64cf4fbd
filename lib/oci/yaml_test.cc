#include "lib/oci/yaml.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::oci {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

absl::StatusOr<Json> Convert(std::string_view text) {
  return YamlToJson(text, [](std::string_view key) { return key == "n" || key == "m"; });
}

TEST(YamlTest, StandsForTheSameJson) {
  const auto json = Convert(R"(---
text: a word      # and a comment
number: 1
yes: true
quoted: "a\nb"
block: |
  two
  lines
list:
- {name: 0}
- [a, 'b']
empty:
tilde: ~
n: 12
m: [0644, 0o17, 0x1F, -3, true, "5", word, 1.5]
)");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*json, Json::parse(R"({"text":"a word","number":"1","yes":"true","quoted":"a\nb",
    "block":"two\nlines\n","list":[{"name":"0"},["a","b"]],"empty":null,"tilde":null,"n":12,
    "m":[420,15,31,-3,true,"5","word","1.5"]})"));
}

TEST(YamlTest, JsonIsYaml) {
  const auto json = Convert(R"({"a": ["b", {"n": 3}]})");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*json, Json::parse(R"({"a": ["b", {"n": 3}]})"));
}

TEST(YamlTest, NothingAtAll) {
  const auto is_typed = [](std::string_view) { return false; };
  EXPECT_EQ(YamlToJson({}, is_typed).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(YamlTest, Aliases) {
  const auto json = Convert("a: &x {k: v}\nb: *x\n");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["b"]["k"], "v");
}

TEST(YamlTest, Mistakes) {
  struct {
    const char* text;
    const char* error;
  } cases[] = {{"", "empty"},
               {"a: [1", "not YAML"},
               {"a: b: c", "not YAML"},
               {"a: 1\n\ta: 2", "line 2"},
               {"a: *nobody", "not YAML"},
               {"a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"},
               {"[a]: 1", "a key is no text"},
               {"a: 1\n---\nb: 2\n", "more than one"},
               {"a: \"\xff\"", "not YAML"}};
  for (const auto& c : cases) {
    const absl::Status status = Convert(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error)) << c.text;
  }
}

// Ten lists of ten aliases each, again and again: 10^9 values in 200 bytes.
TEST(YamlTest, AliasesDoNotExplode) {
  std::string bomb = "a0: &a0 x\n";
  for (int i = 1; i < 10; ++i) {
    const std::string n = std::to_string(i), below = std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [";
    for (int j = 0; j < 10; ++j) {
      bomb += "*a" + below + ",";
    }
    bomb += "]\n";
  }
  EXPECT_EQ(Convert(bomb).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(YamlTest, ValuesAreCountedBeforeTheyAreMade) {
  std::string list = "[";
  for (size_t i = 0; i < kMaxYamlNodes * 2 + 1; ++i) {
    list += "a,";
  }
  // Not closed: the count comes first.
  EXPECT_EQ(Convert(list).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(YamlTest, DepthIsLimited) {
  EXPECT_TRUE(Convert(std::string(30, '[') + std::string(30, ']')).ok());
  EXPECT_EQ(Convert(std::string(40, '[') + std::string(40, ']')).status().code(),
            absl::StatusCode::kOutOfRange);
  // libyaml alone would take hours over it, since its time grows with the square of the depth.
  EXPECT_EQ(Convert(std::string(8 << 20, '[')).status().code(), absl::StatusCode::kOutOfRange);
  // A list that has itself as an element.
  EXPECT_FALSE(Convert("&a [*a]").ok());
}

}  // namespace
}  // namespace berth::oci
