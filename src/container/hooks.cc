#include "container/hooks.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <string>
#include <vector>

#include "base/text.h"
#include "container/launch.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/process.h"

namespace nacelle::container {
namespace {

// What is quoted of a failed hook's output.
constexpr size_t output_bytes_shown = 512;

struct HookChild {
  int program;
  int input;
  int output;
  int process;
  uint64_t namespaces;
  char* const* args;
  char* const* env;
};

// After fork in a small process: the steps up to execve, each of which may only fail by ending.
[[noreturn]] void run_hook_child(const HookChild& child) {
  constexpr int cannot_execute = 126;
  ::setsid();
  // A foreground `run` holds all signals back; a hook's timeout(1) or trap needs them.
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const bool joined =
      child.namespaces == 0 || ::setns(child.process, static_cast<int>(child.namespaces)) == 0;
  const bool placed = joined && ::chdir("/") == 0 && ::dup2(child.input, 0) == 0 &&
                      ::dup2(child.output, 1) == 1 && ::dup2(child.output, 2) == 2;
  if (placed) {
    // Not close-on-exec: a script's interpreter opens it again as /dev/fd/N.
    ::dup2(child.program, 3);
    ::fcntl(3, F_SETFD, 0);
    ::close_range(4, ~0u, 0);
    ::syscall(SYS_execveat, 3, "", child.args, child.env, AT_EMPTY_PATH);
  }
  ::_exit(cannot_execute);
}

std::vector<char*> pointers(const PlanView& plan, Array<Text> texts) {
  std::vector<char*> result;
  for (const Text one : plan.items(texts)) result.push_back(const_cast<char*>(plan.text(one)));
  result.push_back(nullptr);
  return result;
}

}  // namespace

Result<int> reap_within(pid_t pid, const Fd& pidfd, uint32_t timeout_s) {
  timespec start{};
  ::clock_gettime(CLOCK_MONOTONIC, &start);
  while (timeout_s > 0) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t spent_ms =
        (now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1'000'000;
    const int64_t left_ms = int64_t{timeout_s} * 1000 - spent_ms;
    pollfd one{pidfd.get(), POLLIN, 0};
    if (left_ms > 0) {
      const int wait_ms = left_ms > 1'000'000 ? 1'000'000 : static_cast<int>(left_ms);
      if (::poll(&one, 1, wait_ms) > 0) break;
      continue;
    }
    ::kill(-pid, SIGKILL);
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);  // it may lead no session
    (void)sys::reap(pidfd);
    return fail(Kind::Unavailable, cat("timed out after ", timeout_s, " s"));
  }
  return sys::reap(pidfd);
}

namespace {

std::string last_output(const Fd& output) {
  const off_t size = ::lseek(output.get(), 0, SEEK_END);
  const off_t from = size > static_cast<off_t>(output_bytes_shown)
                         ? size - static_cast<off_t>(output_bytes_shown)
                         : 0;
  std::string text(static_cast<size_t>(size - from), '\0');
  const ssize_t got = ::pread(output.get(), text.data(), text.size(), from);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<> run_hook(const PlanView& plan, const HookStep& hook, const Fd& input,
                  const HookPlace& place) {
  const Fd program = TRY(sys::open_at(sys::working_directory, plan.text(hook.path), O_PATH));
  const Fd output(::memfd_create("hook-output", MFD_CLOEXEC));
  if (!output) return fail_errno(errno, "memfd_create");
  std::vector<char*> args = pointers(plan, hook.args);
  std::vector<char*> env = pointers(plan, hook.env);
  const HookChild child{program.get(),    input.get(),
                        output.get(),     place.process == nullptr ? -1 : place.process->get(),
                        place.namespaces, args.data(),
                        env.data()};
  ::lseek(input.get(), 0, SEEK_SET);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(errno, "fork");
  if (pid == 0) run_hook_child(child);
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return fail_errno(errno, "pidfd_open");
  const int status = TRY(reap_within(pid, pidfd, hook.timeout_s));
  if (status == 0) return {};
  std::string how = WIFSIGNALED(status) ? cat("killed by signal ", WTERMSIG(status))
                                        : cat("exit status ", WEXITSTATUS(status));
  const std::string text = last_output(output);
  if (!text.empty()) how += cat(", output: ", text);
  return fail(Kind::Internal, std::move(how));
}

}  // namespace

std::string_view to_string(HookKind kind) {
  switch (kind) {
    case HookKind::Prestart: return "prestart";
    case HookKind::CreateRuntime: return "createRuntime";
    case HookKind::CreateContainer: return "createContainer";
    case HookKind::StartContainer: return "startContainer";
    case HookKind::Poststart: return "poststart";
    case HookKind::Poststop: return "poststop";
  }
  return "hook";
}

bool has_hooks(const PlanView& plan, HookKind kind) {
  for (const HookStep& hook : plan.items(plan.header().hooks)) {
    if (hook.kind == kind) return true;
  }
  return false;
}

Result<> run_hooks(const PlanView& plan, HookKind kind, std::string_view state_json,
                   const HookPlace& place) {
  if (!has_hooks(plan, kind)) return {};
  const Fd input = TRY(sys::make_sealed_memory_file("hook-input", state_json, false));
  size_t index = 0;
  Result<> first_failure;
  for (const HookStep& hook : plan.items(plan.header().hooks)) {
    if (hook.kind != kind) continue;
    const auto which = [&] {
      return cat("hooks.", to_string(kind), "[", index, "]: '", plan.view(hook.path), "'");
    };
    Result<> ran = run_hook(plan, hook, input, place).context(which);
    if (!ran && first_failure) first_failure = std::move(ran);
    // Every poststop hook gets its turn all the same (runtime.md, step 13).
    if (!first_failure && kind != HookKind::Poststop) break;
    ++index;
  }
  return first_failure;
}

}  // namespace nacelle::container
