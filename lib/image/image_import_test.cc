// Imports of OCI layouts and docker-archives, as directories and as tar files. Needs root.
#include "lib/base/status.h"
#include "lib/image/testing/image_test.h"

namespace berth::image {
namespace {

class ImageImportTest : public ImageTest {
 protected:
  using Files = std::map<std::string, std::string>;

  static std::string BlobPath(const std::string& bytes) {
    return "blobs/sha256/" + oci::DigestOf(bytes).hex();
  }
  static Files OciLayout(const FakeImage& image, const std::string& annotations) {
    Files files = {{"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"},
                   {BlobPath(image.config), image.config},
                   {BlobPath(image.manifest), image.manifest}};
    for (const FakeLayer& layer : image.layers) {
      files[BlobPath(layer.blob)] = layer.blob;
    }
    files["index.json"] = fmt::format(
        R"({{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{},"annotations":{{{}}}}}]}})",
        oci::kOciManifestType, image.digest(), image.manifest.size(), annotations);
    return files;
  }
  static Files DockerArchive(const FakeImage& image, const std::string& tags) {
    Files files = {{image.id() + ".json", image.config}};
    std::string layers;
    for (size_t i = 0; i < image.layers.size(); ++i) {
      const std::string name = fmt::format("layer{}/layer.tar", i);
      files[name] = image.layers[i].blob;
      layers += fmt::format("{}\"{}\"", i == 0 ? "" : ",", name);
    }
    files["manifest.json"] = fmt::format(
        R"([{{"Config":"{}.json","RepoTags":[{}],"Layers":[{}]}}])", image.id(), tags, layers);
    return files;
  }
  std::string WriteDir(const Files& files) {
    const std::string path = fmt::format("{}/archive{}", dir_, ++archives_);
    for (const auto& [name, content] : files) {
      EXPECT_TRUE(
          base::MakeDirs((path + "/" + name).substr(0, (path + "/" + name).rfind('/')), 0755).ok());
      EXPECT_TRUE(base::WriteFile(path + "/" + name, content, 0644).ok());
    }
    return path;
  }
  std::string WriteTar(const Files& files, bool compress) {
    const std::string path = fmt::format("{}/archive{}.tar", dir_, ++archives_);
    TarBuilder tar;
    for (const auto& [name, content] : files) {
      tar.File(name, content);
    }
    EXPECT_TRUE(
        base::WriteFile(path, compress ? archive::Gzip(tar.Finish()) : tar.Finish(), 0644).ok());
    return path;
  }
  absl::StatusOr<std::vector<std::string>> Import(const std::string& path,
                                                  const std::vector<std::string>& names = {}) {
    ASSIGN_OR_RETURN(const auto imported,
                     images_->Import(base::OpContext::Background(), path, names));
    std::vector<std::string> ids;
    for (const ImageService::Imported& image : imported) {
      ids.push_back(image.id);
      skipped_.insert(skipped_.end(), image.skipped.begin(), image.skipped.end());
    }
    return ids;
  }
  void Imports(const std::string& path, const FakeImage& image,
               const std::vector<std::string>& tags, const std::vector<std::string>& names = {}) {
    const auto ids = Import(path, names);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, std::vector<std::string>{image.id()});
    EXPECT_EQ(Names(), tags);
    EXPECT_EQ(Content(image.id(), 0, "top"), "2");
    EXPECT_FALSE(images_->List()[0]->repo_digests.empty());
    ASSERT_TRUE(images_->Remove(image.id()).ok());
    CheckNothingUnfinished();
  }
  void Fails(const std::string& path, absl::StatusCode code, const std::string& reason,
             const std::vector<std::string>& names = {}) {
    const auto ids = Import(path, names);
    ASSERT_FALSE(ids.ok()) << reason;
    EXPECT_EQ(ids.status().code(), code) << ids.status();
    EXPECT_NE(std::string(ids.status().message()).find(reason), std::string::npos) << ids.status();
    EXPECT_TRUE(images_->List().empty());
    CheckNothingUnfinished();
  }

