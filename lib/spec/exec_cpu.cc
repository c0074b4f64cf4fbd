#include "lib/spec/exec_cpu.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "nlohmann/json.hpp"

namespace berth::spec {
namespace {

// Of a list such as "4-7,2", in which the kernel takes any order; nullopt: there is none.
std::optional<unsigned> FirstCpu(const std::string& list) {
  std::optional<unsigned> first;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    unsigned cpu;
    if (std::from_chars(at, end, cpu).ec == std::errc()) {
      first = std::min(first.value_or(cpu), cpu);
    }
    at = std::find(at, end, ',');
    at += at < end ? 1 : 0;
  }
  return first;
}

}  // namespace

void SetExecCpu(nlohmann::json& process, const model::Resources& resources, bool on_first_cpu) {
  const std::optional<unsigned> cpu = on_first_cpu ? FirstCpu(resources.cpuset_cpus) : std::nullopt;
  if (cpu) {
    const std::string text = std::to_string(*cpu);
    process["execCPUAffinity"] = {{"initial", text}, {"final", text}};
  } else {
    process.erase("execCPUAffinity");
  }
}

}  // namespace berth::spec
