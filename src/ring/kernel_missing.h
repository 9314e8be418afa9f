// What liburing 2.3 and the 6.1 headers of Debian 12 do not know. Nothing else in the ring spells a
// number of the kernel's interface out.
// REMOVE when Debian 13 is the floor: its liburing 2.9 has all of these.
#pragma once

#include <liburing.h>
#include <sys/wait.h>

#include <cstdint>

namespace nacelle::ring::kernel {

// IORING_OP_WAITID, Linux 6.7: waitid(2) as a request. (2.3's own list ends before it.)
inline constexpr unsigned op_waitid = 50;
static_assert(op_waitid >= IORING_OP_LAST, "liburing knows it now: use its name");

inline void prep_waitid(io_uring_sqe* sqe, idtype_t idtype, id_t id, siginfo_t* info, int options) {
  io_uring_prep_rw(static_cast<int>(op_waitid), sqe, static_cast<int>(id), nullptr,
                   static_cast<unsigned>(idtype), 0);
  sqe->file_index = static_cast<unsigned>(options);
  sqe->addr2 = reinterpret_cast<uintptr_t>(info);
}

}  // namespace nacelle::ring::kernel
