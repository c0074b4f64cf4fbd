// FUZZ_TARGET(name) { ... }: what is done with one hostile input, a std::string_view `input`. One
// file per target; name is the file's and the corpus folder's. A crash, a sanitizer's report, a
// failed BERTH_CHECK, a leak or more memory or time than libFuzzer allows is a finding.
//
// A target linked with fuzz_main.cc is a libFuzzer program; all of them linked with replay_test.cc
// are one test that gives each its corpus.
// Threads: targets run one after the other. They keep no state between inputs but scratch folders.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace berth::fuzz {

struct Target {
  Target(const char* target_name, void (*target_run)(std::string_view));
  const char* name;
  void (*run)(std::string_view input);
  Target* next;
};

// The targets of this program.
Target* FirstTarget();

// Cuts an input into what a target needs; at its end everything is 0 or empty.
class Input {
 public:
  explicit Input(std::string_view bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  uint8_t Byte() {
    const std::string_view byte = Take(1);
    return byte.empty() ? 0 : static_cast<uint8_t>(byte[0]);
  }
  bool Bool() { return Byte() % 2 == 1; }
  // Big-endian, of so many bytes.
  uint32_t Number(int bytes) {
    uint32_t number = 0;
    for (; bytes > 0; --bytes) {
      number = number << 8 | Byte();
    }
    return number;
  }
  std::string_view Take(size_t size) {
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(taken.size());
    return taken;
  }
  // A piece whose size stands before it, in two bytes.
  std::string_view Piece() { return Take(Number(2)); }
  // Up to a newline, which is dropped.
  std::string Line() {
    const std::string_view line = Take(bytes_.find('\n'));
    Take(1);
    return std::string(line);
  }
  std::string_view Rest() { return Take(bytes_.size()); }

 private:
  std::string_view bytes_;
};

}  // namespace berth::fuzz

#define FUZZ_TARGET(name)                                               \
  static void FuzzTarget_##name(std::string_view input);                \
  static ::berth::fuzz::Target target_##name(#name, FuzzTarget_##name); \
  static void FuzzTarget_##name(std::string_view input)
