#include <sys/stat.h>

#include "base/text.h"
#include "tests/root/logs_worker/stub_core.h"

namespace nacelle::logs {
namespace {

std::string drained_text(StubCore& core, const std::string& key) {
  const auto drained = core.hear_of<Drained>();
  EXPECT_TRUE(drained);
  if (drained) {
    EXPECT_EQ(drained->key, key);
    EXPECT_EQ(drained->dropped_bytes, 0u);
    EXPECT_EQ(drained->error, "");
  }
  return text_of(cat(directory_of(key), "/container.log"));
}

TEST(LogWorker, what_a_container_writes_is_in_its_log_when_it_was_drained) {
  StubCore core;
  Streams& web = core.add({.key = "web"});
  write_text(web.stdout_write, "hello\nand ");
  write_text(web.stdout_write, "goodbye\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("web");
  EXPECT_EQ(drained_text(core, "web"), "hello\nand goodbye\n");
  const std::string line = read_text("/tmp/web/container.log");
  EXPECT_TRUE(line.starts_with(R"({"log":"hello\n","stream":"stdout","time":"20)")) << line;
  struct stat status{};
  ASSERT_EQ(::stat("/tmp/web/container.log", &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(LogWorker, standard_error_is_marked_and_attributes_are_on_every_line) {
  StubCore core;
  Options options;
  options.attributes = {{"tag", "a<b>"}, {"env", "\"x\""}};
  Streams& web = core.add({.key = "attrs", .options = options});
  write_text(web.stderr_write, "one\ntwo\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("attrs");
  EXPECT_EQ(drained_text(core, "attrs"), "one\ntwo\n");
  for (const Entry& each : entries_of("/tmp/attrs/container.log")) {
    EXPECT_EQ(each.stream, Stream::Stderr);
    EXPECT_EQ(each.attributes, options.attributes);
  }
}

TEST(LogWorker, a_long_line_becomes_pieces_of_sixteen_kibibytes_with_one_time) {
  StubCore core;
  Streams& web = core.add({.key = "long"});
  const std::string line(40'000, 'x');
  write_text(web.stdout_write, line + "\nshort\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("long");
  EXPECT_EQ(drained_text(core, "long"), line + "\nshort\n");
  const auto entries = entries_of("/tmp/long/container.log");
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries[0].text.size(), 16384u);
  EXPECT_EQ(entries[1].text.size(), 16384u);
  EXPECT_EQ(entries[2].text.size(), 40'000u - 2 * 16384 + 1);
  EXPECT_EQ(entries[0].time_ns, entries[2].time_ns);
}

TEST(LogWorker, a_last_line_without_a_newline_is_kept_when_the_container_ends) {
  StubCore core;
  Streams& web = core.add({.key = "unended"});
  write_text(web.stdout_write, "whole\nhalf");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("unended");
  EXPECT_EQ(drained_text(core, "unended"), "whole\nhalf");
}

TEST(LogWorker, writers_that_were_left_behind_are_waited_for_no_longer_than_allowed) {
  StubCore core;
  Streams& web = core.add({.key = "left"});
  write_text(web.stdout_write, "before\n");
  core.end("left", 300);
  EXPECT_FALSE(core.hear(std::chrono::milliseconds(150)));
  write_text(web.stdout_write, "after\n");
  EXPECT_EQ(drained_text(core, "left"), "before\nafter\n");
}

TEST(LogWorker, output_that_outruns_the_worker_is_whole) {
  StubCore core;
  Streams& web = core.add({.key = "flood"});
  std::string all;
  for (int index = 0; index < 200'000; ++index)
    all += cat("line ", index, " of a container that has much to say and does not stop\n");
  write_text(web.stdout_write, all);
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("flood");
  EXPECT_TRUE(drained_text(core, "flood") == all);
}

TEST(LogWorker, a_terminal_is_one_stream) {
  StubCore core;
  Streams& shell = core.add({.key = "tty", .terminal = true});
  write_text(shell.stdout_write, "one\n");
  ASSERT_TRUE(eventually([] { return !read_text("/tmp/tty/container.log").empty(); }));
  write_text(shell.stdout_write, "two\n");
  shell.stdout_write = Fd();
  core.end("tty");
  EXPECT_EQ(drained_text(core, "tty"), "one\r\ntwo\r\n");
}

TEST(LogWorker, files_are_rotated_and_compressed_and_nothing_of_them_is_lost) {
  StubCore core;
  Options options;
  options.file_bytes_max = 100'000;
  options.files_max = 50;
  options.compress = true;
  Streams& web = core.add({.key = "rotated", .options = options});
  std::string all;
  for (int index = 0; index < 20'000; ++index) all += cat("this is line ", index, '\n');
  write_text(web.stdout_write, all);
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("rotated");
  ASSERT_TRUE(core.hear_of<Drained>());
  EXPECT_TRUE(eventually([] {
    return !read_text("/tmp/rotated/container.log.1.gz").empty() &&
           read_text("/tmp/rotated/container.log.1").empty();
  }));
  EXPECT_TRUE(eventually([] {
    struct stat status{};
    for (int index = 1; index < 50; ++index) {
      if (::stat(cat("/tmp/rotated/container.log.", index).c_str(), &status) == 0) return false;
    }
    return true;
  }));
  EXPECT_TRUE(text_of_row("/tmp/rotated") == all);
  // Files end with the first line that reaches their size.
  EXPECT_LT(read_text("/tmp/rotated/container.log").size(), 100'200u);
}

TEST(LogWorker, no_more_files_are_kept_than_asked_for) {
  StubCore core;
  Options options;
  options.file_bytes_max = 10'000;
  options.files_max = 3;
  Streams& web = core.add({.key = "few", .options = options});
  for (int index = 0; index < 2'000; ++index) write_text(web.stdout_write, cat(index, '\n'));
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("few");
  ASSERT_TRUE(core.hear_of<Drained>());
  EXPECT_NE(read_text("/tmp/few/container.log.2"), "");
  EXPECT_EQ(read_text("/tmp/few/container.log.3"), "");
  EXPECT_TRUE(text_of_row("/tmp/few").ends_with("1998\n1999\n"));
}

TEST(LogWorker, with_one_file_it_begins_anew) {
  StubCore core;
  Options options;
  options.file_bytes_max = 10'000;
  Streams& web = core.add({.key = "one", .options = options});
  for (int index = 0; index < 2'000; ++index) write_text(web.stdout_write, cat(index, '\n'));
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("one");
  ASSERT_TRUE(core.hear_of<Drained>());
  EXPECT_EQ(read_text("/tmp/one/container.log.1"), "");
  EXPECT_LT(read_text("/tmp/one/container.log").size(), 10'200u);
  EXPECT_TRUE(text_of_row("/tmp/one").ends_with("1999\n"));
}

TEST(LogWorker, without_a_log_output_goes_nowhere) {
  StubCore core;
  Options options;
  options.driver = Driver::None;
  Streams& web = core.add({.key = "quiet", .options = options});
  write_text(web.stdout_write, std::string(1u << 20, 'x'));
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("quiet");
  const auto drained = core.hear_of<Drained>();
  ASSERT_TRUE(drained);
  EXPECT_EQ(drained->dropped_bytes, 0u);
}

TEST(LogWorker, a_log_that_was_cut_by_somebody_goes_on_at_its_new_end) {
  StubCore core;
  Streams& web = core.add({.key = "cut"});
  write_text(web.stdout_write, "one\n");
  ASSERT_TRUE(eventually([] { return !read_text("/tmp/cut/container.log").empty(); }));
  ASSERT_EQ(::truncate("/tmp/cut/container.log", 0), 0);
  write_text(web.stdout_write, "two\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("cut");
  EXPECT_EQ(drained_text(core, "cut"), "two\n");
}

TEST(LogWorker, messages_it_does_not_understand_do_no_harm) {
  StubCore core;
  core.tell(Drained{.key = "no such"});
  core.tell(Ended{.key = "no such"});
  core.tell(CloseInput{.key = "no such"});
  Streams& web = core.add({.key = "sane"});
  core.tell(web.how, {&web.journal});  // again, and short of descriptors
  write_text(web.stdout_write, "still here\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("sane");
  EXPECT_EQ(drained_text(core, "sane"), "still here\n");
}

}  // namespace
}  // namespace nacelle::logs
