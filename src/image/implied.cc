// Directories that no entry of a layer describes, though entries lie in them.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/text.h"
#include "image/layers.h"
#include "ring/blocking.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr std::string_view overlay_attributes = "trusted.overlay.";

bool is_opaque(const Fd& directory) {
  char value = 0;
  return ::fgetxattr(directory.get(), "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

// What one layer says of a path.
struct Found {
  Fd directory;        // it has the directory
  bool hides = false;  // what lies below this layer is not seen there
};

Result<Found> look(const Fd& layer, std::string_view path) {
  Found found;
  Fd at = TRY(sys::open_at(layer.get(), ".", O_RDONLY | O_DIRECTORY));
  while (!path.empty()) {
    const std::string component(take_until(path, '/'));
    if (component.empty() || component == ".") continue;
    if (component == "..") return fail(Kind::Invalid, "a path with '..'");
    found.hides = found.hides || is_opaque(at);
    auto next = sys::open_at(at.get(), component.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!next) {
      const int reason = next.error().error_number();
      if (reason == ENOENT) return found;
      if (reason != ENOTDIR && reason != ELOOP) return std::unexpected(next.error());
      found.hides = true;  // a whiteout, a link or a file
      return found;
    }
    at = *std::move(next);
  }
  found.hides = found.hides || is_opaque(at);
  found.directory = std::move(at);
  return found;
}

Result<> copy_attributes(const Fd& from, const Fd& to) {
  // Most directories have none.
  if (::flistxattr(from.get(), nullptr, 0) == 0) return {};
  std::string names(64u << 10, '\0');  // XATTR_LIST_MAX
  const ssize_t length = ::flistxattr(from.get(), names.data(), names.size());
  if (length < 0) return errno == ENOTSUP ? Result<>() : fail_errno(errno, "flistxattr");
  std::string_view rest = std::string_view(names).substr(0, static_cast<size_t>(length));
  std::string value(64u << 10, '\0');  // XATTR_SIZE_MAX
  while (!rest.empty()) {
    const std::string name(take_until(rest, '\0'));
    if (name.empty() || name.starts_with(overlay_attributes)) continue;
    const ssize_t size = ::fgetxattr(from.get(), name.c_str(), value.data(), value.size());
    if (size < 0) return fail_errno(errno, cat("fgetxattr '", name, "'"));
    if (::fsetxattr(to.get(), name.c_str(), value.data(), static_cast<size_t>(size), 0) < 0) {
      return fail_errno(errno, cat("fsetxattr '", name, "'"));
    }
  }
  return {};
}

Result<> copy_metadata(const Fd& from, const Fd& to) {
  const auto status = TRY(sys::stat_fd(from));
  if (::fchown(to.get(), status.st_uid, status.st_gid) < 0) return fail_errno(errno, "fchown");
  TRY(copy_attributes(from, to));
  // After the attributes: setting an access control list changes the mode.
  if (::fchmod(to.get(), status.st_mode & 07777) < 0) return fail_errno(errno, "fchmod");
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::futimens(to.get(), times) < 0) return fail_errno(errno, "futimens");
  return {};
}

// Nothing when the layer below has no such directory, or when it cannot be seen: the directory then
// keeps what it was made with.
Result<Fd> copy_from_below(const Fd& tree, std::string_view path,
                           std::span<const Fd* const> lower) {
  Found own = TRY(look(tree, path));
  if (!own.directory) return fail(Kind::Internal, "it is not there");
  bool hidden = own.hides;
  for (size_t at = lower.size(); at > 0 && !hidden; --at) {
    const Found below = TRY(look(*lower[at - 1], path));
    if (below.directory) {
      TRY(copy_metadata(below.directory, own.directory));
      return std::move(own.directory);
    }
    hidden = below.hides;
  }
  return Fd();
}

constexpr size_t directories_per_turn = 256;

}  // namespace

ring::Task<> apply_implied(ring::Loop& loop, const Fd& tree, std::vector<std::string> directories,
                           std::span<const Fd* const> lower) {
  bool changed_any = false;
  size_t count = 0;
  for (const std::string& path : directories) {
    const Fd changed =
        co_await copy_from_below(tree, path, lower).context(cat("directory '", path, "'"));
    changed_any = changed_any || changed;
    if (++count % directories_per_turn == 0) co_await ring::nop(loop);
  }
  if (!changed_any) co_return;
  // Once for all: an fsync of each takes milliseconds, and there may be tens of thousands.
  Fd place = co_await sys::open_at(tree.get(), ".", O_RDONLY | O_DIRECTORY);
  auto sync = [place = std::move(place)]() -> Result<> {
    if (::syncfs(place.get()) < 0) return fail_errno(errno, "syncfs");
    return {};
  };
  co_await ring::run_blocking(loop, std::move(sync));
}

}  // namespace nacelle::image
