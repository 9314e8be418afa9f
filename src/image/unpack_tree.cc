#include "image/unpack_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"

namespace nacelle::image {
namespace {

using codec::tar::Entry;
using codec::tar::Type;

constexpr std::string_view whiteout_prefix = ".wh.";
constexpr std::string_view meta_prefix = ".wh..wh.";
constexpr std::string_view opaque_name = ".wh..wh..opq";
constexpr int links_max = 40;  // on the way to one place, as the kernel's MAXSYMLINKS
constexpr size_t open_directories_max = 64;
constexpr size_t shown_name_bytes_max = 200;
constexpr uint32_t device_major_max = 0xfff;  // as the kernel packs them
constexpr uint32_t device_minor_max = 0xfffff;
constexpr mode_t special_bits = S_ISUID | S_ISGID | S_ISVTX;
constexpr std::string_view default_acl = "system.posix_acl_default";
constexpr std::string_view file_capability = "security.capability";

// A name without empty and "." components and without leading slashes; "" is the root.
Result<std::string> clean(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) {
    return fail(Kind::Invalid, "a name with a zero byte");
  }
  std::string path;
  while (!name.empty()) {
    const std::string_view component = take_until(name, '/');
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      if (path.empty()) return fail(Kind::Invalid, "leads out of the layer");
      const size_t slash = path.rfind('/');
      path.resize(slash == std::string::npos ? 0 : slash);
      continue;
    }
    if (!path.empty()) path += '/';
    path += component;
  }
  return path;
}

std::string_view parent_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return path.substr(0, slash == std::string_view::npos ? 0 : slash);
}
std::string_view last_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}
std::string below(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : cat(directory, '/', name);
}
bool is_in(std::string_view path, std::string_view directory) {
  return directory.empty() || (path.starts_with(directory) &&
                               (path.size() == directory.size() || path[directory.size()] == '/'));
}

// AUFS kept its own bookkeeping in names that begin so; Docker has skipped them ever since.
bool is_bookkeeping(std::string_view path) {
  if (last_of(path) == opaque_name) path = parent_of(path);
  while (!path.empty()) {
    if (take_until(path, '/').starts_with(meta_prefix)) return true;
  }
  return false;
}

bool is_whiteout(const struct stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

// A directory without any link on the way, below another.
long open_below(const Fd& directory, const char* path) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return sys::call(SYS_openat2, directory.get(), path, &how, sizeof how);
}

void fill_times(timespec (&times)[2], const codec::tar::Time& modified) {
  times[0].tv_sec = times[1].tv_sec = modified.seconds;
  times[0].tv_nsec = times[1].tv_nsec = static_cast<long>(modified.nanoseconds);
}

Result<> set_times(const Fd& directory, const char* name, const codec::tar::Time& modified) {
  timespec times[2];
  fill_times(times, modified);
  if (::utimensat(directory.get(), name, times, AT_SYMLINK_NOFOLLOW) < 0)
    return fail_errno(errno, "utimensat");
  return {};
}

// Attributes that a layer may bring. The others are left out as Docker leaves them out: trusted.*
// and user.overlay.* would speak to overlayfs in the layer's name (redirects, copied-up metadata
// without data, opaque marks of its own), and the rest of security.* are labels of another host's
// policy.
bool is_brought(std::string_view name) {
  if (name.starts_with("user.")) return !name.starts_with("user.overlay.");
  return name == file_capability || name == "system.posix_acl_access" || name == default_acl;
}

}  // namespace

std::string shown_name(std::string_view name) {
  std::string shown(name.substr(0, shown_name_bytes_max));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (name.size() > shown_name_bytes_max) shown += "...";
  return shown;
}

TreeWriter::TreeWriter(const Fd& root, Asker& asker) : root_(root), asker_(asker) {}

std::vector<std::string> TreeWriter::implied_directories() const {
  std::vector<std::string> paths;
  for (const auto& [path, record] : records_) {
    if (!record.described) paths.push_back(path);
  }
  return paths;
}

// Directories. --------------------------------------------------------------------------------

Result<> TreeWriter::spend_steps(uint64_t steps) {
  steps_ += steps;
  if (steps_ > unpack_steps_max)
    return fail(Kind::Exhausted, "the way to where it belongs is too long");
  return {};
}

