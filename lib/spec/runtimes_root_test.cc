// Specs as the real runc and crun take them: each container writes what it sees of itself into a
// mounted directory.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "lib/base/id.h"
#include "lib/base/process_runner.h"
#include "lib/security/capabilities.h"
#include "lib/security/seccomp.h"
#include "lib/spec/container_spec.h"
#include "lib/spec/mount_sources.h"
#include "lib/spec/rootfs.h"
#include "lib/spec/user.h"

namespace berth::spec {
namespace {

using model::NamespaceMode;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Prints `key=value` lines about itself; what a case adds runs after it.
constexpr char kReport[] = R"sh(
exec > /out/report 2>&1
while read -r key value; do case $key in
  Uid:|Gid:) echo "$key ${value%%	*}" ;;
  Groups:|Cap*|NoNewPrivs:|Seccomp:) echo "$key $value" ;;
esac; done < /proc/self/status
echo "cwd=$(pwd)"
echo "hostname=$(hostname)"
echo "oom=$(cat /proc/self/oom_score_adj)"
echo "pid=$$"
env | sed 's/^/env /'
sed 's/^/mount /' /proc/self/mountinfo
echo "keys=$(wc -c < /proc/keys)"
echo "firmware=$(ls /sys/firmware | wc -l)"
echo "acpi=$(ls /proc/acpi 2>/dev/null | wc -l)"
echo 1 > /proc/sys/kernel/printk_ratelimit_burst 2>/dev/null && echo sys=written || echo sys=refused
echo x > /rootfs-write 2>/dev/null && echo rootfs=written || echo rootfs=refused
)sh";

class RuntimeTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    const auto program = base::FindProgram(GetParam());
    if (!program.ok()) {
      GTEST_SKIP() << program.status();
    }
    program_ = *program;
    if (!base::PathExists("/bin/busybox")) {
      GTEST_SKIP() << "needs busybox-static";
    }
    // The containers are orphaned by `create` and come to this process.
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    std::string path = "/tmp/spec_root_test.XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    dir_ = path;
    id_ = base::GenerateId();
    MakeRootfs();
    StartPod();
    Arrange();
  }

  void TearDown() override {
    if (dir_.empty()) {
      return;
    }
    Runtime({"delete", "--force", id_}).IgnoreError();
    if (pod_.pid() > 0) {
      EXPECT_TRUE(pod_.Kill(SIGKILL).ok());
      EXPECT_TRUE(pod_.Wait(base::OpContext::WithTimeout(absl::Seconds(10))).ok());
    }
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    EXPECT_TRUE(base::RemoveTree(dir_).ok()) << base::RemoveTree(dir_);
    // The containers' own cgroups are gone already: only their empty parent is left.
    const auto trees = base::ListDir("/sys/fs/cgroup");
    for (const std::string& tree : trees.ok() ? *trees : std::vector<std::string>()) {
      const std::string parent = fmt::format("/sys/fs/cgroup/{}/berth-spec-test", tree);
      EXPECT_TRUE(::rmdir(parent.c_str()) == 0 || errno == ENOENT || errno == ENOTDIR) << parent;
    }
    ::rmdir("/sys/fs/cgroup/berth-spec-test");
  }

  void MakeRootfs() {
    for (const char* name : {"bin", "etc", "proc", "sys", "dev", "tmp", "out"}) {
      ASSERT_TRUE(base::MakeDirs(dir_ + "/rootfs/" + name, 0755).ok());
    }
    ASSERT_EQ(::chmod(dir_.c_str(), 0755), 0);
    const auto busybox = base::ReadFile("/bin/busybox", 16 << 20);
    ASSERT_TRUE(busybox.ok());
    ASSERT_TRUE(base::WriteFile(dir_ + "/rootfs/bin/busybox", *busybox, 0755).ok());
    for (const char* name : {"sh", "cat", "ls", "sed", "env", "wc", "hostname", "pwd", "id",
                             "mount", "unshare", "chroot", "tty", "test", "mknod", "date", "dd"}) {
      ASSERT_EQ(::symlink("busybox", (dir_ + "/rootfs/bin/" + name).c_str()), 0);
    }
    Write("rootfs/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
    Write("rootfs/etc/group", "root:x:0:\nextra:x:50000:app\n");
    for (const char* name : {"resolv.conf", "hostname", "hosts", "containerenv"}) {
      Write(std::string("pod-") + name, std::string("the pod's ") + name + "\n");
    }
    ASSERT_TRUE(base::MakeDirs(dir_ + "/shm", 01777).ok());
    ASSERT_TRUE(base::MakeDirs(dir_ + "/out", 0777).ok());
    ASSERT_EQ(::chmod((dir_ + "/out").c_str(), 0777), 0);
  }

  // Holds the pod's namespaces.
  void StartPod() {
    base::ProcessSpec spec;
    spec.argv = {"/bin/busybox", "sleep", "600"};
    spec.clone_flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    auto pod = runner_.Start(spec);
    ASSERT_TRUE(pod.ok()) << pod.status();
    pod_ = *std::move(pod);
  }

  void Arrange() {
    sandbox_.id = model::SandboxId(base::GenerateId());
    sandbox_.spec.name = "pod";
    sandbox_.hostname = "spec-test";
    sandbox_.spec.namespaces.pid = NamespaceMode::kContainer;
    container_.name = "test";
    container_.security.namespaces.pid = NamespaceMode::kContainer;
    container_.mounts = {{.container_path = "/out", .host_path = dir_ + "/out"}};
    image_.env = {"PATH=/bin", "FROM_IMAGE=yes"};
    node_ = ProbeNode(false);
    auto bounding = security::ReadOwnBoundingSet();
    ASSERT_TRUE(bounding.ok());
    bounding_ = *bounding;
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(base::WriteFile(dir_ + "/" + name, text, 0644).ok());
  }

  // Runs the runtime to its end. Its children keep /dev/null as their stdio.
  absl::Status Runtime(std::vector<std::string> args) {
    std::vector<std::string> argv = {program_, "--root", dir_ + "/state", "--log", dir_ + "/log"};
    argv.insert(argv.end(), args.begin(), args.end());
    base::ProcessSpec spec;
    spec.argv = argv;
    spec.env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    auto process = runner_.Start(spec);
    if (!process.ok()) {
      return process.status();
    }
    const auto exit = process->Wait(base::OpContext::WithTimeout(absl::Seconds(60)));
    if (!exit.ok()) {
      return exit.status();
    }
    if (!exit->ok()) {
      const auto log = base::ReadFile(dir_ + "/log", 1 << 20);
      return absl::InternalError(
          fmt::format("{}: {}", fmt::join(args, " "), log.ok() ? *log : log.status().ToString()));
    }
    return absl::OkStatus();
  }

  SpecInputs Inputs() {
    SpecInputs inputs{.container = container_, .sandbox = sandbox_, .image = image_, .node = node_};
    inputs.container_id = id_;
    inputs.image_id = std::string(64, 'f');
    inputs.rootfs_path = dir_ + "/rootfs";
    inputs.cgroups_path = "/berth-spec-test/" + id_;
    const std::string ns = fmt::format("/proc/{}/ns/", pod_.pid());
    inputs.namespaces = {.net = ns + "net", .ipc = ns + "ipc", .uts = ns + "uts"};
    inputs.pod_files = {.resolv_conf = dir_ + "/pod-resolv.conf",
                        .hostname = dir_ + "/pod-hostname",
                        .hosts = dir_ + "/pod-hosts",
                        .shm = dir_ + "/shm",
                        .containerenv = dir_ + "/pod-containerenv"};
    inputs.abilities.recursive_readonly_mounts = true;
    return inputs;
  }

  // Everything that comes before `create`, as the daemon does it.
  absl::Status Create(const std::string& script) {
    container_.command = {"/bin/sh", "-c", kReport + script};
    auto rootfs = base::OpenFile(dir_ + "/rootfs", O_PATH | O_DIRECTORY);
    if (!rootfs.ok()) {
      return rootfs.status();
    }
    auto user = ResolveUser(rootfs->get(), container_.security, image_.user);
    if (!user.ok()) {
      return user.status();
    }
    if (const absl::Status made = PrepareMountSources(container_.mounts); !made.ok()) {
      return made;
    }
    SpecInputs inputs = Inputs();
    inputs.user = *user;
    auto passwd = PasswdWithUser(rootfs->get(), container_, *user, "/tmp");
    if (passwd.ok() && passwd->has_value()) {
      Write("passwd", **passwd);
      inputs.passwd_path = dir_ + "/passwd";
    }
    auto granted = security::GrantCapabilities(container_.security, security::DefaultCapabilities(),
                                               bounding_);
    if (!granted.ok()) {
      return granted.status();
    }
    inputs.capabilities = security::CapabilityNames(granted->granted);
    inputs.ambient_capabilities = security::CapabilityNames(granted->ambient);
    auto seccomp =
        policy_.For(container_.security.seccomp, container_.security.privileged, granted->granted);
    if (!seccomp.ok()) {
      return seccomp.status();
    }
    inputs.seccomp_json = *seccomp;
    if (container_.security.privileged) {
      inputs.host_devices = *ListHostDevices("/dev");
    }
    auto output = BuildContainerSpec(inputs);
    if (!output.ok()) {
      return output.status();
    }
    process_json_ = output->process_json;
    if (const absl::Status made = PrepareRootfs(rootfs->get(), output->rootfs_dirs); !made.ok()) {
      return made;
    }
    Write("config.json", output->config_json);
    return Runtime({"create", "--bundle", dir_, "--pid-file", dir_ + "/pid", id_});
  }

  // create, start, wait for the end, delete: the report.
  std::string Run(const std::string& script = "") {
    if (const absl::Status created = Create(script); !created.ok()) {
      return created.ToString();
    }
    if (const absl::Status started = Runtime({"start", id_}); !started.ok()) {
      return started.ToString();
    }
    WaitForEnd();
    EXPECT_TRUE(Runtime({"delete", "--force", id_}).ok());
    const auto report = base::ReadFile(dir_ + "/out/report", 1 << 20);
    return report.ok() ? *report : report.status().ToString();
  }

  void WaitForEnd() {
    const auto text = base::ReadFile(dir_ + "/pid", 64);
    ASSERT_TRUE(text.ok());
    const pid_t pid = std::atoi(text->c_str());
    const base::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    ASSERT_TRUE(pidfd.valid()) << pid;
    struct pollfd wait = {.fd = pidfd.get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&wait, 1, 60000), 1) << "the container did not end";
    ::waitpid(pid, nullptr, 0);
  }

  base::SystemProcessRunner runner_;
  std::string program_, dir_, id_, process_json_;
  base::Process pod_;
  model::ContainerSpec container_;
  model::SandboxRecord sandbox_;
  oci::ImageConfig image_;
  NodeFacts node_;
  security::CapabilitySet bounding_ = 0;
  security::SeccompPolicy policy_{security::SeccompProfile::Default()};
};

