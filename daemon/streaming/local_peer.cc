#include "daemon/streaming/local_peer.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>

#include "lib/base/unique_fd.h"

namespace berth::streaming {

namespace {

struct End {
  uint8_t family = AF_UNSPEC;
  uint16_t port = 0;  // in network order, as the rest
  uint32_t address[4] = {};
};

End EndOf(const sockaddr_storage& name) {
  End end;
  if (name.ss_family == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(name);
    end = {AF_INET, ipv4.sin_port, {ipv4.sin_addr.s_addr}};
  } else if (name.ss_family == AF_INET6) {
    const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(name);
    const bool is_mapped = IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr);  // the other end is IPv4's
    end.family = is_mapped ? AF_INET : AF_INET6;
    end.port = ipv6.sin6_port;
    std::memcpy(end.address, ipv6.sin6_addr.s6_addr + (is_mapped ? 12 : 0), is_mapped ? 4 : 16);
  }
  return end;
}

}  // namespace

bool IsPeerAbandoned(int fd) {
  sockaddr_storage names[2] = {};
  socklen_t size = sizeof(names[0]);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&names[0]), &size) != 0) {
    return false;
  }
  size = sizeof(names[1]);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&names[1]), &size) != 0) {
    return false;
  }
  const End ours = EndOf(names[0]), theirs = EndOf(names[1]);
  struct {
    nlmsghdr header;
    inet_diag_req_v2 body;
  } request = {};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.body.sdiag_family = theirs.family;
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = ~0u;
  // As the peer sees it.
  request.body.id.idiag_sport = theirs.port;
  request.body.id.idiag_dport = ours.port;
  std::memcpy(request.body.id.idiag_src, theirs.address, sizeof(theirs.address));
  std::memcpy(request.body.id.idiag_dst, ours.address, sizeof(ours.address));
  request.body.id.idiag_cookie[0] = request.body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;

  const base::UniqueFd netlink(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink || ::send(netlink.get(), &request, sizeof(request), 0) < 0) {
    return false;
  }
  alignas(nlmsghdr) char answer[1024];
  const ssize_t got = ::recv(netlink.get(), answer, sizeof(answer), MSG_DONTWAIT);
  if (got < static_cast<ssize_t>(NLMSG_SPACE(sizeof(inet_diag_msg)))) {
    return false;
  }
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
  if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY) {
    return false;
  }
  return static_cast<const inet_diag_msg*>(NLMSG_DATA(header))->idiag_inode == 0;
}

}  // namespace berth::streaming
