#include "image/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string>

#include "base/text.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/mount_api.h"
#include "sys/resolve.h"
#include "sys/system_call_filter.h"

namespace nacelle::image {
namespace {

constexpr uid_t nobody = 65534;
constexpr size_t host_file_bytes_max = 256u << 10;  // of /etc/resolv.conf and /etc/hosts

constexpr uint64_t bit(unsigned capability) { return uint64_t{1} << capability; }

uint64_t capabilities_of(WorkerKind kind) {
  switch (kind) {
    case WorkerKind::Unpack:
    case WorkerKind::Files:
      return bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FOWNER) | bit(CAP_FSETID) |
             bit(CAP_MKNOD) | bit(CAP_SETFCAP);
    case WorkerKind::Pack:
      // The kernel shows trusted.* to CAP_SYS_ADMIN alone. The filter lets through no system call
      // in which that means anything else.
      return bit(CAP_DAC_READ_SEARCH) | bit(CAP_SYS_ADMIN);
    case WorkerKind::Bytes:
    case WorkerKind::Registry: return 0;
  }
  return 0;
}

// Steps of the set-up. ------------------------------------------------------------------------

Result<> raise_oom_score() {
  // The kernel's out-of-memory killer takes a worker before it takes who asked it.
  const auto raised = sys::write_file_at(sys::working_directory, "/proc/self/oom_score_adj", "800");
  // Where even raising is not allowed the host has its own opinion.
  if (!raised && raised.error().error_number() != EACCES && raised.error().error_number() != EPERM)
    return raised;
  return {};
}

Result<> limit(const char* name, __rlimit_resource resource, uint64_t value, uint64_t grace = 0) {
  uint64_t hard = value + grace;
  rlimit now{};
  if (::getrlimit(resource, &now) == 0 && now.rlim_max < hard) hard = now.rlim_max;
  const rlimit wanted{.rlim_cur = std::min(value, hard), .rlim_max = hard};
  if (::setrlimit(resource, &wanted) < 0) return fail_errno(errno, cat("setrlimit ", name));
  return {};
}

// Address space that is there before the first request: code, stack, what libraries set up.
Result<uint64_t> address_space_bytes() {
  const std::string statm =
      TRY(sys::read_file_at(sys::working_directory, "/proc/self/statm", 4096));
  std::string_view rest = statm;
  const auto pages = parse_number<uint64_t>(take_until(rest, ' '));
  if (!pages) return fail(Kind::Internal, "/proc/self/statm: no number");
  return *pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

// The first process of a pid namespace gets only signals that it handles. At the hard limit,
// whatever it handles, comes SIGKILL.
Result<> limit_time(uint64_t seconds) {
  struct sigaction action{};
  action.sa_handler = [](int) { ::_exit(exit_out_of_time); };
  if (::sigaction(SIGXCPU, &action, nullptr) < 0) return fail_errno(errno, "sigaction SIGXCPU");
  sigset_t of_time;
  sigemptyset(&of_time);
  sigaddset(&of_time, SIGXCPU);
  if (::sigprocmask(SIG_UNBLOCK, &of_time, nullptr) < 0) return fail_errno(errno, "sigprocmask");
  return limit("CPU", RLIMIT_CPU, seconds, cpu_seconds_grace);
}

Result<> set_limits(const SandboxOptions& options) {
  TRY(limit("CORE", RLIMIT_CORE, 0));
  TRY(limit("NOFILE", RLIMIT_NOFILE, open_files_max));
  TRY(limit_time(options.cpu_seconds_max));
  if (is_sanitized || options.memory_bytes_max == 0) return {};
  return limit("AS", RLIMIT_AS, TRY(address_space_bytes()) + options.memory_bytes_max);
}

// What stands at 0 to 2 is the host's device, whose mode and attributes anyone who holds it and
// may could change. An empty file that nobody else has takes its place.
Result<> replace_standard_descriptors() {
  const Fd empty = TRY(sys::make_sealed_memory_file("nacelle-worker-empty", "", false));
  for (int number = 0; number < 3; ++number) {
    if (::dup2(empty.get(), number) < 0) return fail_errno(errno, "dup2");
  }
  return {};
}

constexpr uint64_t quiet_attributes =
    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;

Result<> set_tree_attributes(const Fd& mount, bool read_only, bool whole_tree) {
  // Devices can still be made under nodev, only not opened. The ways of keeping access times are
  // one field, not bits: it is cleared to be set.
  mount_attr attributes{};
  attributes.attr_set = quiet_attributes | (read_only ? MOUNT_ATTR_RDONLY : 0);
  attributes.attr_clr = MOUNT_ATTR__ATIME;
  attributes.propagation = MS_PRIVATE;
  const unsigned flags = AT_EMPTY_PATH | (whole_tree ? AT_RECURSIVE : 0);
  const long set = sys::call(SYS_mount_setattr, mount.get(), static_cast<const char*>(""), flags,
                             &attributes, sizeof attributes);
  if (set < 0) return fail_errno(static_cast<int>(-set), "mount_setattr");
  return {};
}

// The directory as a mount of its own, not attached anywhere yet. Before the mount namespace is
// left, since only its own mounts can be cloned.
Result<Fd> clone_root(const Fd& root, bool read_only, bool whole_tree = false) {
  const unsigned flags = whole_tree ? AT_RECURSIVE : 0;
  Fd mount = TRY(sys::clone_mount(root, flags).context("the root"));
  TRY(set_tree_attributes(mount, read_only, whole_tree));
  return mount;
}

// What a process has for a root, from inside its mount namespace, where it cannot see us: we are in
// no pid namespace of its own.
Result<Fd> clone_root_of_process(const Fd& process, bool read_only, bool whole_tree) {
  if (::setns(process.get(), CLONE_NEWNS) < 0) return fail_errno(errno, "setns");
  const Fd root = TRY(sys::open_at(sys::working_directory, "/", O_PATH | O_DIRECTORY));
  return clone_root(root, read_only, whole_tree);
}

Result<std::vector<Fd>> clone_mounts(const SandboxOptions& options, bool read_only) {
  std::vector<Fd> mounts;
  for (const RootMount& each : options.mounts) {
    auto source = sys::open_at(sys::working_directory, each.source.c_str(), O_PATH);
    // What has never been there is not missed.
    if (!source && source.error().kind() == Kind::NotFound) {
      mounts.emplace_back();
      continue;
    }
    const Fd opened = TRY(std::move(source));
    mounts.push_back(TRY(clone_root(opened, read_only || each.read_only, true)));
  }
  return mounts;
}

// Onto places in what is the root now, which someone may have filled with links.
Result<> attach_mounts(const SandboxOptions& options, const std::vector<Fd>& mounts) {
  const Fd root = TRY(sys::open_at(sys::working_directory, "/", O_PATH | O_DIRECTORY));
  const sys::InRoot in_root(root.get());
  for (size_t i = 0; i < mounts.size(); ++i) {
    if (!mounts[i]) continue;
    const char* destination = options.mounts[i].destination.c_str();
    const struct stat status = TRY(sys::stat_fd(mounts[i]));
    long place = in_root.open(destination, O_PATH);
    if (place == -ENOENT) {
      place = S_ISDIR(status.st_mode) ? in_root.ensure_directory(destination, 0755)
                                      : in_root.ensure_file(destination, 0644);
    }
    // On a read-only root what is missing stays missing: there is nothing to be seen then.
    if (place == -EROFS) continue;
    if (place < 0) return fail_errno(static_cast<int>(-place), cat("opening ", destination));
    const Fd target(static_cast<int>(place));
    TRY(sys::attach_mount(mounts[i], target).context(destination));
  }
  return {};
}

// The kernel's own file systems are no files of a container's, and writing there changes the host.
Result<> detach_kernel_mounts() {
  constexpr int no_follow = 8;  // UMOUNT_NOFOLLOW, which <linux/mount.h> lacks
  for (const char* path : {"/proc", "/sys", "/dev"}) {
    const long gone = sys::call(SYS_umount2, path, MNT_DETACH | no_follow);
    // Not mounted, or not there.
    if (gone < 0 && gone != -EINVAL && gone != -ENOENT && gone != -ENOTDIR)
      return fail_errno(static_cast<int>(-gone), cat("umount ", path));
  }
  return {};
}

Result<Fd> make_empty_root() {
  sys::NewFileSystem filesystem = TRY(sys::NewFileSystem::open("tmpfs"));
  TRY(filesystem.set("size", "1m"));
  TRY(filesystem.set("nr_inodes", "32"));
  TRY(filesystem.set("mode", "0755"));
  return filesystem.mount(quiet_attributes);
}

// What finding the address of a registry takes: the host's answers, copied, and no NSS module that
// would have to be loaded.
Result<> fill_for_names(const Fd& root) {
  TRY(sys::make_directory_at(root.get(), "etc", 0755));
  const auto put = [&root](const char* path, std::string_view text) {
    return sys::replace_file_at(root.get(), path, text, 0644);
  };
  for (const char* path : {"/etc/resolv.conf", "/etc/hosts"}) {
    const auto text = sys::read_file_at(sys::working_directory, path, host_file_bytes_max);
    if (!text && text.error().kind() == Kind::NotFound) continue;
    TRY(put(path + 1, TRY(Result<std::string>(text))));
  }
  return put("etc/nsswitch.conf", "hosts: files dns\n");
}

Result<> pivot_into(const Fd& mount) {
  const auto step = [](const char* name, long result) -> Result<> {
    if (result < 0) return fail_errno(static_cast<int>(-result), name);
    return {};
  };
  mount_attr apart{};
  apart.propagation = MS_PRIVATE;
  TRY(step("making mounts private",
           sys::call(SYS_mount_setattr, AT_FDCWD, static_cast<const char*>("/"), AT_RECURSIVE,
                     &apart, sizeof apart)));
  TRY(step("move_mount",
           sys::call(SYS_move_mount, mount.get(), static_cast<const char*>(""), AT_FDCWD,
                     static_cast<const char*>("/"), MOVE_MOUNT_F_EMPTY_PATH)));
  TRY(step("fchdir", sys::call(SYS_fchdir, mount.get())));
  // The old root ends up on top of the new one, from where it is taken off with all below it.
  TRY(step("pivot_root", sys::call(SYS_pivot_root, static_cast<const char*>("."),
                                   static_cast<const char*>("."))));
  TRY(step("umount of the old root",
           sys::call(SYS_umount2, static_cast<const char*>("."), MNT_DETACH)));
  return step("chdir", sys::call(SYS_chdir, static_cast<const char*>("/")));
}

Result<> drop_privileges(WorkerKind kind, bool owns_root) {
  if (::setgroups(0, nullptr) < 0) return fail_errno(errno, "setgroups");
  const uint64_t wanted = capabilities_of(kind);
  for (unsigned each = 0; ::prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; ++each) {
    if ((wanted & bit(each)) == 0 && ::prctl(PR_CAPBSET_DROP, each, 0, 0, 0) < 0)
      return fail_errno(errno, cat("dropping capability ", each, " from the bounding set"));
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
    return fail_errno(errno, "clearing ambient capabilities");
  // User 0 is where it owns files that it must write: nobody else could.
  if (!owns_root) {
    if (::setresgid(nobody, nobody, nobody) < 0) return fail_errno(errno, "setresgid");
    if (::setresuid(nobody, nobody, nobody) < 0) return fail_errno(errno, "setresuid");
    // Forgotten with every change of user.
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return fail_errno(errno, "PDEATHSIG");
  } else if (::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) < 0) {
    return fail_errno(errno, "securebits");
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  for (unsigned half = 0; half < 2; ++half) {
    data[half].effective = data[half].permitted = static_cast<uint32_t>(wanted >> (32 * half));
  }
  const long set = sys::call(SYS_capset, &header, data);
  if (set < 0) return fail_errno(static_cast<int>(-set), "capset");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno(errno, "PR_SET_DUMPABLE");
  return {};
}

// The filter. ---------------------------------------------------------------------------------

using sys::call_argument;
using Calls = std::initializer_list<int>;

// Memory, threads, time, and bytes through descriptors that are there.
constexpr Calls calls_of_all = {SCMP_SYS(read),
                                SCMP_SYS(write),
                                SCMP_SYS(readv),
                                SCMP_SYS(writev),
                                SCMP_SYS(pread64),
                                SCMP_SYS(pwrite64),
                                SCMP_SYS(close),
                                SCMP_SYS(lseek),
                                SCMP_SYS(fstat),
                                SCMP_SYS(newfstatat),
                                SCMP_SYS(statx),
                                SCMP_SYS(munmap),
                                SCMP_SYS(mremap),
                                SCMP_SYS(madvise),
                                SCMP_SYS(brk),
                                SCMP_SYS(futex),
                                SCMP_SYS(set_robust_list),
                                SCMP_SYS(rseq),
                                SCMP_SYS(rt_sigprocmask),
                                SCMP_SYS(rt_sigaction),
                                SCMP_SYS(rt_sigreturn),
                                SCMP_SYS(sigaltstack),
                                SCMP_SYS(exit),
                                SCMP_SYS(exit_group),
                                SCMP_SYS(restart_syscall),
                                SCMP_SYS(clock_gettime),
                                SCMP_SYS(clock_getres),
                                SCMP_SYS(clock_nanosleep),
                                SCMP_SYS(nanosleep),
                                SCMP_SYS(gettimeofday),
                                SCMP_SYS(time),
                                SCMP_SYS(getpid),
                                SCMP_SYS(gettid),
                                SCMP_SYS(getuid),
                                SCMP_SYS(geteuid),
                                SCMP_SYS(getgid),
                                SCMP_SYS(getegid),
                                SCMP_SYS(sendmsg),
                                SCMP_SYS(recvmsg),
                                SCMP_SYS(dup),
                                SCMP_SYS(poll),
                                SCMP_SYS(ppoll),
                                SCMP_SYS(getrandom),
                                SCMP_SYS(sched_yield),
                                SCMP_SYS(sched_getaffinity),
                                SCMP_SYS(getcpu),
                                SCMP_SYS(getrlimit),
                                SCMP_SYS(getrusage),
                                SCMP_SYS(sysinfo),
                                SCMP_SYS(uname),
                                SCMP_SYS(ftruncate),
                                SCMP_SYS(fallocate),
                                SCMP_SYS(fadvise64),
                                SCMP_SYS(fsync),
                                SCMP_SYS(fdatasync),
                                SCMP_SYS(sync_file_range),
                                SCMP_SYS(splice),
                                SCMP_SYS(tee),
                                SCMP_SYS(copy_file_range),
                                SCMP_SYS(sendfile),
                                SCMP_SYS(fstatfs),
                                SCMP_SYS(tgkill),
                                SCMP_SYS(umask),
                                SCMP_SYS(pipe2),
                                SCMP_SYS(membarrier),
                                SCMP_SYS(getdents64),
                                SCMP_SYS(openat),
                                SCMP_SYS(openat2),
                                SCMP_SYS(open),
                                SCMP_SYS(readlinkat),
                                SCMP_SYS(readlink),
                                SCMP_SYS(faccessat),
                                SCMP_SYS(faccessat2),
                                SCMP_SYS(access),
                                SCMP_SYS(stat),
                                SCMP_SYS(lstat)};

// A tree of files that is written.
constexpr Calls calls_of_unpack = {
    SCMP_SYS(mkdirat),   SCMP_SYS(mknodat),   SCMP_SYS(linkat),     SCMP_SYS(symlinkat),
    SCMP_SYS(unlinkat),  SCMP_SYS(renameat),  SCMP_SYS(renameat2),  SCMP_SYS(fchown),
    SCMP_SYS(fchownat),  SCMP_SYS(fchmod),    SCMP_SYS(fchmodat),   SCMP_SYS(utimensat),
    SCMP_SYS(fsetxattr), SCMP_SYS(fgetxattr), SCMP_SYS(flistxattr), SCMP_SYS(fremovexattr),
    SCMP_SYS(syncfs)};

// ...that is read.
constexpr Calls calls_of_pack = {SCMP_SYS(fgetxattr), SCMP_SYS(flistxattr), SCMP_SYS(getxattr),
                                 SCMP_SYS(lgetxattr), SCMP_SYS(listxattr),  SCMP_SYS(llistxattr),
                                 SCMP_SYS(fchdir),    SCMP_SYS(chdir)};

// Plain files in one directory.
constexpr Calls calls_of_bytes = {SCMP_SYS(mkdirat),  SCMP_SYS(unlinkat),  SCMP_SYS(unlink),
                                  SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(rename),
                                  SCMP_SYS(linkat),   SCMP_SYS(syncfs)};

constexpr Calls calls_of_registry = {
    SCMP_SYS(connect),     SCMP_SYS(bind),          SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),  SCMP_SYS(setsockopt),    SCMP_SYS(sendto),      SCMP_SYS(recvfrom),
    SCMP_SYS(sendmmsg),    SCMP_SYS(recvmmsg),      SCMP_SYS(shutdown),    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe),        SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),   SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait), SCMP_SYS(select),        SCMP_SYS(pselect6)};

