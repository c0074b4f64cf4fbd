#include "lib/registry/registries_conf.h"

#include <sys/stat.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kDigest = "@sha256:" + std::string(64, 'a');

RegistriesConf Conf(const std::string& text) {
  auto conf = RegistriesConf::Parse(text, "test.conf");
  EXPECT_TRUE(conf.ok()) << conf.status();
  return conf.ok() ? *conf : RegistriesConf();
}

// "host/repository", with " insecure" and " mirror" behind it; or the error.
std::vector<std::string> Endpoints(const RegistriesConf& conf, const std::string& image) {
  auto endpoints = conf.Endpoints(*oci::Reference::Parse(image));
  if (!endpoints.ok()) {
    return {endpoints.status().ToString()};
  }
  std::vector<std::string> result;
  for (const Endpoint& e : *endpoints) {
    result.push_back(fmt::format("{}/{}{}{}", e.host, e.repository, e.insecure ? " insecure" : "",
                                 e.is_mirror ? " mirror" : ""));
  }
  return result;
}

std::vector<std::string> Candidates(const RegistriesConf& conf, const std::string& image) {
  auto candidates = conf.Candidates(*oci::Reference::Parse(image));
  if (!candidates.ok()) {
    return {candidates.status().ToString()};
  }
  std::vector<std::string> result;
  for (const oci::Reference& reference : *candidates) {
    result.push_back(reference.ToString());
  }
  return result;
}

TEST(RegistriesConfTest, NoFileMeansEveryRegistryItself) {
  const auto conf = RegistriesConf::Load("", "");
  ASSERT_TRUE(conf.ok()) << conf.status();
  EXPECT_THAT(Endpoints(*conf, "busybox"), ElementsAre("docker.io/library/busybox"));
  EXPECT_THAT(Endpoints(*conf, "quay.io/a/b:1"), ElementsAre("quay.io/a/b"));
  EXPECT_THAT(Candidates(*conf, "busybox:1"), ElementsAre("docker.io/library/busybox:1"));
  EXPECT_THAT(Candidates(*conf, "quay.io/a"), ElementsAre("quay.io/a:latest"));
  EXPECT_TRUE(RegistriesConf::Load("/nonexistent/registries.conf", "/nonexistent/d").ok());
}

TEST(RegistriesConfTest, MirrorsComeFirstAndPrefixIsRewritten) {
  const RegistriesConf conf = Conf(R"(
    [[registry]]
    prefix = "docker.io"
    location = "127.0.0.1:5000/hub"
    insecure = true
    [[registry.mirror]]
    location = "mirror.example:5001"
    [[registry.mirror]]
    location = "second.example/proxy/"
    insecure = true
  )");
  EXPECT_THAT(Endpoints(conf, "busybox:1"),
              ElementsAre("mirror.example:5001/library/busybox mirror",
                          "second.example/proxy/library/busybox insecure mirror",
                          "127.0.0.1:5000/hub/library/busybox insecure"));
  EXPECT_THAT(Endpoints(conf, "docker.iox/a"), ElementsAre("docker.iox/a"));
}

TEST(RegistriesConfTest, LongestPrefixWinsAtComponentBoundaries) {
  const RegistriesConf conf = Conf(R"(
    [[registry]]
    location = "quay.io"
    [[registry]]
    prefix = "quay.io/team"
    location = "team.example"
    [[registry]]
    prefix = "quay.io/team/app"
    location = "app.example/x"
    [[registry]]
    prefix = "quay.io:444"
    location = "port.example"
  )");
  EXPECT_THAT(Endpoints(conf, "quay.io/other"), ElementsAre("quay.io/other"));
  EXPECT_THAT(Endpoints(conf, "quay.io/team/b"), ElementsAre("team.example/b"));
  EXPECT_THAT(Endpoints(conf, "quay.io/team/app"), ElementsAre("app.example/x"));
  EXPECT_THAT(Endpoints(conf, "quay.io/team/app:v1"), ElementsAre("app.example/x"));
  EXPECT_THAT(Endpoints(conf, "quay.io/team/app" + kDigest), ElementsAre("app.example/x"));
  EXPECT_THAT(Endpoints(conf, "quay.io/team/app/c"), ElementsAre("app.example/x/c"));
  EXPECT_THAT(Endpoints(conf, "quay.io/team/apple"), ElementsAre("team.example/apple"));
  EXPECT_THAT(Endpoints(conf, "quay.io/teams/b"), ElementsAre("quay.io/teams/b"));
  EXPECT_THAT(Endpoints(conf, "quay.io:444/b"), ElementsAre("port.example/b"));
}

