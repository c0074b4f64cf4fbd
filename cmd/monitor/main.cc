// berth-monitor: the parent of one container.
//
// Who I am: started by berthd (lib/runtime/monitor_client.cc), one per container. I run `<runtime>
// create`; its child, the container's first process, becomes mine when the runtime ends, since I am
// the nearest subreaper. From then on I am in a session of my own.
//
// Why I exist: a process can be waited for by its parent alone, and pipes and terminals live as
// long as somebody holds them; berthd may be restarted or die at any time. So I hold the
// container's standard files, write its log, serve those who attach, and write down how it ended.
//
// What ends me: the end of the container's first process: then the rest of the output goes to the
// log, the exit record is put in place, and only after that is my socket closed, by which berthd
// knows. Or a failed `create`: then I undo what there is of the container and report. No signal but
// SIGKILL does; if that comes, the container runs on, but its output has no reader and its exit
// code is lost.
//
// One thread, one poll(2), no memory but fixed buffers. All signals are blocked, so none interrupts
// anything; SIGCHLD is read from a descriptor. Output is handled before SIGCHLD in each turn.
#include <unistd.h>

#include "cmd/monitor/exec.h"
#include "cmd/monitor/monitor.h"
#include "cmd/monitor/options.h"
#include "cmd/monitor/text.h"

namespace {

using berth::monitor::Options;
using berth::monitor::TextBuffer;

constexpr int kUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const char* error = nullptr;
  if (!berth::monitor::ParseOptions(argc, argv, &options, &error)) {
    TextBuffer<512> text;
    text.Add("berth-monitor: bad arguments: ").Add(error).Add("\n");
    (void)!write(2, text.c_str(), text.size());
    return kUsage;
  }
  if (options.version) {
    const char version[] = "berth-monitor " BERTH_VERSION "\n";
    return write(1, version, sizeof(version) - 1) < 0 ? 1 : 0;
  }
  return options.exec ? berth::monitor::RunExec(options) : berth::monitor::RunMonitor(options);
}
