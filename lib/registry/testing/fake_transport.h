// FakeTransport: an HttpTransport whose server is a function of the test. Records what was asked.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/registry/http_transport.h"

namespace berth::registry {

class FakeTransport : public HttpTransport {
 public:
  struct Reply {
    int status = 200;
    std::vector<std::pair<std::string, std::string>> headers = {};
    std::string body = {};
    // Returned after `body` was delivered: the connection broke. With no_response before any head.
    absl::Status error = {};
    bool no_response = false;

    static Reply Error(absl::StatusCode code, const char* text) {
      return Reply{0, {}, "", absl::Status(code, text), true};
    }
  };
  using Server = std::function<Reply(const HttpRequest&)>;

  explicit FakeTransport(Server server) : server_(std::move(server)) {}

  absl::StatusOr<HttpResponse> Perform(const base::OpContext& ctx, const HttpRequest& request,
                                       const BodySink& sink) override {
    if (absl::Status status = ctx.Check(); !status.ok()) {
      return status;
    }
    {
      base::MutexLock lock(mu_);
      requests_.push_back(request);
    }
    const Reply reply = server_(request);
    if (reply.no_response) {
      return reply.error;
    }
    HttpResponse response;
    response.status = reply.status;
    for (const auto& [name, value] : reply.headers) {
      response.headers.emplace(name, value);
    }
    // In pieces of an odd size, as a network would.
    for (size_t at = 0; at < reply.body.size(); at += 7) {
      const std::span<const char> piece(reply.body.data() + at,
                                        std::min<size_t>(7, reply.body.size() - at));
      if (absl::Status status = sink(response, piece); !status.ok()) {
        return status;
      }
    }
    if (!reply.error.ok()) {
      return reply.error;
    }
    return response;
  }

  void CloseIdle() override {}

  std::vector<HttpRequest> requests() {
    base::MutexLock lock(mu_);
    return requests_;
  }
  // "METHOD url" of each.
  std::vector<std::string> Log() {
    std::vector<std::string> log;
    for (const HttpRequest& request : requests()) {
      log.push_back(request.method + " " + request.url);
    }
    return log;
  }

 private:
  const Server server_;
  base::Mutex mu_;
  std::vector<HttpRequest> requests_ ABSL_GUARDED_BY(mu_);
};

// The value of a request's header, or "".
inline std::string HeaderOf(const HttpRequest& request, const std::string& name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) {
      return value;
    }
  }
  return "";
}

}  // namespace berth::registry
