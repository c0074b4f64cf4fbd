#include "lib/base/event_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace berth::base {
namespace {

TEST(EventLoopTest, WatchTimersAndPosts) {
  EventLoop loop;
  loop.Start();
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  std::promise<char> got;
  ASSERT_TRUE(loop.Watch(fds[0], EPOLLIN,
                         [&](uint32_t) {
                           char c = 0;
                           ASSERT_EQ(::read(fds[0], &c, 1), 1);
                           got.set_value(c);
                         })
                  .ok());
  EXPECT_TRUE(absl::IsAlreadyExists(loop.Watch(fds[0], EPOLLIN, [](uint32_t) {})));
  ASSERT_EQ(::write(fds[1], "x", 1), 1);
  EXPECT_EQ(got.get_future().get(), 'x');
  loop.Unwatch(fds[0]);

  std::promise<void> late;
  std::atomic<bool> cancelled_ran = false;
  const auto cancelled = loop.After(absl::Milliseconds(1), [] {});
  loop.Cancel(cancelled);
  const auto far = loop.After(absl::Hours(1), [&] { cancelled_ran = true; });
  loop.After(absl::Milliseconds(5), [&] { late.set_value(); });
  late.get_future().get();
  loop.Cancel(far);
  std::promise<void> posted;
  loop.Post([&] { posted.set_value(); });
  posted.get_future().get();
  EXPECT_FALSE(cancelled_ran);
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST(EventLoopTest, UnwatchFromItsOwnCallback) {
  EventLoop loop;
  loop.Start();
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  std::promise<void> done;
  ASSERT_TRUE(loop.Watch(fds[0], EPOLLIN,
                         [&](uint32_t) {
                           loop.Unwatch(fds[0]);
                           done.set_value();
                         })
                  .ok());
  ASSERT_EQ(::write(fds[1], "x", 1), 1);
  done.get_future().get();
  loop.Stop();
  ::close(fds[0]);
  ::close(fds[1]);
}

}  // namespace
}  // namespace berth::base
