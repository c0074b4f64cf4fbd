// Checks of single fields of a request. `field` is the field's path in the request, for the
// message: "config.metadata.name". Values come from the administrator's side of the socket, but end
// up in paths, environments, files and log lines.
//
// Threads: pure functions. Errors: kInvalidArgument, naming the field and what is wrong with it;
// never its value where it may be a secret.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/map.h"
#include "google/protobuf/message.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace berth::cri {

inline constexpr size_t kMaxNameBytes = 1024;      // names, uids, namespaces, handlers
inline constexpr size_t kMaxLabelBytes = 4096;     // one label: key and value together
inline constexpr size_t kMaxPairsBytes = 1 << 20;  // all labels or annotations together
inline constexpr size_t kMaxImageNameBytes = 4096;

absl::Status FieldError(std::string_view field, std::string_view what);

// No NUL byte: it would cut the text short where it becomes a C string.
absl::Status CheckNoNul(std::string_view field, const std::string& value);
// The same for each, named "field[i]".
absl::StatusOr<std::vector<std::string>> ParseTexts(
    std::string_view field, const google::protobuf::RepeatedPtrField<std::string>& values);

// At most max_bytes, without control characters (which would break lines of logs and files). May be
// empty.
absl::Status CheckWord(std::string_view field, const std::string& value,
                       size_t max_bytes = kMaxNameBytes);
// The same, and not empty.
absl::Status CheckName(std::string_view field, const std::string& value,
                       size_t max_bytes = kMaxNameBytes);

// Begins with '/', holds no NUL.
absl::Status CheckAbsolutePath(std::string_view field, const std::string& value);

// Refuses settings for a Windows node. An empty message says nothing, and passes.
absl::Status CheckNotWindows(std::string_view field, const google::protobuf::Message& settings);

// Labels: at most kMaxLabelBytes each; annotations have no such limit. Both: keys not empty, no NUL
// bytes, at most kMaxPairsBytes.
using ProtoPairs = google::protobuf::Map<std::string, std::string>;
absl::StatusOr<std::map<std::string, std::string>> ParseLabels(std::string_view field,
                                                               const ProtoPairs& pairs);
absl::StatusOr<std::map<std::string, std::string>> ParseAnnotations(std::string_view field,
                                                                    const ProtoPairs& pairs);

}  // namespace berth::cri
