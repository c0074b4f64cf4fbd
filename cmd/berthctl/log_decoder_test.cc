#include "cmd/berthctl/log_decoder.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::berthctl {
namespace {

constexpr char kTime[] = "2026-11-22T20:04:05.123456789+02:00";

std::string Line(const std::string& rest) { return std::string(kTime) + " " + rest; }

TEST(ParseLogLine, TakesTheFourParts) {
  const std::string line = Line("stdout F hello  world ");
  const absl::StatusOr<LogLine> parsed = ParseLogLine(line);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, (LogLine{Stream::kStdout, false, "hello  world "}));
}

TEST(ParseLogLine, KnowsPartialStderrAndFurtherTags) {
  const std::string line = Line("stderr P:new:tags text");
  ASSERT_TRUE(ParseLogLine(line).ok());
  EXPECT_EQ(*ParseLogLine(line), (LogLine{Stream::kStderr, true, "text"}));
}

TEST(ParseLogLine, TakesEmptyText) {
  for (const char* rest : {"stdout F", "stdout F "}) {
    const std::string line = Line(rest);
    ASSERT_TRUE(ParseLogLine(line).ok()) << line;
    EXPECT_EQ(ParseLogLine(line)->text, "");
  }
}

TEST(ParseLogLine, TakesTimesOfOtherWriters) {
  EXPECT_TRUE(ParseLogLine("2026-11-22T20:04:05Z stdout F x").ok());
  EXPECT_TRUE(ParseLogLine("2026-11-22T20:04:05.1-11:30 stdout F x").ok());
}

TEST(ParseLogLine, RefusesWhatIsNotALogLine) {
  for (const std::string& line :
       {std::string(), std::string("hello"), std::string("yesterday stdout F x"), Line(""),
        Line("stdin F x"), Line("stdout"), Line("stdout X x"), Line("stdout  F x"),
        Line("stdout FP x"), " " + Line("stdout F x")}) {
    const absl::Status status = ParseLogLine(line).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << line;
  }
}

TEST(ParseLogLine, QuotesLittleOfAWrongLine) {
  const absl::Status status = ParseLogLine(std::string(5000, 'x')).status();
  EXPECT_LT(status.message().size(), 200u);
}

class LogDecoderTest : public testing::Test {
 protected:
  LogDecoder decoder_{[this](Stream stream, std::string_view text) {
    (stream == Stream::kStdout ? out_ : err_) += text;
    return sink_status_;
  }};
  std::string out_;
  std::string err_;
  absl::Status sink_status_;
};

TEST_F(LogDecoderTest, JoinsPiecesAndKeepsStreamsApart) {
  ASSERT_TRUE(decoder_
                  .Feed(Line("stdout F one\n") + Line("stderr F e1\n") + Line("stdout P two, ") +
                        "\n" + Line("stdout P still two") + "\n" + Line("stdout F \n") +
                        Line("stdout F \n") + Line("stdout P no end\n"))
                  .ok());
  EXPECT_EQ(out_, "one\ntwo, still two\n\nno end");
  EXPECT_EQ(err_, "e1\n");
  EXPECT_FALSE(decoder_.has_pending());
}

TEST_F(LogDecoderTest, DoesNotCareHowTheBytesAreCut) {
  const std::string log = Line("stdout F one\n") + Line("stderr P e\n") + Line("stdout F two\n");
  for (size_t step = 1; step <= log.size(); ++step) {
    out_.clear();
    err_.clear();
    for (size_t at = 0; at < log.size(); at += step) {
      ASSERT_TRUE(decoder_.Feed(log.substr(at, step)).ok()) << step;
    }
    EXPECT_EQ(out_, "one\ntwo\n") << step;
    EXPECT_EQ(err_, "e") << step;
    EXPECT_FALSE(decoder_.has_pending());
  }
}

TEST_F(LogDecoderTest, CarriesBinaryBytes) {
  const std::string bytes("\0\xff\r\t ", 5);
  ASSERT_TRUE(decoder_.Feed(Line("stdout F ") + bytes + "\n").ok());
  EXPECT_EQ(out_, bytes + "\n");
}

TEST_F(LogDecoderTest, WaitsForTheEndOfALine) {
  ASSERT_TRUE(decoder_.Feed(Line("stdout F half")).ok());
  EXPECT_EQ(out_, "");
  EXPECT_TRUE(decoder_.has_pending());
  ASSERT_TRUE(decoder_.Feed(" done\n").ok());
  EXPECT_EQ(out_, "half done\n");
}

TEST_F(LogDecoderTest, BoundsALine) {
  EXPECT_TRUE(decoder_.Feed(std::string(LogDecoder::kMaxLineBytes, 'x')).ok());
  EXPECT_EQ(decoder_.Feed("x").code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogDecoderTest, EndsWithTheSinksError) {
  sink_status_ = absl::UnavailableError("terminal gone");
  EXPECT_EQ(decoder_.Feed(Line("stdout F x\n")), sink_status_);
}

}  // namespace
}  // namespace berth::berthctl
