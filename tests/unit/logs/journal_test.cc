#include "logs/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "logs/messages.h"

namespace nacelle::logs {
namespace {

struct Ends {
  Fd read, write;
};
Ends make_pipe(int flags = 0) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC | flags), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}
Fd make_memory() {
  Fd memory(::memfd_create("journal", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(memory.get(), journal_bytes), 0);
  return memory;
}
Fd same(const Fd& file) { return Fd(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)); }

void put(const Fd& file, std::string_view text) {
  ASSERT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

TEST(Journal, what_was_taken_is_there_for_a_successor) {
  const Fd memory = make_memory();
  const Ends source = make_pipe(O_NONBLOCK);
  auto work = WorkPipe::open({}, {});
  ASSERT_TRUE(work);
  put(source.write, "hello");
  {
    Journal journal;
    ASSERT_TRUE(journal.open(same(memory), *work));
    const auto taken = journal.take(source.read, 1, *work);
    ASSERT_TRUE(taken);
    EXPECT_EQ(*taken, 5u);
    EXPECT_EQ(journal.pending(1), "hello");
    EXPECT_EQ(journal.pending(0), "");
    const auto nothing = journal.take(source.read, 1, *work);
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().error_number(), EAGAIN);
  }
  Journal successor;
  ASSERT_TRUE(successor.open(same(memory), *work));
  EXPECT_EQ(successor.pending(1), "hello");
  EXPECT_EQ(successor.state().dropped_bytes, 0u);
}

TEST(Journal, the_end_of_a_pipe_is_told_from_nothing_to_read) {
  const Ends source = make_pipe(O_NONBLOCK);
  auto work = WorkPipe::open({}, {});
  Journal journal;
  ASSERT_TRUE(journal.open(make_memory(), *work));
  const Ends other = make_pipe(O_NONBLOCK);
  EXPECT_FALSE(journal.take(other.read, 0, *work));
  Ends closed = make_pipe(O_NONBLOCK);
  closed.write = Fd();
  const auto end = journal.take(closed.read, 0, *work);
  ASSERT_TRUE(end);
  EXPECT_EQ(*end, 0u);
}

TEST(Journal, a_memory_that_is_too_short_or_full_of_nonsense_does_no_harm) {
  auto work = WorkPipe::open({}, {});
  Fd memory(::memfd_create("journal", MFD_CLOEXEC));
  Journal journal;
  EXPECT_FALSE(journal.open(same(memory), *work));
  // Everything behind the magic number is wrong.
  const Fd odd = make_memory();
  {
    const Ends source = make_pipe(O_NONBLOCK);
    put(source.write, "x");
    Journal writer;
    ASSERT_TRUE(writer.open(same(odd), *work));
    ASSERT_TRUE(writer.take(source.read, 0, *work));
  }
  const std::string nonsense(4088, '\xee');
  ASSERT_EQ(::pwrite(odd.get(), nonsense.data(), nonsense.size(), 8), 4088);
  Journal reader;
  (void)reader.open(same(odd), *work);
  EXPECT_EQ(reader.pending(0), "");
  EXPECT_EQ(reader.pending(1), "");
}

TEST(Journal, it_takes_until_it_is_full_and_goes_on_when_a_part_was_written) {
  const Ends source = make_pipe(O_NONBLOCK);
  auto work = WorkPipe::open({}, {});
  Journal journal;
  ASSERT_TRUE(journal.open(make_memory(), *work));
  std::string all;
  size_t given = 0;
  while (!journal.is_full(0)) {
    const std::string block(50'000, static_cast<char>('a' + given++ % 26));
    put(source.write, block);
    all += block;
    while (!journal.is_full(0) && journal.take(source.read, 0, *work)) {
    }
  }
  EXPECT_EQ(journal.pending(0).size(), Journal::area_bytes);
  journal.state().areas[0].begin = 100'000;
  ASSERT_TRUE(journal.commit());
  EXPECT_FALSE(journal.is_full(0));
  while (journal.take(source.read, 0, *work)) {
  }
  EXPECT_EQ(journal.pending(0), std::string_view(all).substr(100'000));
}

TEST(Journal, its_memory_is_given_back_when_it_is_idle) {
  const Fd memory = make_memory();
  const Ends source = make_pipe(O_NONBLOCK);
  auto work = WorkPipe::open({}, {});
  Journal journal;
  ASSERT_TRUE(journal.open(same(memory), *work));
  EXPECT_FALSE(journal.has_memory());
  put(source.write, "x");
  ASSERT_TRUE(journal.take(source.read, 0, *work));
  struct stat status{};
  ASSERT_EQ(::fstat(memory.get(), &status), 0);
  EXPECT_GT(status.st_blocks, 0);
  journal.state().areas[0] = {};
  journal.release_memory();
  ASSERT_EQ(::fstat(memory.get(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
  put(source.write, "y");
  ASSERT_TRUE(journal.take(source.read, 0, *work));
  EXPECT_EQ(journal.pending(0), "y");
}

}  // namespace
}  // namespace nacelle::logs
