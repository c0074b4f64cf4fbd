#include "lib/image/image_service.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <tuple>

#include "fmt/format.h"

#include "lib/archive/layer_extractor.h"
#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/log.h"
#include "lib/base/rollback.h"
#include "lib/base/status.h"
#include "lib/image/archive_export.h"
#include "lib/image/archive_image.h"
#include "lib/image/image_catalog.h"
#include "lib/image/registry_image.h"
#include "lib/image/thread_group.h"

namespace berth::image {

namespace {

constexpr size_t kReadPiece = 256 << 10;

// Unpacks an archive of images into a directory, as if it were a layer: the same limits, the same
// care.
absl::Status UnpackArchive(const base::OpContext& ctx, int archive_fd, const std::string& name,
                           int dir_fd) {
  archive::LayerOptions options;
  options.name = name;
  ASSIGN_OR_RETURN(const std::unique_ptr<archive::LayerExtractor> extractor,
                   archive::LayerExtractor::Start(dir_fd, options));
  const std::unique_ptr<char[]> buffer(new char[kReadPiece]);
  while (true) {
    RETURN_IF_ERROR(ctx.Check());
    const ssize_t n = ::read(archive_fd, buffer.get(), kReadPiece);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return base::ErrnoStatus(errno, fmt::format("read '{}'", name));
    }
    if (n == 0) {
      return extractor->Finish().status();
    }
    RETURN_IF_ERROR(extractor->Write(std::string_view(buffer.get(), static_cast<size_t>(n))));
  }
}

// A listed image has all its layers, so its digests are all there is to know.
Present PresentIn(const ImageIndex& index, const oci::Reference& name) {
  const absl::StatusOr<ImageIndex::Image> image = index.Find(name.ToString());
  if (!image.ok()) {
    return Present();
  }
  Present present{(*image)->id, {}};
  for (const std::string& repo_digest : (*image)->repo_digests) {
    const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(repo_digest);
    if (reference.ok() && reference->digest() && reference->Name() == name.Name()) {
      present.digests.push_back(*reference->digest());
    }
  }
  return present;
}

}  // namespace

class ImageService::Impl {
 public:
  Impl(registry::RegistryClient& registry, snapshot::OverlaySnapshotter& snapshotter,
       store::ImageStore& store, ImageOptions options)
      : options_(std::move(options)),
        registry_(registry),
        snapshotter_(snapshotter),
        store_(store),
        files_(snapshotter, options_.recipes_path, options_.trash_path, options_.sync),
        pool_(files_, store, options_.max_parallel_downloads),
        catalog_(snapshotter, store, files_, pool_, options_.pinned, options_.boot_id) {}
  ~Impl() {
    stopping_ = true;
    threads_.JoinAll();
  }

  absl::StatusOr<std::string> Pull(const base::OpContext& ctx, const std::string& text,
                                   const std::optional<registry::Credentials>& credentials);
  absl::StatusOr<std::vector<Imported>> Import(const base::OpContext& ctx, const std::string& path,
                                               const std::vector<std::string>& names);
  ImageCatalog& catalog() { return catalog_; }
  ExportSource exporter() { return {snapshotter_, store_, options_.recipes_path}; }
  const ImageOptions& options() const { return options_; }

 private:
  // One transfer and all who wait for it.
  struct PullJob {
    std::atomic<int> waiters = 0;  // written under mu_; the transfer's context reads it without
    bool is_done = false;          // guarded by Impl::mu_, as `result`
    absl::StatusOr<std::string> result = absl::UnknownError("not done");
  };
  // What makes two pulls the same.
  using PullKey = std::tuple<std::string, std::string, std::string, std::string, std::string>;

  absl::StatusOr<std::string> Transfer(const PullJob& job, const oci::Reference& reference,
                                       const std::optional<registry::Credentials>& credentials);
  void Finish(const PullKey& key, const std::shared_ptr<PullJob>& job,
              absl::StatusOr<std::string> result);
  absl::StatusOr<std::vector<Imported>> ImportDir(const base::OpContext& ctx, base::UniqueFd dir,
                                                  const std::vector<oci::Reference>& names);

  const ImageOptions options_;
  registry::RegistryClient& registry_;
  snapshot::OverlaySnapshotter& snapshotter_;
  store::ImageStore& store_;
  LayerFiles files_;
  LayerPool pool_;
  ImageCatalog catalog_;

