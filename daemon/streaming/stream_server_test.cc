// The HTTP part: what is answered to whom, and its limits.
#include "daemon/streaming/stream_server.h"

#include <dirent.h>
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/streaming/limits.h"
#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/spdy_client.h"
#include "daemon/streaming/testing/websocket_client.h"

namespace berth::streaming {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

size_t CountOf(const char* dir) {
  DIR* const open = ::opendir(dir);
  size_t count = 0;
  while (::readdir(open) != nullptr) {
    ++count;
  }
  ::closedir(open);
  return count;
}

size_t ResidentKilobytes() {
  ::malloc_trim(0);
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "VmRSS:") {
  }
  size_t kilobytes = 0;
  status >> kilobytes;
  return kilobytes;
}

class StreamServerTest : public ServingTest {
 protected:
  // A whole answer to a request at a path of the server's.
  std::string Ask(std::string_view method, const std::string& path, std::string_view headers = "") {
    const std::string url = ExecUrl({});
    RawClient client(url.substr(0, url.find('/', 7)) + path);
    std::string rest;
    const std::string header = client.Ask(method, headers, rest);
    return header + rest + client.ReceiveAll();
  }
  std::string PathOf(const std::string& url) { return url.substr(url.find('/', 7)); }
  static constexpr char kSpdy[] =
      "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: "
      "v4.channel.k8s.io\r\n";
};

TEST_F(StreamServerTest, UrlsNameTheAddressAndAToken) {
  EXPECT_THAT(ExecUrl({}), MatchesRegex("http://127.0.0.1:[0-9]+/exec/[0-9a-f]{32}"));
  EXPECT_THAT(AttachUrl({}), MatchesRegex("http://127.0.0.1:[0-9]+/attach/[0-9a-f]{32}"));
  EXPECT_THAT(ForwardUrl(), MatchesRegex("http://127.0.0.1:[0-9]+/portforward/[0-9a-f]{32}"));
  Serve({.address = "::"});
  EXPECT_THAT(ExecUrl({}), StartsWith("http://[::1]:"));
  Serve({.address = "0.0.0.0"});
  EXPECT_THAT(ExecUrl({}), StartsWith("http://127.0.0.1:"));
}

TEST_F(StreamServerTest, WhatCannotBeListenedAtIsNamed) {
  StreamServer name({.address = "localhost"}, backend_);
  const absl::Status bad = name.Start();
  EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad.message()), HasSubstr("'localhost', is not an IP address"));
  FakePod taken;
  StreamServer other({.port = taken.port}, backend_);
  EXPECT_THAT(std::string(other.Start().message()),
              HasSubstr("listen for streaming at '127.0.0.1' port " + std::to_string(taken.port)));
}

TEST_F(StreamServerTest, EveryWrongUrlIsAnsweredAlike) {
  const std::string used = PathOf(ExecUrl({false, true, false, false}));
  {
    SpdyClient client(ExecUrl({}).substr(0, ExecUrl({}).find('/', 7)) + used, "v4.channel.k8s.io");
  }
  const std::string exec = PathOf(ExecUrl({false, true, false, false}));
  const std::string token = exec.substr(exec.rfind('/') + 1);
  std::vector<std::string> answers;
  for (const std::string& path :
       {used, "/attach/" + token, exec, std::string("/exec/00000000000000000000000000000000"),
        std::string("/"), std::string("/exec"), std::string("/exec/"), std::string("/healthz"),
        std::string("/exec/../exec/x")}) {
    answers.push_back(Ask("GET", path, kSpdy));
    EXPECT_THAT(answers.back(), StartsWith("HTTP/1.1 404 Not Found\r\n")) << path;
    EXPECT_EQ(answers.back(), answers.front()) << path;
  }
}

TEST_F(StreamServerTest, GetAndPostAndNothingElse) {
  EXPECT_THAT(Ask("GET", PathOf(ExecUrl({})), ""), HasSubstr("400 Bad Request"));
  EXPECT_THAT(Ask("POST", PathOf(ExecUrl({})), ""), HasSubstr("400 Bad Request"));
  const std::string path = PathOf(ExecUrl({}));
  for (const char* method : {"PUT", "DELETE", "HEAD", "OPTIONS", "BREW"}) {
    const std::string answer = Ask(method, path, kSpdy);
    EXPECT_THAT(answer, HasSubstr("405 Method Not Allowed")) << method;
    EXPECT_THAT(answer, HasSubstr("Allow: GET, POST")) << method;
  }
}

