#include "lib/cdi/cdi_file.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::cdi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kWhole[] = R"({
  "cdiVersion": "1.0.0", "kind": "vendor.com/net", "annotations": {"a": "b"},
  "containerEdits": {"env": ["ALL=1"]},
  "devices": [
    {"name": "0", "annotations": {"c": "d"}, "containerEdits": {
      "env": ["A=1", "B="],
      "deviceNodes": [
        {"path": "/dev/c", "hostPath": "/dev/h", "type": "c", "major": 1, "minor": 2,
         "fileMode": 438, "permissions": "rw", "uid": 3, "gid": 4},
        {"path": "/dev/plain"}, {"path": "/dev/none", "permissions": "none"}],
      "mounts": [{"hostPath": "/h", "containerPath": "/c", "type": "bind", "options": ["ro"]}],
      "hooks": [{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "x"],
                 "env": ["H=1"], "timeout": 5}],
      "additionalGids": [0, 44],
      "intelRdt": {"closID": "gold", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50",
                   "enableCMT": true}}},
    {"name": "x"}]})";

absl::StatusOr<CdiFile> Parse(std::string_view json) {
  return ParseCdiFile(json, CdiFormat::kJson);
}

TEST(CdiFileTest, Everything) {
  const auto file = Parse(kWhole);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->kind, "vendor.com/net");
  EXPECT_THAT(file->edits.env, ElementsAre("ALL=1"));
  ASSERT_EQ(file->devices.size(), 2u);
  const model::ContainerEdits& edits = file->devices.at("0");
  EXPECT_THAT(edits.env, ElementsAre("A=1", "B="));
  ASSERT_EQ(edits.devices.size(), 3u);
  const model::DeviceEdit& device = edits.devices[0];
  EXPECT_EQ(device.container_path, "/dev/c");
  EXPECT_EQ(device.host_path, "/dev/h");
  EXPECT_EQ(device.type, 'c');
  EXPECT_EQ(device.major, 1);
  EXPECT_EQ(device.minor, 2);
  EXPECT_EQ(device.mode, 0666u);
  EXPECT_EQ(device.access, "rw");
  EXPECT_EQ(device.uid, 3u);
  EXPECT_EQ(device.gid, 4u);
  EXPECT_EQ(edits.devices[1].access, "rwm");
  EXPECT_EQ(edits.devices[1].mode, std::nullopt);
  EXPECT_EQ(edits.devices[2].access, "");
  EXPECT_EQ(edits.mounts[0].type, "bind");
  EXPECT_THAT(edits.mounts[0].options, ElementsAre("ro"));
  const model::Hook& hook = edits.hooks.at("createContainer").at(0);
  EXPECT_EQ(hook.path, "/bin/hook");
  EXPECT_THAT(hook.args, ElementsAre("hook", "x"));
  EXPECT_EQ(hook.timeout_seconds, 5);
  EXPECT_THAT(edits.additional_gids, ElementsAre(44u));
  EXPECT_EQ(edits.intel_rdt->clos_id, "gold");
  EXPECT_TRUE(edits.intel_rdt->enable_cmt);
  EXPECT_THAT(file->devices.at("x").env, IsEmpty());
}

// As vendors' tools write it.
TEST(CdiFileTest, Yaml) {
  const auto file = ParseCdiFile(R"(---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args: [nvidia-ctk, hook, --folder, /usr/lib]
    hookName: createContainer
    path: /usr/bin/nvidia-ctk
  mounts:
  - containerPath: /usr/bin/nvidia-smi
    hostPath: /usr/bin/nvidia-smi
    options: [ro, nosuid, nodev, bind]
devices:
- containerEdits:
    deviceNodes:
    - {path: /dev/nvidia0, major: 195, fileMode: 0660}
  name: 0
- containerEdits: {}
  name: all
kind: nvidia.com/gpu
)",
                                 CdiFormat::kYaml);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->devices.at("0").devices[0].major, 195);
  EXPECT_EQ(file->devices.at("0").devices[0].mode, 0660u);
  EXPECT_EQ(file->edits.hooks.at("createContainer").at(0).args.size(), 4u);
  EXPECT_EQ(file->devices.count("all"), 1u);
}

