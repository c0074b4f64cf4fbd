#include "daemon/cri/stream_fields.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "daemon/cri/cri_api.h"

namespace berth::cri {
namespace {

using ::testing::HasSubstr;

template <typename Request>
class StreamFieldsTest : public ::testing::Test {};
using Requests = ::testing::Types<api::ExecRequest, api::AttachRequest>;
TYPED_TEST_SUITE(StreamFieldsTest, Requests);

TYPED_TEST(StreamFieldsTest, StreamsAreTaken) {
  TypeParam request;
  request.set_stdin(true);
  request.set_stderr(true);
  absl::StatusOr<streaming::Streams> streams = ParseStreams(request);
  ASSERT_TRUE(streams.ok()) << streams.status();
  EXPECT_TRUE(streams->in && !streams->out && streams->err && !streams->tty);
  request.set_stderr(false);
  request.set_tty(true);
  request.set_stdout(true);
  streams = ParseStreams(request);
  ASSERT_TRUE(streams.ok()) << streams.status();
  EXPECT_TRUE(streams->in && streams->out && !streams->err && streams->tty);
}

TYPED_TEST(StreamFieldsTest, WhatMakesNoSenseIsRefused) {
  TypeParam request;
  absl::Status status = ParseStreams(request).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("stdin, stdout, stderr"));
  request.set_tty(true);
  request.set_stdout(true);
  request.set_stderr(true);
  status = ParseStreams(request).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("stderr"));
}

TEST(ParsePortsTest, RangeOfPorts) {
  api::PortForwardRequest request;
  EXPECT_THAT(*ParsePorts(request.port()), ::testing::IsEmpty());
  request.add_port(1);
  request.add_port(65535);
  EXPECT_THAT(*ParsePorts(request.port()), ::testing::ElementsAre(1, 65535));
  for (const int32_t port : {0, -1, 65536}) {
    request.set_port(1, port);
    const absl::Status status = ParsePorts(request.port()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(port)));
  }
}

}  // namespace
}  // namespace berth::cri