TEST_F(StreamServerTest, WhereNoProtocolFitsTheAnswerIs403) {
  const std::string answer =
      Ask("POST", PathOf(ExecUrl({})),
          "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_THAT(answer, HasSubstr("X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io\r\n"));
}

TEST_F(StreamServerTest, LargeHeadersAndWhatIsNoHttpAreRefused) {
  EXPECT_THAT(Ask("GET", "/exec/x", "X: " + std::string(kMaxRequestHeaderBytes, 'x') + "\r\n"),
              HasSubstr("431 Request Header Fields Too Large"));
  EXPECT_THAT(Ask("GET", "/" + std::string(kMaxRequestHeaderBytes, 'x')), HasSubstr("431"));
  RawClient client(ExecUrl({}));
  client.Send("SSH-2.0-OpenSSH\r\n\r\n");
  EXPECT_THAT(client.ReceiveAll(), HasSubstr("400 Bad Request"));
}

TEST_F(StreamServerTest, ARequestThatDoesNotArriveIsNotWaitedForLong) {
  RawClient client(ExecUrl({}));
  const auto start = std::chrono::steady_clock::now();
  const timeval limit = {30, 0};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  std::thread drip([fd = ::dup(client.fd())] {
    while (::send(fd, "X", 1, MSG_NOSIGNAL) > 0) {
      ::usleep(300'000);
    }
    ::close(fd);
  });
  client.ReceiveAll();
  drip.join();
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, kRequestTimeout - kTick);
  EXPECT_LT(took, kRequestTimeout + 4 * kTick);
}

TEST_F(StreamServerTest, TheOldestOfThoseWhoNeverAskGivesWay) {
  const std::string url = ExecUrl({false, true, false, false});
  RawClient oldest(url);
  std::vector<std::unique_ptr<RawClient>> silent;
  for (size_t i = 0; i < kMaxPendingConnections; ++i) {
    silent.push_back(std::make_unique<RawClient>(url));
  }
  EXPECT_EQ(oldest.ReceiveAll(), "");
  SpdyClient client(url, "v4.channel.k8s.io");
  EXPECT_THAT(client.answer, HasSubstr("101"));
}

TEST_F(StreamServerTest, SessionsAreBoundedAndTheUrlStaysGood) {
  rlimit descriptors = {};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = descriptors.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  std::vector<std::unique_ptr<RawClient>> sessions;
  std::string rest;
  for (size_t i = 0; i < kMaxSessions; ++i) {
    sessions.push_back(std::make_unique<RawClient>(ForwardUrl()));
    ASSERT_THAT(sessions.back()->Ask("POST",
                                     "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                                     "X-Stream-Protocol-Version: portforward.k8s.io\r\n",
                                     rest),
                HasSubstr("101"));
  }
  const std::string url = ExecUrl({false, true, false, false});
  EXPECT_THAT(Ask("POST", PathOf(url), kSpdy), StartsWith("HTTP/1.1 503 "));
  sessions.pop_back();
  for (int i = 0; i < 100; ++i) {
    SpdyClient client(url, "v4.channel.k8s.io");
    if (client.answer.find("101") != std::string::npos) {
      return;
    }
    ::usleep(10'000);
  }
  ADD_FAILURE() << "no session though one has ended";
}

TEST_F(StreamServerTest, ManySessionsLeaveNothing) {
  const auto round = [&](int count) {
    for (int i = 0; i < count; ++i) {
      {
        SpdyClient client(ExecUrl({true, true, true, false}), "v4.channel.k8s.io");
        const uint32_t error = client.Open({{"streamtype", "error"}});
        client.Open({{"streamtype", "stdin"}});
        client.Open({{"streamtype", "stdout"}});
        client.Open({{"streamtype", "stderr"}});
        auto process = backend_.NextProcess();
        if (i % 3 == 0) {
          client.raw().Close();
          EXPECT_TRUE(process->WaitKilled());
        } else {
          process->Exit(0);
          EXPECT_TRUE(client.UntilEnded(error));
        }
      }
      {
        SpdyClient client(AttachUrl({false, true, false, false}), "v4.channel.k8s.io");
        client.Open({{"streamtype", "error"}});
        client.Open({{"streamtype", "stdout"}});
        backend_.NextMonitor();
      }
      WebSocketClient abandoned(ExecUrl({false, true, false, false}), "v5.channel.k8s.io");
      backend_.NextProcess();
    }
  };
  round(100);  // buffers and arenas that stay
  ::usleep(300'000);
  const size_t descriptors = CountOf("/proc/self/fd");
  const size_t threads = CountOf("/proc/self/task");
  const size_t memory = ResidentKilobytes();
  round(700);
  for (int i = 0; i < 200 && CountOf("/proc/self/fd") > descriptors; ++i) {
    ::usleep(10'000);
  }
  EXPECT_LE(CountOf("/proc/self/fd"), descriptors);
  EXPECT_LE(CountOf("/proc/self/task"), threads + 1);
#ifndef __SANITIZE_ADDRESS__  // which keeps freed memory for a while
  EXPECT_LE(ResidentKilobytes(), memory + 1024);
#else
  (void)memory;
#endif
}

TEST_F(StreamServerTest, PingFloodsOfClientsWhoDoNotReadAreNotAnsweredWithoutEnd) {
  SpdyClient client(ForwardUrl(), "portforward.k8s.io");
  SetNonBlocking(client.raw().fd());
  std::string pings;
  for (int i = 0; i < 4096; ++i) {
    pings += SpdyControlFrame(SpdyType::kPing, 1);
  }
  size_t sent = 0;
  for (int full = 0; full < 10 && sent < (64 << 20);) {
    const size_t offset = sent % pings.size();
    const ssize_t got = ::send(client.raw().fd(), pings.data() + offset, pings.size() - offset, 0);
    if (got > 0) {
      sent += static_cast<size_t>(got);
      full = 0;
    } else {
      ++full;
      ::usleep(20'000);
    }
  }
  EXPECT_LT(sent, size_t{24} << 20);
}

}  // namespace
}  // namespace berth::streaming
