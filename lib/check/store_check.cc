#include "lib/check/store_check.h"

#include <sys/stat.h>

#include <algorithm>
#include <thread>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/check/findings.h"
#include "lib/check/survey.h"
#include "lib/oci/image.h"
#include "lib/oci/reference.h"
#include "lib/oci/sha256.h"
#include "lib/store/database_check.h"

namespace berth::check {

namespace {

using Cure = Finding::Cure;

// Collects what Compare finds.
class Comparison {
 public:
  Comparison(const CheckDeps& deps, const Survey& survey) : deps_(deps), survey_(survey) {}

  void Images() {
    for (const model::ImageRecord& image : survey_.images) {
      if (const std::string text = WrongWith(image); !text.empty()) {
        Add(kImage, image.id, text, Cure::kForgetImage);
      }
    }
  }

  void Layers() {
    std::set<std::string> present(survey_.layer_names.begin(), survey_.layer_names.end());
    for (const auto& [number, layer] : survey_.layers) {
      if (!present.contains(std::to_string(number))) {
        Add(kLayer, std::to_string(number),
            fmt::format("its directory '{}' is gone", deps_.paths.Layer(number)),
            Cure::kForgetLayer);
        found_.back().layer = number;
      }
    }
    for (const std::string& name : survey_.layer_names) {
      const int64_t number = LayerNumber(name);
      if (name != "0" && !IsKnown(number)) {
        Add(kLeftover, deps_.paths.Layers() + "/" + name,
            number > 0 ? "no layer of the database is of that number"
                       : "this is no layer; a removal was cut off, or it was put here by hand",
            Cure::kRemove);
        found_.back().layer = number;
      }
    }
    for (const std::string& name : survey_.recipe_names) {
      if (!IsKnown(LayerNumber(name))) {
        Add(kLeftover, deps_.paths.Recipes() + "/" + name, "its layer is not there", Cure::kRemove);
      }
    }
  }

  void Unfinished() {
    for (const std::string& name : survey_.trash_names) {
      Add(kLeftover, deps_.paths.Trash() + "/" + name,
          "the removal of a layer was cut off; berthd's next start goes on with it", Cure::kRemove);
    }
    for (const std::string& name : survey_.import_names) {
      Add(kLeftover, deps_.paths.Import() + "/" + name,
          "an import was cut off; berthd's next start removes it", Cure::kRemove);
    }
  }

  void Mounts() {
    for (const std::string& mount : survey_.mounts) {
      if (const std::string text = WrongWithMount(mount); !text.empty()) {
        Add(kMount, mount, text, Cure::kUnmount);
        found_.back().owner = OwnerOf(mount, deps_.paths.ContainersState());
      }
    }
  }

  void Directories() {
    Unowned(deps_.paths.ContainersState(), survey_.bundle_names, survey_.container_ids,
            "container");
    Unowned(deps_.paths.ContainersRoot(), survey_.writable_names, survey_.container_ids,
            "container");
    Unowned(deps_.paths.SandboxesState(), survey_.sandbox_names, survey_.sandbox_ids, "pod");
    Unowned(deps_.paths.NamespacesState(), survey_.ns_names, survey_.sandbox_ids, "pod");
  }

  void Records() {
    for (const std::string& unreadable : survey_.records.unreadable) {
      Add(kDatabase, unreadable.substr(0, unreadable.find(": ")),
          "its record cannot be read (" + unreadable + ")");
      found_.back().problem.advice =
          "left: what it is about may still run; `berthctl wipe --all` removes everything";
    }
    const std::set<std::string> writable(survey_.writable_names.begin(),
                                         survey_.writable_names.end());
    for (const model::ContainerRecord& record : survey_.records.containers) {
      const std::string text = WrongWithContainer(record, writable);
      if (!text.empty()) {
        Add(kContainer, record.id.value(), text);
        found_.back().problem.advice = fmt::format(
            "left: remove its pod '{}', the kubelet makes another", record.sandbox_id.value());
      }
    }
  }

