// TlsContext: the server's certificate and TLS settings. The files are looked at for every new
// connection and read again when one has changed; files that cannot be used then (half-written
// ones) leave the ones before in use, with a warning.
//
// Threads: one at a time. Blocks on the disk for the length of a small file.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "boost/asio/ssl/context.hpp"

#include "daemon/streaming/stream_server.h"

namespace berth::streaming {

class TlsContext {
 public:
  using Context = std::shared_ptr<boost::asio::ssl::context>;

  // Borrows options.
  explicit TlsContext(const ServerOptions& options) : options_(options) {}

  // Reads the files. kInvalidArgument, kNotFound, ...: which setting or file, and why. OK and
  // nothing to do where no files are named.
  absl::Status Load();
  // For the next connection; null: plain.
  Context Current();

 private:
  // What tells that a file is another than before.
  struct Stamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    int64_t changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  absl::StatusOr<Context> Read() const;
  std::vector<Stamp> Stamps() const;

  const ServerOptions& options_;
  Context context_;
  std::vector<Stamp> stamps_;
};

}  // namespace berth::streaming
