// The program that tests run inside containers. Its arguments are words, done from left to right;
// each prints lines `key=value`, so that a test reads what the process itself sees. Static, no
// sanitizers, no reading of files it was not asked to read.
//
//   ids caps env mounts cwd fds rlimits umask tty hostname self   report
//   status FIELD        that line of /proc/self/status
//   cat PATH            the file's content, or cat=ERRNO
//   write PATH TEXT     write=0 or write=ERRNO
//   open PATH MODE      MODE of r, w, rw: open=0 or open=ERRNO
//   mknod PATH c|b MAJOR MINOR
//   mkdir PATH, mount TYPE PATH, chroot PATH, unshare KIND, kill PID SIGNAL
//   syscall NUMBER      with arguments of zero: its result, or -ERRNO
//   fork COUNT          children that wait; how many came to be, and why no more
//   eat BYTES           memory touched, page by page
//   spin MILLISECONDS   of processor time
//   direct PATH BYTES   writes past the page cache; how long it took
//   sleep MILLISECONDS, ignore SIGNAL, default SIGNAL, wait (for ever), raise SIGNAL, exit CODE
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static const char* error_name(int error) {
  const char* name = strerrorname_np(error);
  return name ? name : "?";
}

static void report(const char* word, int failed) {
  if (failed)
    printf("%s=%s\n", word, error_name(errno));
  else
    printf("%s=0\n", word);
}

static long long milliseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void copy_out(const char* word, const char* path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    report(word, 1);
    return;
  }
  char part[65536];
  ssize_t got;
  while ((got = read(fd, part, sizeof part)) > 0) fwrite(part, 1, (size_t)got, stdout);
  if (got < 0) report(word, 1);
  close(fd);
}

static void print_status(const char* field) {
  FILE* file = fopen("/proc/self/status", "re");
  if (!file) {
    report(field, 1);
    return;
  }
  char line[4096];
  size_t length = strlen(field);
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, field, length) || line[length] != ':') continue;
    char* value = line + length + 1;
    value += strspn(value, " \t");
    printf("%s=%s", field, value);
  }
  fclose(file);
}

static void print_ids(void) {
  uid_t real, effective, saved;
  gid_t real_group, effective_group, saved_group;
  getresuid(&real, &effective, &saved);
  getresgid(&real_group, &effective_group, &saved_group);
  printf("uid=%u,%u,%u\ngid=%u,%u,%u\n", real, effective, saved, real_group, effective_group,
         saved_group);
  gid_t groups[256];
  int count = getgroups(256, groups);
  printf("groups=");
  for (int i = 0; i < count; ++i) printf(i ? ",%u" : "%u", groups[i]);
  printf("\npid=%d\nppid=%d\npgid=%d\nsid=%d\n", getpid(), getppid(), getpgrp(), getsid(0));
}

static void print_caps(void) {
  const char* fields[] = {"CapInh", "CapPrm",     "CapEff", "CapBnd",
                          "CapAmb", "NoNewPrivs", "Seccomp"};
  for (size_t i = 0; i < sizeof fields / sizeof *fields; ++i) print_status(fields[i]);
}

static void print_fds(void) {
  DIR* directory = opendir("/proc/self/fd");
  if (!directory) {
    report("fds", 1);
    return;
  }
  struct dirent* entry;
  while ((entry = readdir(directory))) {
    int fd = atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == dirfd(directory)) continue;
    char link[64], target[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    printf("fd%d=%s\n", fd, target);
  }
  closedir(directory);
}

static void print_rlimits(void) {
  for (int which = 0; which < RLIM_NLIMITS; ++which) {
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)which, &limit)) continue;
    printf("rlimit%d=%lld,%lld\n", which, (long long)limit.rlim_cur, (long long)limit.rlim_max);
  }
}

static void fork_many(long wanted) {
  long made = 0;
  int error = 0;
  pid_t* children = calloc((size_t)wanted, sizeof *children);
  while (made < wanted) {
    pid_t child = fork();
    if (child < 0) {
      error = errno;
      break;
    }
    if (child == 0) {
      pause();
      _exit(0);
    }
    children[made++] = child;
  }
  printf("forked=%ld\nfork=%s\n", made, error ? error_name(error) : "0");
  for (long i = 0; i < made; ++i) {
    kill(children[i], SIGKILL);
    waitpid(children[i], NULL, 0);
  }
  free(children);
}

static void eat(size_t bytes) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    report("eat", 1);
    return;
  }
  // Different bytes on every page, so that nothing can merge them.
  for (size_t at = 0; at < bytes; at += 4096) *(size_t*)(memory + at) = at ^ 0x5bd1e995;
  printf("eaten=%zu\n", bytes);
}

static void spin(long long wanted) {
  long long begun = milliseconds(CLOCK_MONOTONIC);
  long long until = milliseconds(CLOCK_PROCESS_CPUTIME_ID) + wanted;
  volatile unsigned work = 0;
  while (milliseconds(CLOCK_PROCESS_CPUTIME_ID) < until)
    for (int i = 0; i < 10000; ++i) work += (unsigned)i;
  printf("spin_wall_ms=%lld\n", milliseconds(CLOCK_MONOTONIC) - begun);
}

static void write_direct(const char* path, size_t bytes) {
  int fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) {
    report("direct", 1);
    return;
  }
  enum { block = 65536 };
  void* data;
  if (posix_memalign(&data, 4096, block)) exit(99);
  memset(data, 7, block);
  long long begun = milliseconds(CLOCK_MONOTONIC);
  for (size_t at = 0; at < bytes; at += block) {
    if (pwrite(fd, data, block, (off_t)at) != block) {
      report("direct", 1);
      break;
    }
  }
  printf("direct_ms=%lld\n", milliseconds(CLOCK_MONOTONIC) - begun);
  free(data);
  close(fd);
}

