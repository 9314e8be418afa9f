// The root of a container: mounts, masks, sysctls and the way in. All paths that an image or a
// volume can influence are resolved inside the root and used as descriptors (sys/resolve.h); the
// host's /proc and /dev/null are opened before the first of them is looked at.
//
// There are two ways in. Most often all that is to be bound is opened first, and then the host's
// mounts are left behind at once, for a namespace with next to nothing in it (bare_mounts.h), over
// whose root the container's is put. Where something needs the host's mounts until the end (see
// Launch::leaves_mounts_at_once) they are copied, and left by a pivot.
#include <errno.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "container/bare_mounts.h"
#include "container/child.h"
#include "sys/call.h"
#include "sys/kernel.h"
#include "sys/resolve.h"

namespace nacelle::container {

using sys::call;
using sys::InRoot;

namespace {

constexpr const char* empty_path = "";
constexpr const char* mounting = "mounting";
constexpr uint64_t mount_namespace = 0x00020000;  // CLONE_NEWNS

bool is_on(int fd, long magic) {
  struct statfs status{};
  return call(SYS_fstatfs, fd, &status) == 0 && status.f_type == magic;
}

// The root of a procfs: a part of one, such as /proc/1, would put other files where /proc's are.
bool is_proc_root(int fd) {
  constexpr uint64_t proc_root_inode = 1;
  struct stat status{};
  return is_on(fd, PROC_SUPER_MAGIC) && call(SYS_fstat, fd, &status) == 0 &&
         status.st_ino == proc_root_inode;
}

bool is_directory(int fd) {
  struct stat status{};
  return call(SYS_fstat, fd, &status) == 0 && S_ISDIR(status.st_mode);
}

bool same_text(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

void close_fd(long fd) { call(SYS_close, fd); }

// --- one mount ----------------------------------------------------------------------------------

class Mounter {
 public:
  explicit Mounter(Brief& brief) : brief_(brief) {}

  // What is to be bound, while the host's paths are there and its mounts are not yet slaves: all of
  // it, or what is shared with the host, so that what is mounted in there goes out.
  enum class Which : bool { All, Shared };
  void open_sources(Which which) {
    mount_attr attributes{};
    attributes.propagation = brief_.plan.header().start_propagation & ~uint64_t{MS_REC};
    uint32_t at = 0;
    for (const MountStep& step : brief_.plan.items(brief_.plan.header().mounts)) {
      if (!binds(step.kind)) continue;
      int& tree = brief_.trees[at++];
      step_ = &step;
      if (tree >= 0 || (which == Which::Shared && !is_shared())) continue;
      destination_ = text(step.destination);
      tree = open_source();
      if (is_shared()) continue;
      check(call(SYS_mount_setattr, tree, empty_path, AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                 sizeof attributes),
            "mount_setattr", "propagation");
    }
  }

  void mount_everything(int root) {
    root_ = root;
    for (const MountStep& step : brief_.plan.items(brief_.plan.header().mounts)) run(step);
  }

 private:
  void run(const MountStep& step) {
    step_ = &step;
    destination_ = text(step.destination);
    switch (step.kind) {
      case MountKind::New: mount_new(); break;
      case MountKind::Bind:
      case MountKind::BindTree:
      case MountKind::CgroupTree: attach_tree(take_tree()); break;
      case MountKind::Remount: remount(); break;
    }
  }

  const char* text(Text one) const { return brief_.plan.text(one); }

  long check(long result, const char* call_name, const char* argument = nullptr) {
    return need(brief_, result, mounting, destination_, call_name, argument);
  }

  InRoot::Symlinks symlinks() const {
    return step_->real_directory != 0 ? InRoot::Symlinks::Refuse : InRoot::Symlinks::Follow;
  }

  // CVE-2019-16884 and its kin: nothing but the few known files may come to lie on procfs, whatever
  // the path looked like.
  void refuse_cover_of_proc(int target) {
    const bool proc_itself = same_text(destination_, "/proc");
    if (proc_itself || step_->allowed_on_proc != 0 || !is_on(target, PROC_SUPER_MAGIC)) return;
    give_up(brief_, -EPERM, "refusing to cover a file of procfs", destination_);
  }

  int open_directory_target() {
    const long target = InRoot(root_).ensure_directory(destination_, 0755, symlinks());
    check(target, "opening the destination");
    refuse_cover_of_proc(static_cast<int>(target));
    return static_cast<int>(target);
  }

  void attach(int mount, int target) {
    check(call(SYS_move_mount, mount, empty_path, target, empty_path,
               MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
          "move_mount");
    close_fd(target);
  }

  void set_attributes(int mount, uint64_t set, uint64_t clear, int recursive) {
    if (set == 0 && clear == 0) return;
    mount_attr attributes{};
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    check(call(SYS_mount_setattr, mount, empty_path, AT_EMPTY_PATH | recursive, &attributes,
               sizeof attributes),
          "mount_setattr");
  }

  void set_propagation(int mount) {
    for (const PropagationStep& step : brief_.plan.items(step_->propagation)) {
      mount_attr attributes{};
      attributes.propagation = step.kind;
      check(call(SYS_mount_setattr, mount, empty_path,
                 AT_EMPTY_PATH | (step.recursive != 0 ? AT_RECURSIVE : 0), &attributes,
                 sizeof attributes),
            "mount_setattr");
    }
  }

  // --- a new file system instance ---

  [[noreturn]] void give_up_context(int context, long result, const char* option) {
    // The context logs its complaint in words: "e tmpfs: Unknown parameter 'sized'".
    const long length = call(SYS_read, context, static_cast<char*>(brief_.kernel_says),
                             sizeof brief_.kernel_says - 1);
    if (length > 0) brief_.kernel_says[length] = '\0';
    give_up(brief_, result, mounting, destination_, "fsconfig", option);
  }

  void configure(int context, const char* key, const char* value) {
    const long result = value == nullptr
                            ? call(SYS_fsconfig, context, FSCONFIG_SET_FLAG, key, nullptr, 0)
                            : call(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0);
    if (result < 0) give_up_context(context, result, key);
  }

  // fsconfig takes 255 bytes at a time; overlay's list of lower directories is given piece by piece
  // (lowerdir+, 6.8). False where the kernel does not know that.
  bool configure_lower_directories(int context, const char* list) {
    char piece[256];
    while (*list != '\0') {
      uint32_t length = 0;
      for (bool escaped = false; *list != '\0' && (escaped || *list != ':'); ++list) {
        escaped = !escaped && *list == '\\';
        if (escaped) continue;
        if (length == sizeof piece - 1)
          give_up(brief_, -ENAMETOOLONG, mounting, destination_, "fsconfig", "lowerdir");
        piece[length++] = *list;
      }
      piece[length] = '\0';
      if (*list == ':') ++list;
      const char* key = "lowerdir+";
      const long result =
          call(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, static_cast<char*>(piece), 0);
      if (result == -EINVAL) return false;
      if (result < 0) give_up_context(context, result, key);
    }
    return true;
  }

  bool is_long_overlay_option(const OptionStep& option) const {
    return option.value && option.value.length > 255 && same_text(text(option.key), "lowerdir");
  }

  // mount(2) with one page of options: what is left where fsconfig cannot take them.
  // REMOVE when 6.8 is the floor.
  void mount_the_old_way(int target) {
    char data[path_bytes_max];
    uint32_t length = 0;
    const auto put = [&](const char* from) {
      while (*from != '\0') {
        if (length == sizeof data - 1)
          give_up(brief_, -E2BIG, mounting, destination_, "mount", "options");
        data[length++] = *from++;
      }
    };
    for (const OptionStep& option : brief_.plan.items(step_->options)) {
      if (length > 0) put(",");
      put(text(option.key));
      if (!option.value) continue;
      put("=");
      put(text(option.value));
    }
    data[length] = '\0';
    check(call(SYS_fchdir, target), "fchdir");
    check(call(SYS_mount, text(step_->source), static_cast<const char*>("."), text(step_->type), 0,
               static_cast<char*>(data)),
          "mount");
    const long mount = check(InRoot(root_).open(destination_, O_PATH | O_DIRECTORY), "openat2");
    set_attributes(static_cast<int>(mount), step_->attributes_set, step_->attributes_clear, 0);
    set_propagation(static_cast<int>(mount));
    check(call(SYS_chdir, static_cast<const char*>("/")), "chdir");
    close_fd(mount);
    close_fd(target);
  }

  bool has_option(const char* key) const {
    for (const OptionStep& option : brief_.plan.items(step_->options)) {
      if (same_text(text(option.key), key)) return true;
    }
    return false;
  }

  // A tmpfs without a mode of its own takes that of the directory it covers, as runc's does: /root
  // must not become everybody's. Zero: there is no such directory.
  uint32_t mode_of_covered_directory() {
    if (!same_text(text(step_->type), "tmpfs") || has_option("mode")) return 0;
    const long directory = InRoot(root_).open(destination_, O_PATH | O_DIRECTORY, symlinks());
    if (directory < 0) return 0;
    struct stat status{};
    call(SYS_fstat, directory, &status);
    close_fd(directory);
    return status.st_mode & 07777;
  }

  void configure_mode(int context, uint32_t mode) {
    char digits[5] = {};
    for (int i = 3; i >= 0; --i, mode >>= 3) digits[i] = static_cast<char>('0' + (mode & 7));
    configure(context, "mode", digits);
  }

  void mount_new() {
    const uint32_t covered_mode = mode_of_covered_directory();
    const int target = open_directory_target();
    const char* type = text(step_->type);
    const int context =
        static_cast<int>(check(call(SYS_fsopen, type, FSOPEN_CLOEXEC), "fsopen", type));
    configure(context, "source", text(step_->source));
    if (covered_mode != 0) configure_mode(context, covered_mode);
    for (const OptionStep& option : brief_.plan.items(step_->options)) {
      if (!is_long_overlay_option(option)) {
        configure(context, text(option.key), text(option.value));
      } else if (!configure_lower_directories(context, text(option.value))) {
        close_fd(context);
        mount_the_old_way(target);
        return;
      }
    }
    const long created = call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
    // Without a network namespace of its own a user namespace may not mount sysfs; the host's view
    // of /sys is the one it would show.
    if (created == -EPERM && same_text(type, "sysfs")) {
      close_fd(context);
      close_fd(target);
      attach_tree(open_tree("/sys", AT_RECURSIVE));
      return;
    }
    if (created < 0) give_up_context(context, created, nullptr);

    const uint64_t late = fill_before_readonly() ? MOUNT_ATTR_RDONLY : 0;
    const int mount = static_cast<int>(check(
        call(SYS_fsmount, context, FSMOUNT_CLOEXEC, step_->attributes_set & ~late), "fsmount"));
    close_fd(context);
    if (step_->copy_up != 0) {
      const long source = check(call(SYS_openat, target, static_cast<const char*>("."),
                                     O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0),
                                "open", destination_);
      check(copy_directory(static_cast<int>(source), mount, 0), "copying up");
      close_fd(source);
    }
    attach(mount, target);
    if (!same_text(destination_, "/dev")) set_attributes(mount, step_->attributes_set & late, 0, 0);
    set_attributes(mount, step_->tree_attributes_set, step_->tree_attributes_clear, AT_RECURSIVE);
    set_propagation(mount);
    close_fd(mount);
  }

  // A read-only /dev still gets its nodes (see readonly_device_directory), a copied-up tmpfs its
  // files.
  bool fill_before_readonly() const {
    return step_->copy_up != 0 || same_text(destination_, "/dev");
  }

  // --- binds ---

  bool is_shared() const {
    for (const PropagationStep& step : brief_.plan.items(step_->propagation)) {
      if (step.kind == MS_SHARED) return true;
    }
    return false;
  }

  int take_tree() {
    const int tree = brief_.trees[trees_taken_++];
    return tree >= 0 ? tree : open_source();
  }

  int open_source() {
    const bool cgroup = step_->kind == MountKind::CgroupTree;
    return open_tree(cgroup ? brief_.cgroup_directory : text(step_->source),
                     step_->kind == MountKind::Bind ? 0 : AT_RECURSIVE);
  }

  int open_tree(const char* source, int recursive) {
    const int follow = step_->nofollow_source != 0 ? AT_SYMLINK_NOFOLLOW : 0;
    return static_cast<int>(
        check(call(SYS_open_tree, AT_FDCWD, source,
                   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | static_cast<unsigned>(recursive | follow)),
              "open_tree", source));
  }

  void attach_tree(int tree) {
    const bool covers_proc = same_text(destination_, "/proc");
    if (covers_proc && !is_proc_root(tree)) {
      give_up(brief_, -EPERM, "refusing anything but procfs", destination_);
    }
    const int target = is_directory(tree) ? open_directory_target() : open_file_target();
    set_attributes(tree, step_->attributes_set, step_->attributes_clear, 0);
    set_attributes(tree, step_->tree_attributes_set, step_->tree_attributes_clear, AT_RECURSIVE);
    attach(tree, target);
    set_propagation(tree);
    close_fd(tree);
  }

  int open_file_target() {
    const long target =
        check(InRoot(root_).ensure_file(destination_, 0755), "opening the destination");
    refuse_cover_of_proc(static_cast<int>(target));
    return static_cast<int>(target);
  }

  void remount() {
    const int target = static_cast<int>(
        check(InRoot(root_).open(destination_, O_PATH), "opening the destination"));
    set_attributes(target, step_->attributes_set, step_->attributes_clear, 0);
    set_attributes(target, step_->tree_attributes_set, step_->tree_attributes_clear, AT_RECURSIVE);
    set_propagation(target);
    close_fd(target);
  }

  Brief& brief_;
  int root_ = -1;
  uint32_t trees_taken_ = 0;
  const MountStep* step_ = nullptr;
  const char* destination_ = nullptr;
};

// --- sysctls ------------------------------------------------------------------------------------

// A procfs of our own, on which nothing can have been mounted; also writable where an outer
// container shows /proc/sys read-only.
long open_private_proc() {
  const long context = call(SYS_fsopen, static_cast<const char*>("proc"), FSOPEN_CLOEXEC);
  if (context < 0) return context;
  long mount = call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (mount >= 0) mount = call(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
  close_fd(context);
  return mount;
}

long open_sysctl(int proc_sys, const char* path) {
  open_how how{};
  how.flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const long file = call(SYS_openat2, proc_sys, path, &how, sizeof how);
  if (file != -ENOSYS && file != -EPERM) return file;
  return call(SYS_openat, proc_sys, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0);
}

// What a sysctl means is decided by the namespaces of the writer, and those are the container's by
// now; the procfs it goes through is the host's, before any image is in view.
void set_sysctls(Brief& brief) {
  const auto sysctls = brief.plan.items(brief.plan.header().sysctls);
  if (sysctls.empty()) return;
  constexpr const char* doing = "setting sysctl";
  const char* host_path = "/proc/sys";
  long proc_sys =
      need(brief, call(SYS_openat, AT_FDCWD, host_path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0), doing,
           nullptr, "open", host_path);
  if (!is_on(static_cast<int>(proc_sys), PROC_SUPER_MAGIC))
    give_up(brief, -EPERM, doing, nullptr, "/proc is not procfs");
  for (const SysctlStep& step : sysctls) {
    const char* path = brief.plan.text(step.path);
    long file = open_sysctl(static_cast<int>(proc_sys), path);
    if (file == -EROFS) {
      const long mount = need(brief, open_private_proc(), doing, path, "fsmount", "proc");
      close_fd(proc_sys);
      proc_sys = need(brief,
                      call(SYS_openat, mount, static_cast<const char*>("sys"),
                           O_PATH | O_DIRECTORY | O_CLOEXEC, 0),
                      doing, path, "open", "sys");
      close_fd(mount);
      file = open_sysctl(static_cast<int>(proc_sys), path);
    }
    need(brief, file, doing, path, "open");
    need(brief, call(SYS_write, file, brief.plan.text(step.value), step.value.length), doing, path,
         "write", brief.plan.text(step.value));
    close_fd(file);
  }
  close_fd(proc_sys);
}

// --- masks and read-only paths ------------------------------------------------------------------

long clone_mount(int fd, unsigned flags) {
  return call(SYS_open_tree, fd, empty_path,
              AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

long attach_onto(long mount, long target) {
  return call(SYS_move_mount, mount, empty_path, target, empty_path,
              MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

// Files are covered with the null device, directories with one empty read-only tmpfs, shared by
// all: the first directory gets the mount itself, the others clones of it.
class Masker {
 public:
  Masker(Brief& brief, int null_device) : brief_(brief), null_device_(null_device) {}
  Masker(const Masker&) = delete;
  Masker& operator=(const Masker&) = delete;
  ~Masker() {
    if (empty_directory_ >= 0) close_fd(empty_directory_);
  }

  void mask(int root, const char* path) {
    path_ = path;
    const long target = InRoot(root).open(path, O_PATH);
    // Looking first is worth it: a clone that is closed unattached costs an RCU grace period.
    if (target == -ENOENT || target == -ENOTDIR) return;
    check(target, "opening the path");
    const long cover =
        is_directory(static_cast<int>(target)) ? cover_directory() : clone_mount(null_device_, 0);
    check(cover, "open_tree");
    check(attach_onto(cover, target), "move_mount");
    if (cover != empty_directory_) close_fd(cover);
    close_fd(target);
  }

 private:
  long check(long result, const char* call_name) {
    return need(brief_, result, "masking", path_, call_name);
  }

  long cover_directory() {
    if (empty_directory_ >= 0) return clone_mount(static_cast<int>(empty_directory_), 0);
    const long context =
        check(call(SYS_fsopen, static_cast<const char*>("tmpfs"), FSOPEN_CLOEXEC), "fsopen");
    check(call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "fsconfig");
    empty_directory_ =
        check(call(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                   MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),
              "fsmount");
    close_fd(context);
    return empty_directory_;
  }

  Brief& brief_;
  int null_device_;
  const char* path_ = nullptr;
  long empty_directory_ = -1;
};

void make_readonly(Brief& brief, int root, const char* path) {
  constexpr const char* doing = "making read-only";
  const long target = InRoot(root).open(path, O_PATH);
  if (target == -ENOENT || target == -ENOTDIR) return;
  need(brief, target, doing, path, "opening the path");
  const long tree =
      need(brief, clone_mount(static_cast<int>(target), AT_RECURSIVE), doing, path, "open_tree");
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  need(brief,
       call(SYS_mount_setattr, tree, empty_path, AT_EMPTY_PATH, &attributes, sizeof attributes),
       doing, path, "mount_setattr");
  need(brief, attach_onto(tree, target), doing, path, "move_mount");
  close_fd(tree);
  close_fd(target);
}

// CVE-2025-31133: what masks is the host's own null device, or that of the namespace that was made
// for all containers; opened and checked before any image content is in view, bound by descriptor.
int open_null_device(Brief& brief) {
  const char* path = brief.bare_mounts >= 0 ? bare_null_device : "/dev/null";
  const long fd = need(brief, call(SYS_openat, AT_FDCWD, path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0),
                       "masking paths", nullptr, "open", path);
  struct stat status{};
  constexpr uint64_t null_device = 1 << 8 | 3;
  if (call(SYS_fstat, fd, &status) < 0 || !S_ISCHR(status.st_mode) ||
      status.st_rdev != null_device) {
    give_up(brief, -ENODEV, "masking paths", nullptr, "the host's null device is another file");
  }
  return static_cast<int>(fd);
}

void set_root_attributes(Brief& brief, int root, uint64_t set, uint64_t propagation) {
  if (set == 0 && propagation == 0) return;
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.propagation = propagation;
  need(brief,
       call(SYS_mount_setattr, root, empty_path, AT_EMPTY_PATH, &attributes, sizeof attributes),
       "setting the attributes of the root", nullptr, "mount_setattr");
}

void readonly_device_directory(Brief& brief, int root) {
  for (const MountStep& step : brief.plan.items(brief.plan.header().mounts)) {
    if (step.kind != MountKind::New || (step.attributes_set & MOUNT_ATTR_RDONLY) == 0 ||
        !same_text(brief.plan.text(step.destination), "/dev")) {
      continue;
    }
    const long target =
        need(brief, InRoot(root).open("/dev", O_PATH | O_DIRECTORY), mounting, "/dev");
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    need(brief,
         call(SYS_mount_setattr, target, empty_path, AT_EMPTY_PATH, &attributes, sizeof attributes),
         mounting, "/dev", "mount_setattr");
    close_fd(target);
  }
}

// --- the root itself ----------------------------------------------------------------------------

constexpr const char* preparing_root = "preparing root.path";

int open_root_directory(Brief& brief) {
  const char* path = brief.plan.text(brief.plan.header().root);
  return static_cast<int>(
      need(brief, call(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0),
           preparing_root, path, "open"));
}

void leave_mounts(Brief& brief) {
  constexpr const char* doing = "leaving the host's mounts";
  need(brief, call(SYS_setns, brief.bare_mounts, mount_namespace), doing, nullptr, "setns");
  need(brief, call(SYS_unshare, mount_namespace), doing, nullptr, "unshare");
}

// Over our "/": paths go on to be looked up below it, so that the sources of binds still are the
// host's, and no directory has to be kept for it.
int put_root_over_ours(Brief& brief) {
  need(brief,
       call(SYS_move_mount, brief.root_mount, empty_path, AT_FDCWD, static_cast<const char*>("/"),
            MOVE_MOUNT_F_EMPTY_PATH),
       preparing_root, nullptr, "move_mount");
  return brief.root_mount;
}

// A mount of its own over the root directory, which pivot_root wants and which can be made
// read-only without touching the host's.
int mount_root(Brief& brief) {
  const PlanHeader& header = brief.plan.header();
  const char* path = brief.plan.text(header.root);
  const char* none = nullptr;
  need(brief,
       call(SYS_mount, none, static_cast<const char*>("/"), none, header.start_propagation, none),
       preparing_root, path, "mount", "propagation of /");
  if (brief.root_mount >= 0) return put_root_over_ours(brief);
  const int directory = open_root_directory(brief);
  const long root =
      need(brief, clone_mount(directory, AT_RECURSIVE), preparing_root, path, "open_tree");
  need(brief, attach_onto(root, directory), preparing_root, path, "move_mount");
  close_fd(directory);
  return static_cast<int>(root);
}

void enter_root(Brief& brief, int root) {
  const PlanHeader& header = brief.plan.header();
  constexpr const char* doing = "entering the root";
  const char* here = ".";
  need(brief, call(SYS_fchdir, root), doing, nullptr, "fchdir");
  const bool new_mount_namespace = (header.new_namespaces & mount_namespace) != 0;
  if (!new_mount_namespace || brief.bare_mounts >= 0) {
    // What lies below the root is not ours to leave, or is nothing.
    need(brief, call(SYS_chroot, here), doing, nullptr, "chroot");
  } else if ((header.flags & plan_no_pivot) != 0) {
    // A root that came as a mount is there already.
    if (brief.root_mount < 0)
      need(brief,
           call(SYS_move_mount, root, empty_path, AT_FDCWD, static_cast<const char*>("/"),
                MOVE_MOUNT_F_EMPTY_PATH),
           doing, nullptr, "move_mount");
    need(brief, call(SYS_chroot, here), doing, nullptr, "chroot");
  } else {
    // pivot_root(2), NOTES: with "." for both, the old root ends up on top of the new one.
    need(brief, call(SYS_pivot_root, here, here), doing, nullptr, "pivot_root");
    need(brief, call(SYS_umount2, here, MNT_DETACH), doing, nullptr, "umount2");
  }
  need(brief, call(SYS_chdir, static_cast<const char*>("/")), doing, nullptr, "chdir");
}

void ensure_working_directory(Brief& brief, int root) {
  const PlanHeader& header = brief.plan.header();
  if (header.has_process == 0) return;
  const char* path = brief.plan.text(header.process.cwd);
  if (same_text(path, "/")) return;
  const long directory = InRoot(root).ensure_directory(path, 0755);
  // A path through a magic link or onto a file fails at chdir, with chdir's own words.
  if (directory >= 0) close_fd(directory);
}

bool has_hooks_before_pivot(Brief& brief) {
  for (const HookStep& hook : brief.plan.items(brief.plan.header().hooks)) {
    if (hook.kind == HookKind::Prestart || hook.kind == HookKind::CreateRuntime ||
        hook.kind == HookKind::CreateContainer) {
      return true;
    }
  }
  return false;
}

// What the parent does then moves network devices in, and only then their sysctls
// (net.ipv4.conf.eth0.forwarding) are there.
void ask_before_pivot(Brief& brief) {
  if (has_hooks_before_pivot(brief) || brief.always_ask) ask_parent(brief, Signal::RunHooks);
  if (brief.plan.header().net_devices.count > 0) set_sysctls(brief);
}

}  // namespace

void set_up_root(Brief& brief) {
  const PlanHeader& header = brief.plan.header();
  if (header.net_devices.count == 0) set_sysctls(brief);
  if ((header.flags & plan_own_mounts) == 0) {
    const int root = open_root_directory(brief);
    ask_before_pivot(brief);
    enter_root(brief, root);
    close_fd(root);
    return;
  }
  call(SYS_umask,
       0);  // modes of the plan are meant as they stand; the process's own umask comes last
  const bool bare = brief.bare_mounts >= 0;
  Mounter mounter(brief);
  mounter.open_sources(bare ? Mounter::Which::All : Mounter::Which::Shared);
  if (bare) leave_mounts(brief);
  const int null_device = header.masked_paths.count > 0 ? open_null_device(brief) : -1;
  const int root = bare ? put_root_over_ours(brief) : mount_root(brief);
  mounter.mount_everything(root);
  if ((header.flags & plan_make_devices) != 0) make_devices(brief, root);
  ensure_working_directory(brief, root);
  if (header.has_process != 0 && (header.process.flags & process_terminal) != 0) {
    set_up_console(brief, root, true);
  }
  ask_before_pivot(brief);
  readonly_device_directory(brief, root);
  for (const Text path : brief.plan.items(header.readonly_paths)) {
    make_readonly(brief, root, brief.plan.text(path));
  }
  if (header.masked_paths.count > 0) {
    Masker masker(brief, null_device);
    for (const Text path : brief.plan.items(header.masked_paths))
      masker.mask(root, brief.plan.text(path));
    close_fd(null_device);
  }
  const bool readonly = (header.flags & plan_root_readonly) != 0;
  set_root_attributes(brief, root, readonly ? MOUNT_ATTR_RDONLY : 0, 0);
  mark(brief, Phase::Mounts);
  enter_root(brief, root);
  // Only now: pivot_root(2) refuses a shared root.
  set_root_attributes(brief, root, 0, header.root_propagation);
  close_fd(root);
  mark(brief, Phase::Pivot);
}

}  // namespace nacelle::container
