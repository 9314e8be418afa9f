// Starts and ends of containers on a loop: what container.h does by waiting, as Tasks. Many starts
// go side by side on the one thread; a cancelled one leaves nothing behind.
// It refuses threads: hooks run, and a failed start is undone, inside the turn that gets there.
// kill(), remove() of an ended container, state() and their kin take microseconds and are called as
// they are; exec() takes as long as its start.
#pragma once

#include <string>

#include "nacelle/container.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle {

// As the members of Runtime of the same names. Loop, Runtime, Bundle and the descriptors in `io`
// must outlive the await.
ring::Task<Process> create(ring::Loop& loop, Runtime& runtime, std::string id, const Bundle& bundle,
                           IoOptions io = {});
ring::Task<Process> run(ring::Loop& loop, Runtime& runtime, std::string id, const Bundle& bundle,
                        IoOptions io = {}, StartTimes* times = nullptr);

// Waits for the end of a process that this process started, and reaps it. Once.
ring::Task<ExitStatus> wait(ring::Loop& loop, const Process& process);

}  // namespace nacelle
