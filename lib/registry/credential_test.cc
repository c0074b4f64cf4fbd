// Credential helpers, and who is asked for credentials in which order.
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/testing/fake_process_runner.h"
#include "lib/registry/auth_file.h"
#include "lib/registry/credential_source.h"
#include "lib/registry/testing/server_process.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAnswer[] = R"({"ServerURL":"quay.io","Username":"user","Secret":"hidden-word"})";

// A directory on PATH with programs docker-credential-NAME, of which only the presence counts
// unless the real runner is used.
class CredentialTest : public ::testing::Test {
 protected:
  void SetUp() override {
    old_path_ = std::getenv("PATH");
    setenv("PATH", (scratch_.path() + ":" + old_path_).c_str(), 1);
  }
  void TearDown() override { setenv("PATH", old_path_.c_str(), 1); }

  void AddProgram(const std::string& name, const std::string& body = "") {
    const std::string path = scratch_ / ("docker-credential-" + name);
    ASSERT_TRUE(base::WriteFileAtomic(path, "#!/bin/sh\n" + body, 0755).ok());
  }
  std::string AddFile(const std::string& name, const std::string& text) {
    EXPECT_TRUE(base::WriteFileAtomic(scratch_ / name, text, 0600).ok());
    return scratch_ / name;
  }

  const base::OpContext ctx_ = base::OpContext::Background();
  ScratchDir scratch_;
  std::string old_path_;
  absl::Time now_ = absl::FromUnixSeconds(1700000000);
};

TEST_F(CredentialTest, TheProtocolAndOneQuestionPerMinute) {
  AddProgram("one");
  base::FakeProcessRunner runner([](const base::ProcessSpec&, std::string_view) {
    return base::FakeProcessRunner::Exits(0, kAnswer);
  });
  CredentialHelpers helpers(&runner, [this] { return now_; });
  for (int i = 0; i < 3; ++i) {
    const auto got = helpers.Get(ctx_, "one", "quay.io");
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(**got, (Credentials{"user", "hidden-word", "", ""}));
  }
  ASSERT_EQ(runner.calls().size(), 1u);
  EXPECT_THAT(runner.calls()[0].spec.argv, ElementsAre(scratch_ / "docker-credential-one", "get"));
  EXPECT_EQ(runner.calls()[0].input, "quay.io");
  EXPECT_NE(runner.calls()[0].Env("PATH"), "");
  EXPECT_NE(runner.calls()[0].Env("HOME"), "");
  (void)helpers.Get(ctx_, "one", "other.example");
  EXPECT_EQ(runner.calls().size(), 2u);
  now_ += CredentialHelpers::kKeepFor;
  (void)helpers.Get(ctx_, "one", "quay.io");
  EXPECT_EQ(runner.calls().size(), 3u);
}

TEST_F(CredentialTest, IdentityTokensAndDockerHub) {
  AddProgram("one");
  std::vector<std::string> asked;
  base::FakeProcessRunner runner([&](const base::ProcessSpec&, std::string_view input) {
    asked.emplace_back(input);
    return input == "docker.io"
               ? base::FakeProcessRunner::Exits(0, R"({"Username":"<token>","Secret":"idt"})")
               : base::FakeProcessRunner::Exits(1, "credentials not found in native keychain\n");
  });
  CredentialHelpers helpers(&runner, [this] { return now_; });
  EXPECT_EQ((*helpers.Get(ctx_, "one", "registry-1.docker.io"))->identity_token, "idt");
  EXPECT_THAT(asked, ElementsAre("https://index.docker.io/v1/", "docker.io"));
  EXPECT_FALSE(helpers.Get(ctx_, "one", "quay.io")->has_value());
}

TEST_F(CredentialTest, FailuresSayWhatToDoAndShowNothing) {
  AddProgram("one");
  const struct {
    int code;
    std::string out;
    const char* text;
  } table[] = {
      {1, "error: hidden-word", "status 1"},
      {0, "hidden-word", "printed no JSON"},
      {0, R"({"Username":"hidden-word"})", "printed no JSON"},
      {0, R"(["hidden-word"])", "printed no JSON"},
      {0, std::string(CredentialHelpers::kMaxOutput + 1, 'x'), "or more"},
  };
  for (const auto& row : table) {
    base::FakeProcessRunner runner([&](const base::ProcessSpec&, std::string_view) {
      return base::FakeProcessRunner::Exits(row.code, row.out, "hidden-word");
    });
    CredentialHelpers helpers(&runner, [this] { return now_; });
    const auto status = helpers.Get(ctx_, "one", "quay.io").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("'docker-credential-one' about 'quay.io'"), HasSubstr(row.text),
                      HasSubstr("echo quay.io | docker-credential-one get"),
                      Not(HasSubstr("hidden-word"))));
  }
  base::FakeProcessRunner runner([](const base::ProcessSpec&, std::string_view) {
    return base::FakeProcessRunner::Exits(0, kAnswer);
  });
  CredentialHelpers helpers(&runner, [this] { return now_; });
  for (const char* name : {"", "../one", "a/b", "one two", "one;two", "absent"}) {
    EXPECT_EQ(helpers.Get(ctx_, name, "quay.io").status().code(),
              absl::StatusCode::kFailedPrecondition)
        << name;
  }
  EXPECT_TRUE(runner.calls().empty());
}

