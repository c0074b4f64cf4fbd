#include "lib/registry/blob_fetch.h"

#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/status.h"
#include "lib/registry/testing/client_fixture.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kContent = [] {
  std::string content;
  for (int i = 0; i < 500; ++i) {
    content += fmt::format("line {}\n", i);
  }
  return content;
}();

int64_t RangeOf(const HttpRequest& request) {
  const std::string range = HeaderOf(request, "Range");
  return range.empty() ? 0 : std::stoll(range.substr(6));
}

Reply Broken(std::string body) {
  return {200, {{"content-length", "5000"}}, std::move(body), absl::AbortedError("reset by peer")};
}

TEST(BlobTest, Whole) {
  ClientFixture f([](const HttpRequest&) { return Reply{200, {}, kContent}; });
  EXPECT_TRUE(f.Blob(DescriptorOf(kContent)).ok());
  EXPECT_EQ(f.received, kContent);
  EXPECT_THAT(f.transport.Log(), ElementsAre("GET https://reg.example/v2/team/app/blobs/" +
                                             oci::DigestOf(kContent).ToString()));
}

TEST(BlobTest, Sha512) {
  ClientFixture f([](const HttpRequest&) { return Reply{200, {}, kContent}; });
  oci::Descriptor descriptor = DescriptorOf(kContent);
  descriptor.digest = oci::DigestOf(kContent, oci::DigestAlgorithm::kSha512);
  EXPECT_TRUE(f.Blob(descriptor).ok());
}

TEST(BlobTest, ResumesWhereItBroke) {
  ClientFixture f([](const HttpRequest& request) {
    const int64_t from = RangeOf(request);
    Reply reply = Broken(kContent.substr(from, 1000));
    if (from > 0) {
      reply.status = 206;
      reply.headers = {{"content-range",
                        fmt::format("bytes {}-{}/{}", from, kContent.size() - 1, kContent.size())}};
    }
    if (from + 1000 >= static_cast<int64_t>(kContent.size())) {
      reply.error = absl::OkStatus();
    }
    return reply;
  });
  f.options.max_attempts = 2;  // counts attempts without progress only
  ASSERT_TRUE(f.Blob(DescriptorOf(kContent)).ok());
  EXPECT_EQ(f.received, kContent);
  EXPECT_EQ(f.transport.requests().size(), (kContent.size() + 999) / 1000);
}

TEST(BlobTest, ServerWithoutRangesIsReadAgain) {
  int calls = 0;
  ClientFixture f([&](const HttpRequest&) {
    return ++calls == 1 ? Broken(kContent.substr(0, 1500)) : Reply{200, {}, kContent};
  });
  ASSERT_TRUE(f.Blob(DescriptorOf(kContent)).ok());
  EXPECT_EQ(f.received, kContent);
}

TEST(BlobTest, RangeThatStartsEarlierOrLater) {
  for (const int start : {1200, 1501}) {
    int calls = 0;
    ClientFixture f([&](const HttpRequest&) {
      if (++calls == 1) {
        return Broken(kContent.substr(0, 1500));
      }
      return Reply{206,
                   {{"content-range",
                     fmt::format("bytes {}-{}/{}", start, kContent.size() - 1, kContent.size())}},
                   kContent.substr(start)};
    });
    const absl::Status status = f.Blob(DescriptorOf(kContent));
    EXPECT_EQ(status.ok(), start == 1200) << status;
    EXPECT_EQ(f.received, status.ok() ? kContent : kContent.substr(0, 1500));
  }
}

TEST(BlobTest, GoesOnAtTheNextEndpoint) {
  ClientFixture f([](const HttpRequest& request) {
    const int64_t from = RangeOf(request);
    if (HostOf(request) == "mirror.example") {
      return from == 0 ? Broken(kContent.substr(0, 700)) : Reply{404};
    }
    return Reply{206,
                 {{"content-range",
                   fmt::format("bytes {}-{}/{}", from, kContent.size() - 1, kContent.size())}},
                 kContent.substr(from)};
  });
  ASSERT_TRUE(f.Blob(DescriptorOf(kContent), {{"mirror.example", "team/app", false, true},
                                              {"reg.example", "team/app", false, false}})
                  .ok());
  EXPECT_EQ(f.received, kContent);
}

