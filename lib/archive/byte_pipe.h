// BytePipe: a bounded ring of bytes from one producing thread to one consuming thread.
//
// Threads: Write and CloseWrite by the producer, Next by the consumer, Fail by anyone.
// Limits: holds `capacity` bytes; memory is taken at the first Write and given back by the
// destructor.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/status/status.h"

#include "lib/archive/byte_source.h"
#include "lib/base/mutex.h"

namespace berth::archive {

class BytePipe : public ByteSource {
 public:
  explicit BytePipe(size_t capacity) : capacity_(capacity) {}

  // Copies all bytes in, waiting for room. After Fail: its status.
  absl::Status Write(std::string_view bytes);
  // No more bytes will come; Next returns what is left, then the end.
  void CloseWrite();
  // Both sides return `why` from now on; the first call counts.
  void Fail(const absl::Status& why);

  absl::StatusOr<std::string_view> Next() override;

 private:
  const size_t capacity_;
  base::Mutex mu_;
  base::CondVar changed_;
  std::unique_ptr<char[]> ring_ ABSL_GUARDED_BY(mu_);
  size_t head_ ABSL_GUARDED_BY(mu_) = 0;  // where the consumer reads
  size_t size_ ABSL_GUARDED_BY(mu_) = 0;  // bytes held, lent ones included
  size_t lent_ ABSL_GUARDED_BY(mu_) = 0;  // bytes the consumer is looking at
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::archive
