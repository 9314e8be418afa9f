// An empty volume that is mounted where the image has something begins with that: content, owners,
// modes, times and extended attributes. The image is read through a read-only mount that nobody
// else has, by descriptors that follow no link out of it; done in pieces between which the loop
// goes on.
#include <fcntl.h>
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

struct Directory {
  Fd from, to;
  struct stat status{};
};

class Copy {
 public:
  explicit Copy(ring::Loop& loop) : loop_(loop) {}

  ring::Task<> run(Fd from, Fd to) {
    const struct stat top = co_await sys::stat_fd(from);
    pending_.push_back({std::move(from), std::move(to), top});
    while (!pending_.empty()) {
      const Directory directory = std::move(pending_.back());
      pending_.pop_back();
      for (const std::string& name : co_await image::list_directory(directory.from)) {
        co_await copy_entry(directory, name);
        if (++files_ % files_between_turns == 0) co_await ring::nop(loop_);
      }
      co_await copy_attributes(directory.from, directory.to, directory.status);
    }
  }

 private:
  ring::Task<> copy_entry(const Directory& directory, const std::string& name) {
    const int from = directory.from.get(), to = directory.to.get();
    const char* path = name.c_str();
    const struct stat status = co_await sys::stat_at(from, path, AT_SYMLINK_NOFOLLOW);
    if (S_ISDIR(status.st_mode)) {
      co_await sys::make_directory_at(to, path, 0700);
      constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
      Fd source = co_await sys::open_at(from, path, flags);
      Fd target = co_await sys::open_at(to, path, flags);
      pending_.push_back({std::move(source), std::move(target), status});
    } else if (S_ISREG(status.st_mode)) {
      co_await copy_file(directory, name, status);
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

  ring::Task<> copy_file(const Directory& directory, const std::string& name,
                         const struct stat& status) {
    const int to = directory.to.get();
    const auto inode = std::pair(status.st_dev, status.st_ino);
    if (status.st_nlink > 1) {
      // Links of the same directory only: others are copied, as their first name has moved on.
      const auto known = links_.find(inode);
      if (known != links_.end() && known->second.first == directory.to.get() &&
          ::linkat(to, known->second.second.c_str(), to, name.c_str(), 0) == 0) {
        co_return;
      }
      links_[inode] = {directory.to.get(), name};
    }
    const Fd source =
        co_await sys::open_at(directory.from.get(), name.c_str(), O_RDONLY | O_NOFOLLOW);
    const Fd target =
        co_await sys::open_at(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    for (;;) {
      const ssize_t bytes =
          ::copy_file_range(source.get(), nullptr, target.get(), nullptr, copy_bytes_max, 0);
      if (bytes < 0) co_await fail_errno(errno, cat("copying ", name));
      if (bytes == 0) break;
      co_await ring::nop(loop_);
    }
    co_await copy_attributes(source, target, status);
  }

  ring::Loop& loop_;
  std::vector<Directory> pending_;
  std::map<std::pair<dev_t, ino_t>, std::pair<int, std::string>> links_;
  int files_ = 0;
};

}  // namespace

ring::Task<> Containers::State::copy_up(EntryRef entry, std::shared_ptr<KnownImage> image) {
  for (const MountPlan& plan : entry->mounts) {
    if (plan.point.type != "volume" || plan.no_copy) continue;
    const std::string source = co_await engine.volumes->source_of(plan.point.name);
    Fd target =
        co_await sys::open_at(sys::working_directory, source.c_str(), O_RDONLY | O_DIRECTORY);
    auto listing = co_await image::Listing::open(target);
    if (listing.next() != nullptr) continue;
    co_await prepare_root(image);
    const sys::InRoot root(image->root.get());
    const long opened = root.open(plan.point.destination.c_str(), O_RDONLY | O_DIRECTORY);
    if (opened < 0) continue;  // the image has no such directory
    Fd from(static_cast<int>(opened));
    Copy copy(loop);
    co_await copy.run(std::move(from), std::move(target));
  }
}

}  // namespace nacelle::engine
