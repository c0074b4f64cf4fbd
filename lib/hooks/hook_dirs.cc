#include "lib/hooks/hook_dirs.h"

#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/status.h"

namespace berth::hooks {
namespace {

constexpr size_t kMaxFiles = 1000;
constexpr size_t kMaxWarned = 10'000;  // paths remembered

bool IsDefinition(const std::string& name) {
  constexpr std::string_view kEnd = ".json";
  return name.size() > kEnd.size() &&
         name.compare(name.size() - kEnd.size(), kEnd.size(), kEnd) == 0;
}

absl::StatusOr<HookFile> Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, base::ReadFile(path, kMaxHookFileBytes));
  return ParseHookFile(text);
}

}  // namespace

void HookDirs::Warn(const std::string& path, const absl::Status& error) {
  const std::string text(error.message());
  {
    base::MutexLock lock(mu_);
    std::string& told = warned_[path];
    if (told == text) {
      return;
    }
    told = text;
    if (warned_.size() > kMaxWarned) {
      warned_.clear();
    }
  }
  base::Log("hooks").warn("OCI hooks cannot be used, leaving them out path={} error=\"{}\"", path,
                          text);
}

std::map<std::string, std::string> HookDirs::Files() {
  std::map<std::string, std::string> files;
  for (const std::string& dir : dirs_) {
    const absl::StatusOr<std::vector<std::string>> names = base::ListDir(dir);
    if (!names.ok()) {
      if (!absl::IsNotFound(names.status())) {
        Warn(dir, names.status());
      }
      continue;
    }
    size_t count = 0;
    for (const std::string& name : *names) {
      if (IsDefinition(name) && ++count <= kMaxFiles) {
        files[name] = dir + "/" + name;
      }
    }
    if (count > kMaxFiles) {
      Warn(dir, absl::OutOfRangeError(fmt::format("more than {} files", kMaxFiles)));
    }
  }
  return files;
}

model::Hooks HookDirs::Matching(const HookQuery& query) {
  model::Hooks hooks;
  for (const auto& [name, path] : Files()) {
    const absl::StatusOr<HookFile> file = Load(path);
    if (!file.ok()) {
      if (!absl::IsNotFound(file.status())) {  // gone since it was listed
        Warn(path, file.status());
      }
      continue;
    }
    if (!file->Matches(query)) {
      continue;
    }
    for (const std::string& stage : file->stages) {
      hooks[stage].push_back(file->hook);
    }
  }
  return hooks;
}

}  // namespace berth::hooks