std::string Hex(security::CapabilitySet set) { return fmt::format("{:016x}", set); }

TEST_P(RuntimeTest, ROOT_Plain) {
  container_.security.seccomp = {.type = model::SecurityProfile::Type::kRuntimeDefault};
  container_.resources.memory_limit_bytes = 64 << 20;
  container_.resources.cpu_shares = 512;
  container_.resources.cpu_quota = 50000;
  container_.resources.cpu_period = 100000;
  container_.resources.oom_score_adj = 500;
  const std::string report = Run(R"sh(
cat /etc/resolv.conf /etc/hostname /etc/hosts /run/.containerenv
ls -l /etc/mtab
unshare -n true 2>/dev/null && echo unshare=done || echo unshare=refused
mount -t tmpfs x /tmp 2>/dev/null && echo mount=done || echo mount=refused
mknod /tmp/d b 8 0 2>/dev/null && echo mknod=done || echo mknod=refused
cat /sys/fs/cgroup/memory/memory.limit_in_bytes
touch /sys/fs/cgroup/memory/x 2>/dev/null && echo cgroup=written || echo cgroup=refused
date > /dev/null && echo date=works
)sh");
  const std::string caps = Hex(security::DefaultCapabilities());
  EXPECT_THAT(report, HasSubstr("Uid: 0\n"));
  EXPECT_THAT(report, HasSubstr("CapInh: 0000000000000000\n"));
  EXPECT_THAT(report, HasSubstr("CapPrm: " + caps + "\n"));
  EXPECT_THAT(report, HasSubstr("CapEff: " + caps + "\n"));
  EXPECT_THAT(report, HasSubstr("CapBnd: " + caps + "\n"));
  EXPECT_THAT(report, HasSubstr("CapAmb: 0000000000000000\n"));
  EXPECT_THAT(report, HasSubstr("NoNewPrivs: 0\n"));
  EXPECT_THAT(report, HasSubstr("Seccomp: 2\n"));
  EXPECT_THAT(report, HasSubstr("cwd=/\n"));
  EXPECT_THAT(report, HasSubstr("hostname=spec-test\n"));
  EXPECT_THAT(report, HasSubstr("oom=500\n"));
  EXPECT_THAT(report, HasSubstr("pid=1\n"));
  EXPECT_THAT(report, HasSubstr("env FROM_IMAGE=yes\n"));
  EXPECT_THAT(report, HasSubstr("env HOSTNAME=spec-test\n"));
  EXPECT_THAT(report, HasSubstr("env HOME=/root\n"));
  EXPECT_THAT(report, HasSubstr("env TERM=xterm\n"));
  for (const char* name : {"resolv.conf", "hostname", "hosts", "containerenv"}) {
    EXPECT_THAT(report, HasSubstr(std::string("the pod's ") + name + "\n"));
  }
  EXPECT_THAT(report, HasSubstr("/etc/mtab -> /proc/mounts\n"));
  EXPECT_THAT(report, HasSubstr("keys=0\n"));
  EXPECT_THAT(report, HasSubstr("firmware=0\n"));
  EXPECT_THAT(report, HasSubstr("sys=refused\n"));
  EXPECT_THAT(report, HasSubstr("rootfs=written\n"));
  EXPECT_THAT(report, HasSubstr("unshare=refused\n"));
  EXPECT_THAT(report, HasSubstr("mount=refused\n"));
  EXPECT_THAT(report, HasSubstr("mknod=refused\n"));
  EXPECT_THAT(report, HasSubstr("cgroup=refused\n"));
  EXPECT_THAT(report, HasSubstr("date=works\n"));
  if (!node_.cgroup_v2 && base::PathExists("/sys/fs/cgroup/memory/cgroup.procs")) {
    EXPECT_THAT(report, HasSubstr("67108864\n"));
  }
}

