// TarListing: all of a tar stream in memory, read by TarReader.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/archive/tar_reader.h"
#include "lib/archive/testing/string_source.h"

namespace berth::archive {

struct TarListing {
  absl::Status status;
  std::vector<TarEntry> entries;
  std::vector<std::string> contents;  // holes as zeros

  // "a;b;", or the error.
  std::string Names() const {
    if (!status.ok()) {
      return status.ToString();
    }
    std::string names;
    for (const TarEntry& entry : entries) {
      names += entry.name + ";";
    }
    return names;
  }
};

inline TarListing ReadTar(const std::string& bytes, LayerLimits limits = LayerLimits(),
                          size_t piece = 1 << 16, TarTap* tap = nullptr) {
  StringSource source(bytes, piece);
  TarReader reader(source, limits, tap);
  TarListing read;
  while (true) {
    TarEntry entry;
    const auto more = reader.Next(entry);
    if (!more.ok() || !*more) {
      read.status = more.status();
      return read;
    }
    std::string content;
    uint64_t offset;
    std::string_view data;
    while (true) {
      const auto has = reader.NextPiece(offset, data);
      if (!has.ok()) {
        read.status = has.status();
        return read;
      }
      if (!*has) {
        break;
      }
      EXPECT_LE(offset + data.size(), entry.size);
      content.resize(std::max<size_t>(content.size(), offset + data.size()));
      content.replace(offset, data.size(), data);
    }
    content.resize(std::max<size_t>(content.size(), std::min<uint64_t>(entry.size, 1 << 24)));
    read.entries.push_back(entry);
    read.contents.push_back(content);
  }
}

}  // namespace berth::archive
