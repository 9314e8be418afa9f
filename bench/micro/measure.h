// Steps that cannot be repeated in one process: each is timed by hand, most of them in a child with
// namespaces of its own that ends with its step. Besides the mean a benchmark shows `min` and
// `median`, which a busy machine bends less. Refuses to report a step that failed.
#pragma once

#include <benchmark/benchmark.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/text.h"
#include "sys/call.h"
#include "sys/cgroup.h"

namespace nacelle::bench {

class Watch {
 public:
  void start() { begin_ns_ = now_ns(); }
  void stop() { end_ns_ = now_ns(); }
  double seconds() const { return static_cast<double>(end_ns_ - begin_ns_) * 1e-9; }

 private:
  static int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
  }
  int64_t begin_ns_ = 0;
  int64_t end_ns_ = 0;
};

// What the host does not have or not allow is a skip; any other failure is one of the benchmark.
inline void skip(benchmark::State& state, long negative_errno) {
  const int error = static_cast<int>(-negative_errno);
  const bool missing = error == EPERM || error == EACCES || error == ENOSYS || error == ENODEV ||
                       error == EOPNOTSUPP;
  state.SkipWithError(
      cat(missing ? "missing: permission or kernel feature: " : "failed: ", ::strerror(error))
          .c_str());
}

inline double microseconds(double seconds) { return seconds * 1e6; }

// `step(watch)` does one step between start() and stop() and gives a negative errno when it could
// not. The counters are for one of its `operations`, the library's own column for the step.
template <class Step>
void measure(benchmark::State& state, Step step, int operations = 1) {
  std::vector<double> samples;
  for (auto _ : state) {
    Watch watch;
    const long result = step(watch);
    if (result < 0) return skip(state, result);
    samples.push_back(watch.seconds() / operations);
    state.SetIterationTime(watch.seconds());
  }
  if (samples.empty()) return;
  std::ranges::sort(samples);
  state.counters["min_us"] = microseconds(samples.front());
  state.counters["median_us"] = microseconds(samples[samples.size() / 2]);
}

// A child with a copy of our memory, CLONE_* in `flags`; as fork(2) it answers twice.
inline long clone_copy(uint64_t flags, int cgroup = -1) {
  clone_args arguments{};
  arguments.flags = flags | (cgroup < 0 ? 0 : CLONE_INTO_CGROUP);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = cgroup < 0 ? 0 : static_cast<uint64_t>(cgroup);
  return sys::call(SYS_clone3, &arguments, sizeof arguments);
}

inline long reap(long pid) {
  int status = 0;
  while (::waitpid(static_cast<pid_t>(pid), &status, 0) < 0) {
    if (errno != EINTR) return -errno;
  }
  return status == 0 ? 0 : -ECHILD;
}

// The step takes place in a child in new `namespaces`.
template <class Step>
void measure_in_children(benchmark::State& state, uint64_t namespaces, Step step,
                         int operations = 1) {
  struct Answer {
    Watch watch;
    long result = -ECANCELED;
  };
  void* shared =
      ::mmap(nullptr, sizeof(Answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return skip(state, -errno);
  measure(
      state,
      [&](Watch& watch) -> long {
        auto* answer = new (shared) Answer;
        const long pid = clone_copy(namespaces);
        if (pid < 0) return pid;
        if (pid == 0) {
          answer->result = step(answer->watch);
          ::_exit(0);
        }
        if (const long reaped = reap(pid); reaped < 0) return reaped;
        watch = answer->watch;
        return answer->result;
      },
      operations);
  ::munmap(shared, sizeof(Answer));
}

// A cgroup of our own, made and removed.
class Group {
 public:
  Group() : path_(cat("nacelle-bench-", ::getpid())) {
    auto tree = sys::open_cgroup_tree();
    if (!tree) return;
    tree_ = *std::move(tree);
    if (auto made = sys::ensure_cgroup(tree_, path_)) dir_ = std::move(made->dir);
  }
  ~Group() {
    if (dir_) (void)sys::remove_cgroup(tree_, path_, sys::deadline_in(std::chrono::seconds(1)));
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Whether there is one; if not, the benchmark is skipped with the reason.
  bool opened(benchmark::State& state) const {
    if (!dir_) state.SkipWithError("missing: a cgroup v2 tree in which we may make a group");
    return static_cast<bool>(dir_);
  }
  const Fd& dir() const { return dir_; }

 private:
  std::string path_;
  sys::CgroupTree tree_;
  Fd dir_;
};

}  // namespace nacelle::bench

#define BY_HAND UseManualTime()->Unit(benchmark::kMicrosecond)
