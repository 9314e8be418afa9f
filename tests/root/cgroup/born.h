// A process born in a cgroup by clone3, as every container is, for tests that need a tenant.
#pragma once

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "nacelle/fd.h"

namespace nacelle::test {

// Killed and reaped at the end if it still lives.
class Tenant {
 public:
  // `body` runs in the child; what it returns is the exit status.
  template <class Body>
  Tenant(const Fd& group, Body body) {
    clone_args args = {};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<uint64_t>(group.get());
    pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    error_number_ = pid_ < 0 ? errno : 0;
    if (pid_ == 0) ::_exit(body());
  }
  Tenant(Tenant&&) = delete;
  ~Tenant() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    (void)wait();
  }

  pid_t pid() const { return pid_; }
  int error_number() const { return error_number_; }
  // The status of waitpid.
  int wait() {
    int status = -1;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
  int error_number_ = 0;
};

inline int sleep_for_ever() {
  for (;;) ::pause();
}

}  // namespace nacelle::test
