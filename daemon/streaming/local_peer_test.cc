#include "daemon/streaming/local_peer.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "gtest/gtest.h"

#include "lib/base/unique_fd.h"

namespace berth::streaming {
namespace {

// (our end, the client's)
std::pair<base::UniqueFd, base::UniqueFd> Connected(int family, bool client_is_ipv4) {
  const base::UniqueFd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 any6 = {};
  any6.sin6_family = AF_INET6;
  any6.sin6_addr = client_is_ipv4 ? in6addr_any : in6addr_loopback;
  sockaddr_in ipv4 = {};
  ipv4.sin_family = AF_INET;
  ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool is_ipv4 = family == AF_INET;
  auto* address = is_ipv4 ? reinterpret_cast<sockaddr*>(&ipv4) : reinterpret_cast<sockaddr*>(&any6);
  const socklen_t size = is_ipv4 ? sizeof(ipv4) : sizeof(any6);
  EXPECT_EQ(::bind(listener.get(), address, size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  socklen_t length = size;
  EXPECT_EQ(::getsockname(listener.get(), address, &length), 0);
  base::UniqueFd client(
      ::socket(client_is_ipv4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (client_is_ipv4) {
    ipv4.sin_port = is_ipv4 ? ipv4.sin_port : any6.sin6_port;
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&ipv4), sizeof(ipv4)), 0);
  } else {
    EXPECT_EQ(::connect(client.get(), address, size), 0);
  }
  base::UniqueFd ours(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  return {std::move(ours), std::move(client)};
}

// Until nothing more is taken.
void Fill(int fd) {
  ASSERT_EQ(::fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  const std::string bytes(1 << 20, 'x');
  while (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
  }
  ASSERT_EQ(errno, EAGAIN);
}

TEST(LocalPeerTest, AFullConnectionShowsItsClientsEndAtOnce) {
  const std::pair<int, bool> cases[] = {{AF_INET, true}, {AF_INET6, false}, {AF_INET6, true}};
  for (const auto& [family, client_is_ipv4] : cases) {
    auto [ours, client] = Connected(family, client_is_ipv4);
    EXPECT_FALSE(IsPeerAbandoned(ours.get()));
    Fill(client.get());
    EXPECT_FALSE(IsPeerAbandoned(ours.get())) << "it is slow and alive";
    client.Reset();
    EXPECT_TRUE(IsPeerAbandoned(ours.get())) << family << client_is_ipv4;
  }
}

TEST(LocalPeerTest, WhatCannotBeToldIsNotAbandoned) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const base::UniqueFd one(ends[0]);
  base::UniqueFd other(ends[1]);
  EXPECT_FALSE(IsPeerAbandoned(one.get()));
  other.Reset();
  EXPECT_FALSE(IsPeerAbandoned(one.get()));
  EXPECT_FALSE(IsPeerAbandoned(-1));
}

}  // namespace
}  // namespace berth::streaming
