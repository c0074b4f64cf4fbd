// Gives every target the inputs of its corpus: what was found once stays fixed, with any compiler
// and without libFuzzer.
#include <algorithm>

#include "gtest/gtest.h"

#include "lib/base/file.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::fuzz {
namespace {

class ReplayTest : public testing::TestWithParam<Target*> {};

TEST_P(ReplayTest, Corpus) {
  const std::string folder = std::string(BERTH_CORPUS "/") + GetParam()->name;
  const absl::StatusOr<std::vector<std::string>> names = base::ListDir(folder);
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_FALSE(names->empty()) << folder;
  for (const std::string& name : *names) {
    SCOPED_TRACE(name);
    const absl::StatusOr<std::string> input = base::ReadFile(folder + "/" + name, 1 << 22);
    ASSERT_TRUE(input.ok()) << input.status();
    GetParam()->run(*input);
  }
  GetParam()->run({});
}

std::vector<Target*> Targets() {
  std::vector<Target*> targets;
  for (Target* target = FirstTarget(); target != nullptr; target = target->next) {
    targets.push_back(target);
  }
  std::sort(targets.begin(), targets.end(),
            [](const Target* a, const Target* b) { return std::string_view(a->name) < b->name; });
  return targets;
}

INSTANTIATE_TEST_SUITE_P(Targets, ReplayTest, testing::ValuesIn(Targets()),
                         [](const testing::TestParamInfo<Target*>& target) {
                           return target.param->name;
                         });

}  // namespace
}  // namespace berth::fuzz
