#include "lib/archive/window_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <vector>

#include "lib/archive/decompressor.h"
#include "lib/archive/testing/string_source.h"
#include "lib/base/file.h"

namespace berth::archive {
namespace {

constexpr size_t kMiB = 1 << 20;

base::UniqueFd Folder() { return *base::OpenFile("/tmp", O_RDONLY | O_DIRECTORY); }

size_t ResidentBytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * 4096;
}

TEST(WindowMemory, WhatDoesNotFitIsInAFile) {
  const base::UniqueFd folder = Folder();
  WindowMemory first(folder.get()), second(folder.get());
  constexpr size_t kWindow = WindowMemory::kHeapBytes / 4;
  std::vector<void*> pieces;
  for (int i = 0; i < 4; ++i) {
    pieces.push_back(first.Allocate(kWindow));
  }
  EXPECT_FALSE(first.has_files());
  void* small = second.Allocate(WindowMemory::kSmallBytes - 1);
  EXPECT_FALSE(second.has_files());
  auto* large = static_cast<char*>(second.Allocate(kWindow));
  ASSERT_NE(large, nullptr) << second.status();
  EXPECT_TRUE(second.has_files());
  std::memset(large, 'x', kWindow);
  const size_t before = ResidentBytes();
  second.Trim();
  EXPECT_LT(ResidentBytes(), before - kWindow / 2);
  EXPECT_EQ(std::count(large, large + kWindow, 'x'), static_cast<ptrdiff_t>(kWindow));
  second.Free(large);
  EXPECT_FALSE(second.has_files());
  second.Free(small);
  first.Free(pieces.back());
  pieces.back() = first.Allocate(kWindow);
  EXPECT_FALSE(first.has_files()) << "the room was given back";
  for (void* piece : pieces) {
    first.Free(piece);
  }
}

TEST(WindowMemory, WithoutADirectoryAllIsInMemory) {
  WindowMemory memory(-1);
  void* piece = memory.Allocate(2 * WindowMemory::kHeapBytes);
  ASSERT_NE(piece, nullptr);
  EXPECT_FALSE(memory.has_files());
  memory.Free(piece);
}

TEST(WindowMemory, SaysWhatTheSystemSaid) {
  const base::UniqueFd proc = *base::OpenFile("/proc/self", O_RDONLY | O_DIRECTORY);
  WindowMemory memory(proc.get());
  EXPECT_EQ(memory.Allocate(WindowMemory::kHeapBytes + 1), nullptr);
  EXPECT_NE(memory.status().message().find("zstd window"), std::string::npos) << memory.status();
}

// A block of text, the same for the same number.
std::string Block(unsigned number) {
  std::string block;
  for (unsigned i = 0; block.size() < kMiB; ++i) {
    block += std::to_string((number * 7919 + i) * 2654435761U);
  }
  block.resize(kMiB);
  return block;
}

// 192 MiB whose second half repeats the first, out of reach of any window but the largest.
constexpr int kBlocks = 192;
constexpr int kPeriod = 96;

std::string CompressWithLargestWindow() {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, 1);
  ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
  ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
  std::string out, piece(ZSTD_CStreamOutSize(), '\0');
  for (int i = 0; i < kBlocks; ++i) {
    const std::string block = Block(static_cast<unsigned>(i % kPeriod));
    ZSTD_inBuffer in = {block.data(), block.size(), 0};
    const bool is_last = i == kBlocks - 1;
    size_t left = 0;
    do {
      ZSTD_outBuffer to = {piece.data(), piece.size(), 0};
      left = ZSTD_compressStream2(context, &to, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
      EXPECT_EQ(ZSTD_isError(left), 0u);
      out.append(piece, 0, to.pos);
    } while (is_last ? left != 0 : in.pos < in.size);
  }
  ZSTD_freeCCtx(context);
  return out;
}

TEST(WindowMemory, ALayerWithTheLargestWindowTakesLittleMemory) {
  const std::string compressed = CompressWithLargestWindow();
  const base::UniqueFd folder = Folder();
  StringSource source(compressed, 1 << 16);
  Decompressor decompressor(source, folder.get());
  std::string block = Block(0);
  const size_t before = ResidentBytes();
  size_t peak = before, done = 0, calls = 0;
  while (true) {
    const auto piece = decompressor.Next();
    ASSERT_TRUE(piece.ok()) << piece.status();
    if (piece->empty()) {
      break;
    }
    for (size_t at = 0; at < piece->size();) {
      const size_t in_block = (done + at) % kMiB;
      if (in_block == 0) {
        block = Block(static_cast<unsigned>((done + at) / kMiB % kPeriod));
      }
      const size_t some = std::min(piece->size() - at, kMiB - in_block);
      ASSERT_EQ(piece->substr(at, some), std::string_view(block).substr(in_block, some)) << done;
      at += some;
    }
    done += piece->size();
    if (++calls % 16 == 0) {
      peak = std::max(peak, ResidentBytes());
    }
  }
  EXPECT_EQ(done, kBlocks * kMiB);
  EXPECT_LT(peak - before, 8 * kMiB);
  RecordProperty("peak_kb", static_cast<int>((peak - before) / 1024));
}

}  // namespace
}  // namespace berth::archive
