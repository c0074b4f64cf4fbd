#include "lib/store/disk_reserve.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/store/database.h"

namespace berth::store {
namespace {

class DiskReserveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-reserve-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  // Bytes of the reserve on the disk, without what the file system adds; -1: no file.
  int64_t Allocated() const {
    struct stat st;
    return ::stat(path().c_str(), &st) == 0
               ? std::min(int64_t{st.st_blocks} * 512, DiskReserve::kBytes)
               : -1;
  }
  std::string path() const { return dir_ + "/reserve"; }
  // What was allocated in each run of a transaction that fails.
  std::vector<int64_t> Runs(Purpose purpose, const absl::Status& why) {
    DiskReserve reserve(path());
    reserve.Make();
    auto db = Database::Open(dir_ + "/berth.db", &reserve);
    EXPECT_TRUE(db.ok()) << db.status();
    std::vector<int64_t> runs;
    EXPECT_EQ((*db)->Transact(Durability::kCrash, purpose,
                              [&](Database&) {
                                runs.push_back(Allocated());
                                return why;
                              }),
              why);
    EXPECT_EQ(Allocated(), DiskReserve::kBytes);
    return runs;
  }

  std::string dir_;
};

TEST_F(DiskReserveTest, IsMadeReleasedAndMadeAgain) {
  DiskReserve reserve(path());
  EXPECT_FALSE(reserve.Release());
  for (int i = 0; i < 2; ++i) {
    reserve.Make();
    EXPECT_EQ(Allocated(), DiskReserve::kBytes);
    EXPECT_TRUE(reserve.Release());
    EXPECT_EQ(Allocated(), -1);
    EXPECT_FALSE(reserve.Release());
  }
}

TEST_F(DiskReserveTest, APartIsMadeWhole) {
  DiskReserve reserve(path());
  reserve.Make();
  ASSERT_EQ(::truncate(path().c_str(), 512 << 10), 0);
  reserve.Make();
  EXPECT_EQ(Allocated(), DiskReserve::kBytes);
}

TEST_F(DiskReserveTest, IsMadeAgainAfterLending) {
  DiskReserve reserve(path());
  for (int i = 0; i < 2; ++i) {  // the first has nothing to release
    bool ran = false;
    reserve.Lend([&] {
      ran = true;
      EXPECT_EQ(Allocated(), -1);
    });
    EXPECT_TRUE(ran);
    EXPECT_EQ(Allocated(), DiskReserve::kBytes);
  }
}

TEST_F(DiskReserveTest, IsForTransactionsThatGiveRoomAlone) {
  const absl::Status full = absl::ResourceExhaustedError("full");
  const std::vector<int64_t> once = {DiskReserve::kBytes};
  EXPECT_EQ(Runs(Purpose::kTakesRoom, full), once);
  EXPECT_EQ(Runs(Purpose::kGivesRoom, full), (std::vector<int64_t>{DiskReserve::kBytes, -1}));
  EXPECT_EQ(Runs(Purpose::kGivesRoom, absl::NotFoundError("nothing")), once);
}

}  // namespace
}  // namespace berth::store