  std::vector<Finding> Take() { return std::move(found_); }

 private:
  void Add(const char* kind, const std::string& object, std::string text, Cure cure = Cure::kNone) {
    found_.push_back(
        {.problem = {.kind = kind, .object = object, .text = std::move(text)}, .cure = cure});
  }

  bool IsKnown(int64_t number) const {
    return survey_.layers.contains(number) || survey_.reserved.contains(number);
  }

  std::string WrongWith(const model::ImageRecord& image) const {
    for (const auto* names : {&image.repo_tags, &image.repo_digests}) {
      for (const std::string& name : *names) {
        const auto reference = oci::Reference::Parse(name);
        if (!reference.ok() || reference->ToString() != name) {
          return fmt::format("its name '{}' is none", name);
        }
      }
    }
    const std::string document =
        image.is_artifact ? deps_.images.Manifest(image.id).value_or("") : image.config;
    if (oci::DigestOf(document).hex() != image.id) {
      return fmt::format("its {} is not what its id says",
                         image.is_artifact ? "manifest" : "config");
    }
    if (image.is_artifact) {
      const auto manifest = oci::ParseManifest(document, "");
      const auto* parsed = manifest.ok() ? std::get_if<oci::ImageManifest>(&*manifest) : nullptr;
      return parsed != nullptr && parsed->layers.size() == image.layers.size()
                 ? ""
                 : "it does not have the files that its manifest names";
    }
    const auto config = oci::ParseImageConfig(document);
    if (!config.ok()) {
      return "its config cannot be read: " + std::string(config.status().message());
    }
    const bool same = std::equal(
        config->diff_ids.begin(), config->diff_ids.end(), image.diff_ids.begin(),
        image.diff_ids.end(),
        [](const oci::Digest& wanted, const std::string& has) { return wanted.ToString() == has; });
    return same ? "" : "it does not have the layers that its config names";
  }

  // The id in "<dir>/<id>/..."; empty: the path is elsewhere.
  static std::string OwnerOf(const std::string& path, const std::string& dir) {
    if (!path.starts_with(dir + "/")) {
      return "";
    }
    const std::string rest = path.substr(dir.size() + 1);
    return rest.substr(0, rest.find('/'));
  }

  std::string WrongWithMount(const std::string& mount) const {
    const store::Paths& paths = deps_.paths;
    for (const auto& [dir, ids, what] :
         {std::tuple(paths.ContainersState(), &survey_.container_ids, "container"),
          std::tuple(paths.SandboxesState(), &survey_.sandbox_ids, "pod"),
          std::tuple(paths.NamespacesState(), &survey_.sandbox_ids, "pod")}) {
      if (const std::string owner = OwnerOf(mount, dir); !owner.empty()) {
        return ids->contains(owner) ? "" : fmt::format("there is no {} '{}'", what, owner);
      }
    }
    // Directly below root an administrator may have mounted a disk for layers; tmp is a running
    // daemon's.
    const bool is_own = mount.starts_with(paths.Temporary() + "/");
    const bool is_disk = mount.starts_with(paths.root() + "/") &&
                         mount.find('/', paths.root().size() + 1) == std::string::npos;
    return is_own || is_disk || mount.starts_with(paths.Probe() + "/")
               ? ""
               : "nothing is mounted here by berth";
  }

  void Unowned(const std::string& dir, const std::vector<std::string>& names,
               const std::set<std::string>& ids, const char* what) {
    for (const std::string& name : names) {
      if (!ids.contains(name)) {
        Add(kLeftover, dir + "/" + name, fmt::format("there is no {} of that id", what),
            Cure::kRemove);
        found_.back().owner = name;
      }
    }
  }

