#include "image/background.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace nacelle::image {
namespace {

constexpr size_t thread_stack_bytes = 128u << 10;
constexpr auto patience = std::chrono::seconds(1);

struct Work {
  int (*call)(void*);
  void* argument;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  int result = 0;
};

void* run_work(void* raw) {
  Work& work = *static_cast<Work*>(raw);
  const int result = work.call(work.argument);
  const std::lock_guard lock(work.mutex);
  work.result = result;
  work.done = true;
  work.changed.notify_all();
  return nullptr;
}

}  // namespace

int run_in_background(int (*call)(void*), void* argument, const std::function<void()>& still_here) {
  Work work{.call = call, .argument = argument, .mutex = {}, .changed = {}};
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, thread_stack_bytes);
  pthread_t thread;
  const int error = ::pthread_create(&thread, &attributes, run_work, &work);
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return error;
  {
    std::unique_lock lock(work.mutex);
    while (!work.changed.wait_for(lock, patience, [&work] { return work.done; })) still_here();
  }
  ::pthread_join(thread, nullptr);
  return work.result;
}

}  // namespace nacelle::image
