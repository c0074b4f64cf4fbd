// TarBuilder: writes tar streams for tests, header by header, also such as no honest program
// writes.
#pragma once

#include <zstd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include <isa-l/igzip_lib.h>

namespace berth::archive {

class TarBuilder {
 public:
  struct Entry {
    std::string name = {};
    char type = '0';  // typeflag: '0' file, '1' hard link, '2' symlink, '3' char, '4' block, '5'
                      // directory, '6' fifo
    std::string content = {};
    std::string link = {};
    unsigned mode = 0644;
    uint64_t uid = 0;
    uint64_t gid = 0;
    int64_t mtime = 1'000'000'000;
    unsigned dev_major = 0;
    unsigned dev_minor = 0;
    std::map<std::string, std::string> pax = {};  // records of an extended header in front
    std::function<void(char*)> edit = {};         // changes the header before its checksum is made
  };

  TarBuilder& Add(const Entry& entry) {
    if (!entry.pax.empty()) {
      std::string records;
      for (const auto& [key, value] : entry.pax) {
        records += PaxRecord(key, value);
      }
      Header("./PaxHeaders/x", 'x', records.size(), Entry{});
      Body(records);
    }
    Header(entry.name, entry.type, entry.content.size(), entry);
    Body(entry.content);
    return *this;
  }
  TarBuilder& File(const std::string& name, const std::string& content, unsigned mode = 0644) {
    return Add({.name = name, .content = content, .mode = mode});
  }
  TarBuilder& Dir(const std::string& name, unsigned mode = 0755) {
    return Add({.name = name, .type = '5', .mode = mode});
  }
  TarBuilder& Symlink(const std::string& name, const std::string& target) {
    return Add({.name = name, .type = '2', .link = target});
  }
  TarBuilder& HardLink(const std::string& name, const std::string& target) {
    return Add({.name = name, .type = '1', .link = target});
  }
  TarBuilder& Raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  // The stream so far, with the two blocks of zeros that end it.
  std::string Finish() const { return bytes_ + std::string(1024, '\0'); }
  const std::string& bytes() const { return bytes_; }

  static std::string PaxRecord(const std::string& key, const std::string& value) {
    const size_t length = key.size() + value.size() + 3;  // ' ', '=', '\n'
    size_t digits = 1;
    while (std::to_string(length + digits).size() > digits) {
      ++digits;
    }
    return std::to_string(length + digits) + " " + key + "=" + value + "\n";
  }

 private:
  void Header(const std::string& name, char type, uint64_t size, const Entry& entry) {
    char block[512] = {};
    std::memcpy(block, name.data(), std::min<size_t>(name.size(), 100));
    Number(block + 100, 8, entry.mode);
    Number(block + 108, 8, entry.uid);
    Number(block + 116, 8, entry.gid);
    Number(block + 124, 12, size);
    Number(block + 136, 12, static_cast<uint64_t>(entry.mtime));
    block[156] = type;
    std::memcpy(block + 157, entry.link.data(), std::min<size_t>(entry.link.size(), 100));
    std::memcpy(block + 257,
                "ustar\0"
                "00",
                8);
    Number(block + 329, 8, entry.dev_major);
    Number(block + 337, 8, entry.dev_minor);
    if (entry.edit) {
      entry.edit(block);
    }
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (const char c : block) {
      sum += static_cast<unsigned char>(c);
    }
    std::snprintf(block + 148, 8, "%06o", sum);
    bytes_.append(block, sizeof(block));
  }
  void Body(const std::string& content) {
    bytes_ += content;
    bytes_.append((512 - content.size() % 512) % 512, '\0');
  }

  std::string bytes_;

 public:
  // Octal, or GNU's base 256 where that is too short.
  static void Number(char* field, size_t size, uint64_t value) {
    if (value >> (3 * (size - 1)) == 0) {
      std::string text;
      for (size_t i = 0; i < size - 1; ++i) {
        text.insert(text.begin(), static_cast<char>('0' + (value >> (3 * i)) % 8));
      }
      std::memcpy(field, text.data(), text.size());
      return;
    }
    for (size_t i = 0; i < size; ++i) {
      const size_t shift = 8 * (size - 1 - i);
      field[i] = shift < 64 ? static_cast<char>(value >> shift) : '\0';
    }
    field[0] = static_cast<char>(0x80);
  }
};

// One gzip member.
inline std::string Gzip(std::string_view plain) {
  isal_zstream stream;
  isal_deflate_init(&stream);
  std::string out(plain.size() + plain.size() / 8 + 4096, '\0');
  stream.gzip_flag = IGZIP_GZIP;
  stream.end_of_stream = 1;
  stream.flush = NO_FLUSH;
  stream.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uint32_t>(plain.size());
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = static_cast<uint32_t>(out.size());
  if (isal_deflate(&stream) != COMP_OK || stream.internal_state.state != ZSTATE_END) {
    return "";
  }
  out.resize(out.size() - stream.avail_out);
  return out;
}

// One zstd frame with a checksum.
inline std::string Zstd(std::string_view plain) {
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  out.resize(ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size()));
  ZSTD_freeCCtx(context);
  return out;
}

}  // namespace berth::archive