  std::string WrongWithContainer(const model::ContainerRecord& record,
                                 const std::set<std::string>& writable) const {
    if (!survey_.sandbox_ids.contains(record.sandbox_id.value())) {
      return fmt::format("its pod '{}' is not there", record.sandbox_id.value());
    }
    if (record.created_ns == 0 || record.finished_ns != 0) {
      return "";  // being made; or ended, and none of it is needed any more
    }
    if (!writable.contains(record.id.value())) {
      return fmt::format("its writable layer '{}' is gone", deps_.paths.Upper(record.id));
    }
    for (const auto* layers : {&record.layers, &record.volume_layers}) {
      for (const int64_t number : *layers) {
        if (!survey_.layers.contains(number)) {
          return fmt::format("it stands on layer {}, which the database does not have", number);
        }
      }
    }
    return "";
  }

  const CheckDeps& deps_;
  const Survey& survey_;
  std::vector<Finding> found_;
};

// Those of `found` that `again` has, too.
void KeepCommon(std::vector<Finding>& found, const std::vector<Finding>& again) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const Finding& finding : again) {
    seen.insert({finding.problem.kind, finding.problem.object});
  }
  std::erase_if(found, [&](const Finding& finding) {
    return !seen.contains({finding.problem.kind, finding.problem.object});
  });
}

absl::Status Wait(const base::OpContext& ctx, absl::Duration duration) {
  for (const absl::Time end = absl::Now() + duration; absl::Now() < end;) {
    RETURN_IF_ERROR(ctx.Check());
    absl::SleepFor(absl::Milliseconds(20));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Finding>> DatabaseFindings(const CheckDeps& deps) {
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, store::InspectDatabase(deps.database));
  std::vector<Finding> findings;
  for (const std::string& text : texts) {
    findings.push_back(
        {.problem = {.kind = kDatabase,
                     .object = deps.paths.Database(),
                     .text = text,
                     .advice = "stop berthd and run `berthctl check --repair`: it saves what can "
                               "be read"}});
  }
  return findings;
}

}  // namespace

size_t Report::Left() const {
  return static_cast<size_t>(std::count_if(problems.begin(), problems.end(),
                                           [](const Problem& p) { return !p.is_repaired; }));
}

std::vector<Finding> Compare(const CheckDeps& deps, const Survey& survey, bool is_live) {
  Comparison comparison(deps, survey);
  comparison.Images();
  comparison.Layers();
  if (!is_live) {
    comparison.Unfinished();
  }
  comparison.Mounts();
  comparison.Directories();
  comparison.Records();
  return comparison.Take();
}

absl::StatusOr<Report> CheckStore(const base::OpContext& ctx, const CheckDeps& deps,
                                  const CheckOptions& options) {
  Report report;
  ASSIGN_OR_RETURN(std::vector<Finding> findings, DatabaseFindings(deps));
  ASSIGN_OR_RETURN(Survey survey, LookAround(deps));
  std::vector<Finding> compared = Compare(deps, survey, options.is_live);
  if (options.is_live && !compared.empty()) {
    if (deps.settle) {
      deps.settle();
    }
    RETURN_IF_ERROR(Wait(ctx, options.second_look));
    ASSIGN_OR_RETURN(survey, LookAround(deps));
    KeepCommon(compared, Compare(deps, survey, options.is_live));
  }
  findings.insert(findings.end(), compared.begin(), compared.end());
  if (options.layers) {
    ASSIGN_OR_RETURN(const std::vector<Finding> damaged, CheckLayers(ctx, deps, survey, report));
    findings.insert(findings.end(), damaged.begin(), damaged.end());
  }
  if (options.repair) {
    RETURN_IF_ERROR(Repair(ctx, deps, survey, findings));
  }
  for (Finding& finding : findings) {
    report.problems.push_back(std::move(finding.problem));
  }
  report.images = survey.images.size();
  report.layers = survey.layers.size();
  report.containers = survey.records.containers.size();
  report.pods = survey.records.sandboxes.size();
  return report;
}

}  // namespace berth::check