TEST(RegistriesConfTest, Wildcards) {
  const RegistriesConf conf = Conf(R"(
    [[registry]]
    prefix = "*.example.com"
    insecure = true
    [[registry]]
    prefix = "*.blocked.example.com"
    blocked = true
    [[registry]]
    prefix = "*.moved.example.com/old"
    location = "new.example.org/base"
  )");
  EXPECT_THAT(Endpoints(conf, "a.example.com/x"), ElementsAre("a.example.com/x insecure"));
  EXPECT_THAT(Endpoints(conf, "a.b.example.com:5000/x"),
              ElementsAre("a.b.example.com:5000/x insecure"));
  EXPECT_THAT(Endpoints(conf, "example.com/x"), ElementsAre("example.com/x"));
  EXPECT_THAT(Endpoints(conf, "a.example.com.evil.org/x"), ElementsAre("a.example.com.evil.org/x"));
  EXPECT_THAT(Endpoints(conf, "evil.org/a.example.com/x"), ElementsAre("evil.org/a.example.com/x"));
  EXPECT_THAT(Endpoints(conf, "a.blocked.example.com/x"),
              ElementsAre(HasSubstr("PERMISSION_DENIED")));
  EXPECT_THAT(Endpoints(conf, "a.moved.example.com/old/x"), ElementsAre("new.example.org/base/x"));
  EXPECT_THAT(Endpoints(conf, "a.moved.example.com/other/x"),
              ElementsAre("a.moved.example.com/other/x insecure"));
}

TEST(RegistriesConfTest, BlockedNamesImageAndPrefix) {
  const RegistriesConf conf = Conf("[[registry]]\nprefix = \"bad.example\"\nblocked = true\n");
  EXPECT_THAT(Endpoints(conf, "bad.example/x:1"),
              ElementsAre(AllOf(HasSubstr("PERMISSION_DENIED"), HasSubstr("'bad.example'"),
                                HasSubstr("'bad.example/x:1'"))));
}

TEST(RegistriesConfTest, MirrorsByDigestOrTagOnly) {
  const RegistriesConf by_digest = Conf(R"(
    [[registry]]
    location = "quay.io"
    mirror-by-digest-only = true
    [[registry.mirror]]
    location = "m.example"
  )");
  EXPECT_THAT(Endpoints(by_digest, "quay.io/a:1"), ElementsAre("quay.io/a"));
  EXPECT_THAT(Endpoints(by_digest, "quay.io/a" + kDigest),
              ElementsAre("m.example/a mirror", "quay.io/a"));
  const RegistriesConf each = Conf(R"(
    [[registry]]
    location = "quay.io"
    [[registry.mirror]]
    location = "d.example"
    pull-from-mirror = "digest-only"
    [[registry.mirror]]
    location = "t.example"
    pull-from-mirror = "tag-only"
    [[registry.mirror]]
    location = "all.example"
    pull-from-mirror = "all"
  )");
  EXPECT_THAT(Endpoints(each, "quay.io/a:1"),
              ElementsAre("t.example/a mirror", "all.example/a mirror", "quay.io/a"));
  EXPECT_THAT(Endpoints(each, "quay.io/a" + kDigest),
              ElementsAre("d.example/a mirror", "all.example/a mirror", "quay.io/a"));
}

