// A call that may wait for a disk and that io_uring has no operation for (syncfs, the last close of
// a mount, the deletion of a tree), on a thread of its own: the loop goes on meanwhile.
#pragma once

#include <cstdint>
#include <functional>

#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::ring {

using BlockingCall = std::move_only_function<Result<>()>;

// For whom it is done: nobody waits for what is done in spare time, and at the disk it comes last.
enum class Pace : uint8_t { Now, SpareTime };

// `call` owns what it uses: who is called off leaves the thread to end by itself. Where no thread
// can be had, the loop's own makes the call. Some dozens run at once; who comes then waits.
Task<> run_blocking(Loop& loop, BlockingCall call, Pace pace = Pace::Now);

}  // namespace nacelle::ring
