// System calls without libc: they return the kernel's answer, or a negative errno, and touch
// neither errno nor any lock. This is all that may run between clone3 and execve, where the child
// shares its parent's memory (and so its errno, its allocator and its thread-local storage).
// Everything else uses the wrappers in file.h, process.h and mount.h, which return Result.
#pragma once

#include <sys/syscall.h>

#include <cstdint>

namespace nacelle::sys {

#if defined(__x86_64__)

inline long raw_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                     long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

#else
#error "src/sys/call.h and src/container/stub.S know x86-64 only so far"
#endif

template <class T>
long as_argument(T value) {
  if constexpr (__is_pointer(T)) {
    return reinterpret_cast<long>(value);
  } else if constexpr (__is_same(T, decltype(nullptr))) {
    return 0;
  } else {
    return static_cast<long>(value);
  }
}

// `call(SYS_close_range, 3, ~0u, 0)`: pointers and integers as they come.
template <class... Arguments>
long call(long number, Arguments... arguments) {
  static_assert(sizeof...(Arguments) <= 6);
  return raw_call(number, as_argument(arguments)...);
}

}  // namespace nacelle::sys
