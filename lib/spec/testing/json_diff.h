// JsonDiff: what changed between two JSON documents, for people to read.
//
// A JSON Patch (RFC 6902) that turns `from` into `to`. Unlike nlohmann's own it compares arrays by
// their longest common sequence, so that an element in the middle is one operation, and notes what
// was there as "was", a member that the standard has readers ignore. Positions in arrays are those
// of `from`: operations on one array are listed last place first. An array of strings with more
// than two operations is replaced as a whole.
//
// Threads: pure.
#pragma once

#include "nlohmann/json.hpp"

namespace berth::spec {

nlohmann::json JsonDiff(const nlohmann::json& from, const nlohmann::json& to);

}  // namespace berth::spec
