#include <stdio.h>
#include <unistd.h>

int main(int argc, char** argv) {
  char where[256];
  printf("%s %d:%d in %s", argv[0], (int)getuid(), (int)getgid(), getcwd(where, sizeof where));
  for (int at = 1; at < argc; ++at) printf(" %s", argv[at]);
  return puts("") < 0;
}
