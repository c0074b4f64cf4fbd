#include "daemon/streaming/websocket_connection.h"

#include <utility>
#include <variant>

#include "daemon/streaming/limits.h"
#include "lib/base/log.h"

namespace berth::streaming {

namespace {

namespace websocket = boost::beast::websocket;

constexpr size_t kInputBytes = 32 << 10;

ChannelSpec CommandChannel(const char* type) {
  ChannelSpec spec;
  spec.headers.Add("streamtype", type);
  return spec;
}

ChannelSpec PortChannel(const char* type, uint16_t port, size_t request) {
  ChannelSpec spec;
  spec.headers.Add("streamtype", type);
  spec.headers.Add("port", std::to_string(port));
  spec.headers.Add("requestid", std::to_string(request));
  spec.greeting = std::string{static_cast<char>(port & 0xff), static_cast<char>(port >> 8)};
  return spec;
}

}  // namespace

std::vector<std::optional<ChannelSpec>> ChannelsFor(const StreamRequest& request) {
  std::vector<std::optional<ChannelSpec>> channels;
  if (const auto* forward = std::get_if<PortForwardRequest>(&request)) {
    for (size_t i = 0; i < forward->ports.size(); ++i) {
      channels.emplace_back(PortChannel("data", forward->ports[i], i));
      channels.emplace_back(PortChannel("error", forward->ports[i], i));
    }
    return channels;
  }
  const Streams& wanted = std::holds_alternative<ExecRequest>(request)
                              ? std::get<ExecRequest>(request).streams
                              : std::get<AttachRequest>(request).streams;
  channels.resize(5);
  if (wanted.in) {
    channels[0] = CommandChannel("stdin");
  }
  if (wanted.out) {
    channels[1] = CommandChannel("stdout");
  }
  if (wanted.err) {
    channels[2] = CommandChannel("stderr");
  }
  channels[3] = CommandChannel("error");
  if (wanted.tty) {
    channels[4] = CommandChannel("resize");
  }
  // An empty message on the first channel to be read tells that the connection is there.
  channels[wanted.out ? 1 : wanted.err ? 2 : 3]->greeting = "";
  return channels;
}

class WebSocketConnection::Channel : public ClientStream {
 public:
  Channel(std::shared_ptr<Link> link, uint8_t number) : link_(std::move(link)), number_(number) {}

  void SetSink(std::weak_ptr<StreamSink> sink) override { sink_ = std::move(sink); }
  void Send(Chunk chunk, Sent sent) override {
    if (link_->connection != nullptr) {
      if (closed_) {
        chunk.size = 0;
      }
      link_->connection->Write({number_, std::move(chunk), std::move(sent), {}});
    }
  }
  void SendText(std::string_view text) override {
    if (link_->connection != nullptr && !closed_ && !text.empty()) {
      link_->connection->Write({number_, {}, nullptr, std::string(text)});
    }
  }
  // These protocols cannot tell the client: a channel that has ended is silent.
  void CloseWrite() override { closed_ = true; }
  void Reset() override {
    closed_ = true;
    if (const std::shared_ptr<StreamSink> sink = std::exchange(sink_, {}).lock()) {
      sink->OnReset();
    }
  }
  void Consumed(size_t bytes) override {
    if (link_->connection != nullptr) {
      link_->connection->Consumed(bytes);
    }
  }

  void Take(std::string_view bytes) {
    const std::shared_ptr<StreamSink> sink = sink_.lock();
    link_->connection->unconsumed_ += bytes.size();
    if (sink == nullptr) {
      Consumed(bytes.size());
    } else {
      sink->OnData(bytes);
    }
  }
  void TakeEnd() {
    if (const std::shared_ptr<StreamSink> sink = sink_.lock()) {
      sink->OnEnd();
    }
    sink_.reset();
  }

