#include "daemon/cri/render_stats.h"

#include <memory>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace berth::cri {
namespace {

const absl::Time kTaken = absl::FromUnixSeconds(5);
constexpr int64_t kTakenNs = 5'000'000'000;

stats::ContainerStats Container() {
  auto record = std::make_shared<model::ContainerRecord>();
  record->id = model::ContainerId("c1");
  record->spec.name = "main";
  record->spec.attempt = 3;
  record->spec.labels = {{"a", "b"}};
  record->spec.annotations = {{"c", "d"}};
  return {.record = record};
}

stats::PodStats Pod() {
  auto record = std::make_shared<model::SandboxRecord>();
  record->id = model::SandboxId("p1");
  record->spec.name = "web";
  record->spec.uid = "u";
  record->spec.ns = "prod";
  record->spec.labels = {{"a", "b"}};
  record->spec.annotations = {{"c", "d"}};
  return {.record = record};
}

stats::Reading FullReading() {
  stats::Reading reading{.taken = kTaken, .nano_cores = 7};
  cgroup::Usage& usage = reading.usage;
  usage.cpu_ns = 1;
  usage.memory_bytes = 100;
  usage.inactive_file_bytes = 30;
  usage.rss_bytes = 40;
  usage.page_faults = 5;
  usage.major_page_faults = 6;
  usage.memory_limit_bytes = 1000;
  usage.swap_bytes = 8;
  usage.swap_limit_bytes = 20;
  cgroup::Pressure pressure{.some = {.total_us = 9, .avg10 = 1, .avg60 = 2, .avg300 = 3},
                            .full = {.total_us = 4}};
  usage.cpu_pressure = usage.memory_pressure = usage.io_pressure = pressure;
  return reading;
}

TEST(RenderStatsTest, AContainerWithEverything) {
  stats::ContainerStats stats = Container();
  stats.live = FullReading();
  stats.disk = stats::DiskMeasurement{kTaken, {.bytes = 11, .inodes = 12}};
  const api::ContainerStats shown = RenderStats(stats, "/var/lib/berth");
  EXPECT_EQ(shown.attributes().id(), "c1");
  EXPECT_EQ(shown.attributes().metadata().name(), "main");
  EXPECT_EQ(shown.attributes().metadata().attempt(), 3u);
  EXPECT_EQ(shown.attributes().labels().at("a"), "b");
  EXPECT_EQ(shown.attributes().annotations().at("c"), "d");
  EXPECT_EQ(shown.cpu().timestamp(), kTakenNs);
  EXPECT_EQ(shown.cpu().usage_core_nano_seconds().value(), 1u);
  EXPECT_EQ(shown.cpu().usage_nano_cores().value(), 7u);
  EXPECT_EQ(shown.cpu().psi().some().total(), 9u);
  EXPECT_EQ(shown.cpu().psi().full().total(), 4u);
  EXPECT_EQ(shown.memory().timestamp(), kTakenNs);
  EXPECT_EQ(shown.memory().working_set_bytes().value(), 70u);
  EXPECT_EQ(shown.memory().available_bytes().value(), 930u);
  EXPECT_EQ(shown.memory().usage_bytes().value(), 100u);
  EXPECT_EQ(shown.memory().rss_bytes().value(), 40u);
  EXPECT_EQ(shown.memory().page_faults().value(), 5u);
  EXPECT_EQ(shown.memory().major_page_faults().value(), 6u);
  EXPECT_EQ(shown.memory().psi().some().avg60(), 2);
  EXPECT_EQ(shown.swap().timestamp(), kTakenNs);
  EXPECT_EQ(shown.swap().swap_usage_bytes().value(), 8u);
  EXPECT_EQ(shown.swap().swap_available_bytes().value(), 12u);
  EXPECT_EQ(shown.io().timestamp(), kTakenNs);
  EXPECT_EQ(shown.io().psi().some().avg300(), 3);
  EXPECT_EQ(shown.writable_layer().timestamp(), kTakenNs);
  EXPECT_EQ(shown.writable_layer().fs_id().mountpoint(), "/var/lib/berth");
  EXPECT_EQ(shown.writable_layer().used_bytes().value(), 11u);
  EXPECT_EQ(shown.writable_layer().inodes_used().value(), 12u);
}

TEST(RenderStatsTest, AContainerThatDoesNotRunHasItsAttributes) {
  const api::ContainerStats shown = RenderStats(Container(), "/r");
  EXPECT_EQ(shown.attributes().id(), "c1");
  EXPECT_FALSE(shown.has_cpu());
  EXPECT_FALSE(shown.has_memory());
  EXPECT_FALSE(shown.has_swap());
  EXPECT_FALSE(shown.has_io());
  EXPECT_FALSE(shown.has_writable_layer());
}

TEST(RenderStatsTest, WhatIsNotKnownIsAbsentNotZero) {
  stats::ContainerStats stats = Container();
  stats.live = stats::Reading{.taken = kTaken};
  EXPECT_FALSE(RenderStats(stats, "/r").has_cpu());
  EXPECT_FALSE(RenderStats(stats, "/r").has_memory());
  stats.live->usage.cpu_ns = 0;
  stats.live->usage.memory_bytes = 0;
  stats.live->usage.swap_bytes = 0;
  const api::ContainerStats shown = RenderStats(stats, "/r");
  EXPECT_TRUE(shown.cpu().has_usage_core_nano_seconds());
  EXPECT_FALSE(shown.cpu().has_usage_nano_cores());
  EXPECT_FALSE(shown.cpu().has_psi());
  EXPECT_TRUE(shown.memory().has_usage_bytes());
  EXPECT_FALSE(shown.memory().has_working_set_bytes());
  EXPECT_FALSE(shown.memory().has_available_bytes());
  EXPECT_FALSE(shown.memory().has_rss_bytes());
  EXPECT_TRUE(shown.swap().has_swap_usage_bytes());
  EXPECT_FALSE(shown.swap().has_swap_available_bytes());
  EXPECT_FALSE(shown.has_io());
}

TEST(RenderStatsTest, APod) {
  stats::PodStats stats = Pod();
  stats.live = FullReading();
  stats.tasks = 13;
  stats.network = stats::Network{kTaken, {{"eth0", 1, 2, 3, 4}, {"net1", 5, 6, 7, 8}}};
  stats.containers = {Container()};
  const api::PodSandboxStats shown = RenderStats(stats, "/r");
  EXPECT_EQ(shown.attributes().id(), "p1");
  EXPECT_EQ(shown.attributes().metadata().name(), "web");
  EXPECT_EQ(shown.attributes().metadata().uid(), "u");
  EXPECT_EQ(shown.attributes().metadata().namespace_(), "prod");
  EXPECT_EQ(shown.attributes().labels().at("a"), "b");
  EXPECT_EQ(shown.attributes().annotations().at("c"), "d");
  const api::LinuxPodSandboxStats& pod = shown.linux();
  EXPECT_EQ(pod.cpu().usage_core_nano_seconds().value(), 1u);
  EXPECT_EQ(pod.memory().working_set_bytes().value(), 70u);
  EXPECT_EQ(pod.io().psi().some().total(), 9u);
  EXPECT_EQ(pod.process().process_count().value(), 13u);
  EXPECT_EQ(pod.process().timestamp(), kTakenNs);
  EXPECT_EQ(pod.network().timestamp(), kTakenNs);
  EXPECT_EQ(pod.network().default_interface().name(), "eth0");
  EXPECT_EQ(pod.network().default_interface().rx_bytes().value(), 1u);
  EXPECT_EQ(pod.network().default_interface().rx_errors().value(), 2u);
  EXPECT_EQ(pod.network().default_interface().tx_bytes().value(), 3u);
  EXPECT_EQ(pod.network().default_interface().tx_errors().value(), 4u);
  ASSERT_EQ(pod.network().interfaces_size(), 1);
  EXPECT_EQ(pod.network().interfaces(0).name(), "net1");
  ASSERT_EQ(pod.containers_size(), 1);
  EXPECT_EQ(pod.containers(0).attributes().id(), "c1");
}

TEST(RenderStatsTest, APodThatIsNotReady) {
  const api::PodSandboxStats shown = RenderStats(Pod(), "/r");
  EXPECT_EQ(shown.attributes().id(), "p1");
  EXPECT_TRUE(shown.has_linux());
  EXPECT_FALSE(shown.linux().has_cpu());
  EXPECT_FALSE(shown.linux().has_process());
  EXPECT_FALSE(shown.linux().has_network());
}

}  // namespace
}  // namespace berth::cri
