// Large blobs over several connections: the same bytes in order, whatever the server does.
#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/registry/blob_fetch.h"
#include "lib/registry/testing/client_fixture.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kStretch = 1000;

const std::string kContent = [] {
  std::string content;
  for (int i = 0; content.size() < 20'500; ++i) {
    content += fmt::format("line {}\n", i);
  }
  return content.substr(0, 20'500);
}();

struct Range {
  size_t first = 0;
  size_t last = kContent.size() - 1;
  bool is_whole = true;
};
Range RangeOf(const HttpRequest& request) {
  const std::string text = HeaderOf(request, "Range");
  Range range;
  if (!text.empty()) {
    range.is_whole = false;
    range.first = std::stoul(text.substr(6));
    const std::string last = text.substr(text.find('-') + 1);
    range.last = last.empty() ? range.last : std::stoul(last);
  }
  return range;
}

Reply Whole() { return {200, {{"content-length", std::to_string(kContent.size())}}, kContent}; }
Reply Part(const HttpRequest& request) {
  const Range range = RangeOf(request);
  return {
      206,
      {{"content-range", fmt::format("bytes {}-{}/{}", range.first, range.last, kContent.size())},
       {"content-length", std::to_string(range.last - range.first + 1)}},
      kContent.substr(range.first, range.last - range.first + 1)};
}

struct RangedFixture : ClientFixture {
  explicit RangedFixture(FakeTransport::Server server) : ClientFixture(std::move(server)) {
    options.connections_per_blob = 3;
    options.min_ranged_bytes = 5000;
    options.range_bytes = kStretch;
    // Several threads may have to wait.
    options.now = absl::Now;
    options.sleep = [](const base::OpContext& ctx, absl::Duration) { return ctx.Check(); };
  }
  std::vector<size_t> Starts() {
    std::vector<size_t> starts;
    for (const HttpRequest& request : transport.requests()) {
      starts.push_back(RangeOf(request).first);
    }
    std::sort(starts.begin(), starts.end());
    return starts;
  }
};

TEST(RangedFetchTest, EveryStretchIsAskedForOnceAndDeliveredInOrder) {
  RangedFixture f(Part);
  const absl::Status status = f.Blob(DescriptorOf(kContent));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(f.received, kContent);
  std::vector<size_t> expected;
  for (size_t at = 0; at < kContent.size(); at += kStretch) {
    expected.push_back(at);
  }
  EXPECT_EQ(f.Starts(), expected);
}

TEST(RangedFetchTest, AServerWithoutRangesSendsItAllInOneAnswer) {
  RangedFixture f([](const HttpRequest&) { return Whole(); });
  ASSERT_TRUE(f.Blob(DescriptorOf(kContent)).ok());
  EXPECT_EQ(f.received, kContent);
  EXPECT_EQ(f.transport.requests().size(), 1u);
}

TEST(RangedFetchTest, SmallBlobsAndOneConnectionNeedNoRanges) {
  for (const bool is_small : {false, true}) {
    RangedFixture f([](const HttpRequest&) { return Whole(); });
    (is_small ? f.options.min_ranged_bytes : f.options.range_bytes) = 1 << 20;
    f.options.connections_per_blob = is_small ? 3 : 1;
    ASSERT_TRUE(f.Blob(DescriptorOf(kContent)).ok());
    ASSERT_EQ(f.transport.requests().size(), 1u);
    EXPECT_EQ(HeaderOf(f.transport.requests()[0], "Range"), "");
  }
}

TEST(RangedFetchTest, EachStretchIsResumedWhereItBroke) {
  base::Mutex mu;
  std::set<size_t> broken;
  RangedFixture f([&](const HttpRequest& request) {
    Reply reply = Part(request);
    base::MutexLock lock(mu);
    if (reply.body.size() > 300 && broken.insert(RangeOf(request).first).second) {
      reply.body.resize(300);
      reply.error = absl::AbortedError("reset by peer");
    }
    return reply;
  });
  const absl::Status status = f.Blob(DescriptorOf(kContent));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(f.received, kContent);
  EXPECT_GE(broken.size(), 21u);
}

TEST(RangedFetchTest, AServerThatStopsDoingRangesSendsTheRestInOneAnswer) {
  for (const size_t refused_from : {1u, 3000u, 20'000u}) {
    std::atomic<int> whole = 0;
    RangedFixture f([&](const HttpRequest& request) {
      if (RangeOf(request).first < refused_from) {
        return Part(request);
      }
      ++whole;
      return Whole();
    });
    const absl::Status status = f.Blob(DescriptorOf(kContent));
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(f.received, kContent) << refused_from;
    EXPECT_GE(whole, 2) << "a stretch that is refused, and the rest";
    EXPECT_LE(whole, 4);
  }
}

TEST(RangedFetchTest, WhereTheFirstPartWasTheOthersAreAskedForAtOnce) {
  base::Mutex mu;
  std::map<std::string, int> uses;  // of each signature
  int given = 0;
  RangedFixture f([&](const HttpRequest& request) {
    base::MutexLock lock(mu);
    if (HostOf(request) == "reg.example") {
      return Reply{307, {{"location", fmt::format("https://cdn.example/x?sig={}", ++given)}}, ""};
    }
    EXPECT_EQ(HeaderOf(request, "Authorization"), "");
    return ++uses[request.url] > 6 ? Reply{403, {}, "expired"} : Part(request);
  });
  const absl::Status status = f.Blob(DescriptorOf(kContent));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(f.received, kContent);
  EXPECT_GE(given, 4) << "21 parts, six for each signature";
  EXPECT_LE(given, 12);
}

TEST(RangedFetchTest, AFailedStretchIsTheError) {
  RangedFixture f([](const HttpRequest& request) {
    return RangeOf(request).first == 7000 ? Reply{404, {}, ""} : Part(request);
  });
  const absl::Status status = f.Blob(DescriptorOf(kContent));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), AllOf(HasSubstr("fetch blob 'sha256:"),
                                     HasSubstr("registry 'reg.example': not found (HTTP 404")));
  EXPECT_EQ(f.received, kContent.substr(0, 7000));
}