// The words of a case's probe, by what was tried.
std::map<std::string, int> Probe(const std::string& report) {
  std::map<std::string, int> results;
  std::istringstream lines(report.substr(report.find("\nprobe\n") + 7));
  std::string what;
  for (int error = 0; lines >> what >> error;) {
    results[what] = error;
  }
  return results;
}

TEST_P(RuntimeTest, ROOT_DefaultSeccompProfile) {
  const auto probe = base::ReadFile(BERTH_SYSCALL_PROBE, 16 << 20);
  ASSERT_TRUE(probe.ok()) << probe.status();
  ASSERT_TRUE(base::WriteFile(dir_ + "/rootfs/bin/probe", *probe, 0755).ok());
  container_.security.seccomp = {.type = model::SecurityProfile::Type::kRuntimeDefault};
  std::map<std::string, int> results = Probe(Run("echo probe; probe"));
  const std::map<std::string, int> want = {{"clone3", ENOSYS},
                                           {"thread", 0},
                                           {"clone-newuser", EPERM},
                                           {"unshare-files", 0},
                                           {"unshare-user", EPERM},
                                           {"unshare-time", EPERM},
                                           {"setns", EPERM},
                                           {"mount", EPERM},
                                           {"bpf", EPERM},
                                           {"perf_event_open", EPERM},
                                           {"add_key", EPERM},
                                           {"io_uring_setup", EPERM},
                                           {"userfaultfd", EPERM},
                                           {"kexec_load", EPERM},
                                           {"personality-ask", 0},
                                           {"personality-no-aslr", ENOSYS},
                                           {"socket-vsock", EAFNOSUPPORT},
                                           {"socket-inet", 0},
                                           {"socket-unix", 0},
                                           {"traceme", 0},
                                           {"newest", ENOSYS}};
  EXPECT_EQ(results, want);

  // CAP_SYS_ADMIN opens what it is about; the rest stays.
  id_ = base::GenerateId();
  container_.security.add_capabilities = {"SYS_ADMIN"};
  results = Probe(Run("echo probe; probe"));
  EXPECT_EQ(results["clone3"], 0);
  EXPECT_EQ(results["clone-newuser"], 0);
  EXPECT_EQ(results["setns"], EBADF);
  EXPECT_EQ(results["mount"], EFAULT);
  EXPECT_EQ(results["bpf"], EINVAL);
  EXPECT_EQ(results["add_key"], EPERM);
  EXPECT_EQ(results["kexec_load"], EPERM);
}

