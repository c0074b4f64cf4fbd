#include "lib/runtime/testing/lab.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "lib/base/file.h"
#include "lib/base/id.h"

namespace berth::runtime::testing {
namespace {

using nlohmann::json;

constexpr const char* kApplets[] = {"sh",   "sleep",  "cat",  "echo",  "true",   "false", "yes",
                                    "dd",   "head",   "tail", "seq",   "printf", "kill",  "ls",
                                    "stty", "setsid", "tty",  "touch", "test",   "id",    "tr"};

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

// '0' stands for a digit, '+' for a sign.
constexpr std::string_view kTimeForm = "0000-00-00T00:00:00.000000000+00:00 ";

bool HasTimeForm(std::string_view text) {
  for (size_t i = 0; i < text.size(); i++) {
    const char form = kTimeForm[i];
    const bool fits = form == '0'   ? text[i] >= '0' && text[i] <= '9'
                      : form == '+' ? text[i] == '+' || text[i] == '-'
                                    : text[i] == form;
    if (!fits) {
      return false;
    }
  }
  return text.size() == kTimeForm.size();
}

json BaseConfig(const std::string& rootfs) {
  json config = {{"ociVersion", "1.0.2"}, {"hostname", "lab"}};
  config["root"] = {{"path", rootfs}, {"readonly", false}};
  config["mounts"] = json::array(
      {{{"destination", "/proc"}, {"type", "proc"}, {"source", "proc"}},
       {{"destination", "/dev"},
        {"type", "tmpfs"},
        {"source", "tmpfs"},
        {"options", {"nosuid", "mode=755", "size=65536k"}}},
       {{"destination", "/dev/pts"},
        {"type", "devpts"},
        {"source", "devpts"},
        {"options", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}}}});
  return config;
}

json ProcessObject(const std::vector<std::string>& args, bool tty) {
  return {{"terminal", tty},
          {"user", {{"uid", 0}, {"gid", 0}}},
          {"args", args},
          {"env", {"PATH=/bin", "TERM=xterm"}},
          {"cwd", "/"}};
}

}  // namespace

bool Eventually(const std::function<bool()>& condition, absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > end) {
      return false;
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

std::string FakeRuntime(const std::string& faults) {
  return R"(#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    --root) root=$2; shift 2;;
    --log) shift 2;;
    *) break;;
  esac
done
verb=$1; shift
echo "$verb $*" >> "$root/../calls"
bundle=; pid_file=; console=; process=
while [ $# -gt 0 ]; do
  case "$1" in
    --bundle) bundle=$2; shift 2;;
    --pid-file) pid_file=$2; shift 2;;
    --console-socket) console=$2; shift 2;;
    --process) process=$2; shift 2;;
    --*) shift;;
    *) id=${id:-$1}; shift;;
  esac
done
)" + faults +
         R"(
case "$verb" in
  create)
    exec 5<&0  # a job in the background has no standard input of its own accord
    sh -c "while [ ! -e '$bundle/started' ]; do sleep 0.02; done; exec sh '$bundle/cmd'" <&5 &
    echo $! > "$root/$id"; ln -s "$bundle" "$root/$id.bundle"
    echo $! > "$pid_file";;
  start) touch "$root/$id.bundle/started";;
  delete) [ -e "$root/$id" ] && kill -9 $(cat "$root/$id"); rm -f "$root/$id"; exit 0;;
  # Not before this shell has gone, which would reap it.
  exec) sh -c "sleep 0.2; exec sh '$process'" & echo $! > "$pid_file";;
esac
)";
}

int64_t PssKilobytes(pid_t pid) {
  const std::string rollup = ReadAll(fmt::format("/proc/{}/smaps_rollup", pid));
  const size_t at = rollup.find("\nPss:");
  return at == std::string::npos ? -1 : std::strtoll(rollup.c_str() + at + 5, nullptr, 10);
}

std::vector<pid_t> ProcessesWith(const std::string& text) {
  std::vector<pid_t> pids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    const pid_t pid = static_cast<pid_t>(std::atoi(name.c_str()));
    if (pid > 0 && pid != getpid() &&
        ReadAll(fmt::format("/proc/{}/cmdline", pid)).find(text) != std::string::npos) {
      pids.push_back(pid);
    }
  }
  return pids;
}

