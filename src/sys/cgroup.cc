#include "sys/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.h"

namespace nacelle::sys {
namespace {

constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
constexpr size_t control_file_bytes_max = 16u << 20;  // a cgroup.procs of two million processes
constexpr size_t name_bytes_max = 255;                // NAME_MAX, which kernfs keeps to
constexpr size_t path_bytes_max = 4095;
constexpr int ensure_attempts_max = 16;
constexpr int remove_poll_ms_max = 16;

enum class TreeAt { Here, Elsewhere, Absent };

TreeAt look_for_tree(const char* path, std::string& found) {
  struct statfs filesystem;
  if (::statfs(path, &filesystem) != 0) {
    found = cat("nothing (", std::strerror(errno), ")");
    return TreeAt::Absent;
  }
  switch (filesystem.f_type) {
    case CGROUP2_SUPER_MAGIC: return TreeAt::Here;
    case CGROUP_SUPER_MAGIC: found = "cgroup v1"; break;
    case TMPFS_MAGIC: found = "a tmpfs (cgroup v1 controllers)"; break;
    case SYSFS_MAGIC: found = "nothing (the bare sysfs directory)"; break;
    default: found = "another file system"; break;
  }
  return TreeAt::Elsewhere;
}

Result<Fd> open_directory(int at, const char* path, int flags = 0) {
  const int fd = ::openat(at, path, directory_flags | flags);
  if (fd < 0) return fail_errno(errno, cat("open cgroup '", path, "'"));
  return Fd(fd);
}

// Where openat2 is missing or filtered away: one component at a time, following no link.
Result<Fd> walk_beneath(const Fd& root, const std::string& path) {
  Fd here = TRY(open_directory(root.get(), "."));
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string name(take_until(rest, '/'));
    here = TRY(open_directory(here.get(), name.c_str(), O_NOFOLLOW));
  }
  return here;
}

// `path` is clean: no "..", no empty component.
Result<Fd> open_beneath(const Fd& root, const std::string& path) {
  if (path.empty()) return open_directory(root.get(), ".");
  struct open_how how = {};
  how.flags = directory_flags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const long fd = ::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how);
  if (fd >= 0) return Fd(static_cast<int>(fd));
  if (errno == ENOSYS || errno == EPERM) return walk_beneath(root, path);
  return fail_errno(errno, cat("open cgroup '/", path, "'"));
}

// A parent that went away between being found and being used: kernfs says ENODEV for the dead
// directory, ENOENT for the missing name.
bool is_vanished(int error_number) { return error_number == ENOENT || error_number == ENODEV; }

Error explain_mkdir(int error_number, const std::string& path) {
  Error error = Error::from_errno(error_number, cat("mkdir cgroup '/", path, "'"));
  if (error_number == EROFS) {
    error = Error(Kind::Denied, cat("mkdir cgroup '/", path,
                                    "': the cgroup tree is mounted "
                                    "read-only: remount it read-write"));
  }
  if (error_number == EAGAIN) {
    error = Error(Kind::Exhausted, cat("mkdir cgroup '/", path,
                                       "': cgroup.max.descendants or "
                                       "cgroup.max.depth of an ancestor is reached"));
  }
  return error;
}

// Calls `visit(name)` for each sub-directory until it returns false. The offset of `dir` moves.
template <class Visit>
Result<> each_child(int dir, Visit visit) {
  alignas(dirent64) char buffer[16384];
  if (::lseek(dir, 0, SEEK_SET) < 0) return fail_errno(errno, "rewind cgroup directory");
  for (;;) {
    const long bytes = ::syscall(SYS_getdents64, dir, buffer, sizeof buffer);
    if (bytes < 0) return fail_errno(errno, "list cgroup directory");
    if (bytes == 0) return {};
    for (long at = 0; at < bytes;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      const std::string_view name = entry->d_name;
      if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
      if (!visit(name)) return {};
    }
  }
}

// The first sub-directory, or "" when there is none (any more).
Result<std::string> find_child(const Fd& dir) {
  std::string child;
  const auto listed = each_child(dir.get(), [&](std::string_view name) {
    child = name;
    return false;
  });
  // A directory that was removed under us has no children.
  if (!listed && is_vanished(listed.error().error_number())) return std::string();
  if (!listed) return std::unexpected(listed.error());
  return child;
}

