// ServingTest: a StreamServer over a FakeBackend. For tests only.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "daemon/streaming/stream_server.h"
#include "daemon/streaming/testing/fake_backend.h"

namespace berth::streaming {

class ServingTest : public testing::Test {
 protected:
  // Without it the first URL starts a server with the defaults.
  void Serve(ServerOptions options) {
    server_ = std::make_unique<StreamServer>(std::move(options), backend_);
    const absl::Status started = server_->Start();
    ASSERT_TRUE(started.ok()) << started;
  }
  StreamServer& server() {
    if (server_ == nullptr) {
      Serve({});
    }
    return *server_;
  }
  std::string ExecUrl(Streams streams) { return *server().ExecUrl({"c1", {"sh"}, streams}); }
  std::string AttachUrl(Streams streams) { return *server().AttachUrl({"c1", streams}); }
  std::string ForwardUrl(std::vector<uint16_t> ports = {}) {
    return *server().PortForwardUrl("pod1", std::move(ports));
  }

  FakeBackend backend_;
  std::unique_ptr<StreamServer> server_;
};

}  // namespace berth::streaming
