#include "cmd/monitor/log_writer.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace berth::monitor {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

class LogWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-log-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    path_ = dir_ + "/0.log";
  }
  void TearDown() override {
    unlink(path_.c_str());
    unlink((path_ + ".1").c_str());
    rmdir(dir_.c_str());
  }

  std::string Content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    return content.str();
  }
  // Records without their time: "stdout F text". Fails where a line does not begin with a time.
  std::vector<std::string> Records(const std::string& path) {
    const std::string content = Content(path);
    std::vector<std::string> records;
    for (size_t at = 0; at < content.size();) {
      size_t end = content.find('\n', at);
      EXPECT_NE(end, std::string::npos) << "unfinished line";
      end = end == std::string::npos ? content.size() : end;
      const std::string line = content.substr(at, end - at);
      EXPECT_THAT(line.substr(0, 36), MatchesRegex("[0-9]+-..-..T..:..:..[.][0-9]+[+-]..:.. "));
      records.push_back(line.size() > 36 ? line.substr(36) : line);
      at = end + 1;
    }
    return records;
  }
  size_t Write(const std::string& data, bool all = true, Stream stream = Stream::kStdout) {
    return writer_.Write(stream, data.data(), data.size(), all);
  }

  std::string dir_;
  std::string path_;
  LogWriter writer_;
};

TEST_F(LogWriterTest, WritesOneRecordPerLine) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  EXPECT_EQ(Write("one\n\ntwo\n"), 9u);
  Write("three\n", true, Stream::kStderr);
  EXPECT_THAT(Records(path_),
              ElementsAre("stdout F one", "stdout F ", "stdout F two", "stderr F three"));
  struct stat status;
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(LogWriterTest, TimeIsLocalWithNineDigitsAndOffset) {
  setenv("TZ", "XXX-05:30", 1);
  tzset();
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  const time_t before = time(nullptr);
  Write("x\n");
  const std::string line = Content(path_);
  unsetenv("TZ");
  tzset();
  EXPECT_THAT(line, MatchesRegex("....-..-..T..:..:..\\..........\\+05:30 stdout F x\n"));
  tm parsed = {};
  ASSERT_NE(strptime(line.c_str(), "%Y-%m-%dT%H:%M:%S", &parsed), nullptr);
  const time_t written = timegm(&parsed) - (5 * 60 + 30) * 60;
  EXPECT_GE(written, before);
  EXPECT_LE(written, before + 2);
}

TEST_F(LogWriterTest, NegativeOffset) {
  setenv("TZ", "XXX3:30", 1);
  tzset();
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  Write("x\n");
  unsetenv("TZ");
  tzset();
  EXPECT_THAT(Content(path_), MatchesRegex(".*-03:30 stdout F x\n"));
}

TEST_F(LogWriterTest, UnfinishedLineIsPartialOnlyWhenAllIsAskedFor) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  EXPECT_EQ(Write("a\nbc", false), 2u);
  EXPECT_EQ(Write("bc", true), 2u);
  EXPECT_EQ(Write("d\n", true), 2u);
  EXPECT_THAT(Records(path_), ElementsAre("stdout F a", "stdout P bc", "stdout F d"));
}

TEST_F(LogWriterTest, LongLinesAreCutAtTheLimit) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  const std::string exact(LogWriter::kMaxText, 'e');
  const std::string longer(LogWriter::kMaxText + 1, 'l');
  EXPECT_EQ(Write(exact + "\n" + longer + "\n", false), exact.size() + longer.size() + 2);
  EXPECT_EQ(Write(exact, false), 0u) << "its newline may come";
  EXPECT_EQ(Write(longer, false), LogWriter::kMaxText);
  EXPECT_THAT(Records(path_), ElementsAre("stdout F " + exact, "stdout P " + longer.substr(1),
                                          "stdout F l", "stdout P " + longer.substr(1)));
}

TEST_F(LogWriterTest, BinaryDataIsKept) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  std::string bytes;
  for (int c = 0; c < 256; c++) {
    if (c != '\n') {
      bytes.push_back(static_cast<char>(c));
    }
  }
  Write(bytes + "\n");
  EXPECT_THAT(Records(path_), ElementsAre("stdout F " + bytes));
}

TEST_F(LogWriterTest, ManyShortLinesInOneCall) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  Write(std::string(1000, '\n'));
  EXPECT_EQ(Records(path_), std::vector<std::string>(1000, "stdout F "));
}

TEST_F(LogWriterTest, ReopenGoesOnInANewFile) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  Write("old\n");
  ASSERT_EQ(rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  Write("still old\n");
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  Write("new\n");
  EXPECT_THAT(Records(path_ + ".1"), ElementsAre("stdout F old", "stdout F still old"));
  EXPECT_THAT(Records(path_), ElementsAre("stdout F new"));
}

TEST_F(LogWriterTest, FailedReopenKeepsTheOldFile) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  EXPECT_EQ(writer_.Open("/nowhere/0.log", 0), ENOENT);
  Write("x\n");
  EXPECT_THAT(Records(path_), ElementsAre("stdout F x"));
}

TEST_F(LogWriterTest, RefusesLinksAndFifos) {
  ASSERT_EQ(symlink("/tmp/elsewhere", path_.c_str()), 0);
  EXPECT_EQ(writer_.Open(path_.c_str(), 0), ELOOP);
  unlink(path_.c_str());
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_NE(writer_.Open(path_.c_str(), 0), 0);
}

TEST_F(LogWriterTest, WithoutAFileEverythingIsDropped) {
  ASSERT_EQ(writer_.Open(nullptr, 0), 0);
  EXPECT_EQ(Write("abc", false), 3u);
  EXPECT_EQ(writer_.lost_bytes(), 0u);
}

TEST_F(LogWriterTest, NeverGrowsBeyondTheLimit) {
  constexpr int64_t kLimit = 1000;
  ASSERT_EQ(writer_.Open(path_.c_str(), kLimit), 0);
  for (int i = 0; i < 300; i++) {
    Write(std::string(static_cast<size_t>(i % 90), 'x') + "\n");
    struct stat status;
    ASSERT_EQ(stat(path_.c_str(), &status), 0);
    ASSERT_LE(status.st_size, kLimit);
  }
  EXPECT_FALSE(Records(path_).empty());
  EXPECT_EQ(writer_.lost_bytes(), 0u);
  // A record that is larger by itself is lost.
  Write(std::string(1000, 'y') + "\n");
  EXPECT_EQ(writer_.lost_bytes(), 1001u);
}

// A full disk, played by a limit of the file size: a first write ends in the middle of a record.
TEST_F(LogWriterTest, AfterAFailedWriteThereIsNoTornRecordAndWritingGoesOn) {
  signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit limit = old;
  limit.rlim_cur = 110;  // two short records of 51 bytes
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  Write("first\nsecond that does not fit any more at all\nthird\n");
  Write("again\n");  // fits
  Write("never\n");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(writer_.lost_bytes(), 41u + 6u + 6u);
  Write("later\n");
  EXPECT_THAT(Records(path_), ElementsAre("stdout F first", "stdout F again", "stdout F later"));
}

TEST_F(LogWriterTest, NothingIsWrittenForNothing) {
  ASSERT_EQ(writer_.Open(path_.c_str(), 0), 0);
  EXPECT_EQ(Write(""), 0u);
  EXPECT_THAT(Records(path_), IsEmpty());
}

}  // namespace
}  // namespace berth::monitor
