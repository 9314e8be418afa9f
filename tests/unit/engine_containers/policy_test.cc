// When a container is started again, when it is healthy, and what top is asked for.
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/container_top.h"
#include "engine/health.h"
#include "engine/restart_policy.h"

namespace nacelle::engine {
namespace {

using namespace std::chrono_literals;

TEST(RestartPolicy, says_who_is_started_again) {
  const RestartPolicy none, no{"no", 0}, always{"always", 0}, unless{"unless-stopped", 0},
      failure{"on-failure", 0}, thrice{"on-failure", 3};
  EXPECT_FALSE(wants_restart(none, {.exit_code = 1}));
  EXPECT_FALSE(wants_restart(no, {.exit_code = 1}));
  EXPECT_TRUE(wants_restart(always, {.exit_code = 0}));
  EXPECT_TRUE(wants_restart(unless, {.exit_code = 0}));
  EXPECT_FALSE(wants_restart(failure, {.exit_code = 0}));
  EXPECT_TRUE(wants_restart(failure, {.exit_code = 1, .restart_count = 1000}));
  EXPECT_TRUE(wants_restart(thrice, {.exit_code = 1, .restart_count = 2}));
  EXPECT_FALSE(wants_restart(thrice, {.exit_code = 1, .restart_count = 3}));
  for (const RestartPolicy& policy : {always, unless, failure}) {
    EXPECT_FALSE(wants_restart(policy, {.exit_code = 1, .by_hand = true})) << policy.name;
  }
}

TEST(RestartPolicy, at_the_engines_begin) {
  const RestartPolicy none, always{"always", 0}, unless{"unless-stopped", 0},
      failure{"on-failure", 0};
  EXPECT_TRUE(wants_start_at_boot(always, {.has_been_stopped = true}));
  EXPECT_FALSE(wants_start_at_boot(unless, {.has_been_stopped = true}));
  EXPECT_TRUE(wants_start_at_boot(unless, {}));
  EXPECT_TRUE(wants_start_at_boot(failure, {.was_running = true, .exit_code = 255}));
  EXPECT_FALSE(wants_start_at_boot(failure, {.was_running = false, .exit_code = 255}));
  EXPECT_FALSE(wants_start_at_boot(none, {.was_running = true, .exit_code = 255}));
}

TEST(RestartBackoff, doubles_to_a_minute_and_begins_anew_after_a_good_run) {
  RestartBackoff backoff;
  EXPECT_EQ(backoff.next(1ms), 100ms);
  EXPECT_EQ(backoff.next(1ms), 200ms);
  EXPECT_EQ(backoff.next(9999ms), 400ms);
  EXPECT_EQ(backoff.next(10s), 100ms);
  for (int each = 0; each < 20; ++each) (void)backoff.next(1ms);
  EXPECT_EQ(backoff.next(1ms), 60s);
  backoff.reset();
  EXPECT_EQ(backoff.next(1ms), 100ms);
}

TEST(HealthCheck, asks_what_was_said) {
  ContainerConfig config;
  EXPECT_FALSE(probe_command(config));
  config.healthcheck.emplace();
  EXPECT_FALSE(probe_command(config));
  config.healthcheck->test = {"NONE"};
  EXPECT_FALSE(probe_command(config));
  config.healthcheck->test = {"CMD"};
  EXPECT_FALSE(probe_command(config));
  config.healthcheck->test = {"CMD-SHELL"};
  EXPECT_FALSE(probe_command(config));
  config.healthcheck->test = {"CMD", "a", "b"};
  EXPECT_EQ(probe_command(config), (std::vector<std::string>{"a", "b"}));
  config.healthcheck->test = {"CMD-SHELL", "a b"};
  EXPECT_EQ(probe_command(config), (std::vector<std::string>{"/bin/sh", "-c", "a b"}));
  config.shell = {"bash", "-ec"};
  EXPECT_EQ(probe_command(config), (std::vector<std::string>{"bash", "-ec", "a b"}));
}

HealthProbe probe(int exit_code) { return {.exit_code = exit_code}; }

TEST(HealthCheck, becomes_unhealthy_after_so_many_failures_in_a_row) {
  const HealthTimes times = health_times({.retries = 3});
  Health health{.status = "starting"};
  EXPECT_FALSE(note_probe(health, probe(1), times, 1s));
  EXPECT_FALSE(note_probe(health, probe(1), times, 1s));
  EXPECT_TRUE(note_probe(health, probe(0), times, 1s));
  EXPECT_EQ(health.status, "healthy");
  EXPECT_EQ(health.failing_streak, 0);
  EXPECT_FALSE(note_probe(health, probe(1), times, 1s));
  EXPECT_FALSE(note_probe(health, probe(-1), times, 1s));
  EXPECT_EQ(health.status, "healthy");
  EXPECT_TRUE(note_probe(health, probe(127), times, 1s));
  EXPECT_EQ(health.status, "unhealthy");
  EXPECT_EQ(health.failing_streak, 3);
  EXPECT_EQ(health.log.size(), 5u);
  EXPECT_EQ(health.log.back().exit_code, 127);
  EXPECT_TRUE(note_probe(health, probe(0), times, 1s));
}

TEST(HealthCheck, does_not_count_failures_while_it_may_still_come_up) {
  const HealthTimes times = health_times({.start_period = 10'000'000'000, .retries = 1});
  Health health{.status = "starting"};
  EXPECT_FALSE(note_probe(health, probe(1), times, 9s));
  EXPECT_EQ(health.failing_streak, 0);
  EXPECT_TRUE(note_probe(health, probe(1), times, 10s));
  EXPECT_EQ(health.status, "unhealthy");
  // Who has been healthy is not coming up any more.
  Health was{.status = "healthy"};
  EXPECT_TRUE(note_probe(was, probe(1), times, 1s));
}

std::string titles(std::string_view arguments) {
  const auto columns = plan_top(arguments);
  if (!columns) return columns.error().message();
  std::string text;
  for (const TopColumn& column : *columns) text += cat(text.empty() ? "" : " ", column.title);
  return text;
}

TEST(Top, has_the_titles_of_ps) {
  EXPECT_EQ(titles(""), "UID PID PPID C STIME TTY TIME CMD");
  EXPECT_EQ(titles("-ef"), "UID PID PPID C STIME TTY TIME CMD");
  EXPECT_EQ(titles("aux"), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
  EXPECT_EQ(titles("-o pid,comm"), "PID COMMAND");
  EXPECT_EQ(titles("-eo pid,ppid,user,args"), "PID PPID USER COMMAND");
  EXPECT_EQ(titles("-o pid=ID -o stat"), "ID STAT");
  EXPECT_EQ(titles("--format=pid,ni"), "PID NI");
}

TEST(Top, refuses_what_it_does_not_know) {
  EXPECT_EQ(titles("-o comm"), "Couldn't find PID field in ps output");
  EXPECT_EQ(titles("-o pid,nonsense"), "ps: unknown user-defined format specifier \"nonsense\"");
  EXPECT_EQ(titles("-Z"), "ps: unsupported option 'Z' in '-Z'");
  EXPECT_EQ(titles("; rm -rf /"), "ps: unsupported option ';' in '; rm -rf /'");
}

TEST(Top, reads_this_process) {
  const auto columns = plan_top("-o pid,ppid,comm,args,uid,etime,time,stat,rss,vsz,tty,ni,nlwp");
  ASSERT_TRUE(columns);
  const auto row = read_top_row(::getpid(), *columns);
  ASSERT_TRUE(row) << row.error().message();
  EXPECT_EQ(row->at(0), cat(::getpid()));
  EXPECT_EQ(row->at(1), cat(::getppid()));
  EXPECT_TRUE(std::string("engine_containers_test").starts_with(row->at(2))) << row->at(2);
  EXPECT_NE(row->at(3).find("engine_containers_test"), std::string::npos);
  EXPECT_EQ(row->at(4), cat(::geteuid()));
  EXPECT_EQ(row->at(6).substr(0, 3), "00:");
  EXPECT_NE(row->at(8), "0");
  EXPECT_FALSE(read_top_row(1 << 30, *columns));
}

}  // namespace
}  // namespace nacelle::engine
