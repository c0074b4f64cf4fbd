// FakeRegistry: an HttpTransport that is a registry in memory, for tests of pulls: it counts, holds
// back, breaks and lies.
#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "lib/archive/testing/tar_builder.h"
#include "lib/base/mutex.h"
#include "lib/oci/image.h"
#include "lib/oci/sha256.h"
#include "lib/registry/http_transport.h"

namespace berth::image {

// A layer's blob, and the DiffID its image will claim for it.
struct FakeLayer {
  std::string blob;
  oci::Digest diff_id;
};
inline FakeLayer GzipLayer(const archive::TarBuilder& tar) {
  return {archive::Gzip(tar.Finish()), oci::DigestOf(tar.Finish())};
}

struct FakeImage {
  std::string config;
  std::string manifest;
  std::vector<FakeLayer> layers;
  std::string id() const { return oci::DigestOf(config).hex(); }
  std::string digest() const { return oci::DigestOf(manifest).ToString(); }
};
inline FakeImage MakeImage(const std::vector<FakeLayer>& layers, const std::string& comment = "") {
  FakeImage image;
  image.layers = layers;
  std::string diff_ids;
  std::string descriptors;
  for (const FakeLayer& layer : layers) {
    const char* comma = diff_ids.empty() ? "" : ",";
    diff_ids += fmt::format("{}\"{}\"", comma, layer.diff_id.ToString());
    descriptors += fmt::format(
        R"({}{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}})",
        comma, oci::DigestOf(layer.blob).ToString(), layer.blob.size());
  }
  image.config = fmt::format(
      R"({{"os":"linux","architecture":"{}","comment":"{}","config":{{"Cmd":["/x"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}})",
      oci::ThisPlatform().architecture, comment, diff_ids);
  image.manifest = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{}]}})",
      oci::kOciManifestType, oci::kOciConfigType, oci::DigestOf(image.config).ToString(),
      image.config.size(), descriptors);
  return image;
}

class FakeRegistry : public registry::HttpTransport {
 public:
  // Puts an image under "repository" (as in the URL) and a tag.
  void Put(const std::string& repository, const std::string& tag, const FakeImage& image) {
    base::MutexLock lock(mu_);
    PutManifestLocked(repository, tag, image.manifest, oci::kOciManifestType);
    PutBlobLocked(repository, image.config);
    for (const FakeLayer& layer : image.layers) {
      PutBlobLocked(repository, layer.blob);
    }
  }
  // An index with this platform's image and another one.
  std::string PutIndex(const std::string& repository, const std::string& tag,
                       const FakeImage& image) {
    Put(repository, "", image);
    const std::string index = fmt::format(
        R"({{"schemaVersion":2,"mediaType":"{0}","manifests":[)"
        R"({{"mediaType":"{1}","digest":"{2}","size":9,"platform":{{"os":"linux","architecture":"vax"}}}},)"
        R"({{"mediaType":"{1}","digest":"{3}","size":{4},"platform":{{"os":"linux","architecture":"{5}"}}}}]}})",
        oci::kOciIndexType, oci::kOciManifestType, oci::DigestOf("x").ToString(), image.digest(),
        image.manifest.size(), oci::ThisPlatform().architecture);
    base::MutexLock lock(mu_);
    PutManifestLocked(repository, tag, index, oci::kOciIndexType);
    return oci::DigestOf(index).ToString();
  }

  // Answers for this blob wait.
  void Hold(const FakeLayer& layer) {
    base::MutexLock lock(mu_);
    held_.insert(oci::DigestOf(layer.blob).ToString());
  }
  void ReleaseAll() {
    base::MutexLock lock(mu_);
    held_.clear();
    changed_.SignalAll();
  }
  // Waits until an answer is being held back.
  void AwaitHeld() {
    base::MutexLock lock(mu_);
    while (waiting_ == 0) {
      changed_.Wait(mu_);
    }
  }
  // Serves other bytes under this name / answers 404 in one repository.
  void Corrupt(const FakeLayer& layer, const std::string& bytes) {
    base::MutexLock lock(mu_);
    lies_[oci::DigestOf(layer.blob).ToString()] = bytes;
  }
  void Forget(const std::string& repository, const FakeLayer& layer) {
    base::MutexLock lock(mu_);
    content_.erase(repository + "/blobs/" + oci::DigestOf(layer.blob).ToString());
  }
  int Gets(const FakeLayer& layer) {
    base::MutexLock lock(mu_);
    return gets_[oci::DigestOf(layer.blob).ToString()];
  }
  // "METHOD repository/manifests/tag" of each request since the last call.
  std::vector<std::string> TakeLog() {
    base::MutexLock lock(mu_);
    return std::exchange(log_, {});
  }
  int BlobGets() {
    base::MutexLock lock(mu_);
    return blob_gets_;
  }

  absl::StatusOr<registry::HttpResponse> Perform(const base::OpContext& ctx,
                                                 const registry::HttpRequest& request,
                                                 const BodySink& sink) override {
    const std::string path = request.url.substr(request.url.find("/v2/") + 4);
    const std::string name = path.substr(path.rfind('/') + 1);
    std::string body;
    registry::HttpResponse response;
    response.status = 404;
    {
      base::MutexLock lock(mu_);
      const bool is_blob = path.find("/blobs/") != std::string::npos;
      ++gets_[name];
      blob_gets_ += is_blob ? 1 : 0;
      log_.push_back(request.method + " " + path);
      ++waiting_;
      changed_.SignalAll();
      while (held_.count(name) > 0 && ctx.Check().ok()) {
        changed_.WaitFor(mu_, absl::Milliseconds(5));
      }
      --waiting_;
      if (const absl::Status status = ctx.Check(); !status.ok()) {
        return status;
      }
      const auto found = content_.find(path);
      if (found != content_.end()) {
        const auto lie = lies_.find(name);
        body = lie != lies_.end() ? lie->second : found->second.first;
        response.status = 200;
        response.headers.emplace("content-type", found->second.second);
        response.headers.emplace("content-length", std::to_string(body.size()));
        if (!is_blob) {
          response.headers.emplace("docker-content-digest", oci::DigestOf(body).ToString());
        }
      }
    }
    if (request.method == "HEAD") {
      body.clear();
    }
    for (size_t at = 0; at < body.size(); at += 1000) {
      if (const absl::Status status =
              sink(response, {body.data() + at, std::min<size_t>(1000, body.size() - at)});
          !status.ok()) {
        return status;
      }
    }
    return response;
  }
  void CloseIdle() override { ++close_idles; }

  std::atomic<int> close_idles = 0;

 private:
  void PutManifestLocked(const std::string& repository, const std::string& tag,
                         const std::string& bytes, const char* type)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    content_[repository + "/manifests/" + oci::DigestOf(bytes).ToString()] = {bytes, type};
    if (!tag.empty()) {
      content_[repository + "/manifests/" + tag] = {bytes, type};
    }
  }
  void PutBlobLocked(const std::string& repository, const std::string& bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    content_[repository + "/blobs/" + oci::DigestOf(bytes).ToString()] = {
        bytes, "application/octet-stream"};
  }

  base::Mutex mu_;
  base::CondVar changed_;
  std::map<std::string, std::pair<std::string, std::string>> content_
      ABSL_GUARDED_BY(mu_);  // path -> bytes, type
  std::map<std::string, std::string> lies_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> held_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> gets_ ABSL_GUARDED_BY(mu_);
  int blob_gets_ ABSL_GUARDED_BY(mu_) = 0;
  int waiting_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::string> log_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::image
