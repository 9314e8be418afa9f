#include "image/mounts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <climits>
#include <utility>

#include "base/text.h"
#include "image/disk.h"
#include "image/lease.h"
#include "oci/image.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

constexpr const char* containers = "containers";
constexpr size_t digest_line_bytes_max = 256;

struct Place {
  std::string path;  // of the mount point, without symbolic links
  std::string name;  // of its directory under containers/
};

Result<Place> place_of(const std::string& target) {
  char resolved[PATH_MAX];
  if (::realpath(target.c_str(), resolved) == nullptr) return fail_errno(errno, target);
  const codec::Digest hash = codec::digest_of(resolved);
  return Place{resolved, cat("mount-", hash.hex().substr(0, 32))};
}

Result<Fd> open_directory(const Fd& parent, const char* name) {
  return sys::open_at(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// The directory that keeps gc away, with what names the image in it.
Result<Fd> reserve(const Store& store, const Place& place, const ImageRecord& record) {
  TRY(ensure_directory(store.root(), containers));
  const Fd parent = TRY(open_directory(store.root(), containers));
  if (::mkdirat(parent.get(), place.name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return fail_errno(errno, cat("mkdir ", place.name));
    return fail(Kind::Conflict, cat(place.path, ": an image is mounted there already"));
  }
  Fd directory = TRY(open_directory(parent, place.name.c_str()));
  std::string chains;
  for (const Digest& chain : oci::chain_ids(record.config.diff_ids)) chains += chain.text() + '\n';
  TRY(sys::replace_file_at(directory.get(), "image", chains, 0600));
  TRY(sys::replace_file_at(directory.get(), "base", record.descriptor.digest.text(), 0600));
  return directory;
}

Result<> attach(const Fd& mount, const std::string& path) {
  if (::move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return fail_errno(errno, cat("mounting on ", path));
  }
  return {};
}

ring::Task<> mount_reserved(Images& images, const ImageRecord& record, const Fd& directory,
                            const std::string& path, bool writable) {
  Images::MountOptions options;
  Fd upper, work;
  if (writable) {
    co_await sys::make_directory_at(directory.get(), "upper", 0755);
    co_await sys::make_directory_at(directory.get(), "work", 0700);
    upper = co_await open_directory(directory, "upper");
    work = co_await open_directory(directory, "work");
    options.upper = &upper;
    options.work = &work;
  }
  const Fd mount = co_await images.mount(record.descriptor.digest.text(), options);
  co_await attach(mount, path);
}

}  // namespace

ring::Task<> mount_at(ring::Loop& loop, Images& images, std::string name, std::string target,
                      bool writable) {
  const Place place = co_await place_of(target);
  const Details details = co_await images.inspect(std::move(name));
  const Store& store = images.store();
  // Between this and the directory's being there, only the lease keeps the layers.
  Lease lease = co_await Lease::take(loop, store);
  co_await lease.protect(loop, oci::chain_ids(details.record.config.diff_ids));
  const Fd directory = co_await reserve(store, place, details.record);
  Result<> mounted = co_await ring::as_result(
      mount_reserved(images, details.record, directory, place.path, writable));
  if (!mounted) {
    const Fd parent = co_await open_directory(store.root(), containers);
    co_await remove_tree(loop, parent, place.name);
  }
  co_await std::move(mounted);
}

Result<MountedImage> find_mounted(const Store& store, const std::string& target) {
  const Place place = TRY(place_of(target));
  const std::string path = cat(containers, '/', place.name);
  Result<Fd> directory = open_directory(store.root(), path.c_str());
  if (!directory) {
    return fail(Kind::NotFound, cat(place.path, ": no image of this store is mounted there"));
  }
  const std::string base = TRY(sys::read_file_at(directory->get(), "base", digest_line_bytes_max));
  MountedImage mounted{.manifest = TRY(codec::Digest::parse(base)), .upper = Fd()};
  if (Result<Fd> upper = open_directory(*directory, "upper")) mounted.upper = *std::move(upper);
  return mounted;
}

ring::Task<> unmount_at(ring::Loop& loop, const Store& store, std::string target) {
  const Place place = co_await place_of(target);
  co_await find_mounted(store, target);
  // Somebody else's umount, or a reboot, may have been first: then only our part is left to undo.
  if (::umount2(place.path.c_str(), UMOUNT_NOFOLLOW) != 0 && errno != EINVAL) {
    co_await fail_errno(errno, cat("unmounting ", place.path));
  }
  const Fd parent = co_await open_directory(store.root(), containers);
  co_await remove_tree(loop, parent, place.name);
}

}  // namespace nacelle::image
