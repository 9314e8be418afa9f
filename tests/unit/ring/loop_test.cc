#include "nacelle/loop.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <fstream>

#include "ring/ops.h"
#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

class LoopRules : public LoopTest {};

Task<> read_byte(Loop& loop, const Fd& file, int& reads) {
  char byte = 0;
  co_await read_some(loop, file, {&byte, 1});
  ++reads;
}

Task<> nothing() { co_return; }

void unexpected(const Error& error) { ADD_FAILURE() << error.message(); }

// Time. ------------------------------------------------------------------------------------------

TEST_F(LoopRules, a_sleep_takes_its_time) {
  const TimePoint began = loop().now();
  ASSERT_TRUE(loop().run(sleep_for(loop(), 20ms)));
  EXPECT_GE(loop().now() - began, 20ms);
}

Task<> sleep_and_note(Loop& loop, int ms, std::vector<int>& woken) {
  co_await sleep_for(loop, std::chrono::milliseconds(ms));
  woken.push_back(ms);
}
Task<> sleep_many(Loop& loop, std::vector<int>& woken, int count) {
  Scope scope(loop, unexpected);
  for (int i = 0; i < count; ++i) scope.start(sleep_and_note(loop, (i * 7919) % 100, woken));
  co_await scope.join();
}

TEST_F(LoopRules, ten_thousand_sleeps_all_end) {
  std::vector<int> woken;
  const TimePoint began = loop().now();
  ASSERT_TRUE(loop().run(sleep_many(loop(), woken, 10'000)));
  EXPECT_EQ(woken.size(), 10'000u);
  EXPECT_LT(loop().now() - began, 10s);
}

Task<> sleep_three(Loop& loop, std::vector<int>& woken) {
  Scope scope(loop, unexpected);
  for (int ms : {60, 5, 30}) scope.start(sleep_and_note(loop, ms, woken));
  co_await scope.join();
}

TEST_F(LoopRules, sleeps_end_the_shortest_first) {
  std::vector<int> woken;
  ASSERT_TRUE(loop().run(sleep_three(loop(), woken)));
  EXPECT_EQ(woken, (std::vector<int>{5, 30, 60}));
}

Task<> cancel_sleeps(Loop& loop, int& failures) {
  std::vector<int> woken;
  Scope scope(loop, [&](const Error&) { ++failures; });
  for (int i = 0; i < 10'000; ++i) scope.start(sleep_and_note(loop, 60'000 + i % 997, woken));
  co_await sleep_for(loop, 1ms);
  scope.cancel();
  co_await scope.join();
}

TEST_F(LoopRules, ten_thousand_cancelled_sleeps_end_at_once) {
  int failures = 0;
  const TimePoint began = loop().now();
  ASSERT_TRUE(loop().run(cancel_sleeps(loop(), failures)));
  EXPECT_LT(loop().now() - began, 10s);
  EXPECT_EQ(failures, 0);
}

// Cancellation. ----------------------------------------------------------------------------------

Task<> cancel_a_read(Loop& loop, const Fd& file, int& reads) {
  Scope scope(loop, unexpected);
  scope.start(read_byte(loop, file, reads));
  co_await sleep_for(loop, 5ms);
  EXPECT_EQ(scope.running(), 1u);
  EXPECT_EQ(loop.stats().in_flight, 1u);
  scope.cancel();
  EXPECT_EQ(scope.running(), 1u) << "cancel only asks: the kernel has the buffer still";
  co_await scope.join();
  EXPECT_EQ(scope.running(), 0u);
}

TEST_F(LoopRules, a_pending_read_is_cancelled_and_waited_for) {
  const Pair pipe = make_pipe();
  int reads = 0;
  ASSERT_TRUE(loop().run(cancel_a_read(loop(), pipe.first, reads)));
  EXPECT_EQ(reads, 0);
  // The byte that comes later belongs to whoever reads later.
  ASSERT_EQ(::write(pipe.second.get(), "x", 1), 1);
  ASSERT_TRUE(loop().run(read_byte(loop(), pipe.first, reads)));
  EXPECT_EQ(reads, 1);
}

Task<> read_when_data_raced(Loop& loop, const Pair& pipe, int& reads) {
  Scope scope(loop, unexpected);
  scope.start(read_byte(loop, pipe.first, reads));
  co_await sleep_for(loop, 1ms);
  EXPECT_EQ(::write(pipe.second.get(), "x", 1), 1);
  scope.cancel();
  co_await scope.join();
}

TEST_F(LoopRules, a_byte_that_came_before_the_cancellation_is_not_lost) {
  const Pair pipe = make_pipe();
  int reads = 0;
  ASSERT_TRUE(loop().run(read_when_data_raced(loop(), pipe, reads)));
  // Either the read has it, or it is in the pipe still.
  ASSERT_EQ(::fcntl(pipe.first.get(), F_SETFL, O_NONBLOCK), 0);
  char byte = 0;
  const ssize_t left = ::read(pipe.first.get(), &byte, 1);
  EXPECT_EQ(reads + (left == 1 ? 1 : 0), 1);
}

Task<> nest_scopes(Loop& loop, const Fd& file, int& reads) {
  Scope outer(loop, unexpected);
  Scope middle(outer, unexpected);
  Scope inner(middle, unexpected);
  Scope stranger(loop, unexpected);
  for (Scope* scope : {&outer, &middle, &inner, &stranger}) {
    scope->start(read_byte(loop, file, reads));
  }
  co_await sleep_for(loop, 1ms);
  middle.cancel();
  co_await inner.join();
  co_await middle.join();
  EXPECT_EQ(outer.running(), 1u) << "a parent is not cancelled by its child";
  EXPECT_EQ(stranger.running(), 1u);
  outer.cancel();
  co_await outer.join();
  EXPECT_EQ(stranger.running(), 1u);
  stranger.cancel();
  co_await stranger.join();
}

TEST_F(LoopRules, a_scope_is_cancelled_with_all_below_it_and_nothing_else) {
  const Pair pipe = make_pipe();
  int reads = 0;
  ASSERT_TRUE(loop().run(nest_scopes(loop(), pipe.first, reads)));
  EXPECT_EQ(reads, 0);
}

Task<> note_outcome(Loop& loop, const Fd& file, std::vector<Kind>& kinds) {
  char byte = 0;
  for (int i = 0; i < 2; ++i) {
    const auto result = co_await as_result(read_some(loop, file, {&byte, 1}));
    if (!result) kinds.push_back(result.error().kind());
  }
}
Task<> cancel_noted(Loop& loop, const Fd& file, std::vector<Kind>& kinds) {
  Scope scope(loop, unexpected);
  scope.start(note_outcome(loop, file, kinds));
  co_await sleep_for(loop, 1ms);
  scope.cancel();
  scope.start(note_outcome(loop, file, kinds));  // never begins
  co_await scope.join();
}

TEST_F(LoopRules, whoever_looks_sees_cancelled_and_so_does_what_it_begins_afterwards) {
  const Pair pipe = make_pipe();
  std::vector<Kind> kinds;
  ASSERT_TRUE(loop().run(cancel_noted(loop(), pipe.first, kinds)));
  EXPECT_EQ(kinds, (std::vector<Kind>{Kind::Cancelled, Kind::Cancelled}));
}

Task<> read_on(Loop& loop, const Fd& file, int& ended) {
  char bytes[16];
  auto result = co_await as_result(read_at(loop, file, bytes, detail::here));
  ++ended;
  co_await std::move(result);
}
Task<> cancel_many(Loop& loop, const Fd& file, int count, int& ended) {
  Scope scope(loop, unexpected);
  for (int i = 0; i < count; ++i) scope.start(read_on(loop, file, ended));
  scope.cancel();  // most have not even reached the kernel
  co_await scope.join();
  Scope again(loop, unexpected);
  for (int i = 0; i < count; ++i) again.start(read_on(loop, file, ended));
  co_await sleep_for(loop, 2ms);
  again.cancel();
  co_await again.join();
}

TEST(SmallLoop, cancellation_works_when_both_queues_are_far_too_small) {
  auto small = Loop::open({.submissions = 4, .completions = 8});
  ASSERT_TRUE(small) << small.error().message();
  const Pair pipe = make_pipe();
  int ended = 0;
  ASSERT_TRUE((*small)->run(cancel_many(**small, pipe.first, 3000, ended)));
  EXPECT_EQ(ended, 6000);
  EXPECT_EQ((*small)->stats().in_flight, 0u);
}

// Scopes. ----------------------------------------------------------------------------------------

Task<> fail_with(Kind kind, std::string message) { co_await fail(kind, std::move(message)); }
Task<> fail_in_scope(Loop& loop, std::vector<std::string>& reports) {
  Scope scope(loop, [&](const Error& error) { reports.push_back(error.message()); });
  scope.start(fail_with(Kind::Internal, "one"));
  scope.start(nothing());
  scope.start(fail_with(Kind::Cancelled, "cancelled"));
  scope.start(fail_with(Kind::Denied, "two"));
  co_await scope.join();
  co_await scope.join();  // of nobody: at once
}

TEST_F(LoopRules, a_scope_reports_each_failure_once_and_no_cancellation) {
  std::vector<std::string> reports;
  ASSERT_TRUE(loop().run(fail_in_scope(loop(), reports)));
  EXPECT_EQ(reports, (std::vector<std::string>{"one", "two"}));
}

Task<> leave_a_scope(Loop& loop, const Fd& file, int& reads) {
  Scope scope(loop, unexpected);
  scope.start(read_byte(loop, file, reads));
  co_await sleep_for(loop, 1ms);
}

TEST_F(LoopRules, leaving_a_scope_that_was_not_joined_is_a_bug) {
  const Pair pipe = make_pipe();
  int reads = 0;
  EXPECT_DEATH(
      {
        // A ring belongs to the process that opened it, so the child opens its own.
        auto own = Loop::open();
        (void)(*own)->run(leave_a_scope(**own, pipe.first, reads));
      },
      "CHECK failed: running_ == 0");
}

struct Never {
  struct Awaiter {
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<>) {}
    void await_resume() {}
  };
  template <bool looks_at_errors>
  Awaiter awaiter() && {
    return {};
  }
};
Task<> wait_for_nobody() { co_await Never{}; }

TEST_F(LoopRules, waiting_for_nobody_is_a_bug_and_not_a_hang) {
  EXPECT_DEATH((void)loop().run(wait_for_nobody()), "deadlock");
}

// Deadlines. -------------------------------------------------------------------------------------

Task<> read_within(Loop& loop, const Fd& file, Duration limit, int& reads, std::string attempt) {
  co_await with_deadline(loop, read_byte(loop, file, reads), limit, std::move(attempt));
}

TEST_F(LoopRules, a_deadline_that_passes_says_what_and_how_long) {
  const Pair pipe = make_pipe();
  int reads = 0;
  auto result = loop().run(read_within(loop(), pipe.first, 25ms, reads, "waiting for 'web'"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind(), Kind::Unavailable);
  EXPECT_EQ(result.error().message(), "waiting for 'web': timed out after 25 ms");
  result = loop().run(read_within(loop(), pipe.first, 1500us, reads, ""));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "timed out after 1500 us");
}

TEST_F(LoopRules, a_deadline_that_is_kept_changes_nothing) {
  const Pair pipe = make_pipe();
  ASSERT_EQ(::write(pipe.second.get(), "x", 1), 1);
  int reads = 0;
  ASSERT_TRUE(loop().run(read_within(loop(), pipe.first, 10s, reads, "")));
  EXPECT_EQ(reads, 1);
}

TEST_F(LoopRules, a_failure_within_the_deadline_is_itself) {
  const auto result =
      loop().run(with_deadline(loop(), fail_with(Kind::Denied, "no"), 10s, "trying"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "no");
}

Task<> within_two(Loop& loop, const Fd& file, Duration inner, Duration outer, int& reads) {
  co_await with_deadline(loop, read_within(loop, file, inner, reads, "inner"), outer, "outer");
}

TEST_F(LoopRules, of_two_deadlines_the_earlier_one_speaks) {
  const Pair pipe = make_pipe();
  int reads = 0;
  auto result = loop().run(within_two(loop(), pipe.first, 5ms, 10s, reads));
  EXPECT_EQ(result.error().message(), "inner: timed out after 5 ms");
  result = loop().run(within_two(loop(), pipe.first, 10s, 5ms, reads));
  EXPECT_EQ(result.error().message(), "outer: timed out after 5 ms");
}

Task<> cancel_a_deadline(Loop& loop, const Fd& file, int& reads) {
  Scope scope(loop, unexpected);
  scope.start(read_within(loop, file, 10s, reads, ""));
  co_await sleep_for(loop, 1ms);
  scope.cancel();
  co_await scope.join();
}

TEST_F(LoopRules, a_scope_cancels_what_is_under_a_deadline) {
  const Pair pipe = make_pipe();
  int reads = 0;
  const TimePoint began = loop().now();
  ASSERT_TRUE(loop().run(cancel_a_deadline(loop(), pipe.first, reads)));
  EXPECT_LT(loop().now() - began, 5s);
}

// The kernel. ------------------------------------------------------------------------------------

Task<> flood_one(Loop& loop, int& done) {
  co_await nop(loop);
  ++done;
}
Task<> flood(Loop& loop, int count, int& done) {
  Scope scope(loop, unexpected);
  for (int i = 0; i < count; ++i) scope.start(flood_one(loop, done));
  co_await scope.join();
}

// Goal: no completion is lost when more come than the queue holds. Method: a queue of 8 and bursts
// of a thousand requests that complete while they are submitted.
TEST(SmallLoop, completions_beyond_the_queue_all_arrive) {
  auto small = Loop::open({.submissions = 4, .completions = 8});
  ASSERT_TRUE(small) << small.error().message();
  int done = 0;
  ASSERT_TRUE((*small)->run(flood(**small, 5000, done)));
  EXPECT_EQ(done, 5000);
  const LoopStats stats = (*small)->stats();
  EXPECT_EQ(stats.in_flight, 0u);
  EXPECT_GT(stats.overflows, 0u) << "the flood was too small to be one";
}

Task<> wake_all(Loop& loop, const Pair& pipe, int count, int& ready) {
  struct Count {
    static Task<> one(Loop& loop, const Fd& file, int& ready) {
      co_await readable(loop, file);
      ++ready;
    }
  };
  Scope scope(loop, unexpected);
  for (int i = 0; i < count; ++i) scope.start(Count::one(loop, pipe.first, ready));
  co_await sleep_for(loop, 5ms);
  EXPECT_EQ(ready, 0);
  EXPECT_EQ(::write(pipe.second.get(), "x", 1), 1);
  co_await scope.join();
}

TEST(SmallLoop, one_write_wakes_more_waiters_than_the_queue_holds) {
  auto small = Loop::open({.submissions = 4, .completions = 8});
  ASSERT_TRUE(small) << small.error().message();
  const Pair pipe = make_pipe();
  int ready = 0;
  ASSERT_TRUE((*small)->run(wake_all(**small, pipe, 2000, ready)));
  EXPECT_EQ(ready, 2000);
}

int count_ring_mappings() {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("io_uring") != std::string::npos) ++count;
  }
  return count;
}

TEST_F(LoopRules, a_forked_child_cannot_see_the_ring) {
  EXPECT_GT(count_ring_mappings(), 0);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(count_ring_mappings());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

Task<> dawdle(Loop& loop, Duration duration) {
  co_await nop(loop);
  const TimePoint until = loop.now() + duration;
  while (loop.now() < until) {
  }
}

TEST_F(LoopRules, a_turn_that_holds_everyone_up_is_counted) {
  const uint64_t before = loop().stats().stalls;
  ASSERT_TRUE(loop().run(dawdle(loop(), 3 * stall_limit)));
  const LoopStats stats = loop().stats();
  EXPECT_GE(stats.stalls, before + 1);
  EXPECT_GE(stats.longest_turn, 3 * stall_limit);
}

void ignore_signal(int) {}

TEST_F(LoopRules, a_signal_does_not_disturb_a_wait) {
  struct sigaction action{};
  action.sa_handler = ignore_signal;  // without SA_RESTART
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGALRM, &action, &before), 0);
  ::ualarm(2000, 2000);
  const TimePoint began = loop().now();
  const auto result = loop().run(sleep_for(loop(), 30ms));
  ::ualarm(0, 0);
  ::sigaction(SIGALRM, &before, nullptr);
  ASSERT_TRUE(result);
  EXPECT_GE(loop().now() - began, 30ms);
}

Task<> run_inside(Loop& loop) {
  (void)loop.run(nothing());
  co_return;
}

TEST_F(LoopRules, running_the_loop_from_inside_is_a_bug) {
  EXPECT_DEATH((void)loop().run(run_inside(loop())), "driving");
}

// Goal: a busy pair of coroutines does not starve the rest of the loop.
Task<> spin(const bool& stop) {
  while (!stop) co_await nothing();
}
Task<> stop_later(Loop& loop, bool& stop) {
  co_await sleep_for(loop, 2ms);
  stop = true;
}
Task<> spin_until_stopped(Loop& loop) {
  bool stop = false;
  Scope scope(loop, unexpected);
  scope.start(spin(stop));
  scope.start(stop_later(loop, stop));
  co_await scope.join();
}

TEST_F(LoopRules, a_coroutine_that_never_waits_does_not_starve_the_timers) {
  EXPECT_TRUE(loop().run(spin_until_stopped(loop())));
}

}  // namespace
}  // namespace nacelle::ring
