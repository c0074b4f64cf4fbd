// CurlTransport: HttpTransport by libcurl. Each exchange runs on its caller's thread, over
// connections kept in a small pool. Proxies come from the environment (see proxy.h). HTTP/2 where
// TLS offers it. libcurl is initialised by the first exchange, so a daemon that has pulled nothing
// does not pay for it.
#pragma once

#include <memory>

#include "lib/registry/http_transport.h"

namespace berth::registry {

class CurlTransport : public HttpTransport {
 public:
  CurlTransport();
  ~CurlTransport() override;

  absl::StatusOr<HttpResponse> Perform(const base::OpContext& ctx, const HttpRequest& request,
                                       const BodySink& sink) override;
  void CloseIdle() override;

 private:
  class Pool;
  std::unique_ptr<Pool> pool_;
};

}  // namespace berth::registry
