#include "cmd/monitor/clients.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cmd/monitor/unix_socket.h"

namespace berth::monitor {
namespace {

using monitor_protocol::AnswerPacket;
using monitor_protocol::AttachPacket;
using monitor_protocol::Header;
using monitor_protocol::kVersion;
using monitor_protocol::PacketType;
using monitor_protocol::ResizePacket;
using monitor_protocol::SkippedPacket;
using monitor_protocol::StatePacket;

// What an attached client may be behind: kernel memory, used only while it is, and charged to the
// pod on cgroup v2. The smaller one is that of those who come when there are many.
constexpr int kOutputQueueBytes = 1 << 20;
constexpr int kFullQueues = 16;
constexpr int kSmallQueueBytes = 64 << 10;

char received[monitor_protocol::kMaxPacketBytes];

bool IsAllowed(int fd) {
  ucred peer;
  socklen_t size = sizeof(peer);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == 0 || peer.uid == getuid());
}

}  // namespace

int Clients::Listen(const char* path) {
  return ListenUnix(path, SOCK_SEQPACKET, &listen_fd_, nullptr, 0);
}

void Clients::AddStart(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  Add(fd, true);
}

bool Clients::Add(int fd, bool subscribed) {
  int place = 0;
  while (place < used_ && clients_[place].fd >= 0) {
    place++;
  }
  if (place == kMax) {
    return false;
  }
  used_ = place == used_ ? used_ + 1 : used_;
  clients_[place] = {0, fd, subscribed, false, 0};
  return true;
}

void Clients::Drop(Client& client) {
  close(client.fd);
  client.fd = -1;
  while (used_ > 0 && clients_[used_ - 1].fd < 0) {
    used_--;
  }
  if ((client.streams & monitor_protocol::kAttachStdin) != 0) {
    requests_.InputClientEnded();
  }
}

bool Clients::WaitsForInput(const Client& client) {
  return (client.streams & monitor_protocol::kAttachStdin) != 0 && !requests_.InputReady();
}

// Clients that went away while input could not be written keep their place for what they sent,
// unless others need it.
void Clients::DropAbandoned() {
  for (int i = 0; i < used_; i++) {
    Client& client = clients_[i];
    pollfd entry = {client.fd, 0, 0};
    if (client.fd >= 0 && WaitsForInput(client) && poll(&entry, 1, 0) == 1 &&
        (entry.revents & POLLHUP) != 0) {
      Drop(client);
    }
  }
}

void Clients::Accept() {
  const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    return;
  }
  if (!IsAllowed(fd)) {
    close(fd);
    return;
  }
  if (!Add(fd, false)) {
    DropAbandoned();
    if (!Add(fd, false)) {
      close(fd);
      return;
    }
  }
  for (int i = 0; i < used_; i++) {
    Client& client = clients_[i];
    if (client.fd == fd) {
      SendStateTo(client);
      return;
    }
  }
}

int Clients::Poll(pollfd* entries) {
  *entries++ = {listen_fd_, POLLIN, 0};
  for (int i = 0; i < used_; i++) {
    Client& client = clients_[i];
    const short in = WaitsForInput(client) ? 0 : POLLIN;
    const short out = client.skipping ? POLLOUT : 0;
    // Not at all rather than for nothing: a closed connection is reported in any case.
    *entries++ = {in != 0 || out != 0 ? client.fd : -1, static_cast<short>(in | out), 0};
  }
  polled_ = used_;
  return 1 + used_;
}

void Clients::Handle(const pollfd* entries) {
  const pollfd* client_entries = entries + 1;
  for (int i = 0; i < polled_; i++) {
    Client& client = clients_[i];
    const pollfd& entry = client_entries[i];
    if (client.fd < 0 || entry.fd != client.fd || entry.revents == 0) {
      continue;
    }
    if (client.skipping) {
      ResumeOutput(client);
    }
    if (client.fd >= 0 && (entry.revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
        !WaitsForInput(client)) {
      Receive(client);
    }
  }
  // Last, so that a place freed above is not taken for the entry that was polled.
  if (entries->revents != 0) {
    Accept();
  }
}

void Clients::Receive(Client& client) {
  const ssize_t size = recv(client.fd, received, sizeof(received), MSG_DONTWAIT | MSG_TRUNC);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return;
  }
  if (size < static_cast<ssize_t>(sizeof(Header)) ||
      size > static_cast<ssize_t>(sizeof(received)) || received[0] != static_cast<char>(kVersion)) {
    Drop(client);
    return;
  }
  OnPacket(client, received, static_cast<size_t>(size));
}

