#include "ring/blocking.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "nacelle/fd.h"
#include "ring/notice.h"
#include "ring/ops.h"

namespace nacelle::ring {
namespace {

constexpr size_t thread_stack_bytes = 128u << 10;
// Of one loop. A thousand containers that end at once are no reason for a thousand stacks.
constexpr unsigned threads_max = 64;

struct Threads {
  unsigned running = 0;
  Notice fewer;
};
thread_local Threads threads;  // of the loop that runs on this one

// Held by who waits for a thread. Who is called off lets go while his thread still ends.
class Place {
 public:
  Place() { ++threads.running; }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    --threads.running;
    threads.fewer.notify_all();  // one alone might have been called off
  }
};

struct Work {
  BlockingCall call;
  Pace pace = Pace::Now;
  Fd ended;
  Result<> result;  // the loop's once `ended` can be read
};

// Of this thread alone, and at the disk alone: one that seldom gets a processor would hold locks of
// the file system meanwhile, for which a start waits.
void yield_to_others() {
  constexpr int who_process = 1, best_effort = 2 << 13, last = 7;  // ioprio_set(2)
  (void)::syscall(SYS_ioprio_set, who_process, 0, best_effort | last);
}

void* run_work(void* raw) {
  const std::unique_ptr<std::shared_ptr<Work>> held(static_cast<std::shared_ptr<Work>*>(raw));
  Work& work = **held;
  if (work.pace == Pace::SpareTime) yield_to_others();
  work.result = work.call();
  work.call = nullptr;  // what it owns goes here, too
  const uint64_t one = 1;
  // A counter that nobody else adds to takes it.
  [[maybe_unused]] const ssize_t written = ::write(work.ended.get(), &one, sizeof one);
  return nullptr;
}

bool start_thread(const std::shared_ptr<Work>& work) {
  auto for_thread = std::make_unique<std::shared_ptr<Work>>(work);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, thread_stack_bytes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = ::pthread_create(&thread, &attributes, run_work, for_thread.get());
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return false;
  (void)for_thread.release();  // the thread's from here on
  return true;
}

}  // namespace

Task<> run_blocking(Loop& loop, BlockingCall call, Pace pace) {
  while (threads.running >= threads_max) co_await threads.fewer.wait();
  const Place place;
  const auto work = std::make_shared<Work>();
  work->call = std::move(call);
  work->pace = pace;
  work->ended = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!work->ended) co_await fail_errno(errno, "eventfd");
  if (!start_thread(work)) {
    co_await work->call();
    co_return;
  }
  uint64_t count = 0;
  // Read, so that what the thread has written before is seen after.
  co_await read_some(loop, work->ended, {reinterpret_cast<char*>(&count), sizeof count});
  co_await std::move(work->result);
}

}  // namespace nacelle::ring
