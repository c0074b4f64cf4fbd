// A container's output on its way into the log: what the kubelet reads back is what was written.
// First two bytes: the log's largest size (0: none); then pieces of both streams.
#include "cmd/monitor/log_writer.h"

#include <unistd.h>

#include "lib/base/file.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::monitor {

namespace {

// The texts of one stream, as the kubelet puts them together.
std::string ReadBack(const std::string& log, const std::string& stream) {
  std::string all;
  fuzz::Input lines(log);
  while (!lines.empty()) {
    const std::string line = lines.Line();
    const size_t time = line.find(' ');
    BERTH_CHECK(time == 35 && line.size() >= time + 10);
    BERTH_CHECK(line.substr(time, 8) == " stdout " || line.substr(time, 8) == " stderr ");
    const std::string kind = line.substr(time + 8, 2);
    BERTH_CHECK(kind == "F " || kind == "P ");
    BERTH_CHECK(line.size() <= time + 10 + LogWriter::kMaxText);
    if (line.substr(time + 1, 6) == stream) {
      all += line.substr(time + 10) + (kind == "F " ? "\n" : "");
    }
  }
  return all;
}

}  // namespace

FUZZ_TARGET(log_writer) {
  fuzz::Input parts(input);
  const uint32_t max_size = parts.Number(2);
  // One writer for all inputs, since it keeps its file until the process ends.
  static LogWriter writer;
  const std::string path = "/dev/shm/berth-fuzz-log." + std::to_string(::getpid());
  BERTH_CHECK(writer.Open(path.c_str(), max_size) == 0);
  const uint64_t lost_before = writer.lost_bytes();
  std::string written[2], left[2];
  while (!parts.empty()) {
    const uint8_t kind = parts.Byte();
    std::string piece(parts.Take(parts.Byte()));
    for (int doubled = (kind >> 2) % 8; doubled > 0 && piece.size() < 20000; --doubled) {
      piece += piece;
    }
    std::string& pending = left[kind % 2];
    pending += piece;
    const size_t done = writer.Write(kind % 2 == 0 ? Stream::kStdout : Stream::kStderr,
                                     pending.data(), pending.size(), (kind & 2) != 0);
    BERTH_CHECK(done <= pending.size());
    written[kind % 2] += pending.substr(0, done);
    pending.erase(0, done);
    BERTH_CHECK(pending.size() <= LogWriter::kMaxText);
    BERTH_CHECK((kind & 2) == 0 || pending.empty());
  }
  const absl::StatusOr<std::string> log = base::ReadFile(path, 64 << 20);
  BERTH_CHECK(log.ok());
  ::unlink(path.c_str());
  const std::string read[] = {ReadBack(*log, "stdout"), ReadBack(*log, "stderr")};
  if (max_size == 0) {
    BERTH_CHECK(read[0] == written[0] && read[1] == written[1]);
    BERTH_CHECK(writer.lost_bytes() == lost_before);
  } else {
    BERTH_CHECK(log->size() <= max_size);
  }
}

}  // namespace berth::monitor
