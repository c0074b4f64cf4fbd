// RealRuntimeTest: a test that runs once with runc and once with crun, in a Lab of its own. Needs
// root.
#pragma once

#include <unistd.h>

#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "lib/base/process_runner.h"
#include "lib/runtime/testing/lab.h"

namespace berth::runtime::testing {

class RealRuntimeTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (getuid() != 0) {
      GTEST_SKIP() << "needs root";
    }
    if (!base::FindProgram(GetParam()).ok()) {
      GTEST_SKIP() << "needs " << GetParam();
    }
    lab_ = std::make_unique<Lab>(GetParam());
  }

  std::unique_ptr<Lab> lab_;
};

inline auto RealRuntimes() { return ::testing::Values("runc", "crun"); }
inline std::string RuntimeName(const ::testing::TestParamInfo<std::string>& test) {
  return test.param;
}

}  // namespace berth::runtime::testing
