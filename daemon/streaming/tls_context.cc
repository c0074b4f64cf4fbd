#include "daemon/streaming/tls_context.h"

#include <string>

#include "absl/strings/str_join.h"
#include "fmt/format.h"
#include "openssl/err.h"
#include "openssl/ssl.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::streaming {

namespace {

// TLS 1.3's suites have names of another form and a setter of their own.
constexpr std::string_view kTls13Prefix = "TLS_";

absl::Status TlsError(std::string_view what) {
  const unsigned long error = ERR_get_error();
  char text[256] = "no reason given";
  if (error != 0) {
    ERR_error_string_n(error, text, sizeof(text));
  }
  ERR_clear_error();
  return absl::InvalidArgumentError(fmt::format("{}: {}", what, text));
}

absl::Status SetCiphers(SSL_CTX* context, const std::vector<std::string>& suites) {
  std::vector<std::string> tls12, tls13;
  for (const std::string& suite : suites) {
    (suite.starts_with(kTls13Prefix) && suite.find("_WITH_") == std::string::npos ? tls13 : tls12)
        .push_back(suite);
  }
  const std::string old_list = absl::StrJoin(tls12, ":");
  const std::string new_list = absl::StrJoin(tls13, ":");
  if (!tls12.empty() && SSL_CTX_set_cipher_list(context, old_list.c_str()) != 1) {
    return TlsError(fmt::format("use the TLS 1.2 cipher suites '{}'", old_list));
  }
  if (!tls13.empty() && SSL_CTX_set_ciphersuites(context, new_list.c_str()) != 1) {
    return TlsError(fmt::format("use the TLS 1.3 cipher suites '{}'", new_list));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsContext::Context> TlsContext::Read() const {
  auto made = std::make_shared<boost::asio::ssl::context>(boost::asio::ssl::context::tls_server);
  SSL_CTX* context = made->native_handle();
  if (options_.tls_min_version != "" && options_.tls_min_version != "1.2" &&
      options_.tls_min_version != "1.3") {
    return absl::InvalidArgumentError(fmt::format(
        "the lowest TLS version of streaming is '{}': use 1.2 or 1.3", options_.tls_min_version));
  }
  SSL_CTX_set_min_proto_version(
      context, options_.tls_min_version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(
      context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Sessions are long and few: nothing is kept for later ones. Buffers of idle ones are given back.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  RETURN_IF_ERROR(SetCiphers(context, options_.tls_cipher_suites));
  for (const std::string* path : {&options_.tls_cert, &options_.tls_key, &options_.tls_ca}) {
    if (!path->empty()) {
      RETURN_IF_ERROR(base::OpenFile(*path, O_RDONLY).status());  // the clearer error
    }
  }
  if (SSL_CTX_use_certificate_chain_file(context, options_.tls_cert.c_str()) != 1) {
    return TlsError(fmt::format("read the certificate '{}'", options_.tls_cert));
  }
  if (SSL_CTX_use_PrivateKey_file(context, options_.tls_key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return TlsError(fmt::format("use the private key '{}' with the certificate '{}'",
                                options_.tls_key, options_.tls_cert));
  }
  if (!options_.tls_ca.empty()) {
    if (SSL_CTX_load_verify_locations(context, options_.tls_ca.c_str(), nullptr) != 1) {
      return TlsError(fmt::format("read the clients' certificate authority '{}'", options_.tls_ca));
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return made;
}

std::vector<TlsContext::Stamp> TlsContext::Stamps() const {
  std::vector<Stamp> stamps;
  for (const std::string* path : {&options_.tls_cert, &options_.tls_key, &options_.tls_ca}) {
    struct stat found = {};
    Stamp stamp;
    if (!path->empty() && ::stat(path->c_str(), &found) == 0) {
      stamp = {found.st_dev, found.st_ino, found.st_size,
               found.st_ctim.tv_sec * 1'000'000'000 + found.st_ctim.tv_nsec};
    }
    stamps.push_back(stamp);
  }
  return stamps;
}

absl::Status TlsContext::Load() {
  if (options_.tls_cert.empty() && options_.tls_key.empty() && options_.tls_ca.empty()) {
    return absl::OkStatus();
  }
  if (options_.tls_cert.empty() || options_.tls_key.empty()) {
    return absl::InvalidArgumentError(
        "streaming over TLS needs both a certificate and its private key, and one is not set");
  }
  stamps_ = Stamps();
  ASSIGN_OR_RETURN(context_, Read());
  return absl::OkStatus();
}

TlsContext::Context TlsContext::Current() {
  if (context_ == nullptr) {
    return nullptr;
  }
  std::vector<Stamp> stamps = Stamps();
  if (stamps != stamps_) {
    stamps_ = std::move(stamps);
    absl::StatusOr<Context> read = Read();
    if (read.ok()) {
      context_ = *std::move(read);
      base::Log("streaming").info("certificate read again file={}", options_.tls_cert);
    } else {
      base::Log("streaming")
          .warn("certificate cannot be read again, going on with the one before: {}",
                std::string(read.status().message()));
    }
  }
  return context_;
}

}  // namespace berth::streaming
