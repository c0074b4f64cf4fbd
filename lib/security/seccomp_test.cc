#include "lib/security/seccomp.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"

namespace berth::security {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

SeccompTarget Target(const std::vector<std::string>& capabilities, std::string arch = "amd64",
                     int major = 6, int minor = 1) {
  return SeccompTarget{.arch = std::move(arch),
                       .kernel_major = major,
                       .kernel_minor = minor,
                       .capabilities = *ParseCapabilities(capabilities)};
}

// What the resolved profile does with a call whose arguments no rule looks at: "ALLOW", "ERRNO 1".
// "ARGS" when a rule looks at them.
std::string Verdict(const Json& resolved, const std::string& name) {
  std::set<std::string> verdicts;
  for (const Json& rule : resolved.value("syscalls", Json::array())) {
    for (const Json& known : rule["names"]) {
      if (known != name) {
        continue;
      }
      if (rule.contains("args")) {
        verdicts.insert("ARGS");
      } else {
        verdicts.insert(
            rule["action"].get<std::string>().substr(9) +
            (rule.contains("errnoRet") ? fmt::format(" {}", rule["errnoRet"].dump()) : ""));
      }
    }
  }
  return verdicts.empty() ? "default" : fmt::format("{}", fmt::join(verdicts, "|"));
}

Json ResolveDefault(const SeccompTarget& target) {
  return Json::parse(SeccompProfile::Default().Resolve(target));
}

TEST(SeccompDefault, Unprivileged) {
  const Json resolved = ResolveDefault(Target({"CHOWN", "KILL"}));
  EXPECT_EQ(resolved["defaultAction"], "SCMP_ACT_ERRNO");
  EXPECT_EQ(resolved["defaultErrnoRet"], 38);
  EXPECT_EQ(resolved["architectures"], Json({"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"}));
  for (const char* allowed :
       {"read", "execve", "openat2", "ptrace", "futex_waitv", "rseq", "arch_prctl", "statmount"}) {
    EXPECT_EQ(Verdict(resolved, allowed), "ALLOW") << allowed;
  }
  for (const char* refused :
       {"mount",  "umount2",        "setns",       "bpf",    "perf_event_open",   "init_module",
        "reboot", "kexec_load",     "swapon",      "chroot", "open_by_handle_at", "add_key",
        "keyctl", "io_uring_setup", "userfaultfd", "syslog", "settimeofday",      "iopl",
        "kcmp",   "acct",           "pivot_root"}) {
    EXPECT_EQ(Verdict(resolved, refused), "ERRNO 1") << refused;
  }
  EXPECT_EQ(Verdict(resolved, "clone"), "ARGS");
  EXPECT_EQ(Verdict(resolved, "unshare"), "ARGS");
  EXPECT_EQ(Verdict(resolved, "personality"), "ARGS");
  EXPECT_EQ(Verdict(resolved, "socket"), "ARGS");
  // ENOSYS, which is the default.
  EXPECT_EQ(Verdict(resolved, "clone3"), "default");
  EXPECT_EQ(Verdict(resolved, "arm_sync_file_range"), "default");
}

TEST(SeccompDefault, CapabilitiesOpenWhatTheyAreFor) {
  struct Case {
    const char* capability;
    const char* syscall;
  };
  for (const Case& c : std::vector<Case>{{"SYS_ADMIN", "mount"},
                                         {"SYS_ADMIN", "clone"},
                                         {"SYS_ADMIN", "clone3"},
                                         {"SYS_ADMIN", "unshare"},
                                         {"SYS_ADMIN", "bpf"},
                                         {"BPF", "bpf"},
                                         {"PERFMON", "perf_event_open"},
                                         {"SYS_ADMIN", "perf_event_open"},
                                         {"DAC_READ_SEARCH", "open_by_handle_at"},
                                         {"SYS_BOOT", "reboot"},
                                         {"SYS_CHROOT", "chroot"},
                                         {"SYS_MODULE", "finit_module"},
                                         {"SYS_PTRACE", "kcmp"},
                                         {"SYS_RAWIO", "ioperm"},
                                         {"SYS_TIME", "clock_settime"},
                                         {"SYS_TTY_CONFIG", "vhangup"},
                                         {"SYSLOG", "syslog"}}) {
    EXPECT_EQ(Verdict(ResolveDefault(Target({c.capability})), c.syscall), "ALLOW")
        << c.capability << " " << c.syscall;
  }
  // Each call has one verdict, whatever the capabilities.
  for (const Json& resolved :
       {ResolveDefault(Target({"ALL"})), ResolveDefault(Target({"SYS_ADMIN", "BPF", "PERFMON"})),
        ResolveDefault(Target({"SYS_PTRACE"}))}) {
    std::set<std::string> names;
    for (const Json& rule : resolved["syscalls"]) {
      for (const Json& name : rule["names"]) {
        EXPECT_TRUE(rule.contains("args") || names.insert(name).second) << name;
        EXPECT_EQ(Verdict(resolved, name).find('|'), std::string::npos) << name;
      }
    }
  }
}

// What it does with a call with these arguments. libseccomp picks any of several rules that match,
// so there must be one.
std::string VerdictWith(const Json& resolved, const std::string& name,
                        const std::vector<uint64_t>& values) {
  std::vector<std::string> verdicts;
  for (const Json& rule : resolved["syscalls"]) {
    if (std::find(rule["names"].begin(), rule["names"].end(), name) == rule["names"].end()) {
      continue;
    }
    bool matches = true;
    for (const Json& arg : rule["args"]) {
      const uint64_t value = values.at(arg["index"]);
      const uint64_t wanted = arg["value"];
      matches &= arg["op"] == "SCMP_CMP_EQ"          ? value == wanted
                 : arg["op"] == "SCMP_CMP_NE"        ? value != wanted
                 : arg["op"] == "SCMP_CMP_MASKED_EQ" ? (value & wanted) == arg["valueTwo"]
                                                     : false;
    }
    if (matches) {
      verdicts.push_back(rule["action"].get<std::string>().substr(9) +
                         (rule.contains("errnoRet") ? " " + rule["errnoRet"].dump() : ""));
    }
  }
  return verdicts.empty() ? "default" : fmt::format("{}", fmt::join(verdicts, "|"));
}

TEST(SeccompDefault, SocketFamilies) {
  constexpr uint64_t kHigh = uint64_t{1} << 32;  // the kernel looks at the lower half
  constexpr uint64_t kNetlink = 16, kAlg = 38, kVsock = 40, kAudit = 9;
  const Json plain = ResolveDefault(Target({}));
  const Json auditor = ResolveDefault(Target({"AUDIT_WRITE"}));
  for (uint64_t family = 0; family < 48; ++family) {
    const std::string expected = family == kAlg || family == kVsock ? "ERRNO 97" : "ALLOW";
    for (const Json& resolved : {plain, auditor}) {
      EXPECT_EQ(VerdictWith(resolved, "socket", {family, 2, 0}), expected) << family;
      EXPECT_EQ(VerdictWith(resolved, "socket", {family | kHigh, 2, 0}), expected) << family;
    }
  }
  EXPECT_EQ(VerdictWith(plain, "socket", {48, 2, 0}), "default");
  EXPECT_EQ(VerdictWith(plain, "socket", {kNetlink, 3, kAudit}), "ERRNO 22");
  EXPECT_EQ(VerdictWith(auditor, "socket", {kNetlink, 3, kAudit}), "ALLOW");
  EXPECT_EQ(VerdictWith(plain, "socket", {1, 3, kAudit}), "ALLOW");
}

TEST(SeccompDefault, OnlyOnX86) {
  for (const char* name : {"arch_prctl", "modify_ldt", "uretprobe"}) {
    EXPECT_EQ(Verdict(ResolveDefault(Target({})), name), "ALLOW") << name;
    EXPECT_EQ(Verdict(ResolveDefault(Target({}, "arm64")), name), "default") << name;
  }
}

TEST(SeccompDefault, OldKernelsDoNotTrace) {
  EXPECT_EQ(Verdict(ResolveDefault(Target({}, "amd64", 4, 7)), "ptrace"), "default");
  EXPECT_EQ(Verdict(ResolveDefault(Target({}, "amd64", 4, 8)), "ptrace"), "ALLOW");
  EXPECT_EQ(Verdict(ResolveDefault(Target({"SYS_PTRACE"}, "amd64", 4, 7)), "ptrace"), "ALLOW");
}

TEST(SeccompDefault, Arm) {
  const Json resolved = ResolveDefault(Target({}, "arm64"));
  EXPECT_EQ(resolved["architectures"], Json({"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}));
  EXPECT_EQ(Verdict(resolved, "sync_file_range2"), "ALLOW");
  EXPECT_EQ(Verdict(resolved, "modify_ldt"), "default");
  EXPECT_FALSE(ResolveDefault(Target({}, "loong64")).contains("architectures"));
}

TEST(SeccompDefault, EqualInputsGiveEqualBytes) {
  EXPECT_EQ(SeccompProfile::Default().Resolve(Target({"CHOWN"})),
            SeccompProfile::Default().Resolve(Target({"CHOWN"})));
  EXPECT_GT(ThisSeccompTarget(0).kernel_major, 3);
}

TEST(SeccompProfile, OciFormStaysWhatItIs) {
  const std::string text =
      R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
      "flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/run/l","listenerMetadata":"m",
      "syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO","errnoRet":13,
                   "args":[{"index":1,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]},
                  {"name":"getcwd","action":"SCMP_ACT_NOTIFY","args":null}]})";
  const auto profile = SeccompProfile::Parse(text);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_EQ(Json::parse(profile->Resolve(Target({}))), Json::parse(R"(
    {"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
      "flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/run/l","listenerMetadata":"m",
      "syscalls":[{"names":["sethostname"],"action":"SCMP_ACT_ERRNO","errnoRet":13,
                   "args":[{"index":1,"value":18446744073709551615,"valueTwo":0,"op":"SCMP_CMP_EQ"}]},
                  {"names":["getcwd"],"action":"SCMP_ACT_NOTIFY"}]})"));
}

TEST(SeccompProfile, NamesOfErrorsCount) {
  const auto profile = SeccompProfile::Parse(
      R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"ENOSYS","syscalls":[
          {"names":["chmod"],"action":"SCMP_ACT_ERRNO","errno":"EPERM"}]})");
  ASSERT_TRUE(profile.ok()) << profile.status();
  const Json resolved = Json::parse(profile->Resolve(Target({})));
  EXPECT_EQ(resolved["defaultErrnoRet"], 38);
  EXPECT_EQ(Verdict(resolved, "chmod"), "ERRNO 1");
}

TEST(SeccompProfile, Refusals) {
  struct Case {
    std::string json, message;
  };
  const auto rule = [](std::string_view body) {
    return fmt::format(R"({{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{{}}}]}})", body);
  };
  const std::string allow = R"("names":["read"],"action":"SCMP_ACT_ALLOW")";
  const std::vector<Case> cases = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"[]", "not an object"},
      {"{}", "'defaultAction' is no action: ''"},
      {R"({"defaultAction":"SCMP_ACT_FLY"})", "SCMP_ACT_FLY"},
      {R"({"defaultAction":7})", "not a string"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":-1})", "number >= 0"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000})", "above 4095"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrno":"EWHAT"})", "names no error"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","syscall":[]})", "unknown member 'syscall'"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":{}})", "not a list"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[7]})", "syscalls[0]: not an object"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","architectures":["A"],"archMap":[]})", "both"},
      {R"({"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"arch":1}]})", "unknown member 'arch'"},
      {rule(""), "no 'names'"},
      {rule(R"("names":[],"action":"SCMP_ACT_ALLOW")"), "no 'names'"},
      {rule(R"("names":[7],"action":"SCMP_ACT_ALLOW")"), "not a word"},
      {rule(R"("names":["read"])"), "is no action"},
      {rule(R"("names":["read"],"action":"SCMP_ACT_NOTIFY")"), "listenerPath"},
      {rule(allow + R"(,"arg":[])"), "unknown member 'arg'"},
      {rule(allow + R"(,"args":{})"), "'args' is not a list"},
      {rule(allow + R"(,"args":[{"index":6,"op":"SCMP_CMP_EQ"}])"), "no argument 6"},
      {rule(allow + R"(,"args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}])"), "'value'"},
      {rule(allow + R"(,"args":[{"index":0,"value":1.5,"op":"SCMP_CMP_EQ"}])"), "'value'"},
      {rule(allow + R"(,"args":[{"index":0,"op":"EQ"}])"), "no comparison"},
      {rule(allow + R"(,"includes":{"caps":["CAP_FLY"]})"), "'CAP_FLY' is no capability"},
      {rule(allow + R"(,"includes":{"minKernel":"new"})"), "minKernel"},
      {rule(allow + R"(,"excludes":{"minKernel":"4.x"})"), "syscalls[0].excludes"},
      {rule(allow + R"(,"excludes":{"kernel":"4.8"})"), "unknown member 'kernel'"},
      {std::string(1 << 19, '['), "not JSON"},
  };
  for (const Case& c : cases) {
    const auto profile = SeccompProfile::Parse(c.json);
    ASSERT_FALSE(profile.ok()) << c.json;
    EXPECT_EQ(profile.status().code(), absl::StatusCode::kInvalidArgument) << c.json;
    EXPECT_THAT(std::string(profile.status().message()), HasSubstr(c.message));
  }
  std::string names;
  for (int i = 0; i < 5000; ++i) {
    names += fmt::format("{}\"n{}\"", i == 0 ? "" : ",", i);
  }
  EXPECT_FALSE(
      SeccompProfile::Parse(rule(fmt::format(R"("names":[{}],"action":"SCMP_ACT_ALLOW")", names)))
          .ok());
  EXPECT_EQ(SeccompProfile::Parse(std::string((1 << 20) + 1, ' ')).status().code(),
            absl::StatusCode::kOutOfRange);
}

