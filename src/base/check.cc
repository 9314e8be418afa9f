#include "base/check.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace nacelle {

void check_failed(const char* file, int line, const char* what) {
  char text[512];
  const int length =
      std::snprintf(text, sizeof text, "%s:%d: CHECK failed: %s\n", file, line, what);
  if (length > 0) {
    const size_t wanted = static_cast<size_t>(length);
    // Nothing is left to do if even this write fails.
    (void)!::write(STDERR_FILENO, text, wanted < sizeof text ? wanted : sizeof text - 1);
  }
  std::abort();
}

}  // namespace nacelle
