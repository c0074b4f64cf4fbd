#include "daemon/app/app.h"

#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "grpc/support/log.h"
#include "systemd/sd-daemon.h"

#include "daemon/app/node.h"
#include "daemon/app/server.h"
#include "daemon/app/start_memory.h"
#include "daemon/app/stream_backend.h"
#include "daemon/streaming/stream_server.h"
#include "lib/base/log.h"
#include "lib/base/process_runner.h"
#include "lib/base/status.h"

namespace berth::app {

namespace {

// How long a stop may take before what still runs is left behind, as at a crash.
constexpr absl::Duration kStopBudget = absl::Seconds(20);

// gRPC's own lines, which go to stderr in a form of their own otherwise.
void LogLineOfGrpc(gpr_log_func_args* line) {
  const auto level =
      line->severity == GPR_LOG_SEVERITY_ERROR ? spdlog::level::warn : spdlog::level::debug;
  base::Log("grpc").log(level, "{}", line->message);
}

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&set, signal);
  }
  return set;
}

streaming::ServerOptions StreamOptions(const config::StreamConfig& config) {
  streaming::ServerOptions options;
  options.address = config.address;
  options.port = static_cast<uint16_t>(config.port);
  options.idle_timeout = absl::ToChronoSeconds(absl::Ceil(config.idle_timeout, absl::Seconds(1)));
  options.tls_cert = config.tls_cert;
  options.tls_key = config.tls_key;
  options.tls_ca = config.tls_ca;
  options.tls_min_version = config.tls_min_version;
  options.tls_cipher_suites = config.tls_cipher_suites;
  return options;
}

// SIGHUP (systemctl reload). Certificates and auth files are read at every use; the rest of the
// configuration has become threads, sockets and directories by now.
void Reload(const config::Config& config, Node& node) {
  sd_notify(0, "RELOADING=1");
  const absl::Status status = node.ReloadRegistries(config.image);
  if (status.ok()) {
    base::Log("app").info(
        "SIGHUP: registries.conf is read again; changes of berthd.toml need a restart of berthd, "
        "containers stay");
  } else {
    base::Log("app").error("SIGHUP: {}; keeping the registries as they were",
                           std::string(status.message()));
  }
  sd_notify(0, "READY=1");
}

// Returns at SIGTERM or SIGINT.
void WaitForStop(const config::Config& config, Node& node) {
  const sigset_t set = HandledSignals();
  while (true) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) {
      continue;
    }
    if (signal == SIGHUP) {
      Reload(config, node);
      continue;
    }
    base::Log("app").info("stopping signal={}", signal);
    return;
  }
}

}  // namespace

void PrepareProcess() {
  ::umask(022);  // directories made inside containers must be as public as their modes say
  const sigset_t set = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // One arena for all threads: handlers are many and mostly wait, and an arena each would keep what
  // each once used.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_TRIM_THRESHOLD, 256 << 10);
}

absl::Status Run(const config::Config& config) {
  RETURN_IF_ERROR(base::ConfigureLog(config.log.level, config.log.format));
  if (::chdir("/") != 0) {  // the directory it was started in is not held busy
    return base::ErrnoStatus(errno, "change to '/'");
  }
  gpr_set_log_function(LogLineOfGrpc);
  RETURN_IF_ERROR(base::RaiseOpenFileLimit());
  const absl::Time began = absl::Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Node> node, Node::Create(config));
  StreamBackend backend(node->containers(), node->sandboxes());
  streaming::StreamServer streams(StreamOptions(config.stream), backend);
  RETURN_IF_ERROR(base::Annotate(streams.Start(), "start the streaming server ([stream])"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Server> server, Server::Create(config, *node, streams));
  base::Log("app").info("serving listen={} version={} ms={}", config.api.listen, BERTH_VERSION,
                        absl::ToInt64Milliseconds(absl::Now() - began));
  sd_notify(0, "READY=1\nSTATUS=serving the CRI");
  GiveBackStartMemory();

  WaitForStop(config, *node);
  sd_notify(0, "STOPPING=1");
  node->loop().After(kStopBudget, [] {
    base::Log("app").error(
        "a request does not end; leaving it, the next start undoes what it half made");
    ::_exit(1);
  });
  server->Stop();
  streams.Stop();
  node->StopLoop();
  return absl::OkStatus();
}

}  // namespace berth::app
