// The kernel floor: what Docker's own config.json asks for, as straight-line system calls with
// every decision made in advance. It is what a runtime is measured against, so it is written to be
// fast and to leave nothing out: no parsing, no state on disk, no checks but those the kernel
// itself demands.
//
// usage: floor [--devices] [--no-loopback] ROOTFS CGROUP_DIRECTORY
//   runs `true` from ROOTFS in a cgroup it makes and removes; exits with its status.
// environment:
//   NACELLE_RUSAGE_FILE  file that gets this process's own "user_us system_us"
//   FLOOR_PHASES         any value: print where the time went, in microseconds
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "floor_filter.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

extern const char floor_stub[];
extern const char floor_stub_end[];

enum { phases_max = 32, stack_bytes = 64 * 1024, failure_status = 125 };

struct plan {
  const char* rootfs;
  const char* cgroup;
  int cgroup_fd;
  int stub_fd;
  bool devices;
  bool loopback;
};

static struct {
  const char* name;
  struct timespec at;
} phases[phases_max];
static int phase_count;
static bool phases_wanted;

// The child shares this memory until it executes the stub, so one list serves both.
static void mark(const char* name) {
  if (!phases_wanted || phase_count == phases_max) return;
  clock_gettime(CLOCK_MONOTONIC, &phases[phase_count].at);
  phases[phase_count++].name = name;
}

_Noreturn static void die(const char* what) {
  dprintf(2, "floor: %s: %s\n", what, strerror(errno));
  _exit(failure_status);
}

static int must(long result, const char* what) {
  if (result < 0) die(what);
  return (int)result;
}

static void write_file(const char* path, const char* text) {
  int fd = must(open(path, O_WRONLY | O_CLOEXEC), path);
  must(write(fd, text, strlen(text)), path);
  close(fd);
}

// --- mounts --------------------------------------------------------------------------------------

struct option {
  const char* key;
  const char* value;  // null: a flag
};

static void attach(int mount_fd, int directory, const char* path) {
  must(syscall(SYS_move_mount, mount_fd, "", directory, path, MOVE_MOUNT_F_EMPTY_PATH), path);
}

static int new_mount(const char* type, unsigned attributes, const struct option* options,
                     size_t option_count) {
  int fs = must(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type);
  must(syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", type, 0), "source");
  for (size_t i = 0; i < option_count; ++i) {
    unsigned command = options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
    must(syscall(SYS_fsconfig, fs, command, options[i].key, options[i].value, 0), options[i].key);
  }
  must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), type);
  int mount_fd = must(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes), type);
  close(fs);
  return mount_fd;
}

static void mount_at(int root, const char* path, const char* type, unsigned attributes,
                     const struct option* options, size_t option_count) {
  int mount_fd = new_mount(type, attributes, options, option_count);
  attach(mount_fd, root, path);
  close(mount_fd);
}

static int clone_tree(const char* path) {
  return must(
      syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
      path);
}

static int bind_root(const char* rootfs) {
  struct mount_attr attributes = {.propagation = MS_SLAVE};
  must(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes),
       "slave /");
  int root = clone_tree(rootfs);
  attach(root, AT_FDCWD, rootfs);
  return root;
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
enum {
  safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
};

