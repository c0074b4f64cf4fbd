// Every limit of the streaming server, in one place. What ServerOptions sets is not here.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace berth::streaming {

// Tokens: unused URLs at a time, and how long each is good.
inline constexpr size_t kMaxTokens = 1000;
inline constexpr std::chrono::seconds kTokenLifetime{60};

// Connections: those whose request is still to come (the oldest gives way to a new one), and those
// with a session (a request beyond is answered 503).
inline constexpr size_t kMaxPendingConnections = 256;
inline constexpr size_t kMaxSessions = 1024;
// From the connection to the end of the request's header, TLS handshake included.
inline constexpr std::chrono::seconds kRequestTimeout{10};
inline constexpr size_t kMaxRequestHeaderBytes = 16 << 10;
// How long a client may take to close the connection after the server has said all.
inline constexpr std::chrono::seconds kLingerTimeout{10};
// How often time limits are looked at.
inline constexpr std::chrono::milliseconds kTick{500};

// One read and one frame of output; each busy output has one such buffer.
inline constexpr size_t kChunkBytes = 64 << 10;
// Input of a session that its descriptors have not taken yet, before the connection is left unread.
inline constexpr size_t kMaxUnconsumedBytes = 256 << 10;
// Small frames (replies, pings, window updates) that the client has not taken yet, likewise.
inline constexpr size_t kMaxQueuedControlBytes = 64 << 10;
// After a command has ended: output that others, who still hold its pipes, may add to it.
inline constexpr size_t kMaxDrainBytes = 1 << 20;
// One {"Width":..,"Height":..} of a terminal.
inline constexpr size_t kMaxResizeBytes = 256;

// SPDY: a control frame; a header block inflated, and names in it; streams open at once.
inline constexpr size_t kMaxControlFrameBytes = 16 << 10;
inline constexpr size_t kMaxHeaderBlockBytes = 16 << 10;
inline constexpr uint32_t kMaxHeaders = 100;
inline constexpr size_t kMaxStreams = 1024;

// Port forwarding: ports of one WebSocket connection (two channels each, and channel numbers are
// one printable character in the base64 form); a connection to the pod.
inline constexpr size_t kMaxWebSocketPorts = 32;
inline constexpr std::chrono::seconds kConnectTimeout{10};

// Calls of the Backend: at a time, and how long one may take.
inline constexpr size_t kMaxBackendThreads = 16;
inline constexpr std::chrono::seconds kBackendTimeout{60};

}  // namespace berth::streaming
