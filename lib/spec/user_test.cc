#include "lib/spec/user.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::spec {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class UserTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = ::testing::TempDir() + "/user_test.XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    ASSERT_TRUE(base::MakeDirs(root_ + "/etc", 0755).ok());
    Write("etc/passwd",
          "root:x:0:0:root:/root:/bin/sh\n"
          "broken\n"
          "::::\n"
          "big:x:4294967296:5:::\n"
          "www-data:x:33:33:www:/var/www:/bin/sh\n"
          "1000:x:77:77:a name of digits:/:\n"
          "app:x:1000:1001::/home/app:\n"
          "twin:x:1000:1002::/home/twin:\n"
          "bare:x:1500:1500");
    Write("etc/group",
          "root:x:0:\n"
          "bad:x:-5:app\n"
          "huge:x:99999999999:app\n"
          "web:x:80:www-data,app\n"
          "staff:x:50000:app,other\n"
          "apple:x:60:appl,application\n"
          "app:x:1001:");
    auto fd = base::OpenFile(root_, O_PATH | O_DIRECTORY);
    ASSERT_TRUE(fd.ok());
    fd_ = *std::move(fd);
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(root_).ok()); }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(root_ + "/" + name, text, 0644).ok());
  }
  void Remove(const std::string& name) { ASSERT_EQ(::unlink((root_ + "/" + name).c_str()), 0); }
  absl::StatusOr<model::ContainerUser> Resolve(const std::string& image_user) {
    return ResolveUser(fd_.get(), security_, image_user);
  }
  // "uid:gid groups home", or the error.
  std::string Show(const std::string& image_user) {
    const auto user = Resolve(image_user);
    if (!user.ok()) {
      return user.status().ToString();
    }
    std::string text = std::to_string(user->uid) + ":" + std::to_string(user->gid);
    for (const int64_t group : user->supplemental_groups) {
      text += " " + std::to_string(group);
    }
    return text + " " + user->home;
  }

  std::string root_;
  base::UniqueFd fd_;
  model::ContainerSecurity security_;
};

TEST_F(UserTest, ImageUser) {
  EXPECT_EQ(Show(""), "0:0 0 /root");
  EXPECT_EQ(Show("root"), "0:0 0 /root");
  EXPECT_EQ(Show("www-data"), "33:33 33 80 /var/www");
  EXPECT_EQ(Show("33"), "33:33 33 80 /var/www");
  EXPECT_EQ(Show("www-data:staff"), "33:50000 80 50000 /var/www");
  EXPECT_EQ(Show("www-data:7"), "33:7 7 80 /var/www");
  EXPECT_EQ(Show("www-data:"), "33:33 33 80 /var/www");
  EXPECT_EQ(Show(":80"), "0:80 80 /root");
  EXPECT_EQ(Show("1500"), "1500:1500 1500 ");
  EXPECT_EQ(Show("4711"), "4711:0 0 ");
  EXPECT_EQ(Show("4711:4712"), "4711:4712 4712 ");
  EXPECT_EQ(Show("2147483647"), "2147483647:0 0 ");
  // A number is an id, even where a user is called so; the first line of a uid counts.
  EXPECT_EQ(Show("1000"), "1000:1001 80 1001 50000 /home/app");
  EXPECT_EQ(Show("twin"), "1000:1002 1002 /home/twin");
}

TEST_F(UserTest, RefusesWhatIsNoUser) {
  const auto refusal = [&](const std::string& image_user) {
    const auto user = Resolve(image_user);
    EXPECT_EQ(user.status().code(), absl::StatusCode::kInvalidArgument) << image_user;
    return std::string(user.status().message());
  };
  EXPECT_THAT(refusal("nobody"), HasSubstr("user 'nobody' is not in the image's /etc/passwd"));
  EXPECT_THAT(refusal("www-data:nogroup"), HasSubstr("group 'nogroup' is not in"));
  EXPECT_THAT(refusal("big"), HasSubstr("'big' is not in"));
  for (const char* id : {"2147483648", "4294967295", "4294967296", "-1", "99999999999999999999"}) {
    EXPECT_THAT(refusal(id), HasSubstr("is not between 0 and 2147483647")) << id;
    EXPECT_THAT(refusal(std::string("0:") + id), HasSubstr("is not between")) << id;
  }
  EXPECT_THAT(refusal("0x0"), HasSubstr("is not in the image's"));
  EXPECT_THAT(refusal("+1"), HasSubstr("is not in the image's"));
  EXPECT_THAT(refusal(" 1"), HasSubstr("is not in the image's"));
}

TEST_F(UserTest, RequestWins) {
  security_.run_as_user = 1000;
  EXPECT_EQ(Show("www-data:7"), "1000:1001 80 1001 50000 /home/app");
  security_.run_as_group = 9;
  EXPECT_EQ(Show("www-data"), "1000:9 9 80 50000 /home/app");
  security_.run_as_username = "www-data";
  EXPECT_EQ(Show(""), "33:9 9 80 /var/www");
  security_.run_as_username = "33";
  EXPECT_EQ(Show(""), "33:9 9 80 /var/www");
}

TEST_F(UserTest, RequestRefusals) {
  security_.run_as_group = 9;
  EXPECT_THAT(Show("www-data"), HasSubstr("run_as_group needs run_as_user"));
  security_.run_as_user = -1;
  EXPECT_THAT(Show(""), HasSubstr("run_as_user -1"));
  security_.run_as_user = int64_t{1} << 32;
  EXPECT_THAT(Show(""), HasSubstr("run_as_user 4294967296"));
  security_.run_as_user = 1;
  security_.run_as_group = int64_t{1} << 31;
  EXPECT_THAT(Show(""), HasSubstr("run_as_group 2147483648"));
  security_.run_as_group = 1;
  security_.supplemental_groups = {5, int64_t{1} << 31};
  EXPECT_THAT(Show(""), HasSubstr("supplemental group 2147483648"));
  security_.supplemental_groups = {-5};
  EXPECT_THAT(Show(""), HasSubstr("supplemental group -5"));
}

