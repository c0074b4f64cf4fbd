// CgroupPath: what cgroups are called. Pure functions of the driver, the pod's parent and an id.
//
//   cgroupfs: parent "/kubepods/pod1"          -> spec "/kubepods/pod1/berth-ID"        cgroup
//   "/kubepods/pod1/berth-ID" systemd:  parent "kubepods-pod1.slice"     -> spec
//   "kubepods-pod1.slice:berth:ID"   cgroup "/kubepods.slice/kubepods-pod1.slice/berth-ID.scope"
//
// With systemd the parent may also be given as its cgroup, "/kubepods.slice/kubepods-pod1.slice":
// that is what a kubelet sends.
//
// A "cgroup" is a path below the mount of its hierarchy and starts with '/'. An empty parent means
// DefaultParent(). Source: OCI runtime-spec "cgroupsPath", systemd.slice(5) for the nesting of
// slices.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace berth::cgroup {

enum class Driver { kCgroupfs, kSystemd };

std::string_view DriverName(Driver driver);     // "cgroupfs", "systemd"
std::string_view DefaultParent(Driver driver);  // "/berth", "system.slice"

// kInvalidArgument when the parent is of the other driver's style (a *.slice for cgroupfs, a path
// of other names for systemd) or not a clean name: it says which driver is in use and what a parent
// looks like there. Empty is OK.
absl::Status ValidateParent(Driver driver, const std::string& parent);

// The OCI spec's linux.cgroupsPath of the pod or container `id`. Errors: ValidateParent's.
absl::StatusOr<std::string> SpecCgroupsPath(Driver driver, const std::string& parent,
                                            const std::string& id);
// The cgroup of the pod's pause or of the container `id`. Errors: ValidateParent's.
absl::StatusOr<std::string> CgroupOf(Driver driver, const std::string& parent,
                                     const std::string& id);
// The cgroup of the parent itself: what the kubelet made for the pod.
absl::StatusOr<std::string> ParentCgroup(Driver driver, const std::string& parent);

// The name of the slice that a parent of the systemd driver is. Errors: ValidateParent's.
absl::StatusOr<std::string> ParentSlice(const std::string& parent);

// "a-b-c.slice" -> "/a.slice/a-b.slice/a-b-c.slice"; "-.slice" -> "/". kInvalidArgument: not a
// slice's name.
absl::StatusOr<std::string> ExpandSlice(const std::string& slice);

// The name of a scope: "berth-ID.scope".
std::string ScopeName(const std::string& id);

// The smallest memory limit in bytes that a container can start under with the named OCI runtime:
// smaller ones are refused rather than left to die in the runtime's own start. `runtime` is the
// program's base name ("runc", "crun").
int64_t MemoryLimitMinimum(std::string_view runtime);

}  // namespace berth::cgroup
