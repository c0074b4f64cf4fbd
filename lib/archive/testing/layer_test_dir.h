// LayerTestDir: a scratch directory with a layer root in it and things beside the root that no
// layer may touch.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/archive/layer_extractor.h"
#include "lib/base/file.h"

namespace berth::archive {

class LayerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root: owners, device nodes and trusted.* attributes";
    }
    char name[] = "/tmp/berth-layer-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    ASSERT_TRUE(base::MakeDirs(dir_ + "/outside", 0755).ok());
    ASSERT_TRUE(base::WriteFile(dir_ + "/outside/victim", "untouched", 0644).ok());
    NewRoot();
  }
  void TearDown() override {
    if (!dir_.empty()) {
      EXPECT_EQ(Outside(), "victim=untouched;") << "the layer reached out of its root";
      EXPECT_TRUE(base::RemoveTree(dir_).ok());
    }
  }

  void NewRoot() {
    root_path_ = dir_ + "/root" + std::to_string(++roots_);
    ASSERT_TRUE(base::MakeDirs(root_path_, 0755).ok());
    root_.Reset(::open(root_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(root_.valid());
  }

  absl::StatusOr<LayerResult> Unpack(const std::string& bytes, LayerLimits limits = LayerLimits(),
                                     size_t piece = 1 << 16) {
    LayerOptions options;
    options.name = "sha256:test";
    options.limits = limits;
    options.recipe_fd = recipe_.get();
    auto extractor = LayerExtractor::Start(root_.get(), options);
    if (!extractor.ok()) {
      return extractor.status();
    }
    for (size_t at = 0; at < bytes.size(); at += piece) {
      if (!(*extractor)->Write(std::string_view(bytes).substr(at, piece)).ok()) {
        break;
      }
    }
    return (*extractor)->Finish();
  }

  std::string At(const std::string& path) const { return root_path_ + "/" + path; }
  struct stat Stat(const std::string& path) const {
    struct stat st = {};
    EXPECT_EQ(::lstat(At(path).c_str(), &st), 0) << path << ": " << ::strerror(errno);
    return st;
  }
  bool Exists(const std::string& path) const {
    struct stat st;
    return ::lstat(At(path).c_str(), &st) == 0;
  }
  std::string Content(const std::string& path) const {
    const auto content = base::ReadFile(At(path), 1 << 24);
    return content.ok() ? *content : content.status().ToString();
  }
  std::string Link(const std::string& path) const {
    char target[4096];
    const ssize_t size = ::readlink(At(path).c_str(), target, sizeof(target));
    return size < 0 ? "" : std::string(target, static_cast<size_t>(size));
  }
  std::string Xattr(const std::string& path, const char* name) const {
    char value[1024];
    const ssize_t size = ::lgetxattr(At(path).c_str(), name, value, sizeof(value));
    return size < 0 ? "<none>" : std::string(value, static_cast<size_t>(size));
  }
  bool IsWhiteout(const std::string& path) const {
    const struct stat st = Stat(path);
    return S_ISCHR(st.st_mode) && st.st_rdev == 0;
  }
  // What lies beside the root, and in it.
  std::string Outside() const {
    std::string all;
    const std::vector<std::string> beside = *base::ListDir(dir_);
    const std::vector<std::string> outside = *base::ListDir(dir_ + "/outside");
    for (const std::string& name : beside) {
      if (name != "outside" && name.rfind("root", 0) != 0) {
        all += name + "!";
      }
    }
    for (const std::string& name : outside) {
      all += name + "=" + *base::ReadFile(dir_ + "/outside/" + name, 4096) + ";";
    }
    return all;
  }

  std::string dir_;
  std::string root_path_;
  base::UniqueFd root_;
  base::UniqueFd recipe_;  // where Unpack writes a recipe, if anywhere
  int roots_ = 0;
};

}  // namespace berth::archive
