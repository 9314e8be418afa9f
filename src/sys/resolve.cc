#include "sys/resolve.h"

#include <errno.h>

#include "sys/call.h"
#include "sys/kernel.h"

// No libc below: the compiler may still emit calls to memcpy and memset, which are fine.

namespace nacelle::sys {
namespace {

constexpr int path_bytes_max = 4096;
constexpr int walk_depth_max = 128;
constexpr int walk_links_max = 40;      // as the kernel's MAXSYMLINKS
constexpr int kernel_retries_max = 64;  // EAGAIN: a rename raced a ".." (openat2(2))

long length_of(const char* text) {
  long length = 0;
  while (text[length] != '\0') ++length;
  return length;
}

bool is_dot(const char* name, long length) { return length == 1 && name[0] == '.'; }
bool is_dot_dot(const char* name, long length) {
  return length == 2 && name[0] == '.' && name[1] == '.';
}

// The directories entered so far, so that ".." goes back to what was opened on the way in and never
// asks the kernel for a parent that a rename may have moved outside.
class Trail {
 public:
  explicit Trail(int root) : root_(root) {}
  Trail(const Trail&) = delete;
  Trail& operator=(const Trail&) = delete;
  ~Trail() { reset(); }

  int top() const { return depth_ == 0 ? root_ : fds_[depth_ - 1]; }
  bool push(int fd) {
    if (depth_ == walk_depth_max) return false;
    fds_[depth_++] = fd;
    return true;
  }
  void pop() {
    if (depth_ > 0) call(SYS_close, fds_[--depth_]);
  }
  void reset() {
    while (depth_ > 0) pop();
  }

 private:
  int root_;
  int depth_ = 0;
  int fds_[walk_depth_max];
};

// What is still to be walked; a symbolic link's target is put in front of it.
class Remaining {
 public:
  bool assign(const char* path) {
    const long length = length_of(path);
    if (length >= path_bytes_max) return false;
    at_ = path_bytes_max - 1 - length;
    for (long i = 0; i <= length; ++i) text_[at_ + i] = path[i];
    return true;
  }
  // The next component, or nullptr at the end; consumes it and the slashes around it.
  const char* next(long* length) {
    while (text_[at_] == '/') ++at_;
    const char* name = text_ + at_;
    *length = 0;
    while (name[*length] != '\0' && name[*length] != '/') ++*length;
    at_ += *length;
    return *length == 0 ? nullptr : name;
  }
  bool at_end() const {
    long at = at_;
    while (text_[at] == '/') ++at;
    return text_[at] == '\0';
  }
  bool put_in_front(const char* target, long length) {
    if (length + 1 > at_) return false;
    text_[--at_] = '/';
    at_ -= length;
    for (long i = 0; i < length; ++i) text_[at_ + i] = target[i];
    return true;
  }

