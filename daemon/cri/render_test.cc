// Tests of render_*.h and list_filter.h.
#include <csignal>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "daemon/cri/list_filter.h"
#include "daemon/cri/render_container.h"
#include "daemon/cri/render_image.h"
#include "daemon/cri/render_node.h"
#include "daemon/cri/render_sandbox.h"

namespace berth::cri {
namespace {

const std::string kPodId(64, 'a');
const std::string kContainerId(64, 'b');
const std::string kImageId(64, 'c');

model::SandboxRecord Pod() {
  model::SandboxRecord record;
  record.id = model::SandboxId(kPodId);
  record.spec.name = "dns";
  record.spec.uid = "u1";
  record.spec.ns = "kube-system";
  record.spec.attempt = 2;
  record.spec.labels = {{"app", "dns"}, {"empty", ""}};
  record.spec.annotations = {{"k", "\xc3\xa4 \n"}};
  record.spec.runtime_handler = "runc";
  record.state = model::SandboxState::kReady;
  record.created_ns = 1'700'000'000'000'000'001;
  record.ips = {"10.1.0.5", "fd00::5"};
  record.pause_pid = 42;
  record.hostname = "ho\"st";
  return record;
}

model::ContainerRecord Container() {
  model::ContainerRecord record;
  record.id = model::ContainerId(kContainerId);
  record.sandbox_id = model::SandboxId(kPodId);
  record.spec.name = "web";
  record.spec.attempt = 1;
  record.spec.image = kImageId;
  record.spec.user_specified_image = "nginx";
  record.spec.labels = {{"app", "web"}};
  record.image_id = kImageId;
  record.created_ns = 5;
  record.pid = 77;
  return record;
}

model::ContainerRecord Exited(int code, bool oom_killed) {
  model::ContainerRecord record = Container();
  record.started_ns = 6;
  record.finished_ns = 7;
  record.exit_code = code;
  record.oom_killed = oom_killed;
  return record;
}

model::ImageRecord Image(const std::string& user) {
  model::ImageRecord image;
  image.id = kImageId;
  image.repo_tags = {"docker.io/library/nginx:1", "docker.io/library/nginx:latest"};
  image.repo_digests = {"docker.io/library/nginx@sha256:" + std::string(64, 'd')};
  image.size_bytes = 1234;
  image.user = user;
  image.config = R"({"os":"linux","architecture":"amd64","config":{"User":")" + user +
                 R"(","Labels":{"a":"\"b\""}},"rootfs":{"type":"layers","diff_ids":[]}})";
  return image;
}

TEST(RenderSandboxTest, StatusHasEverything) {
  const api::PodSandboxStatus status = RenderSandboxStatus(Pod());
  EXPECT_EQ(status.id(), kPodId);
  EXPECT_EQ(status.metadata().name(), "dns");
  EXPECT_EQ(status.metadata().uid(), "u1");
  EXPECT_EQ(status.metadata().namespace_(), "kube-system");
  EXPECT_EQ(status.metadata().attempt(), 2u);
  EXPECT_EQ(status.state(), api::SANDBOX_READY);
  EXPECT_EQ(status.created_at(), 1'700'000'000'000'000'001);
  EXPECT_EQ(status.network().ip(), "10.1.0.5");
  ASSERT_EQ(status.network().additional_ips_size(), 1);
  EXPECT_EQ(status.network().additional_ips(0).ip(), "fd00::5");
  EXPECT_EQ(status.linux().namespaces().options().network(), api::POD);
  EXPECT_EQ(status.linux().namespaces().options().userns_options().mode(), api::NODE);
  EXPECT_EQ(status.labels().at("empty"), "");
  EXPECT_EQ(status.annotations().at("k"), "\xc3\xa4 \n");
  EXPECT_EQ(status.runtime_handler(), "runc");
}

TEST(RenderSandboxTest, AUserNamespaceWithItsMaps) {
  model::SandboxRecord record = Pod();
  record.spec.namespaces.user = model::NamespaceMode::kPod;
  record.spec.namespaces.uids = {{100000, 0, 65536}};
  record.spec.namespaces.gids = {{200000, 0, 7}, {300000, 10, 5}};
  const api::PodSandboxStatus status = RenderSandboxStatus(record);
  const api::UserNamespace& user = status.linux().namespaces().options().userns_options();
  EXPECT_EQ(user.mode(), api::POD);
  ASSERT_EQ(user.uids_size(), 1);
  EXPECT_EQ(user.uids(0).host_id(), 100000u);
  EXPECT_EQ(user.uids(0).length(), 65536u);
  ASSERT_EQ(user.gids_size(), 2);
  EXPECT_EQ(user.gids(1).container_id(), 10u);
}

