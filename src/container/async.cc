#include "nacelle/async.h"

#include <chrono>
#include <memory>
#include <utility>

#include "container/runtime_impl.h"

namespace nacelle {

using container::HookKind;
using ring::Loop;
using ring::Task;

namespace {

// How often a child is looked at that cannot make itself heard.
constexpr ring::Duration listener_interval = std::chrono::microseconds(200);

bool has_listener(const Bundle& bundle) {
  const auto flags = bundle.impl().plan.header().process.flags;
  return (flags & container::process_seccomp_notify) != 0;
}

Task<> until_ready(Loop& loop, const Starting& starting, bool listener) {
  if (!listener) {
    co_await ring::readable(loop, starting.handshake());
    co_return;
  }
  while (!starting.ready()) co_await ring::sleep_for(loop, listener_interval);
}

Task<Process> start_to_end(Loop& loop, Runtime& runtime, const std::string& id,
                           const Bundle& bundle, const IoOptions& io, bool parked,
                           StartTimes* times) {
  const std::unique_ptr<Starting> starting =
      co_await Starting::begin(runtime, id, bundle, io, parked);
  const bool listener = has_listener(bundle);
  bool runs = false;
  while (!runs) {
    co_await until_ready(loop, *starting, listener);
    runs = co_await starting->advance();
  }
  if (times != nullptr) *times = starting->times();
  co_return starting->take_process();
}

}  // namespace

Task<Process> create(Loop& loop, Runtime& runtime, std::string id, const Bundle& bundle,
                     IoOptions io) {
  co_return co_await start_to_end(loop, runtime, id, bundle, io, true, nullptr);
}

Task<Process> run(Loop& loop, Runtime& runtime, std::string id, const Bundle& bundle, IoOptions io,
                  StartTimes* times) {
  // As in Runtime::run: startContainer hooks need a parked program.
  const bool parked = container::has_hooks(bundle.impl().plan, HookKind::StartContainer);
  Process process = co_await start_to_end(loop, runtime, id, bundle, io, parked, times);
  if (!parked) co_return process;
  if (Result<> started = runtime.start(id); !started) {
    (void)runtime.remove(id, true);
    co_return std::unexpected(std::move(started).error());
  }
  co_return process;
}

Task<ExitStatus> wait(Loop& loop, const Process& process) {
  co_return ExitStatus{co_await ring::wait_process(loop, process.pidfd)};
}

}  // namespace nacelle
