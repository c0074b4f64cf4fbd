// Big-endian numbers, as SPDY has them. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace berth::streaming::wire_format {

inline uint32_t Get32(const char* at) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(at);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}
inline uint32_t Get24(const char* at) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(at);
  return uint32_t{bytes[0]} << 16 | uint32_t{bytes[1]} << 8 | bytes[2];
}
inline uint16_t Get16(const char* at) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(at);
  return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
}
inline void Set32(char* at, uint32_t value) {
  at[0] = static_cast<char>(value >> 24);
  at[1] = static_cast<char>(value >> 16);
  at[2] = static_cast<char>(value >> 8);
  at[3] = static_cast<char>(value);
}
inline void Put32(std::string& out, uint32_t value) {
  char bytes[4];
  Set32(bytes, value);
  out.append(bytes, sizeof(bytes));
}

}  // namespace berth::streaming::wire_format
