// Unpacking an archive into a directory of a container's, as `docker cp` does. Whoever lives there
// may move things meanwhile.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "codec/tar_reader.h"
#include "image/extraction.h"
#include "image/job_path.h"
#include "image/job_stream.h"
#include "image/jobs.h"
#include "image/unpack_tree.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

using codec::tar::Entry;
using codec::tar::Type;

constexpr uint64_t entries_max = 10'000'000;
constexpr size_t directory_times_max = 250'000;
constexpr std::string_view whiteout_prefix = ".wh.", opaque_name = ".wh..wh..opq";
constexpr int removal_depth_max = 200;  // each level holds two descriptors

// Where no files are kept: a way there is somebody's link.
bool is_kernels(const Fd& directory) {
  struct statfs status;
  if (::fstatfs(directory.get(), &status) < 0) return true;
  constexpr unsigned long cgroup2_magic = 0x63677270;
  const auto type = static_cast<unsigned long>(status.f_type);
  return type == PROC_SUPER_MAGIC || type == SYSFS_MAGIC || type == cgroup2_magic ||
         type == DEBUGFS_MAGIC || type == TRACEFS_MAGIC || type == SECURITYFS_MAGIC ||
         type == BPF_FS_MAGIC;
}

// As an archive says it, below the place it is unpacked to; "" is that place.
Result<std::string> clean_name(const std::string& name) {
  std::string clean;
  std::string_view rest = name;
  while (!rest.empty()) {
    const std::string_view part = take_until(rest, '/');
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (clean.empty()) {
        return fail(Kind::Invalid, cat("invalid path '", shown_name(name),
                                       "': it is outside of where it is copied to"));
      }
      const size_t slash = clean.rfind('/');
      clean.resize(slash == std::string::npos ? 0 : slash);
      continue;
    }
    clean += cat(clean.empty() ? "" : "/", part);
  }
  return clean;
}

std::string_view parent_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return path.substr(0, slash == std::string_view::npos ? 0 : slash);
}
const char* last_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
}

Error explain(int reason, std::string attempt) {
  if (reason == EROFS) {
    return Error(Kind::Denied, "the volume or container rootfs is marked as read-only");
  }
  return Error::from_errno(reason, attempt);
}
std::unexpected<Error> failed(std::string_view attempt, std::string_view path) {
  return std::unexpected(explain(errno, cat(attempt, " '", shown_name(path), "'")));
}

void fill_times(timespec (&times)[2], const codec::tar::Time& modified) {
  times[0].tv_sec = times[1].tv_sec = modified.seconds;
  times[0].tv_nsec = times[1].tv_nsec = static_cast<long>(modified.nanoseconds);
}

bool is_brought(std::string_view name) {
  return name == "security.capability" ||
         (name.starts_with("user.") && !name.starts_with("user.overlay."));
}

}  // namespace

Result<const Fd*> Extraction::parent(const std::string& path) {
  const std::string directory(parent_of(path));
  if (parent_path_ != directory) {
    parent_path_.reset();
    auto opened = open_directory(place_, directory);
    if (!opened && opened.error().error_number() == ENOENT) opened = make_way(directory);
    parent_ = TRY(std::move(opened));
    if (is_kernels(parent_)) {
      return fail(Kind::Denied,
                  cat("'", shown_name(path), "' is on a file system of the kernel's"));
    }
    parent_path_ = directory;
  }
  return &parent_;
}

// Directories that the archive only implies.
Result<Fd> Extraction::make_way(const std::string& path) {
  Fd at = TRY(open_directory(place_, ""));
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string name(take_until(rest, '/'));
    auto next = open_directory(at, name);
    if (!next && next.error().error_number() == ENOENT) {
      if (is_kernels(at)) return next;
      if (::mkdirat(at.get(), name.c_str(), 0755) < 0 && errno != EEXIST)
        return failed("mkdir", name);
      if (request_.has_owner)
        (void)::fchownat(at.get(), name.c_str(), request_.uid, request_.gid, AT_SYMLINK_NOFOLLOW);
      next = open_directory(at, name);
    }
    at = TRY(std::move(next));
  }
  return at;
}

Result<Extraction::Existing> Extraction::look(const Fd& directory, const char* name) const {
  struct stat status;
  if (::fstatat(directory.get(), name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT) return Existing{};
    return failed("stat", name);
  }
  return Existing{.there = true, .directory = S_ISDIR(status.st_mode)};
}

// What is there goes, unless a directory comes to a directory.
Result<> Extraction::clear_way(const Fd& directory, const char* name, const Entry& entry,
                               const std::string& path, Existing existing) {
  const bool brings_directory = entry.type == Type::Directory;
  if (!existing.there || (existing.directory && brings_directory)) return {};
  if (request_.keep_kinds && existing.directory) {
    return fail(Kind::Invalid, cat("cannot overwrite directory \"", shown_name(path),
                                   "\" with non-directory \"", shown_name(entry.name), "\""));
  }
  if (request_.keep_kinds && brings_directory) {
    return fail(Kind::Invalid, cat("cannot overwrite non-directory \"", shown_name(path),
                                   "\" with directory \"", shown_name(entry.name), "\""));
  }
  return remove(directory, name, 0);
}

