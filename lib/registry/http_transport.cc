#include "lib/registry/http_transport.h"

namespace berth::registry {

std::optional<std::string> HttpResponse::Header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? std::nullopt : std::optional<std::string>(it->second);
}

}  // namespace berth::registry
