// Survey: what the disk, the mount table and the database have, at one moment. The disk is looked
// at first: what is made is in the database before it is on the disk.
// Threads: values and functions without state.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "lib/check/store_check.h"
#include "lib/model/image.h"

namespace berth::check {

struct Survey {
  // Names in directories; absent directories have none.
  std::vector<std::string> layer_names, recipe_names, trash_names, import_names;
  std::vector<std::string> writable_names;                         // <root>/containers
  std::vector<std::string> bundle_names, sandbox_names, ns_names;  // below <state>
  std::vector<std::string> mounts;   // strictly below root or state, deepest first
  std::set<int64_t> mounted_layers;  // that overlays below state stand on

  std::map<int64_t, store::LayerRecord> layers;  // complete ones
  std::set<int64_t> reserved;
  std::vector<model::ImageRecord> images;
  store::RecordStore::All records;
  std::set<std::string> container_ids, sandbox_ids;

  // Layers that a container stands on, by its record or by its mounts.
  std::set<int64_t> InUse() const;
};

absl::StatusOr<Survey> LookAround(const CheckDeps& deps);

// A directory's name as a layer's number, 0 for other names. "0" is the empty layer's, too.
int64_t LayerNumber(const std::string& name);

// From the mount table's text (proc(5), mountinfo).
struct MountSurvey {
  std::vector<std::string> below;  // mount points strictly below `dirs`, deepest first
  std::set<int64_t> layers;        // lower directories of overlays among them, by number
};
absl::StatusOr<MountSurvey> SurveyMounts(const std::string& mountinfo,
                                         const std::vector<std::string>& dirs);

}  // namespace berth::check
