// Compares what LayerExtractor makes of GNU tar's archives with what GNU tar itself makes of them.
// Needs root and tar.
#include <sys/sysmacros.h>

#include <cstdlib>
#include <cstring>
#include <set>

#include "fmt/format.h"

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
    Shell("rm -rf root-gnu root.tar; tar -C root-src " + tar_options +
          " -cf root.tar . && mkdir root-gnu && tar -C root-gnu "
          "--numeric-owner --same-owner -p --xattrs --xattrs-include='*' -xf root.tar");
    NewRoot();
    const auto bytes = base::ReadFile(dir_ + "/root.tar", 1 << 30);
    ASSERT_TRUE(bytes.ok());
    const auto result = Unpack(*bytes);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->diff_id, oci::DigestOf(*bytes));
    const std::string gnu = Describe(dir_ + "/root-gnu");
    EXPECT_GT(gnu.size(), 1000u);
    EXPECT_EQ(Describe(root_path_), gnu) << tar_options;
    Shell("rm -rf root.tar root-gnu");
  }
};

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

}  // namespace
}  // namespace berth::archive