TEST(RegistriesConfTest, ShortNames) {
  const std::string search = "unqualified-search-registries = [\"quay.io\", \"docker.io\"]\n";
  const std::string aliases = "[aliases]\n\"busybox\" = \"quay.io/x/busybox\"\n";
  EXPECT_THAT(Candidates(Conf(search), "app:1"),
              ElementsAre("quay.io/app:1", "docker.io/library/app:1"));
  EXPECT_THAT(Candidates(Conf(search), "team/app" + kDigest),
              ElementsAre("quay.io/team/app" + kDigest, "docker.io/team/app" + kDigest));
  EXPECT_THAT(Candidates(Conf(search + aliases), "busybox:1"), ElementsAre("quay.io/x/busybox:1"));
  EXPECT_THAT(Candidates(Conf(search + "short-name-mode = \"disabled\"\n" + aliases), "busybox"),
              ElementsAre("quay.io/busybox:latest", "docker.io/library/busybox:latest"));
  const RegistriesConf enforcing = Conf(search + "short-name-mode = \"enforcing\"\n" + aliases);
  EXPECT_THAT(Candidates(enforcing, "app"), ElementsAre(HasSubstr("ambiguous")));
  EXPECT_THAT(Candidates(enforcing, "busybox"), ElementsAre("quay.io/x/busybox:latest"));
  EXPECT_THAT(Candidates(enforcing, "quay.io/app"), ElementsAre("quay.io/app:latest"));
  EXPECT_THAT(Candidates(Conf("unqualified-search-registries = []"), "app"),
              ElementsAre(AllOf(HasSubstr("FAILED_PRECONDITION"), HasSubstr("'app'"))));
}

TEST(RegistriesConfTest, ErrorsNameFileAndLine) {
  struct Row {
    std::string text;
    std::string message;
  };
  const Row table[] = {
      {"a = ", "test.conf:1: not valid TOML"},
      {"a = " + std::string(100000, '['), "test.conf: brackets nest deeper"},
      {"\n\n[[registry]\n", "test.conf:3: not valid TOML"},
      {"\n[aliases]\nx = 'quay.io/\xff'", "test.conf:3: not valid TOML: a byte that is not UTF-8"},
      {"\nunqualified-search-registries = \"quay.io\"",
       "test.conf:2: 'unqualified-search-registries' is a string, not an array"},
      {"unqualified-search-registries = [1]", "is an integer, not a string"},
      {"unqualified-search-registries = [\"https://quay.io\"]", "must not have a scheme"},
      {"unqualified-search-registries = [\"qu ay\"]", "not a registry host"},
      {"[registries.search]\nregistries = ['docker.io']", "version 1 format"},
      {"[registry]\nlocation = 'a.b'", "'registry' is a table, not an array of tables"},
      {"[[registry]]\ninsecure = true", "test.conf:1: a [[registry]] has neither"},
      {"[[registry]]\nlocation = 'a.b'\ninsecure = 'yes'",
       "test.conf:3: 'insecure' is a string, not a boolean"},
      {"[[registry]]\nlocation = 'a.b'\nblocked = 1", "'blocked' is an integer"},
      {"[[registry]]\nlocation = 5", "'location' is an integer"},
      {"[[registry]]\nlocation = 'bare'\n", "not a registry host"},
      {"[[registry]]\nlocation = '*.a.b'\n", "only 'prefix' may"},
      {"[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]\n", "has no 'location'"},
      {"[[registry]]\nlocation = 'a.b'\nmirror = ['x.y']\n", "'mirror' is a string, not a table"},
      {"[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='x'",
       "not all, digest-only or tag-only"},
      {"[[registry]]\nlocation = 'a.b'\nmirror-by-digest-only = true\n[[registry.mirror]]\n"
       "location='c.d'\npull-from-mirror='tag-only'",
       "contradicts"},
      {"short-name-mode = 'loose'", "'short-name-mode' is 'loose'"},
      {"[aliases]\nx = 'y'", "'aliases.x' is 'y'"},
      {"[aliases]\nx = 'quay.io/y:tag'", "without tag and digest"},
      {"[aliases]\nx = 1", "'aliases.x' is an integer"},
  };
  for (const Row& row : table) {
    const auto status = RegistriesConf::Parse(row.text, "test.conf").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message)) << row.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("test.conf")) << row.text;
  }
}

