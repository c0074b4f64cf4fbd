// SPDY sessions of well-formed frames in any order: streams, windows, resets, header blocks that
// inflate to much.
#include "daemon/streaming/spdy_session.h"

#include "daemon/streaming/testing/spdy_client.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/spdy_world.h"

namespace berth::streaming {

namespace {

std::string HeaderText(fuzz::Input& parts) {
  const uint8_t kind = parts.Byte();
  if (kind % 8 == 7) {  // anything
    std::string text(parts.Take(parts.Byte()));
    text += text.empty() ? " " : "";  // nothing cannot be deflated
    // Up to eight times what a block may hold; deflated it is some hundred bytes.
    for (int doubled = kind >> 4; doubled > 0 && text.size() < 4 * kMaxHeaderBlockBytes;
         --doubled) {
      text += text;
    }
    return text;
  }
  std::string text;
  const uint32_t count = kind % 8 == 6 ? parts.Number(1) : kind % 8;
  wire_format::Put32(text, count);
  for (uint32_t i = 0; i < count; ++i) {
    for (int part = 0; part < 2; ++part) {
      const std::string_view value = parts.Take(parts.Byte() % 32);
      wire_format::Put32(text, static_cast<uint32_t>(value.size()));
      text += value;
    }
  }
  return text;
}

std::string Settings(fuzz::Input& parts) {
  std::string settings;
  wire_format::Put32(settings, 1);
  wire_format::Put32(settings, kSpdySettingInitialWindow);
  wire_format::Put32(settings, parts.Number(4));
  return settings;
}

}  // namespace

FUZZ_TARGET(spdy_session) {
  fuzz::Input parts(input);
  SpdyWorld world;
  SpdyDeflater deflater;
  uint32_t next = 1;
  bool good = true;
  while (!parts.empty() && good) {
    const uint8_t operation = parts.Byte();
    const uint32_t id = 1 + 2 * (parts.Byte() % 64u);
    switch (operation % 8) {
      case 0:
        good = world.Receive(SynStream(next, operation >> 6, deflater.Deflate(HeaderText(parts))));
        next += 2;
        break;
      case 1:
        good = world.Receive(SpdyControlFrame(SpdyType::kRstStream, id, parts.Byte()));
        break;
      case 2:
        good = world.Receive(
            SpdyControlFrame(SpdyType::kWindowUpdate, operation & 8 ? 0 : id, parts.Number(4)));
        break;
      case 3:
        good = world.Receive(SpdyControlFrame(SpdyType::kSettings, 0, Settings(parts)));
        break;
      case 4:
        good = world.Receive(SpdyControlFrame(SpdyType::kPing, parts.Number(4)));
        break;
      case 5: {
        std::string headers;
        wire_format::Put32(headers, id);
        headers += deflater.Deflate(HeaderText(parts));
        good = world.Receive(SpdyControlFrame(SpdyType::kHeaders, 0, headers));
        break;
      }
      case 6:
        good = world.Receive(SpdyDataFrame(id, operation >> 7, std::string(parts.Number(2), 'x')));
        break;
      case 7:
        world.Flush();
        break;
    }
  }
}

}  // namespace berth::streaming
