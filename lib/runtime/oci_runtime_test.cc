#include "lib/runtime/oci_runtime.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/status.h"
#include "lib/base/testing/fake_process_runner.h"

namespace berth::runtime {
namespace {

using base::FakeProcessRunner;
using base::OpContext;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Handler TestHandler() { return {"runc", "/bin/runc", "/run/r", {"--debug"}, "runc version 1", {}}; }

TEST(OciRuntimeTest, CallsAsTheCommandLineInterfaceSays) {
  FakeProcessRunner runner(
      [](const base::ProcessSpec&, std::string_view) { return FakeProcessRunner::Exits(0, ""); });
  const Handler handler = TestHandler();
  OciRuntimeOptions options;
  options.systemd_cgroup = true;
  options.env = {"PATH=/p"};
  OciRuntime runtime(runner, handler, options);
  const OpContext ctx = OpContext::Background();
  EXPECT_TRUE(runtime.Start(ctx, "c1").ok());
  EXPECT_TRUE(runtime.Kill(ctx, "c1", 15, false).ok());
  EXPECT_TRUE(runtime.Kill(ctx, "c1", 9, true).ok());
  EXPECT_TRUE(runtime.Delete(ctx, "c1", false).ok());
  EXPECT_TRUE(runtime.Delete(ctx, "c1", true).ok());
  EXPECT_TRUE(runtime.Update(ctx, "c1", "{}").ok());
  const auto calls = runner.calls();
  ASSERT_EQ(calls.size(), 6u);
  EXPECT_THAT(calls[0].spec.argv,
              ElementsAre("/bin/runc", "--root", "/run/r", "--debug", "--systemd-cgroup", "--log",
                          "/dev/null", "start", "c1"));
  EXPECT_THAT(calls[0].spec.env, ElementsAre("PATH=/p"));
  const auto verb = [&calls](size_t i) {
    return std::vector<std::string>(calls[i].spec.argv.begin() + 7, calls[i].spec.argv.end());
  };
  EXPECT_THAT(verb(1), ElementsAre("kill", "c1", "15"));
  EXPECT_THAT(verb(2), ElementsAre("kill", "--all", "c1", "9"));
  EXPECT_THAT(verb(3), ElementsAre("delete", "c1"));
  EXPECT_THAT(verb(4), ElementsAre("delete", "--force", "c1"));
  EXPECT_THAT(verb(5), ElementsAre("update", "--resources", "-", "c1"));
  EXPECT_EQ(calls[5].input, "{}");
}

absl::Status KillWith(absl::StatusOr<base::RunResult> answer) {
  FakeProcessRunner runner(
      [&answer](const base::ProcessSpec&, std::string_view) { return answer; });
  const Handler handler = TestHandler();
  return OciRuntime(runner, handler, {}).Kill(OpContext::Background(), "c1", 9, false);
}

TEST(OciRuntimeTest, ErrorsSayWhatToDo) {
  absl::Status status = KillWith(FakeProcessRunner::Exits(1, "", "container does not exist\n"));
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(status.message(), "runc kill container 'c1': container does not exist");
  // A missing program is not a missing container.
  status = KillWith(absl::NotFoundError("start '/bin/runc': No such file or directory"));
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("runc kill container 'c1': start '/bin/runc'"));
  EXPECT_TRUE(absl::IsDeadlineExceeded(KillWith(absl::DeadlineExceededError("late"))));
}

TEST(OciRuntimeTest, DeleteOfAnUnknownContainerIsDone) {
  FakeProcessRunner runner([](const base::ProcessSpec&, std::string_view) {
    return FakeProcessRunner::Exits(
        1, "", "error opening file `/run/crun/c1/status`: No such file or directory");
  });
  const Handler handler = TestHandler();
  EXPECT_TRUE(OciRuntime(runner, handler, {}).Delete(OpContext::Background(), "c1", false).ok());
}

TEST(OciRuntimeTest, TemporaryFilesAreWhereTheOwnerRemovesThem) {
  FakeProcessRunner runner(
      [](const base::ProcessSpec&, std::string_view) { return FakeProcessRunner::Exits(0, ""); });
  const Handler handler = TestHandler();
  OciRuntimeOptions options;
  options.env = {"PATH=/p"};
  options.scratch_dir = "/run/s";
  EXPECT_TRUE(OciRuntime(runner, handler, options).Start(OpContext::Background(), "c1").ok());
  EXPECT_THAT(runner.calls()[0].spec.env, ElementsAre("PATH=/p", "_LIBCONTAINER_STATEDIR=/run/s"));
}

struct TextCase {
  const char* text;
  absl::StatusCode code;
  bool no_command;
};

// What runc 1.1.5 and crun 1.8.1 say.
constexpr TextCase kTexts[] = {
    {"runc create failed: unable to start container process: exec: \"nope\": executable file not "
     "found in $PATH",
     absl::StatusCode::kNotFound, true},
    {"exec failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or "
     "directory",
     absl::StatusCode::kNotFound, true},
    {"executable file `nope` not found in $PATH: No such file or directory",
     absl::StatusCode::kNotFound, true},
    {"exec failed: container does not exist", absl::StatusCode::kNotFound, false},
    {"error opening file `/run/crun/x/status`: No such file or directory",
     absl::StatusCode::kNotFound, false},
    {"cannot open directory '/run/crun/nx': No such file or directory", absl::StatusCode::kNotFound,
     false},
    {"cannot start an already running container", absl::StatusCode::kFailedPrecondition, false},
    {"cannot open `/run/crun/px/exec.fifo`: No such file or directory",
     absl::StatusCode::kFailedPrecondition, false},
    {"cannot exec in a stopped container", absl::StatusCode::kFailedPrecondition, false},
    {"container not running", absl::StatusCode::kFailedPrecondition, false},
    {"container process is already dead", absl::StatusCode::kFailedPrecondition, false},
    {"setns(pid=3682, CLONE_NEWUSER): No such process", absl::StatusCode::kFailedPrecondition,
     false},
    {"exec failed: unable to start container process: chdir to cwd (\"/nodir\") set in config.json "
     "failed: no such file or directory",
     absl::StatusCode::kInternal, false},
    {"chdir `/nodir`: No such file or directory", absl::StatusCode::kInternal, false},
    {"open executable: Permission denied", absl::StatusCode::kInternal, false},
};

TEST(RuntimeErrorTest, ClassifiesWhatRuntimesSay) {
  for (const TextCase& test : kTexts) {
    const absl::Status status = RuntimeError("runc", "start", "c1", test.text, 1);
    EXPECT_EQ(status.code(), test.code) << test.text;
    EXPECT_EQ(base::GetReason(status) == OciRuntime::kReasonNoCommand, test.no_command)
        << test.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.text));
  }
}

TEST(RuntimeErrorTest, TellsTheCodeWhenNothingWasSaid) {
  EXPECT_THAT(std::string(RuntimeError("runc", "start", "c1", " \n", 3).message()),
              HasSubstr("exited with code 3"));
  EXPECT_THAT(std::string(RuntimeError("runc", "start", "c1", "", 137).message()),
              HasSubstr("ended by signal 9"));
}

TEST(CleanMessageTest, OneBoundedLineWithoutControlCharacters) {
  EXPECT_EQ(CleanMessage("a\tb\nc\x1b[1m\x7f \n\n"), "a b; c\\x1b[1m\\x7f");
  EXPECT_EQ(CleanMessage(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(CleanMessage("größer"), "größer");
  EXPECT_EQ(CleanMessage(std::string(5000, 'x') + "end").size(), 2048u);
  // The cut is not inside a character.
  std::string long_text;
  for (int i = 0; i < 2000; i++) {
    long_text += "ö";
  }
  const std::string cut = CleanMessage(long_text + "x");
  EXPECT_TRUE(cut.starts_with("ö"));
}

}  // namespace
}  // namespace berth::runtime