int remaining_ms(Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

// rmdir that waits out dying processes: the kernel says EBUSY until the last has left the group.
Result<> remove_directory(const Fd& parent, const std::string& name, Deadline deadline) {
  int pause_ms = 1;
  for (;;) {
    if (::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) == 0 || is_vanished(errno)) return {};
    const int error_number = errno;
    if (error_number == EINTR) continue;
    const int left_ms = remaining_ms(deadline);
    if (error_number != EBUSY || left_ms == 0) {
      return fail_errno(error_number, cat("rmdir cgroup '", name, "'"));
    }
    ::poll(nullptr, 0, std::min(pause_ms, left_ms));
    pause_ms = std::min(pause_ms * 2, remove_poll_ms_max);
  }
}

// Empties `top` of groups with two descriptors however deep it is: a workload may nest as deep as
// it likes. Goes back up by ".."; groups cannot be renamed, so ".." is where we came from.
Result<> remove_children(const Fd& top, Deadline deadline) {
  Fd here = TRY(open_directory(top.get(), "."));
  std::vector<std::string> trail;
  for (;;) {
    std::string child = TRY(find_child(here));
    if (!child.empty()) {
      const int fd = ::openat(here.get(), child.c_str(), directory_flags | O_NOFOLLOW);
      if (fd < 0 && is_vanished(errno)) continue;
      if (fd < 0) return fail_errno(errno, cat("open cgroup '", child, "'"));
      here = Fd(fd);
      trail.push_back(std::move(child));
      continue;
    }
    if (trail.empty()) return {};
    here = TRY(open_directory(here.get(), ".."));
    TRY(remove_directory(here, trail.back(), deadline));
    trail.pop_back();
  }
}

Result<> add_pids(const Fd& group, std::vector<pid_t>& pids) {
  auto text = read_control(group, "cgroup.procs");
  if (!text) {
    // A threaded group lists no processes: they are in the domain above, which is read too.
    if (text.error().error_number() == EOPNOTSUPP) return {};
    if (is_vanished(text.error().error_number())) return {};
    return std::unexpected(std::move(text).error());
  }
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view line = take_until(rest, '\n');
    if (line.empty()) continue;
    const auto pid = parse_number<pid_t>(line);
    if (!pid) return fail(Kind::Internal, cat("cgroup.procs: '", line, "' is not a process id"));
    if (*pid != 0) pids.push_back(*pid);  // 0: outside our pid namespace
  }
  return {};
}

// The controllers of `wanted` that `have` does not name.
std::vector<std::string_view> missing_from(std::string_view have,
                                           std::span<const std::string_view> wanted) {
  std::vector<std::string_view> missing;
  for (const std::string_view controller : wanted) {
    if (!has_word(have, controller)) missing.push_back(controller);
  }
  return missing;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Error absent_controller(std::string_view controller, const std::string& where,
                        std::string_view have) {
  return Error(Kind::Unsupported, cat("the ", controller, " controller is not available in ", where,
                                      ": enabled there: ", have.empty() ? "none" : have));
}

// Turns `controllers` on for the children of `group`.
Result<> enable_for_children(const Fd& group, const std::string& where,
                             std::span<const std::string_view> controllers) {
  const std::string on = TRY(read_control(group, "cgroup.subtree_control"));
  const auto missing = missing_from(on, controllers);
  if (missing.empty()) return {};
  const std::string have = trimmed(TRY(read_control(group, "cgroup.controllers")));
  for (const std::string_view controller : missing) {
    if (!has_word(have, controller)) {
      return std::unexpected(absent_controller(controller, where, have));
    }
    const auto written = write_control(group, "cgroup.subtree_control", cat("+", controller));
    if (written) continue;
    if (written.error().error_number() == EBUSY) {
      return fail(Kind::Conflict,
                  cat("the ", controller, " controller cannot be enabled beneath ", where,
                      ": it holds processes of its own, and a group with enabled controllers may "
                      "not: move them into a group beneath it"));
    }
    return std::unexpected(written.error());
  }
  return {};
}

}  // namespace

Result<CgroupTree> open_cgroup_tree_at(std::string mount) {
  std::string found;
  if (look_for_tree(mount.c_str(), found) != TreeAt::Here) {
    return fail(Kind::Unsupported,
                cat("cgroup v2 is not mounted at ", mount, ": what is there is ", found));
  }
  Fd root = TRY(open_directory(AT_FDCWD, mount.c_str()));
  return CgroupTree{std::move(root), std::move(mount)};
}