TEST(BlobTest, WrongContentIsDataLoss) {
  std::string flipped = kContent;
  flipped[100] ^= 1;
  const struct {
    std::string body;
    std::string message;
  } table[] = {
      {flipped, "digest"},
      {kContent + "x", "more than the"},
      {kContent + std::string(1 << 20, 'x'), "more than the"},
  };
  for (const auto& row : table) {
    ClientFixture f([&](const HttpRequest&) { return Reply{200, {}, row.body}; });
    const absl::Status status = f.Blob(DescriptorOf(kContent));
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(row.message), HasSubstr("registry 'reg.example'"),
                                       HasSubstr(oci::DigestOf(kContent).ToString())));
    EXPECT_LE(f.received.size(), kContent.size());
    EXPECT_EQ(f.transport.requests().size(), 1u);
  }
}

TEST(BlobTest, ShorterThanItsDescriptor) {
  const std::string half = kContent.substr(0, 2000);
  ClientFixture with_length([&](const HttpRequest&) {
    return Reply{200, {{"content-length", "2000"}}, half};
  });
  EXPECT_EQ(with_length.Blob(DescriptorOf(kContent)).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(with_length.transport.requests().size(), 1u);
  // Without a length it may have been cut on the way: asked again, the rest comes.
  ClientFixture without([&](const HttpRequest& request) {
    const int64_t from = RangeOf(request);
    return from == 0 ? Reply{200, {}, half}
                     : Reply{206,
                             {{"content-range", fmt::format("bytes {}-9/10", from)}},
                             kContent.substr(from)};
  });
  EXPECT_TRUE(without.Blob(DescriptorOf(kContent)).ok());
  EXPECT_EQ(without.received, kContent);
}

TEST(BlobTest, EmptyBlob) {
  ClientFixture f([](const HttpRequest&) { return Reply{200}; });
  EXPECT_TRUE(f.Blob(DescriptorOf("")).ok());
}

TEST(BlobTest, SinkErrorIsReturnedAtOnce) {
  ClientFixture f([](const HttpRequest&) { return Reply{200, {}, kContent}; });
  ImageSource source{*oci::Reference::Parse(kImage),
                     {{"reg.example", "team/app", false, false}, {"b.example", "x", false, false}},
                     {}};
  const absl::Status status = f.client().FetchBlob(
      base::OpContext::Background(), source, DescriptorOf(kContent),
      [](std::span<const char>) { return absl::ResourceExhaustedError("disk full"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(status), HasSubstr("disk full"));
  EXPECT_EQ(f.transport.requests().size(), 1u);
}

TEST(BlobTest, GivesUpWithoutProgress) {
  ClientFixture f([](const HttpRequest&) { return Broken(""); });
  const absl::Status status = f.Blob(DescriptorOf(kContent));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::GetReason(status), "RegistryUnavailable");
  EXPECT_EQ(f.transport.requests().size(), 5u);
}

TEST(BlobTest, CancelledWhileWaiting) {
  bool cancelled = false;
  ClientFixture f([&](const HttpRequest&) {
    cancelled = true;
    return Reply{503};
  });
  f.options.sleep = SleepFor;
  f.options.first_backoff = absl::Hours(1);
  f.options.max_backoff = absl::Hours(1);
  ImageSource source{*oci::Reference::Parse(kImage), {{"reg.example", "a", false, false}}, {}};
  const base::OpContext ctx(absl::InfiniteFuture(), [&] { return cancelled; });
  const absl::Time start = absl::Now();
  EXPECT_EQ(f.client()
                .FetchBlob(ctx, source, DescriptorOf(kContent),
                           [](std::span<const char>) { return absl::OkStatus(); })
                .code(),
            absl::StatusCode::kCancelled);
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST(ConfigTest, SizeIsBoundedAndChecked) {
  ClientFixture f([](const HttpRequest&) { return Reply{200, {}, "abc"}; });
  ImageSource source{*oci::Reference::Parse(kImage), {{"reg.example", "a", false, false}}, {}};
  const auto fetch = [&](oci::Descriptor descriptor) {
    return f.client().FetchConfig(base::OpContext::Background(), source, descriptor).status();
  };
  EXPECT_TRUE(fetch(DescriptorOf("abc")).ok());
  oci::Descriptor descriptor = DescriptorOf("abc");
  descriptor.size = 4;
  EXPECT_EQ(fetch(descriptor).code(), absl::StatusCode::kDataLoss);
  descriptor.size = oci::kMaxConfigBytes + 1;
  EXPECT_EQ(fetch(descriptor).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(fetch(DescriptorOf("abd")).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace berth::registry
