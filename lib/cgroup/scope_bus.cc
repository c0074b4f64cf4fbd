#include "lib/cgroup/scope_bus.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "absl/time/time.h"
#include "fmt/format.h"
#include <systemd/sd-bus.h>

#include "lib/base/status.h"

namespace berth::cgroup {

namespace {

constexpr char kService[] = "org.freedesktop.systemd1";
constexpr char kObject[] = "/org/freedesktop/systemd1";
constexpr char kInterface[] = "org.freedesktop.systemd1.Manager";
// For hosts without a bus daemon: systemd itself listens here, for root.
constexpr char kPrivateAddress[] = "unix:path=/run/systemd/private";
// How long systemd waits between SIGTERM and SIGKILL when a scope is stopped; its processes are
// killed before, by us.
constexpr uint64_t kStopMicros = 10'000'000;

struct BusDeleter {
  void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};
using BusPtr = std::unique_ptr<sd_bus, BusDeleter>;

struct MessageDeleter {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using MessagePtr = std::unique_ptr<sd_bus_message, MessageDeleter>;

class BusError {
 public:
  BusError() = default;
  ~BusError() { sd_bus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;
  sd_bus_error* get() { return &error_; }
  bool Is(const char* name) const { return sd_bus_error_has_name(&error_, name) != 0; }
  std::string Text(int result) const {
    return error_.message != nullptr ? error_.message
                                     : std::string(base::ErrnoStatus(-result, "bus").message());
  }

 private:
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

absl::Status BusFailure(int result, const std::string& what) {
  return base::MakeStatus(absl::StatusCode::kUnavailable,
                          std::string(base::ErrnoStatus(-result, what).message()));
}

// Time for one call: what the context has left, and not for ever.
uint64_t CallMicros(const base::OpContext& ctx) {
  constexpr absl::Duration kLongest = absl::Seconds(25);
  const absl::Duration left = std::min(ctx.Remaining(), kLongest);
  return left <= absl::Milliseconds(1) ? 1000
                                       : static_cast<uint64_t>(absl::ToInt64Microseconds(left));
}

// One connection, and the results of jobs that were heard on it.
class Connection {
 public:
  absl::Status Open(const base::OpContext& ctx) {
    sd_bus* bus = nullptr;
    int result = sd_bus_open_system(&bus);
    bus_.reset(bus);
    if (result < 0) {
      RETURN_IF_ERROR(OpenPrivate());
    }
    (void)sd_bus_set_method_call_timeout(bus_.get(), CallMicros(ctx));
    return absl::OkStatus();
  }

  // Before starting a job: from here on its end is heard.
  absl::Status ListenForJobs(const base::OpContext& ctx) {
    const int result = sd_bus_match_signal(bus_.get(), nullptr, nullptr, kObject, kInterface,
                                           "JobRemoved", &OnJobRemoved, &finished_jobs_);
    if (result < 0) {
      return BusFailure(result, "listen for systemd's jobs");
    }
    // Without a subscriber systemd is silent. "Already subscribed" is as good.
    BusError error;
    (void)sd_bus_call_method(bus_.get(), kService, kObject, kInterface, "Subscribe", error.get(),
                             nullptr, "");
    return ctx.Check();
  }

  absl::StatusOr<MessagePtr> NewCall(const char* method) {
    sd_bus_message* message = nullptr;
    const int result =
        sd_bus_message_new_method_call(bus_.get(), &message, kService, kObject, kInterface, method);
    if (result < 0) {
      return BusFailure(result, "make a bus message");
    }
    return MessagePtr(message);
  }

  // The job's object path.
  absl::StatusOr<std::string> CallForJob(const base::OpContext& ctx, sd_bus_message* call,
                                         BusError& error) {
    sd_bus_message* reply = nullptr;
    const int result = sd_bus_call(bus_.get(), call, CallMicros(ctx), error.get(), &reply);
    const MessagePtr owner(reply);
    if (result < 0) {
      RETURN_IF_ERROR(ctx.Check());
      return absl::InternalError(fmt::format("systemd: {}", error.Text(result)));
    }
    const char* path = nullptr;
    if (const int read = sd_bus_message_read(reply, "o", &path); read < 0) {
      return BusFailure(read, "read systemd's answer");
    }
    return std::string(path);
  }

  // kInternal unless the job ended well.
  absl::Status WaitForJob(const base::OpContext& ctx, const std::string& job) {
    while (true) {
      if (const auto at = finished_jobs_.find(job); at != finished_jobs_.end()) {
        return at->second == "done" || at->second == "skipped"
                   ? absl::OkStatus()
                   : absl::InternalError(fmt::format("systemd: the job ended as '{}'", at->second));
      }
      int result = sd_bus_process(bus_.get(), nullptr);
      if (result == 0) {
        RETURN_IF_ERROR(ctx.Check());
        result = sd_bus_wait(bus_.get(), static_cast<uint64_t>(ctx.PollMillis()) * 1000);
      }
      if (result < 0 && result != -EINTR) {
        return BusFailure(result, "wait for systemd's job");
      }
    }
  }

  sd_bus* get() const { return bus_.get(); }

 private:
  absl::Status OpenPrivate() {
    sd_bus* bus = nullptr;
    int result = sd_bus_new(&bus);
    bus_.reset(bus);
    if (result >= 0) {
      result = sd_bus_set_address(bus, kPrivateAddress);
    }
    if (result >= 0) {
      result = sd_bus_start(bus);
    }
    return result < 0 ? BusFailure(result, "connect to systemd") : absl::OkStatus();
  }

  static int OnJobRemoved(sd_bus_message* message, void* user, sd_bus_error*) {
    uint32_t id = 0;
    const char* job = nullptr;
    const char* unit = nullptr;
    const char* result = nullptr;
    if (sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) >= 0) {
      (*static_cast<std::map<std::string, std::string>*>(user))[job] = result;
    }
    return 0;
  }

  // Declared before the bus: closing that may still call back.
  std::map<std::string, std::string> finished_jobs_;
  BusPtr bus_;
};

// "(sa(sv)a(sa(sv)))" of StartTransientUnit.
int AppendScope(sd_bus_message* call, const std::string& unit, const std::string& slice, pid_t pid,
                const std::string& description) {
  int result = sd_bus_message_append(call, "ss", unit.c_str(), "fail");
  const auto add = [&](int next) { result = result < 0 ? result : next; };
  add(sd_bus_message_open_container(call, 'a', "(sv)"));
  add(sd_bus_message_append(call, "(sv)", "Description", "s", description.c_str()));
  add(sd_bus_message_append(call, "(sv)", "Slice", "s", slice.c_str()));
  add(sd_bus_message_append(call, "(sv)", "PIDs", "au", 1, static_cast<uint32_t>(pid)));
  add(sd_bus_message_append(call, "(sv)", "Delegate", "b", 1));
  add(sd_bus_message_append(call, "(sv)", "DefaultDependencies", "b", 0));
  add(sd_bus_message_append(call, "(sv)", "CollectMode", "s", "inactive-or-failed"));
  add(sd_bus_message_append(call, "(sv)", "TimeoutStopUSec", "t", kStopMicros));
  for (const char* accounting : {"CPUAccounting", "MemoryAccounting", "TasksAccounting"}) {
    add(sd_bus_message_append(call, "(sv)", accounting, "b", 1));
  }
  add(sd_bus_message_close_container(call));
  add(sd_bus_message_append(call, "a(sa(sv))", 0));
  return result;
}

absl::Status TryStartScope(const base::OpContext& ctx, Connection& connection,
                           const std::string& unit, const std::string& slice, pid_t pid,
                           const std::string& description, bool& exists) {
  ASSIGN_OR_RETURN(const MessagePtr call, connection.NewCall("StartTransientUnit"));
  if (const int result = AppendScope(call.get(), unit, slice, pid, description); result < 0) {
    return BusFailure(result, "make a bus message");
  }
  BusError error;
  const absl::StatusOr<std::string> job = connection.CallForJob(ctx, call.get(), error);
  exists = error.Is("org.freedesktop.systemd1.UnitExists");
  RETURN_IF_ERROR(job.status());
  return connection.WaitForJob(ctx, *job);
}

// Puts the process into a scope that runs. False: it does not run, or will not take it.
bool AttachToScope(const Connection& connection, const std::string& unit, pid_t pid) {
  BusError error;
  return sd_bus_call_method(connection.get(), kService, kObject, kInterface,
                            "AttachProcessesToUnit", error.get(), nullptr, "ssau", unit.c_str(), "",
                            1, static_cast<uint32_t>(pid)) >= 0;
}

void ResetFailed(const Connection& connection, const std::string& unit) {
  BusError error;  // "not loaded" is what we want it to be
  (void)sd_bus_call_method(connection.get(), kService, kObject, kInterface, "ResetFailedUnit",
                           error.get(), nullptr, "s", unit.c_str());
}

}  // namespace

absl::Status SystemdScopeBus::Ping(const base::OpContext& ctx) {
  Connection connection;
  RETURN_IF_ERROR(connection.Open(ctx));
  BusError error;
  char* version = nullptr;
  const int result = sd_bus_get_property_string(connection.get(), kService, kObject, kInterface,
                                                "Version", error.get(), &version);
  const std::unique_ptr<char, decltype(&::free)> owner(version, &::free);
  if (result < 0) {
    return absl::UnavailableError(fmt::format("systemd does not answer: {}", error.Text(result)));
  }
  return absl::OkStatus();
}

absl::Status SystemdScopeBus::StartScope(const base::OpContext& ctx, const std::string& unit,
                                         const std::string& slice, pid_t pid,
                                         const std::string& description) {
  const std::string what = fmt::format("start scope '{}' in '{}'", unit, slice);
  Connection connection;
  absl::Status status = connection.Open(ctx);
  if (status.ok()) {
    status = connection.ListenForJobs(ctx);
  }
  bool exists = false;
  if (status.ok()) {
    status = TryStartScope(ctx, connection, unit, slice, pid, description, exists);
  }
  if (exists) {
    if (AttachToScope(connection, unit, pid)) {
      return absl::OkStatus();
    }
    ResetFailed(connection, unit);  // the remains of an earlier one
    status = TryStartScope(ctx, connection, unit, slice, pid, description, exists);
  }
  return base::Annotate(status, what);
}

absl::Status SystemdScopeBus::StopUnit(const base::OpContext& ctx, const std::string& unit) {
  const std::string what = fmt::format("stop unit '{}'", unit);
  Connection connection;
  absl::Status status = connection.Open(ctx);
  if (status.ok()) {
    status = connection.ListenForJobs(ctx);
  }
  RETURN_IF_ERROR(base::Annotate(status, what));
  ASSIGN_OR_RETURN(const MessagePtr call, connection.NewCall("StopUnit"));
  if (const int result = sd_bus_message_append(call.get(), "ss", unit.c_str(), "replace");
      result < 0) {
    return BusFailure(result, what);
  }
  BusError error;
  const absl::StatusOr<std::string> job = connection.CallForJob(ctx, call.get(), error);
  if (error.Is("org.freedesktop.systemd1.NoSuchUnit")) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(base::Annotate(job.status(), what));
  RETURN_IF_ERROR(base::Annotate(connection.WaitForJob(ctx, *job), what));
  ResetFailed(connection, unit);
  return absl::OkStatus();
}

}  // namespace berth::cgroup
