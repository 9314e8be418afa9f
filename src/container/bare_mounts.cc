#include "container/bare_mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/text.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"

namespace nacelle::container {
namespace {

using sys::call;

constexpr const char* empty_path = "";
constexpr size_t stack_bytes = 64u << 10;

// What the task that makes it leaves behind: memory and descriptors are its parent's.
struct Making {
  int made = -1;  // the namespace
  long result = 0;
  const char* attempt = nullptr;  // what failed
};

long make_file_system() {
  const long context = call(SYS_fsopen, static_cast<const char*>("tmpfs"), FSOPEN_CLOEXEC);
  if (context < 0) return context;
  constexpr const char* options[][2] = {{"size", "4k"}, {"nr_inodes", "4"}, {"mode", "0555"}};
  for (const auto& [key, value] : options) {
    call(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0);
  }
  long mount = call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  // No MOUNT_ATTR_NODEV: what masks a file is read through the null device.
  if (mount >= 0) {
    mount = call(SYS_fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  }
  call(SYS_close, context);
  return mount;
}

long fill(long mount) {
  const long made = call(SYS_mknodat, mount, bare_null_device + 1, S_IFCHR | 0666, makedev(1, 3));
  if (made < 0) return made;
  // Whatever umask the caller has.
  const long opened = call(SYS_fchmodat, mount, bare_null_device + 1, 0666);
  if (opened < 0) return opened;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  return call(SYS_mount_setattr, mount, empty_path, AT_EMPTY_PATH, &attributes, sizeof attributes);
}

int make(void* argument) {
  Making& making = *static_cast<Making*>(argument);
  const char* none = nullptr;
  const char* here = ".";
  const auto went = [&](long result, const char* attempt) {
    if (result < 0) making.result = result, making.attempt = attempt;
    return result >= 0;
  };
  long mount = -1;
  long opened = -1;
  const bool done =
      went(call(SYS_unshare, CLONE_NEWNS), "unshare") &&
      went(opened = call(SYS_openat, AT_FDCWD, static_cast<const char*>("/proc/self/ns/mnt"),
                         O_RDONLY | O_CLOEXEC, 0),
           "open '/proc/self/ns/mnt'") &&
      went(call(SYS_mount, none, static_cast<const char*>("/"), none, MS_REC | MS_PRIVATE, none),
           "mount") &&
      went(mount = make_file_system(), "fsmount") && went(fill(mount), "mknod") &&
      went(call(SYS_move_mount, mount, empty_path, AT_FDCWD, static_cast<const char*>("/"),
                MOVE_MOUNT_F_EMPTY_PATH),
           "move_mount") &&
      went(call(SYS_fchdir, mount), "fchdir") &&
      // pivot_root(2), NOTES: with "." for both, the old root ends up on top of the new one.
      went(call(SYS_pivot_root, here, here), "pivot_root") &&
      went(call(SYS_umount2, here, MNT_DETACH), "umount2");
  if (mount >= 0) call(SYS_close, mount);
  if (done) making.made = static_cast<int>(opened);
  if (!done && opened >= 0) call(SYS_close, opened);
  while (true) call(SYS_exit, 0);
}

Result<> need_initial_user_namespace() {
  constexpr ino_t initial = 0xEFFFFFFD;  // PROC_USER_INIT_INO, the same on every kernel
  const Fd own = TRY(sys::open_at(sys::working_directory, "/proc/self/ns/user", O_RDONLY));
  if (TRY(sys::stat_fd(own)).st_ino == initial) return {};
  return fail(Kind::Unsupported, "an empty mount namespace: not in the initial user namespace");
}

}  // namespace

Result<Fd> make_bare_mount_namespace() {
  TRY(need_initial_user_namespace());
  Making making;
  std::vector<char> stack(stack_bytes);
  // Without CLONE_FS: who shares its root with others cannot leave them.
  const int pid = ::clone(make, stack.data() + stack.size(),
                          CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &making);
  if (pid < 0) return fail_errno(errno, "an empty mount namespace: clone");
  while (::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  if (making.made >= 0) return Fd(making.made);
  return fail_errno(static_cast<int>(-making.result),
                    cat("an empty mount namespace: ", making.attempt));
}

}  // namespace nacelle::container
