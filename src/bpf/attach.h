// A program on one side of a network interface, for as long as that lives: no process and no link
// object holds it there. A filter of a clsact queueing discipline takes 0.1 ms for both sides; tcx
// (Linux 6.6) waits for a grace period of RCU each time, 6 to 20 ms with the lock of all interfaces
// held, so it is for kernels that have no such filters.
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
Result<> ensure_attached_by_filter(uint32_t index, const Fd& program, sys::NetworkSide side,
                                   std::string_view name);
Result<> ensure_attached_by_tcx(uint32_t index, const Fd& program, sys::NetworkSide side,
                                std::string_view name);

}  // namespace nacelle::bpf
