#include "daemon/streaming/remote_command.h"

#include <utility>

#include "nlohmann/json.hpp"

#include "daemon/streaming/limits.h"
#include "lib/base/log.h"

namespace berth::streaming {

bool ResizeReader::Read(std::string_view bytes, TerminalSize& size) {
  bool found = false;
  for (const char byte : bytes) {
    if (broken_) {
      break;
    }
    text_ += byte;
    if (byte != '}') {
      broken_ = text_.size() >= kMaxResizeBytes;
      continue;
    }
    const nlohmann::json json = nlohmann::json::parse(text_, nullptr, false);
    text_.clear();
    const auto number = [&json](const char* name) -> int64_t {
      const auto at = json.find(name);
      return at != json.end() && at->is_number_integer() ? at->get<int64_t>() : -1;
    };
    const int64_t width = json.is_object() ? number("Width") : -1;
    const int64_t height = json.is_object() ? number("Height") : -1;
    if (width < 0 || width > UINT16_MAX || height < 0 || height > UINT16_MAX) {
      broken_ = true;
      break;
    }
    size = {static_cast<uint16_t>(width), static_cast<uint16_t>(height)};
    found = true;
  }
  return found;
}

class RemoteCommand::ResizeSink : public StreamSink {
 public:
  ResizeSink(RemoteCommand& command, std::shared_ptr<ClientStream> stream)
      : command_(command), stream_(std::move(stream)) {}
  void OnData(std::string_view bytes) override {
    TerminalSize size;
    const bool is_resize = reader_.Read(bytes, size);
    stream_->Consumed(bytes.size());
    if (is_resize && !command_.over_) {
      command_.Resize(size);
    }
  }
  void OnEnd() override {}
  void OnReset() override {}

 private:
  RemoteCommand& command_;
  const std::shared_ptr<ClientStream> stream_;
  ResizeReader reader_;
};

RemoteCommand::RemoteCommand(const SessionContext& context, Streams wanted,
                             CommandProtocol protocol)
    : context_(context), wanted_(wanted), protocol_(protocol) {}

RemoteCommand::~RemoteCommand() = default;

void RemoteCommand::Start(std::weak_ptr<Client> client) { client_ = std::move(client); }

std::shared_ptr<ClientStream>* RemoteCommand::SlotFor(std::string_view type) {
  if (type == "stdin") {
    return wanted_.in ? &in_ : nullptr;
  }
  if (type == "stdout") {
    return wanted_.out ? &out_ : nullptr;
  }
  if (type == "stderr") {
    return wanted_.err ? &err_ : nullptr;
  }
  if (type == "resize") {
    return wanted_.tty && protocol_.resize ? &resize_ : nullptr;
  }
  return type == "error" ? &error_ : nullptr;
}

bool RemoteCommand::HasAllStreams() const {
  return error_ != nullptr && (in_ != nullptr || !wanted_.in) &&
         (out_ != nullptr || !wanted_.out) && (err_ != nullptr || !wanted_.err) &&
         (resize_ != nullptr || !wanted_.tty || !protocol_.resize);
}

bool RemoteCommand::OnStream(std::shared_ptr<ClientStream> stream, uint32_t,
                             const StreamHeaders& headers) {
  std::shared_ptr<ClientStream>* const slot = SlotFor(headers.Get("streamtype"));
  if (slot == nullptr || *slot != nullptr || over_) {
    base::Log("streaming")
        .warn("stream refused: it was not asked for or is there twice type={}",
              headers.Get("streamtype").substr(0, 32));
    return false;
  }
  *slot = std::move(stream);
  if (slot == &resize_) {
    resize_sink_ = std::make_shared<ResizeSink>(*this, resize_);
    resize_->SetSink(resize_sink_);
  } else if (slot == &in_) {
    in_->SetSink(in_sink_ = MakeInput());
  }
  if (!begun_ && HasAllStreams()) {
    begun_ = true;
    Begin();
  }
  return true;
}

void RemoteCommand::Tick(Clock::time_point now) {
  if (!begun_ && !over_ && now - started_ >= context_.creation_timeout) {
    base::Log("streaming")
        .warn("connection closed: its streams did not come within {} s",
              context_.creation_timeout.count());
    over_ = true;
    if (const std::shared_ptr<Client> client = client_.lock()) {
      client->Close();
    }
  }
}

void RemoteCommand::Finish(const Outcome& outcome) {
  if (over_) {
    return;
  }
  over_ = true;
  for (const std::shared_ptr<ClientStream>& stream : {out_, err_}) {
    if (stream != nullptr) {
      stream->CloseWrite();
    }
  }
  error_->SendText(protocol_.json_status ? StatusJson(outcome) : StatusText(outcome));
  error_->CloseWrite();
  Release();
  if (const std::shared_ptr<Client> client = client_.lock()) {
    client->Close();
  }
}

void RemoteCommand::OnGone() {
  over_ = true;
  Release();
}

}  // namespace berth::streaming