TEST_P(RuntimeTest, ROOT_User) {
  container_.security.run_as_user = 1000;
  container_.security.supplemental_groups = {4000};
  container_.security.no_new_privs = true;
  container_.security.readonly_rootfs = true;
  container_.security.drop_capabilities = {"ALL"};
  container_.working_dir = "/home/app/deep";
  container_.envs = {{"FROM_IMAGE", "overridden"}, {"SPACE", "a b\nc"}};
  const std::string report = Run("id; ls -ld /home/app/deep");
  EXPECT_THAT(report, HasSubstr("Uid: 1000\n"));
  EXPECT_THAT(report, HasSubstr("Gid: 1001\n"));
  EXPECT_THAT(report, HasSubstr("Groups: 1001 4000 50000"));
  EXPECT_THAT(report, HasSubstr("CapBnd: 0000000000000000\n"));
  EXPECT_THAT(report, HasSubstr("CapEff: 0000000000000000\n"));
  EXPECT_THAT(report, HasSubstr("NoNewPrivs: 1\n"));
  EXPECT_THAT(report, HasSubstr("Seccomp: 0\n"));
  EXPECT_THAT(report, HasSubstr("cwd=/home/app/deep\n"));
  EXPECT_THAT(report, HasSubstr("env HOME=/home/app\n"));
  EXPECT_THAT(report, HasSubstr("env FROM_IMAGE=overridden\n"));
  EXPECT_THAT(report, HasSubstr("env SPACE=a b\n"));
  EXPECT_THAT(report, HasSubstr("rootfs=refused\n"));
  EXPECT_THAT(report, HasSubstr("uid=1000(app) gid=1001"));
}

TEST_P(RuntimeTest, ROOT_UnknownUserHasANameAndAHome) {
  image_.user = "4711:4712";
  container_.working_dir = "/tmp";
  const std::string report = Run("id");
  EXPECT_THAT(report, HasSubstr("Uid: 4711\n"));
  EXPECT_THAT(report, HasSubstr("Gid: 4712\n"));
  EXPECT_THAT(report, HasSubstr("uid=4711(4711) gid=4712"));
  EXPECT_THAT(report, HasSubstr("env HOME=/tmp\n"));
  // Not root: what it may gain is not what it has.
  EXPECT_THAT(report, HasSubstr("CapEff: 0000000000000000\n"));
  EXPECT_THAT(report, HasSubstr("CapBnd: " + Hex(security::DefaultCapabilities()) + "\n"));
}

