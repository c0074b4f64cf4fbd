// SendInParts: a list as a stream of messages. Each holds at least one item and at most
// kMaxItemsPerPart, and fewer when they are large, so that no list outgrows what a client takes in
// one message. Threads: one per call. Source: CRI v1 StreamPodSandboxes, StreamContainers,
// StreamImages.
#pragma once

#include <cstddef>
#include <utility>

#include "absl/status/status.h"

namespace berth::cri {

constexpr size_t kMaxItemsPerPart = 1000;
// A part is sent when it has grown to this; gRPC clients take 4 MiB unless told otherwise.
constexpr size_t kPartBytes = 1 << 20;

// `render(record)` makes an item's message, `add(part, item)` puts it into a Part, `write(part)`
// sends one and is false when the caller went away: kCancelled then. An empty list sends nothing.
template <typename Part, typename List, typename Render, typename Add, typename Write>
absl::Status SendInParts(const List& list, Render render, Add add, Write write) {
  Part part;
  size_t items = 0;
  size_t bytes = 0;
  for (const auto& record : list) {
    auto item = render(*record);
    bytes += item.ByteSizeLong();
    ++items;
    add(part, std::move(item));
    if (items == kMaxItemsPerPart || bytes >= kPartBytes) {
      if (!write(part)) {
        return absl::CancelledError("the caller went away");
      }
      part.Clear();
      items = bytes = 0;
    }
  }
  return items == 0 || write(part) ? absl::OkStatus()
                                   : absl::CancelledError("the caller went away");
}

}  // namespace berth::cri