 private:
  long at_ = path_bytes_max - 1;
  char text_[path_bytes_max] = {};
};

struct Name {
  char text[256];
  bool assign(const char* from, long length) {
    if (length > 255) return false;
    for (long i = 0; i < length; ++i) text[i] = from[i];
    text[length] = '\0';
    return true;
  }
};

}  // namespace

long InRoot::open(const char* path, int flags, Symlinks symlinks) const {
  if (with_ == ResolveWith::Kernel) {
    const long fd = open_with_kernel(path, flags, symlinks);
    if (fd != -ENOSYS && fd != -EPERM && fd != -EAGAIN) return fd;
  }
  return open_with_walk(path, flags, symlinks);
}

long InRoot::open_with_kernel(const char* path, int flags, Symlinks symlinks) const {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  if (symlinks == Symlinks::Refuse) how.resolve |= RESOLVE_NO_SYMLINKS;
  // An empty path is the root itself, as "/" is.
  const char* from_root = path[0] == '\0' ? "/" : path;
  long fd = -EAGAIN;
  for (int i = 0; i < kernel_retries_max && fd == -EAGAIN; ++i) {
    fd = call(SYS_openat2, root_, from_root, &how, sizeof how);
  }
  return fd;
}

long InRoot::open_with_walk(const char* path, int flags, Symlinks symlinks) const {
  Remaining remaining;
  if (!remaining.assign(path)) return -ENAMETOOLONG;
  Trail trail(root_);
  int links = 0;
  long length = 0;
  while (const char* component = remaining.next(&length)) {
    if (is_dot(component, length)) continue;
    if (is_dot_dot(component, length)) {
      trail.pop();
      continue;
    }
    Name name;
    if (!name.assign(component, length)) return -ENAMETOOLONG;
    const long step = call(SYS_openat, trail.top(), name.text, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (step < 0) return step;
    char target[path_bytes_max];
    const long target_length =
        call(SYS_readlinkat, step, static_cast<const char*>(""), target, sizeof target);
    if (target_length < 0) {  // not a link
      if (remaining.at_end() && (flags & O_DIRECTORY) == 0) {
        // Opened through its parent with O_NOFOLLOW: still nothing outside the root can be reached.
        const long fd = (flags & O_PATH) != 0 ? step
                                              : call(SYS_openat, trail.top(), name.text,
                                                     flags | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd != step) call(SYS_close, step);
        return fd;
      }
      if (!trail.push(static_cast<int>(step))) {
        call(SYS_close, step);
        return -ELOOP;
      }
      continue;
    }
    call(SYS_close, step);
    if (symlinks == Symlinks::Refuse || ++links > walk_links_max) return -ELOOP;
    if (remaining.at_end() && (flags & O_NOFOLLOW) != 0) {
      return call(SYS_openat, trail.top(), name.text, flags | O_CLOEXEC, 0);
    }
    if (target_length >= path_bytes_max) return -ENAMETOOLONG;
    if (target[0] == '/') trail.reset();
    if (!remaining.put_in_front(target, target_length)) return -ENAMETOOLONG;
  }
  return call(SYS_openat, trail.top(), static_cast<const char*>("."), flags | O_CLOEXEC, 0);
}

long InRoot::ensure_directory(const char* path, mode_t mode, Symlinks symlinks) const {
  const long existing = open(path, O_PATH | O_DIRECTORY, symlinks);
  if (existing != -ENOENT) return existing;

  // Grow a prefix of the path by one component at a time: each prefix is resolved afresh, so links
  // in the part that exists are followed inside the root, and made beneath a descriptor of its
  // parent. A dangling link in the way is -EEXIST from mkdirat, never a directory somewhere else.
  char prefix[path_bytes_max];
  const long length = length_of(path);
  if (length >= path_bytes_max) return -ENAMETOOLONG;
  long parent = open("/", O_PATH | O_DIRECTORY, symlinks);
  long at = 0;
  while (parent >= 0) {
    while (path[at] == '/') prefix[at] = path[at], ++at;
    if (at == length) return parent;
    const long start = at;
    while (at < length && path[at] != '/') prefix[at] = path[at], ++at;
    prefix[at] = '\0';
    long next = open(prefix, O_PATH | O_DIRECTORY, symlinks);
    if (next == -ENOENT) {
      const long made = call(SYS_mkdirat, parent, prefix + start, mode);
      next = made < 0 && made != -EEXIST ? made
                                         : call(SYS_openat, parent, prefix + start,
                                                O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    }
    call(SYS_close, parent);
    parent = next;
  }
  return parent;
}

long InRoot::ensure_parent(const char* path, const char** name) const {
  const long length = length_of(path);
  if (length >= path_bytes_max) return -ENAMETOOLONG;
  long end = length;
  while (end > 0 && path[end - 1] == '/') --end;
  long start = end;
  while (start > 0 && path[start - 1] != '/') --start;
  if (start == end || is_dot(path + start, end - start) || is_dot_dot(path + start, end - start)) {
    return -EINVAL;
  }
  // A trailing slash would end up in the name; such paths name directories, not nodes.
  if (end != length) return -EINVAL;
  *name = path + start;
  char parent[path_bytes_max];
  for (long i = 0; i < start; ++i) parent[i] = path[i];
  parent[start] = '\0';
  return ensure_directory(parent, 0755);
}

long InRoot::ensure_file(const char* path, mode_t mode) const {
  const long existing = open(path, O_PATH);
  if (existing != -ENOENT) return existing;
  const char* name = nullptr;
  const long parent = ensure_parent(path, &name);
  if (parent < 0) return parent;
  // O_EXCL: a dangling link is -EEXIST, not a new file wherever it points.
  const long made =
      call(SYS_openat, parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, mode);
  long fd = made;
  if (made >= 0) {
    call(SYS_close, made);
    fd = call(SYS_openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  }
  call(SYS_close, parent);
  return fd;
}

}  // namespace nacelle::sys
