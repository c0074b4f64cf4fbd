#include "daemon/cri/call.h"

#include <chrono>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "daemon/cri/status_map.h"
#include "daemon/cri/text.h"
#include "lib/base/log.h"
#include "lib/base/mutex.h"

namespace berth::cri {

namespace {

absl::Time DeadlineOf(const grpc::ServerContext& context) {
  const auto deadline = context.deadline();
  return deadline == std::chrono::system_clock::time_point::max() ? absl::InfiniteFuture()
                                                                  : absl::FromChrono(deadline);
}

}  // namespace

// Whether the client still waits. The lock is for gRPC's sake, whose IsCancelled looks at the
// call's queue, and for copies of the context that a worker still holds when the call has ended.
class Call::Caller {
 public:
  explicit Caller(grpc::ServerContext* context) : context_(context) {}
  bool Gone() {
    base::MutexLock lock(mu_);
    return context_ == nullptr || context_->IsCancelled();
  }
  void End() {
    base::MutexLock lock(mu_);
    context_ = nullptr;
  }

 private:
  base::Mutex mu_;
  grpc::ServerContext* context_ ABSL_GUARDED_BY(mu_);
};

Call::Call(std::string_view name, Kind kind, grpc::ServerContext* context)
    : name_(name),
      kind_(kind),
      began_(absl::Now()),
      caller_(std::make_shared<Caller>(context)),
      context_(DeadlineOf(*context), [caller = caller_] { return caller->Gone(); }) {}

Call::~Call() { caller_->End(); }

void Call::Note(std::string_view key, std::string_view value) {
  if (!value.empty()) {
    notes_ += fmt::format(" {}={}", key, OneLine(value, 256));
  }
}

grpc::Status Call::End(const absl::Status& status) {
  const auto level = kind_ == Kind::kChange ? spdlog::level::info : spdlog::level::debug;
  spdlog::logger& log = base::Log("cri");
  if (log.should_log(level)) {
    const int64_t ms = absl::ToInt64Milliseconds(absl::Now() - began_);
    const std::string code = absl::StatusCodeToString(status.code());
    const absl::string_view message = status.message();
    const std::string error =
        status.ok()
            ? ""
            : fmt::format(" error='{}'", OneLine(std::string_view(message.data(), message.size())));
    log.log(level, "{}{} ms={} code={}{}", name_, notes_, ms, code, error);
  }
  return ToGrpc(status);
}

grpc::Status NotImplemented(std::string_view rpc) {
  return {grpc::StatusCode::UNIMPLEMENTED,
          fmt::format("berth {} does not serve {}", BERTH_VERSION, rpc)};
}

}  // namespace berth::cri
