#include "daemon/cri/list_stream.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/cri/cri_api.h"

namespace berth::cri {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ListStreamTest : public ::testing::Test {
 protected:
  absl::Status Send(size_t count, size_t padding = 0) {
    std::vector<std::shared_ptr<const std::string>> list;
    for (size_t i = 0; i < count; ++i) {
      list.push_back(std::make_shared<const std::string>(std::to_string(i)));
    }
    return SendInParts<api::StreamContainersResponse>(
        list,
        [&](const std::string& id) {
          api::Container item;
          item.set_id(id);
          item.set_image_ref(std::string(padding, 'x'));
          return item;
        },
        [](auto& part, api::Container item) { *part.add_containers() = std::move(item); },
        [&](const api::StreamContainersResponse& part) {
          sizes_.push_back(part.containers_size());
          for (const api::Container& item : part.containers()) {
            EXPECT_EQ(item.id(), std::to_string(seen_++));
          }
          return sizes_.size() != fail_at_;
        });
  }
  std::vector<int> sizes_;
  size_t seen_ = 0;
  size_t fail_at_ = 0;
};

TEST_F(ListStreamTest, NothingIsNoMessage) {
  EXPECT_TRUE(Send(0).ok());
  EXPECT_THAT(sizes_, IsEmpty());
}

TEST_F(ListStreamTest, PartsAreFullAndTheLastHasTheRest) {
  EXPECT_TRUE(Send(2 * kMaxItemsPerPart + 1).ok());
  EXPECT_THAT(sizes_, ElementsAre(1000, 1000, 1));
  EXPECT_EQ(seen_, 2 * kMaxItemsPerPart + 1);
}

TEST_F(ListStreamTest, AFullPartIsNotFollowedByAnEmptyOne) {
  EXPECT_TRUE(Send(kMaxItemsPerPart).ok());
  EXPECT_THAT(sizes_, ElementsAre(1000));
}

TEST_F(ListStreamTest, LargeItemsMakeSmallParts) {
  EXPECT_TRUE(Send(5, kPartBytes / 2).ok());
  EXPECT_THAT(sizes_, ElementsAre(2, 2, 1));
}

TEST_F(ListStreamTest, ACallerThatIsGoneEndsIt) {
  fail_at_ = 2;
  EXPECT_TRUE(absl::IsCancelled(Send(3 * kMaxItemsPerPart)));
  EXPECT_THAT(sizes_, ElementsAre(1000, 1000));
}

}  // namespace
}  // namespace berth::cri