TEST(RenderSandboxTest, HostNetworkHasNoAddress) {
  model::SandboxRecord record = Pod();
  record.spec.namespaces.network = model::NamespaceMode::kNode;
  const api::PodSandboxStatus status = RenderSandboxStatus(record);
  EXPECT_EQ(status.network().ip(), "");
  EXPECT_EQ(status.network().additional_ips_size(), 0);
  EXPECT_EQ(status.linux().namespaces().options().network(), api::NODE);
}

TEST(RenderSandboxTest, OnlyReadyIsReady) {
  EXPECT_EQ(RenderState(model::SandboxState::kReady), api::SANDBOX_READY);
  EXPECT_EQ(RenderState(model::SandboxState::kNotReady), api::SANDBOX_NOTREADY);
  EXPECT_EQ(RenderState(model::SandboxState::kCreating), api::SANDBOX_NOTREADY);
}

TEST(RenderSandboxTest, ListEntryAndInfo) {
  const api::PodSandbox entry = RenderSandbox(Pod());
  EXPECT_EQ(entry.id(), kPodId);
  EXPECT_EQ(entry.metadata().attempt(), 2u);
  EXPECT_EQ(entry.labels().size(), 2u);
  EXPECT_EQ(entry.runtime_handler(), "runc");
  model::SandboxRecord record = Pod();
  record.cni_attachment = R"({"network":"n"})";
  const auto info = nlohmann::json::parse(SandboxInfo(record));
  EXPECT_EQ(info["pid"], 42);
  EXPECT_EQ(info["hostname"], "ho\"st");
  EXPECT_EQ(info["cniAttachment"]["network"], "n");
  EXPECT_TRUE(nlohmann::json::parse(SandboxInfo(Pod()))["cniAttachment"].is_null());
  EXPECT_TRUE(info["resources"].is_null());
  record.spec.resources = model::Resources{.cpu_shares = 2};
  EXPECT_EQ(nlohmann::json::parse(SandboxInfo(record))["resources"]["cpu_shares"], "2");
}

TEST(RenderContainerTest, ReasonsInOrder) {
  EXPECT_EQ(ReasonOf(Container()), "");
  EXPECT_EQ(ReasonOf(Exited(0, false)), "Completed");
  EXPECT_EQ(ReasonOf(Exited(1, false)), "Error");
  EXPECT_EQ(ReasonOf(Exited(137, true)), "OOMKilled");
  EXPECT_EQ(ReasonOf(Exited(0, true)), "OOMKilled");
  model::ContainerRecord said = Exited(128, false);
  said.reason = "StartError";
  EXPECT_EQ(ReasonOf(said), "StartError");
}

TEST(RenderContainerTest, StatesAndTimes) {
  model::ContainerRecord record = Container();
  api::ContainerStatus status = RenderContainerStatus(record, nullptr);
  EXPECT_EQ(status.state(), api::CONTAINER_CREATED);
  EXPECT_EQ(status.created_at(), 5);
  EXPECT_EQ(status.started_at(), 0);
  EXPECT_EQ(status.finished_at(), 0);
  record.started_ns = 6;
  EXPECT_EQ(RenderContainerStatus(record, nullptr).state(), api::CONTAINER_RUNNING);
  status = RenderContainerStatus(Exited(137, false), nullptr);
  EXPECT_EQ(status.state(), api::CONTAINER_EXITED);
  EXPECT_EQ(status.exit_code(), 137);
  EXPECT_EQ(status.finished_at(), 7);
  EXPECT_EQ(status.reason(), "Error");
}

TEST(RenderContainerTest, ImageByNameDigestAndId) {
  const model::ContainerRecord record = Container();
  const model::ImageRecord image = Image("");
  const api::ContainerStatus known = RenderContainerStatus(record, &image);
  EXPECT_EQ(known.image().image(), "docker.io/library/nginx:1");
  EXPECT_EQ(known.image().user_specified_image(), "nginx");
  EXPECT_EQ(known.image_ref(), image.repo_digests[0]);
  EXPECT_EQ(known.image_id(), kImageId);
  const api::ContainerStatus gone = RenderContainerStatus(record, nullptr);
  EXPECT_EQ(gone.image().image(), kImageId);
  EXPECT_EQ(gone.image_ref(), kImageId);
  const api::Container entry = RenderContainer(record);
  EXPECT_EQ(entry.image().image(), kImageId);
  EXPECT_EQ(entry.image_ref(), kImageId);
  EXPECT_EQ(entry.image_id(), kImageId);
  EXPECT_EQ(entry.pod_sandbox_id(), kPodId);
}