TEST_P(RuntimeTest, ROOT_AmbientCapability) {
  container_.security.run_as_user = 1000;
  container_.security.drop_capabilities = {"ALL"};
  container_.security.add_ambient_capabilities = {"NET_BIND_SERVICE"};
  const std::string report = Run();
  EXPECT_THAT(report, HasSubstr("CapEff: 0000000000000400\n"));
  EXPECT_THAT(report, HasSubstr("CapAmb: 0000000000000400\n"));
}

TEST_P(RuntimeTest, ROOT_Privileged) {
  sandbox_.spec.privileged = true;
  container_.security.privileged = true;
  container_.security.seccomp = {.type = model::SecurityProfile::Type::kRuntimeDefault};
  const std::string report = Run(R"sh(
mount -t tmpfs x /tmp && echo mount=done
mknod /tmp/null c 1 3 && echo x > /tmp/null && echo mknod=done
test -c /dev/full && echo full=there
test -e /dev/fuse && echo fuse=there
cat /proc/sys/kernel/printk_ratelimit_burst > /proc/sys/kernel/printk_ratelimit_burst && echo sysctl=written
)sh");
  EXPECT_THAT(report, HasSubstr("CapEff: " + Hex(bounding_) + "\n"));
  EXPECT_THAT(report, HasSubstr("CapAmb: " + Hex(bounding_) + "\n"));
  EXPECT_THAT(report, HasSubstr("Seccomp: 0\n"));
  EXPECT_THAT(report, HasSubstr("mount=done\n"));
  EXPECT_THAT(report, HasSubstr("mknod=done\n"));
  EXPECT_THAT(report, HasSubstr("full=there\n"));
  EXPECT_THAT(report, HasSubstr("sysctl=written\n"));
  if (base::PathExists("/dev/fuse")) {
    EXPECT_THAT(report, HasSubstr("fuse=there\n"));
  }
  EXPECT_THAT(report, Not(HasSubstr("keys=0\n")));
}

TEST_P(RuntimeTest, ROOT_Mounts) {
  ASSERT_TRUE(base::MakeDirs(dir_ + "/data/below", 0755).ok());
  Write("data/file", "data\n");
  Write("own-hosts", "the kubelet's hosts\n");
  container_.mounts.push_back(
      {.container_path = "/mnt/ro", .host_path = dir_ + "/data", .readonly = true});
  container_.mounts.push_back({.container_path = "/mnt/made", .host_path = dir_ + "/made/up"});
  container_.mounts.push_back({.container_path = "/etc/hosts", .host_path = dir_ + "/own-hosts"});
  container_.mounts.push_back({.container_path = "/mnt/rro",
                               .host_path = dir_ + "/data",
                               .readonly = true,
                               .recursive_readonly = true});
  container_.mounts.push_back({.container_path = "/mnt/noexec",
                               .host_path = dir_ + "/data",
                               .options = {"noexec", "nosuid"}});
  // A mount below, which `ro` alone leaves writable.
  ASSERT_EQ(::mount("tmpfs", (dir_ + "/data/below").c_str(), "tmpfs", 0, nullptr), 0);
  const std::string report = Run(R"sh(
cat /mnt/ro/file /etc/hosts
echo x > /mnt/ro/file 2>/dev/null && echo ro=written || echo ro=refused
echo x > /mnt/ro/below/x 2>/dev/null && echo below=written || echo below=refused
echo x > /mnt/rro/below/y 2>/dev/null && echo rro=written || echo rro=refused
echo x > /mnt/made/x && echo made=written
)sh");
  EXPECT_EQ(::umount2((dir_ + "/data/below").c_str(), MNT_DETACH), 0);
  EXPECT_THAT(report, HasSubstr("data\nthe kubelet's hosts\n"));
  EXPECT_THAT(report, HasSubstr("ro=refused\n"));
  EXPECT_THAT(report, HasSubstr("below=written\n"));
  EXPECT_THAT(report, HasSubstr("rro=refused\n"));
  EXPECT_THAT(report, HasSubstr("made=written\n"));
  EXPECT_THAT(report, ::testing::ContainsRegex(
                          "/mnt/noexec rw,nosuid,noexec|/mnt/noexec "
                          "rw,nosuid,relatime,noexec|/mnt/noexec rw,nosuid,noexec,relatime"));
  EXPECT_TRUE(base::PathExists(dir_ + "/made/up/x"));
}

