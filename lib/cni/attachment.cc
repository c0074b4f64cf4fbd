#include "lib/cni/attachment.h"

#include <utility>

#include "fmt/format.h"

#include "lib/base/status.h"
#include "lib/cni/json.h"

namespace berth::cni {

namespace {

// Of the JSON form. Members may be added without a new one.
constexpr int kSchema = 1;

// The text members by name; the same list writes and reads.
constexpr std::pair<const char*, std::string Attachment::*> kTexts[] = {
    {"network", &Attachment::network},
    {"config", &Attachment::config_bytes},
    {"container_id", &Attachment::container_id},
    {"interface", &Attachment::interface_name},
    {"netns", &Attachment::netns_path},
    {"pod", &Attachment::pod},
    {"cni_args", &Attachment::cni_args},
    {"capabilities", &Attachment::capabilities},
    {"result", &Attachment::result},
};

absl::StatusOr<Attachment> Read(std::string_view text) {
  // The configuration and the result are strings inside it, each of the size that is the limit for
  // the whole elsewhere.
  Json object = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> schema, GetInt(object, "schema"));
  if (schema != kSchema) {
    return absl::InvalidArgumentError(
        fmt::format("schema {}, not {}", schema.value_or(0), kSchema));
  }
  Attachment attachment;
  for (const auto& [key, member] : kTexts) {
    ASSIGN_OR_RETURN(attachment.*member, GetString(object, key));
  }
  ASSIGN_OR_RETURN(attachment.ips, GetStrings(object, "ips"));
  return attachment;
}

}  // namespace

std::string Attachment::ToJson() const {
  Json object = {{"schema", kSchema}, {"ips", ips}};
  for (const auto& [key, member] : kTexts) {
    object[key] = this->*member;
  }
  return DumpJson(object);
}

absl::StatusOr<Attachment> Attachment::FromJson(std::string_view json) {
  absl::StatusOr<Attachment> attachment = Read(json);
  if (!attachment.ok()) {
    return base::MakeStatus(
        absl::StatusCode::kDataLoss,
        fmt::format("read network attachment: {}", std::string(attachment.status().message())));
  }
  return attachment;
}

}  // namespace berth::cni