TEST(RenderContainerTest, MountsResourcesUserAndSignal) {
  model::ContainerRecord record = Container();
  record.spec.mounts.push_back({.container_path = "/c",
                                .host_path = "/h",
                                .readonly = true,
                                .recursive_readonly = true,
                                .propagation = model::MountPropagation::kHostToContainer,
                                .options = {"noexec"}});
  record.spec.resources.memory_limit_bytes = 9;
  record.spec.resources.memory_swap_limit_bytes = -1;
  record.spec.resources.unified = {{"memory.high", "8"}};
  record.spec.resources.hugepage_limits = {{.page_size = "2MB", .limit = 4}};
  record.user = {.uid = 1, .gid = 2, .supplemental_groups = {2, 3}};
  record.stop_signal = SIGQUIT;
  record.log_path = "/l/x.log";
  record.message = "bad \xff byte";
  const api::ContainerStatus status = RenderContainerStatus(record, nullptr);
  ASSERT_EQ(status.mounts_size(), 1);
  EXPECT_EQ(status.mounts(0).host_path(), "/h");
  EXPECT_TRUE(status.mounts(0).readonly() && status.mounts(0).recursive_read_only());
  EXPECT_EQ(status.mounts(0).propagation(), api::PROPAGATION_HOST_TO_CONTAINER);
  EXPECT_EQ(status.mounts(0).mount_options(0), "noexec");
  EXPECT_FALSE(status.mounts(0).has_image());
  EXPECT_EQ(status.resources().linux().memory_limit_in_bytes(), 9);
  EXPECT_EQ(status.resources().linux().memory_swap_limit_in_bytes(), -1);
  EXPECT_EQ(status.resources().linux().unified().at("memory.high"), "8");
  EXPECT_EQ(status.resources().linux().hugepage_limits(0).limit(), 4u);
  EXPECT_EQ(status.user().linux().uid(), 1);
  EXPECT_EQ(status.user().linux().gid(), 2);
  EXPECT_EQ(status.user().linux().supplemental_groups_size(), 2);
  EXPECT_EQ(status.stop_signal(), api::SIGNAL_SIGQUIT);
  EXPECT_EQ(status.log_path(), "/l/x.log");
  EXPECT_EQ(status.message(), "bad ? byte");
}

TEST(RenderContainerTest, InfoIsJson) {
  model::ContainerRecord record = Container();
  record.spec.security.privileged = true;
  record.update_annotations = {{"a", "\"b\""}, {"c", "d"}};
  const auto info =
      nlohmann::json::parse(ContainerInfo(record, R"({"ociVersion":"1.0.2"})", 5000000000));
  EXPECT_EQ(info["lostLogBytes"], 5000000000);
  EXPECT_EQ(info["sandboxID"], kPodId);
  EXPECT_EQ(info["pid"], 77);
  EXPECT_EQ(info["runtimeSpec"]["ociVersion"], "1.0.2");
  EXPECT_EQ(info["privileged"], true);
  EXPECT_EQ(info["updateAnnotations"], nlohmann::json({{"a", "\"b\""}, {"c", "d"}}));
  const auto gone = nlohmann::json::parse(ContainerInfo(Exited(0, false), "", std::nullopt));
  EXPECT_TRUE(gone["lostLogBytes"].is_null());
  EXPECT_EQ(gone["pid"], 0);
  EXPECT_TRUE(gone["runtimeSpec"].is_null());
}

TEST(RenderImageTest, UserIsANumberOrAName) {
  const struct {
    const char* user;
    bool has_uid;
    int64_t uid;
    const char* username;
  } cases[] = {
      {"", false, 0, ""},         {"1000", true, 1000, ""}, {"1000:50", true, 1000, ""},
      {"0", true, 0, ""},         {"www", false, 0, "www"}, {"www:grp", false, 0, "www"},
      {"12ab", false, 0, "12ab"},
  };
  for (const auto& c : cases) {
    const api::Image image = RenderImage(Image(c.user));
    EXPECT_EQ(image.has_uid(), c.has_uid) << c.user;
    EXPECT_EQ(image.uid().value(), c.uid) << c.user;
    EXPECT_EQ(image.username(), c.username) << c.user;
  }
}

