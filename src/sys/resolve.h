// Paths inside a root whose content someone hostile may control and change while we look.
// Everything here ends on a descriptor that was inside the root when it was opened; nothing is
// checked first and used later. Raw: safe between clone3 and execve, answers are negative errnos.
//
// openat2(RESOLVE_IN_ROOT) does the work where it is allowed; where it is not (ENOSYS before 5.6,
// EPERM under a seccomp filter of an outer container) a walk component by component does the same.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace nacelle::sys {

enum class ResolveWith { Kernel, Walk };

// A directory that plays "/" for the paths below. `root` is borrowed.
class InRoot {
 public:
  explicit InRoot(int root, ResolveWith with = ResolveWith::Kernel) : root_(root), with_(with) {}

  // Opens `path` as if chrooted: symbolic links are followed inside the root, magic links never.
  // `flags` are open(2)'s (CLOEXEC is added). Symlinks::Refuse fails with -ELOOP on any link.
  enum class Symlinks { Follow, Refuse };
  long open(const char* path, int flags, Symlinks symlinks = Symlinks::Follow) const;

  // Opens the directory `path` (O_PATH), making what is missing of it with `mode`, one component at
  // a time, each made and opened beneath a descriptor of the one before.
  long ensure_directory(const char* path, mode_t mode, Symlinks symlinks = Symlinks::Follow) const;

  // The same for an empty regular file; its parents are made 0755.
  long ensure_file(const char* path, mode_t mode) const;

  // Opens the directory that holds `path`, making what is missing (0755), and points `*name` at the
  // last component inside `path`. -EINVAL when there is none ("/", "", "a/..").
  long ensure_parent(const char* path, const char** name) const;

 private:
  long open_with_kernel(const char* path, int flags, Symlinks symlinks) const;
  long open_with_walk(const char* path, int flags, Symlinks symlinks) const;

  int root_;
  ResolveWith with_;
};

}  // namespace nacelle::sys
