#include "lib/runtime/runtime_handlers.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kFeatures[] = R"({
  "ociVersionMin": "1.0.0", "mountOptions": ["ro", "rro"],
  "linux": {"namespaces": ["mount", "user"], "mountExtensions": {"idmap": {"enabled": true}}}})";

// Programs in a directory of the test's, which is all that PATH has.
class RuntimeHandlersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-handlers-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    old_path_ = std::getenv("PATH");
    setenv("PATH", dir_.c_str(), 1);
  }
  void TearDown() override {
    setenv("PATH", old_path_.c_str(), 1);
    EXPECT_TRUE(base::RemoveTree(dir_).ok());
  }

  // A runtime that says this on --version and on features.
  std::string Program(const std::string& name, const std::string& body) {
    const std::string path = dir_ + "/" + name;
    EXPECT_TRUE(base::WriteFile(path, "#!/bin/sh\n" + body, 0700).ok());
    return path;
  }
  std::string Good(const std::string& name) {
    return Program(name, "[ $1 = --version ] && echo '" + name + " version 9.9.9' && exit\n" +
                             "/bin/cat <<X\n" + kFeatures + "\nX\n");
  }
  absl::StatusOr<RuntimeHandlers> Load(const std::vector<HandlerConfig>& configs,
                                       const std::string& default_name = "crun",
                                       bool required = false) {
    return RuntimeHandlers::Load(base::OpContext::WithTimeout(absl::Seconds(20)), runner_, configs,
                                 default_name, required);
  }

  std::string dir_;
  std::string old_path_;
  base::SystemProcessRunner runner_;
};

TEST(KernelHasMountSetattr, FromLinux512On) {
  utsname name;
  ASSERT_EQ(uname(&name), 0);
  int major = 0;
  int minor = 0;
  ASSERT_EQ(std::sscanf(name.release, "%d.%d", &major, &minor), 2) << name.release;
  EXPECT_EQ(KernelHasMountSetattr(), major > 5 || (major == 5 && minor >= 12)) << name.release;
}

std::vector<std::string> Names(const RuntimeHandlers& handlers) {
  std::vector<std::string> names;
  for (const Handler& handler : handlers.handlers()) {
    names.push_back(handler.name);
  }
  return names;
}

TEST_F(RuntimeHandlersTest, FindsWhatIsOnPath) {
  Good("runc");
  Good("crun");
  const absl::StatusOr<RuntimeHandlers> handlers = Load({});
  ASSERT_TRUE(handlers.ok()) << handlers.status();
  EXPECT_THAT(Names(*handlers), ElementsAre("crun", "runc"));
  const Handler& crun = **handlers->Get("");
  EXPECT_EQ(crun.name, "crun");
  EXPECT_EQ(crun.path, dir_ + "/crun");
  EXPECT_EQ(crun.root, "/run/crun");
  EXPECT_EQ(crun.version, "crun version 9.9.9");
  EXPECT_EQ(crun.features, (HandlerFeatures{true, true, true}));
  EXPECT_TRUE(handlers->broken().empty());
}

TEST_F(RuntimeHandlersTest, ConfiguredOnesWinAndComeWithTheirOptions) {
  Good("runc");
  const absl::StatusOr<RuntimeHandlers> handlers =
      Load({{"runc", Good("other"), "/r", {"--debug"}}, {"special", Good("spec"), "", {}}}, "runc");
  ASSERT_TRUE(handlers.ok()) << handlers.status();
  EXPECT_THAT(Names(*handlers), ElementsAre("runc", "special"));
  EXPECT_THAT((*handlers->Get("runc"))->Command(true),
              ElementsAre(dir_ + "/other", "--root", "/r", "--debug", "--systemd-cgroup"));
  EXPECT_THAT((*handlers->Get("special"))->Command(false),
              ElementsAre(dir_ + "/spec", "--root", "/run/special"));
}

TEST_F(RuntimeHandlersTest, UnknownNameListsTheKnown) {
  Good("runc");
  const absl::StatusOr<RuntimeHandlers> handlers = Load({});
  ASSERT_TRUE(handlers.ok());
  EXPECT_EQ(handlers->default_handler().name, "runc") << "the first that is usable";
  const absl::Status status = handlers->Get("kata").status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(status.message(), "no runtime handler 'kata'; known are 'runc'");
}

TEST_F(RuntimeHandlersTest, BrokenOnesAreKeptOutAndNamed) {
  Good("runc");
  const absl::StatusOr<RuntimeHandlers> handlers =
      Load({{"missing", "/nowhere/rt", "", {}},
            {"failing", Program("failing", "echo no >&2; exit 3"), "", {}}},
           "runc", true);
  ASSERT_TRUE(handlers.ok()) << handlers.status();
  EXPECT_THAT(Names(*handlers), ElementsAre("runc"));
  ASSERT_EQ(handlers->broken().size(), 2u);
  EXPECT_THAT(std::string(handlers->Get("missing").status().message()), HasSubstr("/nowhere/rt"));
  EXPECT_THAT(std::string(handlers->Get("failing").status().message()),
              HasSubstr("--version' ended with 3 and said 'no'"));
}

TEST_F(RuntimeHandlersTest, RequiredDefaultMustWork) {
  Good("runc");
  absl::Status status = Load({}, "crun", true).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(status.message(), "the default runtime 'crun' cannot be used");
  status = Load({{"crun", "/nowhere/crun", "", {}}}, "crun", true).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/crun"));
}

TEST_F(RuntimeHandlersTest, NoneAtAll) {
  EXPECT_THAT(std::string(Load({}).status().message()), HasSubstr("install crun or runc"));
}

TEST_F(RuntimeHandlersTest, OldOnesWithoutFeatures) {
  Program("crun", "[ $1 = --version ] && echo 'crun version 1.8.1' && exit; exit 1");
  Program("runc", "[ $1 = --version ] && echo 'runc version 1.0.3' && exit; echo nonsense");
  const absl::StatusOr<RuntimeHandlers> handlers = Load({});
  ASSERT_TRUE(handlers.ok()) << handlers.status();
  EXPECT_EQ((*handlers->Get("crun"))->features, (HandlerFeatures{true, true, true}));
  EXPECT_EQ((*handlers->Get("runc"))->features, HandlerFeatures());
  Program("crun", "[ $1 = --version ] && echo 'crun version 0.21' && exit; exit 1");
  EXPECT_EQ((*Load({})->Get("crun"))->features, HandlerFeatures());
}

TEST(ParseFeaturesTest, ToleratesAbsenceAndRefusesNonsense) {
  EXPECT_EQ(*ParseFeatures(R"({"ociVersionMin": "1.0.0"})"), HandlerFeatures());
  EXPECT_EQ(
      *ParseFeatures(
          R"({"ociVersionMin": "1.0.0", "mountOptions": 3, "linux": {"mountExtensions": []}})"),
      HandlerFeatures());
  EXPECT_EQ(
      *ParseFeatures(
          R"({"ociVersionMin": "1.0.0", "linux": {"namespaces": {"user": 1}, "mountExtensions": 1}})"),
      HandlerFeatures());
  // What runc 1.1 says: it maps no ids of mounts, and need not.
  EXPECT_EQ(
      *ParseFeatures(R"({"ociVersionMin": "1.0.0", "linux": {"namespaces": ["pid", "user"]}})"),
      (HandlerFeatures{false, false, true}));
  for (const char* bad : {"", "[]", "{}", "{", "null"}) {
    EXPECT_FALSE(ParseFeatures(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace berth::runtime