// What our code and the libraries do with a descriptor. Not here: leases, owners, locks, hints.
constexpr int fcntl_commands[] = {F_GETFD,         F_SETFD,      F_GETFL,     F_SETFL,
                                  F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS};

// No job has a use for these; who calls one is not a job any more, and ends there. Anything else
// that is not listed fails with EPERM, as libraries expect where they try something out.
constexpr Calls deadly_calls = {SCMP_SYS(execve),
                                SCMP_SYS(execveat),
                                SCMP_SYS(fork),
                                SCMP_SYS(vfork),
                                SCMP_SYS(ptrace),
                                SCMP_SYS(process_vm_readv),
                                SCMP_SYS(process_vm_writev),
                                SCMP_SYS(kill),
                                SCMP_SYS(tkill),
                                SCMP_SYS(rt_sigqueueinfo),
                                SCMP_SYS(pidfd_send_signal),
                                SCMP_SYS(pidfd_getfd),
                                SCMP_SYS(mount),
                                SCMP_SYS(umount2),
                                SCMP_SYS(pivot_root),
                                SCMP_SYS(chroot),
                                SCMP_SYS(open_tree),
                                SCMP_SYS(move_mount),
                                SCMP_SYS(fsopen),
                                SCMP_SYS(fsconfig),
                                SCMP_SYS(fsmount),
                                SCMP_SYS(fspick),
                                SCMP_SYS(mount_setattr),
                                SCMP_SYS(unshare),
                                SCMP_SYS(setns),
                                SCMP_SYS(bpf),
                                SCMP_SYS(perf_event_open),
                                SCMP_SYS(userfaultfd),
                                SCMP_SYS(io_uring_setup),
                                SCMP_SYS(io_uring_enter),
                                SCMP_SYS(io_uring_register),
                                SCMP_SYS(keyctl),
                                SCMP_SYS(add_key),
                                SCMP_SYS(request_key),
                                SCMP_SYS(open_by_handle_at),
                                SCMP_SYS(init_module),
                                SCMP_SYS(finit_module),
                                SCMP_SYS(delete_module),
                                SCMP_SYS(kexec_load),
                                SCMP_SYS(reboot),
                                SCMP_SYS(swapon),
                                SCMP_SYS(swapoff),
                                SCMP_SYS(setuid),
                                SCMP_SYS(setgid),
                                SCMP_SYS(setresuid),
                                SCMP_SYS(setresgid),
                                SCMP_SYS(setreuid),
                                SCMP_SYS(setregid),
                                SCMP_SYS(setgroups),
                                SCMP_SYS(capset),
                                SCMP_SYS(quotactl),
                                SCMP_SYS(acct),
                                SCMP_SYS(settimeofday),
                                SCMP_SYS(clock_settime),
                                SCMP_SYS(sethostname),
                                SCMP_SYS(iopl),
                                SCMP_SYS(ioperm),
                                SCMP_SYS(syslog),
                                SCMP_SYS(personality),
                                SCMP_SYS(modify_ldt),
                                SCMP_SYS(seccomp),
                                SCMP_SYS(vhangup)};

