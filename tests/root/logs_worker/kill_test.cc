// The worker is killed at any moment, hundreds of times, and the logs are as if it never had been.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <random>

#include "base/text.h"
#include "sys/file.h"
#include "tests/root/logs_worker/stub_core.h"

namespace nacelle::logs {
namespace {

int kills() {
  const char* const wanted = ::getenv("NACELLE_KILLS");
  return wanted == nullptr ? 150 : ::atoi(wanted);
}

// Numbered lines of all lengths, until the pipe is closed for it by a signal.
pid_t start_writer(const Fd& into, unsigned seed) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  std::mt19937 random(seed);
  std::string text;
  for (uint64_t number = 0;; ++number) {
    text += cat(number, ' ');
    const unsigned kind = random() % 1000;
    const size_t length = kind == 0 ? random() % 60'000 : random() % 300;
    text.append(length, static_cast<char>(kind % 50 == 1 ? '<' : 'a' + number % 26));
    text += '\n';
    if (text.size() > random() % 100'000) {
      if (!sys::write_all(into, text, "a test's output")) ::_exit(1);
      text.clear();
    }
  }
}

// Whether `text` is the writer's lines from 0 on, each once; the last may be cut.
void expect_all_lines(std::string_view text, unsigned seed) {
  std::mt19937 random(seed);
  std::string expected;
  size_t pending = 0;
  for (uint64_t number = 0; !text.empty(); ++number) {
    expected = cat(number, ' ');
    const unsigned kind = random() % 1000;
    const size_t length = kind == 0 ? random() % 60'000 : random() % 300;
    expected.append(length, static_cast<char>(kind % 50 == 1 ? '<' : 'a' + number % 26));
    expected += '\n';
    pending += expected.size();
    if (pending > random() % 100'000) pending = 0;
    const std::string_view found = text.substr(0, expected.size());
    if (found.size() < expected.size()) {
      EXPECT_TRUE(expected.starts_with(found)) << "the last line, " << number;
      return;
    }
    ASSERT_TRUE(found == expected) << "line " << number << " is " << found.substr(0, 80);
    text.remove_prefix(expected.size());
  }
}

struct Writer {
  pid_t pid;
  unsigned seed;
};

void run_killed(Options options, int rounds) {
  StubCore core;
  std::mt19937 random(std::random_device{}());
  std::vector<Writer> writers;
  std::vector<std::string> keys = {"killed-a", "killed-b", "killed-c"};
  for (const std::string& key : keys) {
    ::system(cat("rm -rf ", directory_of(key)).c_str());
    Streams& each = core.add({.key = key, .options = options});
    const auto seed = static_cast<unsigned>(random());
    writers.push_back({start_writer(each.stdout_write, seed), seed});
    each.stdout_write = Fd();
    each.stderr_write = Fd();
  }
  for (int round = 0; round < rounds; ++round) {
    ::usleep(static_cast<useconds_t>(random() % 12'000));
    core.restart_worker();
  }
  for (const Writer& each : writers) {
    ::kill(each.pid, SIGKILL);
    ::waitpid(each.pid, nullptr, 0);
  }
  for (const std::string& key : keys) core.end(key, 5'000);
  for (size_t index = 0; index < keys.size(); ++index) {
    const auto drained = core.hear_of<Drained>(std::chrono::seconds(20));
    ASSERT_TRUE(drained);
    EXPECT_EQ(drained->dropped_bytes, 0u);
    EXPECT_EQ(drained->error, "");
  }
  for (size_t index = 0; index < keys.size(); ++index) {
    const std::string text = text_of_row(directory_of(keys[index]));
    EXPECT_GT(text.size(), 100'000u);
    expect_all_lines(text, writers[index].seed);
  }
}

TEST(Killed, no_byte_is_lost_and_no_line_is_doubled) { run_killed({}, kills()); }

TEST(Killed, nor_across_rotations) {
  Options options;
  options.file_bytes_max = 20u << 20;
  options.files_max = 99;
  run_killed(options, kills());
}

TEST(Killed, nor_when_rotated_files_are_compressed) {
  Options options;
  options.file_bytes_max = 8u << 20;
  options.files_max = 99;
  options.compress = true;
  run_killed(options, kills() / 3);
}

TEST(Killed, what_nobody_comes_for_holds_up_the_others_for_some_seconds_only) {
  StubCore core;
  Streams& gone = core.add({.key = "gone"});
  write_text(gone.stdout_write, "one\n");
  ASSERT_TRUE(eventually([] { return !read_text("/tmp/gone/container.log").empty(); }));
  core.kill_worker();
  write_text(core.work_write(), "somebody's");
  core.start_worker();
  Streams& next = core.add({.key = "next"});
  write_text(next.stdout_write, "two\n");
  EXPECT_TRUE(eventually([] { return text_of("/tmp/next/container.log") == "two\n"; }));
}

}  // namespace
}  // namespace nacelle::logs
