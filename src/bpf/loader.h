// Puts what bpf/ was compiled to into the kernel, and pins it: the whole life of a process of its
// own, so that neither libbpf nor the verifier's time is a burden of who stays. What an earlier one
// has pinned goes on: its maps are used (rows are taken over into maps of another shape), and its
// programs are replaced on every link, each in one step.
#pragma once

#include <string>

#include "nacelle/result.h"

namespace nacelle::bpf {

inline constexpr const char* loader_argument = "--bpf-loader";

// `directory`: of the pins.
Result<> load_programs(const std::string& directory);
// The programs that count what is in containers' groups: onto `cgroup`, the engine's root, for as
// long as that lives.
Result<> load_group_programs(const std::string& directory, const std::string& cgroup);
// The latter where there is a `cgroup`, else the former; says on standard error what it failed of.
// Returns an exit code.
int loader_main(const char* directory, const char* cgroup);

}  // namespace nacelle::bpf
