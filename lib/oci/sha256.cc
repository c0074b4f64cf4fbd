#include "lib/oci/sha256.h"

#include <array>
#include <string>

#include "openssl/evp.h"

#include "lib/base/status.h"

namespace berth::oci {

void Hasher::FreeContext::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Hasher::Hasher(DigestAlgorithm algorithm) : algorithm_(algorithm), context_(EVP_MD_CTX_new()) {
  BERTH_CHECK(context_ != nullptr);
  Start();
}

void Hasher::Start() {
  const EVP_MD* md = algorithm_ == DigestAlgorithm::kSha256 ? EVP_sha256() : EVP_sha512();
  BERTH_CHECK(EVP_DigestInit_ex(context_.get(), md, nullptr) == 1);
}

void Hasher::Update(std::span<const char> bytes) {
  BERTH_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

Digest Hasher::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw;
  unsigned int size = 0;
  BERTH_CHECK(EVP_DigestFinal_ex(context_.get(), raw.data(), &size) == 1);

  constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(size_t{2} * size);
  for (unsigned int i = 0; i < size; ++i) {
    hex += kHex[raw[i] >> 4];
    hex += kHex[raw[i] & 15];
  }
  Start();
  auto digest = Digest::FromHex(algorithm_, hex);
  BERTH_CHECK(digest.ok());
  return *std::move(digest);
}

Digest DigestOf(std::string_view bytes, DigestAlgorithm algorithm) {
  Hasher hasher(algorithm);
  hasher.Update(bytes);
  return hasher.Finish();
}

}  // namespace berth::oci
