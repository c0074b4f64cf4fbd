#include "daemon/app/unserved_settings.h"

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::app {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class UnservedSettingsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-app-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    config_.image.policy = dir_ + "/policy.json";
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::MakeDirs((dir_ + "/" + name).substr(0, (dir_ + "/" + name).rfind('/'))).ok());
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, text, 0600).ok());
  }
  std::vector<std::string> Settings() { return UnservedSettings(config_); }

  std::string dir_;
  config::Config config_;
};

TEST_F(UnservedSettingsTest, DefaultsAreServed) {
  EXPECT_THAT(Settings(), IsEmpty());
  Write("policy.json", R"({"default":[{"type":"insecureAcceptAnything"}]})");
  EXPECT_THAT(Settings(), IsEmpty());
}

TEST_F(UnservedSettingsTest, EachIsNamed) {
  config_.metrics.listen = "127.0.0.1:1";
  Write("policy.json", R"({"default":[{"type":"reject"}]})");
  EXPECT_THAT(Settings(),
              ElementsAre(HasSubstr("metrics.listen"), HasSubstr(dir_ + "/policy.json")));
}

}  // namespace
}  // namespace berth::app
