// The first process of a container started with --init: it starts the program, passes signals on
// to it, reaps whatever is left to it, and ends as the program ended. One is in every such
// container for as long as it runs, so it is without libc: some kilobytes, two pages of them dirty.
//
//   docker-init [--] PROGRAM ARGUMENT...
#include <asm/ioctls.h>
#include <linux/errno.h>
#include <linux/signal.h>
#include <linux/wait.h>

#include "sys/call.h"

using nacelle::sys::call;

namespace {

constexpr int status_not_found = 127;
constexpr int status_not_executable = 126;
constexpr int status_of_signals = 128;
constexpr long path_bytes_max = 4096;
constexpr int standard_input = 0, standard_error = 2;
constexpr const char* search_path_default =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// A signal set as the kernel has it: bit number - 1.
using SignalSet = uint64_t;
constexpr SignalSet only(int signal) { return SignalSet{1} << (signal - 1); }
// What this process does wrong itself must still end it.
constexpr SignalSet passed_on = ~(only(SIGFPE) | only(SIGILL) | only(SIGSEGV) | only(SIGBUS) |
                                  only(SIGABRT) | only(SIGTRAP) | only(SIGSYS));

[[noreturn]] void exit_with(int status) {
  while (true) call(SYS_exit_group, status);
}

long length_of(const char* text) {
  long length = 0;
  while (text[length] != '\0') ++length;
  return length;
}

void say(const char* text) { call(SYS_write, standard_error, text, length_of(text)); }

[[noreturn]] void give_up(const char* program, long error) {
  say("nacelle-init: executing '");
  say(program);
  say(error == -ENOENT    ? "': No such file or directory\n"
      : error == -EACCES  ? "': Permission denied\n"
      : error == -ENOEXEC ? "': Exec format error\n"
                          : "' failed\n");
  exit_with(error == -ENOENT ? status_not_found : status_not_executable);
}

bool has_slash(const char* text) {
  for (; *text != '\0'; ++text) {
    if (*text == '/') return true;
  }
  return false;
}

const char* search_path(char** environment) {
  for (; *environment != nullptr; ++environment) {
    const char* entry = *environment;
    if (entry[0] == 'P' && entry[1] == 'A' && entry[2] == 'T' && entry[3] == 'H' &&
        entry[4] == '=') {
      return entry + 5;
    }
  }
  return search_path_default;
}

// "DIRECTORY/program" into `path`; no: it is too long.
bool join(const char* directory, long directory_length, const char* program, char* path) {
  const long program_length = length_of(program);
  if (directory_length + program_length + 2 > path_bytes_max) return false;
  long at = 0;
  for (; at < directory_length; ++at) path[at] = directory[at];
  if (at > 0) path[at++] = '/';  // an empty entry is the working directory
  for (long i = 0; i <= program_length; ++i) path[at + i] = program[i];
  return true;
}

[[noreturn]] void execute(char** arguments, char** environment) {
  const char* program = arguments[0];
  if (has_slash(program)) {
    give_up(program, call(SYS_execve, program, arguments, environment));
  }
  long worst = -ENOENT;
  for (const char* rest = search_path(environment);;) {
    long length = 0;
    while (rest[length] != '\0' && rest[length] != ':') ++length;
    char path[path_bytes_max];
    if (join(rest, length, program, path)) {
      const long error = call(SYS_execve, static_cast<const char*>(path), arguments, environment);
      // A directory that has it, but not for us, is remembered; the search goes on.
      if (error != -ENOENT && error != -ENOTDIR) worst = error;
    }
    if (rest[length] == '\0') break;
    rest += length + 1;
  }
  give_up(program, worst);
}

struct KernelAction {
  void* handler;
  unsigned long flags;
  void* restorer;
  SignalSet mask;
};

void set_disposition(int signal, void* handler) {
  const KernelAction action{handler, 0, nullptr, 0};
  call(SYS_rt_sigaction, signal, &action, nullptr, sizeof(SignalSet));
}

// A process group of its own in the foreground, so that what the terminal sends reaches the program
// once.
void take_terminal() {
  call(SYS_setpgid, 0, 0);
  int group = static_cast<int>(call(SYS_getpid));
  call(SYS_ioctl, standard_input, TIOCSPGRP, &group);  // fails where that is no terminal
}

int exit_status(int wait_status) {
  const int signal = wait_status & 0x7f;
  return signal == 0 ? wait_status >> 8 & 0xff : status_of_signals + signal;
}

// Takes everything that has ended; ends with the program.
void reap(long program) {
  while (true) {
    int status = 0;
    const long pid = call(SYS_wait4, -1, &status, WNOHANG, nullptr);
    if (pid == -EINTR) continue;
    if (pid <= 0) return;
    if (pid == program) {
      // What ended at the same time is the kernel's to reap now.
      exit_with(exit_status(status));
    }
  }
}

}  // namespace

extern "C" [[noreturn, gnu::used]] void nacelle_init_main(long* stack) {
  auto** arguments = reinterpret_cast<char**>(stack + 1);
  char** environment = arguments + stack[0] + 1;
  ++arguments;
  if (stack[0] < 1) exit_with(status_not_found);
  if (*arguments != nullptr && (*arguments)[0] == '-' && (*arguments)[1] == '-' &&
      (*arguments)[2] == '\0') {
    ++arguments;
  }
  if (*arguments == nullptr) {
    say("usage: nacelle-init [--] PROGRAM ARGUMENT...\n");
    exit_with(status_not_found);
  }
  SignalSet before = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, &passed_on, &before, sizeof before);
  // Becoming the foreground group from the background must not stop either of us.
  set_disposition(SIGTTIN, reinterpret_cast<void*>(1));  // SIG_IGN
  set_disposition(SIGTTOU, reinterpret_cast<void*>(1));
  const long program = call(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (program < 0) give_up(*arguments, program);
  if (program == 0) {
    take_terminal();
    set_disposition(SIGTTIN, nullptr);  // SIG_DFL
    set_disposition(SIGTTOU, nullptr);
    call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
    execute(arguments, environment);
  }
  while (true) {
    const long signal = call(SYS_rt_sigtimedwait, &passed_on, nullptr, nullptr, sizeof(SignalSet));
    if (signal == SIGCHLD) {
      reap(program);
    } else if (signal > 0) {
      call(SYS_kill, program, signal);
    }
  }
}

asm(R"(
  .globl _start
_start:
  xor %ebp, %ebp
  mov %rsp, %rdi
  and $-16, %rsp
  call nacelle_init_main
)");
