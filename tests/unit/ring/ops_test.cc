#include "ring/ops.h"

#include <poll.h>
#include <stdlib.h>

#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

class FileOps : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    char name[] = "/tmp/nacelle-ring-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
    directory_ = Fd(::open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override {
    for (const char* name : {"file", "renamed"}) ::unlinkat(directory_.get(), name, 0);
    ::unlinkat(directory_.get(), "made", AT_REMOVEDIR);
    EXPECT_EQ(::rmdir(path_.c_str()), 0);
    LoopTest::TearDown();
  }
  const Fd& directory() const { return directory_; }

 private:
  std::string path_;
  Fd directory_;
};

Task<std::string> write_and_read_back(Loop& loop, const Fd& directory) {
  Fd file = co_await open_at(loop, directory, "file", O_RDWR | O_CREAT, 0600);
  EXPECT_EQ(co_await write_at(loop, file, "hello, ring", 0), 11u);
  EXPECT_EQ(co_await write_at(loop, file, "HELLO", 0), 5u);
  co_await fsync(loop, file);
  std::string text(64, '\0');
  text.resize(co_await read_at(loop, file, text, 2));
  EXPECT_NE(::fcntl(file.get(), F_GETFD) & FD_CLOEXEC, 0);
  const int number = file.get();
  co_await ring::close(loop, std::move(file));
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
  co_return text;
}

TEST_F(FileOps, what_was_written_is_read_back) {
  const auto text = loop().run(write_and_read_back(loop(), directory()));
  ASSERT_TRUE(text) << text.error().message();
  EXPECT_EQ(*text, "LLO, ring");
}

Task<> make_and_move(Loop& loop, const Fd& directory) {
  co_await mkdir_at(loop, directory, "made", 0700);
  struct statx info{};
  co_await statx_at(loop, directory, "made", 0, STATX_MODE, info);
  EXPECT_TRUE(S_ISDIR(info.stx_mode));
  co_await unlink_at(loop, directory, "made", AT_REMOVEDIR);
  {
    Fd file = co_await open_at(loop, directory, "file", O_WRONLY | O_CREAT, 0600);
  }
  co_await rename_at(loop, directory, "file", directory, "renamed");
  const auto gone = co_await as_result(statx_at(loop, directory, "file", 0, STATX_MODE, info));
  EXPECT_FALSE(gone);
  co_await unlink_at(loop, directory, "renamed");
}

TEST_F(FileOps, directories_and_names_are_made_and_unmade) {
  const auto result = loop().run(make_and_move(loop(), directory()));
  EXPECT_TRUE(result) << result.error().message();
}

Task<> open_missing(Loop& loop, const Fd& directory) {
  co_await open_at(loop, directory, "missing", O_RDONLY);
}
Task<> make_twice(Loop& loop, const Fd& directory) {
  co_await mkdir_at(loop, directory, "made", 0700);
  co_await mkdir_at(loop, directory, "made", 0700);
}
Task<> read_badly(Loop& loop, const Fd& directory) {
  char byte = 0;
  co_await read_at(loop, directory, {&byte, 1}, 0);
}

TEST_F(FileOps, a_failure_names_the_call_and_the_path) {
  EXPECT_EQ(loop().run(open_missing(loop(), directory())).error().message(),
            "openat 'missing': No such file or directory");
  const auto twice = loop().run(make_twice(loop(), directory()));
  EXPECT_EQ(twice.error().message(), "mkdirat 'made': File exists");
  EXPECT_EQ(twice.error().kind(), Kind::Conflict);
  EXPECT_EQ(loop().run(read_badly(loop(), directory())).error().message(), "read: Is a directory");
}

Task<> close_when_cancelled(Loop& loop, Fd file, bool& closed) {
  const int number = file.get();
  (void)co_await as_result(sleep_for(loop, 10s));
  co_await ring::close(loop, std::move(file));
  closed = ::fcntl(number, F_GETFD) == -1;
}
Task<> cancel_closer(Loop& loop, Fd file, bool& closed) {
  Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(close_when_cancelled(loop, std::move(file), closed));
  co_await sleep_for(loop, 1ms);
  scope.cancel();
  co_await scope.join();
}

TEST_F(FileOps, a_cancelled_task_can_still_close) {
  bool closed = false;
  Pair pipe = make_pipe();
  ASSERT_TRUE(loop().run(cancel_closer(loop(), std::move(pipe.first), closed)));
  EXPECT_TRUE(closed);
}

Task<std::string> move_bytes(Loop& loop, const Pair& from, const Pair& to) {
  co_await write_all(loop, from.second, "through the pipes");
  co_await readable(loop, from.first);
  EXPECT_EQ(co_await splice(loop, from.first, to.second, 64), 17u);
  std::string text(64, '\0');
  text.resize(co_await read_some(loop, to.first, text));
  co_return text;
}

TEST_F(FileOps, splice_moves_bytes_between_pipes) {
  const Pair from = make_pipe();
  const Pair to = make_pipe();
  EXPECT_EQ(loop().run(move_bytes(loop(), from, to)).value(), "through the pipes");
}

Task<size_t> read_to_the_end(Loop& loop, const Fd& file) {
  std::vector<char> buffer(10'000);
  size_t total = 0;
  while (const size_t bytes = co_await read_some(loop, file, buffer)) total += bytes;
  co_return total;
}
Task<> write_and_hang_up(Loop& loop, Fd file, size_t bytes) {
  co_await write_all(loop, file, std::string(bytes, 'x'));
}
Task<size_t> pump(Loop& loop, Pair pipe, size_t bytes) {
  Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(write_and_hang_up(loop, std::move(pipe.second), bytes));
  const size_t total = co_await read_to_the_end(loop, pipe.first);
  co_await scope.join();
  co_return total;
}

// Goal: the writer waits while the pipe is full, and no byte is lost. Method: 16 pipes' worth.
TEST_F(FileOps, more_than_a_pipe_holds_goes_through_it) {
  EXPECT_EQ(loop().run(pump(loop(), make_pipe(), 1 << 20)).value(), 1u << 20);
}

TEST_F(FileOps, a_hang_up_wakes_whoever_waits_for_bytes) {
  Pair pipe = make_pipe();
  pipe.second = Fd();
  EXPECT_TRUE(loop().run(readable(loop(), pipe.first)));
  EXPECT_EQ(loop().run(read_to_the_end(loop(), pipe.first)).value(), 0u);
}

Task<> wait_in_kernel(Loop& loop) {
  __kernel_timespec duration{.tv_sec = 0, .tv_nsec = 2'000'000};
  const auto result = co_await as_result(kernel_timeout(loop, duration));
  EXPECT_FALSE(result);
  EXPECT_EQ(result.error().error_number(), ETIME);
}

TEST_F(FileOps, the_kernels_own_timer_ends_in_etime) {
  EXPECT_TRUE(loop().run(wait_in_kernel(loop())));
}

TEST_F(FileOps, a_descriptor_that_cannot_be_polled_is_an_error) {
  const Fd bad(::open("/", O_PATH | O_CLOEXEC));
  const auto result = loop().run(readable(loop(), bad));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "poll: Bad file descriptor");
}

}  // namespace
}  // namespace nacelle::ring
