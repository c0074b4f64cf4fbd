// Tests of fields.h, text.h and signal_map.h.
#include "daemon/cri/fields.h"

#include <csignal>

#include "gtest/gtest.h"

#include "daemon/cri/signal_map.h"
#include "daemon/cri/text.h"

namespace berth::cri {
namespace {

const std::string kNul("a\0b", 3);

TEST(TextTest, WhatIsNotUtf8IsReplaced) {
  const struct {
    std::string text;
    std::string printable;  // what ToUtf8 makes of it
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\xc3\xa4", "\xc3\xa4"},
      {"\xe2\x82\xac", "\xe2\x82\xac"},
      {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
      {"\xff", "?"},
      {"a\x80z", "a?z"},
      {"\xc3", "?"},
      {"\xc0\x80", "??"},            // overlong NUL
      {"\xe0\x80\x80", "???"},       // overlong
      {"\xed\xa0\x80", "???"},       // surrogate
      {"\xf4\x90\x80\x80", "????"},  // beyond U+10FFFF
      {"\xf0\x9f\x98", "???"},       // cut short
      {"\xe2\x82\xac\xe2", "\xe2\x82\xac?"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ToUtf8(c.text), c.printable);
  }
}

TEST(TextTest, WritesJsonStringsAndLines) {
  EXPECT_EQ(JsonString("a\"b\\c\nd\xff"), "\"a\\\"b\\\\c\\u000ad?\"");
  EXPECT_EQ(OneLine("a\nb\x1b[0m"), "a\\x0ab\\x1b[0m");
  EXPECT_EQ(OneLine("abcdef", 3), "abc...");
}

TEST(FieldsTest, ChecksWordsNamesAndPaths) {
  EXPECT_TRUE(CheckWord("f", "").ok());
  EXPECT_TRUE(CheckName("f", "a b").ok());
  EXPECT_TRUE(CheckAbsolutePath("f", "/").ok());
  const struct {
    absl::Status status;
    const char* message;
  } cases[] = {
      {CheckName("f", ""), "f is missing"},
      {CheckWord("f", kNul), "f contains a NUL byte"},
      {CheckWord("f", "a\nb"), "f contains a control character"},
      {CheckWord("f", "abcd", 3), "f is 4 bytes; at most 3 are allowed"},
      {CheckAbsolutePath("f", ""), "f is missing"},
      {CheckAbsolutePath("f", "a/b"), "f 'a/b' is not an absolute path"},
      {CheckAbsolutePath("f", "/" + kNul), "f contains a NUL byte"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(c.status, absl::InvalidArgumentError(c.message));
  }
}

TEST(FieldsTest, LabelsHaveALimitOfTheirOwn) {
  ProtoPairs pairs;
  pairs["key"] = std::string(kMaxLabelBytes - 3, 'x');
  ASSERT_TRUE(ParseLabels("labels", pairs).ok());
  pairs["key"] += 'x';
  EXPECT_EQ(ParseLabels("labels", pairs).status().message(),
            "labels['key'] is 4097 bytes of key and value together; at most 4096 are allowed");
  EXPECT_TRUE(ParseAnnotations("annotations", pairs).ok());
}

TEST(FieldsTest, PairsAreCheckedAndKept) {
  ProtoPairs pairs;
  pairs["a"] = "1";
  pairs["b"] = "";
  const auto kept = ParseLabels("labels", pairs);
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(*kept, (std::map<std::string, std::string>{{"a", "1"}, {"b", ""}}));

  ProtoPairs nul;
  nul["a"] = kNul;
  EXPECT_EQ(ParseLabels("labels", nul).status().message(), "labels['a'] contains a NUL byte");
  ProtoPairs no_key;
  no_key[""] = "x";
  EXPECT_EQ(ParseAnnotations("annotations", no_key).status().message(),
            "annotations has an empty key");
  ProtoPairs huge;
  huge["a"] = std::string(kMaxPairsBytes / 2, 'x');
  huge["b"] = std::string(kMaxPairsBytes / 2, 'x');
  EXPECT_EQ(ParseAnnotations("annotations", huge).status().message(),
            "annotations is 1048578 bytes; at most 1048576 are allowed");
}

TEST(SignalMapTest, HasTheKernelsNumbers) {
  const struct {
    api::Signal signal;
    int number;
  } cases[] = {
      {api::SIGNAL_RUNTIME_DEFAULT, 0},   {api::SIGNAL_SIGTERM, SIGTERM},
      {api::SIGNAL_SIGKILL, SIGKILL},     {api::SIGNAL_SIGHUP, SIGHUP},
      {api::SIGNAL_SIGUSR1, SIGUSR1},     {api::SIGNAL_SIGQUIT, SIGQUIT},
      {api::SIGNAL_SIGWINCH, SIGWINCH},   {api::SIGNAL_SIGXFSZ, SIGXFSZ},
      {api::SIGNAL_SIGSTKFLT, SIGSTKFLT}, {api::SIGNAL_SIGRTMIN, 34},
      {api::SIGNAL_SIGRTMINPLUS3, 37},    {api::SIGNAL_SIGRTMINPLUS15, 49},
      {api::SIGNAL_SIGRTMAXMINUS14, 50},  {api::SIGNAL_SIGRTMAXMINUS1, 63},
      {api::SIGNAL_SIGRTMAX, 64},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ParseSignal(c.signal).value(), c.number);
    EXPECT_EQ(RenderSignal(c.number), c.signal);
  }
}

TEST(SignalMapTest, GivesEveryNumberBackByItsFirstName) {
  for (int i = 1; i <= api::SIGNAL_SIGRTMAX; ++i) {
    const auto number = ParseSignal(static_cast<api::Signal>(i));
    ASSERT_TRUE(number.ok()) << i;
    EXPECT_EQ(ParseSignal(RenderSignal(*number)).value(), *number) << i;
  }
  EXPECT_EQ(RenderSignal(SIGABRT), api::SIGNAL_SIGABRT);
  EXPECT_EQ(RenderSignal(SIGCHLD), api::SIGNAL_SIGCHLD);
  EXPECT_EQ(RenderSignal(SIGIO), api::SIGNAL_SIGIO);
  EXPECT_EQ(RenderSignal(33), api::SIGNAL_RUNTIME_DEFAULT);
  EXPECT_EQ(ParseSignal(static_cast<api::Signal>(66)).status().message(),
            "66 is no signal of the CRI");
  EXPECT_FALSE(ParseSignal(static_cast<api::Signal>(-1)).ok());
}

}  // namespace
}  // namespace berth::cri
