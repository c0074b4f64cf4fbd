// berth-bench: times the calls of any CRI v1 endpoint and prints percentiles as one JSON object.
//
//   berth-bench --endpoint unix:///run/berth/berth.sock --image docker.io/library/busybox:latest
//   --workload lifecycle --n 30
//
// The image needs `sleep` and `true`. Exit codes: 0; 1: a call failed (what was made is removed);
// 2: wrong usage.
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include <CLI/CLI.hpp>

#include "lib/base/file.h"
#include "lib/base/status.h"
#include "tests/bench/cri_client.h"
#include "tests/bench/samples.h"
#include "tests/bench/workloads.h"

namespace berth::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string endpoint = "unix:///run/berth/berth.sock";
  PodOptions pod;
  WorkloadOptions workload;
  bool raw = false;
  bool keep = false;
};

Json Machine() {
  utsname kernel = {};
  uname(&kernel);
  std::string model;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  const int64_t memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  return {{"cpus", sysconf(_SC_NPROCESSORS_ONLN)},
          {"model", model},
          {"memory_mib", memory >> 20},
          {"kernel", std::string(kernel.release)}};
}

absl::StatusOr<Json> Measure(CriClient& client, const Options& options) {
  ASSIGN_OR_RETURN(const runtime::v1::VersionResponse version, client.Version());
  Samples samples;
  ASSIGN_OR_RETURN(Json rates, RunWorkload(client, options.workload, samples));
  return Json{
      {"workload", options.workload.name},
      {"endpoint", options.endpoint},
      {"runtime", {{"name", version.runtime_name()}, {"version", version.runtime_version()}}},
      {"machine", Machine()},
      {"image", options.pod.image},
      {"handler", options.pod.handler},
      {"host_network", options.pod.host_network},
      {"n", options.workload.n},
      {"parallel", options.workload.parallel},
      {"operations", samples.ToJson(options.raw)},
      {"rates", std::move(rates)}};
}

int Run(Options options) {
  // Pods that stay would need their logs longer than we live: they have none unless the caller
  // gives a directory.
  const bool keep = options.keep || options.workload.name == "fill";
  std::string logs;
  if (options.pod.log_directory.empty() && !keep) {
    logs = "/tmp/berth-bench-XXXXXX";
    if (mkdtemp(logs.data()) == nullptr) {
      perror("berth-bench: make log directory");
      return 1;
    }
    options.pod.log_directory = logs;
  }
  CriClient client(options.endpoint, options.pod);
  absl::StatusOr<Json> result = Measure(client, options);
  absl::Status end = result.status();
  if (!keep || !end.ok()) {
    end.Update(base::Annotate(RemoveAll(client), "clean up"));
  }
  if (!logs.empty()) {
    end.Update(base::RemoveTree(logs));
  }
  if (!end.ok()) {
    fmt::print(stderr, "berth-bench: {}\n", std::string(end.message()));
    return 1;
  }
  fmt::print("{}\n", result->dump(2));
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the calls of a CRI v1 endpoint.", "berth-bench");
  app.add_option("--endpoint", options.endpoint, "unix:///PATH")->capture_default_str();
  app.add_option("--image", options.pod.image,
                 "Image with sleep and true; of pull: the one to pull")
      ->required();
  app.add_option("--handler", options.pod.handler, "Runtime handler");
  app.add_option("--cgroup-parent", options.pod.cgroup_parent, "Parent of the pods' cgroups");
  app.add_option("--memory", options.pod.memory_bytes,
                 "Memory limit of a container in bytes; 0: none")
      ->capture_default_str();
  app.add_option("--log-dir", options.pod.log_directory,
                 "Existing directory for the containers' logs");
  app.add_flag("--host-network", options.pod.host_network, "Pods have the node's network");
  app.add_option("--workload", options.workload.name,
                 "lifecycle, exec, list, stats, images, pull; fill leaves pods, clean removes "
                 "those of all runs")
      ->required()
      ->check(
          CLI::IsMember({"lifecycle", "exec", "list", "stats", "images", "pull", "fill", "clean"}));
  app.add_option("--n", options.workload.n, "Samples of each operation")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--parallel", options.workload.parallel, "Calls at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--pods", options.workload.pods, "Pods that list, stats and fill have")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--images", options.workload.images, "Images that there are, for images")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--warmup", options.workload.warmup, "Rounds before, not counted")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--keep", options.keep, "Leave the pods that list and stats were asked about");
  app.add_flag("--raw", options.raw, "Print every sample too");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  for (const int number : {SIGINT, SIGTERM}) {
    signal(number, [](int) { stop_requested = true; });
  }
  return Run(options);
}

}  // namespace
}  // namespace berth::bench

int main(int argc, char** argv) { return berth::bench::Main(argc, argv); }
