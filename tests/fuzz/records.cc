// Records as the database has them: CBOR. First byte: of a pod or of a container.
#include "lib/model/record_json.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::model {

FUZZ_TARGET(records) {
  fuzz::Input parts(input);
  if (parts.Bool()) {
    const absl::StatusOr<SandboxRecord> record = DecodeSandbox(parts.Rest());
    if (record.ok()) {
      const absl::StatusOr<SandboxRecord> again = DecodeSandbox(Encode(*record));
      BERTH_CHECK(again.ok() && Encode(*again) == Encode(*record));
    }
    return;
  }
  const absl::StatusOr<ContainerRecord> record = DecodeContainer(parts.Rest());
  if (record.ok()) {
    (void)record->state();
    const absl::StatusOr<ContainerRecord> again = DecodeContainer(Encode(*record));
    BERTH_CHECK(again.ok() && Encode(*again) == Encode(*record));
  }
}

}  // namespace berth::model
