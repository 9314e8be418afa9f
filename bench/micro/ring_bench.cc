// What the ring costs beside the plain system call, for each kind of operation we use. "plain" is
// the call, "ring/1" one request per turn of the loop, "ring/32" 32 at a time; `each` is the time
// of one operation. The choices in src/README.md, what goes through the ring and what does not,
// quote these numbers.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "nacelle/loop.h"
#include "ring/ops.h"

namespace nacelle::ring {
namespace {

using benchmark::Counter;
using benchmark::State;

void count(State& state, int64_t operations_per_iteration) {
  state.counters["each"] = Counter(static_cast<double>(operations_per_iteration),
                                   Counter::kIsIterationInvariantRate | Counter::kInvert);
}

// A directory of our own, removed with all that the benchmarks leave in it.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(std::string pattern) : path_(std::move(pattern)) {
    if (::mkdtemp(path_.data()) == nullptr) return;
    fd_ = Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~TemporaryDirectory() {
    if (!fd_) return;
    ::unlinkat(fd_.get(), "file", 0);
    ::rmdir(path_.c_str());
  }
  const Fd& fd() const { return fd_; }

 private:
  std::string path_;
  Fd fd_;
};

std::unique_ptr<Loop> open_loop(State& state) {
  auto loop = Loop::open();
  if (loop) return *std::move(loop);
  state.SkipWithError(loop.error().message().c_str());
  return nullptr;
}

template <class Work>
Task<> one_at_a_time(State& state, Work work) {
  for (auto _ : state) co_await work(0);
}
template <class Work>
Task<> once(Work work, int which) {
  co_await work(which);
}
template <class Work>
Task<> in_batches(State& state, Loop& loop, Work work, int batch) {
  Scope scope(loop, [](const Error&) {});
  for (auto _ : state) {
    for (int i = 0; i < batch; ++i) scope.start(once(work, i));
    co_await scope.join();
  }
}

// `work(i)` makes the i-th operation of a batch.
template <class Work>
void through_ring(State& state, Loop& loop, Work work) {
  const int batch = static_cast<int>(state.range(0));
  const auto result = batch == 1 ? loop.run(one_at_a_time(state, work))
                                 : loop.run(in_batches(state, loop, work, batch));
  if (!result) state.SkipWithError(result.error().message().c_str());
  count(state, batch);
}

template <class Call>
void through_calls(State& state, Call call) {
  for (auto _ : state) {
    if (call() < 0) {
      state.SkipWithError("the call failed");
      return;
    }
  }
  count(state, 1);
}

#define RING_BENCHMARK(name) BENCHMARK(name)->ArgName("batch")->Arg(1)->Arg(32)->UseRealTime()
#define PLAIN_BENCHMARK(name) BENCHMARK(name)->UseRealTime()

// nop: the price of going there and back. --------------------------------------------------------

void nop_plain(State& state) {
  through_calls(state, [] { return ::syscall(SYS_getppid); });
}
PLAIN_BENCHMARK(nop_plain);

void nop_ring(State& state) {
  auto loop = open_loop(state);
  if (loop) through_ring(state, *loop, [&](int) { return nop(*loop); });
}
RING_BENCHMARK(nop_ring);

// A call of a coroutine that waits for nothing: what the run list and a frame cost.
Task<> nothing() { co_return; }
void task_call(State& state) {
  auto loop = open_loop(state);
  if (loop) through_ring(state, *loop, [](int) { return nothing(); });
}
RING_BENCHMARK(task_call);

// openat of a cached file, and its close. ---------------------------------------------------------

constexpr const char* cached_file = "/etc/passwd";

void open_plain(State& state) {
  through_calls(state, [] {
    const int fd = ::open(cached_file, O_RDONLY | O_CLOEXEC);
    return ::close(fd);
  });
}
PLAIN_BENCHMARK(open_plain);

Task<> open_and_drop(Loop& loop, const Fd& none) {
  co_await open_at(loop, none, cached_file, O_RDONLY);
}
void open_ring(State& state) {
  auto loop = open_loop(state);
  const Fd none;
  if (loop) through_ring(state, *loop, [&](int) { return open_and_drop(*loop, none); });
}
RING_BENCHMARK(open_ring);

// cgroupfs. --------------------------------------------------------------------------------------

// A group of our own with one of its files open.
class GroupFile {
 public:
  GroupFile() : group_("/sys/fs/cgroup/unified/nacelle-bench-XXXXXX") {
    if (!group_.fd())
      group_pure_ = std::make_unique<TemporaryDirectory>("/sys/fs/cgroup/nacelle-bench-XXXXXX");
    const Fd& directory = group_.fd() ? group_.fd() : group_pure_->fd();
    const int fd =
        directory ? ::openat(directory.get(), "cgroup.max.depth", O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) file_ = Fd(fd);
  }
  // Whether there is one; if not, the benchmark is skipped with the reason.
  bool opened(State& state) const {
    if (!file_) state.SkipWithError("missing: a cgroup v2 tree in which we may make a group");
    return static_cast<bool>(file_);
  }
  const Fd& file() const { return file_; }

