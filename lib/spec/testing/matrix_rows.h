// The rows of spec_matrix_test.cc: one change each of what MatrixWorld asks for. Row "a + b"
// changes what row "a" makes of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/spec/testing/matrix_world.h"

namespace berth::spec {

struct MatrixRow {
  const char* name;
  std::function<void(MatrixWorld&)> change;
};
using MatrixRows = std::vector<MatrixRow>;

// Namespaces, users, capabilities, profiles of the security modules. `localhost_seccomp`: a file
// with a profile.
MatrixRows SecurityRows(const std::string& localhost_seccomp);
// Cgroups, limits, command and environment.
MatrixRows ProcessRows();
// Mounts and devices, of the request, of CDI and of OCI hooks.
MatrixRows MountAndDeviceRows();

// Changes that rows of several kinds begin with.
void InUserNamespace(MatrixWorld& w);
void OnCgroupV1(MatrixWorld& w);

// One after the other.
inline MatrixRows Together(const std::vector<MatrixRows>& parts) {
  MatrixRows all;
  for (const MatrixRows& rows : parts) {
    all.insert(all.end(), rows.begin(), rows.end());
  }
  return all;
}

}  // namespace berth::spec
