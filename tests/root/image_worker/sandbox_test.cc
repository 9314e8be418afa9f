// What is left to a worker that somebody has taken over, and what its host makes of its end.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "image/sandbox.h"
#include "tests/root/image_worker/fixture.h"
#include "tests/root/image_worker/probe.h"

namespace nacelle::test {
namespace {

using image::Worker;
using image::WorkerKind;

constexpr WorkerKind all_kinds[] = {WorkerKind::Unpack, WorkerKind::Pack, WorkerKind::Bytes,
                                    WorkerKind::Registry};

class SandboxTest : public WorkerTest {
 protected:
  void SetUp() override {
    WorkerTest::SetUp();
    use(NACELLE_BUILT_PROBE);
  }
  // What the deed came to: what the worker saw, or the host's error.
  std::string deed(WorkerKind kind, const std::string& what, bool with_root = true) {
    Worker worker = start(kind, with_root, std::chrono::seconds(30));
    const auto reply = run_request(worker, ProbeRequest{.deed = what});
    if (!reply) {
      // And nothing more can be had from it.
      if (run_request(worker, ProbeRequest{.deed = "greet"})) return "an error, but it goes on";
      return cat(to_string(reply.error().kind()), ": ", reply.error().message());
    }
    return reply->seen;
  }
};

TEST_F(SandboxTest, every_kind_answers) {
  for (const WorkerKind kind : all_kinds) {
    EXPECT_EQ(deed(kind, "greet", false), "hello") << image::to_string(kind);
    EXPECT_EQ(deed(kind, "greet", true), "hello") << image::to_string(kind);
  }
}

TEST_F(SandboxTest, sees_its_root_and_nothing_else) {
  ASSERT_TRUE(write_file(in_target("mine"), "x"));
  for (const WorkerKind kind : {WorkerKind::Unpack, WorkerKind::Pack, WorkerKind::Bytes}) {
    EXPECT_EQ(deed(kind, "list"), "mine ") << image::to_string(kind);
    EXPECT_EQ(deed(kind, "up"), "mine ") << image::to_string(kind);
    EXPECT_EQ(deed(kind, "passwd"), "No such file or directory");
  }
  EXPECT_EQ(deed(WorkerKind::Bytes, "list", false), "");
  EXPECT_EQ(deed(WorkerKind::Registry, "list", false), "etc ");
  EXPECT_EQ(deed(WorkerKind::Registry, "passwd", false), "No such file or directory");
}

TEST_F(SandboxTest, writes_only_where_its_job_does) {
  EXPECT_EQ(deed(WorkerKind::Pack, "write"), "Read-only file system");
  EXPECT_EQ(deed(WorkerKind::Bytes, "write", false), "Read-only file system");
  EXPECT_EQ(deed(WorkerKind::Registry, "write", false), "Read-only file system");
  EXPECT_EQ(deed(WorkerKind::Bytes, "write"), "done");
}

TEST_F(SandboxTest, a_root_may_be_for_reading_only) {
  for (const WorkerKind kind : {WorkerKind::Bytes, WorkerKind::Unpack}) {
    auto worker =
        image::Worker::start(*loop_, {.kind = kind, .root = &root_, .read_only_root = true});
    ASSERT_TRUE(worker) << worker.error().message();
    const auto reply = run_request(*worker, ProbeRequest{.deed = "write"});
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->seen, "Read-only file system");
    EXPECT_FALSE(is_there("new"));
  }
}

TEST_F(SandboxTest, has_nothing_of_its_host_where_the_standard_descriptors_are) {
  for (const WorkerKind kind : all_kinds) {
    EXPECT_EQ(deed(kind, "standard"),
              "a file of 0 a file of 0 a file of 0 Operation not permitted");
  }
}

TEST_F(SandboxTest, only_unpacking_changes_modes) {
  EXPECT_EQ(deed(WorkerKind::Unpack, "chmod"), "done");
  for (const WorkerKind kind : {WorkerKind::Pack, WorkerKind::Bytes, WorkerKind::Registry})
    EXPECT_EQ(deed(kind, "chmod"), "Operation not permitted");
}

TEST_F(SandboxTest, system_calls_are_let_through_by_what_they_ask_for) {
  for (const WorkerKind kind : all_kinds) {
    for (const char* what : {"huge pages", "lease", "owner", "namespace thread"})
      EXPECT_EQ(deed(kind, what), "Operation not permitted") << what;
    EXPECT_EQ(deed(kind, "clone3"), "Function not implemented");
    EXPECT_EQ(deed(kind, "flags"), "done");
  }
  EXPECT_EQ(deed(WorkerKind::Registry, "datagrams"), "Operation not permitted");
  EXPECT_EQ(deed(WorkerKind::Registry, "packets"), "Operation not permitted");
  EXPECT_EQ(deed(WorkerKind::Registry, "streams"), "done");
  EXPECT_EQ(deed(WorkerKind::Bytes, "streams"), "Operation not permitted");
}

TEST_F(SandboxTest, processor_time_has_a_limit_that_is_named) {
  ::setenv("NACELLE_WORKER_FAULT", "one second", 1);
  const std::string seen = deed(WorkerKind::Bytes, "spin");
  ::unsetenv("NACELLE_WORKER_FAULT");
  EXPECT_EQ(seen, "internal: nacelle-worker (bytes): used up its 3600 s of processor time");
}

TEST_F(SandboxTest, talking_is_no_life_when_nothing_moves) {
  const image::WorkerOptions options{.silence_max = std::chrono::seconds(1),
                                     .standstill_max = std::chrono::seconds(1)};
  auto worker = image::Worker::start(*loop_, options);
  ASSERT_TRUE(worker);
  const auto moving = run_request(*worker, ProbeRequest{.deed = "move on"});
  ASSERT_TRUE(moving) << moving.error().message();
  EXPECT_EQ(moving->seen, "arrived");
  const auto standing = run_request(*worker, ProbeRequest{.deed = "stand still"});
  ASSERT_FALSE(standing);
  EXPECT_EQ(standing.error().message(),
            "nacelle-worker (bytes): got no further for 1 s and was killed");
}

TEST_F(SandboxTest, gets_no_descriptor_and_no_variable_of_its_host) {
  ::setenv("NACELLE_TEST_SECRET", "secret", 1);
  const Fd secret(::open("/dev/null", O_RDONLY));  // without CLOEXEC
  EXPECT_EQ(deed(WorkerKind::Bytes, "environment"), "");
  const std::string descriptors = deed(WorkerKind::Unpack, "descriptors");
  EXPECT_EQ(descriptors, "0 1 2 3 4 ");
  ::unsetenv("NACELLE_TEST_SECRET");
}

TEST_F(SandboxTest, is_first_of_its_own_processes_and_nobody_without_a_root) {
  EXPECT_EQ(deed(WorkerKind::Registry, "ids", false), "65534 65534 1");
  EXPECT_EQ(deed(WorkerKind::Bytes, "ids", false), "65534 65534 1");
  EXPECT_EQ(deed(WorkerKind::Unpack, "ids"), "0 0 1");
}

TEST_F(SandboxTest, has_only_the_capabilities_of_its_kind) {
  EXPECT_EQ(deed(WorkerKind::Unpack, "chown"), "done");
  EXPECT_EQ(deed(WorkerKind::Bytes, "chown"), "Operation not permitted");
}

TEST_F(SandboxTest, forbidden_system_calls_end_it) {
  for (const char* what : {"mount", "unshare", "exec", "fork", "ptrace", "bpf", "ring"}) {
    for (const WorkerKind kind : all_kinds) {
      const std::string seen = deed(kind, what);
      EXPECT_NE(seen.find("was killed for a system call that no job makes"), std::string::npos)
          << what << ": " << seen;
    }
  }
}

TEST_F(SandboxTest, only_a_registry_worker_has_sockets) {
  for (const WorkerKind kind : {WorkerKind::Unpack, WorkerKind::Pack, WorkerKind::Bytes}) {
    EXPECT_NE(deed(kind, "network").find("system call"), std::string::npos);
  }
  EXPECT_EQ(deed(WorkerKind::Registry, "network"), "done");
  EXPECT_EQ(deed(WorkerKind::Registry, "packet"), "Operation not permitted");
}

TEST_F(SandboxTest, a_registry_worker_finds_addresses) {
  EXPECT_EQ(deed(WorkerKind::Registry, "resolve", false), "found");
}

TEST_F(SandboxTest, ends_with_the_process_that_started_it) {
  const Census before = take_census();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t host = ::fork();
  if (host == 0) {
    auto loop = ring::Loop::open();
    auto worker = Worker::start(**loop, {.kind = WorkerKind::Bytes});
    const auto reply = (*loop)->run(ask(*worker, ProbeRequest{.deed = "greet"}, {}));
    (void)!::write(writing.get(), reply ? "y" : "n", 1);
    while (true) ::pause();
  }
  writing = Fd();
  char started = 0;
  EXPECT_EQ(::read(reading.get(), &started, 1), 1);
  EXPECT_EQ(started, 'y');
  ::kill(host, SIGKILL);
  EXPECT_EQ(::waitpid(host, nullptr, 0), host);
  reading = Fd();
  EXPECT_TRUE(nothing_left_since(before));
}

TEST_F(SandboxTest, makes_no_code) {
  for (const WorkerKind kind : all_kinds) EXPECT_EQ(deed(kind, "code"), "Operation not permitted");
}

TEST_F(SandboxTest, memory_has_a_limit_that_is_named) {
  if (image::is_sanitized) GTEST_SKIP() << "sanitizers need all address space: no limit here";
  EXPECT_EQ(deed(WorkerKind::Bytes, "memory"),
            "exhausted: nacelle-worker (bytes): ran out of its 144 MiB");
}

TEST_F(SandboxTest, an_end_is_told_as_it_was) {
  EXPECT_EQ(deed(WorkerKind::Bytes, "exit"),
            "internal: nacelle-worker (bytes): ended with exit status 7");
}

TEST_F(SandboxTest, nonsense_is_no_answer) {
  for (const char* what :
       {"nonsense", "byte", "header", "huge", "missing", "unsealed", "other", "gift"}) {
    const std::string seen = deed(WorkerKind::Bytes, what);
    EXPECT_TRUE(seen.starts_with("internal: nacelle-worker (bytes): ")) << what << ": " << seen;
  }
}

TEST_F(SandboxTest, a_large_answer_arrives_whole) {
  EXPECT_EQ(deed(WorkerKind::Bytes, "large"), std::string(300'000, 'l'));
}

TEST_F(SandboxTest, marks_no_directory_but_its_own) {
  Worker worker = start(WorkerKind::Unpack);
  const auto reply = run_request(worker, image::UnpackRequest{.label = "mark-pipe"});
  ASSERT_FALSE(reply);
  const std::string& seen = reply.error().message();
  EXPECT_NE(seen.find("it is not one of the worker's root"), std::string::npos) << seen;
}

TEST_F(SandboxTest, marks_directories_only_while_it_unpacks) {
  for (const WorkerKind kind : all_kinds) {
    const std::string seen = deed(kind, "mark-root");
    EXPECT_NE(seen.find("an answer to something else"), std::string::npos) << seen;
    EXPECT_FALSE(is_opaque(""));
  }
  Worker other = start(WorkerKind::Bytes);
  EXPECT_FALSE(run_request(other, image::UnpackRequest{.label = "mark-root"}));
  EXPECT_FALSE(is_opaque(""));
  Worker worker = start(WorkerKind::Unpack);
  const auto reply = run_request(worker, image::UnpackRequest{.label = "mark-root"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().message(), "answered");
  EXPECT_TRUE(is_opaque(""));
}

TEST_F(SandboxTest, silence_ends_it) {
  Worker worker = start(WorkerKind::Bytes, true, std::chrono::seconds(1));
  const auto reply = run_request(worker, ProbeRequest{.deed = "hang"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind(), Kind::Unavailable);
  EXPECT_EQ(reply.error().message(), "nacelle-worker (bytes): said nothing for 1 s and was killed");
}

ring::Task<> ask_for_a_while(ring::Loop& loop, Worker& worker) {
  auto asking = ask(worker, ProbeRequest{.deed = "hang"}, {});
  co_await ring::with_deadline(loop, std::move(asking), std::chrono::milliseconds(200));
}

TEST_F(SandboxTest, a_cancelled_call_leaves_no_process) {
  Worker worker = start(WorkerKind::Bytes);
  EXPECT_FALSE(loop_->run(ask_for_a_while(*loop_, worker)));
  const auto again = run_request(worker, ProbeRequest{.deed = "greet"});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind(), Kind::Unavailable);
}

TEST_F(SandboxTest, a_program_that_is_not_there_is_named) {
  use("/nowhere/nacelle-worker");
  const auto worker = Worker::start(*loop_, {});
  ASSERT_FALSE(worker);
  EXPECT_NE(worker.error().message().find("/nowhere/nacelle-worker"), std::string::npos);
}

TEST_F(SandboxTest, a_program_that_cannot_run_is_an_error) {
  ASSERT_TRUE(write_file("/tmp/no-program", "no program", 0755));
  use("/tmp/no-program");
  const auto worker = Worker::start(*loop_, {});
  ASSERT_FALSE(worker);
  EXPECT_NE(worker.error().message().find("execveat"), std::string::npos);
  ::unlink("/tmp/no-program");
}

TEST_F(SandboxTest, a_program_that_is_no_worker_is_an_end) {
  use("/bin/true");
  Worker worker = start(WorkerKind::Bytes);
  const auto reply = run_request(worker, ProbeRequest{.deed = "greet"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().message(), "nacelle-worker (bytes): ended with exit status 0");
}

TEST_F(SandboxTest, the_worker_is_not_for_other_kinds_of_requests) {
  use(NACELLE_BUILT_WORKER);
  Worker worker = start(WorkerKind::Bytes);
  const Fd input = blob("");
  const auto reply = run_request(worker, image::UnpackRequest{.label = "x"}, {&input});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind(), Kind::Invalid);
  // An error of that sort leaves it in use.
  EXPECT_FALSE(run_request(worker, ProbeRequest{.deed = "greet"}));
  EXPECT_TRUE(loop_->run(stop(worker)));
}

}  // namespace
}  // namespace nacelle::test