Result<> Extraction::remove(const Fd& directory, const char* name, int depth) {
  if (::unlinkat(directory.get(), name, 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return failed("unlink", name);
  if (depth >= removal_depth_max) {
    return fail(Kind::Exhausted, cat("'", shown_name(name), "' is too deep to be replaced"));
  }
  const int opened =
      ::openat(directory.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (opened < 0) return failed("unlink", name);
  TRY(remove_all(Fd(opened), depth + 1));
  if (::unlinkat(directory.get(), name, AT_REMOVEDIR) < 0 && errno != ENOENT)
    return failed("rmdir", name);
  return {};
}

Result<> Extraction::remove_all(const Fd& directory, int depth) {
  const std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })> stream(
      ::fdopendir(TRY(sys::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY)).release()));
  if (!stream) return failed("reading", path_);
  while (const dirent* each = ::readdir(stream.get())) {
    const std::string_view found = each->d_name;
    if (found != "." && found != "..") TRY(remove(directory, each->d_name, depth));
  }
  return {};
}

// What a layer says of those below it: that one name is gone, or all of the directory's.
Result<> Extraction::take_away(const Fd& directory, std::string_view whiteout) {
  if (whiteout == opaque_name) return remove_all(directory, 0);
  const std::string name(whiteout.substr(whiteout_prefix.size()));
  if (name.empty() || name == "." || name == "..") {
    return fail(Kind::Invalid, cat("'", shown_name(path_), "' takes nothing away"));
  }
  return remove(directory, name.c_str(), 0);
}

Result<> Extraction::begin(const Entry& entry) {
  entry_ = &entry;
  if (++entries_ > entries_max)
    return fail(Kind::Exhausted, cat("more than ", entries_max, " entries"));
  path_ = TRY(clean_name(entry.name));
  if (path_.empty()) {
    if (entry.type == Type::Directory) {
      // The place itself stays as it is, unless it is one that the layer speaks of.
      if (!request_.is_layer) return {};
      return set_all(TRY(sys::open_at(place_.get(), ".", O_RDONLY | O_DIRECTORY)), entry, path_);
    }
    return fail(Kind::Invalid, "an entry without a name");
  }
  const Fd& directory = *TRY(parent(path_));
  const char* name = last_of(path_);
  if (request_.is_layer && std::string_view(name).starts_with(whiteout_prefix)) {
    return take_away(directory, name);
  }
  const Existing existing = TRY(look(directory, name));
  TRY(clear_way(directory, name, entry, path_, existing));
  if (entry.type == Type::Directory) {
    return make_directory(directory, name, entry, path_, existing);
  }
  return make(directory, name, entry, path_);
}