  base::Mutex mu_;
  base::CondVar done_;
  std::map<PullKey, std::shared_ptr<PullJob>> pulls_ ABSL_GUARDED_BY(mu_);
  int running_ ABSL_GUARDED_BY(mu_) = 0;
  std::atomic<bool> stopping_ = false;
  ThreadGroup threads_;
};

absl::StatusOr<std::string> ImageService::Impl::Transfer(
    const PullJob& job, const oci::Reference& reference,
    const std::optional<registry::Credentials>& credentials) {
  const base::OpContext ctx(absl::InfiniteFuture(), [&] { return job.waiters == 0 || stopping_; });
  ASSIGN_OR_RETURN(const ImageContent content,
                   ReadRegistryImage(ctx, registry_, options_.platform, reference, credentials,
                                     [this](const oci::Reference& name) {
                                       return PresentIn(*catalog_.index(), name);
                                     }));
  return content.is_present ? content.id : catalog_.Add(ctx, content);
}

void ImageService::Impl::Finish(const PullKey& key, const std::shared_ptr<PullJob>& job,
                                absl::StatusOr<std::string> result) {
  bool was_last = false;
  {
    base::MutexLock lock(mu_);
    job->result = std::move(result);
    job->is_done = true;
    const auto found = pulls_.find(key);
    if (found != pulls_.end() && found->second == job) {
      pulls_.erase(found);
    }
    was_last = --running_ == 0;
    done_.SignalAll();
  }
  if (was_last) {
    registry_.CloseIdle();
    // Pulls take megabytes of buffers for seconds; the allocator would keep them for good.
    ::malloc_trim(0);
  }
}

absl::StatusOr<std::string> ImageService::Impl::Pull(
    const base::OpContext& ctx, const std::string& text,
    const std::optional<registry::Credentials>& credentials) {
  ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::Parse(text));
  const registry::Credentials given = credentials.value_or(registry::Credentials());
  // A short name may mean another registry than its normal form: the two are different pulls.
  const PullKey key(reference.ToString() + (reference.is_short_name() ? " short" : ""),
                    given.username, given.password, given.identity_token, given.registry_token);
  base::MutexLock lock(mu_);
  std::shared_ptr<PullJob>& slot = pulls_[key];
  const bool is_first = slot == nullptr;
  if (is_first) {
    slot = std::make_shared<PullJob>();
  }
  const std::shared_ptr<PullJob> job = slot;
  ++job->waiters;
  if (is_first) {
    ++running_;
    threads_.Run([this, key, job, reference, credentials] {
      Finish(key, job, Transfer(*job, reference, credentials));
    });
  }
  absl::Status status;
  while (!job->is_done && (status = ctx.Check()).ok()) {
    done_.WaitFor(mu_, absl::Milliseconds(ctx.PollMillis()));
  }
  --job->waiters;
  if (job->is_done) {
    return job->result;
  }
  const auto found = pulls_.find(key);
  if (job->waiters == 0 && found != pulls_.end() && found->second == job) {
    pulls_.erase(found);  // it is being given up: the next pull starts anew
  }
  return status;
}

absl::StatusOr<std::vector<ImageService::Imported>> ImageService::Impl::ImportDir(
    const base::OpContext& ctx, base::UniqueFd dir, const std::vector<oci::Reference>& names) {
  auto shared = std::make_shared<base::UniqueFd>(std::move(dir));
  ASSIGN_OR_RETURN(const std::vector<ImageContent> images,
                   ReadArchiveImages(ctx, shared, options_.platform, names));
  std::vector<Imported> imported;
  std::vector<std::string> ids;
  for (const ImageContent& content : images) {
    ASSIGN_OR_RETURN(std::string id, catalog_.Add(ctx, content));
    ids.push_back(id);
    imported.push_back({std::move(id), content.skipped});
  }
  RETURN_IF_ERROR(catalog_.WaitStored(ctx, ids));
  return imported;
}

