#include "lib/check/survey.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::check {

namespace {

constexpr size_t kMaxMountInfoBytes = 64 << 20;

absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& path) {
  absl::StatusOr<std::vector<std::string>> names = base::ListDir(path);
  return absl::IsNotFound(names.status()) ? std::vector<std::string>() : names;
}

}  // namespace

absl::StatusOr<Survey> LookAround(const CheckDeps& deps) {
  const store::Paths& paths = deps.paths;
  Survey survey;
  ASSIGN_OR_RETURN(survey.layer_names, NamesIn(paths.Layers()));
  ASSIGN_OR_RETURN(survey.recipe_names, NamesIn(paths.Recipes()));
  ASSIGN_OR_RETURN(survey.trash_names, NamesIn(paths.Trash()));
  ASSIGN_OR_RETURN(survey.import_names, NamesIn(paths.Import()));
  ASSIGN_OR_RETURN(survey.writable_names, NamesIn(paths.ContainersRoot()));
  ASSIGN_OR_RETURN(survey.bundle_names, NamesIn(paths.ContainersState()));
  ASSIGN_OR_RETURN(survey.sandbox_names, NamesIn(paths.SandboxesState()));
  ASSIGN_OR_RETURN(survey.ns_names, NamesIn(paths.NamespacesState()));
  ASSIGN_OR_RETURN(const std::string text, base::ReadFile(deps.mountinfo, kMaxMountInfoBytes));
  ASSIGN_OR_RETURN(MountSurvey mounts, SurveyMounts(text, {paths.root(), paths.state()}));
  survey.mounts = std::move(mounts.below);
  survey.mounted_layers = std::move(mounts.layers);

  // Reserved ones first: published between the two they are in both, and not in none.
  ASSIGN_OR_RETURN(survey.reserved, deps.images.ReservedLayers());
  ASSIGN_OR_RETURN(const std::vector<store::LayerRecord> layers, deps.images.Layers());
  for (const store::LayerRecord& layer : layers) {
    survey.layers[layer.number] = layer;
  }
  ASSIGN_OR_RETURN(survey.images, deps.images.Load());
  ASSIGN_OR_RETURN(survey.records, deps.records.Load());
  for (const model::ContainerRecord& record : survey.records.containers) {
    survey.container_ids.insert(record.id.value());
  }
  for (const model::SandboxRecord& record : survey.records.sandboxes) {
    survey.sandbox_ids.insert(record.id.value());
  }
  return survey;
}

std::set<int64_t> Survey::InUse() const {
  std::set<int64_t> in_use = mounted_layers;
  for (const model::ContainerRecord& record : records.containers) {
    in_use.insert(record.layers.begin(), record.layers.end());
    in_use.insert(record.volume_layers.begin(), record.volume_layers.end());
  }
  return in_use;
}

}  // namespace berth::check
