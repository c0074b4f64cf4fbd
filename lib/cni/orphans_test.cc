#include "lib/cni/orphans.h"

#include <cstdlib>
#include <string_view>
#include <thread>

#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::cni {
namespace {

using std::string_view_literals::operator""sv;

class OrphansTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-cni-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    proc_ = path;
    Process("1", "PATH=/bin\0CNI_CONTAINERID=aa\0CNI_COMMAND=ADD\0"sv);
    Process("self", "CNI_CONTAINERID=bb\0"sv);
    ASSERT_TRUE(base::MakeDirs(proc_ + "/77", 0700).ok());  // ended while it was looked at
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(proc_).ok()); }
  void Process(const std::string& pid, std::string_view environment) {
    ASSERT_TRUE(base::MakeDirs(proc_ + "/" + pid, 0700).ok());
    ASSERT_TRUE(
        base::WriteFile(proc_ + "/" + pid + "/environ", std::string(environment), 0600).ok());
  }
  std::string proc_;
};

TEST_F(OrphansTest, OnlyThePodsOwnAreWaitedFor) {
  const base::OpContext at_once(absl::Now());
  EXPECT_TRUE(AwaitOrphans(at_once, "a", proc_).ok());
  EXPECT_TRUE(AwaitOrphans(at_once, "bb", proc_).ok());
  const absl::Status status = AwaitOrphans(at_once, "aa", proc_);
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_NE(std::string(status.message()).find("process 1"), std::string::npos) << status;
}

TEST_F(OrphansTest, ItsEndIsSeen) {
  std::thread plugin([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    EXPECT_TRUE(base::RemoveTree(proc_ + "/1").ok());
  });
  EXPECT_TRUE(AwaitOrphans(base::OpContext::WithTimeout(absl::Seconds(20)), "aa", proc_).ok());
  plugin.join();
}

}  // namespace
}  // namespace berth::cni
