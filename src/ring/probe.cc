#include "ring/probe.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/utsname.h>

#include <cerrno>

#include "base/text.h"
#include "nacelle/fd.h"

namespace nacelle::ring {
namespace {

// The floor is 6.1, so on a kernel as its makers left it only a cut-down build fails this. Later
// operations (WAITID, 6.7) are not here: they have named fallbacks where they are used.
constexpr RequiredOperation required[] = {
    {IORING_OP_NOP, "NOP", "5.1"},
    {IORING_OP_FSYNC, "FSYNC", "5.1"},
    {IORING_OP_POLL_ADD, "POLL_ADD", "5.1"},
    {IORING_OP_SENDMSG, "SENDMSG", "5.3"},
    {IORING_OP_RECVMSG, "RECVMSG", "5.3"},
    {IORING_OP_TIMEOUT, "TIMEOUT", "5.4"},
    {IORING_OP_ACCEPT, "ACCEPT", "5.5, multishot 5.19"},
    {IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL", "5.5"},
    {IORING_OP_CONNECT, "CONNECT", "5.5"},
    {IORING_OP_OPENAT, "OPENAT", "5.6"},
    {IORING_OP_CLOSE, "CLOSE", "5.6"},
    {IORING_OP_STATX, "STATX", "5.6"},
    {IORING_OP_READ, "READ", "5.6"},
    {IORING_OP_WRITE, "WRITE", "5.6"},
    {IORING_OP_SEND, "SEND", "5.6"},
    {IORING_OP_RECV, "RECV", "5.6"},
    {IORING_OP_SPLICE, "SPLICE", "5.7"},
    {IORING_OP_RENAMEAT, "RENAMEAT", "5.11"},
    {IORING_OP_UNLINKAT, "UNLINKAT", "5.11"},
    {IORING_OP_MKDIRAT, "MKDIRAT", "5.15"},
    {IORING_OP_SOCKET, "SOCKET", "5.19"},
};

std::string kernel_release() {
  utsname names{};
  ::uname(&names);
  return names.release;
}

std::string explain_denied(std::string_view setting) {
  if (setting == "2") {
    return "kernel.io_uring_disabled is 2: io_uring is off for every process; "
           "switch it on with `sysctl kernel.io_uring_disabled=0`";
  }
  if (setting == "1") {
    return "kernel.io_uring_disabled is 1: io_uring is off for processes outside the group "
           "kernel.io_uring_group that lack CAP_SYS_ADMIN; run as root, put this user into that "
           "group, or `sysctl kernel.io_uring_disabled=0`";
  }
  // The sysctl allows it, or the kernel has none: then only a filter or a security module is left.
  std::string text = setting.empty() ? "this kernel has no kernel.io_uring_disabled"
                                     : cat("kernel.io_uring_disabled is ", setting);
  return text +
         ", so a seccomp filter or a security module refuses it, as the default profiles of "
         "container engines do; run outside that container or allow io_uring_setup, "
         "io_uring_enter and io_uring_register in its profile";
}

}  // namespace

std::span<const RequiredOperation> required_operations() { return required; }

std::string read_disabled_setting() {
  const int opened = ::open(disabled_path, O_RDONLY | O_CLOEXEC);
  if (opened < 0) return {};
  const Fd file(opened);
  char text[16];
  const ssize_t length = ::read(file.get(), text, sizeof text);
  if (length <= 0) return {};
  std::string_view value(text, static_cast<size_t>(length));
  return std::string(take_until(value, '\n'));
}

Error explain_setup_failure(int error_number, std::string_view disabled_setting) {
  std::string advice;
  switch (error_number) {
    case EPERM:
    case EACCES: advice = explain_denied(disabled_setting); break;
    case ENOSYS:
      advice = cat("kernel ", kernel_release(),
                   " was built without CONFIG_IO_URING, or a seccomp filter hides it; use a kernel "
                   "that has it, 6.1 or newer, or allow io_uring_setup in the filter");
      break;
    case EINVAL:
      advice = cat("kernel ", kernel_release(),
                   " does not know SINGLE_ISSUER and DEFER_TASKRUN; Linux 6.1 or newer is needed");
      break;
    case ENOMEM:
      advice =
          "the kernel has no memory for the ring; raise the memory limit of this process's "
          "cgroup (or RLIMIT_MEMLOCK, `ulimit -l`, where io_uring is still charged to it)";
      break;
    case EMFILE:
    case ENFILE: advice = "no descriptor is free; raise `ulimit -n`"; break;
    default: break;
  }
  Error error = Error::from_errno(error_number, "io_uring_setup");
  if (advice.empty()) return error;
  // ENOSYS and EINVAL both mean that this kernel, as it is, cannot; the errno's text says less.
  const bool unsupported = error_number == EINVAL || error_number == ENOSYS;
  return Error(unsupported ? Kind::Unsupported : error.kind(), cat(error.message(), ": ", advice));
}

Result<> check_operations(std::span<const bool> supported) {
  std::string missing;
  for (const RequiredOperation& operation : required) {
    if (operation.opcode < supported.size() && supported[operation.opcode]) continue;
    if (!missing.empty()) missing += ", ";
    missing += cat(operation.name, " (Linux ", operation.since, ")");
  }
  if (missing.empty()) return {};
  return fail(Kind::Unsupported, cat("io_uring of kernel ", kernel_release(), " lacks ", missing,
                                     "; Linux 6.1 or newer is needed"));
}

}  // namespace nacelle::ring
