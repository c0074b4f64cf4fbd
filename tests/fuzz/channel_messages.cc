// Messages of the WebSocket channel protocols and terminal sizes, in pieces. First byte: coding.
#include "daemon/streaming/remote_command.h"
#include "daemon/streaming/websocket_channels.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::streaming {

namespace {

struct Counter : ChannelReader::Visitor {
  void OnChannelData(uint8_t, std::string_view bytes) override { all += bytes; }
  void OnChannelEnd(uint8_t) override { ++ended; }
  std::string all;
  size_t ended = 0;
};

}  // namespace

FUZZ_TARGET(channel_messages) {
  fuzz::Input parts(input);
  const uint8_t mode = parts.Byte();
  ChannelReader reader({(mode & 1) != 0, (mode & 2) != 0});
  Counter counter;
  ResizeReader resize;
  TerminalSize size;
  size_t given = 0;
  while (!parts.empty()) {
    const bool last = parts.Bool();
    const std::string_view piece = parts.Take(parts.Byte());
    given += piece.size();
    resize.Read(piece, size);
    if (!reader.Read(piece, last, counter).ok()) {
      break;
    }
    BERTH_CHECK(counter.all.size() + counter.ended <= given);
  }
  // What is written is read.
  if ((mode & 1) != 0) {
    ChannelReader again({true, false});
    Counter echo;
    const std::string message = Base64Message(mode >> 4, counter.all);
    BERTH_CHECK(again.Read(message, true, echo).ok());
    BERTH_CHECK(echo.all == counter.all);
  }
}

}  // namespace berth::streaming