std::string Lab::monitor_path() {
  const char* path = std::getenv("BERTH_MONITOR");
  return path != nullptr ? path : BERTH_MONITOR;
}

Lab::Lab(const std::string& runtime, bool systemd)
    : is_real_(!runtime.starts_with("#!")), systemd_(systemd) {
  char name[] = "/tmp/berth-lab-XXXXXX";
  dir_ = mkdtemp(name);
  handler_.name = is_real_ ? runtime : "fake";
  handler_.path = is_real_ ? base::FindProgram(runtime).value_or("") : dir_ + "/fake-runtime";
  if (!is_real_) {
    EXPECT_TRUE(base::WriteFile(handler_.path, runtime, 0700).ok());
  }
  handler_.root = dir_ + "/runtime";
  mkdir(handler_.root.c_str(), 0700);
  if (is_real_) {
    MakeRootfs();
  }
  OciRuntimeOptions options;
  options.systemd_cgroup = systemd;
  options.monitor_path = monitor_path();
  options.scratch_dir = dir_;
  runtime_ = std::make_unique<OciRuntime>(runner_, handler_, options);
  RestartMonitors();
  loop_.Start();
}

void Lab::RestartMonitors() {
  monitors_.reset();
  monitors_ = std::make_unique<Monitors>(
      loop_, runner_, monitor_path(),
      [this](const std::string& id) {
        base::MutexLock lock(mu_);
        gone_[id]++;
        changed_.SignalAll();
      },
      [this](const std::string& id) {
        base::MutexLock lock(mu_);
        oom_[id]++;
        changed_.SignalAll();
      });
}

Lab::~Lab() {
  for (const std::string& id : ids_) {
    (void)runtime_->Delete(Soon(), id, /*force=*/true);
  }
  CheckNothingIsLeft();
  loop_.Stop();
  monitors_.reset();
  EXPECT_TRUE(base::RemoveTree(dir_).ok());
}

void Lab::CheckNothingIsLeft() {
  EXPECT_TRUE(Eventually([this] { return ProcessesWith(dir_).empty(); }))
      << "left: " << ReadAll(fmt::format("/proc/{}/cmdline", ProcessesWith(dir_).front()));
  EXPECT_EQ(ReadAll("/proc/self/mountinfo").find(dir_), std::string::npos) << "a mount is left";
  for (const std::string& id : ids_) {
    EXPECT_FALSE(base::PathExists("/sys/fs/cgroup/memory/berth-lab/" + id)) << "a cgroup is left";
    for (const char* suffix : {"", ".pid", ".tty"}) {
      EXPECT_FALSE(base::PathExists(dir_ + "/" + id + "/monitor" + suffix)) << suffix;
    }
  }
  EXPECT_TRUE(Eventually([] {
    // Children of this process: monitors are reaped by the event loop.
    return ReadAll(fmt::format("/proc/self/task/{}/children", getpid())).empty();
  }));
}

void Lab::MakeRootfs() {
  rootfs_ = dir_ + "/rootfs";
  for (const char* name : {"/bin", "/proc", "/dev", "/tmp", "/etc"}) {
    ASSERT_TRUE(base::MakeDirs(rootfs_ + name, 0755).ok());
  }
  std::filesystem::copy("/bin/busybox", rootfs_ + "/bin/busybox");
  for (const char* applet : kApplets) {
    std::filesystem::create_symlink("busybox", fmt::format("{}/bin/{}", rootfs_, applet));
  }
}

MonitorSpec Lab::Prepare(const ContainerOptions& options) {
  MonitorSpec spec;
  spec.id = base::GenerateId();
  ids_.push_back(spec.id);
  spec.bundle = dir_ + "/" + spec.id;
  EXPECT_TRUE(base::MakeDirs(spec.bundle, 0700).ok());
  spec.runtime = handler_.Command(systemd_);
  spec.socket_path = spec.bundle + "/monitor";
  spec.exit_path = spec.bundle + "/exit";
  spec.log_path = options.log ? spec.bundle + "/0.log" : "";
  spec.log_max_bytes = options.log_max_bytes;
  spec.tty = options.tty;
  spec.tty_height = options.tty_height;
  spec.tty_width = options.tty_width;
  spec.open_stdin = options.open_stdin;
  spec.stdin_once = options.stdin_once;
  WriteConfig(spec, options);
  return spec;
}