class SeccompPolicyTest : public ::testing::Test {
 protected:
  static model::SecurityProfile Request(model::SecurityProfile::Type type, std::string ref = "") {
    return {.type = type, .localhost_ref = std::move(ref)};
  }
  SeccompPolicy policy_{SeccompProfile::Default()};
};

TEST_F(SeccompPolicyTest, Choice) {
  using Type = model::SecurityProfile::Type;
  EXPECT_EQ(*policy_.For(std::nullopt, false, 0), "");
  EXPECT_EQ(*policy_.For(Request(Type::kUnconfined), false, 0), "");
  EXPECT_EQ(*policy_.For(Request(Type::kRuntimeDefault), true, 0), "");
  const std::string resolved = *policy_.For(Request(Type::kRuntimeDefault), false, 1);
  EXPECT_EQ(resolved, SeccompProfile::Default().Resolve(ThisSeccompTarget(1)));
  EXPECT_EQ(*policy_.For(Request(Type::kRuntimeDefault), false, 1), resolved);
  EXPECT_NE(*policy_.For(Request(Type::kRuntimeDefault), false, kAllCapabilities), resolved);
}

TEST_F(SeccompPolicyTest, Localhost) {
  using Type = model::SecurityProfile::Type;
  const std::string path = ::testing::TempDir() + "/seccomp_test.json";
  ASSERT_TRUE(base::WriteFile(path, R"({"defaultAction":"SCMP_ACT_LOG"})", 0600).ok());
  const auto text = policy_.For(Request(Type::kLocalhost, path), false, 0);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, R"({"defaultAction":"SCMP_ACT_LOG"})");
  // Privileged: not even looked for.
  EXPECT_EQ(*policy_.For(Request(Type::kLocalhost, "/nowhere"), true, 0), "");

  ASSERT_TRUE(base::WriteFile(path, "{}", 0600).ok());
  const auto bad = policy_.For(Request(Type::kLocalhost, path), false, 0);
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad.status().message()), HasSubstr(path));
  ASSERT_TRUE(base::RemoveFile(path).ok());

  EXPECT_EQ(policy_.For(Request(Type::kLocalhost, path), false, 0).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(policy_.For(Request(Type::kLocalhost, ""), false, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(policy_.For(Request(Type::kLocalhost, "x.json"), false, 0).status().code(),
            absl::StatusCode::kInvalidArgument);

  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(
      std::string(policy_.For(Request(Type::kLocalhost, path), false, 0).status().message()),
      HasSubstr("not a regular file"));
  ASSERT_TRUE(base::RemoveFile(path).ok());
}

}  // namespace
}  // namespace berth::security
