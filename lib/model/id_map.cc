#include "lib/model/id_map.h"

#include <algorithm>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace berth::model {

namespace {

constexpr uint64_t kIds = 0xffffffff;  // the last number of 32 bits is no id

bool Overlap(uint64_t a, uint64_t b, uint64_t a_length, uint64_t b_length) {
  return a < b + b_length && b < a + a_length;
}

std::string FaultOfOne(const std::vector<IdMapping>& map, size_t at) {
  const IdMapping& mapping = map[at];
  const auto too_far = [&](const char* name, uint64_t first) {
    return first + mapping.length > kIds
               ? fmt::format("[{}] goes beyond the last id, 4294967294: {} {}, length {}", at, name,
                             first, mapping.length)
               : std::string();
  };
  if (mapping.length == 0) {
    return fmt::format("[{}].length is 0", at);
  }
  std::string fault = too_far("container_id", mapping.container_id);
  if (fault.empty()) {
    fault = too_far("host_id", mapping.host_id);
  }
  for (size_t i = 0; i < at && fault.empty(); ++i) {
    const IdMapping& other = map[i];
    if (Overlap(mapping.container_id, other.container_id, mapping.length, other.length)) {
      fault = fmt::format("[{}] and [{}] overlap in the container", i, at);
    } else if (Overlap(mapping.host_id, other.host_id, mapping.length, other.length)) {
      fault = fmt::format("[{}] and [{}] overlap on the host", i, at);
    }
  }
  return fault;
}

}  // namespace

const IdMapping* FindMapping(const std::vector<IdMapping>& map, int64_t id) {
  const auto found = std::find_if(map.begin(), map.end(), [id](const IdMapping& mapping) {
    return id >= mapping.container_id && id - mapping.container_id < mapping.length;
  });
  return found == map.end() ? nullptr : &*found;
}

std::optional<uint32_t> IdOutside(const std::vector<IdMapping>& map, int64_t id) {
  const IdMapping* mapping = FindMapping(map, id);
  if (mapping == nullptr) {
    return std::nullopt;
  }
  return mapping->host_id + static_cast<uint32_t>(id - mapping->container_id);
}

std::string FaultOfIdMap(const std::vector<IdMapping>& map) {
  if (map.empty()) {
    return " is empty";
  }
  if (map.size() > kMaxIdMappings) {
    return fmt::format(" has {} entries; at most {} are allowed", map.size(), kMaxIdMappings);
  }
  for (size_t i = 0; i < map.size(); ++i) {
    if (std::string fault = FaultOfOne(map, i); !fault.empty()) {
      return fault;
    }
  }
  return "";
}

std::string IdMapText(const std::vector<IdMapping>& map) {
  std::string text;
  for (const IdMapping& mapping : map) {
    text += fmt::format("{} {} {}\n", mapping.container_id, mapping.host_id, mapping.length);
  }
  return text;
}

std::string IdRanges(const std::vector<IdMapping>& map) {
  std::vector<std::string> ranges;
  for (const IdMapping& mapping : map) {
    ranges.push_back(fmt::format("{}-{}", mapping.container_id,
                                 static_cast<uint64_t>(mapping.container_id) + mapping.length - 1));
  }
  return fmt::format("{}", fmt::join(ranges, ", "));
}

}  // namespace berth::model