TEST_F(UserTest, SupplementalGroups) {
  security_.run_as_user = 1000;
  security_.run_as_group = 3000;
  security_.supplemental_groups = {4000, 80, 4000};
  EXPECT_EQ(Show(""), "1000:3000 80 3000 4000 50000 /home/app");
  security_.supplemental_groups_policy = model::SupplementalGroupsPolicy::kStrict;
  EXPECT_EQ(Show(""), "1000:3000 80 3000 4000 /home/app");
  security_.supplemental_groups.clear();
  EXPECT_EQ(Show(""), "1000:3000 3000 /home/app");
}

TEST_F(UserTest, FilesMayBeMissing) {
  Remove("etc/passwd");
  Remove("etc/group");
  EXPECT_EQ(Show(""), "0:0 0 ");
  EXPECT_EQ(Show("7:8"), "7:8 8 ");
  EXPECT_THAT(Show("root"), HasSubstr("'root' is not in"));
  ASSERT_EQ(::rmdir((root_ + "/etc").c_str()), 0);
  EXPECT_EQ(Show("7"), "7:0 0 ");
}

TEST_F(UserTest, HostileFiles) {
  // Outside of the root there is a user of that name; the link leads to the root's own file, which
  // is none.
  Remove("etc/passwd");
  ASSERT_EQ(::symlink("/etc/shadow", (root_ + "/etc/passwd").c_str()), 0);
  EXPECT_THAT(Show("root"), HasSubstr("'root' is not in"));
  Remove("etc/passwd");
  ASSERT_EQ(::symlink("../../../../../../../etc/passwd.real", (root_ + "/etc/passwd").c_str()), 0);
  Write("etc/passwd.real", "inside:x:5:6::/:\n");
  EXPECT_EQ(Show("inside"), "5:6 6 /");

  Remove("etc/passwd");
  ASSERT_EQ(::mkfifo((root_ + "/etc/passwd").c_str(), 0644), 0);
  EXPECT_THAT(Show("0"), HasSubstr("not a regular file"));

  // 4 GiB of nothing.
  Remove("etc/passwd");
  Write("etc/passwd", "");
  ASSERT_EQ(::truncate((root_ + "/etc/passwd").c_str(), int64_t{4} << 30), 0);
  EXPECT_EQ(Resolve("0").status().code(), absl::StatusCode::kOutOfRange);

  Write("etc/passwd", std::string(kMaxUserFileBytes, '\n'));
  Write("etc/group", "g:x:5:" + std::string(kMaxUserFileBytes - 6, ','));
  EXPECT_EQ(Show("0"), "0:0 0 ");

  Write("etc/passwd", "app:x:1000:1000::/home/app\r:/bin/sh\n");
  EXPECT_THAT(Show("app"), HasSubstr("control characters"));
  Write("etc/passwd", "app:x:1000:1000::/home/\x01:/bin/sh\n");
  EXPECT_THAT(Show("app"), HasSubstr("control characters"));
}

class PasswdTest : public UserTest {
 protected:
  absl::StatusOr<std::optional<std::string>> Passwd(int64_t uid, int64_t gid) {
    model::ContainerUser user;
    user.uid = uid;
    user.gid = gid;
    user.supplemental_groups = {gid};
    return PasswdWithUser(fd_.get(), container_, user, home_);
  }

  model::ContainerSpec container_;
  std::string home_ = "/work";
};

TEST_F(PasswdTest, AddsALine) {
  auto text = Passwd(4711, 12);
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_TRUE(text->has_value());
  EXPECT_THAT(**text,
              HasSubstr("bare:x:1500:1500\n4711:x:4711:12:4711 user:/work:/sbin/nologin\n"));
  Remove("etc/passwd");
  EXPECT_EQ(**Passwd(4711, 12), "4711:x:4711:12:4711 user:/work:/sbin/nologin\n");
}

TEST_F(PasswdTest, NotNeeded) {
  EXPECT_FALSE(Passwd(0, 0)->has_value());
  EXPECT_FALSE(Passwd(33, 33)->has_value());
  container_.mounts.push_back({.container_path = "/etc/./passwd"});
  EXPECT_FALSE(Passwd(4711, 0)->has_value());
  container_.mounts[0].container_path = "/etc/";
  EXPECT_FALSE(Passwd(4711, 0)->has_value());
  container_.mounts[0].container_path = "/etcetera";
  EXPECT_TRUE(Passwd(4711, 0)->has_value());

  ASSERT_EQ(::chmod((root_ + "/etc/passwd").c_str(), 0664), 0);
  struct stat status = {};
  ASSERT_EQ(::stat((root_ + "/etc/passwd").c_str(), &status), 0);
  EXPECT_FALSE(Passwd(4711, status.st_gid)->has_value());
  EXPECT_TRUE(Passwd(4711, status.st_gid + 1)->has_value());
  ASSERT_EQ(::chmod((root_ + "/etc/passwd").c_str(), 0646), 0);
  EXPECT_FALSE(Passwd(4711, status.st_gid + 1)->has_value());
}

TEST_F(PasswdTest, HomeCannotAddLines) {
  for (const char* home : {"/x\nevil:x:0:0::/:/bin/sh", "/x\r", "/x:y", "/\x7f"}) {
    home_ = home;
    const auto text = Passwd(4711, 0);
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << home;
    EXPECT_THAT(std::string(text.status().message()), HasSubstr("HOME holds"));
  }
}

}  // namespace
}  // namespace berth::spec
