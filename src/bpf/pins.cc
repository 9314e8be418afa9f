#include "bpf/pins.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#include <cerrno>

#include "base/text.h"
#include "sys/bpf.h"
#include "sys/file.h"

namespace nacelle::bpf {
namespace {

constexpr uint32_t bpf_fs_magic = 0xcafe4a11;

bool is_bpf_fs(const std::string& directory) {
  struct statfs status{};
  return ::statfs(directory.c_str(), &status) == 0 &&
         static_cast<uint32_t>(status.f_type) == bpf_fs_magic;
}

}  // namespace

std::string pins_directory(std::string_view run_directory) { return cat(run_directory, "/bpf"); }

Result<> ensure_pins_directory(const std::string& directory) {
  const Result<> made = sys::make_directory_at(sys::working_directory, directory.c_str(), 0700);
  if (!made && made.error().error_number() != EEXIST) return made;
  if (is_bpf_fs(directory)) return {};
  constexpr unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount("nacelle", directory.c_str(), "bpf", flags, "mode=0700") == 0) return {};
  return fail_errno(errno, cat("mounting a BPF file system at ", directory));
}

Result<> remove_pins_directory(const std::string& directory) {
  // What one is mounted over another goes, too.
  while (is_bpf_fs(directory)) {
    if (::umount2(directory.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
      return fail_errno(errno, cat("unmounting ", directory));
    }
  }
  const Result<> gone = sys::unlink_at(sys::working_directory, directory.c_str(), AT_REMOVEDIR);
  if (!gone && gone.error().error_number() != ENOENT) return gone;
  return {};
}

Result<Fd> open_pin(const std::string& directory, std::string_view name) {
  return sys::open_bpf_pin(cat(directory, "/", name));
}

Result<Fd> open_pinned_map(const std::string& directory, std::string_view name, size_t key_bytes,
                           size_t value_bytes) {
  Fd map = TRY(open_pin(directory, name));
  const sys::BpfMapShape shape = TRY(sys::read_map_shape(map));
  if (shape.key_bytes == key_bytes && shape.value_bytes == value_bytes) return map;
  return fail(Kind::Unsupported, cat("BPF map ", name, ": is of another version"));
}

}  // namespace nacelle::bpf
