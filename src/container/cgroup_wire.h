// A CgroupPlan as bytes, for whoever compiles one in another process than writes it. Decoding
// trusts nothing: each file is a plain control file of a controller, each value one line, and no
// list is longer than its bound.
#pragma once

#include <string>
#include <string_view>

#include "container/cgroup_plan.h"
#include "nacelle/result.h"

namespace nacelle::container {

inline constexpr size_t cgroup_plan_writes_max = 1024;
inline constexpr size_t cgroup_plan_controllers_max = 32;
inline constexpr size_t cgroup_plan_value_bytes_max = 4095;  // what a control file takes at once
inline constexpr size_t device_program_instructions_max = 64u << 10;

std::string encode_cgroup_plan(const CgroupPlan& plan);
Result<CgroupPlan> decode_cgroup_plan(std::string_view bytes);

}  // namespace nacelle::container
