#include "gtest/gtest.h"

#include "lib/model/image.h"
#include "lib/model/record_json.h"
#include "lib/model/resources.h"
#include "lib/model/signals.h"

namespace berth::model {
namespace {

TEST(SignalsTest, NamesAndNumbers) {
  for (const char* text : {"SIGTERM", "TERM", "term", "15"}) {
    EXPECT_EQ(ParseSignal(text), 15) << text;
  }
  EXPECT_EQ(ParseSignal("SIGRTMIN"), 34);
  EXPECT_EQ(ParseSignal("SIGRTMIN+3"), 37);
  EXPECT_EQ(ParseSignal("RTMAX-1"), 63);
  for (const char* text :
       {"", "0", "65", "-1", "SIG", "NOPE", "15x", "SIGRTMIN-1", "SIGRTMIN+99"}) {
    EXPECT_EQ(ParseSignal(text), std::nullopt) << text;
  }
  for (int number = 1; number <= 64; ++number) {
    if (number == 32 || number == 33) {
      EXPECT_EQ(SignalName(number), std::nullopt);
    } else {
      ASSERT_TRUE(SignalName(number)) << number;
      EXPECT_EQ(ParseSignal(*SignalName(number)), number);
    }
  }
}

TEST(RecordTest, SandboxComesBackWhole) {
  SandboxRecord record;
  record.id = SandboxId::Generate();
  record.spec.name = "web";
  record.spec.labels = {{"a", "b"}, {"bytes", "\xff\x01"}};
  record.spec.port_mappings = {{PortMapping::Protocol::kUdp, 53, 5353, "127.0.0.1"}};
  record.spec.namespaces.pid = NamespaceMode::kNode;
  record.spec.resources = Resources{.cpu_shares = 512};
  record.state = SandboxState::kReady;
  record.created_ns = 1700000000123456789;
  record.pause_start = 0xffffffffffff;
  record.ips = {"10.0.0.2", "fd00::2"};
  const auto back = DecodeSandbox(Encode(record));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(Encode(*back), Encode(record));
  EXPECT_EQ(back->id, record.id);
  EXPECT_EQ(back->spec.labels, record.spec.labels);
  EXPECT_EQ(back->spec.port_mappings[0].host_ip, "127.0.0.1");
  EXPECT_EQ(back->spec.namespaces.pid, NamespaceMode::kNode);
  EXPECT_EQ(back->spec.resources->cpu_shares, 512);
  EXPECT_FALSE(back->spec.overhead.has_value());
  EXPECT_EQ(back->created_ns, record.created_ns);
  EXPECT_EQ(back->ips, record.ips);
}

TEST(RecordTest, ContainerComesBackWhole) {
  ContainerRecord record;
  record.id = ContainerId::Generate();
  record.spec.envs = {{"K", std::string("\0\xfe", 2)}};
  record.spec.mounts = {{.container_path = "/data", .host_path = "/srv", .readonly = true}};
  record.spec.security.run_as_user = 0;
  record.spec.security.seccomp = SecurityProfile{SecurityProfile::Type::kLocalhost, "/p.json"};
  record.layers = {3, 2, 1};
  record.exit_code = -1;
  record.oom_killed = true;
  record.lost_log_bytes = 5000000000;
  record.resource_undo = ResourceUndo{.files = {{"cpu/cpu.shares", "2"}}, .old_oom_score_adj = -5};
  record.update_annotations = {{"why", "more"}};
  const auto back = DecodeContainer(Encode(record));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(Encode(*back), Encode(record));
  EXPECT_EQ(back->spec.envs[0].value, record.spec.envs[0].value);
  EXPECT_TRUE(back->spec.mounts[0].readonly);
  EXPECT_EQ(back->spec.security.run_as_user, 0);
  EXPECT_FALSE(back->spec.security.run_as_group.has_value());
  EXPECT_EQ(back->layers, record.layers);
  EXPECT_EQ(back->exit_code, -1);
  EXPECT_EQ(back->resource_undo->files, record.resource_undo->files);
  EXPECT_EQ(back->resource_undo->old_oom_score_adj, -5);
  EXPECT_EQ(back->update_annotations, record.update_annotations);
}

TEST(RecordTest, GarbageIsDataLoss) {
  for (const std::string& bytes : {std::string(), std::string("\xff\xff"), std::string("\x01"),
                                   Encode(SandboxRecord()).substr(0, 20)}) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeSandbox(bytes).status())) << bytes.size();
  }
  // A list of 2^60 items that ends at once.
  EXPECT_TRUE(
      absl::IsDataLoss(DecodeContainer(std::string_view("\x9b\x10\0\0\0\0\0\0\0", 9)).status()));
  // A list in a list in a list: deeper than the stack.
  for (const char nesting : {'\x81', '\x9f'}) {
    const absl::Status status = DecodeContainer(std::string(1'000'000, nesting)).status();
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_NE(status.message().find("too deep"), absl::string_view::npos) << status;
  }
}

TEST(MergeResourcesTest, UnsetIsNoChange) {
  const Resources current = {.cpu_period = 1,
                             .cpu_shares = 2,
                             .memory_limit_bytes = 10,
                             .memory_swap_limit_bytes = 20,
                             .oom_score_adj = 3,
                             .cpuset_cpus = "0",
                             .hugepage_limits = {{"2MB", 4}, {"1GB", 5}},
                             .unified = {{"a.b", "1"}, {"c.d", "2"}}};
  Resources merged = MergeResources(current, {});
  EXPECT_EQ(merged.cpu_period, 1);
  EXPECT_EQ(merged.hugepage_limits.size(), 2u);
  EXPECT_EQ(merged.memory_swap_limit_bytes, 20);
  merged = MergeResources(current, {.cpu_quota = -1,
                                    .cpu_shares = 7,
                                    .memory_limit_bytes = 12,
                                    .cpuset_mems = "1",
                                    .hugepage_limits = {{"2MB", 0}, {"64KB", 6}},
                                    .unified = {{"a.b", "9"}}});
  EXPECT_EQ(merged.cpu_quota, -1);
  EXPECT_EQ(merged.cpu_shares, 7);
  EXPECT_EQ(merged.memory_limit_bytes, 12);
  EXPECT_EQ(merged.memory_swap_limit_bytes, 20);
  EXPECT_EQ(merged.oom_score_adj, 3);
  EXPECT_EQ(merged.cpuset_cpus, "0");
  EXPECT_EQ(merged.cpuset_mems, "1");
  ASSERT_EQ(merged.hugepage_limits.size(), 3u);
  EXPECT_EQ(merged.hugepage_limits[0].limit, 0u);
  EXPECT_EQ(merged.hugepage_limits[2].page_size, "64KB");
  EXPECT_EQ(merged.unified["a.b"], "9");
  EXPECT_EQ(merged.unified["c.d"], "2");
}

TEST(MergeResourcesTest, NoSwapFollowsTheMemoryLimit) {
  const Resources none = {.memory_limit_bytes = 10, .memory_swap_limit_bytes = 10};
  EXPECT_EQ(MergeResources(none, {.memory_limit_bytes = 30}).memory_swap_limit_bytes, 30);
}

TEST(ContainerStateTest, FollowsTheTimes) {
  ContainerRecord record;
  EXPECT_EQ(record.state(), ContainerState::kCreating);
  record.created_ns = 1;
  EXPECT_EQ(record.state(), ContainerState::kCreated);
  record.started_ns = 2;
  EXPECT_EQ(record.state(), ContainerState::kRunning);
  record.finished_ns = 3;
  EXPECT_EQ(record.state(), ContainerState::kExited);
}

}  // namespace
}  // namespace berth::model
