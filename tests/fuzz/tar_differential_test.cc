// Random valid archives, of every form that names, numbers and attributes have in tar: what
// LayerExtractor makes of each is what GNU tar makes of it, and it is made again from its recipe.
// Seeds are fixed; BERTH_FUZZ_ROUNDS asks for more of them. Needs root and tar.
#include <fcntl.h>
#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <random>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "lib/archive/layer_recipe.h"
#include "lib/archive/testing/layer_test_dir.h"
#include "lib/archive/testing/tar_builder.h"
#include "lib/oci/sha256.h"

namespace berth::archive {
namespace {

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  std::string Archive() {
    directories_ = {""};
    Add({.name = "./", .type = '5', .mode = 0755});
    for (size_t entries = 1 + Below(40); entries > 0; --entries) {
      AddOne();
    }
    // What follows the end belongs to the layer, too.
    return tar_.Finish() + std::string(512 * Below(4), Below(2) == 0 ? '\0' : 'x');
  }

 private:
  size_t Below(size_t limit) { return random_() % limit; }
  std::string Text(size_t size) {
    constexpr std::string_view kLetters = "abcxyz _-+=~,;\xc3\xa4\xff\\*?'\"";
    std::string text;
    while (text.size() < size) {
      text += kLetters[Below(kLetters.size())];
    }
    return text;
  }
  std::string NewPath(bool is_directory) {
    const std::string parent = directories_[Below(directories_.size())];
    std::string name = Text(1 + (Below(8) == 0 ? 90 + Below(120) : Below(12)));
    name += std::to_string(++names_);
    const std::string path = parent.empty() ? name : parent + "/" + name;
    if (path.size() > 900) {
      return NewPath(is_directory);
    }
    if (is_directory) {
      directories_.push_back(path);
    }
    return path;
  }

