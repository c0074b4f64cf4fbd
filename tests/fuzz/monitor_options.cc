// The monitor's command line, one argument a line.
#include <vector>

#include "cmd/monitor/options.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::monitor {

FUZZ_TARGET(monitor_options) {
  fuzz::Input parts(input);
  std::vector<std::string> words = {"berth-monitor"};
  while (!parts.empty() && words.size() < 200) {
    words.push_back(parts.Line());
    words.back() = words.back().substr(0, words.back().find('\0'));
  }
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  Options options;
  const char* error = nullptr;
  if (!ParseOptions(static_cast<int>(words.size()), argv.data(), &options, &error)) {
    BERTH_CHECK(error != nullptr);
    return;
  }
  BERTH_CHECK(options.version ||
              (options.runtime_count > 0 && options.runtime_count <= kMaxRuntimeArguments));
  BERTH_CHECK(options.log_max_size >= 0 && options.stdio_uid >= 0 && options.stdio_gid >= 0);
}

}  // namespace berth::monitor
