// private-host COMMAND...: runs a command in a private host (private_host.h), for scripts and
// hands.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/support/private_host.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: private-host COMMAND [ARGUMENT...]\n");
    return 2;
  }
  return nacelle::test::in_private_host([&] {
    ::execvp(argv[1], argv + 1);
    std::perror(argv[1]);
    return 127;
  });
}
