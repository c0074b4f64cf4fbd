#include "cmd/berthctl/node_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>

#include <cerrno>
#include <memory>

#include "cmd/berthctl/render_status.h"
#include "lib/base/status.h"

namespace berth::berthctl {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(1);

}  // namespace

absl::StatusOr<std::string> Import(Client& client, const std::string& path,
                                   const std::vector<std::string>& names) {
  const std::unique_ptr<char, decltype(&free)> absolute(realpath(path.c_str(), nullptr), &free);
  if (absolute == nullptr) {
    return base::ErrnoStatus(errno, fmt::format("import '{}'", path));
  }
  v1::ImportRequest request;
  request.set_path(absolute.get());
  request.mutable_names()->Assign(names.begin(), names.end());
  v1::ImportResponse response;
  RETURN_IF_ERROR(
      client.Call(fmt::format("import '{}'", path), absl::InfiniteDuration(), nullptr,
                  [&](auto* ctx) { return client.admin().Import(ctx, request, &response); }));
  std::string text;
  for (const v1::ImportedImage& image : response.images()) {
    text += fmt::format("{}  {}", image.id().substr(0, 12), HumanBytes(image.size()));
    for (const std::string& name : image.names()) {
      text += "  " + name;
    }
    text += '\n';
    if (image.skipped_platforms_size() > 0) {
      text += fmt::format("  skipped, for other platforms: {}\n",
                          fmt::join(image.skipped_platforms(), ", "));
    }
  }
  return text;
}

absl::StatusOr<std::string> Status(Client& client, bool json) {
  v1::NodeStatusResponse response;
  RETURN_IF_ERROR(client.Call("ask for the node's status", kTimeout, nullptr, [&](auto* ctx) {
    return client.admin().NodeStatus(ctx, {}, &response);
  }));
  return json ? StatusJson(response) : StatusText(response);
}

absl::StatusOr<std::string> EffectiveConfig(Client& client) {
  v1::EffectiveConfigResponse response;
  RETURN_IF_ERROR(client.Call("ask for the configuration", kTimeout, nullptr, [&](auto* ctx) {
    return client.admin().EffectiveConfig(ctx, {}, &response);
  }));
  return response.toml();
}

}  // namespace berth::berthctl
