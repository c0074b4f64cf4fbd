#include "lib/base/id_index.h"

#include <algorithm>
#include <future>

#include "gtest/gtest.h"

#include "lib/base/work_queue.h"

namespace berth::base {
namespace {

TEST(IdIndexTest, PrefixesAndAmbiguity) {
  IdIndex<int> index("thing");
  index.Insert("abc1", "one", std::make_shared<int>(1));
  index.Insert("abd2", "two", std::make_shared<int>(2));
  EXPECT_EQ(**index.Find("abc1"), 1);
  EXPECT_EQ(**index.Find("abd"), 2);
  EXPECT_TRUE(absl::IsInvalidArgument(index.Find("ab").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(index.Find("").status()));
  EXPECT_TRUE(absl::IsNotFound(index.Find("abc12").status()));
  EXPECT_TRUE(absl::IsNotFound(index.Find("x").status()));
  // A full id wins over being a prefix of another one.
  index.Insert("abc", "three", std::make_shared<int>(3));
  EXPECT_EQ(**index.Find("abc"), 3);
  index.Erase("abc", "three");
  index.Erase("abc1", "one");
  EXPECT_EQ(**index.Find("ab"), 2);
}

TEST(IdIndexTest, ANameBelongsToOneMaker) {
  IdIndex<int> index("thing");
  const OpContext ctx = OpContext::WithTimeout(absl::Seconds(20));
  EXPECT_EQ(*index.Reserve(ctx, "n"), nullptr);
  // A second request gives up at its own deadline, and gets the object when it is made in time.
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      index.Reserve(OpContext::WithTimeout(absl::Milliseconds(5)), "n").status()));
  auto waiting = std::async(std::launch::async, [&] { return **index.Reserve(ctx, "n"); });
  index.Insert("id", "n", std::make_shared<int>(7));
  EXPECT_EQ(waiting.get(), 7);
  index.Erase("id", "n");
  // After a failed creation the next one may try.
  EXPECT_EQ(*index.Reserve(ctx, "n"), nullptr);
  auto next = std::async(std::launch::async, [&] { return *index.Reserve(ctx, "n") == nullptr; });
  index.Release("n");
  EXPECT_TRUE(next.get());
}

TEST(WorkQueueTest, RunsInOrderAndFinishesAtStop) {
  std::vector<int> ran;
  {
    WorkQueue queue;
    for (int i = 0; i < 100; ++i) {
      queue.Add([&ran, i] { ran.push_back(i); });
    }
  }
  ASSERT_EQ(ran.size(), 100u);
  EXPECT_TRUE(std::is_sorted(ran.begin(), ran.end()));
}

}  // namespace
}  // namespace berth::base
