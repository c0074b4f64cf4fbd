// What pods' and containers' messages have in common: namespaces, profiles, resources
// (model/security.h). `field` is the message's path in the request, for errors. Threads: pure
// functions. Errors: kInvalidArgument names the field; kUnimplemented: valid, but not something
// this version does.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "daemon/cri/cri_api.h"
#include "lib/model/security.h"

namespace berth::cri {

enum class Owner { kSandbox, kContainer };

// network and ipc: POD or NODE; pid: also CONTAINER, and TARGET for containers. With a user
// namespace for the pod: maps that the kernel takes and that have an id 0, and neither the node's
// processes nor its IPC.
absl::StatusOr<model::NamespaceOptions> ParseNamespaces(std::string_view field, Owner owner,
                                                        const api::NamespaceOption& options);

model::SelinuxOptions ParseSelinux(const api::SELinuxOption& options);

// One that the kernel takes: not empty, no lengths of 0, no overlaps, within 32 bits.
absl::StatusOr<std::vector<model::IdMapping>> ParseIdMap(
    const std::string& field, const google::protobuf::RepeatedPtrField<api::IDMapping>& mappings);

// A user or group id: 0 to 2^32-2.
absl::StatusOr<int64_t> ParseId(std::string_view field, int64_t value);

// Seccomp's Localhost is the absolute path of a file, AppArmor's the name of a profile.
absl::StatusOr<model::SecurityProfile> ParseSeccomp(std::string_view field,
                                                    const api::SecurityProfile& profile);
absl::StatusOr<model::SecurityProfile> ParseApparmor(std::string_view field,
                                                     const api::SecurityProfile& profile);
// The strings they had before: "" (nullopt), "runtime/default", "unconfined", "localhost/<path or
// name>".
absl::StatusOr<std::optional<model::SecurityProfile>> ParseSeccompText(std::string_view field,
                                                                       const std::string& text);
absl::StatusOr<std::optional<model::SecurityProfile>> ParseApparmorText(std::string_view field,
                                                                        const std::string& text);

// Signs, ranges and text; what the node can do of it is lib/spec's to say.
absl::StatusOr<model::Resources> ParseResources(std::string_view field,
                                                const api::LinuxContainerResources& resources);

}  // namespace berth::cri