static int open_mode(const char* mode) {
  if (!strcmp(mode, "rw")) return O_RDWR;
  return mode[0] == 'w' ? O_WRONLY : O_RDONLY;
}

static int namespace_flag(const char* kind) {
  static const struct {
    const char* name;
    int flag;
  } kinds[] = {{"user", CLONE_NEWUSER},    {"mount", CLONE_NEWNS}, {"net", CLONE_NEWNET},
               {"pid", CLONE_NEWPID},      {"ipc", CLONE_NEWIPC},  {"uts", CLONE_NEWUTS},
               {"cgroup", CLONE_NEWCGROUP}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i)
    if (!strcmp(kind, kinds[i].name)) return kinds[i].flag;
  fprintf(stderr, "guest: no namespace kind '%s'\n", kind);
  exit(98);
}

// The next argument of a word; a test that forgets one must not pass by accident.
static char** cursor;
static const char* next(void) {
  if (!*cursor) {
    fprintf(stderr, "guest: a word lacks an argument\n");
    exit(98);
  }
  return *cursor++;
}

static void put_text(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  size_t length = strlen(text);
  report("write", fd < 0 || write(fd, text, length) != (ssize_t)length);
  if (fd >= 0) close(fd);
}

static int report_word(const char* word) {
  char text[4096];
  if (!strcmp(word, "ids")) {
    print_ids();
  } else if (!strcmp(word, "caps")) {
    print_caps();
  } else if (!strcmp(word, "env")) {
    for (char** setting = environ; *setting; ++setting) printf("env %s\n", *setting);
  } else if (!strcmp(word, "mounts")) {
    copy_out("mounts", "/proc/self/mountinfo");
  } else if (!strcmp(word, "cwd")) {
    printf("cwd=%s\n", getcwd(text, sizeof text) ? text : error_name(errno));
  } else if (!strcmp(word, "fds")) {
    print_fds();
  } else if (!strcmp(word, "rlimits")) {
    print_rlimits();
  } else if (!strcmp(word, "umask")) {
    printf("umask=%04o\n", umask(0));
  } else if (!strcmp(word, "tty")) {
    printf("tty=%s\n", isatty(0) && ttyname(0) ? ttyname(0) : "none");
  } else if (!strcmp(word, "hostname")) {
    printf("hostname=%s\n", gethostname(text, sizeof text) ? "?" : text);
  } else if (!strcmp(word, "self")) {
    ssize_t length = readlink("/proc/self/exe", text, sizeof text - 1);
    text[length < 0 ? 0 : length] = 0;
    printf("self=%s\n", text);
  } else {
    return 0;
  }
  return 1;
}

static int file_word(const char* word) {
  if (!strcmp(word, "status")) {
    print_status(next());
  } else if (!strcmp(word, "cat")) {
    copy_out("cat", next());
  } else if (!strcmp(word, "write")) {
    const char* path = next();
    put_text(path, next());
  } else if (!strcmp(word, "open")) {
    const char* path = next();
    int fd = open(path, open_mode(next()) | O_CLOEXEC);
    report("open", fd < 0);
    if (fd >= 0) close(fd);
  } else if (!strcmp(word, "mknod")) {
    const char* path = next();
    mode_t kind = next()[0] == 'b' ? S_IFBLK : S_IFCHR;
    unsigned major_number = (unsigned)atoi(next());
    report("mknod", mknod(path, kind | 0666, makedev(major_number, (unsigned)atoi(next()))));
  } else if (!strcmp(word, "mkdir")) {
    report("mkdir", mkdir(next(), 0755));
  } else if (!strcmp(word, "mount")) {
    const char* type = next();
    report("mount", mount(type, next(), type, 0, NULL));
  } else if (!strcmp(word, "chroot")) {
    report("chroot", chroot(next()));
  } else if (!strcmp(word, "direct")) {
    const char* path = next();
    write_direct(path, strtoull(next(), NULL, 0));
  } else {
    return 0;
  }
  return 1;
}

static int process_word(const char* word) {
  if (!strcmp(word, "unshare")) {
    report("unshare", unshare(namespace_flag(next())));
  } else if (!strcmp(word, "kill")) {
    pid_t pid = atoi(next());
    report("kill", kill(pid, atoi(next())));
  } else if (!strcmp(word, "syscall")) {
    long number = atol(next());
    long result = syscall(number, 0, 0, 0, 0, 0, 0);
    printf("syscall%ld=%s\n", number, result < 0 ? error_name(errno) : "0");
  } else if (!strcmp(word, "fork")) {
    fork_many(atol(next()));
  } else if (!strcmp(word, "eat")) {
    eat(strtoull(next(), NULL, 0));
  } else if (!strcmp(word, "spin")) {
    spin(atoll(next()));
  } else if (!strcmp(word, "sleep")) {
    usleep((useconds_t)atol(next()) * 1000);
  } else if (!strcmp(word, "ignore")) {
    signal(atoi(next()), SIG_IGN);
  } else if (!strcmp(word, "default")) {
    signal(atoi(next()), SIG_DFL);
  } else if (!strcmp(word, "wait")) {
    for (;;) pause();
  } else if (!strcmp(word, "raise")) {
    raise(atoi(next()));
  } else if (!strcmp(word, "exit")) {
    exit(atoi(next()));
  } else {
    return 0;
  }
  return 1;
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  cursor = argv + (argc > 0);
  while (*cursor) {
    const char* word = *cursor++;
    if (report_word(word) || file_word(word) || process_word(word)) continue;
    fprintf(stderr, "guest: no word '%s'\n", word);
    return 98;
  }
  return 0;
}
