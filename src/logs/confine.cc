#include "logs/confine.h"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/ioctl.h>

#include "sys/confine.h"
#include "sys/process.h"

namespace nacelle::logs {
namespace {

constexpr int allowed_calls[] = {
    // Output, logs, clients.
    SCMP_SYS(splice), SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(pwrite64), SCMP_SYS(pread64),
    SCMP_SYS(writev), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(unlinkat),
    SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(lseek), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg),
    SCMP_SYS(sendto), SCMP_SYS(recvfrom), SCMP_SYS(shutdown), SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl),
    // Memory and time.
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom), SCMP_SYS(sched_yield),
    // The end.
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill)};

constexpr int fcntl_commands[] = {F_GETFL, F_SETFL, F_SETLK, F_SETPIPE_SZ, F_GETFD, F_SETFD};
constexpr uint64_t ioctls[] = {FIONREAD};

}  // namespace

Result<> confine() {
  // Starts, and the processes that write, go before what they have written.
  sys::run_in_batches();
  return sys::confine({.calls = allowed_calls, .fcntl_commands = fcntl_commands, .ioctls = ioctls});
}

}  // namespace nacelle::logs
