#include "nacelle/task.h"

#include <memory>

#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

class TaskRules : public LoopTest {};

Task<int> give(int number) { co_return number; }
Task<int> refuse() { co_return fail(Kind::Conflict, "refused"); }
Task<> refuse_nothing() { co_await fail(Kind::Denied, "denied"); }
Task<std::unique_ptr<int>> give_owned() { co_return std::make_unique<int>(7); }
Result<int> plain(bool good) {
  if (!good) return fail(Kind::NotFound, "no such number");
  return 5;
}
Task<int> await_plain(bool good) { co_return 1 + co_await plain(good); }
Task<int> add_one(Task<int> task) { co_return 1 + co_await std::move(task); }
Task<std::string> describe(Task<int> task) {
  Result<int> result = co_await as_result(std::move(task));
  if (result) co_return "value";
  co_return result.error().message();
}
Task<int> give_result(Result<int> result) { co_return result; }

TEST_F(TaskRules, a_task_gives_its_value) { EXPECT_EQ(loop().run(give(3)).value(), 3); }

TEST_F(TaskRules, a_task_gives_a_value_that_can_only_be_moved) {
  EXPECT_EQ(*loop().run(give_owned()).value(), 7);
}

TEST_F(TaskRules, co_return_of_a_failure_is_an_error) {
  const auto result = loop().run(refuse());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind(), Kind::Conflict);
}

TEST_F(TaskRules, awaiting_a_failure_ends_a_task_without_value) {
  const auto result = loop().run(refuse_nothing());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "denied");
}

TEST_F(TaskRules, an_awaited_result_is_unwrapped) {
  EXPECT_EQ(loop().run(await_plain(true)).value(), 6);
  EXPECT_EQ(loop().run(await_plain(false)).error().message(), "no such number");
}

TEST_F(TaskRules, a_returned_result_is_the_outcome) {
  EXPECT_EQ(loop().run(give_result(4)).value(), 4);
  EXPECT_EQ(loop().run(give_result(fail(Kind::Invalid, "bad"))).error().message(), "bad");
}

TEST_F(TaskRules, an_error_passes_through_those_who_do_not_look) {
  EXPECT_EQ(loop().run(add_one(add_one(give(1)))).value(), 3);
  EXPECT_EQ(loop().run(add_one(add_one(refuse()))).error().message(), "refused");
}

TEST_F(TaskRules, as_result_stops_an_error) {
  EXPECT_EQ(loop().run(describe(add_one(refuse()))).value(), "refused");
  EXPECT_EQ(loop().run(describe(give(1))).value(), "value");
}

Task<> fail_inside(Log& log) {
  Witness witness(log, "innermost");
  co_await fail(Kind::Internal, "broken");
  log.push_back("went on");
}
Task<> pass_on(Log& log, Witness, int depth) {
  Witness first(log, "first " + std::to_string(depth));
  Witness second(log, "second " + std::to_string(depth));
  if (depth == 0) co_await fail_inside(log);
  if (depth > 0) co_await pass_on(log, Witness(log, "argument"), depth - 1);
  log.push_back("went on");
}
Task<> look(Log& log) {
  Witness witness(log, "looker");
  const auto result = co_await as_result(pass_on(log, Witness(log, "argument"), 1));
  EXPECT_FALSE(result);
  log.push_back("looked");
}

// Goal: the errors of coroutines keep what destructors promise. Method: each frame on the way has
// two locals and an argument that report their end.
TEST_F(TaskRules, an_error_destroys_the_frames_on_its_way_innermost_first) {
  Log log;
  ASSERT_TRUE(loop().run(look(log)));
  const Log expected = {"innermost", "second 0", "first 0", "argument", "second 1",
                        "first 1",   "argument", "looked",  "looker"};
  EXPECT_EQ(log, expected);
}

Task<> never(Log& log, Witness) {
  log.push_back("ran");
  co_return;
}

TEST_F(TaskRules, a_task_that_is_dropped_never_runs_but_frees_its_arguments) {
  Log log;
  {
    Task<> dropped = never(log, Witness(log, "argument"));
  }
  EXPECT_EQ(log, Log{"argument"});
}

Task<> drop_after_error(Log& log) {
  Task<> prepared = never(log, Witness(log, "argument"));
  co_await fail(Kind::Internal, "before it was awaited");
  co_await std::move(prepared);
}

TEST_F(TaskRules, a_task_held_by_a_frame_that_fails_is_dropped_with_it) {
  Log log;
  EXPECT_FALSE(loop().run(drop_after_error(log)));
  EXPECT_EQ(log, Log{"argument"});
}

Task<> await_twice() {
  Task<int> task = give(1);
  co_await std::move(task);
  co_await std::move(task);
}

TEST_F(TaskRules, awaiting_twice_is_a_bug) {
  EXPECT_DEATH((void)loop().run(await_twice()), "a task is awaited once");
}

Task<int> nest(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await nest(depth - 1);
}
Task<int> nest_and_fail(int depth) {
  if (depth == 0) co_return fail(Kind::Internal, "the bottom");
  co_return 1 + co_await nest_and_fail(depth - 1);
}
Task<int> sum_up(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await give(1);
  co_return sum;
}

// Goal: no await grows the stack. Method: with 8 MiB of it, chains far longer than 8 MiB of frames.
TEST_F(TaskRules, a_million_awaits_in_a_row_do_not_grow_the_stack) {
  EXPECT_EQ(loop().run(sum_up(1'000'000)).value(), 1'000'000);
}
TEST_F(TaskRules, a_million_nested_awaits_do_not_grow_the_stack) {
  EXPECT_EQ(loop().run(nest(1'000'000)).value(), 1'000'000);
}
TEST_F(TaskRules, an_error_through_a_million_frames_does_not_grow_the_stack) {
  EXPECT_EQ(loop().run(nest_and_fail(1'000'000)).error().message(), "the bottom");
}

}  // namespace
}  // namespace nacelle::ring
