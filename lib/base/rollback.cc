#include "lib/base/rollback.h"

#include "lib/base/log.h"

namespace berth::base {

void Rollback::Run() {
  while (!steps_.empty()) {
    auto [step, undo] = std::move(steps_.back());
    steps_.pop_back();
    if (absl::Status status = undo(); !status.ok()) {
      Log("base").warn(
          "undo step failed, going on with the others: what=\"{}\" step=\"{}\" error=\"{}\"", what_,
          step, std::string(status.message()));
    }
  }
}

}  // namespace berth::base
