// CheckLayers: reads layers and compares them with what they were unpacked from: an image's layer
// with its recipe, a file of an artifact with its digest.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "fmt/format.h"

#include "lib/archive/layer_recipe.h"
#include "lib/base/beneath.h"
#include "lib/base/file.h"
#include "lib/base/status.h"
#include "lib/check/findings.h"
#include "lib/image/artifact.h"
#include "lib/oci/sha256.h"

namespace berth::check {

namespace {

constexpr size_t kMaxProblemsOfALayer = 10;
constexpr size_t kPiece = 256 << 10;

// What is wrong with the one file of an artifact's layer; empty: nothing.
absl::StatusOr<std::string> WrongWithFile(const base::OpContext& ctx, int root_fd,
                                          const image::ArtifactFile& file) {
  const absl::StatusOr<base::UniqueFd> fd =
      base::OpenBeneath(root_fd, file.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd.ok()) {
    return fmt::format("its file '{}' cannot be read: {}", file.path,
                       std::string(fd.status().message()));
  }
  oci::Hasher hash(file.blob.digest.algorithm());
  const std::unique_ptr<char[]> buffer(new char[kPiece]);
  while (true) {
    RETURN_IF_ERROR(ctx.Check());
    const ssize_t n = ::read(fd->get(), buffer.get(), kPiece);
    if (n < 0) {
      return fmt::format("its file '{}' cannot be read: {}", file.path,
                         std::string(base::ErrnoStatus(errno, "read").message()));
    }
    if (n == 0) {
      break;
    }
    hash.Update({buffer.get(), static_cast<size_t>(n)});
  }
  return hash.Finish() == file.blob.digest
             ? ""
             : fmt::format("its file '{}' has other content than its digest says", file.path);
}

// The files of all artifacts, by the number of their layer.
std::map<int64_t, image::ArtifactFile> FilesOfArtifacts(const CheckDeps& deps,
                                                        const Survey& survey) {
  std::map<int64_t, image::ArtifactFile> files;
  for (const model::ImageRecord& image : survey.images) {
    if (!image.is_artifact) {
      continue;
    }
    const auto document = oci::ParseManifest(deps.images.Manifest(image.id).value_or(""), "");
    const auto* manifest = document.ok() ? std::get_if<oci::ImageManifest>(&*document) : nullptr;
    const auto of_image =
        manifest != nullptr
            ? image::ArtifactFiles(*manifest)
            : absl::StatusOr<std::vector<image::ArtifactFile>>(absl::DataLossError("no manifest"));
    // The top layer is the last file. What does not fit is the image's problem (Compare).
    for (size_t i = 0; of_image.ok() && i < of_image->size() && i < image.layers.size(); ++i) {
      files[image.layers[image.layers.size() - 1 - i]] = (*of_image)[i];
    }
  }
  return files;
}

// The file is nullptr: a layer of an image. nullopt: it cannot be verified.
absl::StatusOr<std::optional<std::vector<std::string>>> WrongWithLayer(
    const base::OpContext& ctx, const CheckDeps& deps, const store::LayerRecord& layer,
    const image::ArtifactFile* file) {
  ASSIGN_OR_RETURN(const base::UniqueFd root, base::OpenFile(deps.paths.Layer(layer.number),
                                                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (file != nullptr) {
    ASSIGN_OR_RETURN(const std::string wrong, WrongWithFile(ctx, root.get(), *file));
    return wrong.empty() ? std::vector<std::string>() : std::vector<std::string>{wrong};
  }
  const auto diff_id = oci::Digest::Parse(layer.diff_id);
  const auto recipe = base::OpenFile(deps.paths.Recipe(layer.number), O_RDONLY | O_NOFOLLOW);
  if (!diff_id.ok() || absl::IsNotFound(recipe.status())) {
    return std::nullopt;
  }
  RETURN_IF_ERROR(recipe.status());
  auto problems =
      archive::CheckLayer(ctx, root.get(), recipe->get(), *diff_id, kMaxProblemsOfALayer);
  if (absl::IsDataLoss(problems.status())) {
    return std::vector<std::string>{std::string(problems.status().message())};
  }
  RETURN_IF_ERROR(problems.status());
  return *std::move(problems);
}

}  // namespace

absl::StatusOr<std::vector<Finding>> CheckLayers(const base::OpContext& ctx, const CheckDeps& deps,
                                                 const Survey& survey, Report& report) {
  const std::map<int64_t, image::ArtifactFile> files = FilesOfArtifacts(deps, survey);
  std::vector<Finding> findings;
  for (const auto& [number, layer] : survey.layers) {
    RETURN_IF_ERROR(ctx.Check());
    const auto file = files.find(number);
    const auto wrong =
        WrongWithLayer(ctx, deps, layer, file == files.end() ? nullptr : &file->second);
    if (absl::IsNotFound(wrong.status())) {
      continue;  // removed meanwhile; or gone, which Compare says
    }
    RETURN_IF_ERROR(base::Annotate(wrong.status(), fmt::format("check layer {}", number)));
    if (!wrong->has_value() && layer.diff_id.starts_with("damaged:")) {
      report.notes.push_back(
          fmt::format("layer {} was found damaged; it goes with the last container that stands on "
                      "it",
                      number));
      continue;
    }
    if (!wrong->has_value()) {
      report.notes.push_back(fmt::format(
          "layer {} ({}) has no recipe, so its content cannot be checked; it gets one when its "
          "image is removed and pulled again",
          number, layer.diff_id));
      continue;
    }
    ++report.verified_layers;
    for (const std::string& text : **wrong) {
      findings.push_back(
          {.problem = {.kind = kLayer, .object = std::to_string(number), .text = text},
           .cure = Finding::Cure::kForgetLayer,
           .layer = number});
    }
  }
  return findings;
}

}  // namespace berth::check
