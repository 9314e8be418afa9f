// What a child costs: sharing the parent's memory or copying it, each namespace, being born in a
// cgroup or moved there, and the stub it executes.
#include <sched.h>

#include "bench/micro/measure.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/kernel.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

extern "C" {
extern const char nacelle_stub_begin[];
extern const char nacelle_stub_end[];
}

namespace nacelle::bench {
namespace {

using benchmark::State;

// Memory that the parent has touched, page by page.
class Resident {
 public:
  explicit Resident(int64_t megabytes) : bytes_(static_cast<size_t>(megabytes) << 20) {
    if (bytes_ == 0) return;
    start_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start_ == MAP_FAILED) return;
    ::madvise(start_, bytes_, MADV_NOHUGEPAGE);
    ::memset(start_, 1, bytes_);
  }
  ~Resident() {
    if (start_ != MAP_FAILED) ::munmap(start_, bytes_);
  }
  Resident(const Resident&) = delete;
  Resident& operator=(const Resident&) = delete;

 private:
  size_t bytes_;
  void* start_ = MAP_FAILED;
};

enum class Until { Cloned, Reaped };

int end_at_once(void*) {
  while (true) sys::call(SYS_exit, 0);
}

// The scheduler has a say in the time until a child is reaped, so it takes more of them to tell.
constexpr double reaped_seconds_min = 0.1;

// CLONE_VM on a stack of its own, as Launch has it.
long step_sharing(Watch& watch, uint64_t flags, Until until) {
  alignas(16) static char stack[16 << 10];
  watch.start();
  const int pid = ::clone(end_at_once, stack + sizeof stack,
                          static_cast<int>(flags | CLONE_VM | SIGCHLD), nullptr);
  watch.stop();
  if (pid < 0) return -errno;
  const long reaped = reap(pid);
  if (until == Until::Reaped) watch.stop();
  return reaped;
}

long step_copying(Watch& watch, uint64_t flags, Until until) {
  watch.start();
  const long pid = clone_copy(flags);
  if (pid == 0) end_at_once(nullptr);
  watch.stop();
  if (pid < 0) return pid;
  const long reaped = reap(pid);
  if (until == Until::Reaped) watch.stop();
  return reaped;
}

void clone_sharing_memory(State& state) {
  const Resident resident(state.range(0));
  measure(state, [](Watch& watch) { return step_sharing(watch, 0, Until::Reaped); });
}
BENCHMARK(clone_sharing_memory)
    ->ArgName("parent_mb")
    ->Arg(0)
    ->Arg(16)
    ->Arg(128)
    ->BY_HAND->MinTime(reaped_seconds_min);

void clone_copying_memory(State& state) {
  const Resident resident(state.range(0));
  measure(state, [](Watch& watch) { return step_copying(watch, 0, Until::Reaped); });
}
BENCHMARK(clone_copying_memory)
    ->ArgName("parent_mb")
    ->Arg(0)
    ->Arg(16)
    ->Arg(128)
    ->BY_HAND->MinTime(reaped_seconds_min);

// The clone call alone: taking a namespace down happens later and mostly elsewhere.
void namespaces(State& state, uint64_t flags) {
  measure(state, [&](Watch& watch) { return step_sharing(watch, flags, Until::Cloned); });
}
BENCHMARK_CAPTURE(namespaces, none, 0)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, uts, CLONE_NEWUTS)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, ipc, CLONE_NEWIPC)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, cgroup, CLONE_NEWCGROUP)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, pid, CLONE_NEWPID)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, mount, CLONE_NEWNS)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, user, CLONE_NEWUSER)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, net, CLONE_NEWNET)->BY_HAND;
BENCHMARK_CAPTURE(namespaces, all_but_user,
                  CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWPID | CLONE_NEWNS |
                      CLONE_NEWNET)
    ->BY_HAND;

// A time namespace demands a copy of the memory (setns(2)), so it has a base of its own.
void namespaces_with_copy(State& state, uint64_t flags) {
  measure(state, [&](Watch& watch) { return step_copying(watch, flags, Until::Cloned); });
}
BENCHMARK_CAPTURE(namespaces_with_copy, none, 0)->BY_HAND;
BENCHMARK_CAPTURE(namespaces_with_copy, time, CLONE_NEWTIME)->BY_HAND;

// A child that waits, in the cgroup one way or the other; `enter` gives its pid. Whoever writes
// cgroup.procs first after a while waits for an RCU grace period, those right behind do not, and a
// start is seldom right behind another: hence the idle time before each.
template <class Enter>
void enter_cgroup(State& state, Enter enter) {
  const Group group;
  if (!group.opened(state)) return;
  measure(state, [&](Watch& watch) -> long {
    ::usleep(static_cast<useconds_t>(state.range(0)) * 1000);
    watch.start();
    const long pid = enter(group.dir());
    watch.stop();
    if (pid < 0) return pid;
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
    return 0;
  });
}

[[noreturn]] void wait_for_the_end() {
  while (true) sys::call(SYS_pause);
}

void cgroup_born_in(State& state) {
  enter_cgroup(state, [](const Fd& group) {
    const long pid = clone_copy(0, group.get());
    if (pid == 0) wait_for_the_end();
    return pid;
  });
}
BENCHMARK(cgroup_born_in)->ArgName("idle_ms")->Arg(0)->Arg(30)->BY_HAND->Iterations(30);

void cgroup_moved_to(State& state) {
  enter_cgroup(state, [](const Fd& group) -> long {
    const long pid = clone_copy(0);
    if (pid == 0) wait_for_the_end();
    if (pid < 0 || sys::write_file_at(group.get(), "cgroup.procs", cat(pid))) return pid;
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    reap(pid);
    return -EPERM;
  });
}
BENCHMARK(cgroup_moved_to)->ArgName("idle_ms")->Arg(0)->Arg(30)->BY_HAND->Iterations(30);

void cgroup_made_and_removed(State& state) {
  auto tree = sys::open_cgroup_tree();
  if (!tree) return state.SkipWithError("missing: a cgroup v2 tree");
  const std::string name = cat("nacelle-bench-", ::getpid());
  measure(state, [&](Watch& watch) -> long {
    watch.start();
    if (::mkdirat(tree->root.get(), name.c_str(), 0755) < 0) return -errno;
    if (::unlinkat(tree->root.get(), name.c_str(), AT_REMOVEDIR) < 0) return -errno;
    watch.stop();
    return 0;
  });
}
BENCHMARK(cgroup_made_and_removed)->BY_HAND;

void sealed_stub(State& state) {
  const std::string_view stub(nacelle_stub_begin,
                              static_cast<size_t>(nacelle_stub_end - nacelle_stub_begin));
  for (auto _ : state) {
    auto file = sys::make_sealed_memory_file("nacelle-stub", stub, true);
    if (!file) return state.SkipWithError(("failed: " + file.error().message()).c_str());
  }
}
BENCHMARK(sealed_stub)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace nacelle::bench
