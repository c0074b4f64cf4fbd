#include "lib/cni/network_configs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"

namespace berth::cni {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string Conf(const std::string& name, const std::string& type = "bridge") {
  return R"({"cniVersion": "1.0.0", "name": ")" + name + R"(", "plugins": [{"type": ")" + type +
         R"("}]})";
}

class NetworkConfigsTest : public ::testing::Test {
 protected:
  NetworkConfigsTest() {
    char name[] = "/tmp/berth-cni-XXXXXX";
    root_ = ::mkdtemp(name);
    options_.conf_dir = root_ + "/above/net.d";
    options_.plugin_dirs = {root_ + "/bin1", root_ + "/bin2"};
    fs::create_directories(options_.conf_dir);
    fs::create_directories(root_ + "/bin2");
  }
  ~NetworkConfigsTest() override { fs::remove_all(root_); }

  void Put(const std::string& file, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(options_.conf_dir + "/" + file, text, 0644).ok());
  }
  void PutPlugin(const std::string& name, mode_t mode = 0755) {
    ASSERT_TRUE(base::WriteFile(root_ + "/bin2/" + name, "", mode).ok());
  }
  static std::string NameOf(NetworkConfigs& configs) {
    const auto network = configs.Default();
    return network.ok() ? (*network)->name : "";
  }
  // Change notices come through the kernel and another thread: waits for their effect.
  static bool Eventually(const std::function<bool()>& is_so) {
    for (int i = 0; i < 1000; ++i) {
      if (is_so()) {
        return true;
      }
      ::usleep(5000);
    }
    return false;
  }

  std::string root_;
  NetworkOptions options_;
};

