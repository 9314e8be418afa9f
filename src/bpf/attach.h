// A program on one side of a network interface, for as long as that lives: no process and no link
// object holds it there. By tcx where the kernel has it (Linux 6.6), else by a clsact queueing
// discipline with one filter.
#pragma once

#include <cstdint>
#include <string_view>

#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "sys/bpf.h"

namespace nacelle::bpf {

// `name`: of the program. One of that name that is there already is replaced in one step.
Result<> ensure_attached(uint32_t index, const Fd& program, sys::NetworkSide side,
                         std::string_view name);
// As before Linux 6.6.
Result<> ensure_attached_by_filter(uint32_t index, const Fd& program, sys::NetworkSide side,
                                   std::string_view name);

}  // namespace nacelle::bpf
