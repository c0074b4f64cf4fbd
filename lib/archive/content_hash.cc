#include "lib/archive/content_hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace berth::archive {

struct ContentHash::State {
  XXH3_state_t xxh;
};

ContentHash::ContentHash() : state_(std::make_unique<State>()) { Start(); }

ContentHash::~ContentHash() = default;

void ContentHash::Start() { XXH3_64bits_reset(&state_->xxh); }

void ContentHash::Update(std::string_view bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

uint64_t ContentHash::Finish() const { return XXH3_64bits_digest(&state_->xxh); }

}  // namespace berth::archive
