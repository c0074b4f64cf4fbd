#include <algorithm>
#include <charconv>

#include "absl/strings/str_split.h"

#include "lib/base/status.h"
#include "lib/check/survey.h"
#include "lib/mount/syscall_mounter.h"

namespace berth::check {

namespace {

// "lowerdir=3:2:/var/lib/berth/layers/1,upperdir=...": 3, 2, 1.
void AddLowerLayers(const std::string& options, std::set<int64_t>& layers) {
  for (const absl::string_view option : absl::StrSplit(options, ',')) {
    if (option.substr(0, 9) != "lowerdir=" && option.substr(0, 10) != "lowerdir+=") {
      continue;
    }
    for (const absl::string_view lower : absl::StrSplit(option.substr(option.find('=') + 1), ':')) {
      const size_t slash = lower.rfind('/');
      const int64_t number = LayerNumber(
          std::string(slash == absl::string_view::npos ? lower : lower.substr(slash + 1)));
      if (number > 0) {
        layers.insert(number);
      }
    }
  }
}

}  // namespace

int64_t LayerNumber(const std::string& name) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool whole = error == std::errc() && end == name.data() + name.size();
  return whole && number > 0 && name == std::to_string(number) ? number : 0;
}

absl::StatusOr<MountSurvey> SurveyMounts(const std::string& mountinfo,
                                         const std::vector<std::string>& dirs) {
  ASSIGN_OR_RETURN(const std::vector<mount::MountInfoEntry> entries,
                   mount::ParseMountInfo(mountinfo));
  MountSurvey survey;
  // Newest first: of two on one place the upper one goes first.
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const bool is_below = std::any_of(dirs.begin(), dirs.end(), [&](const std::string& dir) {
      return entry->mount_point.starts_with(dir + "/");
    });
    if (!is_below) {
      continue;
    }
    survey.below.push_back(entry->mount_point);
    if (entry->fstype == "overlay") {
      AddLowerLayers(entry->super_options, survey.layers);
    }
  }
  const auto depth = [](const std::string& name) {
    return std::count(name.begin(), name.end(), '/');
  };
  std::stable_sort(survey.below.begin(), survey.below.end(),
                   [&](const auto& a, const auto& b) { return depth(a) > depth(b); });
  return survey;
}

}  // namespace berth::check
