#include "cmd/monitor/options.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "cmd/monitor/text.h"

namespace berth::monitor {
namespace {

bool Parse(std::vector<std::string> arguments, Options* options, std::string* error) {
  static std::vector<std::string> kept;
  kept = std::move(arguments);
  kept.insert(kept.begin(), "berth-monitor");
  static std::vector<char*> argv;
  argv.clear();
  for (std::string& argument : kept) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  const char* text = nullptr;
  const bool ok = ParseOptions(static_cast<int>(kept.size()), argv.data(), options, &text);
  *error = text == nullptr ? "" : text;
  return ok;
}

TEST(OptionsTest, ReadsAll) {
  Options options;
  std::string error;
  ASSERT_TRUE(Parse({"--id",
                     "i",
                     "--bundle",
                     "/b",
                     "--socket",
                     "/s",
                     "--exit-file",
                     "/e",
                     "--log",
                     "/l",
                     "--log-max-size",
                     "1000",
                     "--journal",
                     "/j",
                     "--name",
                     "n",
                     "--tty",
                     "--tty-height",
                     "30",
                     "--tty-width",
                     "90",
                     "--stdio-uid",
                     "100000",
                     "--stdio-gid",
                     "200000",
                     "--stdin",
                     "--stdin-once",
                     "--no-pivot",
                     "--",
                     "/bin/runc",
                     "--root",
                     "/r"},
                    &options, &error))
      << error;
  EXPECT_STREQ(options.id, "i");
  EXPECT_STREQ(options.exit_file, "/e");
  EXPECT_EQ(options.log_max_size, 1000);
  EXPECT_STREQ(options.journal, "/j");
  EXPECT_STREQ(options.name, "n");
  EXPECT_EQ(options.tty_width, 90);
  EXPECT_EQ(options.stdio_uid, 100000);
  EXPECT_EQ(options.stdio_gid, 200000);
  EXPECT_TRUE(options.tty && options.open_stdin && options.stdin_once && options.no_pivot);
  ASSERT_EQ(options.runtime_count, 3);
  EXPECT_STREQ(options.runtime[0], "/bin/runc");
}

TEST(OptionsTest, RefusesWhatItDoesNotKnowOrLacks) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"--id"},
      {"--nonsense", "--", "r"},
      {"--id", "i", "--", "r"},
      {"--id", "i", "--bundle", "b", "--socket", "s", "--exit-file", "e", "--"},
      {"--id", "i", "--bundle", "b", "--socket", "s", "--exit-file", "e", "--journal", "j", "--",
       "r"},
      {"--log-max-size", "many", "--", "r"},
      {"--log-max-size", "99999999999999999999", "--", "r"},
      {"exec", "--", "r"},
      {"exec", "--pid-file", "p", "--", "r"},
      {"exec", "--pid-file", "p", "--id", "c", "--cpu", "first", "--", "r"},
  };
  for (const auto& arguments : bad) {
    Options options;
    std::string error;
    EXPECT_FALSE(Parse(arguments, &options, &error)) << ::testing::PrintToString(arguments);
    EXPECT_FALSE(error.empty());
  }
}

TEST(TextTest, NumbersAndOverflow) {
  TextBuffer<16> text;
  text.AddNumber(0).Add(" ").AddNumber(-12).Add(" ").AddPadded(7, 3);
  EXPECT_STREQ(text.c_str(), "0 -12 007");
  EXPECT_FALSE(text.overflowed());
  text.Add("0123456789");
  EXPECT_STREQ(text.c_str(), "0 -12 007012345");
  EXPECT_TRUE(text.overflowed());
  text.Clear();
  text.AddNumber(INT64_MIN);
  EXPECT_TRUE(text.overflowed());
  EXPECT_EQ(ParseNumber("123x"), 123);
  EXPECT_EQ(ParseNumber("x"), -1);
}

}  // namespace
}  // namespace berth::monitor