void Clients::OnPacket(Client& client, const char* packet, size_t size) {
  const PacketType type = static_cast<PacketType>(packet[1]);
  const char* body = packet + sizeof(Header);
  const size_t body_size = size - sizeof(Header);
  switch (type) {
    case PacketType::kGetState:
      return SendStateTo(client);
    case PacketType::kSubscribe:
      client.subscribed = true;
      return;
    case PacketType::kReopenLog:
      return Answer(client, type, requests_.ReopenLog());
    case PacketType::kResize: {
      ResizePacket resize;
      if (size < sizeof(resize)) {
        return Answer(client, type, EINVAL);
      }
      memcpy(&resize, packet, sizeof(resize));
      return Answer(client, type, requests_.Resize(resize.height, resize.width));
    }
    case PacketType::kCloseStdin:
      return Answer(client, type, requests_.CloseInput());
    case PacketType::kAttach: {
      AttachPacket attach;
      if (size < sizeof(attach)) {
        return Answer(client, type, EINVAL);
      }
      memcpy(&attach, packet, sizeof(attach));
      return Attach(client, attach.streams);
    }
    case PacketType::kStdin:
      if ((client.streams & monitor_protocol::kAttachStdin) == 0) {
        return;
      }
      requests_.Input(body, body_size);
      return;
    case PacketType::kStdinEnd:
      if ((client.streams & monitor_protocol::kAttachStdin) != 0) {
        client.streams &= static_cast<uint8_t>(~monitor_protocol::kAttachStdin);
        requests_.InputClientEnded();
      }
      return;
    case PacketType::kCancelCreate:
      return Answer(client, type, requests_.CancelCreate());
    default:
      return Answer(client, type, EOPNOTSUPP);
  }
}

void Clients::Attach(Client& client, uint8_t streams) {
  const int size = used_ <= kFullQueues ? kOutputQueueBytes : kSmallQueueBytes;
  if (setsockopt(client.fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0) {
    setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
  }
  client.streams = streams;
  Answer(client, PacketType::kAttach, 0);
}

void Clients::Send(Client& client, const void* packet, size_t size) {
  if (send(client.fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL) != static_cast<ssize_t>(size)) {
    Drop(client);
  }
}

void Clients::SendStateTo(Client& client) {
  const StatePacket state = requests_.State();
  Send(client, &state, sizeof(state));
}

void Clients::Answer(Client& client, PacketType request, int error) {
  const AnswerPacket answer = {{kVersion, PacketType::kAnswer}, request, error};
  Send(client, &answer, sizeof(answer));
}

void Clients::SendState() {
  const StatePacket state = requests_.State();
  for (int i = 0; i < used_; i++) {
    Client& client = clients_[i];
    if (client.fd >= 0 && client.subscribed) {
      Send(client, &state, sizeof(state));
    }
  }
}

void Clients::SendAll(const void* packet, size_t size) {
  for (int i = 0; i < used_; i++) {
    Client& client = clients_[i];
    if (client.fd >= 0) {
      Send(client, packet, size);
    }
  }
}

void Clients::SendOutput(Stream stream, const char* data, size_t size) {
  const bool is_out = stream == Stream::kStdout;
  const uint8_t wanted = is_out ? monitor_protocol::kAttachStdout : monitor_protocol::kAttachStderr;
  Header header = {kVersion, is_out ? PacketType::kStdout : PacketType::kStderr};
  iovec vectors[2] = {{&header, sizeof(header)}, {const_cast<char*>(data), size}};
  msghdr message = {};
  message.msg_iov = vectors;
  message.msg_iovlen = 2;
  for (int i = 0; i < used_; i++) {
    Client& client = clients_[i];
    if (client.fd < 0 || (client.streams & wanted) == 0) {
      continue;
    }
    if (!client.skipping && sendmsg(client.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
        Drop(client);
        continue;
      }
      client.skipping = true;
    }
    client.skipped += client.skipping ? size : 0;
  }
}

// The socket is writable again. Tells what was skipped first, so that the client knows where the
// gap is.
void Clients::ResumeOutput(Client& client) {
  const SkippedPacket packet = {{kVersion, PacketType::kSkipped}, client.skipped};
  if (send(client.fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) {
      Drop(client);
    }
    return;
  }
  client.skipping = false;
  client.skipped = 0;
}

}  // namespace berth::monitor
