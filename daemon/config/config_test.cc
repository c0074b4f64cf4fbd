// Keys, types and values: ReadToml and ToToml.
#include "daemon/config/config.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Config Read(const std::string& text) {
  Config config;
  const absl::Status status = ReadToml(text, "test.toml", config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

std::string ErrorOf(const std::string& text) {
  Config config;
  const absl::Status status = ReadToml(text, "test.toml", config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text << ": " << status;
  return std::string(status.message());
}

TEST(ReadToml, AnEmptyTextChangesNothing) {
  EXPECT_EQ(Read(""), Config());
  EXPECT_EQ(Read("# nothing\n\n[api]\n[runtimes]\n"), Config());
}

TEST(ReadToml, SetsEveryKindOfValue) {
  const Config config = Read(R"(
root = "/data/berth/"
[api]
listen = "unix:///tmp/b.sock"
[stream]
port = 10250
idle_timeout = "90s"
[runtime]
hooks_dirs = []
default_ulimits = ["nofile=1024:4096", "core=0:0"]
default_sysctls = ["net.ipv4.ip_unprivileged_port_start=0"]
[runtimes.kata]
path = "/opt/kata/bin/kata-runtime"
privileged_without_host_devices = true
exec_cpu_affinity = "first"
options = ["--debug", "--log-format=json"]
[runtimes.plain]
[network]
plugin_dirs = ["/a", "/b/"]
)");
  EXPECT_EQ(config.root, "/data/berth") << "a final slash is dropped";
  EXPECT_EQ(config.state, "/run/berth") << "what is not set keeps its default";
  EXPECT_EQ(config.api.SocketPath(), "/tmp/b.sock");
  EXPECT_EQ(config.stream.port, 10250);
  EXPECT_EQ(config.stream.idle_timeout, absl::Seconds(90));
  EXPECT_THAT(config.runtime.hooks_dirs, IsEmpty());
  EXPECT_THAT(config.runtime.default_ulimits, ElementsAre("nofile=1024:4096", "core=0:0"));
  EXPECT_THAT(config.network.plugin_dirs, ElementsAre("/a", "/b"));
  ASSERT_EQ(config.runtimes.size(), 2u);
  EXPECT_EQ(config.runtimes.at("kata").path, "/opt/kata/bin/kata-runtime");
  EXPECT_TRUE(config.runtimes.at("kata").privileged_without_host_devices);
  EXPECT_EQ(config.runtimes.at("kata").exec_cpu_affinity, "first");
  EXPECT_THAT(config.runtimes.at("kata").options, ElementsAre("--debug", "--log-format=json"));
  EXPECT_EQ(config.runtimes.at("plain"), HandlerConfig());
}

TEST(ReadToml, ALaterTextReplacesValuesAndMergesHandlers) {
  Config config;
  ASSERT_TRUE(
      ReadToml("[runtimes.a]\npath = '/a'\n[image]\npinned = ['x', 'y']\n", "1", config).ok());
  ASSERT_TRUE(ReadToml("[runtimes.a]\nroot = '/r'\n[image]\npinned = ['z']\n", "2", config).ok());
  EXPECT_EQ(config.runtimes.at("a").path, "/a");
  EXPECT_EQ(config.runtimes.at("a").root, "/r");
  EXPECT_THAT(config.image.pinned, ElementsAre("z"));
}

struct BadCase {
  const char* text;
  const char* message;
};

class ReadTomlRefuses : public testing::TestWithParam<BadCase> {};

TEST_P(ReadTomlRefuses, NamingFileLineKeyAndWhatIsExpected) {
  EXPECT_THAT(ErrorOf(GetParam().text), testing::StartsWith(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Types, ReadTomlRefuses,
    testing::Values(
        BadCase{"\nroot = 5\n", "test.toml:2: key 'root': expected a string, found an integer"},
        BadCase{"[stream]\n\nport = \"80\"\n",
                "test.toml:3: key 'stream.port': expected an integer, found a string"},
        BadCase{
            "[stream]\nport = 1.5\n",
            "test.toml:2: key 'stream.port': expected an integer, found a number with a fraction"},
        BadCase{"[stream]\nidle_timeout = 5\n",
                "test.toml:2: key 'stream.idle_timeout': expected a duration such as \"90s\" or "
                "\"4h\", found an integer"},
        BadCase{"[image]\npinned = \"x\"\n",
                "test.toml:2: key 'image.pinned': expected an array of strings, found a string"},
        BadCase{"[image]\npinned = [\n\"x\",\n[\"y\"]]\n",
                "test.toml:4: key 'image.pinned': expected an array of strings, found an array"},
        BadCase{"[runtimes.a]\nprivileged_without_host_devices = \"yes\"\n",
                "test.toml:2: key 'runtimes.a.privileged_without_host_devices': expected true or "
                "false, found a string"},
        BadCase{"api = true\n", "test.toml:1: key 'api': expected a table, found a boolean"},
        BadCase{"[runtimes]\na = 1979-05-27\n",
                "test.toml:2: key 'runtimes.a': expected a table, found a date or time"},
        BadCase{"[[api]]\nlisten = 'x'\n",
                "test.toml:1: key 'api': expected a table, found an array"}));

INSTANTIATE_TEST_SUITE_P(
    Keys, ReadTomlRefuses,
    testing::Values(BadCase{"\n\nrooot = \"/x\"\n",
                            "test.toml:3: unknown key 'rooot'; known here: api, image, log, "
                            "metrics, network, root, "
                            "runtime, runtimes, state, stream"},
                    BadCase{"[api]\nlisten = \"unix:///x\"\nlisen = 1\n",
                            "test.toml:3: unknown key 'api.lisen'; known here: listen"},
                    BadCase{"[log]\n\n[nonsense]\nx = 1\n", "test.toml:3: unknown key 'nonsense'"},
                    BadCase{"[runtimes.a]\npaht = 'x'\n",
                            "test.toml:2: unknown key 'runtimes.a.paht'"},
                    BadCase{"[runtimes.\"a b\"]\n",
                            "test.toml:1: table 'runtimes.a b': expected a name of letters"}));

INSTANTIATE_TEST_SUITE_P(
    Values, ReadTomlRefuses,
    testing::Values(
        BadCase{"root = \"var/lib\"",
                "test.toml:1: key 'root': expected an absolute path below '/'"},
        BadCase{"root = \"/\"", "test.toml:1: key 'root': expected an absolute path below '/'"},
        BadCase{"root = \"/a/../b\"", "test.toml:1: key 'root': expected an absolute path"},
        BadCase{"root = \"/a\\u0000b\"",
                "test.toml:1: key 'root': expected text without control characters"},
        BadCase{"[runtime]\nhooks_dirs = ['/a', 'b']",
                "test.toml:2: key 'runtime.hooks_dirs': expected an absolute path"},
        BadCase{"[runtime]\ncgroup_manager = 'cgroup'",
                "test.toml:2: key 'runtime.cgroup_manager': expected \"auto\", \"systemd\" or "
                "\"cgroupfs\", found 'cgroup'"},
        BadCase{"[log]\nlevel = 'loud'", "test.toml:2: key 'log.level': expected \"trace\", "},
        BadCase{"[log]\nformat = 'xml'",
                "test.toml:2: key 'log.format': expected \"text\" or \"json\", found 'xml'"},
        BadCase{"[stream]\nport = -1",
                "test.toml:2: key 'stream.port': expected an integer from 0 to 65535, found -1"},
        BadCase{"[stream]\nport = 65536",
                "test.toml:2: key 'stream.port': expected an integer from 0 to 65535"},
        BadCase{"[stream]\ntls_min_version = '1.1'",
                "test.toml:2: key 'stream.tls_min_version': expected \"1.2\" or \"1.3\", found "
                "'1.1'"},
        BadCase{"[stream]\ntls_cipher_suites = ['a:b']",
                "test.toml:2: key 'stream.tls_cipher_suites': expected names of cipher suites"},
        BadCase{"[stream]\naddress = 'localhost'",
                "test.toml:2: key 'stream.address': expected an IPv4 or IPv6 address"},
        BadCase{"[image]\nmax_parallel_downloads = 0",
                "test.toml:2: key 'image.max_parallel_downloads': expected an integer from 1 to "
                "128, found 0"},
        BadCase{
            "[image]\nmax_parallel_downloads = 99999999999999999999999",
            "test.toml:2: key 'image.max_parallel_downloads': expected an integer from 1 to 128"},
        BadCase{"[image]\npull_progress_timeout = '-5s'",
                "test.toml:2: key 'image.pull_progress_timeout': expected a duration"},
        BadCase{"[image]\npull_progress_timeout = 'inf'",
                "test.toml:2: key 'image.pull_progress_timeout': expected a duration"},
        BadCase{"[image]\npull_progress_timeout = '5'",
                "test.toml:2: key 'image.pull_progress_timeout': expected a duration"},
        BadCase{"[api]\nlisten = '/run/x.sock'",
                "test.toml:2: key 'api.listen': expected unix:///PATH"},
        BadCase{"[api]\nlisten = 'unix://run/x.sock'",
                "test.toml:2: key 'api.listen': expected unix:///PATH"},
        BadCase{"[api]\nlisten = 'unix:///'",
                "test.toml:2: key 'api.listen': expected unix:///PATH"},
        BadCase{"[api]\nlisten = 'tcp://127.0.0.1:1'",
                "test.toml:2: key 'api.listen': expected unix:///PATH"},
        BadCase{"[runtime]\ndefault = ''", "test.toml:2: key 'runtime.default': expected a name"},
        BadCase{"[runtime]\ndefault_capabilities = ['chown']",
                "test.toml:2: key 'runtime.default_capabilities': expected capabilities such as"},
        BadCase{"[runtime]\ndefault_sysctls = ['net/ipv4/x=1']",
                "test.toml:2: key 'runtime.default_sysctls': expected \"NAME=VALUE\""},
        BadCase{"[runtime]\napparmor_profile = ''",
                "test.toml:2: key 'runtime.apparmor_profile': expected the name of an AppArmor"},
        BadCase{"[runtime]\ndefault_ulimits = ['nofile=5:4']",
                "test.toml:2: key 'runtime.default_ulimits': expected \"NAME=SOFT:HARD\""},
        BadCase{"[runtime]\ndefault_ulimits = ['nofile=-1:4']",
                "test.toml:2: key 'runtime.default_ulimits': expected"},
        BadCase{"[runtimes.a]\ntype = 'vm'",
                "test.toml:2: key 'runtimes.a.type': expected \"oci\", found 'vm'"},
        BadCase{"[metrics]\nlisten = '9090'",
                "test.toml:2: key 'metrics.listen': expected ADDRESS:PORT"},
        BadCase{"[metrics]\nlisten = '::1:9090'",
                "test.toml:2: key 'metrics.listen': expected ADDRESS:PORT"},
        BadCase{"[metrics]\nlisten = '127.0.0.1:99999'",
                "test.toml:2: key 'metrics.listen': expected ADDRESS:PORT"}));

INSTANTIATE_TEST_SUITE_P(
    Syntax, ReadTomlRefuses,
    testing::Values(BadCase{"[api]\nlisten = \n",
                            "test.toml:2: not TOML: missing value after key-value separator '='"},
                    BadCase{"root = '/a'\nroot = '/b'\n",
                            "test.toml:2: not TOML: value (\"root\") already exists"},
                    BadCase{"[api]\n[log]\n[api]\n",
                            "test.toml:3: not TOML: table (\"api\") already exists"},
                    BadCase{"root = \"/a", "test.toml:1: not TOML: "},
                    BadCase{"root = \"\xff\"", "test.toml:1: not TOML: "},
                    BadCase{"\nroot = '/\xff'", "test.toml:2: not TOML: a byte that is not UTF-8"},
                    BadCase{"[x\n", "test.toml:1: not TOML: "},
                    BadCase{"\x01\x02", "test.toml:1: not TOML: "}));

TEST(ReadToml, RefusesNestingThatTheParserWouldNotSurvive) {
  EXPECT_THAT(ErrorOf("root = " + std::string(100000, '[')),
              HasSubstr("brackets are open at once"));
  EXPECT_THAT(ErrorOf("root = " + std::string(100, '[')), HasSubstr("not TOML"));
}

TEST(ReadToml, KnowsTheLengthOfASocketAddress) {
  const std::string fits = "/" + std::string(106, 'a');
  EXPECT_EQ(Read("[api]\nlisten = \"unix://" + fits + "\"").api.SocketPath(), fits);
  EXPECT_THAT(ErrorOf("[api]\nlisten = \"unix://" + fits + "a\""), HasSubstr("at most 107 bytes"));
}

TEST(ReadToml, TakesIpv6WhereAnAddressIsMeant) {
  const Config config = Read("[stream]\naddress = '::1'\n[metrics]\nlisten = '[::1]:9090'\n");
  EXPECT_EQ(config.stream.address, "::1");
  EXPECT_EQ(config.metrics.listen, "[::1]:9090");
}

TEST(ToToml, ReadsBackToTheSame) {
  Config config;
  config.root = R"(/odd "name" \ with = # signs)";
  config.stream.idle_timeout = absl::Minutes(61) + absl::Milliseconds(1500);
  config.stream.tls_cert = "/c";
  config.stream.tls_min_version = "1.3";
  config.stream.tls_cipher_suites = {"TLS_AES_128_GCM_SHA256"};
  config.runtime.cgroup_manager = "systemd";
  config.runtime.default_sysctls = {"net.core.somaxconn=4096", "kernel.shm_rmid_forced=1"};
  config.runtime.default_capabilities.clear();
  config.runtimes["kata-fc"] = {"/k", "/r", "oci", {"--debug"}, {"io.katacontainers.", "ä"}, true};
  config.runtimes["empty"] = {};
  config.image.pinned = {"a*", "b"};
  config.image.max_parallel_downloads = 1;
  config.network.plugin_dirs.clear();
  config.metrics.listen = "0.0.0.0:0";
  EXPECT_EQ(Read(ToToml(config)), config) << ToToml(config);
  EXPECT_EQ(Read(ToToml(Config())), Config());
}

}  // namespace
}  // namespace berth::config