Result<TreeWriter::Directory*> TreeWriter::directory(std::string_view path) {
  if (open_.empty()) {
    Fd root = TRY(sys::open_at(root_.get(), ".", O_RDONLY | O_DIRECTORY));
    const struct stat status = TRY(sys::stat_fd(root));
    open_.push_back(
        {.path = {}, .fd = std::move(root), .sets_group = (status.st_mode & S_ISGID) != 0});
  }
  while (!is_in(path, open_.back().path)) open_.pop_back();
  const Directory& nearest = open_.back();
  if (path.size() == nearest.path.size()) return &open_.back();
  const std::string rest(path.substr(nearest.path.empty() ? 0 : nearest.path.size() + 1));
  TRY(spend_steps(1 + static_cast<uint64_t>(std::count(rest.begin(), rest.end(), '/'))));
  const long found = open_below(nearest.fd, rest.c_str());
  if (found == -ENOENT || found == -ELOOP || found == -ENOTDIR) return walk_to(path);
  if (found < 0) return fail_errno(static_cast<int>(-found), "opening the directory it is in");
  Fd fd(static_cast<int>(found));
  const struct stat status = TRY(sys::stat_fd(fd));
  if (open_.size() == open_directories_max) open_.pop_back();
  open_.push_back({.path = std::string(path),
                   .fd = std::move(fd),
                   .sets_group = (status.st_mode & S_ISGID) != 0});
  return &open_.back();
}

// The same, one component after the other: follows links inside the root and makes what is missing.
Result<TreeWriter::Directory*> TreeWriter::walk_to(std::string_view path) {
  std::string rest(path);
  std::string at;
  int links = 0;
  while (!rest.empty()) {
    TRY(spend_steps(unpack_link_step));
    const size_t slash = rest.find('/');
    const std::string name = rest.substr(0, slash);
    rest.erase(0, slash == std::string::npos ? slash : slash + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") {  // of a link: above the root is the root
      at = parent_of(at);
      continue;
    }
    at = TRY(enter(at, name, rest, links));
  }
  return directory(at);
}

Result<std::string> TreeWriter::enter(const std::string& from, const std::string& name,
                                      std::string& rest, int& links) {
  Directory& parent = *TRY(directory(from));
  const std::string path = below(from, name);
  struct stat status;
  if (::fstatat(parent.fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno != ENOENT) return fail_errno(errno, cat("looking at '", shown_name(path), "'"));
    TRY(make_implied(parent, name, path, false));
    return path;
  }
  if (S_ISDIR(status.st_mode)) return path;
  if (S_ISLNK(status.st_mode)) {
    if (++links > links_max)
      return fail(Kind::Invalid, "more symbolic links on the way than anybody follows");
    const std::string target = TRY(sys::read_link_at(parent.fd.get(), name.c_str()));
    if (target.size() + rest.size() > 2 * codec::tar::name_bytes_max)
      return fail(Kind::Invalid, "symbolic links on the way make too long a path");
    rest = rest.empty() ? target : cat(target, '/', rest);
    return target.starts_with('/') ? std::string() : from;
  }
  if (is_whiteout(status)) {
    forget_whiteout();
    TRY(sys::unlink_at(parent.fd.get(), name.c_str()));
    TRY(make_implied(parent, name, path, true));
    return path;
  }
  return fail(Kind::Invalid, cat("'", shown_name(path), "' is in the way: no directory"));
}

Result<> TreeWriter::make_implied(Directory& parent, const std::string& name,
                                  const std::string& path, bool opaque) {
  TRY(record(path, Record{}));
  TRY(sys::make_directory_at(parent.fd.get(), name.c_str(), 0755));
  if (parent.sets_group) {
    if (::fchownat(parent.fd.get(), name.c_str(), 0, 0, AT_SYMLINK_NOFOLLOW) < 0)
      return fail_errno(errno, "fchownat");
    if (::fchmodat(parent.fd.get(), name.c_str(), 0755, 0) < 0)
      return fail_errno(errno, "fchmodat");
  }
  return opaque ? mark_opaque(path) : Result<>();
}

