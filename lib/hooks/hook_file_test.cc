#include "lib/hooks/hook_file.h"

#include "absl/time/clock.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::hooks {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Json(const std::string& when, const std::string& hook = R"({"path":"/bin/hook"})",
                 const std::string& stages = R"(["prestart"])") {
  return fmt::format(R"({{"version":"1.0.0","hook":{},"when":{},"stages":{}}})", hook, when,
                     stages);
}

bool Matches(const std::string& when, const HookQuery& query) {
  const auto file = ParseHookFile(Json(when));
  EXPECT_TRUE(file.ok()) << when << ": " << file.status();
  return file.ok() && file->Matches(query);
}

TEST(HookFileTest, Everything) {
  const auto file = ParseHookFile(Json(
      R"({"always":true})", R"({"path":"/bin/hook","args":["hook","a"],"env":["K=V"],"timeout":7})",
      R"(["createRuntime","poststop"])"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->hook.path, "/bin/hook");
  EXPECT_THAT(file->hook.args, ElementsAre("hook", "a"));
  EXPECT_THAT(file->hook.env, ElementsAre("K=V"));
  EXPECT_EQ(file->hook.timeout_seconds, 7);
  EXPECT_THAT(file->stages, ElementsAre("createRuntime", "poststop"));
}

TEST(HookFileTest, Conditions) {
  const HookQuery plain = {.annotations = {{"a", "b"}, {"team", "web"}}, .command = "/usr/bin/app"};
  HookQuery with_mounts = plain;
  with_mounts.has_bind_mounts = true;
  EXPECT_FALSE(Matches("{}", plain));
  EXPECT_TRUE(Matches(R"({"always":true})", plain));
  EXPECT_FALSE(Matches(R"({"always":false})", plain));
  EXPECT_TRUE(Matches(R"({"hasBindMounts":true})", with_mounts));
  EXPECT_FALSE(Matches(R"({"hasBindMounts":true})", plain));
  EXPECT_FALSE(Matches(R"({"hasBindMounts":false})", plain));
  EXPECT_TRUE(Matches(R"({"commands":["^/bin/","app$"]})", plain));
  EXPECT_FALSE(Matches(R"({"commands":["^/bin/","^app$"]})", plain));
  EXPECT_TRUE(Matches(R"({"annotations":{"^te":"w.b"}})", plain));
  EXPECT_TRUE(Matches(R"({"annotations":{"^te":"web","^a$":"^b$"}})", plain));
  EXPECT_FALSE(Matches(R"({"annotations":{"^te":"web","^a$":"^c$"}})", plain));
  // Key and value of one annotation, not of two.
  EXPECT_FALSE(Matches(R"({"annotations":{"^a$":"web"}})", plain));
  // All of them must hold.
  EXPECT_TRUE(Matches(R"({"always":true,"commands":["app"]})", plain));
  EXPECT_FALSE(Matches(R"({"always":true,"commands":["other"]})", plain));
  EXPECT_FALSE(Matches(R"({"always":true,"hasBindMounts":true})", plain));
  EXPECT_FALSE(Matches(R"({"always":false,"commands":["app"]})", plain));
}

TEST(HookFileTest, Mistakes) {
  struct {
    std::string text;
    const char* error;
  } cases[] = {
      {"", "not valid JSON"},
      {R"({"version":"0.1.0"})", "'version' is '0.1.0'"},
      {R"({"version":"1.0.0","when":{},"stages":["prestart"]})", "'hook' is missing"},
      {R"({"version":"1.0.0","hook":{"path":"/x"},"stages":["prestart"]})", "'when' is missing"},
      {Json("{}", R"({"path":"x"})"), "not an absolute path"},
      {Json("{}", R"({"path":"/x","timeout":0})"), "'hook.timeout' is 0"},
      {Json("{}", R"({"path":"/x","argv":[]})"), "'hook.argv' is not known"},
      {Json("{}", R"({"path":"/x"})", "[]"), "'stages' is empty"},
      {Json("{}", R"({"path":"/x"})", R"(["later"])"), "'stages' has 'later'"},
      {Json(R"({"sometimes":true})"), "'when.sometimes' is not known"},
      {Json(R"({"always":1})"), "not true or false"},
      {Json(R"({"commands":["("]})"), "'when.commands': '(' is not a regular expression"},
      {Json(R"({"annotations":{"a":"["}})"), "'when.annotations': '[' is not a regular expression"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ParseHookFile(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error)) << c.text;
  }
}

// A pod's author chooses the text; patterns that make other matchers try 2^n ways must not cost it.
TEST(HookFileTest, HostileTextCostsLittle) {
  const HookQuery query = {.annotations = {{"k", std::string(200'000, 'a') + "!"}}};
  const absl::Time begin = absl::Now();
  EXPECT_FALSE(Matches(R"({"annotations":{"k":"^(a+)+$","k$":"^(a|aa)*$"}})", query));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
}

}  // namespace
}  // namespace berth::hooks
