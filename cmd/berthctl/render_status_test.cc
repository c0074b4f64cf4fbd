#include "cmd/berthctl/render_status.h"

#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

namespace berth::berthctl {
namespace {

v1::NodeStatusResponse Example() {
  v1::NodeStatusResponse status;
  status.set_version("0.1.0");
  status.set_pid(4711);
  status.set_uptime_ns(int64_t{3 * 3600 + 12 * 60 + 5} * 1'000'000'000);
  status.set_root("/var/lib/berth");
  status.set_state("/run/berth");
  status.set_socket("unix:///run/berth/berth.sock");
  status.mutable_storage()->set_used_bytes(1536);
  status.mutable_storage()->set_used_inodes(77);
  v1::CountStatus& counts = *status.mutable_counts();
  counts.set_images(3);
  counts.set_sandboxes_ready(2);
  counts.set_sandboxes_not_ready(1);
  counts.set_containers_created(4);
  counts.set_containers_running(5);
  counts.set_containers_exited(6);
  status.mutable_network()->set_ready(true);
  status.mutable_network()->set_name("berth");
  v1::HandlerStatus& crun = *status.add_handlers();
  crun.set_name("crun");
  crun.set_path("/usr/bin/crun");
  crun.set_version("crun version 1.8.1");
  crun.set_ok(true);
  crun.set_is_default(true);
  v1::HandlerStatus& kata = *status.add_handlers();
  kata.set_name("kata-fc");
  kata.set_error("no such program");
  status.mutable_cgroup()->set_driver("systemd");
  status.mutable_cgroup()->set_version(2);
  return status;
}

TEST(StatusText, SaysEverything) {
  EXPECT_EQ(StatusText(Example()), R"(berthd 0.1.0, pid 4711, up 3h12m
socket      unix:///run/berth/berth.sock
root        /var/lib/berth (overlay, 1.5 KiB in 77 files)
state       /run/berth
images      3
pods        2 ready, 1 not ready
containers  5 running, 4 created, 6 exited
network     ready (berth)
cgroups     v2, systemd
handlers    crun     /usr/bin/crun, crun version 1.8.1 (default)
            kata-fc  does not work: no such program
)");
}

TEST(StatusText, SaysWhatIsWrong) {
  v1::NodeStatusResponse status = Example();
  status.mutable_network()->set_ready(false);
  status.mutable_network()->set_reason("no configuration in /etc/cni/net.d");
  status.mutable_counts()->set_containers_unknown(1);
  status.clear_handlers();
  const std::string text = StatusText(status);
  EXPECT_THAT(text,
              testing::HasSubstr("network     not ready: no configuration in /etc/cni/net.d\n"));
  EXPECT_THAT(text, testing::HasSubstr("6 exited, 1 unknown\n"));
  EXPECT_THAT(text, testing::HasSubstr("handlers    none\n"));
}

// protobuf's own printer knows every field, so a field that is added and forgotten here fails this.
TEST(StatusJson, HasEveryField) {
  v1::NodeStatusResponse status = Example();
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string reference;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(status, &reference, options).ok());
  nlohmann::json expected = nlohmann::json::parse(reference);
  // It writes 64-bit numbers as strings.
  const std::function<void(nlohmann::json&)> numbers = [&](nlohmann::json& value) {
    for (auto& [key, element] : value.items()) {
      const bool is_text = key == "version" || key == "name";
      if (element.is_structured()) {
        numbers(element);
      } else if (element.is_string() && !is_text && !element.get<std::string>().empty() &&
                 element.get<std::string>().find_first_not_of("0123456789") == std::string::npos) {
        element = std::stoll(element.get<std::string>());
      }
    }
  };
  numbers(expected);
  EXPECT_EQ(nlohmann::json::parse(StatusJson(status)), expected);
}

TEST(Human, BytesAndDurations) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(uint64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(HumanDuration(-1), "0s");
  EXPECT_EQ(HumanDuration(59'999'999'999), "59s");
  EXPECT_EQ(HumanDuration(60'000'000'000), "1m0s");
  EXPECT_EQ(HumanDuration(int64_t{25} * 3600 * 1'000'000'000), "1d1h");
}

}  // namespace
}  // namespace berth::berthctl
