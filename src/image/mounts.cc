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
#include "sys/mount_api.h"

namespace nacelle::image {

namespace {

constexpr const char* containers = "containers";
constexpr size_t digest_line_bytes_max = 256;
constexpr size_t base_bytes_max = 1u << 20;  // a container may have more than its own image
constexpr size_t mountinfo_bytes_max = 64u << 20;

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

Result<> describe(const Fd& directory, const ImageRecord& record) {
  std::string chains;
  for (const Digest& chain : oci::chain_ids(record.config.diff_ids)) chains += chain.text() + '\n';
  TRY(sys::replace_file_at(directory.get(), "image", chains, 0600));
  return sys::replace_file_at(directory.get(), "base", record.descriptor.digest.text(), 0600);
}

// The directory that keeps gc away.
Result<Fd> reserve(const Fd& parent, const Place& place) {
  if (::mkdirat(parent.get(), place.name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return fail_errno(errno, cat("mkdir ", place.name));
    return fail(Kind::Conflict, cat(place.path, ": an image is mounted there already, or was and ",
                                    "`nacelle image umount` has not been asked yet"));
  }
  return open_directory(parent, place.name.c_str());
}

// Away with it, in one step for everybody else; what a crash leaves of the rest is gc's.
ring::Task<> clear(ring::Loop& loop, const Store& store, const std::string& name) {
  const Fd parent = co_await open_directory(store.root(), containers);
  const std::string trash = cat(".trash-", random_name());
  co_await sys::rename_at(parent.get(), name.c_str(), trash.c_str());
  co_await remove_tree(loop, parent, trash);
}

// Names a mount for as long as the machine runs: its unique id, where the kernel has those (6.8).
Result<std::string> identity_of(const std::string& path) {
  constexpr unsigned unique_id = 0x4000;  // STATX_MNT_ID_UNIQUE
  struct statx status{};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, unique_id, &status) != 0) {
    return fail_errno(errno, cat("statx '", path, "'"));
  }
  if ((status.stx_mask & unique_id) == 0 &&
      ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &status) != 0) {
    return fail_errno(errno, cat("statx '", path, "'"));
  }
  return cat(status.stx_mnt_id, ' ', status.stx_dev_major, ':', status.stx_dev_minor);
}

// Whether the file system of this identity is mounted at `path`, be it below something else.
Result<bool> is_below(const std::string& identity, const std::string& path) {
  const std::string table =
      TRY(sys::read_file_at(sys::working_directory, "/proc/self/mountinfo", mountinfo_bytes_max));
  std::string_view device = identity;
  take_until(device, ' ');
  std::string_view rest = table;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    std::string_view fields[5];
    for (std::string_view& field : fields) field = take_until(line, ' ');
    if (fields[2] == device && fields[4] == path) return true;
  }
  return false;
}

Result<> attach(const Fd& mount, const std::string& path) {
  const Fd target = TRY(sys::open_at(sys::working_directory, path.c_str(), O_PATH));
  return sys::attach_mount(mount, target).context([&] { return cat("mounting on ", path); });
}

ring::Task<> mount_reserved(Images& images, const ImageRecord& record, const Fd& directory,
                            const std::string& path, bool writable) {
  co_await describe(directory, record);
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
  const Fd mount = co_await images.mount(record.descriptor.digest, options);
  co_await attach(mount, path);
  co_await sys::replace_file_at(directory.get(), "mount", co_await identity_of(path), 0600);
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
  co_await ensure_directory(store.root(), containers);
  const Fd parent = co_await open_directory(store.root(), containers);
  const Fd directory = co_await reserve(parent, place);
  Result<> mounted = co_await ring::as_result(
      mount_reserved(images, details.record, directory, place.path, writable));
  if (!mounted) co_await clear(loop, store, place.name);
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
  const std::string path = cat(containers, '/', place.name);
  const Result<Fd> directory = open_directory(store.root(), path.c_str());
  if (!directory) {
    co_await fail(Kind::NotFound, cat(place.path, ": no image of this store is mounted there"));
  }
  const Result<std::string> ours =
      sys::read_file_at(directory->get(), "mount", digest_line_bytes_max);
  if (ours && co_await identity_of(place.path) == *ours) {
    if (::umount2(place.path.c_str(), UMOUNT_NOFOLLOW) != 0) {
      co_await fail_errno(errno, cat("unmounting ", place.path));
    }
  } else if (ours && co_await is_below(*ours, place.path)) {
    co_await fail(Kind::Conflict,
                  cat(place.path, ": something else is mounted on top of the image"));
  }
  co_await clear(loop, store, place.name);
}

Result<std::vector<Digest>> manifests_in_use(const Store& store) {
  std::vector<Digest> manifests;
  Result<Fd> parent = open_directory(store.root(), containers);
  if (!parent && parent.error().error_number() == ENOENT) return manifests;
  const Fd directory = TRY(std::move(parent));
  for (const std::string& name : TRY(list_directory(directory))) {
    if (name.starts_with(trash_prefix)) continue;
    const Result<std::string> base =
        sys::read_file_at(directory.get(), cat(name, "/base").c_str(), base_bytes_max);
    if (!base) continue;
    for (std::string_view rest = *base; !rest.empty();) {
      if (Result<Digest> manifest = Digest::parse(take_until(rest, '\n'))) {
        manifests.push_back(*std::move(manifest));
      }
    }
  }
  return manifests;
}

}  // namespace nacelle::image