TEST(RangedFetchTest, StretchesFromWhicheverEndpointHasThem) {
  RangedFixture f([](const HttpRequest& request) {
    const bool is_mirror = HostOf(request) == "mirror.example";
    return is_mirror && RangeOf(request).first >= 4000 ? Reply{503, {}, ""} : Part(request);
  });
  const absl::Status status = f.Blob(
      DescriptorOf(kContent),
      {{"mirror.example", "team/app", false, true}, {"reg.example", "team/app", false, false}});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(f.received, kContent);
}

TEST(RangedFetchTest, WrongContentIsDataLoss) {
  RangedFixture f([](const HttpRequest& request) {
    Reply reply = Part(request);
    if (RangeOf(request).first == 5000) {
      reply.body[10] ^= 1;
    }
    return reply;
  });
  const absl::Status status = f.Blob(DescriptorOf(kContent));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(status),
              AllOf(HasSubstr("the content has digest"), HasSubstr("reg.example")));
}

TEST(RangedFetchTest, TheSinksErrorAndTheCallersEndStopEverything) {
  for (const bool is_sink : {true, false}) {
    RangedFixture f(Part);
    std::atomic<bool> gone = false;
    size_t delivered = 0;
    const base::OpContext ctx(absl::InfiniteFuture(), [&] { return gone.load(); });
    ImageSource source{
        *oci::Reference::Parse(kImage), {{"reg.example", "team/app", false, false}}, std::nullopt};
    const absl::Status status =
        f.client().FetchBlob(ctx, source, DescriptorOf(kContent), [&](std::span<const char> piece) {
          delivered += piece.size();
          if (delivered < 3000) {
            return absl::OkStatus();
          }
          gone = !is_sink;
          // Unimplemented is what a layer of an unknown compression would be.
          return is_sink ? absl::UnimplementedError("disk on fire") : absl::OkStatus();
        });
    EXPECT_EQ(status.code(),
              is_sink ? absl::StatusCode::kUnimplemented : absl::StatusCode::kCancelled);
    EXPECT_THAT(Message(status), HasSubstr("fetch blob 'sha256:"));
    EXPECT_LT(f.transport.requests().size(), 12u);
  }
}

TEST(RangedFetchTest, NoMoreIsAheadThanOneStretchOfEachConnection) {
  RangedFixture f(Part);
  std::string received;
  size_t worst = 0;
  ImageSource source{
      *oci::Reference::Parse(kImage), {{"reg.example", "team/app", false, false}}, std::nullopt};
  const absl::Status status = f.client().FetchBlob(
      base::OpContext::Background(), source, DescriptorOf(kContent),
      [&](std::span<const char> piece) {
        // Time for the fetchers to run ahead as far as they may.
        absl::SleepFor(absl::Milliseconds(1));
        worst = std::max(worst, f.transport.requests().size() - received.size() / kStretch);
        received.append(piece.data(), piece.size());
        return absl::OkStatus();
      });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(received, kContent);
  EXPECT_GE(worst, 2u);
  EXPECT_LE(worst, 4u) << "the one that is delivered, and three";
}

TEST(RangedFetchTest, AllBlobsTogetherAreBounded) {
  constexpr int kBlobs = 6;
  base::Mutex mu;
  base::CondVar changed;
  int now = 0;
  int most = 0;
  RangedFixture f([&](const HttpRequest& request) {
    const bool is_range = !HeaderOf(request, "Range").empty();
    base::MutexLock lock(mu);
    most = std::max(most, ++now);
    changed.SignalAll();
    // All that may come at once are waited for, but for the first of a blob in ranges, after which
    // the others begin.
    const absl::Time patience = absl::Now() + absl::Seconds(5);
    while ((!is_range || RangeOf(request).first > 0) && most < kBlobs + BlobFetcher::kMaxExtra &&
           absl::Now() < patience) {
      changed.WaitFor(mu, absl::Milliseconds(20));
    }
    --now;
    return is_range ? Part(request) : Whole();
  });
  f.options.connections_per_blob = 8;
  RegistryClient& client = f.client();
  ImageSource source{
      *oci::Reference::Parse(kImage), {{"reg.example", "team/app", false, false}}, std::nullopt};
  std::vector<std::thread> threads;
  for (int i = 0; i < kBlobs; ++i) {
    threads.emplace_back([&] {
      std::string received;
      const absl::Status status =
          client.FetchBlob(base::OpContext::Background(), source, DescriptorOf(kContent),
                           [&](std::span<const char> piece) {
                             received.append(piece.data(), piece.size());
                             return absl::OkStatus();
                           });
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(received, kContent);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(most, kBlobs + BlobFetcher::kMaxExtra);
}

}  // namespace
}  // namespace berth::registry
