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
#include "sys/mount_api.h"

namespace nacelle::container {
namespace {

using sys::call;

constexpr size_t stack_bytes = 64u << 10;

Result<Fd> make_file_system() {
  auto made = TRY(sys::NewFileSystem::open("tmpfs"));
  TRY(made.set("size", "4k"));
  TRY(made.set("nr_inodes", "4"));
  TRY(made.set("mode", "0555"));
  // No MOUNT_ATTR_NODEV: what masks a file is read through the null device.
  Fd mount = TRY(made.mount(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  const char* const name = bare_null_device + 1;
  if (::mknodat(mount.get(), name, S_IFCHR | 0666, makedev(1, 3)) < 0) {
    return fail_errno(errno, "mknod");
  }
  // Whatever umask the caller has.
  if (::fchmodat(mount.get(), name, 0666, 0) < 0) return fail_errno(errno, "chmod");
  TRY(sys::set_mount_attributes(mount, MOUNT_ATTR_RDONLY));
  return mount;
}

// What the task that changes namespaces shares with its parent, besides descriptors.
struct Making {
  int root = -1;  // a mount
  int made = -1;  // the namespace
  long result = 0;
  const char* attempt = nullptr;  // what failed
};

int make(void* argument) {
  Making& making = *static_cast<Making*>(argument);
  const char* none = nullptr;
  const char* empty_path = "";
  const char* here = ".";
  const char* root = "/";
  const char* own_namespace = "/proc/self/ns/mnt";
  const auto went = [&](long result, const char* attempt) {
    if (result < 0) making.result = result, making.attempt = attempt;
    return result >= 0;
  };
  long opened = -1;
  const bool done =
      went(call(SYS_unshare, CLONE_NEWNS), "unshare") &&
      went(opened = call(SYS_openat, AT_FDCWD, own_namespace, O_RDONLY | O_CLOEXEC, 0),
           own_namespace) &&
      went(call(SYS_mount, none, root, none, MS_REC | MS_PRIVATE, none), "mount") &&
      went(call(SYS_move_mount, making.root, empty_path, AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH),
           "move_mount") &&
      went(call(SYS_fchdir, making.root), "fchdir") &&
      // pivot_root(2), NOTES: with "." for both, the old root ends up on top of the new one.
      went(call(SYS_pivot_root, here, here), "pivot_root") &&
      went(call(SYS_umount2, here, MNT_DETACH), "umount2");
  if (done) making.made = static_cast<int>(opened);
  if (!done && opened >= 0) call(SYS_close, opened);
  while (true) call(SYS_exit, 0);
}

Result<> need_initial_user_namespace() {
  constexpr ino_t initial = 0xEFFFFFFD;  // PROC_USER_INIT_INO, the same on every kernel
  const Fd own = TRY(sys::open_at(sys::working_directory, "/proc/self/ns/user", O_RDONLY));
  if (TRY(sys::stat_fd(own)).st_ino == initial) return {};
  return fail(Kind::Unsupported, "not in the initial user namespace");
}

}  // namespace

Result<Fd> make_bare_mount_namespace() {
  constexpr const char* what = "an empty mount namespace";
  TRY(need_initial_user_namespace().context(what));
  const Fd root = TRY(make_file_system().context(what));
  Making making{.root = root.get()};
  std::vector<char> stack(stack_bytes);
  // Without CLONE_FS: who shares its root with others cannot leave them.
  const int pid = ::clone(make, stack.data() + stack.size(),
                          CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &making);
  if (pid < 0) return fail_errno(errno, cat(what, ": clone"));
  while (::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  if (making.made >= 0) return Fd(making.made);
  return fail_errno(static_cast<int>(-making.result), cat(what, ": ", making.attempt));
}

}  // namespace nacelle::container