  const FakeImage image_ = MakeImage({Layer("base", "1"), Layer("top", "2")});
  int archives_ = 0;
  std::vector<std::string> skipped_;  // platforms, of all imports
};

TEST_F(ImageImportTest, ROOT_OciLayouts) {
  const std::string named = R"("org.opencontainers.image.ref.name":"quay.io/team/app:v1")";
  for (const std::string& path :
       {WriteDir(OciLayout(image_, named)), WriteTar(OciLayout(image_, named), false),
        WriteTar(OciLayout(image_, named), true)}) {
    Imports(path, image_, {"quay.io/team/app:v1"});
    Imports(path, image_, {"docker.io/library/a:1", "docker.io/library/b:latest"}, {"a:1", "b"});
  }
  Imports(
      WriteDir(OciLayout(
          image_,
          R"("org.opencontainers.image.ref.name":"v1","io.containerd.image.name":"docker.io/x/y:z")")),
      image_, {"docker.io/x/y:z"});
}

TEST_F(ImageImportTest, ROOT_DockerArchives) {
  const std::string tags = R"("app:v1","quay.io/x/y:z")";
  for (const std::string& path :
       {WriteDir(DockerArchive(image_, tags)), WriteTar(DockerArchive(image_, tags), true)}) {
    Imports(path, image_, {"docker.io/library/app:v1", "quay.io/x/y:z"});
  }
  Imports(WriteTar(DockerArchive(image_, ""), false), image_, {"docker.io/library/given:latest"},
          {"given"});
}

TEST_F(ImageImportTest, ROOT_BothAtOnceAsNewDockersWrite) {
  Files files = OciLayout(image_, R"("org.opencontainers.image.ref.name":"v1")");
  files["manifest.json"] = fmt::format(
      R"([{{"Config":"blobs/sha256/{}","RepoTags":["app:v1"],"Layers":[]}}])", image_.id());
  const std::string path = WriteDir(files);
  ASSERT_TRUE(Import(path).ok());
  EXPECT_EQ(images_->List()[0]->repo_digests,
            std::vector<std::string>{"docker.io/library/app@" + image_.digest()});
}

TEST_F(ImageImportTest, ROOT_LayersThatAreHereAreNotReadAgain) {
  const std::string path = WriteDir(DockerArchive(image_, R"("app:v1")"));
  ASSERT_TRUE(Import(path).ok());
  const std::set<int64_t> layers = LayerDirs();
  ASSERT_TRUE(Import(path, {"second"}).ok());
  EXPECT_EQ(LayerDirs(), layers);
  EXPECT_EQ(Names().size(), 2u);
}

TEST_F(ImageImportTest, ROOT_BadArchives) {
  const std::string named = R"("org.opencontainers.image.ref.name":"quay.io/team/app:v1")";
  Fails(dir_ + "/absent", absl::StatusCode::kNotFound, "import '" + dir_ + "/absent'");
  Fails("/dev/null", absl::StatusCode::kInvalidArgument, "neither a file nor a directory");
  Fails(WriteDir({{"x", "y"}}), absl::StatusCode::kInvalidArgument, "neither an OCI layout");
  Fails(WriteTar({{"x", "y"}}, false), absl::StatusCode::kInvalidArgument, "neither an OCI layout");
  Fails(WriteDir(OciLayout(image_, R"("org.opencontainers.image.ref.name":"v1")")),
        absl::StatusCode::kInvalidArgument, "give one");
  Fails(WriteDir(DockerArchive(image_, "")), absl::StatusCode::kInvalidArgument, "give one");
  Fails(WriteDir(DockerArchive(image_, R"("Bad Name")")), absl::StatusCode::kInvalidArgument,
        "Bad Name");
  Fails(WriteDir({{"manifest.json", "[]"}}), absl::StatusCode::kInvalidArgument, "holds no image");
  Fails(WriteDir({{"manifest.json", "{}"}}), absl::StatusCode::kInvalidArgument, "manifest.json");
  Fails(WriteDir({{"manifest.json", "nonsense"}}), absl::StatusCode::kInvalidArgument, "import");

  Files files = OciLayout(image_, named);
  files[BlobPath(image_.config)] = MakeImage({}).config;
  Fails(WriteDir(files), absl::StatusCode::kDataLoss, "other content than its name says");
  files = OciLayout(image_, named);
  files[BlobPath(image_.layers[1].blob)] = Layer("top", "3").blob;
  Fails(WriteDir(files), absl::StatusCode::kDataLoss,
        oci::DigestOf(image_.layers[1].blob).ToString());
  files = OciLayout(image_, named);
  files.erase(BlobPath(image_.layers[1].blob));
  Fails(WriteDir(files), absl::StatusCode::kNotFound, oci::DigestOf(image_.layers[1].blob).hex());
  files = DockerArchive(image_, R"("app:v1")");
  files["layer1/layer.tar"] = Layer("top", "3").blob;
  Fails(WriteDir(files), absl::StatusCode::kDataLoss, "the image's config says");
}

TEST_F(ImageImportTest, ROOT_ArchivesThatPointOutside) {
  ASSERT_TRUE(base::WriteFile(dir_ + "/secret.json", image_.config, 0600).ok());
  Files files = DockerArchive(image_, R"("app:v1")");
  files["manifest.json"] =
      R"([{"Config":"../secret.json","RepoTags":["app:v1"],"Layers":["layer0/layer.tar","layer1/layer.tar"]}])";
  Fails(WriteDir(files), absl::StatusCode::kNotFound, "secret.json");
  files.erase("layer0/layer.tar");
  files["manifest.json"] = fmt::format(
      R"([{{"Config":"{}.json","RepoTags":["app:v1"],"Layers":["/etc/passwd","layer1/layer.tar"]}}])",
      image_.id());
  Fails(WriteDir(files), absl::StatusCode::kNotFound, "passwd");
  const std::string path = WriteDir(DockerArchive(image_, R"("app:v1")"));
  ASSERT_EQ(::unlink((path + "/" + image_.id() + ".json").c_str()), 0);
  ASSERT_EQ(
      ::symlink((dir_ + "/secret.json").c_str(), (path + "/" + image_.id() + ".json").c_str()), 0);
  Fails(path, absl::StatusCode::kNotFound, image_.id());
}

// Both images under one name, each for a platform of its own.
TEST_F(ImageImportTest, ROOT_OfSeveralPlatformsTheNodesIsTaken) {
  const FakeImage other = MakeImage({Layer("x", "y")});
  const std::string named = R"("org.opencontainers.image.ref.name":"quay.io/team/app:v1")";
  const auto entry = [&](const FakeImage& image, const std::string& platform) {
    return fmt::format(
        R"({{"mediaType":"{}","digest":"{}","size":{},"annotations":{{{}}},"platform":{{{}}}}})",
        oci::kOciManifestType, image.digest(), image.manifest.size(), named, platform);
  };
  const std::string ours =
      fmt::format(R"("os":"linux","architecture":"{}")", oci::ThisPlatform().architecture);
  const std::string theirs = R"("os":"linux","architecture":"s390x")";
  Files files = OciLayout(image_, named);
  const auto index = [&](const std::string& entries) {
    return fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", entries);
  };
  files["index.json"] = index(entry(other, theirs));
  files[BlobPath(other.manifest)] = other.manifest;
  Fails(WriteDir(files), absl::StatusCode::kNotFound, "it has linux/s390x");
  files["index.json"] = index(entry(other, theirs) + "," + entry(image_, ours));
  Imports(WriteDir(files), image_, {"quay.io/team/app:v1"});
  EXPECT_EQ(skipped_, std::vector<std::string>{"linux/s390x"});
}

TEST_F(ImageImportTest, ROOT_AnArtifactIsATreeOfItsFiles) {
  const std::string content = "weights";
  const std::string config = "{}";
  const std::string manifest = fmt::format(
      R"({{"schemaVersion":2,"mediaType":"{}","artifactType":"application/vnd.model",)"
      R"("config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},)"
      R"("annotations":{{"who":"us"}},"layers":[{{"mediaType":"text/plain","digest":"{}","size":{},)"
      R"("annotations":{{"org.opencontainers.image.title":"deep/down/weights"}}}}]}})",
      oci::kOciManifestType, oci::DigestOf(config).ToString(), oci::DigestOf(content).ToString(),
      content.size());
  Files files = {{"oci-layout", R"({"imageLayoutVersion":"1.0.0"})"},
                 {BlobPath(config), config},
                 {BlobPath(manifest), manifest},
                 {BlobPath(content), content}};
  files["index.json"] = fmt::format(
      R"({{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{},)"
      R"("annotations":{{"org.opencontainers.image.ref.name":"quay.io/team/model:v1"}}}}]}})",
      oci::kOciManifestType, oci::DigestOf(manifest).ToString(), manifest.size());
  const std::string path = WriteTar(files, true);
  ASSERT_TRUE(Import(path).ok());
  ASSERT_TRUE(Import(path).ok());  // nothing is fetched twice, and nothing stands in its way
  const auto image = images_->Find("quay.io/team/model:v1");
  ASSERT_TRUE(image.ok());
  EXPECT_TRUE((*image)->is_artifact);
  EXPECT_EQ((*image)->id, oci::DigestOf(manifest).hex());
  EXPECT_EQ((*image)->annotations.at("who"), "us");
  EXPECT_EQ(Content((*image)->id, 0, "deep/down/weights"), content);
  EXPECT_EQ(LayerDirs().size(), 1u);
  EXPECT_EQ(*store_->Manifest((*image)->id), manifest);
  Reopen();
  EXPECT_TRUE(images_->List()[0]->is_artifact);

  files[BlobPath(content)] = "weighty";
  ASSERT_TRUE(images_->Remove("quay.io/team/model:v1").ok());
  images_->WaitIdle();
  EXPECT_TRUE(LayerDirs().empty());
  Fails(WriteDir(files), absl::StatusCode::kDataLoss, "other content than its name says");
}

TEST_F(ImageImportTest, ROOT_NamesNeedExactlyOneImage) {
  const FakeImage second = MakeImage({Layer("x", "y")});
  Files files = DockerArchive(image_, R"("app:v1")");
  files[second.id() + ".json"] = second.config;
  files["x.tar"] = second.layers[0].blob;
  std::string& manifest = files["manifest.json"];
  manifest.back() = ',';
  manifest += fmt::format(R"({{"Config":"{}.json","RepoTags":["second:v1"],"Layers":["x.tar"]}}])",
                          second.id());
  const std::string path = WriteTar(files, false);
  Fails(path, absl::StatusCode::kInvalidArgument, "holds 2 images", {"name"});
  const auto ids = Import(path);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(*ids, (std::vector<std::string>{image_.id(), second.id()}));
}

}  // namespace
}  // namespace berth::image
