#include "lib/base/boot_id.h"

#include "lib/base/file.h"
#include "lib/base/status.h"

namespace berth::base {

absl::StatusOr<std::string> BootId() {
  ASSIGN_OR_RETURN(std::string id, ReadFile("/proc/sys/kernel/random/boot_id", 100));
  id.erase(id.find_last_not_of('\n') + 1);
  return id;
}

}  // namespace berth::base