 private:
  TemporaryDirectory group_;
  std::unique_ptr<TemporaryDirectory> group_pure_;
  Fd file_;
};

void read_cgroup_plain(State& state) {
  const GroupFile group;
  char text[64];
  if (!group.opened(state)) return;
  through_calls(state, [&] { return ::pread(group.file().get(), text, sizeof text, 0); });
}
PLAIN_BENCHMARK(read_cgroup_plain);

void read_cgroup_ring(State& state) {
  const GroupFile group;
  auto loop = open_loop(state);
  char text[32][64];
  if (!loop || !group.opened(state)) return;
  through_ring(state, *loop, [&](int i) { return read_at(*loop, group.file(), text[i], 0); });
}
RING_BENCHMARK(read_cgroup_ring);

void write_cgroup_plain(State& state) {
  const GroupFile group;
  if (!group.opened(state)) return;
  through_calls(state, [&] { return ::pwrite(group.file().get(), "5", 1, 0); });
}
PLAIN_BENCHMARK(write_cgroup_plain);

void write_cgroup_ring(State& state) {
  const GroupFile group;
  auto loop = open_loop(state);
  if (!loop || !group.opened(state)) return;
  through_ring(state, *loop, [&](int) { return write_at(*loop, group.file(), "5", 0); });
}
RING_BENCHMARK(write_cgroup_ring);

// mkdir and rmdir on tmpfs, both the same way.
// -----------------------------------------------------

constexpr const char* directory_names[] = {
    "0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",  "8",  "9",  "10", "11", "12", "13", "14", "15",
    "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31"};

bool is_tmpfs(State& state, const TemporaryDirectory& directory) {
  struct statfs info{};
  if (directory.fd() && ::fstatfs(directory.fd().get(), &info) == 0 && info.f_type == TMPFS_MAGIC) {
    return true;
  }
  state.SkipWithError("missing: a tmpfs at /dev/shm");
  return false;
}

void mkdir_tmpfs_plain(State& state) {
  const TemporaryDirectory parent("/dev/shm/nacelle-bench-XXXXXX");
  if (!is_tmpfs(state, parent)) return;
  through_calls(state, [&] {
    if (::mkdirat(parent.fd().get(), "0", 0700) < 0) return -1;
    return ::unlinkat(parent.fd().get(), "0", AT_REMOVEDIR);
  });
}
PLAIN_BENCHMARK(mkdir_tmpfs_plain);

Task<> make_and_remove(Loop& loop, const Fd& parent, const char* name) {
  co_await mkdir_at(loop, parent, name, 0700);
  co_await unlink_at(loop, parent, name, AT_REMOVEDIR);
}
void mkdir_tmpfs_ring(State& state) {
  const TemporaryDirectory parent("/dev/shm/nacelle-bench-XXXXXX");
  auto loop = open_loop(state);
  if (!loop || !is_tmpfs(state, parent)) return;
  through_ring(state, *loop,
               [&](int i) { return make_and_remove(*loop, parent.fd(), directory_names[i]); });
}
RING_BENCHMARK(mkdir_tmpfs_ring);

// statx of a cached file.
// --------------------------------------------------------------------------

void statx_plain(State& state) {
  struct statx info;
  through_calls(state, [&] { return ::statx(AT_FDCWD, cached_file, 0, STATX_BASIC_STATS, &info); });
}
PLAIN_BENCHMARK(statx_plain);

void statx_ring(State& state) {
  auto loop = open_loop(state);
  const Fd none;
  struct statx info[32];
  if (!loop) return;
  through_ring(state, *loop, [&](int i) {
    return statx_at(*loop, none, cached_file, 0, STATX_BASIC_STATS, info[i]);
  });
}
RING_BENCHMARK(statx_ring);

// Children.
// ----------------------------------------------------------------------------------------

Fd spawn(bool& failed) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  const int fd = pid < 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  failed = fd < 0;
  return failed ? Fd() : Fd(fd);
}

