// SPDY sessions, byte by byte as a client sends them. First byte: how the stream is cut.
#include "daemon/streaming/spdy_session.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/spdy_world.h"

namespace berth::streaming {

FUZZ_TARGET(spdy_frames) {
  fuzz::Input parts(input);
  SpdyWorld world;
  const size_t piece = 1 + parts.Byte();
  while (!parts.empty() && world.Receive(parts.Take(piece))) {
  }
}

}  // namespace berth::streaming
