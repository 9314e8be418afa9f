#include "container/child.h"

#include <errno.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "sys/call.h"
#include "sys/kernel.h"

namespace nacelle::container {

using sys::call;

void give_up(Brief& brief, long result, const char* doing, const char* noun, const char* call_name,
             const char* argument) {
  brief.failure = {static_cast<int>(-result), doing, noun, call_name, argument};
  call(SYS_exit_group, 1);
  __builtin_trap();  // a filter that forbids even that
}

// Should the parent die before the start is complete, nobody would own this container. Every change
// of credentials unties, so this is said again after each.
void tie_to_parent(Brief& brief) {
  need(brief, call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0),
       "tying the container to its start");
}

void mark(Brief& brief, Phase phase) {
  if (!brief.traced) return;
  timespec now{};
  call(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  brief.phase_ns[static_cast<uint32_t>(phase)] =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

void ask_parent(Brief& brief, Signal signal) {
  char byte = static_cast<char>(signal);
  need(brief, call(SYS_write, brief.handshake, &byte, 1), "asking the runtime", nullptr, "write");
  long got = -EINTR;
  while (got == -EINTR) got = call(SYS_read, brief.handshake, &byte, 1);
  // End of file: the parent gave up and will report its own reason.
  if (got != 1 || byte != static_cast<char>(Signal::GoOn))
    give_up(brief, -ECANCELED, "waiting for the runtime");
}

namespace {

// Keeps these descriptors and no other, so that nothing of the caller's can be reached from what
// this process is about to join. `keep` is sorted in place; -1 entries are skipped.
void close_all_but(int* keep, uint32_t count) {
  for (uint32_t i = 1; i < count; ++i) {
    for (uint32_t j = i; j > 0 && keep[j - 1] > keep[j]; --j) {
      const int swapped = keep[j];
      keep[j] = keep[j - 1];
      keep[j - 1] = swapped;
    }
  }
  int first = 3;
  for (uint32_t i = 0; i < count; ++i) {
    if (keep[i] < first) continue;
    if (keep[i] > first) call(SYS_close_range, first, keep[i] - 1, 0);
    first = keep[i] + 1;
  }
  call(SYS_close_range, first, ~0u, 0);
}

constexpr uint32_t kept_max = 2048;

void drop_foreign_descriptors(Brief& brief) {
  int keep[kept_max];
  uint32_t count = 0;
  const auto add = [&](int fd) {
    if (fd < 0) return;
    if (count == kept_max) give_up(brief, -EMFILE, "passing descriptors to the container");
    keep[count++] = fd;
  };
  for (const int fd : {brief.handshake, brief.stub, brief.console_socket, brief.wait, brief.report,
                       brief.init, brief.init_root, brief.root_mount, brief.bare_mounts}) {
    add(fd);
  }
  for (const int fd : brief.stdio) add(fd);
  for (uint32_t i = 0; i < brief.preserved; ++i) add(static_cast<int>(3 + i));
  const PlanHeader& header = brief.plan.header();
  if (!brief.joined) {
    for (uint32_t i = 0; i < brief.join_count; ++i) add(brief.joins[i].fd);
  }
  uint32_t trees = 0;
  for (const MountStep& step : brief.plan.items(header.mounts)) {
    if (binds(step.kind)) add(brief.trees[trees++]);
  }
  close_all_but(keep, count);
}

// A new session, default signal dispositions, stdio in place: nothing of the caller's habits is
// left.
void leave_the_parent(Brief& brief) {
  tie_to_parent(brief);
  call(SYS_setsid);
  // CLONE_CLEAR_SIGHAND resets handlers but keeps what is ignored.
  struct {
    uint64_t handler = 0;  // SIG_DFL
    uint64_t flags = 0;
    uint64_t restorer = 0;
    uint64_t mask = 0;
  } dispositions;
  for (int number = 1; number < 65; ++number) {
    call(SYS_rt_sigaction, number, &dispositions, nullptr, 8);
  }
  for (int i = 0; i < 3; ++i) {
    if (brief.stdio[i] < 0) continue;
    if (brief.stdio[i] == i) {
      call(SYS_fcntl, i, F_SETFD, 0);
    } else {
      need(brief, call(SYS_dup3, brief.stdio[i], i, 0), "passing standard streams", nullptr,
           "dup3");
    }
  }
}

const char* namespace_name(uint64_t type) {
  switch (type) {
    case CLONE_NEWPID: return "pid";
    case CLONE_NEWNET: return "network";
    case CLONE_NEWNS: return "mount";
    case CLONE_NEWIPC: return "ipc";
    case CLONE_NEWUTS: return "uts";
    case CLONE_NEWUSER: return "user";
    case CLONE_NEWCGROUP: return "cgroup";
    default: return "time";
  }
}

// The parent has entered joined pid namespaces for the clone; a task cannot enter one itself.
void join_namespaces(Brief& brief) {
  for (uint32_t i = 0; i < brief.join_count; ++i) {
    const Join& join = brief.joins[i];
    if (join.type == CLONE_NEWPID) continue;
    need(brief, call(SYS_setns, join.fd, join.type), "joining namespace", join.path, "setns",
         namespace_name(join.type));
  }
}

void become_root_of_user_namespace(Brief& brief) {
  need(brief, call(SYS_setresgid, 0, 0, 0), "becoming root of the user namespace", nullptr,
       "setresgid");
  need(brief, call(SYS_setresuid, 0, 0, 0), "becoming root of the user namespace", nullptr,
       "setresuid");
  // Denied where the namespace says `setgroups deny`; then there is nothing to give up either.
  call(SYS_setgroups, 0, nullptr);
  tie_to_parent(brief);
}

void write_proc_file(Brief& brief, const char* path, const char* text, uint32_t length,
                     const char* doing) {
  const long file = need(brief, call(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0), doing,
                         nullptr, "open", path);
  need(brief, call(SYS_write, file, text, length), doing, text, "write", path);
  call(SYS_close, file);
}

void enter_new_time_namespace(Brief& brief) {
  const PlanHeader& header = brief.plan.header();
  constexpr const char* doing = "making the time namespace";
  need(brief, call(SYS_unshare, CLONE_NEWTIME), doing, nullptr, "unshare");
  // The offsets can be set only until the first task is inside.
  if (header.time_offsets) {
    write_proc_file(brief, "/proc/self/timens_offsets", brief.plan.text(header.time_offsets),
                    header.time_offsets.length, "setting linux.timeOffsets");
  }
  const char* path = "/proc/self/ns/time_for_children";
  const long fd = need(brief, call(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), doing,
                       nullptr, "open", path);
  need(brief, call(SYS_setns, fd, CLONE_NEWTIME), doing, nullptr, "setns");
  call(SYS_close, fd);
}

// A new network namespace has a loopback interface that is down; every program expects it up.
void bring_up_loopback(Brief& brief) {
  constexpr const char* doing = "bringing up loopback";
  const long socket = need(brief, call(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), doing,
                           nullptr, "socket");
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  need(brief, call(SYS_ioctl, socket, SIOCSIFFLAGS, &request), doing, nullptr, "ioctl",
       "SIOCSIFFLAGS");
  call(SYS_close, socket);
}

void enter_namespaces(Brief& brief) {
  const PlanHeader& header = brief.plan.header();
  const uint64_t new_namespaces = brief.new_namespaces;
  if (!brief.joined) join_namespaces(brief);
  if ((new_namespaces & CLONE_NEWUSER) != 0) ask_parent(brief, Signal::MapUsers);
  if ((header.flags & plan_user_namespace) != 0) become_root_of_user_namespace(brief);
  // Made here and not by clone3, which would keep the parent waiting; and a cgroup namespace is
  // rooted where its maker is: only by now is that the container's cgroup.
  uint64_t made_here = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (brief.bare_mounts < 0) made_here |= CLONE_NEWNS;
  if ((new_namespaces & made_here) != 0) {
    need(brief, call(SYS_unshare, new_namespaces & made_here), "making namespaces", nullptr,
         "unshare");
  }
  if ((new_namespaces & CLONE_NEWTIME) != 0) enter_new_time_namespace(brief);
  if ((new_namespaces & CLONE_NEWNET) != 0) bring_up_loopback(brief);
  if (header.hostname) {
    need(brief, call(SYS_sethostname, brief.plan.text(header.hostname), header.hostname.length),
         "setting hostname", brief.plan.text(header.hostname), "sethostname");
  }
  if (header.domainname) {
    need(brief,
         call(SYS_setdomainname, brief.plan.text(header.domainname), header.domainname.length),
         "setting domainname", brief.plan.text(header.domainname), "setdomainname");
  }
}

void enter_running_container(Brief& brief) {
  // CVE-2016-9962: from here on processes of the container may see this one. It is not dumpable
  // (the runtime set that for the memory they share), and holds only what it needs.
  constexpr const char* doing = "joining the container";
  need(brief, call(SYS_setns, brief.init, brief.init_namespaces), doing, nullptr, "setns");
  if (brief.init_root >= 0) {
    need(brief, call(SYS_fchdir, brief.init_root), doing, nullptr, "fchdir");
    need(brief, call(SYS_chroot, static_cast<const char*>(".")), doing, nullptr, "chroot");
    call(SYS_close, brief.init_root);
  }
  call(SYS_close, brief.init);
  if ((brief.plan.header().flags & plan_user_namespace) != 0) become_root_of_user_namespace(brief);
  if ((brief.plan.header().process.flags & process_terminal) == 0) return;
  const char* root_path = "/";
  const long root =
      need(brief, call(SYS_openat, AT_FDCWD, root_path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0), doing,
           nullptr, "open", root_path);
  set_up_console(brief, static_cast<int>(root), false);
}

void execute(Brief& brief) {
  call(SYS_execveat, brief.stub, static_cast<const char*>(""), brief.argv, brief.envp,
       AT_EMPTY_PATH);
}

}  // namespace

int run_child(void* argument) {
  Brief& brief = *static_cast<Brief*>(argument);
  mark(brief, Phase::Born);
  // Shared memory is the parent's to hide (exec.cc).
  if (brief.own_memory) call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  drop_foreign_descriptors(brief);
  leave_the_parent(brief);
  set_up_process_before_root(brief);
  if (brief.init >= 0) {
    enter_running_container(brief);
    mark(brief, Phase::Namespaces);
  } else {
    enter_namespaces(brief);
    mark(brief, Phase::Namespaces);
    set_up_root(brief);
  }
  set_up_process(brief);
  execute(brief);
  give_up(brief, -ENOEXEC, "executing the last stage", nullptr, "execveat");
}

}  // namespace nacelle::container
