// Records as bytes, for lib/store: CBOR (RFC 8949), because environment values and labels may be
// any bytes. A field that is absent reads as its default, so a record of an older version stays
// readable; unknown ones are dropped.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "lib/model/container.h"
#include "lib/model/sandbox.h"

namespace berth::model {

std::string Encode(const SandboxRecord& record);
std::string Encode(const ContainerRecord& record);
// kDataLoss: not such a record.
absl::StatusOr<SandboxRecord> DecodeSandbox(std::string_view bytes);
absl::StatusOr<ContainerRecord> DecodeContainer(std::string_view bytes);

}  // namespace berth::model
