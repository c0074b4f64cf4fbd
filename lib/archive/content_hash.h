// ContentHash: XXH3-64 of a file's content, to notice damage. It protects against no one who wants
// to deceive: the layer's DiffID does.
//
// Threads: one owner. Source: xxHash's specification; libxxhash, of which only the header is used.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace berth::archive {

class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  ContentHash(const ContentHash&) = delete;
  ContentHash& operator=(const ContentHash&) = delete;

  void Start();
  void Update(std::string_view bytes);
  // Of everything since Start().
  uint64_t Finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::archive
