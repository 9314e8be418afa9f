// /dev of a container: nodes, links, and the terminal. Everything is made beneath descriptors that
// were resolved inside the root; a /dev that is a symbolic link is refused (CVE-2026-41579).
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "container/child.h"
#include "sys/call.h"
#include "sys/kernel.h"
#include "sys/resolve.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

namespace nacelle::container {

using sys::call;
using sys::InRoot;

namespace {

constexpr const char* empty_path = "";

void close_fd(long fd) { call(SYS_close, fd); }

void bind_host_device(Brief& brief, int root, const DeviceStep& step) {
  constexpr const char* doing = "binding device";
  const char* path = brief.plan.text(step.path);
  const long tree =
      need(brief, call(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), doing,
           path, "open_tree");
  struct stat status{};
  if (call(SYS_fstat, tree, &status) < 0 || (status.st_mode & S_IFMT) != (step.mode & S_IFMT) ||
      status.st_rdev != makedev(step.major, step.minor)) {
    give_up(brief, -ENODEV, doing, path, "the host has another file there");
  }
  const long target =
      need(brief, InRoot(root).ensure_file(path, 0644), doing, path, "opening the destination");
  need(brief,
       call(SYS_move_mount, tree, empty_path, target, empty_path,
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
       doing, path, "move_mount");
  close_fd(tree);
  close_fd(target);
}

// A node that is there already must be the one asked for (config-linux.md "Devices").
void accept_existing_device(Brief& brief, int parent, const char* name, const DeviceStep& step) {
  struct stat status{};
  const char* path = brief.plan.text(step.path);
  need(brief, call(SYS_newfstatat, parent, name, &status, AT_SYMLINK_NOFOLLOW), "making device",
       path, "stat");
  const bool same_kind = (status.st_mode & S_IFMT) == (step.mode & S_IFMT);
  const bool same_number = S_ISFIFO(step.mode) || status.st_rdev == makedev(step.major, step.minor);
  if (!same_kind || !same_number)
    give_up(brief, -EEXIST, "making device", path, "another file is there");
}

void make_device(Brief& brief, int root, const DeviceStep& step) {
  const char* path = brief.plan.text(step.path);
  constexpr const char* doing = "making device";
  const char* name = nullptr;
  const int parent = static_cast<int>(
      need(brief, InRoot(root).ensure_parent(path, &name), doing, path, "opening the directory"));
  const long made = call(SYS_mknodat, parent, name, step.mode, makedev(step.major, step.minor));
  if (made == -EEXIST) {
    accept_existing_device(brief, parent, name, step);
  } else if (made == -EPERM) {
    bind_host_device(brief, root, step);
  } else {
    need(brief, made, doing, path, "mknod");
    if (step.uid != 0 || step.gid != 0) {
      need(brief, call(SYS_fchownat, parent, name, step.uid, step.gid, AT_SYMLINK_NOFOLLOW), doing,
           path, "chown");
    }
  }
  close_fd(parent);
}

struct Link {
  const char* name;
  const char* target;
};
constexpr Link links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},
};

int open_device_directory(Brief& brief, int root) {
  return static_cast<int>(
      need(brief, InRoot(root).ensure_directory("/dev", 0755, InRoot::Symlinks::Refuse),
           "opening the container's", "/dev"));
}

void make_links(Brief& brief, int root) {
  const int devices = open_device_directory(brief, root);
  for (const Link& link : links) {
    const long made = call(SYS_symlinkat, link.target, devices, link.name);
    if (made != -EEXIST) need(brief, made, "making link in /dev", link.name, "symlink");
  }
  // Whatever an image has there, the multiplexer is that of the container's own devpts.
  const char* multiplexer = "ptmx";
  call(SYS_unlinkat, devices, multiplexer, 0);
  need(brief, call(SYS_symlinkat, static_cast<const char*>("pts/ptmx"), devices, multiplexer),
       "making link in /dev", multiplexer, "symlink");
  close_fd(devices);
}

// --- the terminal -------------------------------------------------------------------------------

constexpr const char* making_terminal = "making process.terminal";

int open_multiplexer(Brief& brief, int root) {
  const char* path = "/dev/pts/ptmx";
  const int master = static_cast<int>(
      need(brief, InRoot(root).open(path, O_RDWR | O_NOCTTY | O_NOFOLLOW, InRoot::Symlinks::Refuse),
           making_terminal, nullptr, "open", path));
  // CVE-2025-52565: only the kernel's own devpts may hand out the peer.
  struct statfs status{};
  struct stat node{};
  if (call(SYS_fstatfs, master, &status) < 0 || status.f_type != DEVPTS_SUPER_MAGIC ||
      call(SYS_fstat, master, &node) < 0 || node.st_rdev != makedev(5, 2)) {
    give_up(brief, -ENODEV, making_terminal, path, "not a terminal multiplexer of devpts");
  }
  return master;
}

void bind_console(Brief& brief, int root, int peer) {
  const int devices = open_device_directory(brief, root);
  const char* name = "console";
  const long made = call(SYS_mknodat, devices, name, S_IFREG | 0620, 0);
  if (made != -EEXIST) need(brief, made, making_terminal, "/dev/console", "mknod");
  const long target =
      need(brief, call(SYS_openat, devices, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0),
           making_terminal, "/dev/console", "open");
  struct stat status{};
  if (call(SYS_fstat, target, &status) < 0 ||
      !(S_ISREG(status.st_mode) || S_ISCHR(status.st_mode))) {
    give_up(brief, -EINVAL, making_terminal, "/dev/console", "neither a file nor a device");
  }
  const long tree = need(
      brief,
      call(SYS_open_tree, peer, empty_path, AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
      making_terminal, "/dev/console", "open_tree");
  need(brief,
       call(SYS_move_mount, tree, empty_path, target, empty_path,
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
       making_terminal, "/dev/console", "move_mount");
  close_fd(tree);
  close_fd(target);
  close_fd(devices);
}

// One byte string and one descriptor, as runc's console socket protocol has it (docs/terminals.md).
void send_master(Brief& brief, int master) {
  char name[] = "/dev/ptmx";
  iovec payload{name, sizeof name - 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &payload;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  auto* header = reinterpret_cast<cmsghdr*>(control);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  *reinterpret_cast<int*>(CMSG_DATA(header)) = master;
  need(brief, call(SYS_sendmsg, brief.console_socket, &message, MSG_NOSIGNAL), making_terminal,
       "the console socket", "sendmsg");
}

}  // namespace

void make_devices(Brief& brief, int root) {
  const PlanHeader& header = brief.plan.header();
  for (const DeviceStep& step : brief.plan.items(header.devices)) {
    if ((header.flags & plan_bind_devices) != 0 && !S_ISFIFO(step.mode)) {
      bind_host_device(brief, root, step);
    } else {
      make_device(brief, root, step);
    }
  }
  make_links(brief, root);
}

void set_up_console(Brief& brief, int root, bool own_console) {
  const ProcessPlan& plan = brief.plan.header().process;
  const int master = open_multiplexer(brief, root);
  const int unlock = 0;
  need(brief, call(SYS_ioctl, master, TIOCSPTLCK, &unlock), making_terminal, nullptr, "ioctl",
       "TIOCSPTLCK");
  const int peer = static_cast<int>(
      need(brief, call(SYS_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC),
           making_terminal, nullptr, "ioctl", "TIOCGPTPEER"));
  // A size that nobody asked for is that of the caller's terminal, where it has one: the program
  // may look before the caller could set it.
  winsize size{plan.console_rows, plan.console_columns, 0, 0};
  const bool planned = plan.console_rows != 0 || plan.console_columns != 0;
  const int callers = brief.stdio[0] >= 0 ? brief.stdio[0] : 0;
  if (planned || call(SYS_ioctl, callers, TIOCGWINSZ, &size) == 0) {
    need(brief, call(SYS_ioctl, master, TIOCSWINSZ, &size), making_terminal, nullptr, "ioctl",
         "TIOCSWINSZ");
  }
  // The program must be able to open its own terminal again by name.
  if (plan.uid != 0) {
    need(brief, call(SYS_fchown, peer, plan.uid, ~0u), making_terminal, nullptr, "fchown");
  }
  if (own_console) bind_console(brief, root, peer);
  send_master(brief, master);
  close_fd(master);
  if (!brief.fork_last) {  // else it is for the stub: the end of a session's leader hangs up
    need(brief, call(SYS_ioctl, peer, TIOCSCTTY, 0), making_terminal, nullptr, "ioctl",
         "TIOCSCTTY");
  }
  for (int i = 0; i < 3; ++i) {
    need(brief, call(SYS_dup3, peer, i, 0), making_terminal, nullptr, "dup3");
  }
  close_fd(peer);
}

}  // namespace nacelle::container
