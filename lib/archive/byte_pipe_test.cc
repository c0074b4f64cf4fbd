#include "lib/archive/byte_pipe.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace berth::archive {
namespace {

TEST(BytePipe, PassesEveryByteInOrder) {
  BytePipe pipe(1000);
  std::string sent;
  for (int i = 0; i < 20000; ++i) {
    sent += std::to_string(i);
  }
  std::thread producer([&] {
    for (size_t at = 0, step = 1; at < sent.size(); at += step, step = step * 7 % 4001 + 1) {
      ASSERT_TRUE(pipe.Write(std::string_view(sent).substr(at, step)).ok());
    }
    pipe.CloseWrite();
  });
  std::string got;
  while (true) {
    const auto piece = pipe.Next();
    ASSERT_TRUE(piece.ok());
    if (piece->empty()) {
      break;
    }
    got.append(*piece);
  }
  producer.join();
  EXPECT_EQ(got, sent);
  EXPECT_TRUE(pipe.Next()->empty());
}

TEST(BytePipe, FailureReachesBothSides) {
  BytePipe pipe(10);
  std::thread producer(
      [&] { EXPECT_EQ(pipe.Write(std::string(100, 'x')).code(), absl::StatusCode::kDataLoss); });
  EXPECT_TRUE(pipe.Next().ok());
  pipe.Fail(absl::DataLossError("first"));
  pipe.Fail(absl::CancelledError("second"));
  producer.join();
  EXPECT_EQ(pipe.Next().status(), absl::DataLossError("first"));
}

TEST(BytePipe, FailureEndsAWaitingConsumer) {
  BytePipe pipe(10);
  std::thread consumer(
      [&] { EXPECT_EQ(pipe.Next().status().code(), absl::StatusCode::kCancelled); });
  pipe.Fail(absl::CancelledError("gone"));
  consumer.join();
}

}  // namespace
}  // namespace berth::archive
