// FakeProcessRunner: answers instead of starting programs, and remembers what it was asked to
// start.
//
//   FakeProcessRunner runner([](const ProcessSpec& spec, std::string_view input) {
//     return FakeProcessRunner::Exits(0, "{}");
//   });
//
// Threads: thread-safe; the answer function is called without a lock, from the caller's thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/mutex.h"
#include "lib/base/process_runner.h"

namespace berth::base {

class FakeProcessRunner : public ProcessRunner {
 public:
  using Answer =
      std::function<absl::StatusOr<RunResult>(const ProcessSpec&, std::string_view input)>;

  struct Call {
    ProcessSpec spec;
    std::string input;
    RunLimits limits;
    // The value of an environment variable; empty when it is not given.
    std::string Env(std::string_view name) const {
      for (const std::string& variable : spec.env) {
        if (variable.size() > name.size() && variable[name.size()] == '=' &&
            variable.compare(0, name.size(), name) == 0) {
          return variable.substr(name.size() + 1);
        }
      }
      return "";
    }
  };

  explicit FakeProcessRunner(Answer answer) : answer_(std::move(answer)) {}

  // A program that ended by itself.
  static absl::StatusOr<RunResult> Exits(int code, std::string out, std::string err = "") {
    return RunResult{ExitStatus{code, 0}, std::move(out), std::move(err), false};
  }

  std::vector<Call> calls() {
    MutexLock lock(mu_);
    return calls_;
  }

  absl::StatusOr<Process> Start(const ProcessSpec& spec) override {
    Remember({spec, "", {}});
    return absl::UnimplementedError("the fake runner starts nothing that outlives the call");
  }

  // As the real one, it checks the context first and cuts the output.
  absl::StatusOr<RunResult> Run(const OpContext& ctx, const ProcessSpec& spec,
                                std::string_view input, RunLimits limits) override {
    Remember({spec, std::string(input), limits});
    if (absl::Status status = ctx.Check(); !status.ok()) {
      return status;
    }
    absl::StatusOr<RunResult> result = answer_(spec, input);
    if (result.ok() && result->out.size() > limits.max_stdout) {
      result->out.resize(limits.max_stdout);
      result->truncated = true;
    }
    return result;
  }

 private:
  void Remember(Call call) {
    MutexLock lock(mu_);
    calls_.push_back(std::move(call));
  }

  const Answer answer_;
  Mutex mu_;
  std::vector<Call> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::base
