#include "cmd/monitor/journal.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "cmd/monitor/log_writer.h"

namespace berth::monitor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kId[] = "0123456789abcdef0123456789abcdef";
constexpr char kFields[] =
    "CONTAINER_ID_FULL=0123456789abcdef0123456789abcdef\nCONTAINER_ID=0123456789ab\n"
    "CONTAINER_NAME=k8s_c\nSYSLOG_IDENTIFIER=k8s_c\nMESSAGE=";

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/berth-journal-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    path_ = dir_ + "/socket";
    ASSERT_TRUE(journal_.Open(path_.c_str(), kId, "k8s_c"));
    log_.AlsoTo(&journal_);
  }
  void TearDown() override {
    StopServer();
    unlink((dir_ + "/0.log").c_str());
    rmdir(dir_.c_str());
  }

  void StartServer() {
    server_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(server_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  void StopServer() {
    close(server_);
    unlink(path_.c_str());
  }
  // The entries of all datagrams that there are.
  std::vector<std::string> Receive() {
    std::vector<std::string> entries;
    std::string buffer(1 << 20, '\0');
    ssize_t size;
    while ((size = recv(server_, buffer.data(), buffer.size(), 0)) > 0) {
      const std::string datagram = buffer.substr(0, static_cast<size_t>(size));
      for (size_t at = 0; at < datagram.size();) {
        const size_t end = datagram.find("\n\n", at);
        if (end == std::string::npos) {
          ADD_FAILURE() << "an entry without its end: " << datagram.substr(at);
          break;
        }
        entries.push_back(datagram.substr(at, end - at));
        at = end + 2;
      }
    }
    return entries;
  }
  void Write(const std::string& data, Stream stream = Stream::kStdout) {
    EXPECT_EQ(log_.Write(stream, data.data(), data.size(), true), data.size());
  }

  std::string dir_, path_;
  int server_ = -1;
  Journal journal_;
  LogWriter log_;
};

TEST_F(JournalTest, EntriesHaveTheFieldsOfConmon) {
  StartServer();
  Write("one\ntwo");
  Write("bad\n", Stream::kStderr);
  EXPECT_THAT(Receive(), ElementsAre(std::string("PRIORITY=6\n") + kFields + "one",
                                     std::string("PRIORITY=6\n") + kFields +
                                         "two\nCONTAINER_PARTIAL_MESSAGE=true",
                                     std::string("PRIORITY=3\n") + kFields + "bad"));
}

TEST_F(JournalTest, AnyBytesAndTheLongestText) {
  StartServer();
  Write(std::string("a\0=b\n", 5));
  Write(std::string(LogWriter::kMaxText, 'x') + "\n\n");
  const std::vector<std::string> entries = Receive();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0], std::string("PRIORITY=6\n") + kFields + std::string("a\0=b", 4));
  EXPECT_EQ(entries[1],
            std::string("PRIORITY=6\n") + kFields + std::string(LogWriter::kMaxText, 'x'));
  EXPECT_EQ(entries[2], std::string("PRIORITY=6\n") + kFields);
}

TEST_F(JournalTest, ALargeWriteIsSeveralDatagrams) {
  StartServer();
  std::string lines;
  for (int i = 0; i < 200; i++) {
    lines += std::to_string(i) + "\n";
  }
  Write(lines);
  const std::vector<std::string> entries = Receive();
  ASSERT_EQ(entries.size(), 200u);
  EXPECT_EQ(entries[199], std::string("PRIORITY=6\n") + kFields + "199");
}

TEST_F(JournalTest, AStoppedJournalLosesWhatIsCountedAndToldLater) {
  Write("before\nit\nis there\n");
  EXPECT_EQ(journal_.lost_entries(), 3u);
  StartServer();
  Write("now\n");
  std::vector<std::string> entries = Receive();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_THAT(entries[0], HasSubstr("PRIORITY=4\n"));
  EXPECT_THAT(entries[0], HasSubstr("MESSAGE=the journal did not take 3 entries"));
  EXPECT_THAT(entries[1], HasSubstr("MESSAGE=now"));
  // Restarted: another socket of the same name.
  StopServer();
  StartServer();
  Write("again\n");
  EXPECT_EQ(Receive().size(), 1u);
  EXPECT_EQ(journal_.lost_entries(), 3u);
  journal_.TellLoss();
  EXPECT_THAT(Receive(), IsEmpty());
}

TEST_F(JournalTest, AFullJournalDelaysNobodyAndTheFileHasAll) {
  StartServer();
  ASSERT_EQ(log_.Open((dir_ + "/0.log").c_str(), 0), 0);
  constexpr uint64_t kLines = 20000;
  for (uint64_t i = 0; i < kLines; i++) {
    Write(std::string(1000, 'x') + "\n");  // hangs here when it waits
  }
  EXPECT_GT(journal_.lost_entries(), 0u);
  EXPECT_EQ(log_.lost_bytes(), 0u);
  const uint64_t received = Receive().size();
  EXPECT_EQ(received + journal_.lost_entries(), kLines);
  journal_.TellLoss();
  EXPECT_THAT(
      Receive(),
      ElementsAre(HasSubstr("not take " + std::to_string(journal_.lost_entries()) + " entries")));
}

TEST_F(JournalTest, ANameAddsNoFields) {
  StartServer();
  Journal journal;
  ASSERT_TRUE(journal.Open(path_.c_str(), kId, "n\nPRIORITY=0"));
  journal.Add(Stream::kStdout, "x", 1, false);
  journal.Flush();
  EXPECT_THAT(Receive(), ElementsAre(HasSubstr("CONTAINER_NAME=n?PRIORITY=0\n")));
}

TEST_F(JournalTest, ASocketThatFitsIntoNoAddress) {
  Journal journal;
  EXPECT_FALSE(journal.Open(std::string(200, 'x').c_str(), kId, "n"));
  EXPECT_FALSE(journal.Open(path_.c_str(), kId, std::string(3000, 'x').c_str()));
}

}  // namespace
}  // namespace berth::monitor
