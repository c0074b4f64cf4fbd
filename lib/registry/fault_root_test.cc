// RegistryClient and CurlTransport against a real HTTP server that misbehaves:
// testing/fault_server.py.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/status.h"
#include "lib/oci/sha256.h"
#include "lib/registry/curl_transport.h"
#include "lib/registry/registry_client.h"
#include "lib/registry/testing/server_process.h"

namespace berth::registry {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ServedBlob() {
  std::string blob;
  for (int i = 0; i < 1 << 20; ++i) {
    blob += static_cast<char>((i * 7 + i / 251) & 255);
  }
  return blob;
}

class FaultTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = ServerProcess::Start({"python3", BERTH_FAULT_SERVER}, "");
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = server->release();
    blob_ = new std::string(ServedBlob());
  }
  static void TearDownTestSuite() {
    delete server_;
    delete blob_;
  }

  void SetUp() override {
    host_ = "127.0.0.1:" + server_->port();
    auto conf = RegistriesConf::Parse(
        fmt::format("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", host_), "test.conf");
    ASSERT_TRUE(conf.ok()) << conf.status();
    options_.first_backoff = absl::Milliseconds(10);
    conf_ = std::make_shared<const RegistriesConf>(*conf);
  }

  absl::StatusOr<ResolvedManifest> Resolve(
      const std::string& fault, std::optional<Credentials> credentials = {},
      const base::OpContext& ctx = base::OpContext::WithTimeout(absl::Seconds(20))) {
    RegistryClient client(transport_, conf_, options_);
    auto reference = oci::Reference::Parse(host_ + "/" + fault + ":v1");
    EXPECT_TRUE(reference.ok()) << reference.status();
    return client.ResolveManifest(ctx, *reference, credentials);
  }

  absl::Status Blob(const std::string& fault, std::optional<Credentials> credentials = {},
                    const base::OpContext& ctx = base::OpContext::WithTimeout(absl::Seconds(20))) {
    RegistryClient client(transport_, conf_, options_);
    ImageSource source;
    source.reference = *oci::Reference::Parse(host_ + "/" + fault + ":v1");
    source.endpoints = {{host_, fault, true, false}};
    source.credentials = credentials;
    oci::Descriptor descriptor;
    descriptor.digest = oci::DigestOf(*blob_);
    descriptor.size = static_cast<int64_t>(blob_->size());
    received_.clear();
    return client.FetchBlob(ctx, source, descriptor, [&](std::span<const char> piece) {
      received_.append(piece.data(), piece.size());
      return absl::OkStatus();
    });
  }

  static ServerProcess* server_;
  static std::string* blob_;

  std::string host_;
  CurlTransport transport_;
  RegistryOptions options_;
  std::shared_ptr<const RegistriesConf> conf_;
  std::string received_;
};

ServerProcess* FaultTest::server_ = nullptr;
std::string* FaultTest::blob_ = nullptr;

TEST_F(FaultTest, NoFault) {
  EXPECT_TRUE(Resolve("good").ok());
  EXPECT_TRUE(Blob("good").ok());
  EXPECT_EQ(received_, *blob_);
}

TEST_F(FaultTest, ManifestErrors) {
  const struct {
    std::string fault;
    absl::StatusCode code;
    std::string message;
  } table[] = {
      {"unknown", absl::StatusCode::kNotFound, "NAME_UNKNOWN: repository not known"},
      {"unauthorized", absl::StatusCode::kUnauthenticated, "HTTP 401"},
      {"tokened", absl::StatusCode::kUnauthenticated, "incorrect username or password"},
      {"forbidden", absl::StatusCode::kPermissionDenied, "HTTP 403"},
      {"throttled-long", absl::StatusCode::kResourceExhausted, "HTTP 429"},
      {"broken", absl::StatusCode::kUnavailable, "HTTP 500"},
      {"hang-up", absl::StatusCode::kUnavailable, "the connection broke"},
      {"nonsense", absl::StatusCode::kUnavailable, "the connection broke"},
      {"endless", absl::StatusCode::kOutOfRange, "more than 4194304 bytes"},
      {"endless-headers", absl::StatusCode::kOutOfRange, "of headers"},
      {"loop", absl::StatusCode::kFailedPrecondition, "redirects more than 10 times"},
  };
  for (const auto& row : table) {
    const absl::Status status = Resolve(row.fault).status();
    EXPECT_EQ(status.code(), row.code) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(row.message), HasSubstr(host_ + "/" + row.fault + ":v1"),
                      HasSubstr("registry '" + host_ + "'")));
    EXPECT_EQ(base::GetReason(status).has_value(), row.code == absl::StatusCode::kUnavailable);
  }
}

