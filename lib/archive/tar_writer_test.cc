#include "lib/archive/tar_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "lib/base/file.h"

namespace berth::archive {
namespace {

TEST(TarWriterTest, WhatItWritesIsRead) {
  std::string stream;
  TarWriter writer([&](std::string_view piece) {
    stream += piece;
    return absl::OkStatus();
  });
  const std::string long_name = std::string(150, 'd') + "/" + std::string(200, 'n');
  ASSERT_TRUE(writer.Directory("blobs/").ok());
  ASSERT_TRUE(writer.File("a", "content").ok());
  ASSERT_TRUE(writer.BeginFile(long_name, 6).ok());
  ASSERT_TRUE(writer.Write("abc").ok());
  ASSERT_TRUE(writer.Write("def").ok());
  ASSERT_TRUE(writer.File("empty", "").ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(stream.size() % 512, 0u);
  for (const char* text : {"content", "abcdef"}) {
    EXPECT_NE(stream.find(text), std::string::npos);
  }
  EXPECT_NE(stream.find(long_name), std::string::npos);
}

// By another's eyes: GNU tar lists what was written.
TEST(TarWriterTest, TarListsIt) {
  std::string stream;
  TarWriter writer([&](std::string_view piece) {
    stream += piece;
    return absl::OkStatus();
  });
  const std::string long_name = std::string(150, 'd') + "/" + std::string(200, 'n');
  ASSERT_TRUE(writer.Directory("blobs/").ok());
  ASSERT_TRUE(writer.File(std::string(100, 'x'), "content").ok());
  ASSERT_TRUE(writer.File(long_name, std::string(512, 'c')).ok());
  ASSERT_TRUE(writer.Finish().ok());
  char path[] = "/tmp/berth-tar-XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_TRUE(base::WriteFd(fd, stream).ok());
  ::close(fd);
  FILE* listing = ::popen((std::string("tar -tvf ") + path + " 2>&1").c_str(), "r");
  ASSERT_NE(listing, nullptr);
  std::string text(4096, '\0');
  text.resize(::fread(text.data(), 1, text.size(), listing));
  EXPECT_EQ(::pclose(listing), 0);
  ::unlink(path);
  EXPECT_NE(text.find(" " + long_name + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find(" " + std::string(100, 'x') + "\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("drwxr-xr-x"), 0u) << text;
}

TEST(TarWriterTest, CountsBytes) {
  TarWriter writer([](std::string_view) { return absl::OkStatus(); });
  ASSERT_TRUE(writer.BeginFile("a", 3).ok());
  EXPECT_EQ(writer.Write("1234").code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(writer.Write("12").ok());
  EXPECT_EQ(writer.Directory("b").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(writer.Finish().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TarWriterTest, TheSinksErrorIsTheWriters) {
  TarWriter writer([](std::string_view) { return absl::ResourceExhaustedError("full"); });
  EXPECT_EQ(writer.File("a", "b").code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace berth::archive