absl::StatusOr<std::vector<ImageService::Imported>> ImageService::Impl::Import(
    const base::OpContext& ctx, const std::string& path, const std::vector<std::string>& texts) {
  std::vector<oci::Reference> names;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(oci::Reference name, oci::Reference::Parse(text));
    names.push_back(std::move(name));
  }
  ASSIGN_OR_RETURN(base::UniqueFd fd, base::OpenFile(path, O_RDONLY | O_NONBLOCK));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) {
    return base::ErrnoStatus(errno, fmt::format("stat '{}'", path));
  }
  if (S_ISDIR(st.st_mode)) {
    return ImportDir(ctx, std::move(fd), names);
  }
  if (!S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError("neither a file nor a directory");
  }
  const std::string scratch =
      fmt::format("{}/{}", options_.import_path, base::GenerateId().substr(0, 16));
  base::Rollback undo("import image");  // runs in the end in any case
  undo.Push("remove scratch directory", [&] { return base::RemoveTree(scratch); });
  RETURN_IF_ERROR(base::MakeDirs(scratch, 0700));
  ASSIGN_OR_RETURN(base::UniqueFd dir,
                   base::OpenFile(scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  RETURN_IF_ERROR(UnpackArchive(ctx, fd.get(), path, dir.get()));
  return ImportDir(ctx, std::move(dir), names);
}

ImageService::ImageService(registry::RegistryClient& registry,
                           snapshot::OverlaySnapshotter& snapshotter, store::ImageStore& store,
                           ImageOptions options)
    : impl_(std::make_unique<Impl>(registry, snapshotter, store, std::move(options))) {}

ImageService::~ImageService() = default;

absl::Status ImageService::Recover() {
  if (!impl_->options().import_path.empty()) {
    RETURN_IF_ERROR(base::RemoveTree(impl_->options().import_path));
  }
  return base::Annotate(impl_->catalog().Recover(), "recover images");
}

void ImageService::SetLayersInUse(std::function<std::set<int64_t>()> in_use) {
  impl_->catalog().SetLayersInUse(std::move(in_use));
}

absl::StatusOr<std::string> ImageService::Pull(
    const base::OpContext& ctx, const std::string& reference,
    const std::optional<registry::Credentials>& credentials) {
  absl::StatusOr<std::string> id = impl_->Pull(ctx, reference, credentials);
  return id.ok() ? id : base::Annotate(id.status(), fmt::format("pull image '{}'", reference));
}

absl::StatusOr<std::vector<ImageService::Imported>> ImageService::Import(
    const base::OpContext& ctx, const std::string& path, const std::vector<std::string>& names) {
  absl::StatusOr<std::vector<Imported>> images = impl_->Import(ctx, path, names);
  return images.ok() ? images : base::Annotate(images.status(), fmt::format("import '{}'", path));
}

absl::Status ImageService::Export(const base::OpContext& ctx,
                                  const std::vector<std::string>& images,
                                  const ExportOptions& options,
                                  const std::function<absl::Status(std::string_view piece)>& sink) {
  std::vector<ImageLease> leases;
  for (const std::string& text : images) {
    ASSIGN_OR_RETURN(ImageLease lease, Use(text));
    leases.push_back(std::move(lease));
  }
  return base::Annotate(ExportArchive(ctx, impl_->exporter(), leases, options, sink),
                        "export images");
}

std::vector<std::shared_ptr<const model::ImageRecord>> ImageService::List() const {
  return impl_->catalog().index()->images();
}

absl::StatusOr<std::shared_ptr<const model::ImageRecord>> ImageService::Find(
    const std::string& text) const {
  return impl_->catalog().index()->Find(text);
}

absl::StatusOr<ImageLease> ImageService::Use(const std::string& text) {
  return impl_->catalog().Use(text);
}

absl::Status ImageService::Remove(const std::string& text) { return impl_->catalog().Remove(text); }

absl::StatusOr<std::vector<std::string>> ImageService::Condemn(const std::set<int64_t>& layers) {
  return impl_->catalog().Condemn(layers);
}

void ImageService::CollectGarbage() { impl_->catalog().CollectGarbage(); }

void ImageService::WaitIdle() { impl_->catalog().WaitIdle(); }

FsUsage ImageService::Usage() const { return impl_->catalog().Usage(); }

void ImageService::SetPinned(std::vector<std::string> patterns) {
  impl_->catalog().SetPinned(std::move(patterns));
}

}  // namespace berth::image