// A child that has ended and is not reaped: its pidfd is readable at once.
void poll_pidfd_plain(State& state) {
  bool failed = false;
  const Fd child = spawn(failed);
  pollfd request{.fd = child.get(), .events = POLLIN, .revents = 0};
  ::poll(&request, 1, -1);
  through_calls(state, [&] { return ::poll(&request, 1, -1); });
  ::waitid(P_PIDFD, static_cast<id_t>(child.get()), nullptr, WEXITED);
}
PLAIN_BENCHMARK(poll_pidfd_plain);

void poll_pidfd_ring(State& state) {
  bool failed = false;
  const Fd child = spawn(failed);
  auto loop = open_loop(state);
  if (loop) {
    (void)loop->run(readable(*loop, child));
    through_ring(state, *loop, [&](int) { return poll(*loop, child, POLLIN); });
  }
  ::waitid(P_PIDFD, static_cast<id_t>(child.get()), nullptr, WEXITED);
}
RING_BENCHMARK(poll_pidfd_ring);

// fork to reaped: the three ways of waiting around the same fork.
void wait_child_plain(State& state) {
  through_calls(state, [] {
    bool failed = false;
    const Fd child = spawn(failed);
    siginfo_t info;
    return failed ? -1 : ::waitid(P_PIDFD, static_cast<id_t>(child.get()), &info, WEXITED);
  });
}
PLAIN_BENCHMARK(wait_child_plain);

using Wait = Task<int> (*)(Loop&, const Fd&);
Task<> spawn_and_wait(Loop& loop, Wait wait) {
  bool failed = false;
  const Fd child = spawn(failed);
  if (failed) co_await fail(Kind::Exhausted, "no child");
  co_await wait(loop, child);
}
void wait_child_ring_waitid(State& state) {
  auto loop = open_loop(state);
  if (!loop) return;
  through_ring(state, *loop, [&](int) { return spawn_and_wait(*loop, wait_process_by_waitid); });
}
BENCHMARK(wait_child_ring_waitid)->ArgName("batch")->Arg(1)->UseRealTime();

void wait_child_ring_poll(State& state) {
  auto loop = open_loop(state);
  if (!loop) return;
  through_ring(state, *loop, [&](int) { return spawn_and_wait(*loop, wait_process_by_poll); });
}
BENCHMARK(wait_child_ring_poll)->ArgName("batch")->Arg(1)->UseRealTime();

// Deadlines that are kept: our heap against the kernel's timer.
// ------------------------------------

Task<> do_nop(Loop& loop) { co_await nop(loop); }
void deadline_in_heap(State& state) {
  auto loop = open_loop(state);
  if (!loop) return;
  through_ring(state, *loop,
               [&](int) { return with_deadline(*loop, do_nop(*loop), std::chrono::seconds(10)); });
}
RING_BENCHMARK(deadline_in_heap);

Task<> arm_kernel_timeout(Loop& loop) {
  __kernel_timespec duration{.tv_sec = 10, .tv_nsec = 0};
  (void)co_await as_result(kernel_timeout(loop, duration));
}
Task<> nop_beside_kernel_timeout(Loop& loop) {
  Scope scope(loop, [](const Error&) {});
  scope.start(arm_kernel_timeout(loop));
  co_await nop(loop);
  scope.cancel();
  co_await scope.join();
}
void deadline_in_kernel(State& state) {
  auto loop = open_loop(state);
  if (loop) through_ring(state, *loop, [&](int) { return nop_beside_kernel_timeout(*loop); });
}
RING_BENCHMARK(deadline_in_kernel);

// A ring of our own: set up and torn down.
// ---------------------------------------------------------

void loop_open_and_close(State& state) {
  for (auto _ : state) {
    auto loop = Loop::open({.submissions = static_cast<unsigned>(state.range(0)),
                            .completions = static_cast<unsigned>(4 * state.range(0))});
    if (!loop) return state.SkipWithError(loop.error().message().c_str());
  }
  count(state, 1);
}
BENCHMARK(loop_open_and_close)->ArgName("submissions")->Arg(64)->Arg(256)->Arg(4096)->UseRealTime();

}  // namespace
}  // namespace nacelle::ring

BENCHMARK_MAIN();
