// run: create and start in one, and by default stay until the end.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

#include "base/text.h"
#include "cli/nacelle_oci/create_options.h"

namespace nacelle::oci_cli {
namespace {

uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// NACELLE_TRACE_FILE: how long each phase of this run took, a line each, in microseconds.
class Trace {
 public:
  Trace() : path_(std::getenv("NACELLE_TRACE_FILE")), last_(now_ns()) {}
  bool wanted() const { return path_ != nullptr; }

  void until(std::string_view phase, uint64_t end_ns) {
    if (!wanted() || end_ns == 0) return;
    const uint64_t spent = end_ns > last_ ? end_ns - last_ : 0;
    lines_ += cat(phase, " ", spent / 1000, "\n");
    last_ = end_ns > last_ ? end_ns : last_;
  }
  void until_now(std::string_view phase) {
    if (wanted()) until(phase, now_ns());
  }
  void start(const StartTimes& times) {
    until("cgroup", times.cgroup);
    until("clone", times.born);
    until("namespaces", times.namespaces);
    until("mounts", times.mounts);
    until("pivot", times.pivot);
    until("process", times.process);
    until("seccomp", times.seccomp);
    until("exec", times.exec);
  }
  ~Trace() {
    if (!wanted()) return;
    const int fd = ::open(path_, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    (void)!::write(fd, lines_.data(), lines_.size());
    ::close(fd);
  }

 private:
  const char* path_;
  uint64_t last_;
  std::string lines_;
};

}  // namespace

Result<int> run_run(const Context& context) {
  Trace trace;
  CreateOptions options;
  bool detach = false;
  bool keep = false;
  bool no_subreaper =
      false;  // we are none: what a container leaves behind stays in its pid namespace
  const auto operands = TRY(parse_options(
      context.arguments,
      create_option_list(
          options, {{"detach", 'd', nullptr, "return as soon as the program runs", into(detach)},
                    {"keep", 0, nullptr, "keep the container after its end", into(keep)},
                    {"no-subreaper", 0, nullptr, "accepted; there is none", into(no_subreaper)}})));
  const std::string id = TRY(only_operand(operands, "run", "container-id"));
  Prepared prepared = TRY(prepare_start(context, options, !detach));
  trace.until_now("plan");
  Signals signals;
  if (!detach) signals = TRY(Signals::hold());
  StartTimes times;
  prepared.io.traced = trace.wanted();
  const Process process = TRY(prepared.runtime.run(id, prepared.bundle, prepared.io, &times));
  trace.start(times);
  Result<> told = announce(options, process);
  if (told && !detach) told = prepared.console.receive();
  if (!told) {
    (void)prepared.runtime.remove(id, true);
    return std::unexpected(told.error());
  }
  if (detach) return exit_ok;
  const ExitStatus status = TRY(watch(process, signals, prepared.console));
  trace.until_now("exit");
  if (!keep) TRY(prepared.runtime.remove(id, true));
  trace.until_now("delete");
  return status.code();
}

}  // namespace nacelle::oci_cli
