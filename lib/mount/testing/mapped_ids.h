// A user namespace for tests of id-mapped mounts: what is 0 inside is 100000 outside, and so on.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/file.h"
#include "lib/base/process_runner.h"

namespace berth::mount {

inline constexpr unsigned kMappedRoot = 100000;

inline base::UniqueFd MapIds() {
  base::SystemProcessRunner runner;
  base::ProcessSpec spec;
  spec.argv = {"/bin/sleep", "100"};
  spec.user_namespace = {.uid_map = "0 100000 65536\n", .gid_map = "0 100000 65536\n"};
  absl::StatusOr<base::Process> process = runner.Start(spec);
  EXPECT_TRUE(process.ok()) << process.status();
  absl::StatusOr<base::UniqueFd> fd =
      base::OpenFile("/proc/" + std::to_string(process->pid()) + "/ns/user", O_RDONLY);
  EXPECT_TRUE(fd.ok()) << fd.status();
  EXPECT_TRUE(process->Kill(SIGKILL).ok());
  EXPECT_TRUE(process->Wait(base::OpContext::Background()).ok());
  return *std::move(fd);
}

}  // namespace berth::mount