 private:
  const std::shared_ptr<Link> link_;
  const uint8_t number_;
  std::weak_ptr<StreamSink> sink_;
  bool closed_ = false;
};

WebSocketConnection::WebSocketConnection(ConnectionSet& set, std::unique_ptr<Session> session,
                                         std::chrono::seconds idle_timeout, ByteStream stream,
                                         ChannelCoding coding,
                                         std::vector<std::optional<ChannelSpec>> channels)
    : SessionConnection(set, std::move(session), idle_timeout),
      websocket_(std::move(stream)),
      coding_(coding),
      specs_(std::move(channels)),
      reader_(coding),
      link_(std::make_shared<Link>(Link{this})),
      input_(new char[kInputBytes]) {
  websocket_.auto_fragment(false);
  websocket_.read_message_max(0);  // nothing is collected
}

WebSocketConnection::~WebSocketConnection() { link_->connection = nullptr; }

void WebSocketConnection::Start(const HttpRequest& request, const std::string& protocol) {
  StartLinger();  // for the handshake
  websocket_.set_option(
      websocket::stream_base::decorator([protocol](websocket::response_type& answer) {
        if (!protocol.empty()) {
          answer.set(boost::beast::http::field::sec_websocket_protocol, protocol);
        }
      }));
  websocket_.async_accept(request, [self = Self()](const ErrorCode& error) {
    if (error || self->ended()) {
      self->End();
    } else {
      self->OnAccepted();
    }
  });
}

void WebSocketConnection::OnAccepted() {
  accepted_ = true;
  StopLinger();
  session().Start(shared_from_this());
  for (size_t i = 0; i < specs_.size(); ++i) {
    channels_.push_back(specs_[i] ? std::make_shared<Channel>(link_, static_cast<uint8_t>(i))
                                  : nullptr);
  }
  for (size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i] && specs_[i]->greeting) {
      Write({static_cast<uint8_t>(i), {}, nullptr, *specs_[i]->greeting});
    }
  }
  for (size_t i = 0; i < specs_.size() && !ended(); ++i) {
    if (specs_[i] &&
        !session().OnStream(channels_[i], static_cast<uint32_t>(i), specs_[i]->headers)) {
      channels_[i] = nullptr;
    }
  }
  Read();
}

void WebSocketConnection::Read() {
  if (reading_ || ended() || is_paused() || !accepted_) {
    return;
  }
  reading_ = true;
  websocket_.async_read_some(
      asio::buffer(input_.get(), kInputBytes),
      [self = Self()](const ErrorCode& error, size_t bytes) { self->OnRead(error, bytes); });
}

void WebSocketConnection::OnRead(const ErrorCode& error, size_t bytes) {
  if (error || ended()) {
    reading_ = false;
    // After our own goodbye the close handshake may still be under way.
    if (!goodbye_said_ || error != websocket::error::closed) {
      End();
    }
    return;
  }
  if (!closing()) {
    const absl::Status status =
        reader_.Read({input_.get(), bytes}, websocket_.is_message_done(), *this);
    if (!status.ok()) {
      base::Log("streaming")
          .warn("connection closed: the client broke the WebSocket protocol: {}",
                std::string(status.message()));
      EndSession();
      Close();
    }
  }
  reading_ = false;
  Read();
}

void WebSocketConnection::OnChannelData(uint8_t channel, std::string_view bytes) {
  if (channel < channels_.size() && channels_[channel] != nullptr) {
    channels_[channel]->Take(bytes);
  }
}

void WebSocketConnection::OnChannelEnd(uint8_t channel) {
  if (channel < channels_.size() && channels_[channel] != nullptr) {
    channels_[channel]->TakeEnd();
  }
}

void WebSocketConnection::Consumed(size_t bytes) {
  if (bytes > 0) {
    unconsumed_ -= bytes;
    Touch();
    Read();
  }
}

void WebSocketConnection::Write(Message message) {
  queue_.push_back(std::move(message));
  Flush();
}

asio::const_buffer WebSocketConnection::Encode(Message& message) {
  std::string_view bytes = message.text;
  if (message.chunk) {
    bytes = {message.chunk.data(), message.chunk.size};
  }
  if (coding_.base64) {
    encoded_ = Base64Message(message.channel, bytes);
  } else if (message.chunk) {
    char* const first = message.chunk.data() - 1;
    *first = static_cast<char>(message.channel);
    return {first, 1 + message.chunk.size};
  } else {
    encoded_.assign(1, static_cast<char>(message.channel)).append(bytes);
  }
  return asio::buffer(encoded_);
}

void WebSocketConnection::Flush() {
  if (writing_ || ended()) {
    return;
  }
  if (queue_.empty()) {
    if (closing() && !goodbye_said_) {
      goodbye_said_ = true;
      StartLinger();
      websocket_.async_close(websocket::close_code::normal,
                             [self = Self()](const ErrorCode&) { self->End(); });
    }
    return;
  }
  writing_ = true;
  Message& message = queue_.front();
  if (message.chunk && message.chunk.size == 0) {  // of a channel that was closed meanwhile
    asio::post(websocket_.get_executor(), [self = Self()] { self->OnWritten({}); });
    return;
  }
  websocket_.binary(!coding_.base64);
  websocket_.async_write(
      Encode(message), [self = Self()](const ErrorCode& error, size_t) { self->OnWritten(error); });
}

void WebSocketConnection::OnWritten(const ErrorCode& error) {
  writing_ = false;
  if (error || ended()) {
    End();
    return;
  }
  Message message = std::move(queue_.front());
  queue_.pop_front();
  if (message.sent) {
    Touch();
    message.sent(std::move(message.chunk));
  }
  Flush();
}

void WebSocketConnection::SayGoodbye() { Flush(); }

}  // namespace berth::streaming
