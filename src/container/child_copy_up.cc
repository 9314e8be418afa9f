// `tmpcopyup`: a tmpfs starts with a copy of what it covers. Descriptors only, links never
// followed, bounded depth; runs where nothing may be allocated.
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "container/child.h"
#include "sys/call.h"
#include "sys/kernel.h"

namespace nacelle::container {

using sys::call;

namespace {

constexpr int copy_depth_max = 24;
constexpr uint32_t entries_bytes = 4096;

struct Entry {  // struct linux_dirent64, getdents64(2)
  uint64_t inode;
  int64_t offset;
  uint16_t length;
  uint8_t type;
  char name[1];  // as long as `length` says
};

bool is_dot_or_dot_dot(const char* name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

long copy_bytes(int from, int to, const char* name, const struct stat& status) {
  const long source =
      call(SYS_openat, from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
  if (source < 0) return source;
  long target =
      call(SYS_openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  long result = target < 0 ? target : 1;
  while (result > 0) {
    constexpr uint32_t chunk = 1u << 20;
    result = call(SYS_sendfile, target, source, nullptr, chunk);
  }
  if (target >= 0) {
    if (result == 0) result = call(SYS_fchown, target, status.st_uid, status.st_gid);
    if (result == 0) result = call(SYS_fchmod, target, status.st_mode & 07777);
    call(SYS_close, target);
  }
  call(SYS_close, source);
  return result;
}

long copy_link(int from, int to, const char* name) {
  char target[path_bytes_max];
  const long length =
      call(SYS_readlinkat, from, name, static_cast<char*>(target), sizeof target - 1);
  if (length < 0) return length;
  target[length] = '\0';
  return call(SYS_symlinkat, static_cast<char*>(target), to, name);
}

long copy_tree(int from, int to, const char* name, const struct stat& status, int depth) {
  if (depth == copy_depth_max) return -ELOOP;
  const long made = call(SYS_mkdirat, to, name, 0700);
  if (made < 0) return made;
  const long source =
      call(SYS_openat, from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (source < 0) return source;
  const long target =
      call(SYS_openat, to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  long result = target < 0
                    ? target
                    : copy_directory(static_cast<int>(source), static_cast<int>(target), depth + 1);
  if (target >= 0) {
    if (result == 0) result = call(SYS_fchown, target, status.st_uid, status.st_gid);
    if (result == 0) result = call(SYS_fchmod, target, status.st_mode & 07777);
    call(SYS_close, target);
  }
  call(SYS_close, source);
  return result;
}

long copy_entry(int from, int to, const char* name, int depth) {
  struct stat status{};
  const long found = call(SYS_newfstatat, from, name, &status, AT_SYMLINK_NOFOLLOW);
  if (found < 0) return found;
  long result = 0;
  switch (status.st_mode & S_IFMT) {
    case S_IFREG: return copy_bytes(from, to, name, status);
    case S_IFDIR: return copy_tree(from, to, name, status, depth);
    case S_IFLNK: result = copy_link(from, to, name); break;
    default: result = call(SYS_mknodat, to, name, status.st_mode, status.st_rdev); break;
  }
  if (result < 0) return result;
  return call(SYS_fchownat, to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW);
}

}  // namespace

long copy_directory(int from, int to, int depth) {
  alignas(Entry) char entries[entries_bytes];
  while (true) {
    const long filled = call(SYS_getdents64, from, static_cast<char*>(entries), sizeof entries);
    if (filled <= 0) return filled;
    for (long at = 0; at < filled;) {
      const auto* entry = reinterpret_cast<const Entry*>(entries + at);
      at += entry->length;
      if (is_dot_or_dot_dot(entry->name)) continue;
      const long result = copy_entry(from, to, entry->name, depth);
      if (result < 0) return result;
    }
  }
}

}  // namespace nacelle::container
