#include "lib/cdi/cdi_devices.h"

#include <cstdlib>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::cdi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CdiDevicesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-cdi-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    dirs_ = {dir_ + "/etc", dir_ + "/absent", dir_ + "/run"};
    ASSERT_TRUE(base::MakeDirs(dirs_[0]).ok());
    ASSERT_TRUE(base::MakeDirs(dirs_[2]).ok());
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, text, 0600).ok());
  }
  // Devices of v.com/c, each with the variable DEVICE=<value>; the file has ALL=<value>.
  void WriteDevices(const std::string& name, const std::string& value,
                    const std::vector<std::string>& devices) {
    std::string list;
    for (const std::string& device : devices) {
      list += fmt::format("- name: {}\n  containerEdits: {{env: [DEVICE={}-{}]}}\n", device, value,
                          device);
    }
    Write(name, fmt::format("cdiVersion: 0.6.0\nkind: v.com/c\ncontainerEdits: {{env: [ALL={}]}}\n"
                            "devices:\n{}",
                            value, list));
  }
  std::vector<std::string> Env(const std::vector<std::string>& names) {
    const auto edits = LookUpDevices(dirs_, names);
    EXPECT_TRUE(edits.ok()) << edits.status();
    return edits.ok() ? edits->env : std::vector<std::string>();
  }
  std::string Error(const std::vector<std::string>& names) {
    const absl::Status status = LookUpDevices(dirs_, names).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  std::string dir_;
  std::vector<std::string> dirs_;
};

TEST_F(CdiDevicesTest, FilesEditsComeOnceAndFirst) {
  WriteDevices("etc/a.yaml", "a", {"one", "two", "three"});
  EXPECT_THAT(Env({"v.com/c=two", "v.com/c=one"}),
              ElementsAre("ALL=a", "DEVICE=a-two", "DEVICE=a-one"));
  EXPECT_THAT(Env({}), IsEmpty());
}

TEST_F(CdiDevicesTest, ALaterDirectoryWins) {
  WriteDevices("etc/a.yaml", "a", {"one", "two"});
  WriteDevices("run/z.yaml", "z", {"one"});
  EXPECT_THAT(Env({"v.com/c=one"}), ElementsAre("ALL=z", "DEVICE=z-one"));
  EXPECT_THAT(Env({"v.com/c=two"}), ElementsAre("ALL=a", "DEVICE=a-two"));
}

TEST_F(CdiDevicesTest, AConflictMakesTheDeviceUnusableUntilALaterDirectorySettlesIt) {
  WriteDevices("etc/a.yaml", "a", {"one", "two"});
  WriteDevices("etc/b.yaml", "b", {"one"});
  EXPECT_THAT(Error({"v.com/c=one"}),
              AllOf(HasSubstr("'v.com/c=one'"), HasSubstr("etc/a.yaml"), HasSubstr("etc/b.yaml")));
  EXPECT_THAT(Env({"v.com/c=two"}), ElementsAre("ALL=a", "DEVICE=a-two"));
  WriteDevices("run/c.yaml", "c", {"one"});
  EXPECT_THAT(Env({"v.com/c=one"}), ElementsAre("ALL=c", "DEVICE=c-one"));
}

TEST_F(CdiDevicesTest, AnUnknownDeviceIsNamedWithWhereItWasLookedForAndWhatIsWrongThere) {
  WriteDevices("etc/a.yaml", "a", {"one"});
  Write("etc/broken.json", R"({"cdiVersion": "0.6.0", "kind": )");
  Write("run/wrong.yaml", "cdiVersion: 0.6.0\nkind: v.com/c\ndevices: [{name: two, colour: red}]");
  Write("run/README", "not for us");
  EXPECT_THAT(Error({"v.com/c=one", "v.com/c=two"}),
              AllOf(HasSubstr("CDI device 'v.com/c=two' is not known"), HasSubstr(dirs_[0]),
                    HasSubstr(dirs_[1]), HasSubstr(dirs_[2]), HasSubstr("etc/broken.json'"),
                    HasSubstr("run/wrong.yaml'"), HasSubstr("'devices[0].colour' is not known")));
  EXPECT_THAT(Env({"v.com/c=one"}), ElementsAre("ALL=a", "DEVICE=a-one"));
}

TEST_F(CdiDevicesTest, FilesThatChangeCountAtOnce) {
  WriteDevices("etc/a.yaml", "a", {"one"});
  EXPECT_THAT(Env({"v.com/c=one"}), ElementsAre("ALL=a", "DEVICE=a-one"));
  WriteDevices("etc/a.yaml", "b", {"one"});
  EXPECT_THAT(Env({"v.com/c=one"}), ElementsAre("ALL=b", "DEVICE=b-one"));
  ASSERT_TRUE(base::RemoveFile(dir_ + "/etc/a.yaml").ok());
  Error({"v.com/c=one"});
}

}  // namespace
}  // namespace berth::cdi