Result<> TreeWriter::record(const std::string& path, const Record& what) {
  const auto [at, is_new] = records_.try_emplace(path, what);
  if (is_new && records_.size() > unpack_directories_max) {
    return fail(Kind::Exhausted, cat("more than ", unpack_directories_max, " directories"));
  }
  if (is_new) return {};
  const bool opaque = at->second.opaque;
  at->second = what;
  at->second.opaque |= opaque;
  return {};
}

Result<> TreeWriter::mark_opaque(const std::string& path) {
  Directory& marked = *TRY(directory(path));
  const auto known = records_.find(marked.path);
  if (known != records_.end() && known->second.opaque) return {};
  TRY(asker_.mark_opaque(marked.fd));
  if (known != records_.end()) known->second.opaque = true;
  return {};
}

// Entries. ------------------------------------------------------------------------------------

Result<> TreeWriter::begin(const Entry& entry) {
  entry_ = &entry;
  steps_ = 0;
  if (++entries_ > unpack_entries_max)
    return fail(Kind::Exhausted, cat("more than ", unpack_entries_max, " entries"));
  const std::string path = TRY(clean(entry.name));
  if (path.empty()) return describe_root(entry);
  if (is_bookkeeping(path)) return {};
  const std::string parent(parent_of(path));
  const std::string_view name = last_of(path);
  if (name == opaque_name) return mark_opaque(parent);
  if (name.starts_with(whiteout_prefix))
    return make_whiteout(parent, name.substr(whiteout_prefix.size()));
  if (entry.type == Type::HardLink) return make_hard_link(parent, path, entry);

  Place place;
  place.parent = TRY(directory(parent));
  place.path = below(place.parent->path, name);
  place.name = place.path.c_str() + place.path.size() - name.size();
  switch (entry.type) {
    case Type::File: return make_file(place, entry);
    case Type::Directory: return make_directory(place, entry);
    case Type::Symlink: return make_symlink(place, entry);
    case Type::CharacterDevice:
    case Type::BlockDevice:
    case Type::Fifo: return make_node(place, entry);
    case Type::HardLink: break;
  }
  return fail(Kind::Internal, "an entry of no type");
}

