// What building a root costs: file systems made and attached, paths masked, the pivot, and paths
// resolved inside the root. Each step is a child's with a mount namespace (and others) of its own,
// on a tmpfs over /tmp that nobody else sees.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "bench/micro/measure.h"
#include "sys/kernel.h"
#include "sys/resolve.h"

namespace nacelle::bench {
namespace {

using benchmark::State;
using sys::call;

constexpr const char* empty_path = "";
constexpr const char* none = nullptr;
constexpr const char* here = "/tmp";
constexpr unsigned long mount_private_recursively = 1ul << 18 | 1ul << 14;  // MS_PRIVATE | MS_REC
constexpr unsigned long mount_bind = 1ul << 12;                             // MS_BIND

long make_file_system(const char* type) {
  const long context = call(SYS_fsopen, type, FSOPEN_CLOEXEC);
  if (context < 0) return context;
  const Fd owned(static_cast<int>(context));
  const long made = call(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (made < 0) return made;
  return call(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
}

long clone_mount(long fd, unsigned flags = 0) {
  return call(SYS_open_tree, fd, empty_path,
              AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

long attach_onto(long mount, long target) {
  return call(SYS_move_mount, mount, empty_path, target, empty_path,
              MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

long open_path(const char* path) { return call(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0); }

long first_error(std::initializer_list<long> results) {
  for (const long result : results) {
    if (result < 0) return result;
  }
  return 0;
}

// A tmpfs of our own to work on, with a directory and a file.
long set_up() {
  if (const long kept = call(SYS_mount, none, static_cast<const char*>("/"), none,
                             mount_private_recursively, none);
      kept < 0) {
    return kept;
  }
  return first_error({attach_onto(make_file_system("tmpfs"), open_path(here)),
                      call(SYS_mkdir, static_cast<const char*>("/tmp/directory"), 0755),
                      call(SYS_mknod, static_cast<const char*>("/tmp/file"), S_IFREG | 0644, 0)});
}

// `step` gives a negative errno, or anything else.
template <class Step>
void measure_mounting(State& state, uint64_t more_namespaces, Step step) {
  measure_in_children(state, CLONE_NEWNS | more_namespaces, [&](Watch& watch) -> long {
    const long ready = set_up();
    return ready < 0 ? ready : step(watch);
  });
}

void mount_new(State& state, const char* type, uint64_t more_namespaces) {
  measure_mounting(state, more_namespaces, [&](Watch& watch) {
    watch.start();
    const long mount = make_file_system(type);
    watch.stop();
    return mount;
  });
}
BENCHMARK_CAPTURE(mount_new, tmpfs, "tmpfs", 0)->BY_HAND;
BENCHMARK_CAPTURE(mount_new, proc, "proc", CLONE_NEWPID)->BY_HAND;
BENCHMARK_CAPTURE(mount_new, sysfs, "sysfs", CLONE_NEWNET)->BY_HAND;
BENCHMARK_CAPTURE(mount_new, devpts, "devpts", 0)->BY_HAND;
BENCHMARK_CAPTURE(mount_new, mqueue, "mqueue", CLONE_NEWIPC)->BY_HAND;
BENCHMARK_CAPTURE(mount_new, cgroup2, "cgroup2", CLONE_NEWCGROUP)->BY_HAND;

// The same in one call that resolves the destination's path again: mount(2).
void mount_old(State& state, const char* type, uint64_t more_namespaces) {
  measure_mounting(state, more_namespaces, [&](Watch& watch) {
    watch.start();
    const long result =
        call(SYS_mount, type, static_cast<const char*>("/tmp/directory"), type, 0, none);
    watch.stop();
    return result;
  });
}
BENCHMARK_CAPTURE(mount_old, tmpfs, "tmpfs", 0)->BY_HAND;
BENCHMARK_CAPTURE(mount_old, proc, "proc", CLONE_NEWPID)->BY_HAND;

void mount_attach(State& state) {
  measure_mounting(state, 0, [](Watch& watch) {
    const long mount = make_file_system("tmpfs");
    const long target = open_path("/tmp/directory");
    watch.start();
    const long result = attach_onto(mount, target);
    watch.stop();
    return result;
  });
}
BENCHMARK(mount_attach)->BY_HAND;

// A bind mount: open_tree and move_mount by descriptor, against mount(2) by path.
void bind_by_descriptor(State& state) {
  measure_mounting(state, 0, [](Watch& watch) {
    const long source = open_path("/dev/null");
    const long target = open_path("/tmp/file");
    watch.start();
    const long mount = clone_mount(source);
    const long result = mount < 0 ? mount : attach_onto(mount, target);
    watch.stop();
    return result;
  });
}
BENCHMARK(bind_by_descriptor)->BY_HAND;

void bind_by_path(State& state) {
  measure_mounting(state, 0, [](Watch& watch) {
    watch.start();
    const long result = call(SYS_mount, static_cast<const char*>("/dev/null"),
                             static_cast<const char*>("/tmp/file"), none, mount_bind, none);
    watch.stop();
    return result;
  });
}
BENCHMARK(bind_by_path)->BY_HAND;

// A clone that is closed without having been attached waits for an RCU grace period.
void clone_closed_unattached(State& state) {
  measure_mounting(state, 0, [](Watch& watch) {
    const long source = open_path("/dev/null");
    watch.start();
    const long mount = clone_mount(source);
    if (mount >= 0) call(SYS_close, mount);
    watch.stop();
    return mount;
  });
}
BENCHMARK(clone_closed_unattached)->BY_HAND;

// One masked path, from looking it up to its cover closed; `make` gives the cover, which is not
// closed by who makes it.
template <class Make>
void mask(State& state, const char* path, const char* source, Make make) {
  measure_mounting(state, 0, [&](Watch& watch) {
    const long root = open_path(here);
    const long from = source != nullptr ? open_path(source) : make_file_system("tmpfs");
    watch.start();
    const long target = sys::InRoot(static_cast<int>(root)).open(path, O_PATH);
    const long cover = make(from);
    const long result = first_error({target, cover, attach_onto(cover, target)});
    call(SYS_close, cover);
    call(SYS_close, target);
    watch.stop();
    return result;
  });
}
void mask_file(State& state) {
  mask(state, "/file", "/dev/null", [](long null_device) { return clone_mount(null_device); });
}
BENCHMARK(mask_file)->BY_HAND;
void mask_directory_shared(State& state) {
  mask(state, "/directory", nullptr, [](long shared) { return clone_mount(shared); });
}
BENCHMARK(mask_directory_shared)->BY_HAND;
void mask_directory_own(State& state) {
  mask(state, "/directory", here, [](long) { return make_file_system("tmpfs"); });
}
BENCHMARK(mask_directory_own)->BY_HAND;

// The host's root, bound onto the directory: what the container then sees as "/".
long enter_new_root() {
  const long target = open_path("/tmp/directory");
  const long root = clone_mount(open_path("/"));
  return first_error({target, root, attach_onto(root, target), call(SYS_fchdir, root)});
}

constexpr const char* dot = ".";

void pivot_root(State& state) {
  measure_mounting(state, 0, [](Watch& watch) {
    if (const long entered = enter_new_root(); entered < 0) return entered;
    watch.start();
    const long result = call(SYS_pivot_root, dot, dot);
    watch.stop();
    return result;
  });
}
BENCHMARK(pivot_root)->BY_HAND;

void umount_old_root(State& state) {
  measure_mounting(state, 0, [](Watch& watch) {
    const long pivoted = first_error({enter_new_root(), call(SYS_pivot_root, dot, dot)});
    if (pivoted < 0) return pivoted;
    watch.start();
    const long result = call(SYS_umount2, dot, MNT_DETACH);
    watch.stop();
    return result;
  });
}
BENCHMARK(umount_old_root)->BY_HAND;

// Paths inside a root: openat2(RESOLVE_IN_ROOT), and the walk that stands in for it.
void open_in_root(State& state, const char* path, sys::ResolveWith with) {
  constexpr int times = 100;
  measure_in_children(
      state, CLONE_NEWNS,
      [&](Watch& watch) -> long {
        const long ready = first_error(
            {set_up(), call(SYS_mkdir, static_cast<const char*>("/tmp/directory/a"), 0755),
             call(SYS_mkdir, static_cast<const char*>("/tmp/directory/a/b"), 0755),
             call(SYS_mkdir, static_cast<const char*>("/tmp/directory/a/b/c"), 0755),
             call(SYS_symlink, static_cast<const char*>("/directory/a"),
                  static_cast<const char*>("/tmp/link"))});
        if (ready < 0) return ready;
        const sys::InRoot root(static_cast<int>(open_path(here)), with);
        watch.start();
        for (int i = 0; i < times; ++i) {
          const long opened = root.open(path, O_PATH);
          if (opened < 0) return opened;
          call(SYS_close, opened);
        }
        watch.stop();
        return 0;
      },
      times);
}
using sys::ResolveWith;
BENCHMARK_CAPTURE(open_in_root, kernel_1, "/directory", ResolveWith::Kernel)->BY_HAND;
BENCHMARK_CAPTURE(open_in_root, walk_1, "/directory", ResolveWith::Walk)->BY_HAND;
BENCHMARK_CAPTURE(open_in_root, kernel_4, "/directory/a/b/c", ResolveWith::Kernel)->BY_HAND;
BENCHMARK_CAPTURE(open_in_root, walk_4, "/directory/a/b/c", ResolveWith::Walk)->BY_HAND;
BENCHMARK_CAPTURE(open_in_root, kernel_link, "/link/b/c", ResolveWith::Kernel)->BY_HAND;
BENCHMARK_CAPTURE(open_in_root, walk_link, "/link/b/c", ResolveWith::Walk)->BY_HAND;

}  // namespace
}  // namespace nacelle::bench
