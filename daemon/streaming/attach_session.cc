#include "daemon/streaming/attach_session.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "daemon/streaming/limits.h"
#include "lib/base/log.h"
#include "lib/monitor_protocol/protocol.h"

namespace berth::streaming {

namespace {

using boost::asio::posix::descriptor_base;
using boost::system::error_code;
using monitor_protocol::Header;
using monitor_protocol::kMaxDataBytes;
using monitor_protocol::PacketType;

// Packets looked at before others on the event thread have their turn.
constexpr int kMaxPackets = 64;

msghdr MessageOf(iovec (&parts)[2]) {
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  return message;
}

}  // namespace

void MonitorWriter::Start(SharedFd monitor) {
  monitor_ = std::move(monitor);
  Pump();
}

void MonitorWriter::Stop() {
  dropping_ = true;
  monitor_ = nullptr;
  const size_t left = left_.view().size();
  left_.Clear();
  if (left > 0) {
    from_->Consumed(left);
  }
}

void MonitorWriter::Resize(TerminalSize size) {
  size_ = size;
  has_size_ = true;
  Pump();
}

void MonitorWriter::OnData(std::string_view bytes) {
  if (dropping_ || ended_) {
    from_->Consumed(bytes.size());
    return;
  }
  left_.Append(bytes);
  Pump();
}

void MonitorWriter::OnEnd() {
  ended_ = true;
  Pump();
}

MonitorWriter::Sent MonitorWriter::SendPacket(uint8_t type, std::string_view body) {
  Header header = {monitor_protocol::kVersion, static_cast<PacketType>(type)};
  iovec parts[2] = {{&header, sizeof(header)}, {const_cast<char*>(body.data()), body.size()}};
  const msghdr message = MessageOf(parts);
  while (::sendmsg(monitor_->native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
    if (errno == EAGAIN) {
      return Sent::kLater;
    }
    if (errno != EINTR) {
      return Sent::kNever;  // the monitor has ended: its end of file tells
    }
  }
  return Sent::kYes;
}

void MonitorWriter::Pump() {
  Sent sent = Sent::kYes;
  size_t consumed = 0;
  while (monitor_ != nullptr && sent == Sent::kYes) {
    if (has_size_) {
      const uint16_t body[2] = {size_.height, size_.width};  // ResizePacket
      sent = SendPacket(static_cast<uint8_t>(PacketType::kResize),
                        {reinterpret_cast<const char*>(body), sizeof(body)});
      has_size_ = sent == Sent::kLater;
    } else if (!left_.empty()) {
      const std::string_view part = left_.view().substr(0, kMaxDataBytes);
      sent = SendPacket(static_cast<uint8_t>(PacketType::kStdin), part);
      if (sent == Sent::kYes) {
        consumed += part.size();
        left_.RemovePrefix(part.size());
      }
    } else if (ended_ && !dropping_) {
      sent = SendPacket(static_cast<uint8_t>(PacketType::kStdinEnd), {});
      dropping_ = sent == Sent::kYes;
    } else {
      break;
    }
  }
  if (sent == Sent::kNever) {
    Stop();
  } else if (sent == Sent::kLater && !waiting_) {
    waiting_ = true;
    monitor_->async_wait(descriptor_base::wait_write,
                         [self = shared_from_this()](const error_code& error) {
                           self->waiting_ = false;
                           if (!error) {
                             self->Pump();
                           }
                         });
  }
  if (consumed > 0) {
    from_->Consumed(consumed);
  }
}

AttachSession::AttachSession(const SessionContext& context, AttachRequest request,
                             CommandProtocol protocol)
    : RemoteCommand(context, request.streams, protocol),
      request_(std::move(request)),
      self_(std::make_shared<AttachSession*>(this)) {}

std::shared_ptr<StreamSink> AttachSession::MakeInput() {
  return writer_ = std::make_shared<MonitorWriter>(in());
}

void AttachSession::Begin() {
  if (writer_ == nullptr) {
    writer_ = std::make_shared<MonitorWriter>(nullptr);
  }
  call_ = context().calls.Run<Attachment>(
      [&backend = context().backend, request = request_](const base::OpContext& ctx) {
        return backend.Attach(ctx, request);
      },
      [self = std::weak_ptr(self_)](absl::StatusOr<Attachment> attached) {
        if (const auto session = self.lock(); session && !(*session)->is_over()) {
          (*session)->OnAttached(std::move(attached));
        }
      });
}

void AttachSession::OnAttached(absl::StatusOr<Attachment> attached) {
  if (attached.ok()) {
    monitor_ = WatchFd(context().io, std::move(attached->monitor));
    if (monitor_ == nullptr) {
      attached = absl::InternalError("the connection to its monitor is not usable");
    }
  }
  if (!attached.ok()) {
    base::Log("streaming")
        .info("attach failed container={}: {}", request_.container_id,
              std::string(attached.status().message()));
    Finish(Outcome::Failed(
        fmt::format("error attaching to container: {}", std::string(attached.status().message()))));
    return;
  }
  if (size_) {
    writer_->Resize(*size_);
  }
  writer_->Start(monitor_);
  WaitReadable();
}

void AttachSession::WaitReadable() {
  monitor_->async_wait(descriptor_base::wait_read,
                       [self = std::weak_ptr(self_)](const error_code& error) {
                         if (const auto session = self.lock(); session && !error) {
                           (*session)->Read({});
                         }
                       });
}

void AttachSession::Read(Chunk chunk) {
  if (monitor_ == nullptr) {
    return;
  }
  std::shared_ptr<ClientStream> to;
  chunk = ReadOutput(std::move(chunk), to);
  if (to != nullptr) {
    Send(std::move(chunk), to);
  } else if (ended_) {
    Finish(Outcome::Exited(0));
  } else {
    WaitReadable();
  }
}

Chunk AttachSession::ReadOutput(Chunk chunk, std::shared_ptr<ClientStream>& to) {
  if (!chunk) {
    chunk = Chunk::Make();
  }
  chunk.size = 0;
  for (int i = 0; i < kMaxPackets && !ended_ && chunk.size + kMaxDataBytes <= kChunkBytes; ++i) {
    Header header = {};
    char* const data = chunk.data() + chunk.size;
    iovec parts[2] = {{&header, sizeof(header)}, {data, kMaxDataBytes}};
    msghdr message = MessageOf(parts);
    const ssize_t size = ::recvmsg(monitor_->native_handle(), &message, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) {
      break;
    }
    if (size <= 0) {
      ended_ = size == 0 || errno != EINTR;
      continue;
    }
    const size_t body =
        static_cast<size_t>(size) - std::min(sizeof(header), static_cast<size_t>(size));
    if (header.type == PacketType::kSkipped && body >= sizeof(uint64_t)) {
      uint64_t bytes;
      std::memcpy(&bytes, data, sizeof(bytes));
      base::Log("streaming")
          .warn("attached client too slow, output skipped container={} bytes={}",
                request_.container_id, bytes);
      continue;
    }
    const bool is_out = header.type == PacketType::kStdout;
    if (!is_out && header.type != PacketType::kStderr) {
      continue;
    }
    const std::shared_ptr<ClientStream>& stream = is_out ? out() : err();
    if (stream == nullptr || body == 0) {
      continue;
    }
    if (to != nullptr && to != stream) {
      next_ = Chunk::Make();
      std::memcpy(next_.data(), data, body);
      next_.size = body;
      next_to_ = stream;
      break;
    }
    to = stream;
    chunk.size += body;
  }
  return chunk;
}

void AttachSession::Send(Chunk chunk, const std::shared_ptr<ClientStream>& to) {
  to->Send(std::move(chunk), [self = std::weak_ptr(self_)](Chunk back) {
    const auto session = self.lock();
    if (session == nullptr || (*session)->is_over()) {
      return;
    }
    AttachSession& attach = **session;
    if (attach.next_) {
      attach.Send(std::exchange(attach.next_, Chunk()), std::exchange(attach.next_to_, nullptr));
    } else {
      attach.Read(std::move(back));
    }
  });
}

void AttachSession::Resize(TerminalSize size) {
  size_ = size;
  if (monitor_ != nullptr) {
    writer_->Resize(size);
  }
}

void AttachSession::Release() {
  if (call_ != nullptr) {
    *call_ = true;
  }
  if (writer_ != nullptr) {
    writer_->Stop();
  }
  monitor_ = nullptr;
}

}  // namespace berth::streaming
