// What hostile code inside a container does. One attack per call:
//
//   look SECONDS         looks into every other process it sees, again and again, until the time is
//                        over: ptrace, memory, descriptors, executable. Prints what it got hold of
//   swap A B SECONDS     exchanges two names as fast as it can
//   overwrite PATH       opens for writing and writes one byte: overwrite=0 or overwrite=ERRNO
//   climb FD             from a descriptor upwards: climb=PATH of the root it reaches, or ERRNO
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// Each thing is told once.
enum { told_max = 4096 };
static char* told[told_max];
static int told_count;

static void tell(const char* what, const char* target) {
  char line[4352];
  snprintf(line, sizeof line, "%s %s", what, target);
  for (int i = 0; i < told_count; ++i)
    if (!strcmp(told[i], line)) return;
  if (told_count < told_max) told[told_count++] = strdup(line);
  printf("%s\n", line);
}

static int link_of(const char* path, char* target, size_t size) {
  ssize_t length = readlink(path, target, size - 1);
  target[length < 0 ? 0 : length] = 0;
  return length >= 0;
}

static void look_at(int pid, long* looks) {
  char path[64], entry_path[320], target[4096], exe[4096];
  ++*looks;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  if (link_of(path, exe, sizeof exe)) tell("exe", exe);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    snprintf(entry_path, sizeof entry_path, "/proc/self/fd/%d", fd);
    link_of(entry_path, target, sizeof target);
    close(fd);
    tell("opened-exe", target);
  }
  // Whose memory it is, is asked while it is held, so the answer cannot be outdated.
  if (!ptrace(PTRACE_SEIZE, pid, 0, 0)) {
    int status = 0;
    if (!ptrace(PTRACE_INTERRUPT, pid, 0, 0)) waitpid(pid, &status, __WALL);
    if (WIFSTOPPED(status)) tell("traced", link_of(path, target, sizeof target) ? target : "?");
    ptrace(PTRACE_DETACH, pid, 0, 0);
  }
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    close(fd);
    // By now it may have ended, but not become hidden again.
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    if (link_of(path, target, sizeof target) || errno == EACCES) tell("memory", target);
  }
  for (const char* kind = "cwd\0root\0"; *kind; kind += strlen(kind) + 1) {
    snprintf(path, sizeof path, "/proc/%d/%s", pid, kind);
    if (link_of(path, target, sizeof target)) tell(kind, target);
  }
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR* directory = opendir(path);
  if (!directory) return;
  struct dirent* entry;
  while ((entry = readdir(directory))) {
    if (entry->d_name[0] == '.') continue;
    snprintf(entry_path, sizeof entry_path, "%s/%s", path, entry->d_name);
    if (link_of(entry_path, target, sizeof target)) tell("fd", target);
  }
  closedir(directory);
}

static void look(double seconds) {
  double end = now() + seconds;
  long looks = 0;
  int self = getpid();
  while (now() < end) {
    DIR* directory = opendir("/proc");
    if (!directory) exit(97);
    struct dirent* entry;
    while ((entry = readdir(directory))) {
      int pid = atoi(entry->d_name);
      if (pid > 0 && pid != self) look_at(pid, &looks);
    }
    closedir(directory);
    while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) continue;
  }
  printf("looks=%ld\n", looks);
}

static void swap(const char* a, const char* b, double seconds) {
  double end = now() + seconds;
  long swaps = 0;
  while (now() < end)
    for (int i = 0; i < 1000; ++i) swaps += !syscall(SYS_renameat2, -100, a, -100, b, 2);
  printf("swaps=%ld\n", swaps);
}

static void overwrite(const char* path) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  int worked = fd >= 0 && write(fd, "#", 1) == 1;
  printf("overwrite=%s\n", worked ? "0" : strerrorname_np(errno));
}

static void climb(int from) {
  char path[4096];
  if (fchdir(from)) {
    printf("climb=%s\n", strerrorname_np(errno));
    return;
  }
  for (int i = 0; i < 64; ++i)
    if (chdir("..")) break;
  printf("climb=%s\n", access("canary", F_OK) ? getcwd(path, sizeof path) : "canary");
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  const char* word = argc > 1 ? argv[1] : "";
  if (!strcmp(word, "look") && argc == 3)
    look(atof(argv[2]));
  else if (!strcmp(word, "swap") && argc == 5)
    swap(argv[2], argv[3], atof(argv[4]));
  else if (!strcmp(word, "overwrite") && argc == 3)
    overwrite(argv[2]);
  else if (!strcmp(word, "climb") && argc == 3)
    climb(atoi(argv[2]));
  else
    return 98;
  return 0;
}