TEST_F(FaultTest, RecoversFromThrottlingAndFlakiness) {
  const absl::Time start = absl::Now();
  EXPECT_TRUE(Resolve("throttled").ok());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(900));  // Retry-After: 1
  EXPECT_TRUE(Resolve("flaky").ok());
}

TEST_F(FaultTest, TokenServer) {
  EXPECT_TRUE(Resolve("tokened", Credentials{"me", "pw", "", ""}).ok());
  EXPECT_TRUE(Blob("tokened", Credentials{"me", "pw", "", ""}).ok());
}

TEST_F(FaultTest, BrokenOffBlobIsResumed) {
  const absl::Status status = Blob("truncated");
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(received_, *blob_);
}

TEST_F(FaultTest, StalledBlobIsResumed) {
  options_.progress_timeout = absl::Milliseconds(300);
  const absl::Status status = Blob("stall-once");
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(received_, *blob_);
}

TEST_F(FaultTest, BlobErrors) {
  options_.progress_timeout = absl::Milliseconds(100);
  options_.max_attempts = 3;
  const struct {
    std::string fault;
    absl::StatusCode code;
    std::string message;
  } table[] = {
      {"truncated-forever", absl::StatusCode::kUnavailable, "the connection broke"},
      {"stall", absl::StatusCode::kUnavailable, "nothing was received for 100ms"},
      {"short", absl::StatusCode::kDataLoss, "has 1048575 bytes"},
      {"wrong", absl::StatusCode::kDataLoss, "digest"},
      {"endless", absl::StatusCode::kDataLoss, "more than the 1048576 bytes"},
      {"unknown", absl::StatusCode::kNotFound, "HTTP 404"},
  };
  for (const auto& row : table) {
    const absl::Status status = Blob(row.fault);
    EXPECT_EQ(status.code(), row.code) << row.fault << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.message));
  }
}

TEST_F(FaultTest, CredentialsStayAtTheirOrigin) {
  const absl::Status status = Blob("away", Credentials{"me", "pw", "", ""});
  EXPECT_TRUE(status.ok()) << status;
  HttpRequest request;
  request.url = "http://" + host_ + "/seen";
  std::string seen;
  const auto response = transport_.Perform(base::OpContext::Background(), request,
                                           [&](const HttpResponse&, std::span<const char> piece) {
                                             seen.append(piece.data(), piece.size());
                                             return absl::OkStatus();
                                           });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(seen, "[\"\"]");
}

TEST_F(FaultTest, CancelledAtOnce) {
  const absl::Time start = absl::Now();
  const base::OpContext ctx(absl::InfiniteFuture(),
                            [&] { return absl::Now() - start > absl::Milliseconds(200); });
  EXPECT_EQ(Blob("stall", {}, ctx).code(), absl::StatusCode::kCancelled);
  EXPECT_LT(absl::Now() - start, absl::Seconds(3));
  EXPECT_EQ(
      Resolve("stall", {}, base::OpContext::WithTimeout(absl::Milliseconds(200))).status().code(),
      absl::StatusCode::kDeadlineExceeded);
}

TEST_F(FaultTest, NobodyListens) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  host_ =
      fmt::format("127.0.0.1:{}", ntohs(address.sin_port));  // bound, so nobody else listens there

  const absl::Status status = Resolve("good").status();
  close(fd);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::GetReason(status), "RegistryUnavailable");
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot be reached"));
}

TEST_F(FaultTest, NameThatDoesNotResolve) {
  host_ = "no-such-host.invalid";
  const absl::Status status = Resolve("good").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-host.invalid"));
}

TEST_F(FaultTest, ManyAtOnce) {
  RegistryClient client(transport_, conf_, options_);
  ImageSource source;
  source.reference = *oci::Reference::Parse(host_ + "/truncated:v1");
  source.endpoints = {{host_, "truncated", true, false}};
  oci::Descriptor descriptor;
  descriptor.digest = oci::DigestOf(*blob_);
  descriptor.size = static_cast<int64_t>(blob_->size());
  std::vector<std::thread> threads;
  std::vector<absl::Status> statuses(8, absl::UnknownError("did not run"));
  for (absl::Status& status : statuses) {
    threads.emplace_back([&] {
      status = client.FetchBlob(base::OpContext::WithTimeout(absl::Seconds(20)), source, descriptor,
                                [](std::span<const char>) { return absl::OkStatus(); });
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (const absl::Status& status : statuses) {
    EXPECT_TRUE(status.ok()) << status;
  }
  client.CloseIdle();
}

}  // namespace
}  // namespace berth::registry
