#include "daemon/streaming/fd_pump.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "boost/asio/post.hpp"

#include "daemon/streaming/limits.h"

namespace berth::streaming {

namespace {

using boost::asio::posix::descriptor_base;
using boost::system::error_code;

}  // namespace

SharedFd WatchFd(boost::asio::io_context& io, base::UniqueFd fd) {
  if (!fd.valid()) {
    return nullptr;
  }
  auto watched = std::make_shared<boost::asio::posix::stream_descriptor>(io);
  error_code error;
  watched->assign(fd.get(), error);
  if (error) {
    return nullptr;
  }
  fd.Release();
  return watched;
}

void FdReader::WaitReadable() {
  fd_->async_wait(descriptor_base::wait_read, [self = shared_from_this()](const error_code& error) {
    if (!error && self->fd_ != nullptr && !self->sending_) {
      self->Read({});
    }
  });
}

void FdReader::Read(Chunk chunk) {
  if (!chunk) {
    chunk = Chunk::Make();
  }
  ssize_t size;
  do {
    size = ::read(fd_->native_handle(), chunk.data(), kChunkBytes);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno == EAGAIN) {
    if (draining_) {
      End(0);
    } else {
      WaitReadable();
    }
    return;
  }
  if (size <= 0) {
    End(size == 0 ? 0 : errno);
    return;
  }
  chunk.size = static_cast<size_t>(size);
  if (draining_) {
    drained_ += chunk.size;
  }
  sending_ = true;
  if (to_ != nullptr) {
    to_->Send(std::move(chunk),
              [self = shared_from_this()](Chunk back) { self->OnSent(std::move(back)); });
  } else {
    boost::asio::post(fd_->get_executor(), [self = shared_from_this()] { self->OnSent({}); });
  }
}

void FdReader::OnSent(Chunk back) {
  sending_ = false;
  if (fd_ == nullptr) {
    return;
  }
  if (drained_ >= kMaxDrainBytes) {
    End(0);
  } else {
    Read(std::move(back));
  }
}

void FdReader::Drain() {
  draining_ = true;
  if (fd_ != nullptr && !sending_) {
    fd_->cancel();
    boost::asio::post(fd_->get_executor(), [self = shared_from_this()] {
      if (self->fd_ != nullptr && !self->sending_) {
        self->Read({});
      }
    });
  }
}

void FdReader::End(int error) {
  fd_ = nullptr;  // the writer may have it as well
  if (on_end_) {
    std::exchange(on_end_, nullptr)(error);
  }
}

void FdWriter::Start(SharedFd fd, AtEnd at_end, std::function<void(int)> on_end) {
  if (dropping_ || fd == nullptr) {
    Stop();
    return;
  }
  fd_ = std::move(fd);
  at_end_ = at_end;
  on_end_ = std::move(on_end);
  WriteLeft();
}

void FdWriter::OnData(std::string_view bytes) {
  if (dropping_ || ended_) {
    from_->Consumed(bytes.size());
    return;
  }
  size_t taken = 0;
  if (fd_ != nullptr && left_.empty()) {
    taken = Write(bytes);
    if (dropping_) {
      from_->Consumed(bytes.size());
      return;
    }
  }
  if (taken < bytes.size()) {
    left_.Append(bytes.substr(taken));
    WaitWritable();
  }
  from_->Consumed(taken);
}

size_t FdWriter::Write(std::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size()) {
    const ssize_t size = ::write(fd_->native_handle(), bytes.data() + taken, bytes.size() - taken);
    if (size >= 0) {
      taken += static_cast<size_t>(size);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      End(errno);
      break;
    }
  }
  return taken;
}

void FdWriter::WriteLeft() {
  if (!left_.empty()) {
    const size_t taken = Write(left_.view());
    if (dropping_) {
      return;
    }
    left_.RemovePrefix(taken);
    if (!left_.empty()) {
      WaitWritable();
    }
    from_->Consumed(taken);
  }
  FinishIfEnded();
}

void FdWriter::WaitWritable() {
  if (waiting_ || fd_ == nullptr) {
    return;
  }
  waiting_ = true;
  fd_->async_wait(descriptor_base::wait_write,
                  [self = shared_from_this()](const error_code& error) {
                    self->waiting_ = false;
                    if (!error && self->fd_ != nullptr) {
                      self->WriteLeft();
                    }
                  });
}

void FdWriter::OnEnd() {
  ended_ = true;
  FinishIfEnded();
}

void FdWriter::FinishIfEnded() {
  if (!ended_ || fd_ == nullptr || !left_.empty()) {
    return;
  }
  if (at_end_ == AtEnd::kClose) {
    boost::system::error_code ignored;
    fd_->close(ignored);
  } else if (at_end_ == AtEnd::kShutdown) {
    ::shutdown(fd_->native_handle(), SHUT_WR);
  }
  End(0);
}

void FdWriter::OnReset() {
  Stop();
  if (on_reset_) {
    std::exchange(on_reset_, nullptr)();
  }
}

void FdWriter::End(int error) {
  const std::function<void(int)> on_end = std::exchange(on_end_, nullptr);
  Stop();
  if (on_end) {
    on_end(error);
  }
}

void FdWriter::Stop() {
  dropping_ = true;
  on_end_ = nullptr;
  fd_ = nullptr;
  const size_t left = left_.view().size();
  left_.Clear();
  if (left > 0) {
    from_->Consumed(left);
  }
}

}  // namespace berth::streaming
