// RawClient: a blocking TCP connection to a streaming URL, and what HTTP needs of it. Waits 10 s at
// most for anything. For tests only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "gtest/gtest.h"

#include "lib/base/unique_fd.h"

namespace berth::streaming {

class RawClient {
 public:
  // url: http://127.0.0.1:PORT/PATH
  explicit RawClient(const std::string& url) {
    const size_t host = url.find("://") + 3;
    const size_t colon = url.rfind(':');
    const size_t slash = url.find('/', host);
    path_ = slash == std::string::npos ? "/" : url.substr(slash);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(url.substr(colon + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd_.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const timeval limit = {10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  void Close() { fd_.Reset(); }
  // Closes with a reset.
  void Abort() {
    const linger hard = {1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    fd_.Reset();
  }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Some bytes; empty at the end of file, or after 10 s (then the test fails).
  std::string Receive() {
    char buffer[65536];
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof(buffer), 0);
    EXPECT_FALSE(got < 0 && errno == EAGAIN) << "nothing came within 10 s";
    return got > 0 ? std::string(buffer, static_cast<size_t>(got)) : std::string();
  }
  // Until `count` bytes are in `buffered`; false at the end.
  bool Fill(std::string& buffered, size_t count) {
    while (buffered.size() < count) {
      const std::string more = Receive();
      if (more.empty()) {
        return false;
      }
      buffered += more;
    }
    return true;
  }
  std::string ReceiveAll() {
    std::string all;
    for (std::string more = Receive(); !more.empty(); more = Receive()) {
      all += more;
    }
    return all;
  }
  // The answer's header; what follows stays in `rest`.
  std::string Ask(std::string_view method, std::string_view headers, std::string& rest) {
    Send(std::string(method) + " " + path_ + " HTTP/1.1\r\nHost: test\r\n" + std::string(headers) +
         "\r\n");
    std::string answer;
    while (answer.find("\r\n\r\n") == std::string::npos) {
      const std::string more = Receive();
      if (more.empty()) {
        return answer;
      }
      answer += more;
    }
    const size_t end = answer.find("\r\n\r\n") + 4;
    rest = answer.substr(end);
    return answer.substr(0, end);
  }

 private:
  base::UniqueFd fd_;
  std::string path_;
};

}  // namespace berth::streaming