Result<CgroupTree> open_cgroup_tree() {
  std::string found;
  std::string ignored;
  if (look_for_tree("/sys/fs/cgroup", found) == TreeAt::Here) {
    return CgroupTree{TRY(open_directory(AT_FDCWD, "/sys/fs/cgroup")), "/sys/fs/cgroup"};
  }
  if (look_for_tree("/sys/fs/cgroup/unified", ignored) == TreeAt::Here) {
    return CgroupTree{TRY(open_directory(AT_FDCWD, "/sys/fs/cgroup/unified")),
                      "/sys/fs/cgroup/unified"};
  }
  return fail(Kind::Unsupported,
              cat("cgroup v2 is not mounted at /sys/fs/cgroup: what is there is ", found,
                  ": boot with systemd.unified_cgroup_hierarchy=1, or run "
                  "`mount -t cgroup2 none /sys/fs/cgroup`"));
}

Result<std::string> parse_own_cgroup(std::string_view proc_cgroup) {
  while (!proc_cgroup.empty()) {
    const std::string_view line = take_until(proc_cgroup, '\n');
    if (!line.starts_with("0::")) continue;
    std::string_view path = line.substr(3);
    // The kernel appends this when the group was removed under its last process.
    if (path.ends_with(" (deleted)")) path.remove_suffix(std::strlen(" (deleted)"));
    if (!path.starts_with('/')) break;
    return std::string(path);
  }
  return fail(Kind::Unsupported,
              "/proc/self/cgroup: no line \"0::/...\": this kernel has no cgroup v2");
}

Result<std::string> read_own_cgroup() {
  Fd proc = TRY(open_directory(AT_FDCWD, "/proc/self"));
  return parse_own_cgroup(TRY(read_control(proc, "cgroup")));
}

Result<std::string> clean_cgroup_path(std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return fail(Kind::Invalid, cat("cgroup path '", path, "': ", why));
  };
  if (path.find('\0') != path.npos || path.find('\n') != path.npos) {
    return fail(Kind::Invalid, "cgroup path: holds a NUL or a newline");
  }
  std::string clean;
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string_view name = take_until(rest, '/');
    if (name.empty() || name == ".") continue;
    if (name == "..") return refuse("'..' is not allowed");
    if (name.size() > name_bytes_max) return refuse("a name is longer than 255 bytes");
    if (!clean.empty()) clean += '/';
    clean += name;
  }
  if (clean.size() > path_bytes_max) return refuse("is longer than 4095 bytes");
  return clean;
}

Result<Fd> open_cgroup(const CgroupTree& tree, const std::string& path) {
  return open_beneath(tree.root, TRY(clean_cgroup_path(path)));
}

Result<EnsuredCgroup> ensure_cgroup(const CgroupTree& tree, const std::string& path) {
  const std::string clean = TRY(clean_cgroup_path(path));
  EnsuredCgroup ensured;
  if (clean.empty()) {
    ensured.dir = TRY(open_beneath(tree.root, clean));
    ensured.existed = true;
    return ensured;
  }
  const auto give_up = [&](Error error) {
    ensured.dir = Fd();
    remove_made_cgroups(tree, ensured.made);
    return std::unexpected(std::move(error));
  };

  // The usual case first: only the innermost group is missing.
  const size_t cut = clean.rfind('/');
  const std::string above = cut == clean.npos ? std::string() : clean.substr(0, cut);
  const std::string leaf = cut == clean.npos ? clean : clean.substr(cut + 1);
  for (int attempt = 0; attempt < ensure_attempts_max; ++attempt) {
    auto parent = open_beneath(tree.root, above);
    if (!parent && !is_vanished(parent.error().error_number())) {
      return give_up(std::move(parent).error());
    }
    if (!parent) {
      // Makes the ancestors one by one; whoever removes an empty one meanwhile sends us round.
      for (size_t end = above.find('/');; end = above.find('/', end + 1)) {
        const std::string part = above.substr(0, end);
        if (::mkdirat(tree.root.get(), part.c_str(), 0755) == 0) {
          if (std::ranges::find(ensured.made, part) == ensured.made.end()) {
            ensured.made.push_back(part);
          }
        } else if (is_vanished(errno)) {
          break;
        } else if (errno != EEXIST) {
          return give_up(explain_mkdir(errno, part));
        }
        if (end == above.npos) break;
      }
      continue;
    }
    ensured.existed = false;
    if (::mkdirat(parent->get(), leaf.c_str(), 0755) == 0) {
      ensured.made.push_back(clean);
    } else if (errno == EEXIST) {
      ensured.existed = true;
    } else if (is_vanished(errno)) {
      continue;
    } else {
      return give_up(explain_mkdir(errno, clean));
    }
    auto dir = open_directory(parent->get(), leaf.c_str(), O_NOFOLLOW);
    if (!dir && ensured.existed && is_vanished(dir.error().error_number())) continue;
    if (!dir) return give_up(std::move(dir).error());
    ensured.dir = *std::move(dir);
    return ensured;
  }
  return give_up(
      Error(Kind::Unavailable, cat("mkdir cgroup '/", clean, "': its parent was removed ",
                                   ensure_attempts_max, " times meanwhile")));
}

