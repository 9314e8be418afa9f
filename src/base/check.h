// CHECK: a bug stops the program, in release too. Bad input is never a CHECK.
#pragma once

namespace nacelle {
[[noreturn]] void check_failed(const char* file, int line, const char* what);
}

#define CHECK(condition)                                       \
  do {                                                         \
    if (!(condition)) [[unlikely]]                             \
      ::nacelle::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

#ifdef NDEBUG
#define DCHECK(condition) \
  do {                    \
  } while (false)
#else
#define DCHECK(condition) CHECK(condition)
#endif
