// TLS: certificates, their change, versions, suites, client certificates.
#include <stdlib.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"

#include "daemon/streaming/testing/serving_test.h"
#include "daemon/streaming/testing/spdy_client.h"
#include "daemon/streaming/tls_context.h"
#include "lib/base/file.h"

namespace berth::streaming {
namespace {

using testing::HasSubstr;

std::string Pem(const std::function<void(BIO*)>& write) {
  BIO* const bio = BIO_new(BIO_s_mem());
  write(bio);
  char* bytes;
  const long size = BIO_get_mem_data(bio, &bytes);
  std::string text(bytes, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

// A key and a certificate signed with it.
struct Identity {
  std::string cert, key;
};
Identity MakeIdentity(const std::string& name) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const cert = X509_new();
  X509_set_version(cert, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -60);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, key);
  X509_NAME* const subject = X509_get_subject_name(cert);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(cert, subject);
  X509_sign(cert, key, EVP_sha256());
  Identity identity = {Pem([&](BIO* bio) { PEM_write_bio_X509(bio, cert); }), Pem([&](BIO* bio) {
                         PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
                       })};
  X509_free(cert);
  EVP_PKEY_free(key);
  return identity;
}

// A TLS client, whose handshake may fail.
class TlsClient {
 public:
  struct Options {
    int max_version = TLS1_3_VERSION;
    std::string ciphers;  // of TLS 1.2
    std::optional<Identity> identity;
  };
  TlsClient(const std::string& url, Options options) : raw_(url) {
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(context_, options.max_version);
    if (!options.ciphers.empty()) {
      EXPECT_EQ(SSL_CTX_set_cipher_list(context_, options.ciphers.c_str()), 1);
    }
    if (options.identity) {
      BIO* const cert = BIO_new_mem_buf(options.identity->cert.data(), -1);
      BIO* const key = BIO_new_mem_buf(options.identity->key.data(), -1);
      X509* const x509 = PEM_read_bio_X509(cert, nullptr, nullptr, nullptr);
      EVP_PKEY* const pkey = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
      EXPECT_EQ(SSL_CTX_use_certificate(context_, x509), 1);
      EXPECT_EQ(SSL_CTX_use_PrivateKey(context_, pkey), 1);
      X509_free(x509);
      EVP_PKEY_free(pkey);
      BIO_free(cert);
      BIO_free(key);
    }
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, raw_.fd());
    connected_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }

  // Asks for an upgrade; empty when TLS was refused.
  std::string Ask(std::string_view method = "POST") {
    const std::string request =
        std::string(method) + " " + raw_.path() +
        " HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    Send(request);
    std::string answer;
    while (connected_ && answer.find("\r\n\r\n") == std::string::npos) {
      const std::string more = Receive();
      if (more.empty()) {
        return "";
      }
      answer += more;
    }
    return answer;
  }
  void Send(std::string_view bytes) {
    if (connected_) {
      SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
    }
  }
  std::string Receive() {
    char buffer[16384];
    const int size = SSL_read(ssl_, buffer, sizeof(buffer));
    return size > 0 ? std::string(buffer, static_cast<size_t>(size)) : "";
  }
  std::string version() const { return SSL_get_version(ssl_); }
  std::string server_name() const {
    X509* const cert = SSL_get1_peer_certificate(ssl_);
    char name[256] = "";
    if (cert != nullptr) {
      X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name));
      X509_free(cert);
    }
    return name;
  }
  bool ended_properly() const { return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0; }
  void ShutDown() { SSL_shutdown(ssl_); }

 private:
  RawClient raw_;
  SSL_CTX* context_;
  SSL* ssl_;
  bool connected_ = false;
};

class TlsTest : public ServingTest {
 protected:
  TlsTest() {
    char path[] = "/tmp/berth-tls-XXXXXX";
    dir_ = ::mkdtemp(path);
    options_.tls_cert = dir_ + "/cert.pem";
    options_.tls_key = dir_ + "/key.pem";
    Store(MakeIdentity("first"));
  }
  ~TlsTest() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }
  void Store(const Identity& identity) {
    ASSERT_TRUE(base::WriteFileAtomic(options_.tls_cert, identity.cert, 0600).ok());
    ASSERT_TRUE(base::WriteFileAtomic(options_.tls_key, identity.key, 0600).ok());
  }
  std::string Url() { return ExecUrl({false, true, false, false}); }
  absl::Status StartWith(const ServerOptions& options) {
    StreamServer one(options, backend_);
    return one.Start();
  }

  std::string dir_;
  ServerOptions options_;
};