TEST_P(RuntimeTest, ROOT_NamespacesOfPodAndTarget) {
  const std::string script =
      "for n in net ipc uts pid; do echo \"$n $(readlink /proc/self/ns/$n)\"; done";
  ASSERT_EQ(::symlink("busybox", (dir_ + "/rootfs/bin/readlink").c_str()), 0);
  std::string report = Run(script);
  const auto inode = [](pid_t pid, const std::string& name) {
    char link[64] = {};
    EXPECT_GT(::readlink(fmt::format("/proc/{}/ns/{}", pid, name).c_str(), link, sizeof(link) - 1),
              0);
    return fmt::format("{} {}\n", name, link);
  };
  for (const char* name : {"net", "ipc", "uts"}) {
    EXPECT_THAT(report, HasSubstr(inode(pod_.pid(), name)));
  }
  EXPECT_THAT(report, Not(HasSubstr(inode(::getpid(), "pid"))));

  sandbox_.spec.namespaces.network = sandbox_.spec.namespaces.ipc = NamespaceMode::kNode;
  sandbox_.spec.namespaces.pid = container_.security.namespaces.pid = NamespaceMode::kNode;
  id_ = base::GenerateId();
  report = Run(script);
  for (const char* name : {"net", "ipc", "pid"}) {
    EXPECT_THAT(report, HasSubstr(inode(::getpid(), name)));
  }
}

TEST_P(RuntimeTest, ROOT_ExecIsTheSameProcessButForItsArguments) {
  container_.security.run_as_user = 1000;
  container_.security.seccomp = {.type = model::SecurityProfile::Type::kRuntimeDefault};
  container_.working_dir = "/tmp";
  container_.envs = {{"GIVEN", "1"}};
  // Ends by itself, should the test be killed.
  ASSERT_EQ(::symlink("busybox", (dir_ + "/rootfs/bin/sleep").c_str()), 0);
  ASSERT_TRUE(Create("exec sleep 60").ok());
  ASSERT_TRUE(Runtime({"start", id_}).ok());
  const auto process = BuildProcessJson(
      process_json_, {"/bin/sh", "-c", "(cat /proc/self/status; env; pwd) > /out/exec"}, false);
  ASSERT_TRUE(process.ok());
  Write("process.json", *process);
  const absl::Status status = Runtime({"exec", "--process", dir_ + "/process.json", id_});
  ASSERT_TRUE(status.ok()) << status;
  const auto report = base::ReadFile(dir_ + "/out/exec", 1 << 20);
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(*report, HasSubstr("Uid:\t1000"));
  EXPECT_THAT(*report, HasSubstr("CapInh:\t0000000000000000"));
  EXPECT_THAT(*report, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(*report, HasSubstr("CapBnd:\t" + Hex(security::DefaultCapabilities())));
  EXPECT_THAT(*report, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(*report, HasSubstr("GIVEN=1\n"));
  EXPECT_THAT(*report, HasSubstr("HOME=/home/app\n"));
  EXPECT_THAT(*report, HasSubstr("\n/tmp\n"));
}

INSTANTIATE_TEST_SUITE_P(All, RuntimeTest, ::testing::Values("runc", "crun"),
                         [](const auto& c) { return std::string(c.param); });

}  // namespace
}  // namespace berth::spec