std::string Device(const std::string& edits, const std::string& version = "1.0.0") {
  return R"({"cdiVersion":")" + version +
         R"(","kind":"v.com/c","devices":[{"name":"d","containerEdits":)" + edits + "}]}";
}

TEST(CdiFileTest, Mistakes) {
  struct {
    std::string text;
    const char* error;
  } cases[] = {
      {"[]", "not an object"},
      {R"({"cdiVersion":"9.9.9","kind":"v/c","devices":[{"name":"d"}]})",
       "'cdiVersion' is '9.9.9'"},
      {R"({"kind":"v/c","devices":[{"name":"d"}]})", "'cdiVersion' is ''"},
      {R"({"cdiVersion":"0.6.0","kind":"v","devices":[{"name":"d"}]})", "CDI kind 'v'"},
      {R"({"cdiVersion":"0.6.0","kind":"v/c","devices":[]})", "no devices"},
      {R"({"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"-"}]})", "devices[0].name"},
      {R"({"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"d"},{"name":"d"}]})", "twice"},
      {R"({"cdiVersion":"0.6.0","kind":"v/c","device":[]})", "'device' is not known"},
      {Device(R"({"environment":[]})"), "containerEdits.environment' is not known"},
      {Device(R"({"env":["=x"]})"), "'=x'"},
      {Device(R"({"env":["x"]})"), "NAME=VALUE"},
      {Device(R"({"deviceNodes":[{"path":"dev/x"}]})"), "not an absolute path"},
      {Device(R"({"deviceNodes":[{"path":"/dev/x","type":"d"}]})"), "type' is 'd'"},
      {Device(R"({"deviceNodes":[{"path":"/dev/x","permissions":"rx"}]})"), "permissions' is 'rx'"},
      {Device(R"({"deviceNodes":[{"path":"/dev/x","uid":-1}]})"), "uid' is -1"},
      {Device(R"({"deviceNodes":[{"path":"/dev/x","major":"8"}]})"), "not an integer"},
      {Device(R"({"mounts":[{"containerPath":"/c"}]})"), "hostPath' is missing"},
      {Device(R"({"mounts":[{"hostPath":"/h","containerPath":"c"}]})"), "not an absolute path"},
      {Device(R"({"hooks":[{"hookName":"onStart","path":"/x"}]})"), "no stage"},
      {Device(R"({"hooks":[{"hookName":"poststop","path":"x"}]})"), "not an absolute path"},
      {Device(R"({"hooks":[{"hookName":"poststop","path":"/x","timeout":0}]})"), "timeout' is 0"},
      {Device(R"({"additionalGids":[-1]})"), "additionalGids' has -1"},
      {Device(R"({"intelRdt":{"closID":"../x"}})"), "not a file name"},
      // Fields newer than the version.
      {Device(R"({"mounts":[{"hostPath":"/h","containerPath":"/c","type":"bind"}]})", "0.3.0"),
       "only 0.4.0 has"},
      {Device(R"({"deviceNodes":[{"path":"/d","hostPath":"/h"}]})", "0.4.0"), "only 0.5.0 has"},
      {R"({"cdiVersion":"0.4.0","kind":"v/c","devices":[{"name":"0"}]})", "only 0.5.0 has"},
      {R"({"cdiVersion":"0.5.0","kind":"v/c.d","devices":[{"name":"d"}]})", "only 0.6.0 has"},
      {Device(R"({"additionalGids":[4]})", "0.6.0"), "only 0.7.0 has"},
      {Device(R"({"intelRdt":{}})", "v0.6.0"), "only 0.7.0 has"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Parse(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.error)) << c.text;
  }
}

TEST(CdiFileTest, WhatRuntimesWouldLeaveOutIsRefused) {
  for (const char* edits :
       {R"({"netDevices":[{"hostInterfaceName":"eth1","name":"e"}]})",
        R"({"intelRdt":{"schemata":["L3:0=f"]}})", R"({"intelRdt":{"enableMonitoring":true}})"}) {
    EXPECT_EQ(Parse(Device(edits, "1.1.0")).status().code(), absl::StatusCode::kUnimplemented)
        << edits;
  }
}

}  // namespace
}  // namespace berth::cdi
