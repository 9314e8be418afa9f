#include "ring/probe.h"

#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Goal: whoever reads the message knows what is off and what to type.
TEST(Probe, says_what_is_off_and_what_to_do) {
  struct Case {
    int error_number;
    const char* setting;
    Kind kind;
    const char* cause;
    const char* remedy;
  };
  const Case cases[] = {
      {EPERM, "2", Kind::Denied, "kernel.io_uring_disabled is 2: io_uring is off for every process",
       "sysctl kernel.io_uring_disabled=0"},
      {EPERM, "1", Kind::Denied, "kernel.io_uring_disabled is 1", "kernel.io_uring_group"},
      {EPERM, "0", Kind::Denied, "kernel.io_uring_disabled is 0, so a seccomp filter",
       "allow io_uring_setup"},
      {EPERM, "", Kind::Denied, "this kernel has no kernel.io_uring_disabled, so a seccomp filter",
       "allow io_uring_setup"},
      {ENOSYS, "0", Kind::Unsupported, "CONFIG_IO_URING", "6.1 or newer"},
      {EINVAL, "", Kind::Unsupported, "DEFER_TASKRUN", "6.1 or newer"},
      {ENOMEM, "0", Kind::Exhausted, "no memory for the ring", "raise the memory limit"},
      {EMFILE, "0", Kind::Exhausted, "no descriptor is free", "ulimit -n"},
  };
  for (const Case& c : cases) {
    const Error error = explain_setup_failure(c.error_number, c.setting);
    EXPECT_TRUE(contains(error.message(), c.cause)) << error.message();
    EXPECT_TRUE(contains(error.message(), c.remedy)) << error.message();
    EXPECT_EQ(error.kind(), c.kind) << error.message();
    EXPECT_FALSE(contains(error.message(), "\n")) << "one line";
  }
}

TEST(Probe, an_unforeseen_failure_is_told_as_it_is) {
  EXPECT_EQ(explain_setup_failure(EFAULT, "0").message(), "io_uring_setup: Bad address");
}

TEST(Probe, names_every_missing_operation_and_the_kernel_that_brought_it) {
  bool supported[256] = {};
  for (const RequiredOperation& operation : required_operations()) {
    supported[operation.opcode] = true;
  }
  EXPECT_TRUE(check_operations(supported));
  for (const RequiredOperation& operation : required_operations()) {
    supported[operation.opcode] = false;
    const auto result = check_operations(supported);
    supported[operation.opcode] = true;
    ASSERT_FALSE(result) << operation.name;
    EXPECT_EQ(result.error().kind(), Kind::Unsupported);
    EXPECT_TRUE(contains(result.error().message(), operation.name)) << result.error().message();
    EXPECT_TRUE(contains(result.error().message(), operation.since)) << result.error().message();
  }
  EXPECT_FALSE(check_operations({}));
}

// Installs a filter that answers io_uring_setup with `error_number`, for this process for good.
void block_io_uring(int error_number) {
  scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
  const int syscall = ::seccomp_syscall_resolve_name("io_uring_setup");
  const int added =
      ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<unsigned>(error_number)), syscall, 0);
  const int loaded = ::seccomp_load(filter);
  ::seccomp_release(filter);
  if (added != 0 || loaded != 0) ::_exit(99);
}

// The message of Loop::open in a child where io_uring_setup fails.
std::string open_where_blocked(int error_number) {
  const Pair pipe = make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    block_io_uring(error_number);
    const auto loop = Loop::open();
    const std::string message = loop ? "it opened" : loop.error().message();
    const ssize_t written = ::write(pipe.second.get(), message.data(), message.size());
    ::_exit(written == static_cast<ssize_t>(message.size()) ? 0 : 98);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::string message(4096, '\0');
  const ssize_t length = ::read(pipe.first.get(), message.data(), message.size());
  message.resize(length > 0 ? static_cast<size_t>(length) : 0);
  return message;
}

TEST(Probe, a_seccomp_filter_that_forbids_io_uring_is_named) {
  const std::string message = open_where_blocked(EPERM);
  EXPECT_TRUE(
      message.starts_with("opening the event loop: io_uring_setup: Operation not permitted: "))
      << message;
  EXPECT_TRUE(contains(message, "a seccomp filter or a security module refuses it")) << message;
  EXPECT_TRUE(contains(message, "allow io_uring_setup, io_uring_enter and io_uring_register"))
      << message;
}

TEST(Probe, a_filter_that_pretends_io_uring_does_not_exist_is_named) {
  const std::string message = open_where_blocked(ENOSYS);
  EXPECT_TRUE(contains(message, "without CONFIG_IO_URING, or a seccomp filter hides it"))
      << message;
}

}  // namespace
}  // namespace nacelle::ring
