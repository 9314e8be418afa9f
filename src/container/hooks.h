// Hooks: programs of the host that a config names, run at points of a container's life with the
// container's state on standard input (config.md "POSIX-platform Hooks"). They get the environment
// of their own entry and nothing else (a hook is privileged, an image's environment is hostile),
// the working directory "/", and end with their deadline. The binary is opened in the runtime's
// mount namespace and executed by descriptor.
#pragma once

#include <string_view>

#include "container/launch_plan.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::container {

struct HookPlace {
  const Fd* process = nullptr;  // whose namespaces are joined; null: the runtime's own
  uint64_t namespaces = 0;      // CLONE_NEW* of that process to join
};

// Waits for the end of a process until `timeout_s` (0: for ever) has passed; then it is killed,
// with what it started in its session, and the answer is Unavailable. Gives a wait status.
Result<int> reap_within(pid_t pid, const Fd& pidfd, uint32_t timeout_s);

// Runs the hooks of `kind` in order; the first that fails, or is too late, is the error.
Result<> run_hooks(const PlanView& plan, HookKind kind, std::string_view state_json,
                   const HookPlace& place = {});

bool has_hooks(const PlanView& plan, HookKind kind);
std::string_view to_string(HookKind kind);

}  // namespace nacelle::container