Result<> Extraction::make(const Fd& directory, const char* name, const Entry& entry,
                          const std::string& path) {
  switch (entry.type) {
    case Type::File: {
      const int made = ::openat(directory.get(), name,
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
      if (made < 0) return failed("open", path);
      file_ = Fd(made);
      file_end_ = 0;
      return {};
    }
    case Type::HardLink: return make_link(directory, name, entry, path);
    case Type::Symlink:
      if (::symlinkat(entry.link_target.c_str(), directory.get(), name) < 0)
        return failed("symlink", path);
      return set_on_name(directory, name, entry, path);
    case Type::CharacterDevice:
    case Type::BlockDevice:
    case Type::Fifo: {
      const mode_t kind = entry.type == Type::Fifo              ? S_IFIFO
                          : entry.type == Type::CharacterDevice ? S_IFCHR
                                                                : S_IFBLK;
      const dev_t device = kind == S_IFIFO ? 0 : makedev(entry.device_major, entry.device_minor);
      if (::mknodat(directory.get(), name, kind | (entry.mode & 0777), device) < 0)
        return failed("mknod", path);
      return set_on_name(directory, name, entry, path);
    }
    case Type::Directory: break;
  }
  return fail(Kind::Internal, "an entry of no type");
}

Result<> Extraction::make_directory(const Fd& directory, const char* name, const Entry& entry,
                                    const std::string& path, Existing existing) {
  const bool is_new = !existing.there || !existing.directory;
  if (is_new && ::mkdirat(directory.get(), name, 0700) < 0) return failed("mkdir", path);
  const int opened =
      ::openat(directory.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (opened < 0) return failed("open", path);
  const Fd made(opened);
  TRY(set_all(made, entry, path));
  // Set again at the end: what is put into it changes it.
  if (directory_times_.size() >= directory_times_max)
    return fail(Kind::Exhausted, cat("more than ", directory_times_max, " directories"));
  directory_times_.emplace_back(path, entry.modified);
  return {};
}

Result<> Extraction::make_link(const Fd& directory, const char* name, const Entry& entry,
                               const std::string& path) {
  const std::string target = TRY(clean_name(entry.link_target));
  if (target.empty()) return fail(Kind::Invalid, "a hard link to a directory");
  const Fd from = TRY(open_directory(place_, std::string(parent_of(target))));
  if (::linkat(from.get(), last_of(target), directory.get(), name, 0) < 0)
    return failed("link", path);
  return {};
}

Result<> Extraction::set_all(const Fd& file, const Entry& entry, const std::string& path) {
  if (::fchown(file.get(), user_of(entry), group_of(entry)) < 0) return failed("chown", path);
  // After the owner, whose change takes the set-id bits away.
  if (::fchmod(file.get(), entry.mode & 07777) < 0) return failed("chmod", path);
  for (const auto& [name, value] : entry.xattrs) {
    if (!is_brought(name)) continue;
    const int set = ::fsetxattr(file.get(), name.c_str(), value.data(), value.size(), 0);
    // Not every file system keeps every attribute, and Docker leaves it at that.
    if (set < 0 && errno != ENOTSUP && errno != EPERM) return failed("setxattr", path);
  }
  timespec times[2];
  fill_times(times, entry.modified);
  if (::futimens(file.get(), times) < 0) return failed("utimens", path);
  return {};
}

Result<> Extraction::set_on_name(const Fd& directory, const char* name, const Entry& entry,
                                 const std::string& path) {
  if (::fchownat(directory.get(), name, user_of(entry), group_of(entry), AT_SYMLINK_NOFOLLOW) < 0)
    return failed("chown", path);
  // The mode was given when it was made, but for the bits that mknod(2) does not take. What stands
  // there by now may be a link, whose target must not be changed.
  timespec times[2];
  fill_times(times, entry.modified);
  if (::utimensat(directory.get(), name, times, AT_SYMLINK_NOFOLLOW) < 0)
    return failed("utimens", path);
  return {};
}

Result<> Extraction::data(uint64_t offset, std::string_view bytes) {
  if (!file_) return {};
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed("write", path_);
    bytes.remove_prefix(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
    bytes_ += static_cast<uint64_t>(put);
  }
  file_end_ = std::max(file_end_, offset);
  return {};
}

Result<> Extraction::end() {
  if (!file_) return {};
  const Fd file = std::move(file_);
  // What ends in a hole has not got its size from what was written.
  if (file_end_ != entry_->size && ::ftruncate(file.get(), static_cast<off_t>(entry_->size)) < 0)
    return failed("truncate", path_);
  return set_all(file, *entry_, path_);
}

Result<> Extraction::finish() {
  // Innermost first would make no difference: setting times changes no other's.
  for (const auto& [path, modified] : directory_times_) {
    const auto directory = open_directory(place_, std::string(parent_of(path)));
    if (!directory) continue;  // moved away by who lives there
    timespec times[2];
    fill_times(times, modified);
    (void)::utimensat(directory->get(), last_of(path), times, AT_SYMLINK_NOFOLLOW);
  }
  return {};
}

namespace {

Result<> take(codec::tar::Reader& reader, std::string_view bytes, Extraction& extraction,
              bool& ended) {
  using Event = codec::tar::Reader::Event;
  while (!ended && !bytes.empty()) {
    switch (TRY(reader.next(bytes))) {
      case Event::NeedInput: return {};
      case Event::Entry: TRY(extraction.begin(reader.entry())); break;
      case Event::Data: TRY(extraction.data(reader.data_offset(), reader.data())); break;
      case Event::EntryEnd: TRY(extraction.end()); break;
      case Event::End: ended = true; break;
    }
  }
  return {};
}

}  // namespace

Result<> extract_archive(const Fd& input, Extraction& extraction, Asker& asker) {
  StreamInput stream(input);
  codec::tar::Reader reader;
  bool ended = false;
  while (true) {
    const std::string_view bytes = TRY(stream.next());
    asker.progress(stream.raw_bytes());
    if (bytes.empty()) break;
    TRY(take(reader, bytes, extraction, ended));  // what follows the archive's end is padding
  }
  return ended ? Result<>() : reader.finish();
}

Result<WritePathRequest::Reply> write_path(const WritePathRequest& request, const Fd& root,
                                           const Fd& input, Asker& asker) {
  // Links are followed to the end: what counts is that there is a directory.
  const std::string path = absolute_path(request.path);
  auto place = open_directory(root, path);
  if (!place && place.error().error_number() == ENOTDIR) {
    return fail(Kind::Invalid, "extraction point is not a directory");
  }
  Extraction extraction(request, TRY(std::move(place)));
  TRY(extract_archive(input, extraction, asker));
  TRY(extraction.finish());
  return extraction.totals();
}

}  // namespace nacelle::image
