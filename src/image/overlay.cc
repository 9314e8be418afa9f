#include "image/overlay.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "image/disk.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/mount_api.h"

namespace nacelle::image {
namespace {

using sys::call;
using Way = OverlayOptions::Way;

std::string name_of(const Fd& file) { return cat("/proc/self/fd/", file.get()); }

// One layer, read-only: overlayfs wants two, and a bind mount is cheaper to read through.
Result<Fd> mount_single(const Fd& tree) {
  Fd mount = TRY(sys::clone_mount(tree));
  TRY(sys::set_mount_attributes(mount, MOUNT_ATTR_RDONLY));
  return mount;
}

Result<> set_directory(sys::NewFileSystem& overlay, const char* key, const Fd& directory, Way way) {
  if (way == Way::ByDescriptor) return overlay.set(key, directory);
  return overlay.set(key, name_of(directory).c_str());
}

Result<Fd> mount_one_at_a_time(const OverlayOptions& options, Way way) {
  auto overlay = TRY(sys::NewFileSystem::open("overlay"));
  TRY(overlay.set("source", "nacelle"));
  // The kernel's first is the topmost.
  for (size_t at = options.lower.size(); at > 0; --at) {
    TRY(set_directory(overlay, "lowerdir+", *options.lower[at - 1], way));
  }
  if (options.upper != nullptr) {
    TRY(set_directory(overlay, "upperdir", *options.upper, way));
    TRY(set_directory(overlay, "workdir", *options.work, way));
    // Whatever this kernel's defaults are: an upper directory must say by itself what it changes,
    // so that it can be packed as a layer.
    TRY(overlay.set("redirect_dir", "off"));
    TRY(overlay.set("metacopy", "off"));
    TRY(overlay.set("index", "off"));
    if (options.is_volatile) TRY(overlay.set_flag("volatile"));
  }
  return overlay.mount(options.upper == nullptr ? MOUNT_ATTR_RDONLY : 0);
}

// Where a directory is, for a namespace with mounts of its own: overlayfs takes no layer whose
// mount belongs to another one, and a descriptor's does. Empty when it cannot be said.
std::string path_of(const Fd& directory) {
  return sys::read_link_at(sys::working_directory, name_of(directory).c_str()).value_or("");
}

// REMOVE when 6.8 is the floor. mount(2) takes one page of options, in which hundreds of layers
// must have room: a child with mounts of its own gives each a name of one or two letters, a link in
// a tmpfs that it stands in, and hands back a detached clone of the mount.
class OnePage {
 public:
  explicit OnePage(const OverlayOptions& options) : options_(options) {
    for (size_t at = options.lower.size(); at > 0; --at) {
      options_text_ +=
          cat(at == options.lower.size() ? "lowerdir=" : ":", add(*options.lower[at - 1]));
    }
    if (options.upper == nullptr) return;
    options_text_ += cat(",upperdir=", add(*options.upper));
    options_text_ +=
        cat(",workdir=", add(*options.work), ",redirect_dir=off,metacopy=off,index=off");
    if (options.is_volatile) options_text_ += ",volatile";
  }

