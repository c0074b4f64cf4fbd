// absl::Status gives up its text by a count that libabsl_status.so takes down. That library is not
// built with the thread sanitizer, which therefore takes the last owner's delete for a race with
// what another owner read. The function as it is in Abseil's status.cc, built with the sanitizer,
// takes the library's place. Only in builds with that sanitizer.
#include "absl/status/status.h"

#if ABSL_LTS_RELEASE_VERSION == 20220623
namespace absl {
ABSL_NAMESPACE_BEGIN

void Status::UnrefNonInlined(uintptr_t rep) {
  status_internal::StatusRep* const shared = RepToPointer(rep);
  if (shared->ref.load(std::memory_order_acquire) == 1 ||
      shared->ref.fetch_sub(1, std::memory_order_acq_rel) - 1 == 0) {
    delete shared;
  }
}

ABSL_NAMESPACE_END
}  // namespace absl
#endif
