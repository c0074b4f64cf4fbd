// CredentialHelpers: programs named docker-credential-NAME that know credentials
// (docker-credential-helpers' protocol: `get`, the server on standard input, one JSON object with
// Username and Secret on standard output).
//
// The program is found on PATH by its name alone, gets berthd's environment, and is killed after
// kTimeLimit. No shell is involved. Neither its output nor its errors are ever shown: both may hold
// secrets. Answers are kept for kKeepFor, so that the requests of one pull ask once.
//
// Threads: thread-safe; callers who want the same wait for one program. Ownership: borrows the
// runner. Memory: at most kMaxKept answers.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "lib/base/mutex.h"
#include "lib/base/op_context.h"
#include "lib/base/process_runner.h"
#include "lib/registry/credentials.h"

namespace berth::registry {

class CredentialHelpers {
 public:
  static constexpr absl::Duration kTimeLimit = absl::Seconds(20);
  static constexpr absl::Duration kKeepFor = absl::Minutes(1);
  static constexpr size_t kMaxKept = 64;
  static constexpr size_t kMaxOutput = 256 << 10;

  CredentialHelpers(base::ProcessRunner* runner, std::function<absl::Time()> now)
      : runner_(runner), now_(std::move(now)) {}

  // What the helper has for a registry's host; nullopt: nothing. kFailedPrecondition: not a name
  // (letters, digits, '.', '_', '-'), no such program, it failed or took too long, its answer is
  // not the protocol's. The context's error at its end.
  absl::StatusOr<std::optional<Credentials>> Get(const base::OpContext& ctx,
                                                 const std::string& name, const std::string& host);

 private:
  struct Kept {
    bool is_running = false;
    absl::Time until;
    std::optional<Credentials> credentials;
  };

  absl::StatusOr<std::optional<Credentials>> Ask(const base::OpContext& ctx,
                                                 const std::string& name,
                                                 const std::string& server);

  base::ProcessRunner* const runner_;  // null: none can be started
  const std::function<absl::Time()> now_;
  base::Mutex mu_;
  base::CondVar changed_;
  std::map<std::string, Kept> kept_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::registry