Result<> TreeWriter::data(uint64_t offset, std::string_view bytes) {
  if (!file_) {  // of a link, a directory or a mark: nobody would ever read it
    discarded_bytes_ += bytes.size();
    if (discarded_bytes_ > unpack_discarded_bytes_max)
      return fail(Kind::Exhausted, cat("more than ", unpack_discarded_bytes_max,
                                       " bytes in entries that are no files"));
    return {};
  }
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_errno(errno, "write");
    bytes.remove_prefix(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  file_end_ = std::max(file_end_, offset);
  return {};
}

Result<> TreeWriter::end() {
  if (!file_) return {};
  const Fd file = std::move(file_);
  const Entry& entry = *entry_;
  // What ends in a hole has not got its size from what was written.
  if (file_end_ != entry.size && ::ftruncate(file.get(), static_cast<off_t>(entry.size)) < 0)
    return fail_errno(errno, "ftruncate");
  const bool owned = entry.user != 0 || entry.group != 0 || file_takes_group_;
  if (owned && ::fchown(file.get(), entry.user, entry.group) < 0)
    return fail_errno(errno, "fchown");
  // After the change of owner, which takes the set-id bits away.
  if ((owned || (entry.mode & special_bits) != 0) && ::fchmod(file.get(), entry.mode & 07777) < 0)
    return fail_errno(errno, "fchmod");
  // After the last write, which takes file capabilities away.
  TRY(set_xattrs(file, entry, nullptr));
  timespec times[2];
  fill_times(times, entry.modified);
  if (::futimens(file.get(), times) < 0) return fail_errno(errno, "futimens");
  return {};
}

Result<> TreeWriter::describe_root(const Entry& entry) {
  if (entry.type != Type::Directory)
    return fail(Kind::Invalid, "takes the place of the layer's root");
  TRY(record("", Record{.described = true, .modified = entry.modified}));
  Directory& root = *TRY(directory(""));
  if (::fchown(root.fd.get(), entry.user, entry.group) < 0) return fail_errno(errno, "fchown");
  if (::fchmod(root.fd.get(), entry.mode & 07777) < 0) return fail_errno(errno, "fchmod");
  root.sets_group = (entry.mode & S_ISGID) != 0;
  return set_xattrs(root.fd, entry, &root.path);
}

Result<> TreeWriter::make_directory(const Place& place, const Entry& entry) {
  const int parent = place.parent->fd.get();
  bool opaque = false;
  bool is_new = true;
  while (::mkdirat(parent, place.name, entry.mode & 01777) < 0) {
    if (errno != EEXIST) return fail_errno(errno, "mkdirat");
    const struct stat status = TRY(sys::stat_at(parent, place.name, AT_SYMLINK_NOFOLLOW));
    if (S_ISDIR(status.st_mode)) {
      is_new = false;
      break;
    }
    opaque = is_whiteout(status);
    forget_whiteout();
    TRY(sys::unlink_at(parent, place.name));
  }
  const bool in_doubt = !is_new || place.parent->sets_group;
  TRY(set_owner(place, entry, in_doubt));
  if ((in_doubt || (entry.mode & (S_ISUID | S_ISGID)) != 0) &&
      ::fchmodat(parent, place.name, entry.mode & 07777, 0) < 0)
    return fail_errno(errno, "fchmodat");
  TRY(record(place.path, Record{.described = true, .modified = entry.modified}));
  if (!entry.xattrs.empty()) {
    const long found = open_below(place.parent->fd, place.name);
    if (found < 0) return fail_errno(static_cast<int>(-found), "openat2");
    TRY(set_xattrs(Fd(static_cast<int>(found)), entry, &place.path));
  }
  return opaque ? mark_opaque(place.path) : Result<>();
}

Result<> TreeWriter::make_file(const Place& place, const Entry& entry) {
  if (entry.size > unpack_tree_bytes_max || tree_bytes_ + entry.size > unpack_tree_bytes_max)
    return fail(Kind::Exhausted,
                cat("the files come to more than ", unpack_tree_bytes_max, " bytes"));
  tree_bytes_ += entry.size;
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int fd = -1;
  while ((fd = ::openat(place.parent->fd.get(), place.name, flags, entry.mode & 0777)) < 0) {
    if (errno != EEXIST) return fail_errno(errno, "open");
    TRY(remove_existing(place));
  }
  file_ = Fd(fd);
  file_takes_group_ = place.parent->sets_group;
  file_end_ = 0;
  return {};
}

Result<> TreeWriter::make_symlink(const Place& place, const Entry& entry) {
  while (::symlinkat(entry.link_target.c_str(), place.parent->fd.get(), place.name) < 0) {
    if (errno != EEXIST) return fail_errno(errno, "symlinkat");
    TRY(remove_existing(place));
  }
  TRY(set_owner(place, entry, place.parent->sets_group));
  // No attributes: of those that are brought, the kernel lets links have none.
  return set_times(place.parent->fd, place.name, entry.modified);
}

Result<> TreeWriter::make_node(const Place& place, const Entry& entry) {
  mode_t type = S_IFIFO;
  dev_t device = 0;
  if (entry.type != Type::Fifo) {
    type = entry.type == Type::CharacterDevice ? S_IFCHR : S_IFBLK;
    if (entry.device_major > device_major_max || entry.device_minor > device_minor_max)
      return fail(Kind::Invalid, cat("no device can have the numbers ", entry.device_major, ":",
                                     entry.device_minor));
    device = makedev(entry.device_major, entry.device_minor);
  }
  const int parent = place.parent->fd.get();
  while (::mknodat(parent, place.name, type | (entry.mode & 07777), device) < 0) {
    if (errno != EEXIST) return fail_errno(errno, "mknodat");
    TRY(remove_existing(place));
  }
  TRY(set_owner(place, entry, place.parent->sets_group));
  // It follows links, but this is the node that was just made.
  if ((entry.mode & special_bits) != 0 && ::fchmodat(parent, place.name, entry.mode & 07777, 0) < 0)
    return fail_errno(errno, "fchmodat");
  return set_times(place.parent->fd, place.name, entry.modified);
}

// Owner, mode, times and attributes stay those of what it links to.
Result<> TreeWriter::make_hard_link(const std::string& parent, const std::string& path,
                                    const Entry& entry) {
  const std::string target = TRY(clean(entry.link_target).context("hard link"));
  const auto doing = [&] { return cat("hard link to '", shown_name(target), "'"); };
  if (target.empty()) return fail(Kind::Invalid, "hard link to the layer's root");
  if (target == path) return fail(Kind::Invalid, "hard link to itself");
  // Links on the way stay inside; the last component is not followed at all.
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const std::string from(target.find('/') == std::string::npos ? "/" : parent_of(target));
  const long found = sys::call(SYS_openat2, root_.get(), from.c_str(), &how, sizeof how);
  if (found == -ENOENT || found == -ENOTDIR)
    return fail(Kind::Invalid, cat(doing(), ": that is not in this layer"));
  if (found < 0) return fail_errno(static_cast<int>(-found), doing());
  const Fd from_directory(static_cast<int>(found));
  const std::string from_name(last_of(target));

  Place place;
  place.parent = TRY(directory(parent));
  const std::string_view name = last_of(path);
  place.path = below(place.parent->path, name);
  place.name = place.path.c_str() + place.path.size() - name.size();
  const int to = place.parent->fd.get();
  while (::linkat(from_directory.get(), from_name.c_str(), to, place.name, 0) < 0) {
    const int error = errno;
    struct stat linked;
    const bool there =
        ::fstatat(from_directory.get(), from_name.c_str(), &linked, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there) return fail(Kind::Invalid, cat(doing(), ": that is not in this layer"));
    if (S_ISDIR(linked.st_mode)) return fail(Kind::Invalid, cat(doing(), ": that is a directory"));
    if (error != EEXIST) return fail_errno(error, doing());
    const struct stat old = TRY(sys::stat_at(to, place.name, AT_SYMLINK_NOFOLLOW));
    if (old.st_ino == linked.st_ino && old.st_dev == linked.st_dev) return {};
    TRY(remove_existing(place));
  }
  return {};
}

Result<> TreeWriter::make_whiteout(const std::string& parent, std::string_view hidden) {
  if (hidden.empty() || hidden == "." || hidden == "..")
    return fail(Kind::Invalid, "a whiteout of no name");
  Directory& directory_of = *TRY(directory(parent));
  const std::string name(hidden);
  const int fd = directory_of.fd.get();
  // All are links to one, as overlayfs makes its own: an inode for each costs ten times as much.
  if (whiteout_directory_ &&
      ::linkat(whiteout_directory_.get(), whiteout_name_.c_str(), fd, name.c_str(), 0) == 0)
    return {};
  if (::mknodat(fd, name.c_str(), S_IFCHR, 0) == 0) {
    whiteout_directory_ = TRY(sys::open_at(fd, ".", O_PATH | O_DIRECTORY));
    whiteout_name_ = name;
    return {};
  }
  if (errno != EEXIST) return fail_errno(errno, "making a whiteout: mknodat");
  const struct stat status = TRY(sys::stat_at(fd, name.c_str(), AT_SYMLINK_NOFOLLOW));
  if (!S_ISDIR(status.st_mode)) return {};  // it hides what is below already
  return mark_opaque(below(directory_of.path, hidden));
}

// Takes a directory with all that is in it away, without recursion and without following anything.
// Nobody else changes this tree, so ".." is where we came from.
Result<> TreeWriter::remove_tree(const Fd& parent, const char* name) {
  const long top = open_below(parent, name);
  if (top < 0) return fail_errno(static_cast<int>(-top), "openat2");
  Fd at(static_cast<int>(top));
  std::vector<std::string> names = {name};
  uint64_t removed = 0;
  while (true) {
    asker_.still_here();
    Fd listed = TRY(sys::open_at(at.get(), ".", O_RDONLY | O_DIRECTORY));
    DIR* listing = ::fdopendir(listed.get());
    if (listing == nullptr) return fail_errno(errno, "opendir");
    (void)std::move(listed).release();
    std::string inner;
    int error = 0;
    while (const dirent* each = ::readdir(listing)) {
      const std::string_view found = each->d_name;
      if (found == "." || found == "..") continue;
      if (++removed % 256 == 0) asker_.still_here();
      if (::unlinkat(at.get(), each->d_name, 0) == 0) continue;
      if (errno == EISDIR && ::unlinkat(at.get(), each->d_name, AT_REMOVEDIR) == 0) continue;
      if (errno == ENOTEMPTY) {
        inner = found;
        break;
      }
      error = errno;
      break;
    }
    ::closedir(listing);
    if (error != 0) return fail_errno(error, "unlinkat");
    if (!inner.empty()) {
      const long next = open_below(at, inner.c_str());
      if (next < 0) return fail_errno(static_cast<int>(-next), "openat2");
      at = Fd(static_cast<int>(next));
      names.push_back(std::move(inner));
      continue;
    }
    at = TRY(sys::open_at(at.get(), "..", O_RDONLY | O_DIRECTORY));
    if (::unlinkat(at.get(), names.back().c_str(), AT_REMOVEDIR) < 0)
      return fail_errno(errno, "rmdir");
    names.pop_back();
    if (names.empty()) return {};
  }
}

// The last entry of a name wins.
Result<> TreeWriter::remove_existing(const Place& place) {
  forget_whiteout();
  if (::unlinkat(place.parent->fd.get(), place.name, 0) == 0) return {};
  if (errno != EISDIR) return fail_errno(errno, "replacing what is there: unlinkat");
  TRY(remove_tree(place.parent->fd, place.name).context("replacing a directory"));
  // '0' comes after '/': everything below the path, and nothing else.
  records_.erase(records_.lower_bound(place.path + "/"), records_.lower_bound(place.path + "0"));
  records_.erase(place.path);
  default_acls_.erase(default_acls_.lower_bound(place.path + "/"),
                      default_acls_.lower_bound(place.path + "0"));
  default_acls_.erase(place.path);
  return {};
}

Result<> TreeWriter::set_owner(const Place& place, const Entry& entry, bool always) {
  if (!always && entry.user == 0 && entry.group == 0) return {};
  if (::fchownat(place.parent->fd.get(), place.name, entry.user, entry.group, AT_SYMLINK_NOFOLLOW) <
      0)
    return fail_errno(errno, "fchownat");
  return {};
}

Result<> TreeWriter::set_xattrs(const Fd& file, const Entry& entry, const std::string* directory) {
  for (const auto& [name, value] : entry.xattrs) {
    if (!is_brought(name)) continue;
    if (name == default_acl) {
      if (directory == nullptr) continue;
      // It decides about the modes of what is made in there: set when nothing is any more.
      default_acls_bytes_ += directory->size() + value.size();
      if (default_acls_bytes_ > unpack_default_acls_bytes_max)
        return fail(Kind::Exhausted,
                    cat("default ACLs of more than ", unpack_default_acls_bytes_max, " bytes"));
      default_acls_[*directory] = value;
      continue;
    }
    if (::fsetxattr(file.get(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
    // A file system without them loses comfort, as with Docker; without file capabilities, programs
    // would stop working.
    if (errno == ENOTSUP && name != file_capability) continue;
    return fail_errno(errno, cat("setxattr '", shown_name(name), "'"));
  }
  return {};
}

Result<> TreeWriter::finish() {
  for (const auto& [path, value] : default_acls_) {
    steps_ = 0;
    asker_.still_here();
    Directory& one = *TRY(directory(path));
    if (::fsetxattr(one.fd.get(), default_acl.data(), value.data(), value.size(), 0) < 0 &&
        errno != ENOTSUP)
      return fail_errno(errno, cat("'", shown_name(path), "': setxattr '", default_acl, "'"));
  }
  for (const auto& [path, one] : records_) {
    if (!one.described) continue;
    steps_ = 0;
    asker_.still_here();
    const auto doing = [&path] { return cat("'", shown_name(path), "'"); };
    if (path.empty()) {
      timespec times[2];
      fill_times(times, one.modified);
      const Directory& root = *TRY(directory(path));
      if (::futimens(root.fd.get(), times) < 0) return fail_errno(errno, "futimens of the root");
      continue;
    }
    const Directory& parent = *TRY(directory(parent_of(path)));
    const std::string name(last_of(path));
    TRY(set_times(parent.fd, name.c_str(), one.modified).context(doing));
  }
  open_.clear();
  return {};
}

}  // namespace nacelle::image