// The kernel looks at the lower half only.
constexpr scmp_arg_cmp int_argument(unsigned index, uint32_t value) {
  return call_argument(index, SCMP_CMP_MASKED_EQ, 0xffffffffu, value);
}

constexpr uint64_t clone_new = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                               CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr unsigned memfd_flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL;
constexpr uint64_t socket_type_mask = 0xffffffffu & ~unsigned{SOCK_CLOEXEC | SOCK_NONBLOCK};

Result<> load_filter(WorkerKind kind) {
  sys::SystemCallFilter filter;
  const auto allow = [&](Calls calls) {
    for (const int call : calls) filter.allow(call);
  };
  allow(calls_of_all);
  for (const int call : deadly_calls) filter.rule(SCMP_ACT_KILL_PROCESS, call, {});
  // Memory is data.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    filter.allow(call, {call_argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  // Threads, no processes. clone3 keeps its flags in memory, where no filter sees them: libc falls
  // back to clone.
  filter.allow(SCMP_SYS(clone),
               {call_argument(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD | clone_new, CLONE_THREAD)});
  filter.rule(SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone),
              {call_argument(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0)});
  filter.rule(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), {});
  for (const int command : fcntl_commands)
    filter.allow(SCMP_SYS(fcntl), {int_argument(1, static_cast<uint32_t>(command))});
  // Above all no huge pages, which are few and everybody's.
  filter.allow(SCMP_SYS(memfd_create),
               {call_argument(1, SCMP_CMP_MASKED_EQ, 0xffffffffu & ~memfd_flags, 0)});
  // Limits may be asked for, not changed.
  filter.allow(SCMP_SYS(prlimit64), {call_argument(2, SCMP_CMP_EQ, 0)});
  filter.allow(SCMP_SYS(prctl), {call_argument(0, SCMP_CMP_EQ, PR_SET_NAME)});
  switch (kind) {
    case WorkerKind::Unpack:
    case WorkerKind::Files: allow(calls_of_unpack); break;
    case WorkerKind::Pack: allow(calls_of_pack); break;
    case WorkerKind::Bytes: allow(calls_of_bytes); break;
    case WorkerKind::Registry:
      allow(calls_of_registry);
      for (const uint64_t family : {AF_INET, AF_INET6})
        filter.allow(SCMP_SYS(socket), {call_argument(0, SCMP_CMP_EQ, family)});
      // For waking its threads. A datagram socket could send to the host's abstract addresses.
      filter.allow(SCMP_SYS(socketpair),
                   {int_argument(0, AF_UNIX),
                    call_argument(1, SCMP_CMP_MASKED_EQ, socket_type_mask, SOCK_STREAM)});
      // getaddrinfo asks the kernel which families have an address.
      filter.allow(SCMP_SYS(socket),
                   {call_argument(0, SCMP_CMP_EQ, AF_NETLINK), call_argument(2, SCMP_CMP_EQ, 0)});
      break;
  }
  if (kind != WorkerKind::Registry) filter.rule(SCMP_ACT_KILL_PROCESS, SCMP_SYS(socket), {});
  return filter.load();
}

}  // namespace

