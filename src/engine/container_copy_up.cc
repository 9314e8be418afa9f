// An empty volume that is mounted where the image has something begins with that: content, owners,
// modes, times and extended attributes. The image is read through a read-only mount that nobody
// else has, by descriptors that follow no link out of it; done in pieces between which the loop
// goes on.
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "image/disk.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::engine {

namespace {

constexpr size_t copy_bytes_max = 4u << 20;  // between two turns of the loop
constexpr int files_between_turns = 64;
constexpr size_t xattr_bytes_max = 64u << 10;

Result<> copy_attributes(const Fd& from, const Fd& to, const struct stat& status) {
  if (::fchown(to.get(), status.st_uid, status.st_gid) != 0) return fail_errno(errno, "fchown");
  if (::fchmod(to.get(), status.st_mode & 07777) != 0) return fail_errno(errno, "fchmod");
  std::string names(xattr_bytes_max, '\0'), value(xattr_bytes_max, '\0');
  const ssize_t size = ::flistxattr(from.get(), names.data(), names.size());
  if (size > 0) {
    std::string_view rest(names.data(), static_cast<size_t>(size));
    while (!rest.empty()) {
      const std::string name(take_until(rest, '\0'));
      const ssize_t bytes = ::fgetxattr(from.get(), name.c_str(), value.data(), value.size());
      // What the volume's file system does not take is left out, as Docker does.
      if (bytes >= 0) {
        (void)::fsetxattr(to.get(), name.c_str(), value.data(), static_cast<size_t>(bytes), 0);
      }
    }
  }
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::futimens(to.get(), times) != 0) return fail_errno(errno, "futimens");
  return {};
}

// The next bytes of a file; 0: its end.
Result<size_t> copy_some(const Fd& from, const Fd& to, const std::string& name) {
  ssize_t bytes = ::copy_file_range(from.get(), nullptr, to.get(), nullptr, copy_bytes_max, 0);
  // Not between two file systems, of which an overlay is one; and 0 may mean that it cannot, too.
  if (bytes == 0 || (bytes < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP))) {
    bytes = ::sendfile(to.get(), from.get(), nullptr, copy_bytes_max);
  }
  if (bytes < 0) return fail_errno(errno, cat("copying ", name));
  return static_cast<size_t>(bytes);
}

// Below a root that others may change meanwhile: no link of theirs is followed.
Result<Fd> open_below(const Fd& root, const std::string& path) {
  const long opened =
      sys::InRoot(root.get())
          .open(path.c_str(), O_RDONLY | O_DIRECTORY, sys::InRoot::Symlinks::Refuse);
  if (opened < 0) return fail_errno(static_cast<int>(-opened), cat("opening ", path));
  return Fd(static_cast<int>(opened));
}

// However many directories there are, two of them are open.
class Copy {
 public:
  Copy(ring::Loop& loop, Fd from, Fd to)
      : loop_(loop), from_(std::move(from)), to_(std::move(to)) {}

  ring::Task<> run() {
    pending_.emplace_back(".");
    while (!pending_.empty()) {
      const std::string path = std::move(pending_.back());
      pending_.pop_back();
      const Fd from = co_await open_below(from_, path);
      const Fd to = co_await open_below(to_, path);
      const struct stat status = co_await sys::stat_fd(from);
      links_.clear();
      for (const std::string& name : co_await image::list_directory(from)) {
        co_await copy_entry(from.get(), to.get(), cat(path, '/', name));
        if (++files_ % files_between_turns == 0) co_await ring::nop(loop_);
      }
      co_await copy_attributes(from, to, status);
    }
  }

 private:
  ring::Task<> copy_entry(int from, int to, std::string whole_path) {
    const std::string name = whole_path.substr(whole_path.rfind('/') + 1);
    const char* path = name.c_str();
    const struct stat status = co_await sys::stat_at(from, path, AT_SYMLINK_NOFOLLOW);
    if (S_ISDIR(status.st_mode)) {
      co_await sys::make_directory_at(to, path, 0700);
      pending_.push_back(std::move(whole_path));
    } else if (S_ISREG(status.st_mode)) {
      co_await copy_file(from, to, name, status);
    } else if (S_ISLNK(status.st_mode)) {
      const std::string link = co_await sys::read_link_at(from, path);
      if (::symlinkat(link.c_str(), to, path) != 0) co_await fail_errno(errno, "symlink");
      if (::fchownat(to, path, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
        co_await fail_errno(errno, "chown");
      }
    } else {
      if (::mknodat(to, path, status.st_mode, status.st_rdev) != 0) {
        co_await fail_errno(errno, "mknod");
      }
      if (::fchownat(to, path, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0) {
        co_await fail_errno(errno, "chown");
      }
    }
  }

  ring::Task<> copy_file(int from, int to, const std::string& name, const struct stat& status) {
    if (status.st_nlink > 1) {
      // Links of the same directory only: files of others are copied.
      const auto [known, is_first] = links_.try_emplace({status.st_dev, status.st_ino}, name);
      if (!is_first && ::linkat(to, known->second.c_str(), to, name.c_str(), 0) == 0) co_return;
    }
    const Fd source = co_await sys::open_at(from, name.c_str(), O_RDONLY | O_NOFOLLOW);
    const Fd target =
        co_await sys::open_at(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    while (co_await copy_some(source, target, name) > 0) co_await ring::nop(loop_);
    co_await copy_attributes(source, target, status);
  }

  ring::Loop& loop_;
  Fd from_, to_;
  std::vector<std::string> pending_;                      // below both
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  // first names in this directory
  int files_ = 0;
};

}  // namespace

ring::Task<> Containers::State::copy_up(EntryRef entry, std::shared_ptr<KnownImage> image) {
  for (const MountPlan& plan : entry->mounts) {
    if (plan.point.type != "volume" || plan.no_copy) continue;
    const VolumeMount volume = co_await engine.volumes->mount_of(plan.point.name);
    // What each container mounts for itself is nowhere yet.
    if (volume.type != "bind") continue;
    Fd target = co_await sys::open_at(sys::working_directory, volume.source.c_str(),
                                      O_RDONLY | O_DIRECTORY);
    auto listing = co_await image::Listing::open(target);
    if (listing.next() != nullptr) continue;
    co_await prepare_root(image);
    const sys::InRoot root(image->root.get());
    const long opened = root.open(plan.point.destination.c_str(), O_RDONLY | O_DIRECTORY);
    if (opened < 0) continue;  // the image has no such directory
    Fd from(static_cast<int>(opened));
    Copy copy(loop, std::move(from), std::move(target));
    co_await copy.run();
  }
}

}  // namespace nacelle::engine
