// Id maps of user namespaces: what the ids inside are outside. Pure functions.
// Source: man 7 user_namespaces, "User and group ID mappings"; CRI v1 IDMapping.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/model/security.h"

namespace berth::model {

// The kernel takes no more lines in a map.
inline constexpr size_t kMaxIdMappings = 340;

// Where `id` of the inside is mapped; nullptr: nowhere.
const IdMapping* FindMapping(const std::vector<IdMapping>& map, int64_t id);
// What it is outside.
std::optional<uint32_t> IdOutside(const std::vector<IdMapping>& map, int64_t id);

// Why the kernel would not take the map: begins with the index of the mapping where there is one
// ("[1].length is 0"). Empty: it would.
std::string FaultOfIdMap(const std::vector<IdMapping>& map);

// The lines of /proc/PID/uid_map.
std::string IdMapText(const std::vector<IdMapping>& map);

// "0-65535, 70000-70009": the ids of the inside, for messages.
std::string IdRanges(const std::vector<IdMapping>& map);

}  // namespace berth::model
