#include "daemon/cri/render_image.h"

#include <charconv>

#include "fmt/format.h"

#include "daemon/cri/text.h"
#include "lib/oci/image.h"

namespace berth::cri {

namespace {

// The image's user without its group: a number, or a name.
void RenderUser(const std::string& user_and_group, api::Image& image) {
  const std::string user = user_and_group.substr(0, user_and_group.find(':'));
  int64_t uid = 0;
  const auto [end, error] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (!user.empty() && error == std::errc() && end == user.data() + user.size()) {
    image.mutable_uid()->set_value(uid);
  } else {
    image.set_username(user);
  }
}

}  // namespace

api::Image RenderImage(const model::ImageRecord& record) {
  api::Image result;
  result.set_id(record.id);
  result.mutable_repo_tags()->Assign(record.repo_tags.begin(), record.repo_tags.end());
  result.mutable_repo_digests()->Assign(record.repo_digests.begin(), record.repo_digests.end());
  result.set_size(record.size_bytes);
  RenderUser(record.user, result);
  if (!record.annotations.empty()) {
    result.mutable_spec()->mutable_annotations()->insert(record.annotations.begin(),
                                                         record.annotations.end());
  }
  result.set_pinned(record.pinned);
  return result;
}

std::string ImageInfo(const model::ImageRecord& record) {
  if (record.is_artifact) {
    return R"({"labels":{},"imageSpec":null,"artifact":true})";
  }
  std::string labels;
  if (const auto config = oci::ParseImageConfig(record.config); config.ok()) {
    for (const auto& [key, value] : config->labels) {
      labels +=
          fmt::format("{}{}:{}", labels.empty() ? "" : ",", JsonString(key), JsonString(value));
    }
  }
  return fmt::format(R"({{"labels":{{{}}},"imageSpec":{}}})", labels,
                     record.config.empty() ? "null" : record.config);
}

api::FilesystemUsage RenderUsage(const image::FsUsage& usage, const std::string& directory,
                                 int64_t now_ns) {
  api::FilesystemUsage result;
  result.set_timestamp(now_ns);
  result.mutable_fs_id()->set_mountpoint(directory);
  result.mutable_used_bytes()->set_value(usage.bytes);
  result.mutable_inodes_used()->set_value(usage.inodes);
  return result;
}

}  // namespace berth::cri