TEST_F(NetworkConfigsTest, FirstValidByFileName) {
  Put("30-c.conf", Conf("c"));
  Put("10-a.conflist", "{ broken");
  Put("20-b.json", Conf("b"));
  Put("05-ignored.txt", Conf("ignored"));
  Put("00-noext", Conf("ignored"));
  NetworkConfigs configs(options_);
  EXPECT_EQ(NameOf(configs), "b");
  ASSERT_TRUE(configs.Find("c").ok());
  EXPECT_EQ((*configs.Find("c"))->source, options_.conf_dir + "/30-c.conf");
  EXPECT_EQ(configs.Find("ignored").status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(configs.invalid().size(), 1u);
  EXPECT_EQ(configs.invalid()[0].path, options_.conf_dir + "/10-a.conflist");
  EXPECT_THAT(configs.invalid()[0].reason, HasSubstr("not JSON"));
}

TEST_F(NetworkConfigsTest, DefaultByName) {
  Put("10-a.conf", Conf("a"));
  Put("20-b.conf", Conf("b"));
  options_.default_network = "b";
  NetworkConfigs configs(options_);
  EXPECT_EQ(NameOf(configs), "b");
  ASSERT_TRUE(base::RemoveFile(options_.conf_dir + "/20-b.conf").ok());
  configs.Reload();
  const absl::Status status = configs.Ready();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no valid network 'b'"));
}

TEST_F(NetworkConfigsTest, ReadyTellsWhatIsMissing) {
  NetworkConfigs configs(options_);
  const auto reason = [&] {
    configs.Reload();
    return std::string(configs.Ready().message());
  };
  EXPECT_THAT(reason(), HasSubstr("no valid network configuration in '" + options_.conf_dir + "'"));
  Put("10-a.conf", "nonsense");
  EXPECT_THAT(reason(), HasSubstr("10-a.conf: not JSON"));
  Put("10-a.conf", Conf("a"));
  EXPECT_THAT(reason(), HasSubstr("network 'a': cni plugin 'bridge' is not in " + root_ +
                                  "/bin1, " + root_ + "/bin2"));
  PutPlugin("bridge", 0644);
  EXPECT_THAT(reason(), HasSubstr("'bridge' is not in"));
  ASSERT_EQ(::chmod((root_ + "/bin2/bridge").c_str(), 0755), 0);
  EXPECT_TRUE(configs.Ready().ok()) << configs.Ready();  // without another look at the directory
  fs::remove_all(options_.conf_dir);
  EXPECT_THAT(reason(), HasSubstr("does not exist"));
}

TEST_F(NetworkConfigsTest, OddFilesAreInvalidNotFatal) {
  fs::create_directories(options_.conf_dir + "/05-dir.conf");
  ASSERT_EQ(::mkfifo((options_.conf_dir + "/06-fifo.conf").c_str(), 0600), 0);
  fs::create_symlink("/nonexistent", options_.conf_dir + "/07-dangling.conf");
  Put("08-huge.conf", std::string((1 << 20) + 1, ' '));
  Put("10-a.conf", Conf("a"));
  NetworkConfigs configs(options_);
  EXPECT_EQ(NameOf(configs), "a");
  EXPECT_EQ(configs.invalid().size(), 3u);  // a dangling link is as good as absent
}

TEST_F(NetworkConfigsTest, SeesChanges) {
  base::EventLoop loop;
  loop.Start();
  {
    NetworkConfigs configs(options_, &loop);
    EXPECT_EQ(NameOf(configs), "");
    Put("10-a.conf", Conf("a"));
    EXPECT_TRUE(Eventually([&] { return NameOf(configs) == "a"; }));
    Put("05-b.conf", Conf("b"));
    EXPECT_TRUE(Eventually([&] { return NameOf(configs) == "b"; }));
    ASSERT_TRUE(base::WriteFileAtomic(options_.conf_dir + "/05-b.conf", Conf("c"), 0644).ok());
    EXPECT_TRUE(Eventually([&] { return NameOf(configs) == "c"; }));
    ASSERT_TRUE(base::RemoveFile(options_.conf_dir + "/05-b.conf").ok());
    EXPECT_TRUE(Eventually([&] { return NameOf(configs) == "a"; }));
  }
  loop.Stop();
}

TEST_F(NetworkConfigsTest, SeesTheDirectoryComeAndGo) {
  fs::remove_all(root_ + "/above");
  base::EventLoop loop;
  loop.Start();
  {
    NetworkConfigs configs(options_, &loop);
    EXPECT_EQ(NameOf(configs), "");
    for (const char* name : {"first", "second"}) {
      fs::create_directories(options_.conf_dir);
      Put("10-a.conf", Conf(name));
      EXPECT_TRUE(Eventually([&] { return NameOf(configs) == name; })) << name;
      fs::remove_all(root_ + "/above");
      EXPECT_TRUE(Eventually([&] { return NameOf(configs).empty(); })) << name;
    }
    // A directory that is swapped whole, as a symlink.
    fs::create_directories(root_ + "/v1");
    fs::create_directories(root_ + "/v2");
    fs::create_directories(root_ + "/above");
    ASSERT_TRUE(base::WriteFile(root_ + "/v1/a.conf", Conf("v1"), 0644).ok());
    ASSERT_TRUE(base::WriteFile(root_ + "/v2/a.conf", Conf("v2"), 0644).ok());
    fs::create_directory_symlink(root_ + "/v1", options_.conf_dir);
    EXPECT_TRUE(Eventually([&] { return NameOf(configs) == "v1"; }));
    fs::create_directory_symlink(root_ + "/v2", options_.conf_dir + ".new");
    fs::rename(options_.conf_dir + ".new", options_.conf_dir);
    EXPECT_TRUE(Eventually([&] { return NameOf(configs) == "v2"; }));
  }
  loop.Stop();
}

TEST_F(NetworkConfigsTest, FindPluginTakesNamesOnly) {
  PutPlugin("bridge");
  EXPECT_EQ(*FindPlugin(options_.plugin_dirs, "bridge"), root_ + "/bin2/bridge");
  for (const char* type : {"", "..", ".", "../bin2/bridge", "/bin/sh"}) {
    EXPECT_EQ(FindPlugin(options_.plugin_dirs, type).status().code(),
              absl::StatusCode::kInvalidArgument)
        << type;
  }
  EXPECT_EQ(FindPlugin({}, "bridge").status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace berth::cni