static void fill_dev(int root) {
  static const struct {
    const char* path;
    unsigned major, minor;
  } nodes[] = {
      {"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
      {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
  };
  for (size_t i = 0; i < COUNT(nodes); ++i) {
    must(mknodat(root, nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)),
         nodes[i].path);
  }
  static const char* const links[][2] = {
      {"pts/ptmx", "dev/ptmx"},          {"/proc/self/fd", "dev/fd"},
      {"/proc/self/fd/0", "dev/stdin"},  {"/proc/self/fd/1", "dev/stdout"},
      {"/proc/self/fd/2", "dev/stderr"},
  };
  for (size_t i = 0; i < COUNT(links); ++i) {
    must(symlinkat(links[i][0], root, links[i][1]), links[i][1]);
  }
}

static void mount_everything(int root) {
  static const struct option dev[] = {{"mode", "755"}, {"size", "65536k"}};
  static const struct option pts[] = {
      {"newinstance", NULL}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}};
  static const struct option shm[] = {{"mode", "1777"}, {"size", "67108864"}};
  mount_at(root, "proc", "proc", safe, NULL, 0);
  mount_at(root, "dev", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME, dev, COUNT(dev));
  must(mkdirat(root, "dev/pts", 0755), "dev/pts");
  mount_at(root, "dev/pts", "devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, pts, COUNT(pts));
  mount_at(root, "sys", "sysfs", safe | MOUNT_ATTR_RDONLY, NULL, 0);
  mount_at(root, "sys/fs/cgroup", "cgroup2", safe | MOUNT_ATTR_RDONLY, NULL, 0);
  must(mkdirat(root, "dev/mqueue", 0755), "dev/mqueue");
  mount_at(root, "dev/mqueue", "mqueue", safe, NULL, 0);
  must(mkdirat(root, "dev/shm", 0755), "dev/shm");
  mount_at(root, "dev/shm", "tmpfs", safe, shm, COUNT(shm));
  mark("mounts");
  fill_dev(root);
  mark("device nodes");
}

// A path that is not there is not masked. It is looked at first: a mount that is made and then not
// attached costs an RCU grace period when its descriptor closes.
static void mask_paths(void) {
  static const char* const masked[] = {
      "/proc/asound",     "/proc/acpi",        "/proc/interrupts",
      "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
      "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
      "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap",
  };
  const char* empty = NULL;  // the first masked directory; the others are clones of its mount
  for (size_t i = 0; i < COUNT(masked); ++i) {
    struct stat status;
    if (stat(masked[i], &status) < 0) continue;
    int mask;
    if (!S_ISDIR(status.st_mode)) {
      mask = clone_tree("/dev/null");
    } else if (empty) {
      mask = clone_tree(empty);
    } else {
      mask = new_mount("tmpfs", safe | MOUNT_ATTR_RDONLY, NULL, 0);
      empty = masked[i];
    }
    attach(mask, AT_FDCWD, masked[i]);
    close(mask);
  }
}

static void protect_paths(void) {
  static const char* const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                         "/proc/sysrq-trigger"};
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  for (size_t i = 0; i < COUNT(readonly); ++i) {
    struct stat status;
    if (stat(readonly[i], &status) < 0) continue;
    int tree = clone_tree(readonly[i]);
    must(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                 sizeof attributes),
         readonly[i]);
    attach(tree, AT_FDCWD, readonly[i]);
    close(tree);
  }
}

// --- the child -----------------------------------------------------------------------------------

// Every runtime brings the loopback of a new network namespace up, and every caller relies on it.
static void raise_loopback(void) {
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
  must(ioctl(fd, SIOCSIFFLAGS, &request), "lo up");
  close(fd);
}

static void change_root(int root) {
  must(fchdir(root), "rootfs");
  must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  must(umount2(".", MNT_DETACH), "umount old root");
  must(chdir("/"), "/");
}

static const unsigned kept_capabilities =
    1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FSETID | 1U << CAP_FOWNER |
    1U << CAP_MKNOD | 1U << CAP_NET_RAW | 1U << CAP_SETGID | 1U << CAP_SETUID | 1U << CAP_SETFCAP |
    1U << CAP_SETPCAP | 1U << CAP_NET_BIND_SERVICE | 1U << CAP_SYS_CHROOT | 1U << CAP_KILL |
    1U << CAP_AUDIT_WRITE;