void remove_made_cgroups(const CgroupTree& tree, std::span<const std::string> made) {
  for (size_t left = made.size(); left-- > 0;) {
    if (::unlinkat(tree.root.get(), made[left].c_str(), AT_REMOVEDIR) == 0) continue;
    if (!is_vanished(errno)) return;  // in use by others: so are those above it
  }
}

Result<std::string> read_control(const Fd& group, const char* file) {
  const auto attempt = [&](std::string_view verb) { return cat(verb, " '", file, "'"); };
  const Fd opened(::openat(group.get(), file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!opened) return fail_errno(errno, attempt("open"));
  std::string text(4096, '\0');
  size_t used = 0;
  for (;;) {
    const ssize_t bytes = ::read(opened.get(), text.data() + used, text.size() - used);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return fail_errno(errno, attempt("read"));
    if (bytes == 0) break;
    used += static_cast<size_t>(bytes);
    if (used > control_file_bytes_max) {
      return fail(Kind::Exhausted, cat("read '", file, "': longer than 16 MiB"));
    }
    if (used == text.size()) text.resize(text.size() * 2);
  }
  text.resize(used);
  return text;
}

Result<> write_control(const Fd& group, const char* file, std::string_view value) {
  // No O_CREAT: a control file is there or it is not.
  const Fd opened(::openat(group.get(), file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!opened) return fail_errno(errno, cat("open '", file, "'"));
  for (;;) {
    // One write is one request: the kernel takes a control value whole or refuses it.
    const ssize_t bytes = ::write(opened.get(), value.data(), value.size());
    if (bytes >= 0) return {};
    if (errno != EINTR) return fail_errno(errno, cat("write '", value, "' to '", file, "'"));
  }
}

bool has_control(const Fd& group, const char* file) {
  return ::faccessat(group.get(), file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const size_t end = words.find_first_of(" \n");
    if (words.substr(0, end) == word) return true;
    words = end == words.npos ? std::string_view() : words.substr(end + 1);
  }
  return false;
}

std::string_view find_keyed(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    std::string_view value = take_until(text, '\n');
    if (take_until(value, ' ') == key) return value;
  }
  return {};
}

Result<> enable_controllers(const CgroupTree& tree, const std::string& path,
                            std::span<const std::string_view> controllers) {
  if (controllers.empty()) return {};
  const std::string clean = TRY(clean_cgroup_path(path));
  const Fd group = TRY(open_beneath(tree.root, clean));
  // One read settles the usual case: everything is on already.
  const std::string have = trimmed(TRY(read_control(group, "cgroup.controllers")));
  const auto missing = missing_from(have, controllers);
  if (missing.empty()) return {};
  if (clean.empty()) {  // nothing is above the root
    return std::unexpected(absent_controller(missing.front(), tree.mount, have));
  }
  for (size_t end = 0; end != clean.npos; end = clean.find('/', end + 1)) {
    const std::string ancestor = clean.substr(0, end);
    const Fd dir = TRY(open_beneath(tree.root, ancestor));
    const std::string where = ancestor.empty() ? tree.mount : cat(tree.mount, "/", ancestor);
    TRY(enable_for_children(dir, where, missing));
  }
  return {};
}

Result<> wait_cgroup_event(const Fd& group, std::string_view key, char value, Deadline deadline) {
  const Fd events(::openat(group.get(), "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!events) return fail_errno(errno, "open 'cgroup.events'");
  for (;;) {
    // Reading arms the next notification, so a change after this read is never missed.
    char buffer[256];
    const ssize_t bytes = ::pread(events.get(), buffer, sizeof buffer, 0);
    if (bytes < 0) return fail_errno(errno, "read 'cgroup.events'");
    const std::string_view found = find_keyed({buffer, static_cast<size_t>(bytes)}, key);
    if (found.size() == 1 && found[0] == value) return {};
    struct pollfd waiting = {events.get(), POLLPRI, 0};
    const int ready = ::poll(&waiting, 1, remaining_ms(deadline));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "poll 'cgroup.events'");
    if (ready == 0) {
      return fail(Kind::Unavailable,
                  cat("waiting for '", key, " ", value, "' in cgroup.events: the deadline passed"));
    }
  }
}

Result<> kill_cgroup(const Fd& group) {
  auto killed = write_control(group, "cgroup.kill", "1");
  if (killed || !is_vanished(killed.error().error_number())) return killed;
  if (!has_control(group, "cgroup.procs")) return {};  // the group is gone, and all in it
  return fail(Kind::Unsupported,
              "'cgroup.kill' does not exist: the kernel is older than 5.14, or this is the root");
}

Result<> freeze_cgroup(const Fd& group, Deadline deadline) {
  TRY(write_control(group, "cgroup.freeze", "1"));
  auto frozen = wait_cgroup_event(group, "frozen", '1', deadline);
  if (!frozen) (void)write_control(group, "cgroup.freeze", "0");
  return std::move(frozen).context("freezing");
}

Result<> thaw_cgroup(const Fd& group, Deadline deadline) {
  TRY(write_control(group, "cgroup.freeze", "0"));
  return wait_cgroup_event(group, "frozen", '0', deadline).context("thawing");
}

Result<std::vector<pid_t>> list_cgroup_pids(const Fd& group) {
  std::vector<pid_t> pids;
  std::vector<std::string> ahead = {std::string()};  // paths below `group` still to be read
  while (!ahead.empty()) {
    const std::string path = std::move(ahead.back());
    ahead.pop_back();
    auto dir = open_beneath(group, path);
    if (!dir && is_vanished(dir.error().error_number())) continue;
    if (!dir) return std::unexpected(std::move(dir).error());
    TRY(add_pids(*dir, pids));
    const auto listed = each_child(dir->get(), [&](std::string_view name) {
      ahead.push_back(path.empty() ? std::string(name) : cat(path, "/", name));
      return true;
    });
    if (!listed && !is_vanished(listed.error().error_number())) {
      return std::unexpected(listed.error());
    }
  }
  std::ranges::sort(pids);
  return pids;
}

bool remove_empty_cgroup(const CgroupTree& tree, const std::string& path) {
  const auto clean = clean_cgroup_path(path);
  return clean && !clean->empty() && ::unlinkat(tree.root.get(), clean->c_str(), AT_REMOVEDIR) == 0;
}

Result<> remove_cgroup(const CgroupTree& tree, const std::string& path, Deadline deadline) {
  const std::string clean = TRY(clean_cgroup_path(path));
  if (clean.empty()) return fail(Kind::Invalid, "the root cgroup cannot be removed");
  const auto attempt = [&] { return cat("removing cgroup '/", clean, "'"); };
  // Nothing was made inside in the usual case: one call.
  if (::unlinkat(tree.root.get(), clean.c_str(), AT_REMOVEDIR) == 0 || is_vanished(errno)) {
    return {};
  }
  const size_t cut = clean.rfind('/');
  const std::string above = cut == clean.npos ? std::string() : clean.substr(0, cut);
  const std::string leaf = cut == clean.npos ? clean : clean.substr(cut + 1);
  const Fd parent = TRY(open_beneath(tree.root, above).context(attempt));
  const int fd = ::openat(parent.get(), leaf.c_str(), directory_flags | O_NOFOLLOW);
  if (fd < 0 && is_vanished(errno)) return {};
  if (fd < 0) return fail_errno(errno, cat("open cgroup '/", clean, "'"));
  const Fd dir(fd);
  TRY(remove_children(dir, deadline).context(attempt));
  return remove_directory(parent, leaf, deadline).context(attempt);
}

Result<uint64_t> read_cgroup_id(const Fd& group) {
  // The id is the file handle of the directory (and on 64-bit kernels its inode number too).
  alignas(file_handle) char storage[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(storage);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(group.get(), "", handle, &mount_id, AT_EMPTY_PATH) != 0) {
    return fail_errno(errno, "reading the id of a cgroup: name_to_handle_at");
  }
  uint64_t id = 0;
  if (handle->handle_bytes < sizeof id) {
    return fail(Kind::Internal, "reading the id of a cgroup: the file handle is too short");
  }
  std::memcpy(&id, handle->f_handle, sizeof id);
  return id;
}

}  // namespace nacelle::sys
