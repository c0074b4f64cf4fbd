#include <utility>

#include "lib/spec/testing/matrix_rows.h"

namespace berth::spec {
namespace {

using Row = MatrixRow;
using Rows = MatrixRows;
using World = MatrixWorld;

Rows CgroupRows() {
  const auto of = [](bool v2, cgroup::Driver driver, std::string parent) {
    return [=](World& w) {
      if (!v2) {
        OnCgroupV1(w);
      }
      w.driver = driver;
      w.sandbox.spec.cgroup_parent = parent;
    };
  };
  using cgroup::Driver;
  return {
      {"cgroup_v2_cgroupfs", of(true, Driver::kCgroupfs, "/kubepods/burstable/pod0c9b6b3e")},
      {"cgroup_v1_cgroupfs", of(false, Driver::kCgroupfs, "/kubepods/burstable/pod0c9b6b3e")},
      {"cgroup_v1_systemd", of(false, Driver::kSystemd, "kubepods-pod0c9b6b3e.slice")},
      {"cgroup_v2_systemd_by_slice", of(true, Driver::kSystemd, "kubepods-pod0c9b6b3e.slice")},
      {"cgroup_v2_systemd_no_parent", of(true, Driver::kSystemd, "")},
      {"cgroup_v2_cgroupfs_no_parent", of(true, Driver::kCgroupfs, "")},
      {"termination_grace_period",
       [](World& w) {
         w.container.annotations["io.kubernetes.pod.terminationGracePeriod"] = "30";
       }},
      {"cgroup_v2_cgroupfs + termination_grace_period",
       [](World& w) {
         w.container.annotations["io.kubernetes.pod.terminationGracePeriod"] = "30";
       }},
  };
}

Row Resource(const char* name, std::function<void(model::Resources&)> change) {
  return {name, [change = std::move(change)](World& w) { change(w.container.resources); }};
}

Rows ResourceRows() {
  using R = model::Resources;
  constexpr int64_t kMiB = 1 << 20;
  return {
      {"resources_none", [](World& w) { w.container.resources = {}; }},
      Resource("cpu_shares", [](R& r) { r.cpu_shares = 1024; }),
      Resource("cpu_quota", [](R& r) { r.cpu_quota = 50000; }),
      Resource("cpu_quota_unlimited", [](R& r) { r.cpu_quota = -1; }),
      Resource("cpu_period", [](R& r) { r.cpu_period = 50000; }),
      Resource("cpuset",
               [](R& r) {
                 r.cpuset_cpus = "2-3,1";
                 r.cpuset_mems = "0";
               }),
      {"cpuset + exec_affinity",
       [](World& w) { w.configure = [](SpecInputs& i) { i.exec_on_first_cpu = true; }; }},
      {"exec_affinity_without_cpuset",
       [](World& w) { w.configure = [](SpecInputs& i) { i.exec_on_first_cpu = true; }; }},
      Resource("memory", [](R& r) { r.memory_limit_bytes = 64 * kMiB; }),
      Resource("memory_unlimited", [](R& r) { r.memory_limit_bytes = -1; }),
      Resource("swap",
               [](R& r) {
                 r.memory_limit_bytes = 64 * kMiB;
                 r.memory_swap_limit_bytes = 96 * kMiB;
               }),
      Resource("swap_unlimited",
               [](R& r) {
                 r.memory_limit_bytes = 64 * kMiB;
                 r.memory_swap_limit_bytes = -1;
               }),
      {"swap_not_accounted",
       [](World& w) {
         w.container.resources.memory_limit_bytes = 64 * kMiB;
         w.container.resources.memory_swap_limit_bytes = 96 * kMiB;
         w.node.has_swap_accounting = false;
       }},
      Resource("oom_score_adj", [](R& r) { r.oom_score_adj = -997; }),
      {"oom_score_adj_below_own",
       [](World& w) {
         w.container.resources.oom_score_adj = -997;
         w.node.min_oom_score_adj = -500;
       }},
      Resource("hugepages",
               [](R& r) {
                 r.hugepage_limits = {{"2MB", 4 << 20}, {"1GB", 1 << 30}};
               }),
      {"hugepages_not_there", [](World& w) { w.node.has_hugetlb = false; }},
      Resource("unified",
               [](R& r) {
                 r.unified = {{"memory.high", "60000000"}, {"memory.min", "0"}};
               }),
      {"pids_limit", [](World& w) { w.configure = [](SpecInputs& i) { i.pids_limit = 100; }; }},
      {"ulimits",
       [](World& w) {
         w.node.may_raise_rlimits = false;
         w.node.rlimits["RLIMIT_NOFILE"] = {1024, 4096};
         w.configure = [](SpecInputs& i) {
           i.default_ulimits = {{"RLIMIT_NOFILE", 1024, 1048576}, {"RLIMIT_CORE", 0, 0}};
         };
       }},
  };
}

Rows CommandRows() {
  return {
      {"tty", [](World& w) { w.container.tty = true; }},
      {"stdin", [](World& w) { w.container.stdin_open = w.container.stdin_once = true; }},
      {"stop_signal",
       [](World& w) {
         w.container.stop_signal = 10;
         w.image.stop_signal = "SIGQUIT";
       }},
      {"command_and_args",
       [](World& w) {
         w.container.args = {"--port", "80"};
       }},
      {"command_of_image", [](World& w) { w.container.command.clear(); }},
      {"args_for_entrypoint_of_image",
       [](World& w) {
         w.container.command.clear();
         w.container.args = {"--port"};
       }},
      {"systemd", [](World& w) { w.container.command = {"/sbin/init"}; }},
      {"systemd where cgroup namespaces delegate nothing",
       [](World& w) {
         w.container.command = {"/sbin/init"};
         w.node.cgroup_namespaces_delegate = false;
       }},
      {"cgroup_v1_systemd + systemd",
       [](World& w) { w.container.command = {"/usr/lib/systemd/systemd"}; }},
      {"privileged + systemd", [](World& w) { w.container.command = {"/sbin/init"}; }},
      {"working_dir", [](World& w) { w.container.working_dir = "/srv/./app"; }},
      {"working_dir_of_image",
       [](World& w) {
         w.image.working_dir = "/srv";
         w.container.security.run_as_user = 4242;
       }},
      {"volumes_of_image",
       [](World& w) {
         w.image.volumes = {"/var/lib/data", "relative/../vol", "/"};
       }},
      {"env_order",
       [](World& w) {
         w.image.env = {"PATH=/image", "A=image", "B=image", "C=image", "no_value", "=x"};
         w.container.envs = {{"B", "request"}, {"TERM", "request"}, {"D", ""}, {"B", "again"}};
         w.configure = [](SpecInputs& i) { i.default_env = {"C=config", "E=config", "D=config"}; };
       }},
      {"env_hostname_of_image", [](World& w) { w.image.env.emplace_back("HOSTNAME=image"); }},
      {"env_home_of_request",
       [](World& w) {
         w.container.envs = {{"HOME", "/elsewhere"}};
       }},
      {"annotations",
       [](World& w) {
         w.sandbox.spec.annotations = {{"team", "pod"},
                                       {"color", "blue"},
                                       {"org.systemd.property.ExecStart", "x"},
                                       {"rdt.resources.beta.kubernetes.io/pod", "gold"},
                                       {"cdi.k8s.io/by-the-author", "vendor.com/gpu=all"}};
         w.container.annotations["team"] = "container";
         w.container.annotations["io.kubernetes.cri-o.SandboxID"] = "forged";
         w.container.annotations["io.berth.pod-uid"] = "forged";
         w.container.annotations["cdi.k8s.io/by-the-kubelet"] = "vendor.com/gpu=0";
         w.container.annotations["run.oci.handler"] = "wasm";
       }},
      {"annotations_allowed",
       [](World& w) {
         w.sandbox.spec.annotations = {{"run.oci.handler", "wasm"},
                                       {"run.oci.handlers", "no"},
                                       {"krun.cpus", "2"},
                                       {"org.systemd.property.After", "['own.service']"}};
         w.configure = [](SpecInputs& i) {
           i.allowed_annotations = {"run.oci.handler", "krun.*", "org.systemd.property.After"};
         };
       }},
  };
}

}  // namespace

Rows ProcessRows() { return Together({CgroupRows(), ResourceRows(), CommandRows()}); }

}  // namespace berth::spec