static void become_user(void) {
  for (unsigned capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if (capability < 32 && (kept_capabilities & (1U << capability))) continue;
    must(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "bounding set");
  }
  // Raw calls: glibc's own would signal the threads of a process that this child is not part of.
  const gid_t groups[] = {0};
  must(syscall(SYS_setgroups, 1, groups), "setgroups");
  must(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
  must(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
}

// Without no_new_privs loading a filter needs CAP_SYS_ADMIN, so it comes before capset.
static void load_filter(void) {
  const struct sock_fprog program = {.len = COUNT(floor_filter),
                                     .filter = (struct sock_filter*)(uintptr_t)floor_filter};
  must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

static void drop_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  const struct __user_cap_data_struct data[2] = {
      {.effective = kept_capabilities, .permitted = kept_capabilities}};
  must(syscall(SYS_capset, &header, data), "capset");
  must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient set");
}

static const char* find_in_path(void) {
  static const char* const places[] = {"/usr/local/sbin/true", "/usr/local/bin/true",
                                       "/usr/sbin/true",       "/usr/bin/true",
                                       "/sbin/true",           "/bin/true"};
  for (size_t i = 0; i < COUNT(places); ++i) {
    if (access(places[i], X_OK) == 0) return places[i];
  }
  die("true");
}

__attribute__((used)) static void child(const struct plan* plan) {
  static char* const environment[] = {
      (char*)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      (char*)"HOSTNAME=e2c34a5888a6", NULL};
  mark("clone");
  // Here and not in clone3: the namespace's root is the group the child was born in.
  must(unshare(CLONE_NEWCGROUP), "unshare cgroup");
  must(setsid(), "setsid");
  umask(0);
  int root = bind_root(plan->rootfs);
  mark("root");
  mount_everything(root);
  if (plan->loopback) raise_loopback();
  mark("loopback");
  change_root(root);
  mark("pivot");
  write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  must(sethostname("e2c34a5888a6", 12), "sethostname");
  write_file("/proc/self/oom_score_adj", "0");
  mark("sysctl, hostname, oom");
  mask_paths();
  mark("masked paths");
  protect_paths();
  mark("readonly paths");
  umask(022);
  const char* path = find_in_path();
  must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
  become_user();
  mark("user, bounding set");
  load_filter();
  mark("seccomp");
  drop_capabilities();
  mark("capset");
  char* const arguments[] = {(char*)(uintptr_t)path, (char*)"true", NULL};
  syscall(SYS_execveat, plan->stub_fd, "", arguments, environment, AT_EMPTY_PATH);
  die("stub");
}

// --- the parent ----------------------------------------------------------------------------------

static int make_stub(void) {
  int fd = must(memfd_create("stub", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC), "memfd");
  must(write(fd, floor_stub, (size_t)(floor_stub_end - floor_stub)), "stub");
  must(fcntl(fd, F_ADD_SEALS,
             F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_EXEC),
       "seal");
  return fd;
}

#define INSN(c, d, s, o, i) {.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)}

// Docker's device rules with the devices every container has: all may be made, and null, zero,
// full, random, urandom, tty, console, ptmx and the pseudo terminals may be used.
static void attach_device_rules(int cgroup_fd) {
  static const struct bpf_insn rules[] = {
      INSN(BPF_LDX | BPF_W | BPF_MEM, 2, 1, 0, 0),                     // r2 = access << 16 | type
      INSN(BPF_LDX | BPF_W | BPF_MEM, 3, 1, 4, 0),                     // r3 = major
      INSN(BPF_LDX | BPF_W | BPF_MEM, 4, 1, 8, 0),                     // r4 = minor
      INSN(BPF_ALU64 | BPF_MOV | BPF_X, 5, 2, 0, 0),                   //
      INSN(BPF_ALU64 | BPF_RSH | BPF_K, 5, 0, 0, 16),                  // r5 = access
      INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1),                   // r0 = allow
      INSN(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 11, BPF_DEVCG_ACC_MKNOD),  // mknod alone: allow
      INSN(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff),              // r2 = type
      INSN(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 8, BPF_DEVCG_DEV_CHAR),    // block: deny
      INSN(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 8, 136),                   // pts: allow
      INSN(BPF_JMP | BPF_JNE | BPF_K, 3, 0, 1, 5),                     //
      INSN(BPF_JMP | BPF_JLE | BPF_K, 4, 0, 6, 2),                     // tty console ptmx: allow
      INSN(BPF_JMP | BPF_JNE | BPF_K, 3, 0, 4, 1),                     // not memory: deny
      INSN(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 4, 3),                     // null: allow
      INSN(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 3, 5),                     // zero: allow
      INSN(BPF_JMP | BPF_JLT | BPF_K, 4, 0, 1, 7),                     // below full: deny
      INSN(BPF_JMP | BPF_JLE | BPF_K, 4, 0, 1, 9),                     // full (u)random: allow
      INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),                   // deny:
      INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),                            // allow:
  };
  union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                         .insn_cnt = COUNT(rules),
                         .insns = (uintptr_t)rules,
                         .license = (uintptr_t)"GPL",
                         .expected_attach_type = BPF_CGROUP_DEVICE};
  int program = must(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load), "load device rules");
  union bpf_attr attachment = {.target_fd = (unsigned)cgroup_fd,
                               .attach_bpf_fd = (unsigned)program,
                               .attach_type = BPF_CGROUP_DEVICE,
                               .attach_flags = BPF_F_ALLOW_MULTI};
  must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attachment, sizeof attachment), "attach device rules");
  close(program);
}