TEST_F(CredentialTest, ARealProgramAndItsEndWithTheContext) {
  AddProgram("real", R"(read server; echo "{\"Username\":\"$1-$server\",\"Secret\":\"s\"}")");
  AddProgram("slow", "exec sleep 60");
  base::SystemProcessRunner runner;
  CredentialHelpers helpers(&runner, [this] { return now_; });
  const auto got = helpers.Get(ctx_, "real", "quay.io:5000");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ((*got)->username, "get-quay.io:5000");
  const base::OpContext gone(absl::InfiniteFuture(), [] { return true; });
  EXPECT_EQ(helpers.Get(gone, "slow", "quay.io").status().code(), absl::StatusCode::kCancelled);
}

TEST_F(CredentialTest, OrderOfHelpersFilesAndStores) {
  AddProgram("host");
  AddProgram("store");
  AddProgram("listed");
  AddProgram("broken");
  base::FakeProcessRunner runner([](const base::ProcessSpec& spec, std::string_view) {
    const std::string name = spec.argv[0].substr(spec.argv[0].rfind('-') + 1);
    return name == "broken" ? base::FakeProcessRunner::Exits(2, "")
                            : base::FakeProcessRunner::Exits(
                                  0, R"({"Username":")" + name + R"(","Secret":"s"})");
  });
  // Base64 of first:p and second:p.
  const std::string first = AddFile("first.json", R"({
    "auths": {"a.example": {"auth": "Zmlyc3Q6cA=="}, "b.example": {}, "h.example": {"auth": "Zmlyc3Q6cA=="}},
    "credHelpers": {"h.example": "host"}})");
  const std::string second = AddFile("second.json", R"({
    "auths": {"a.example": {"auth": "c2Vjb25kOnA="}, "b.example": {"auth": "c2Vjb25kOnA="}, "s.example": {}},
    "credsStore": "store"})");
  CredentialSource source({"/nonexistent", first, second}, &runner, [this] { return now_; });
  const auto user = [&](const std::string& host,
                        const std::vector<std::string>& helpers = {kAuthFileHelper}) {
    const auto found = source.Find(ctx_, helpers, host, "team/app");
    return found.ok() ? found->username : std::string(found.status().message());
  };
  EXPECT_EQ(user("a.example"), "first");
  EXPECT_EQ(user("b.example"), "second") << "an empty entry says nothing";
  EXPECT_EQ(user("h.example"), "host") << "a helper for the host comes first";
  EXPECT_EQ(user("s.example"), "store");
  EXPECT_EQ(user("a.example", {"listed", kAuthFileHelper}), "listed");
  EXPECT_EQ(user("a.example", {kAuthFileHelper, "listed"}), "first");
  EXPECT_EQ(user("a.example", {"broken", kAuthFileHelper}), "first");
  EXPECT_THAT(user("a.example", {"broken"}), HasSubstr("status 2"));
  EXPECT_EQ(user("a.example", {}), "");
  // A store that fails matters only where docker's login has left an entry.
  const std::string third =
      AddFile("third.json", R"({"auths": {"l.example": {}}, "credsStore": "broken"})");
  CredentialSource broken({third}, &runner, [this] { return now_; });
  EXPECT_EQ(broken.Find(ctx_, {kAuthFileHelper}, "public.example", "x")->username, "");
  EXPECT_THAT(
      std::string(broken.Find(ctx_, {kAuthFileHelper}, "l.example", "x").status().message()),
      HasSubstr("status 2"));
}

TEST(DefaultAuthFilesTest, WhereLoginLeavesThem) {
  const auto files = [](std::map<std::string, std::string> env) {
    return DefaultAuthFiles([env](const char* name) {
      const auto found = env.find(name);
      return found == env.end() ? "" : found->second;
    });
  };
  EXPECT_THAT(files({}),
              ElementsAre("/run/containers/" + std::to_string(getuid()) + "/auth.json",
                          "/root/.config/containers/auth.json", "/root/.docker/config.json"));
  EXPECT_THAT(files({{"XDG_RUNTIME_DIR", "/r"},
                     {"HOME", "/h"},
                     {"XDG_CONFIG_HOME", "/c"},
                     {"DOCKER_CONFIG", "/d"}}),
              ElementsAre("/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"));
}

}  // namespace
}  // namespace berth::registry
