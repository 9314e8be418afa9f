// Spec -> LaunchPlan, as pure functions: no descriptor is opened and no system call is made here.
// What the kernel must be asked for is decided at launch; what can be decided ahead is decided
// here.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "container/launch_plan.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

// The compiled filter of linux.seccomp; empty instructions: none.
struct SeccompPart {
  std::span<const FilterInstruction> instructions;
  uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_*
  bool notifies = false;
  std::string_view listener_path;
  std::string_view listener_metadata;
};

struct PlanOptions {
  std::string_view bundle;   // absolute: what root.path is relative to
  std::string_view program;  // what is executed where it is not args[0] (hooks)
  bool no_pivot = false;
  bool new_keyring = true;
  std::vector<std::string> extra_env;  // LISTEN_FDS and the like
  SeccompPart seccomp;
};

// A plan for `create`.
Result<std::string> plan_container(const oci::Spec& spec, const PlanOptions& options);

// A plan for `exec`: only the process part, to run in what `container` set up. Seccomp, keyring and
// OOM score come from the container's plan; the rest from `process`.
Result<std::string> plan_exec(const oci::Process& process, const PlanView& container,
                              const PlanOptions& options);

// A plan to run a hook inside the container as the container's process would run, but for args and
// env.
Result<std::string> plan_hook_inside(const HookStep& hook, const PlanView& container);

// The process of the container's plan as a spec again: the base that `exec` options change.
oci::Process process_of(const PlanView& container);

// Lexically: no "//", "." or ".." left, absolute.
std::string clean_path(std::string_view path);

}  // namespace nacelle::container
