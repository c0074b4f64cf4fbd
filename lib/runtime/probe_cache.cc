#include "lib/runtime/probe_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"

namespace berth::runtime {
namespace {

using nlohmann::json;

constexpr size_t kMaxBytes = 1 << 20;

// Names a program as it is now; empty for what is not to be remembered.
std::string KeyOf(const std::string& program) {
  const absl::StatusOr<base::UniqueFd> fd = base::OpenFile(program, O_RDONLY);
  struct stat st;
  char magic[4] = {};
  if (!fd.ok() || ::fstat(fd->get(), &st) != 0 ||
      ::read(fd->get(), magic, sizeof(magic)) != sizeof(magic) ||
      std::string_view(magic, sizeof(magic)) !=
          "\x7f"
          "ELF") {
    return "";
  }
  return fmt::format("{} {}:{} {} {}.{:09}", program, st.st_dev, st.st_ino, st.st_size,
                     st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

}  // namespace

ProbeCache::ProbeCache(std::string path) : path_(std::move(path)) {
  if (path_.empty()) {
    return;
  }
  const absl::StatusOr<std::string> text = base::ReadFile(path_, kMaxBytes);
  const json document = json::parse(text.ok() ? *text : "", nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return;
  }
  for (const auto& [key, value] : document.items()) {
    const auto version = value.is_object() ? value.find("version") : value.end();
    if (!value.is_object() || version == value.end() || !version->is_string()) {
      continue;
    }
    const auto flag = [&value = value](const char* name) {
      const auto found = value.find(name);
      return found != value.end() && found->is_boolean() && found->get<bool>();
    };
    Answer& answer = answers_[key];
    answer.version = version->get<std::string>();
    answer.features.recursive_read_only = flag("recursiveReadOnly");
    answer.features.idmap_mounts = flag("idmapMounts");
    answer.features.user_namespaces = flag("userNamespaces");
  }
}

std::optional<ProbeCache::Answer> ProbeCache::Find(const std::string& program) const {
  const auto found = answers_.find(KeyOf(program));
  return found == answers_.end() ? std::nullopt : std::optional<Answer>(found->second);
}

void ProbeCache::Put(const std::string& program, const Answer& answer) {
  const std::string key = KeyOf(program);
  if (key.empty() || path_.empty()) {
    return;
  }
  // Of an earlier file of that name nothing will be asked any more.
  std::erase_if(answers_,
                [&](const auto& item) { return item.first.rfind(program + " ", 0) == 0; });
  answers_[key] = answer;
  changed_ = true;
}

absl::Status ProbeCache::Save() const {
  if (!changed_) {
    return absl::OkStatus();
  }
  json document = json::object();
  for (const auto& [key, answer] : answers_) {
    document[key] = {{"version", answer.version},
                     {"recursiveReadOnly", answer.features.recursive_read_only},
                     {"idmapMounts", answer.features.idmap_mounts},
                     {"userNamespaces", answer.features.user_namespaces}};
  }
  return base::WriteFileAtomic(path_, document.dump(1) + "\n", 0600);
}

}  // namespace berth::runtime
