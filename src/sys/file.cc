#include "sys/file.h"

#include <dirent.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "base/text.h"
#include "sys/call.h"
#include "sys/kernel.h"

namespace nacelle::sys {
namespace {

std::unexpected<Error> failed(std::string_view call_name, std::string_view path) {
  return fail_errno(errno, cat(call_name, " '", path, "'"));
}

}  // namespace

Result<Fd> open_at(int directory, const char* path, int flags, mode_t mode) {
  const int fd = ::openat(directory, path, flags | O_CLOEXEC, mode);
  if (fd < 0) return failed("open", path);
  return Fd(fd);
}

Result<> make_directory_at(int directory, const char* path, mode_t mode) {
  if (::mkdirat(directory, path, mode) < 0) return failed("mkdir", path);
  return {};
}

Result<> unlink_at(int directory, const char* path, int flags) {
  if (::unlinkat(directory, path, flags) < 0) return failed("unlink", path);
  return {};
}

Result<> make_fifo_at(int directory, const char* path, mode_t mode) {
  if (::mkfifoat(directory, path, mode) < 0) return failed("mkfifo", path);
  return {};
}

Result<> rename_at(int directory, const char* from, const char* to) {
  if (::renameat(directory, from, directory, to) < 0) return failed("rename", from);
  return {};
}

Result<struct stat> stat_fd(const Fd& file) {
  struct stat status;
  if (::fstat(file.get(), &status) < 0) return fail_errno(errno, "fstat");
  return status;
}

Result<struct stat> stat_at(int directory, const char* path, int flags) {
  struct stat status;
  if (::fstatat(directory, path, &status, flags) < 0) return failed("stat", path);
  return status;
}

Result<std::string> read_all(const Fd& file, size_t bytes_max, std::string_view what) {
  std::string bytes;
  struct stat status;
  // procfs and sysfs report size 0; one page is their usual size.
  const size_t hint = ::fstat(file.get(), &status) == 0 && status.st_size > 0
                          ? static_cast<size_t>(status.st_size)
                          : 4095;
  size_t used = 0;
  bytes.resize(hint + 1 < bytes_max + 1 ? hint + 1 : bytes_max + 1);
  while (true) {
    const ssize_t got = ::read(file.get(), bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", what);
    if (got == 0) break;
    used += static_cast<size_t>(got);
    if (used > bytes_max) {
      return fail(Kind::Exhausted, cat("read '", what, "': more than ", bytes_max, " bytes"));
    }
    if (used == bytes.size()) bytes.resize(used * 2 < bytes_max + 1 ? used * 2 : bytes_max + 1);
  }
  bytes.resize(used);
  return bytes;
}

Result<std::string> read_file_at(int directory, const char* path, size_t bytes_max) {
  const Fd file = TRY(open_at(directory, path, O_RDONLY));
  return read_all(file, bytes_max, path);
}

Result<> write_all(const Fd& file, std::string_view bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(file.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed("write", what);
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return {};
}

Result<> replace_file_at(int directory, const char* path, std::string_view bytes, mode_t mode) {
  const std::string temporary = cat(path, ".", ::getpid(), ".partial");
  {
    const Fd file =
        TRY(open_at(directory, temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
    TRY(write_all(file, bytes, temporary));
  }
  return rename_at(directory, temporary.c_str(), path);
}

Result<> write_file_at(int directory, const char* path, std::string_view bytes) {
  const Fd file = TRY(open_at(directory, path, O_WRONLY));
  if (::write(file.get(), bytes.data(), bytes.size()) < 0) {
    return fail_errno(errno, cat("write '", bytes, "' to '", path, "'"));
  }
  return {};
}

Result<> remove_directory_at(int directory, const char* path) {
  Fd inside = TRY(open_at(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  DIR* listing = ::fdopendir(inside.get());
  if (listing == nullptr) return failed("opendir", path);
  (void)std::move(inside).release();  // owned by `listing` from here on
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (::unlinkat(::dirfd(listing), entry->d_name, 0) < 0 && errno != ENOENT) {
      const int reason = errno;
      ::closedir(listing);
      return fail_errno(reason, cat("unlink '", path, "/", name, "'"));
    }
  }
  ::closedir(listing);
  return unlink_at(directory, path, AT_REMOVEDIR);
}

Result<std::string> read_link_at(int directory, const char* path) {
  std::string target(4096, '\0');
  const ssize_t length = ::readlinkat(directory, path, target.data(), target.size());
  if (length < 0) return failed("readlink", path);
  target.resize(static_cast<size_t>(length));
  return target;
}

Result<Fd> make_sealed_memory_file(const char* name, std::string_view bytes, bool executable) {
  const unsigned kind = executable ? MFD_EXEC : MFD_NOEXEC_SEAL;
  int raw = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kind);
  // REMOVE when 6.3 is the floor: older kernels know neither kind and make it executable.
  if (raw < 0 && errno == EINVAL) raw = ::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (raw < 0) return failed("memfd_create", name);
  Fd file(raw);
  TRY(write_all(file, bytes, name));
  const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (::fcntl(file.get(), F_ADD_SEALS, seals) < 0) return failed("sealing", name);
  return file;
}

}  // namespace nacelle::sys