TEST_F(TlsTest, ASessionUnderTlsFromBeginningToEnd) {
  Serve(options_);
  EXPECT_THAT(Url(), testing::StartsWith("https://127.0.0.1:"));
  TlsClient client(Url(), {});
  EXPECT_THAT(client.Ask(), HasSubstr("101 Switching Protocols"));
  EXPECT_EQ(client.version(), "TLSv1.3");
  SpdyDeflater deflater;
  client.Send(SynStream(1, 0, deflater.Block({{"streamtype", "error"}})));
  client.Send(SynStream(3, 0, deflater.Block({{"streamtype", "stdout"}})));
  auto process = backend_.NextProcess();
  ASSERT_NE(process, nullptr);
  const std::string text(1 << 20, 'x');
  std::thread writer([&] {
    EXPECT_EQ(::write(process->out.get(), text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
    process->Exit(0);
  });
  std::string all;
  for (std::string more = client.Receive(); !more.empty(); more = client.Receive()) {
    all += more;
  }
  writer.join();
  EXPECT_TRUE(client.ended_properly());
  client.ShutDown();
  EXPECT_GE(static_cast<size_t>(std::count(all.begin(), all.end(), 'x')), text.size());
  EXPECT_THAT(all.substr(all.size() - 200), HasSubstr("Success"));
}

TEST_F(TlsTest, AnswersOfRefusalsArriveToo) {
  Serve(options_);
  TlsClient client(Url() + "0", {});
  EXPECT_THAT(client.Ask(), HasSubstr("404 Not Found"));
}

TEST_F(TlsTest, PlainHttpIsNotAnswered) {
  Serve(options_);
  RawClient client(Url());
  std::string rest;
  EXPECT_THAT(client.Ask("GET", "", rest), testing::Not(HasSubstr("HTTP")));
}

TEST_F(TlsTest, ACertificateThatChangesIsReadAgainAndABadOneIsNot) {
  Serve(options_);
  EXPECT_EQ(TlsClient(Url(), {}).server_name(), "first");
  Store(MakeIdentity("second"));
  EXPECT_EQ(TlsClient(Url(), {}).server_name(), "second");
  const Identity third = MakeIdentity("third");
  ASSERT_TRUE(base::WriteFileAtomic(options_.tls_cert, third.cert, 0600).ok());
  EXPECT_EQ(TlsClient(Url(), {}).server_name(), "second");  // the key is not there yet
  ASSERT_TRUE(base::WriteFileAtomic(options_.tls_key, third.key, 0600).ok());
  EXPECT_EQ(TlsClient(Url(), {}).server_name(), "third");
}

TEST_F(TlsTest, TheLowestVersionIsKeptTo) {
  Serve(options_);
  EXPECT_THAT(TlsClient(Url(), {.max_version = TLS1_2_VERSION}).Ask(), HasSubstr("101"));
  EXPECT_EQ(TlsClient(Url(), {.max_version = TLS1_1_VERSION}).Ask(), "");
  options_.tls_min_version = "1.3";
  Serve(options_);
  EXPECT_EQ(TlsClient(Url(), {.max_version = TLS1_2_VERSION}).Ask(), "");
  EXPECT_THAT(TlsClient(Url(), {}).Ask(), HasSubstr("101"));
}

TEST_F(TlsTest, CipherSuitesAreKeptTo) {
  options_.tls_cipher_suites = {"ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384"};
  Serve(options_);
  EXPECT_THAT(TlsClient(Url(), {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", {}}).Ask(),
              HasSubstr("101"));
  EXPECT_EQ(TlsClient(Url(), {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", {}}).Ask(), "");
}

TEST_F(TlsTest, WhereThereIsAnAuthorityClientsMustShowACertificate) {
  const Identity known = MakeIdentity("client");
  options_.tls_ca = dir_ + "/ca.pem";
  ASSERT_TRUE(base::WriteFile(options_.tls_ca, known.cert, 0600).ok());
  Serve(options_);
  EXPECT_EQ(TlsClient(Url(), {}).Ask(), "");
  EXPECT_EQ(TlsClient(Url(), {.identity = MakeIdentity("stranger")}).Ask(), "");
  EXPECT_THAT(TlsClient(Url(), {.identity = known}).Ask(), HasSubstr("101"));
}

TEST_F(TlsTest, WhatCannotBeUsedIsNamedAtStart) {
  const auto text = [&](const ServerOptions& options) {
    const absl::Status status = StartWith(options);
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  };
  ServerOptions options = options_;
  options.tls_key.clear();
  EXPECT_THAT(text(options), HasSubstr("both a certificate and its private key"));
  options = options_;
  options.tls_cert = dir_ + "/absent.pem";
  EXPECT_THAT(text(options), HasSubstr(options.tls_cert));
  options = options_;
  ASSERT_TRUE(base::WriteFile(dir_ + "/garbage.pem", "garbage", 0600).ok());
  options.tls_cert = dir_ + "/garbage.pem";
  EXPECT_THAT(text(options), HasSubstr("read the certificate '" + options.tls_cert));
  options = options_;
  ASSERT_TRUE(base::WriteFile(dir_ + "/other.pem", MakeIdentity("other").key, 0600).ok());
  options.tls_key = dir_ + "/other.pem";
  EXPECT_THAT(text(options), HasSubstr("use the private key '" + options.tls_key));
  options = options_;
  options.tls_min_version = "1.1";
  EXPECT_THAT(text(options), HasSubstr("'1.1': use 1.2 or 1.3"));
  options = options_;
  options.tls_cipher_suites = {"ROT13"};
  EXPECT_THAT(text(options), HasSubstr("'ROT13'"));
  options.tls_cipher_suites = {"TLS_ROT13"};
  EXPECT_THAT(text(options), HasSubstr("'TLS_ROT13'"));
  options = options_;
  options.tls_ca = dir_ + "/garbage.pem";
  EXPECT_THAT(text(options), HasSubstr("clients' certificate authority"));
}

}  // namespace
}  // namespace berth::streaming
