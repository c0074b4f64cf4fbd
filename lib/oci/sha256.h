// Hasher, Sha256: digests of streams, by OpenSSL's EVP (which uses the processor's SHA
// instructions).
//
//   Sha256 hash;
//   hash.Update(bytes);
//   Digest digest = hash.Finish();
//
// Threads: one owner.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "lib/oci/digest.h"

struct evp_md_ctx_st;

namespace berth::oci {

class Hasher {
 public:
  explicit Hasher(DigestAlgorithm algorithm);
  Hasher(Hasher&&) noexcept = default;
  Hasher& operator=(Hasher&&) noexcept = default;

  void Update(std::span<const char> bytes);
  // The digest of everything since construction or the last Finish(); the hasher then starts over.
  Digest Finish();

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };

  void Start();

  DigestAlgorithm algorithm_;
  std::unique_ptr<evp_md_ctx_st, FreeContext> context_;
};

class Sha256 : public Hasher {
 public:
  Sha256() : Hasher(DigestAlgorithm::kSha256) {}
};

// The digest of bytes in memory.
Digest DigestOf(std::string_view bytes, DigestAlgorithm algorithm = DigestAlgorithm::kSha256);

}  // namespace berth::oci