// The child borrows our memory and we sleep until it executes the stub: nothing is copied, and the
// plan and the list of phases are simply there. It has a stack of its own.
static pid_t start_child(const struct plan* plan) {
  static char stack[stack_bytes] __attribute__((aligned(16)));
  int pidfd = -1;
  struct clone_args arguments = {
      .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_NEWNS |
               CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC,
      .pidfd = (uintptr_t)&pidfd,
      .exit_signal = SIGCHLD,
      .stack = (uintptr_t)stack,
      .stack_size = sizeof stack,
      .cgroup = (unsigned)plan->cgroup_fd,
  };
  long pid = SYS_clone3;
  register const struct plan* plan_register __asm__("r8") = plan;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r8, %%rdi\n\t"
      "call child\n\t"
      "hlt\n"
      "1:"
      : "+a"(pid)
      : "D"(&arguments), "S"(sizeof arguments), "r"(plan_register)
      : "rcx", "r11", "memory");
  if (pid < 0) errno = (int)-pid;
  return must(pid, "clone3");
}

static int wait_for(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) die("wait");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The kernel may count the dead process in its group for a moment longer than its parent does.
static void remove_cgroup(const char* path) {
  for (int attempt = 0; rmdir(path) < 0; ++attempt) {
    if (errno != EBUSY || attempt == 1000) die(path);
    usleep(50);
  }
}

static void print_phases(void) {
  for (int i = 1; i < phase_count; ++i) {
    double microseconds = (double)(phases[i].at.tv_sec - phases[i - 1].at.tv_sec) * 1e6 +
                          (double)(phases[i].at.tv_nsec - phases[i - 1].at.tv_nsec) / 1e3;
    dprintf(1, "%-22s %8.1f\n", phases[i].name, microseconds);
  }
}

static void report_usage(const char* path) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  int fd = must(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), path);
  dprintf(fd, "%lld %lld\n",
          (long long)usage.ru_utime.tv_sec * 1000000 + (long long)usage.ru_utime.tv_usec,
          (long long)usage.ru_stime.tv_sec * 1000000 + (long long)usage.ru_stime.tv_usec);
  close(fd);
}

int main(int count, char** arguments) {
  phases_wanted = getenv("FLOOR_PHASES") != NULL;
  mark("begin");
  struct plan plan = {.loopback = true};
  int at = 1;
  for (; at < count && strncmp(arguments[at], "--", 2) == 0; ++at) {
    if (strcmp(arguments[at], "--devices") == 0) plan.devices = true;
    if (strcmp(arguments[at], "--no-loopback") == 0) plan.loopback = false;
  }
  if (count - at != 2) {
    dprintf(2, "usage: floor [--devices] [--no-loopback] ROOTFS CGROUP_DIRECTORY\n");
    return failure_status;
  }
  plan.rootfs = arguments[at];
  plan.cgroup = arguments[at + 1];
  must(mkdir(plan.cgroup, 0755), plan.cgroup);
  plan.cgroup_fd = must(open(plan.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), plan.cgroup);
  mark("mkdir cgroup");
  if (plan.devices) attach_device_rules(plan.cgroup_fd);
  mark("device rules");
  plan.stub_fd = make_stub();
  mark("stub memfd");
  pid_t pid = start_child(&plan);
  mark("exec of the stub");
  int status = wait_for(pid);
  mark("run to exit, reaped");
  remove_cgroup(plan.cgroup);
  mark("rmdir cgroup");
  if (phases_wanted) print_phases();
  const char* usage_file = getenv("NACELLE_RUSAGE_FILE");
  if (usage_file) report_usage(usage_file);
  return status;
}
