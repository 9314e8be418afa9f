#include "sys/process.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace nacelle::sys {
namespace {

constexpr size_t child_stack_bytes = 64u << 10;
constexpr int first_descriptor = 3;
constexpr size_t descriptors_max = 16;

// What the child needs, and where it leaves its errno: it shares our memory until its execve.
struct Child {
  int program;
  int null;
  int standard_error;
  int descriptors[descriptors_max];
  size_t count;
  char* const* arguments;
  char* const* environment;
  long error;
  const char* failed;
};

// Raw system calls only: errno and every lock here are the parent's.
int run_child(void* argument) {
  Child& child = *static_cast<Child*>(argument);
  const auto give_up = [&child](const char* call_name, long error) {
    child.failed = call_name;
    child.error = -error;
    call(SYS_exit_group, 127);
    __builtin_unreachable();
  };
  call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // First out of the way of the numbers that are to be filled.
  const int above = first_descriptor + static_cast<int>(descriptors_max);
  for (size_t i = 0; i < child.count; ++i) {
    const long moved = call(SYS_fcntl, child.descriptors[i], F_DUPFD_CLOEXEC, above);
    if (moved < 0) give_up("fcntl", moved);
    child.descriptors[i] = static_cast<int>(moved);
  }
  const long program = call(SYS_fcntl, child.program, F_DUPFD_CLOEXEC, above);
  if (program < 0) give_up("fcntl", program);
  for (int number = 0; number < first_descriptor; ++number) {
    const int source = number == 2 ? child.standard_error : child.null;
    const long put = call(SYS_dup3, source, number, 0);
    // dup3 refuses a number that is the right one already; then it only has to stay open.
    if (put == -EINVAL) call(SYS_fcntl, number, F_SETFD, 0);
    if (put < 0 && put != -EINVAL) give_up("dup3", put);
  }
  for (size_t i = 0; i < child.count; ++i) {
    const long put =
        call(SYS_dup3, child.descriptors[i], first_descriptor + static_cast<int>(i), 0);
    if (put < 0) give_up("dup3", put);
  }
  const long closing = call(SYS_close_range, first_descriptor + static_cast<int>(child.count), ~0u,
                            CLOSE_RANGE_CLOEXEC);
  if (closing < 0) give_up("close_range", closing);
  const long executed = call(SYS_execveat, program, static_cast<const char*>(""), child.arguments,
                             child.environment, AT_EMPTY_PATH);
  give_up("execveat", executed);
  return 127;
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 1);
  for (const std::string& text : texts) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

class Stack {
 public:
  Stack()
      : base_(::mmap(nullptr, child_stack_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {}
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() {
    if (*this) ::munmap(base_, child_stack_bytes);
  }
  explicit operator bool() const { return base_ != MAP_FAILED; }
  void* top() const { return static_cast<char*>(base_) + child_stack_bytes; }

 private:
  void* base_;
};

}  // namespace

Result<Fd> spawn(const SpawnOptions& options) {
  if (options.descriptors.size() > descriptors_max) {
    return fail(Kind::Invalid, cat("spawn: more than ", descriptors_max, " descriptors"));
  }
  const Fd null = TRY(open_at(working_directory, "/dev/null", O_RDWR));
  const std::vector<char*> arguments = pointers(options.arguments);
  const std::vector<char*> environment = pointers(options.environment);
  Child child{};
  child.program = options.program->get();
  child.null = null.get();
  child.standard_error =
      options.standard_error != nullptr ? options.standard_error->get() : child.null;
  for (const Fd* each : options.descriptors) child.descriptors[child.count++] = each->get();
  child.arguments = arguments.data();
  child.environment = environment.data();

  const Stack stack;
  if (!stack) return fail_errno(errno, "mmap of a child's stack");
  // No handler of ours may run in a child that shares our memory. It unblocks them itself, when
  // that is over.
  sigset_t every;
  sigset_t before;
  sigfillset(&every);
  ::pthread_sigmask(SIG_SETMASK, &every, &before);
  int pidfd = -1;
  const int flags =
      static_cast<int>(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | options.namespaces) | SIGCHLD;
  const int pid = ::clone(run_child, stack.top(), flags, &child, &pidfd);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail_errno(error, cat("starting '", options.arguments[0], "': clone"));
  Fd process(pidfd);
  if (child.error != 0) {
    TRY(reap(process));
    return fail_errno(static_cast<int>(child.error),
                      cat("starting '", options.arguments[0], "': ", child.failed));
  }
  return process;
}

Result<int> reap(const Fd& pidfd) {
  siginfo_t info{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info, WEXITED) <
         0) {
    if (errno != EINTR) return fail_errno(errno, "waitid");
  }
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

Result<> kill_process(const Fd& pidfd, int signal) {
  const long result = call(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
  if (result < 0 && result != -ESRCH) {
    return fail_errno(static_cast<int>(-result), "pidfd_send_signal");
  }
  return {};
}

namespace {

// struct sched_attr, version 0, which glibc does not have.
struct Scheduling {
  uint32_t size = sizeof(Scheduling);
  uint32_t policy = SCHED_OTHER;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0, deadline = 0, period = 0;
};
static_assert(sizeof(Scheduling) == 48);

bool is_scheduled_like_all() {
  Scheduling now;
  return call(SYS_sched_getattr, 0, &now, sizeof now, 0) == 0 && now.policy == SCHED_OTHER &&
         now.nice == 0;
}

}  // namespace

void run_promptly() {
  if (!is_scheduled_like_all()) return;
  Scheduling prompt;
  prompt.flags = 1;  // SCHED_FLAG_RESET_ON_FORK
  prompt.nice = -5;
  // Who wants a short turn gets it at once (6.12).
  prompt.runtime = 100'000;
  call(SYS_sched_setattr, 0, &prompt, 0);
}

void run_in_batches() {
  if (!is_scheduled_like_all()) return;
  Scheduling batches;
  batches.policy = SCHED_BATCH;
  call(SYS_sched_setattr, 0, &batches, 0);
}

}  // namespace nacelle::sys