void Lab::WriteConfig(const MonitorSpec& spec, const ContainerOptions& options) {
  json config = BaseConfig(rootfs_);
  config["process"] = ProcessObject(options.args, options.tty);
  json namespaces = json::array({{{"type", "mount"}}, {{"type", "ipc"}}, {{"type", "uts"}}});
  if (!options.share_pid_namespace) {
    namespaces.push_back({{"type", "pid"}});
  }
  config["linux"] = {
      {"namespaces", namespaces},
      {"cgroupsPath", systemd_ ? "system.slice:berth-lab:" + spec.id : "/berth-lab/" + spec.id}};
  if (options.memory_limit > 0) {
    config["linux"]["resources"]["memory"] = {{"limit", options.memory_limit},
                                              {"swap", options.memory_limit}};
  }
  ASSERT_TRUE(base::WriteFile(spec.bundle + "/config.json", config.dump(), 0600).ok());
}

absl::StatusOr<MonitorState> Lab::Spawn(const MonitorSpec& spec) {
  return monitors_->Spawn(Soon(), spec);
}

MonitorSpec Lab::Run(const ContainerOptions& options) {
  const MonitorSpec spec = Prepare(options);
  const absl::StatusOr<MonitorState> state = Spawn(spec);
  EXPECT_TRUE(state.ok()) << state.status();
  if (state.ok()) {
    const absl::Status started = runtime_->Start(Soon(), spec.id);
    EXPECT_TRUE(started.ok()) << started;
  }
  return spec;
}

MonitorSpec Lab::RunShell(const std::string& script) {
  ContainerOptions options;
  options.args = {"/bin/sh", "-c", script};
  return Run(options);
}

bool Lab::AwaitGone(const std::string& id, absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  base::MutexLock lock(mu_);
  while (gone_[id] == 0) {
    if (!changed_.WaitFor(mu_, end - absl::Now()) && absl::Now() > end) {
      return false;
    }
  }
  return true;
}

absl::StatusOr<ExitRecord> Lab::AwaitExit(const MonitorSpec& spec) {
  if (!AwaitGone(spec.id)) {
    return absl::DeadlineExceededError("the monitor does not end");
  }
  return ReadExitRecord(spec.exit_path);
}

int Lab::gone(const std::string& id) {
  base::MutexLock lock(mu_);
  return gone_[id];
}

int Lab::oom(const std::string& id) {
  base::MutexLock lock(mu_);
  return oom_[id];
}

std::string Lab::Calls() const { return ReadAll(dir_ + "/calls"); }

std::string Lab::LogText(const MonitorSpec& spec) const { return ReadAll(spec.log_path); }

std::vector<std::string> Lab::Records(const std::string& content) {
  std::vector<std::string> records;
  for (size_t at = 0; at < content.size();) {
    size_t end = content.find('\n', at);
    EXPECT_NE(end, std::string::npos) << "unfinished line at the log's end";
    end = std::min(end, content.size());
    const std::string head = content.substr(at, std::min(kTimeForm.size(), end - at));
    EXPECT_TRUE(HasTimeForm(head)) << head;
    records.push_back(content.substr(at + head.size(), end - at - head.size()));
    at = end + 1;
  }
  return records;
}

bool Lab::AwaitLog(const MonitorSpec& spec, const std::string& text, absl::Duration timeout) const {
  return Eventually([&] { return LogText(spec).find(text) != std::string::npos; }, timeout);
}

std::string Lab::Process(const std::vector<std::string>& args, bool tty) const {
  return ProcessObject(args, tty).dump();
}

absl::StatusOr<ExecResult> Lab::Exec(const MonitorSpec& spec, const std::string& script,
                                     absl::Duration timeout) {
  return runtime_->ExecSync(Soon(), spec.id, Process({"/bin/sh", "-c", script}), timeout);
}

MonitorConnection Lab::Connect(const MonitorSpec& spec) {
  absl::StatusOr<MonitorConnection> connection =
      MonitorConnection::Connect(Soon(), spec.socket_path);
  EXPECT_TRUE(connection.ok()) << connection.status();
  return *std::move(connection);
}

}  // namespace berth::runtime::testing
