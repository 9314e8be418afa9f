#include "logs/reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/text.h"
#include "codec/compression.h"
#include "logs/entries.h"
#include "logs/log_file.h"
#include "nacelle/loop.h"
#include "sys/file.h"

namespace nacelle::logs {
namespace {

using ring::Task;

class ReaderTest : public testing::TestWithParam<Driver> {
 protected:
  void SetUp() override {
    char name[] = "/tmp/nacelle-logs-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
    directory_ = Fd(::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto loop = ring::Loop::open();
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = *std::move(loop);
    options_.driver = GetParam();
  }
  void TearDown() override { ::system(cat("rm -r ", path_).c_str()); }

  // "one\ntwo\n" as the driver writes it, each line a nanosecond after the other.
  std::string encoded(std::string_view output, Stream stream = Stream::Stdout) {
    std::string file;
    std::string into(1 << 20, '\0');
    while (!output.empty()) {
      Pieces pieces;
      const std::string line = cat(take_until(output, '\n'), '\n');
      const Batch batch{.output = line, .stream = stream, .time_ns = ++time_ns_};
      const Encoded one = GetParam() == Driver::Local ? encode_local_entries(batch, pieces, into)
                                                      : encode_json_lines(batch, "", pieces, into);
      file.append(into, 0, one.produced);
    }
    return file;
  }
  void append(const std::string& name, std::string_view bytes) {
    const Fd file(::open(cat(path_, '/', name).c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600));
    ASSERT_TRUE(sys::write_all(file, bytes, name));
  }
  void append_packed(const std::string& name, std::string_view bytes) {
    auto compressor = codec::Compressor::make(codec::Compression::Gzip);
    std::string packed(bytes.size() + 1000, '\0');
    const auto step = compressor->step(bytes, packed, true);
    ASSERT_TRUE(step && step->ended);
    append(name, std::string_view(packed).substr(0, step->produced));
  }
  void rotate() {
    ASSERT_EQ(::rename(cat(path_, "/container.log.1").c_str(),
                       cat(path_, "/container.log.2").c_str()) == 0 ||
                  errno == ENOENT,
              true);
    ASSERT_EQ(
        ::rename(cat(path_, "/container.log").c_str(), cat(path_, "/container.log.1").c_str()), 0);
  }

  static Task<std::string> all_of(Reader& reader) {
    std::string text;
    while (true) {
      const std::vector<Entry> entries = co_await reader.next();
      if (entries.empty()) break;
      for (const Entry& each : entries) text += each.text;
    }
    co_return text;
  }
  std::string read(ReadOptions what) {
    auto reader = Reader::open(*loop_, directory_, options_, what);
    EXPECT_TRUE(reader) << reader.error().message();
    auto text = loop_->run(all_of(**reader));
    EXPECT_TRUE(text) << text.error().message();
    return text.value_or("");
  }

  static Task<> beginning(ReaderTest& test, Reader& reader);
  static Task<> changing(ReaderTest& test, Reader& reader);

  std::string path_;
  Fd directory_;
  std::unique_ptr<ring::Loop> loop_;
  Options options_;
  int64_t time_ns_ = 1'000'000'000;
};

TEST_P(ReaderTest, all_files_of_a_row_are_read_in_order) {
  append_packed("container.log.3.gz", encoded("one\ntwo\n"));
  append_packed("container.log.2.gz", encoded("three\n"));
  append("container.log.1", encoded("four\nfive\n"));
  append("container.log", encoded("six\n"));
  EXPECT_EQ(read({}), "one\ntwo\nthree\nfour\nfive\nsix\n");
}

TEST_P(ReaderTest, the_tail_reaches_as_far_back_as_it_has_to) {
  append_packed("container.log.2.gz", encoded("one\ntwo\n"));
  append("container.log.1", encoded("three\nfour\n"));
  append("container.log", encoded("five\nsix\n"));
  EXPECT_EQ(read({.tail = 0}), "");
  EXPECT_EQ(read({.tail = 1}), "six\n");
  EXPECT_EQ(read({.tail = 2}), "five\nsix\n");
  EXPECT_EQ(read({.tail = 3}), "four\nfive\nsix\n");
  EXPECT_EQ(read({.tail = 5}), "two\nthree\nfour\nfive\nsix\n");
  EXPECT_EQ(read({.tail = 7}), "one\ntwo\nthree\nfour\nfive\nsix\n");
}

TEST_P(ReaderTest, the_tail_of_a_large_file_is_that_of_the_whole) {
  std::string all;
  for (int index = 0; index < 20'000; ++index) all += cat("line number ", index, '\n');
  append("container.log", encoded(all));
  for (const int64_t tail : {1, 2, 500, 5'000, 19'999, 20'000, 30'000}) {
    const std::string text = read({.tail = tail});
    EXPECT_EQ(std::ranges::count(text, '\n'), std::min<int64_t>(tail, 20'000));
    EXPECT_TRUE(all.ends_with(text));
  }
}

TEST_P(ReaderTest, what_was_wanted_of_streams_and_times_comes) {
  append("container.log", encoded("a\nb\n"));
  append("container.log", encoded("E\nF\n", Stream::Stderr));
  append("container.log", encoded("c\n"));
  EXPECT_EQ(read({.stderr_wanted = false}), "a\nb\nc\n");
  EXPECT_EQ(read({.stdout_wanted = false}), "E\nF\n");
  EXPECT_EQ(read({.since_ns = 1'000'000'002}), "b\nE\nF\nc\n");
  EXPECT_EQ(read({.until_ns = 1'000'000'003}), "a\nb\nE\n");
}

TEST_P(ReaderTest, damage_is_passed_over_and_what_is_not_whole_is_not_seen) {
  append("container.log", encoded("one\n"));
  append("container.log", "rubbish \x01\x02 \n more\n");
  append("container.log", encoded("two\n"));
  const std::string last = encoded("three\n");
  append("container.log", std::string_view(last).substr(0, last.size() / 2));
  EXPECT_EQ(read({}), "one\ntwo\n");
  if (GetParam() == Driver::Local) {
    EXPECT_EQ(read({.tail = 1}), "two\n");
  }
}

TEST_P(ReaderTest, there_may_be_no_log_yet) { EXPECT_EQ(read({}), ""); }

TEST_P(ReaderTest, a_damaged_compressed_file_costs_only_itself) {
  append("container.log.1.gz", "this is not gzip at all, whatever its name");
  append("container.log", encoded("one\n"));
  EXPECT_EQ(read({}), "one\n");
  EXPECT_EQ(read({.tail = 5}), "one\n");
}

TEST_P(ReaderTest, without_a_log_there_is_nothing_to_open) {
  options_.driver = Driver::None;
  const auto reader = Reader::open(*loop_, directory_, options_, {});
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().message(), "configured logging driver does not support reading");
  EXPECT_EQ(reader.error().kind(), Kind::Conflict);
}

Task<> ReaderTest::changing(ReaderTest& test, Reader& reader) {
  const auto pause = std::chrono::milliseconds(20);
  test.append("container.log", test.encoded("two\n"));
  co_await ring::sleep_for(*test.loop_, pause);
  const std::string three = test.encoded("three\n");
  test.append("container.log", std::string_view(three).substr(0, 20));
  co_await ring::sleep_for(*test.loop_, pause);
  test.append("container.log", std::string_view(three).substr(20));
  co_await ring::sleep_for(*test.loop_, pause);
  test.rotate();
  test.append("container.log", test.encoded("four\n"));
  co_await ring::sleep_for(*test.loop_, pause);
  // Two at once, the older of them packed.
  test.append("container.log", test.encoded("five\n"));
  test.rotate();
  test.append("container.log", test.encoded("six\n"));
  test.rotate();
  test.append("container.log", test.encoded("seven\n"));
  co_await ring::sleep_for(*test.loop_, pause);
  test.append("container.log", test.encoded("eight\n"));
  reader.writer_is_done();
}

TEST_P(ReaderTest, following_goes_on_across_rotations_until_the_writer_is_done) {
  append("container.log", encoded("zero\none\n"));
  auto reader = Reader::open(*loop_, directory_, options_, {.tail = 1, .follow = true});
  ASSERT_TRUE(reader) << reader.error().message();
  ring::Scope scope(*loop_, [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(changing(*this, **reader));
  const auto text = loop_->run(all_of(**reader));
  ASSERT_TRUE(text) << text.error().message();
  EXPECT_EQ(*text, "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n");
}

Task<> ReaderTest::beginning(ReaderTest& test, Reader& reader) {
  co_await ring::sleep_for(*test.loop_, std::chrono::milliseconds(20));
  test.append("container.log", test.encoded("first\n"));
  co_await ring::sleep_for(*test.loop_, std::chrono::milliseconds(20));
  reader.writer_is_done();
}

TEST_P(ReaderTest, following_begins_before_there_is_a_log) {
  auto reader = Reader::open(*loop_, directory_, options_, {.follow = true});
  ASSERT_TRUE(reader);
  ring::Scope scope(*loop_, [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(beginning(*this, **reader));
  const auto text = loop_->run(all_of(**reader));
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "first\n");
}

TEST_P(ReaderTest, following_ends_when_its_time_has_come) {
  append("container.log", encoded("one\n"));
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const int64_t until = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec + 50'000'000;
  EXPECT_EQ(read({.until_ns = until, .follow = true}), "one\n");
}

INSTANTIATE_TEST_SUITE_P(Drivers, ReaderTest, testing::Values(Driver::JsonFile, Driver::Local));

}  // namespace
}  // namespace nacelle::logs