  Result<Fd> mount() {
    if (options_text_.size() >= static_cast<size_t>(::getpagesize())) {
      return fail(Kind::Exhausted, cat(options_.lower.size(),
                                       " layers: before Linux 6.8, overlayfs "
                                       "takes as many as one page of options can name"));
    }
    void* shared =
        ::mmap(nullptr, sizeof(Answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return fail_errno(errno, "mmap");
    answer_ = static_cast<Answer*>(shared);
    clone_args arguments{};
    // With its descriptors: the mount it opens is then ours.
    arguments.flags = CLONE_FILES | CLONE_NEWNS;
    arguments.exit_signal = SIGCHLD;
    const long pid = call(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) {
      run_child();
      call(SYS_exit_group, 0);
    }
    if (pid > 0) {
      while (::waitpid(static_cast<pid_t>(pid), nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    const Answer answer = *answer_;
    ::munmap(shared, sizeof(Answer));
    if (pid < 0) return fail_errno(static_cast<int>(-pid), "clone3");
    if (answer.step == nullptr) return fail(Kind::Internal, "the mounting process died");
    if (answer.result < 0) return fail_errno(static_cast<int>(-answer.result), answer.step);
    return Fd(static_cast<int>(answer.result));
  }

 private:
  struct Answer {
    const char* step;
    long result;
  };
  struct Link {
    std::string name, target;
  };

  const std::string& add(const Fd& directory) {
    constexpr std::string_view letters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    std::string name;
    for (size_t number = links_.size() + 1; number > 0; number /= letters.size() + 1) {
      const size_t digit = number % (letters.size() + 1);
      name += digit == 0 ? '_' : letters[digit - 1];
    }
    return links_.emplace_back(std::move(name), path_of(directory)).name;
  }

  // Raw calls only: nothing here touches a lock or the allocator.
  bool did(const char* step, long result) {
    answer_->step = step;
    answer_->result = result;
    return result >= 0;
  }
  void run_child() {
    constexpr const char* none = nullptr;
    constexpr const char* root = "/";
    constexpr const char* target = "_";
    constexpr unsigned long private_recursively = 1ul << 18 | 1ul << 14;  // MS_PRIVATE | MS_REC
    constexpr unsigned long read_only = 1;                                // MS_RDONLY
    if (!did("mount private '/'", call(SYS_mount, none, root, none, private_recursively, none))) {
      return;
    }
    const char* type = "tmpfs";
    const long context = call(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (!did("fsopen 'tmpfs'", context)) return;
    did("fsconfig 'tmpfs'", call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0));
    const long links = call(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
    call(SYS_close, context);
    if (!did("fsmount 'tmpfs'", links)) return;
    // Onto "/" it can stand unseen: what is looked up from the root still starts beneath it.
    const long attached = call(SYS_move_mount, links, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH);
    const long entered = attached < 0 ? attached : call(SYS_fchdir, links);
    call(SYS_close, links);
    if (!did("entering a tmpfs", entered)) return;
    for (const Link& link : links_) {
      if (!did("symlink", call(SYS_symlink, link.target.c_str(), link.name.c_str()))) return;
    }
    if (!did("mkdir", call(SYS_mkdir, target, 0700))) return;
    const char* overlay = "overlay";
    if (!did("mount 'overlay'",
             call(SYS_mount, overlay, target, overlay, options_.upper == nullptr ? read_only : 0,
                  options_text_.c_str()))) {
      return;
    }
    did("open_tree", call(SYS_open_tree, AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  }

  const OverlayOptions& options_;
  std::vector<Link> links_;
  std::string options_text_;
  Answer* answer_ = nullptr;
};

// What this kernel can do is found out once, by doing it.
Result<Fd> mount_best(const OverlayOptions& options) {
  static std::atomic<Way> best = Way::ByDescriptor;  // mounts are made on threads, too
  auto mount = mount_one_at_a_time(options, best);
  if (mount || best != Way::ByDescriptor) return mount;
  // EINVAL has many reasons; the next way down tells whether the way was one of them.
  auto by_name = mount_one_at_a_time(options, Way::ByName);
  if (by_name) {
    best = Way::ByName;
    return by_name;
  }
  return mount;
}

bool left_by_a_crash(const Fd& work) {
  struct stat status;
  return ::fstatat(work.get(), "work/incompat/volatile", &status, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

Result<> end_volatile(const Fd& work) {
  auto incompatible =
      sys::open_at(work.get(), "work/incompat", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!incompatible && incompatible.error().error_number() == ENOENT) return {};
  const Fd opened = TRY(std::move(incompatible));
  auto removed = remove_tree_now(opened, "volatile");
  if (!removed && removed.error().error_number() == ENOENT) return {};
  return removed;
}

Result<Fd> mount_overlay(const OverlayOptions& options) {
  const size_t count = options.lower.size();
  const auto doing = [&] { return cat("mounting ", count, count == 1 ? " layer" : " layers"); };
  if (count == 0) return fail(Kind::Invalid, "an image without layers has nothing to mount");
  if (count > oci::layers_max) {
    return fail(Kind::Exhausted,
                cat(count, " layers: overlayfs stacks ", oci::layers_max, " at most"));
  }
  if ((options.upper == nullptr) != (options.work == nullptr)) {
    return fail(Kind::Invalid, "an upper directory goes with a work directory");
  }
  if (count == 1 && options.upper == nullptr) return mount_single(*options.lower[0]).context(doing);
  auto mount = options.way == Way::Best      ? mount_best(options)
               : options.way == Way::OnePage ? OnePage(options).mount()
                                             : mount_one_at_a_time(options, options.way);
  if (!mount && options.work != nullptr && left_by_a_crash(*options.work)) {
    return fail(Kind::Conflict,
                cat(doing(),
                    ": the upper directory was volatile and its mount did not end in order, "
                    "so its content may be damaged: begin with an empty one"));
  }
  return std::move(mount).context(doing);
}

}  // namespace nacelle::image