std::string_view to_string(WorkerKind kind) {
  switch (kind) {
    case WorkerKind::Unpack: return "unpack";
    case WorkerKind::Pack: return "pack";
    case WorkerKind::Bytes: return "bytes";
    case WorkerKind::Registry: return "registry";
    case WorkerKind::Files: return "files";
  }
  return "?";
}

std::optional<WorkerKind> parse_worker_kind(std::string_view text) {
  for (const WorkerKind kind : {WorkerKind::Unpack, WorkerKind::Pack, WorkerKind::Bytes,
                                WorkerKind::Registry, WorkerKind::Files}) {
    if (text == to_string(kind)) return kind;
  }
  return std::nullopt;
}

Result<Fd> enter_sandbox(SandboxOptions options) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno(errno, "no_new_privs");
  TRY(replace_standard_descriptors());
  TRY(raise_oom_score());
  // As long as /proc is the host's.
  TRY(set_limits(options));
  const bool has_root = static_cast<bool>(options.root);
  const bool read_only = options.read_only_root || options.kind == WorkerKind::Pack;
  const std::vector<Fd> mounts = TRY(clone_mounts(options, read_only));
  Fd mount;
  if (!has_root) {
    mount = TRY(make_empty_root());
    if (options.kind == WorkerKind::Registry) TRY(fill_for_names(mount));
    TRY(sys::set_mount_attributes(mount, MOUNT_ATTR_RDONLY, 0, MS_PRIVATE));
  } else if (options.root_is == RootIs::Directory) {
    mount = TRY(clone_root(options.root, read_only));
  } else {
    const bool whole_tree = options.root_is == RootIs::Process;
    mount = TRY(clone_root_of_process(options.root, read_only, whole_tree));
  }
  // Here and not in the clone that made us: a network namespace takes the kernel some 0.3 ms, in
  // which a loop that starts workers would stand still.
  const int network = options.kind == WorkerKind::Registry ? 0 : CLONE_NEWNET;
  if (::unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | network) < 0)
    return fail_errno(errno, "unshare");
  TRY(pivot_into(mount));
  TRY(attach_mounts(options, mounts));
  if (options.root_is == RootIs::Process) TRY(detach_kernel_mounts());
  options.root = Fd();
  mount = Fd();
  Fd root = TRY(sys::open_at(sys::working_directory, "/", O_RDONLY | O_DIRECTORY));
  TRY(drop_privileges(options.kind, has_root || capabilities_of(options.kind) != 0));
  TRY(load_filter(options.kind));
  return root;
}

}  // namespace nacelle::image
