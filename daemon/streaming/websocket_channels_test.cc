#include "daemon/streaming/websocket_channels.h"

#include <map>
#include <set>

#include "gtest/gtest.h"

namespace berth::streaming {
namespace {

struct Channels : ChannelReader::Visitor {
  void OnChannelData(uint8_t channel, std::string_view bytes) override { data[channel] += bytes; }
  void OnChannelEnd(uint8_t channel) override { ended.insert(channel); }
  std::map<int, std::string> data;
  std::set<int> ended;
};

// In one piece, and in pieces of one byte.
Channels ReadBoth(ChannelCoding coding, const std::vector<std::string>& messages) {
  Channels whole, bytes;
  ChannelReader whole_reader(coding), byte_reader(coding);
  for (const std::string& message : messages) {
    EXPECT_TRUE(whole_reader.Read(message, true, whole).ok());
    for (size_t i = 0; i < message.size(); ++i) {
      EXPECT_TRUE(byte_reader.Read(message.substr(i, 1), i + 1 == message.size(), bytes).ok());
    }
  }
  EXPECT_EQ(whole.data, bytes.data);
  EXPECT_EQ(whole.ended, bytes.ended);
  return whole;
}

TEST(ChannelReaderTest, TheFirstByteIsTheChannel) {
  const Channels got =
      ReadBoth({}, {std::string("\0abc", 4), "\4{}", std::string("\0def", 4), "\3"});
  EXPECT_EQ(got.data, (std::map<int, std::string>{{0, "abcdef"}, {4, "{}"}}));
}

TEST(ChannelReaderTest, EndsAreSignalledInVersion5Alone) {
  const std::string signal("\xff\x00", 2);
  EXPECT_EQ(ReadBoth({false, true}, {signal}).ended, std::set<int>{0});
  const Channels v4 = ReadBoth({}, {signal});
  EXPECT_TRUE(v4.ended.empty());
  EXPECT_EQ(v4.data.at(255), std::string(1, '\0'));
}

TEST(ChannelReaderTest, Base64MayBeCutAnywhere) {
  const Channels got = ReadBoth({true, false}, {"0aGVsbG8=", "0IQ", "4e30=", "0"});
  EXPECT_EQ(got.data, (std::map<int, std::string>{{0, "hello!"}, {4, "{}"}}));
  EXPECT_EQ(Base64Message(2, "hello"), "2aGVsbG8=");
}

TEST(ChannelReaderTest, WhatIsNoBase64IsRefused) {
  for (const char* bad : {"0a", "0aGV*bG8=", "0aGk=aGk="}) {
    Channels channels;
    ChannelReader reader({true, false});
    EXPECT_FALSE(reader.Read(bad, true, channels).ok()) << bad;
  }
  Channels channels;
  ChannelReader reader({true, false});
  EXPECT_TRUE(reader.Read("0aGk=", false, channels).ok());
  EXPECT_FALSE(reader.Read("aGk=", true, channels).ok());
}

}  // namespace
}  // namespace berth::streaming