TEST(RenderImageTest, NamesSizeAndInfo) {
  model::ImageRecord record = Image("www");
  record.pinned = true;
  const api::Image image = RenderImage(record);
  EXPECT_EQ(image.id(), kImageId);
  EXPECT_EQ(image.repo_tags_size(), 2);
  EXPECT_EQ(image.repo_digests_size(), 1);
  EXPECT_EQ(image.size(), 1234u);
  EXPECT_TRUE(image.pinned());
  EXPECT_FALSE(image.has_spec());
  const auto info = nlohmann::json::parse(ImageInfo(record));
  EXPECT_EQ(info["imageSpec"]["config"]["User"], "www");
  EXPECT_EQ(info["labels"], (nlohmann::json{{"a", "\"b\""}}));
  record.annotations = {{"key", "value"}};
  EXPECT_EQ(RenderImage(record).spec().annotations().at("key"), "value");
  // The config of an artifact may be anything.
  record.is_artifact = true;
  record.config = "no JSON";
  EXPECT_TRUE(nlohmann::json::parse(ImageInfo(record))["imageSpec"].is_null());
  const api::FilesystemUsage usage = RenderUsage({.bytes = 7, .inodes = 8}, "/r", 9);
  EXPECT_EQ(usage.timestamp(), 9);
  EXPECT_EQ(usage.fs_id().mountpoint(), "/r");
  EXPECT_EQ(usage.used_bytes().value(), 7u);
  EXPECT_EQ(usage.inodes_used().value(), 8u);
}

TEST(RenderNodeTest, Conditions) {
  const api::RuntimeStatus ready = RenderConditions(absl::OkStatus());
  ASSERT_EQ(ready.conditions_size(), 2);
  EXPECT_EQ(ready.conditions(0).type(), "RuntimeReady");
  EXPECT_TRUE(ready.conditions(0).status());
  EXPECT_EQ(ready.conditions(1).type(), "NetworkReady");
  EXPECT_TRUE(ready.conditions(1).status());
  EXPECT_EQ(ready.conditions(1).reason(), "");
  const api::RuntimeStatus not_ready = RenderConditions(absl::UnavailableError("no configuration"));
  EXPECT_FALSE(not_ready.conditions(1).status());
  EXPECT_EQ(not_ready.conditions(1).reason(), "NetworkPluginNotReady");
  EXPECT_EQ(not_ready.conditions(1).message(), "no configuration");
  EXPECT_EQ(RenderDriver(cgroup::Driver::kSystemd), api::SYSTEMD);
  EXPECT_EQ(RenderDriver(cgroup::Driver::kCgroupfs), api::CGROUPFS);
}

TEST(ListFilterTest, AllThatIsSetMustMatch) {
  const model::SandboxRecord pod = Pod();
  const struct {
    std::function<void(api::PodSandboxFilter&)> set;
    bool matches;
  } cases[] = {
      {[](api::PodSandboxFilter&) {}, true},
      {[](api::PodSandboxFilter& f) { f.mutable_state()->set_state(api::SANDBOX_READY); }, true},
      {[](api::PodSandboxFilter& f) { f.mutable_state()->set_state(api::SANDBOX_NOTREADY); },
       false},
      {[](api::PodSandboxFilter& f) { (*f.mutable_label_selector())["app"] = "dns"; }, true},
      {[](api::PodSandboxFilter& f) { (*f.mutable_label_selector())["app"] = "web"; }, false},
      {[](api::PodSandboxFilter& f) { (*f.mutable_label_selector())["absent"] = ""; }, false},
      {[](api::PodSandboxFilter& f) { (*f.mutable_label_selector())["empty"] = ""; }, true},
  };
  for (const auto& c : cases) {
    api::PodSandboxFilter filter;
    c.set(filter);
    EXPECT_EQ(Matches(*ParseFilter(filter), pod), c.matches) << filter.DebugString();
  }
  EXPECT_TRUE(Matches(SandboxFilter{.id = kPodId}, pod));
  EXPECT_FALSE(Matches(SandboxFilter{.id = kContainerId}, pod));
}

TEST(ListFilterTest, ContainersByPodStateAndLabel) {
  const model::ContainerRecord container = Container();
  EXPECT_TRUE(Matches(ContainerFilter{}, container));
  EXPECT_TRUE(Matches(ContainerFilter{.id = kContainerId, .sandbox_id = kPodId}, container));
  EXPECT_FALSE(Matches(ContainerFilter{.sandbox_id = kContainerId}, container));
  EXPECT_TRUE(Matches(ContainerFilter{.state = api::CONTAINER_CREATED}, container));
  EXPECT_FALSE(Matches(ContainerFilter{.state = api::CONTAINER_RUNNING}, container));
  EXPECT_TRUE(Matches(ContainerFilter{.labels = {{"app", "web"}}}, container));
  EXPECT_FALSE(Matches(ContainerFilter{.labels = {{"app", "web"}, {"x", "y"}}}, container));
  api::ContainerFilter bad;
  bad.mutable_state()->set_state(static_cast<api::ContainerState>(9));
  EXPECT_EQ(ParseFilter(bad).status().message(), "filter.state has an unknown value");
}

}  // namespace
}  // namespace berth::cri