  // Long names and links in one of the two forms that there are; attributes plain or as records.
  void Add(TarBuilder::Entry entry) {
    const bool pax = Below(3) == 0;
    const bool long_names = entry.name.size() > 99 || entry.link.size() > 99;
    if (pax || (long_names && Below(2) == 0)) {
      if (entry.name.size() > 99 || Below(4) == 0) {
        entry.pax["path"] = entry.name;
      }
      if (entry.link.size() > 99) {
        entry.pax["linkpath"] = entry.link;
      }
      if (Below(2) == 0) {
        entry.pax["mtime"] = fmt::format("{}.{}", static_cast<int64_t>(Below(2'000'000'000)) - 1000,
                                         1 + Below(999'999'999));
      }
      if (Below(4) == 0 && entry.type != '1') {
        entry.pax["uid"] = std::to_string(Below(4'000'000'000));
        entry.pax["gid"] = std::to_string(Below(4'000'000'000));
      }
      if (Below(3) == 0 && (entry.type == '0' || entry.type == '5')) {
        entry.pax["SCHILY.xattr.user." + std::to_string(Below(3))] = Text(Below(50)) + "\n=1";
      }
      if (Below(4) == 0) {
        entry.pax["comment"] = Text(Below(2000));
      }
    } else {
      for (const auto& [type, text] : {std::pair('L', entry.name), std::pair('K', entry.link)}) {
        if (text.size() > 99) {
          tar_.Add({.name = "././@LongLink", .type = type, .content = text + '\0'});
        }
      }
    }
    entry.uid = Below(5) == 0 ? 2'097'152 + Below(1'000'000) : Below(3000);  // base 256, octal
    entry.gid = Below(3000);
    entry.mtime = static_cast<int64_t>(Below(4'000'000'000));
    tar_.Add(entry);
  }

  void AddOne() {
    switch (Below(9)) {
      case 0:
      case 1: {
        const bool again = Below(4) == 0;
        std::string path = again ? directories_[Below(directories_.size())] : NewPath(true);
        path = path.empty() ? "." : path;
        Add({.name = path + "/",
             .type = Below(8) == 0 ? '0' : '5',
             .mode = static_cast<unsigned>(0700 | Below(010000))});
        return;
      }
      case 2:
        return Add({.name = NewPath(false), .type = '2', .link = Text(1 + Below(200))});
      case 3:
        if (!files_.empty()) {
          return Add({.name = NewPath(false), .type = '1', .link = AFile()});
        }
        break;
      case 4:
        return Add({.name = NewPath(false), .type = '6', .mode = 0600});
      case 5:
        return AddSparse();
      case 6:
        if (!files_.empty()) {  // in place of an earlier one
          return AddFile(AFile());
        }
        break;
      default:
        break;
    }
    const std::string path = NewPath(false);
    files_.push_back(path);
    AddFile((Below(4) == 0 ? "./" : "") + path);
  }
  const std::string& AFile() { return files_[Below(files_.size())]; }
  void AddFile(const std::string& path) {
    Add({.name = path,
         .type = Below(6) == 0 ? '\0' : '0',
         .content = Text(Below(3) == 0 ? 512 * Below(5) : Below(3000)),
         .mode = static_cast<unsigned>(Below(010000))});
  }

  // PAX's form 1.0; layer_differential_test.cc has the others.
  void AddSparse() {
    std::string content;
    size_t at = 0;
    std::vector<std::pair<size_t, size_t>> pieces;
    for (size_t count = Below(5); count > 0; --count) {
      at += 4096 * (1 + Below(4));
      pieces.emplace_back(at, 512 * (1 + Below(9)));  // GNU tar takes whole blocks
      content += Text(pieces.back().second);
      at += pieces.back().second;
    }
    if (Below(2) == 0 || pieces.empty()) {  // a hole at the end is a piece of no bytes after it
      at += 1 + Below(9000);
      pieces.emplace_back(at, 0);
    }
    std::string lines = std::to_string(pieces.size()) + "\n";
    for (const auto& [offset, size] : pieces) {
      lines += fmt::format("{}\n{}\n", offset, size);
    }
    const std::string path = NewPath(false);
    std::map<std::string, std::string> pax = {{"GNU.sparse.name", path},
                                              {"GNU.sparse.realsize", std::to_string(at)},
                                              {"GNU.sparse.major", "1"},
                                              {"GNU.sparse.minor", "0"}};
    lines.resize((lines.size() + 511) / 512 * 512, '\0');
    tar_.Add({.name = "./GNUSparseFile.0/x", .content = lines + content, .pax = pax});
  }

  std::mt19937 random_;
  TarBuilder tar_;
  std::vector<std::string> directories_, files_;
  int names_ = 0;
};

class TarDifferentialTest : public LayerTest {
 protected:
  bool Shell(const std::string& script) {
    return std::system(("cd " + dir_ + " && " + script).c_str()) == 0;
  }
  // A line for each name, one for each content, and the attributes.
  std::string Describe(const std::string& root) {
    EXPECT_TRUE(Shell("(cd " + root +
                      " && find . -type d -printf '%p|%y|%m|%U:%G|%T@\\n' -o -printf "
                      "'%p|%y|%m|%U:%G|%T@|%l|%n|%s\\n' | sort && find . -type f -print0 | sort -z "
                      "| xargs -0 -r sha256sum && getfattr -hdR -m '^user' -e hex . | "
                      "sed '/^# file/b;/^$/d' ) >root-text 2>&1"));
    return base::ReadFile(dir_ + "/root-text", 1 << 24).value_or("");
  }
  void CheckRecipe(const std::string& archive) {
    NewRoot();
    const base::UniqueFd recipe(::memfd_create("recipe", MFD_CLOEXEC));
    LayerOptions options;
    options.name = "random";
    options.recipe_fd = recipe.get();
    auto extractor = LayerExtractor::Start(root_.get(), options);
    ASSERT_TRUE(extractor.ok());
    ASSERT_TRUE((*extractor)->Write(archive).ok());
    const auto result = (*extractor)->Finish();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->diff_id, oci::DigestOf(archive));
    std::string again;
    const absl::Status assembled = AssembleLayer(base::OpContext::Background(), root_.get(),
                                                 recipe.get(), [&](std::string_view piece) {
                                                   again += piece;
                                                   return absl::OkStatus();
                                                 });
    ASSERT_TRUE(assembled.ok()) << assembled;
    EXPECT_TRUE(again == archive);
    const auto problems =
        CheckLayer(base::OpContext::Background(), root_.get(), recipe.get(), result->diff_id, 10);
    ASSERT_TRUE(problems.ok()) << problems.status();
    EXPECT_TRUE(problems->empty()) << problems->front();
  }
};

TEST_F(TarDifferentialTest, ROOT_RandomArchives) {
  const char* const wish = ::getenv("BERTH_FUZZ_ROUNDS");
  const unsigned rounds = wish != nullptr ? static_cast<unsigned>(std::atoi(wish)) : 60;
  for (unsigned seed = 0; seed < rounds; ++seed) {
    SCOPED_TRACE(seed);
    const std::string archive = Generator(seed).Archive();
    ASSERT_TRUE(base::WriteFile(dir_ + "/root.tar", archive, 0600).ok());
    ASSERT_TRUE(
        Shell("rm -rf root-gnu && mkdir -m 755 root-gnu && tar -C root-gnu -p --same-owner "
              "--numeric-owner --delay-directory-restore --xattrs --xattrs-include='*' -xf "
              "root.tar 2>root-errors"))
        << base::ReadFile(dir_ + "/root-errors", 4096).value_or("");
    CheckRecipe(archive);
    const std::string ours = Describe(root_path_), gnu = Describe("root-gnu");
    ASSERT_GT(gnu.size(), 10u);
    ASSERT_EQ(ours, gnu);
    ASSERT_TRUE(base::RemoveTree(root_path_).ok());
  }
  ASSERT_TRUE(Shell("rm -rf root.tar root-gnu root-text root-errors"));
}

}  // namespace
}  // namespace berth::archive
