// Compares what LayerExtractor makes of the archives of GNU tar, bsdtar and Python with what GNU
// tar makes of them; and that each is made again from its recipe. Needs root, tar, bsdtar and
// python3.
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <cstring>
#include <set>

#include "fmt/format.h"

#include "lib/archive/layer_recipe.h"
#include "lib/archive/testing/layer_test_dir.h"
#include "lib/oci/sha256.h"

namespace berth::archive {
namespace {

class LayerDifferentialTest : public LayerTest {
 protected:
  void Shell(const std::string& script) {
    ASSERT_EQ(std::system(("set -e; cd " + dir_ + "; " + script).c_str()), 0) << script;
  }
  // One line per file: everything lstat(2) tells that an archive keeps, the content's hash,
  // attributes, and how many names it has.
  static std::string Describe(const std::string& root, const std::string& path = "") {
    const std::string full = root + "/" + path;
    struct stat st;
    EXPECT_EQ(::lstat(full.c_str(), &st), 0) << full;
    std::string line = fmt::format("{}|{:o}|{}:{}|{}.{:09}|{:x}", path, st.st_mode, st.st_uid,
                                   st.st_gid, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_rdev);
    char value[4096];
    if (S_ISREG(st.st_mode)) {
      line += fmt::format("|{}|{}|{}", st.st_nlink, st.st_size,
                          oci::DigestOf(*base::ReadFile(full, 1 << 24)).Short());
    } else if (S_ISLNK(st.st_mode)) {
      const ssize_t size = ::readlink(full.c_str(), value, sizeof(value));
      line += "|" + std::string(value, static_cast<size_t>(std::max<ssize_t>(size, 0)));
    }
    char names[4096];
    const ssize_t names_size = ::llistxattr(full.c_str(), names, sizeof(names));
    std::set<std::string> attributes;
    for (ssize_t at = 0; at < names_size; at += static_cast<ssize_t>(std::strlen(names + at)) + 1) {
      const ssize_t size = ::lgetxattr(full.c_str(), names + at, value, sizeof(value));
      attributes.insert(std::string(names + at) + "=" +
                        std::string(value, static_cast<size_t>(std::max<ssize_t>(size, 0))));
    }
    for (const std::string& attribute : attributes) {
      line += "|" + attribute;
    }
    line += "\n";
    if (S_ISDIR(st.st_mode)) {
      const std::vector<std::string> children = *base::ListDir(full);
      for (const std::string& name : children) {
        line += Describe(root, path.empty() ? name : path + "/" + name);
      }
    }
    return line;
  }
  void SameAsGnuTar(const std::string& tar_options) {
    SameAsGnuTarMakes("tar -C root-src " + tar_options + " -cf root.tar .");
  }
  // `pack` makes root.tar of root-src.
  void SameAsGnuTarMakes(const std::string& pack) {
    Shell("rm -rf root-gnu root.tar; " + pack +
          " && mkdir root-gnu && tar -C root-gnu "
          "--numeric-owner --same-owner -p --delay-directory-restore --xattrs --xattrs-include='*' "
          "-xf root.tar");
    NewRoot();
    recipe_.Reset(::memfd_create("recipe", MFD_CLOEXEC));
    const auto bytes = base::ReadFile(dir_ + "/root.tar", 1 << 30);
    ASSERT_TRUE(bytes.ok());
    const auto result = Unpack(*bytes);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->diff_id, oci::DigestOf(*bytes));
    const std::string gnu = Describe(dir_ + "/root-gnu");
    EXPECT_GT(gnu.size(), 1000u);
    EXPECT_EQ(Describe(root_path_), gnu) << pack;
    IsMadeAgain(*bytes, result->diff_id);
    Shell("rm -rf root.tar root-gnu");
  }
  void IsMadeAgain(const std::string& bytes, const oci::Digest& diff_id) {
    const base::OpContext no_limit = base::OpContext::Background();
    std::string made;
    const absl::Status status =
        AssembleLayer(no_limit, root_.get(), recipe_.get(), [&](std::string_view piece) {
          made.append(piece);
          return absl::OkStatus();
        });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(made == bytes);
    const auto problems = CheckLayer(no_limit, root_.get(), recipe_.get(), diff_id, 10);
    ASSERT_TRUE(problems.ok()) << problems.status();
    EXPECT_EQ(*problems, std::vector<std::string>());
  }
};

// What v7 and ustar can hold as well: no long names, no times below a second are told.
constexpr char kPlainTree[] =
    "mkdir root-src && cd root-src && mkdir -p a/b/c empty 'sp ace' &&"
    "for i in $(seq 100); do seq $i >a/b/c/$i; done && chown -R 1000:1001 a/b && chmod 600 a/b/c/7 "
    "&& cp /bin/true suid && chown 3:4 suid && chmod 6711 suid && ln a/b/c/9 hard && ln -s a/b sym "
    "&& truncate -s 300000 sparse && printf x | dd of=sparse bs=1 seek=200000 conv=notrunc "
    "status=none && : >nothing && printf 'l1' >\"$(printf 'caf\\351')\" &&"
    "seg=$(printf 'n%.0s' $(seq 45)) && mkdir -p $seg/$seg/$seg && echo deep >$seg/$seg/$seg/f &&"
    "touch -d '1969-12-30 00:00:00' a/b/c/1";

// More pieces than one header of old GNU has room for, a hole at the end, and holes alone.
constexpr char kSparseTree[] =
    "mkdir root-src && cd root-src && for i in $(seq 0 2 160); do printf \"piece $i\" | dd of=many "
    "bs=4096 seek=$i conv=notrunc status=none; done && truncate -s 1000001 many &&"
    "truncate -s 5000000 holes && cp --sparse=always many two && printf end >>two &&"
    "for i in $(seq 30); do echo $i >plain$i; done";

constexpr char kPaxTree[] =
    "mkdir root-src && cd root-src && for i in $(seq 40); do echo $i >f$i; done && touch -d "
    "'1999-12-31 23:59:59.987654321' f1 && touch -d '1960-01-01 00:00:00.25' f2 &&"
    "setfattr -n user.hello -v world f3 && setfattr -n user.empty f3 &&"
    "setfattr -n user.bytes -v 0x00ff0a3d f4 && setfattr -n user.d -v dir . &&"
    "chown 3000000:4000000000 f5 && cp /bin/true cap && setcap cap_net_raw+ep cap &&"
    "seg=$(printf 'n%.0s' $(seq 200)) && mkdir -p $seg/$seg && echo deep >$seg/$seg/$seg && ln "
    "-s $seg/$seg/$seg longlink && ln $seg/$seg/$seg longhard";

TEST_F(LayerDifferentialTest, ROOT_SameTreeAsGnuTarMakes) {
  Shell(
      "mkdir root-src && cd root-src && mkdir -p a/b/c sticky setgid empty 'sp ace' && chmod 1777 "
      "sticky && chown 5:6 setgid && chmod 2770 setgid &&"
      "for i in $(seq 300); do seq $i >a/b/c/$i; done && chown -R 1000:1001 a/b && chmod 600 "
      "a/b/c/7 && touch -d '1999-12-31 23:59:59.987654321' a/b/c/8 &&"
      "cp /bin/true suid && chown 3:4 suid && chmod 6711 suid && cp /bin/true cap && setcap "
      "cap_net_raw+ep cap &&"
      "ln a/b/c/9 hard && ln -s a/b sym && ln -s /nonexistent/abs abs && ln sym symhard && mkfifo "
      "fifo && mknod null c 1 3 && mknod disk b 8 1 &&"
      "truncate -s 3000000 sparse && printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc "
      "status=none && : >nothing && echo s >'sp ace/f o o' &&"
      "setfattr -n user.hello -v world a/b/c/10 && chmod 000 a/b/c/11 && echo g >setgid/member &&"
      "long=$(printf 'n%.0s' $(seq 200)) && mkdir -p $long/$long && echo deep >$long/$long/$long "
      "&& ln -s $long/$long/$long longlink &&"
      "printf 'l1\\351' >\"$(printf 'caf\\351')\" && printf u >\"$(printf "
      "'\\303\\274ml\\303\\244ut')\" &&"
      "dd if=/dev/urandom of=big bs=1M count=3 status=none && touch -d '2001-02-03 04:05:06.5' a/b "
      "a empty . sym");
  // Directories after their contents.
  Shell("cd root-src && find . -depth | grep -v -a caf >../root-names");
  for (const char* options :
       {"--format=gnu", "--format=gnu --sparse", "--format=pax --xattrs --xattrs-include='*'",
        "--format=pax --sparse --xattrs --xattrs-include='*'",
        "--format=pax --sparse --sparse-version=0.1", "--format=gnu --sort=name",
        "--format=pax --no-recursion -T root-names"}) {
    SameAsGnuTar(options);
  }
  Shell("rm -rf root-src");
}

TEST_F(LayerDifferentialTest, ROOT_SparseFilesOfEveryFormat) {
  Shell(kSparseTree);
  for (const char* options :
       {"--format=oldgnu --sparse", "--format=gnu --sparse",
        "--format=pax --sparse --sparse-version=0.0", "--format=pax --sparse --sparse-version=0.1",
        "--format=pax --sparse --sparse-version=1.0", "--format=pax --sparse --hole-detection=raw",
        "--format=gnu --sparse --hole-detection=seek"}) {
    SameAsGnuTar(options);
  }
  Shell("rm -rf root-src");
}

TEST_F(LayerDifferentialTest, ROOT_PlainFormats) {
  Shell(kPlainTree);
  for (const char* format : {"oldgnu", "gnu", "pax"}) {
    SameAsGnuTar(std::string("--format=") + format);
  }
  Shell("touch root-src/a/b/c/1");  // ustar has no times before 1970
  SameAsGnuTar("--format=ustar");
  Shell("cd root-src && rm -rf n* && touch nothing");  // and v7 no room for long names
  SameAsGnuTar("--format=v7");
  Shell("rm -rf root-src");
}

TEST_F(LayerDifferentialTest, ROOT_WhatPaxAloneCanSay) {
  Shell(kPaxTree);
  SameAsGnuTar("--format=pax --xattrs --xattrs-include='*'");
  Shell("rm -rf root-src");
}

TEST_F(LayerDifferentialTest, ROOT_ArchivesOfPython) {
  Shell(std::string(kPlainTree) + " && touch a/b/c/1");
  for (const char* format : {"USTAR", "GNU", "PAX"}) {
    SameAsGnuTarMakes(std::string("python3 -c \"import tarfile; t = tarfile.open('root.tar', 'w', "
                                  "format=tarfile.") +
                      format + "_FORMAT); t.add('root-src', '.'); t.close()\"");
  }
  Shell("rm -rf root-src");
}

TEST_F(LayerDifferentialTest, ROOT_ArchivesOfBsdtar) {
  if (std::system("command -v bsdtar >/dev/null") != 0) {
    GTEST_SKIP() << "needs bsdtar (Debian's libarchive-tools)";
  }
  const auto pack = [this](const std::string& options) {
    SameAsGnuTarMakes("bsdtar --format " + options + " -C root-src -cf root.tar .");
  };
  Shell(std::string(kPlainTree) + " && touch a/b/c/1");
  for (const char* format : {"ustar", "gnutar", "pax", "rpax"}) {
    pack(format);
  }
  Shell("cd root-src && rm -rf n* && touch nothing");
  pack("v7");
  Shell("rm -rf root-src");
  Shell(kSparseTree);
  pack("pax");
  Shell("rm -rf root-src");
  Shell(kPaxTree);
  pack("pax --xattrs");
  pack("rpax --xattrs");
  Shell("rm -rf root-src");
}

}  // namespace
}  // namespace berth::archive
