// OCI hook definitions. Lines: a command, an annotation's key and value; then the file.
#include "lib/hooks/hook_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace berth::hooks {

FUZZ_TARGET(hooks) {
  fuzz::Input parts(input);
  HookQuery query;
  query.command = parts.Line();
  const std::string key = parts.Line();
  query.annotations[key] = parts.Line();
  const absl::StatusOr<HookFile> file = ParseHookFile(parts.Rest());
  if (!file.ok()) {
    return;
  }
  BERTH_CHECK(!file->stages.empty());
  (void)file->Matches(query);
  (void)file->Matches(HookQuery());
}

}  // namespace berth::hooks