TEST(RegistriesConfTest, UnknownKeysAreWarnings) {
  const RegistriesConf conf = Conf(
      "additional-layer-store-auth-helper = 'x'\nfuture = 1\n[[registry]]\nlocation = \"a.b\"\nodd "
      "= 2\n"
      "[[registry.mirror]]\nlocation = \"c.d\"\nspare = 3\n");
  EXPECT_THAT(conf.warnings(),
              ElementsAre("test.conf:1: 'additional-layer-store-auth-helper' is not used by berth",
                          "test.conf:2: 'future' is not a known key",
                          "test.conf:5: 'registry.odd' is not a known key",
                          "test.conf:8: 'registry.mirror.spare' is not a known key"));
}

TEST(RegistriesConfTest, CredentialHelpers) {
  EXPECT_THAT(RegistriesConf().credential_helpers(), ElementsAre("containers-auth.json"));
  EXPECT_THAT(Conf("credential-helpers = []").credential_helpers(),
              ElementsAre("containers-auth.json"));
  EXPECT_THAT(Conf(R"(credential-helpers = ["pass", "containers-auth.json"])").credential_helpers(),
              ElementsAre("pass", "containers-auth.json"));
  for (const char* text : {R"(credential-helpers = "pass")", R"(credential-helpers = ["../x"])",
                           R"(credential-helpers = [""])", R"(credential-helpers = [1])"}) {
    EXPECT_EQ(RegistriesConf::Parse(text, "t.conf").status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(RegistriesConfTest, DropInsInOrderOfTheirNames) {
  char path[] = "/tmp/registries_conf_test.XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  const std::string root = path;
  const std::string dir = root + "/registries.conf.d";
  ASSERT_EQ(mkdir(dir.c_str(), 0700), 0);
  const auto write = [](const std::string& file, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(file, text, 0600).ok());
  };
  write(root + "/registries.conf",
        "unqualified-search-registries = [\"a.example\"]\n[[registry]]\nlocation = \"quay.io\"\n"
        "insecure = true\n[aliases]\nx = \"a.example/x\"\ny = \"a.example/y\"\n");
  write(dir + "/20-second.conf",
        "[[registry]]\nlocation = \"quay.io\"\n[[registry.mirror]]\nlocation = \"two.example\"\n"
        "[aliases]\nx = \"\"\n");
  write(dir + "/10-first.conf",
        "unqualified-search-registries = [\"b.example\"]\n[[registry]]\nlocation = \"quay.io\"\n"
        "[[registry.mirror]]\nlocation = \"one.example\"\n");
  write(dir + "/99-ignored.conf.bak", "nonsense");

  auto conf = RegistriesConf::Load(root + "/registries.conf", dir);
  ASSERT_TRUE(conf.ok()) << conf.status();
  EXPECT_THAT(Endpoints(*conf, "quay.io/a"), ElementsAre("two.example/a mirror", "quay.io/a"));
  EXPECT_THAT(Candidates(*conf, "x"), ElementsAre("b.example/x:latest"));
  EXPECT_THAT(Candidates(*conf, "y"), ElementsAre("a.example/y:latest"));
  EXPECT_THAT(conf->warnings(), IsEmpty());

  // podman's cache wins, also where it says that there is no alias.
  const std::string cache = root + "/aliases.conf";
  write(cache, "[aliases]\ny = \"\"\nz = \"c.example/z\"\n");
  conf = RegistriesConf::Load(root + "/registries.conf", dir, cache);
  ASSERT_TRUE(conf.ok()) << conf.status();
  EXPECT_THAT(Candidates(*conf, "y"), ElementsAre("b.example/y:latest"));
  EXPECT_THAT(Candidates(*conf, "z"), ElementsAre("c.example/z:latest"));
  write(cache, "[aliases]\nz = 5\n");
  conf = RegistriesConf::Load(root + "/registries.conf", dir, cache);
  ASSERT_TRUE(conf.ok()) << conf.status();
  EXPECT_THAT(conf->warnings(),
              ElementsAre(HasSubstr("aliases.conf:2: 'aliases.z' is an integer")));

  write(dir + "/30-broken.conf", "\n\nshort-name-mode = 1\n");
  const auto status = RegistriesConf::Load(root + "/registries.conf", dir).status();
  EXPECT_THAT(status.ToString(), HasSubstr("30-broken.conf:3: 'short-name-mode' is an integer"));
  EXPECT_TRUE(base::RemoveTree(root).ok());
}

}  // namespace
}  // namespace berth::registry
