#include "container/identity.h"

#include <poll.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>

#include "base/text.h"
#include "sys/file.h"

namespace nacelle::container {
namespace {

constexpr long pidfs_magic = 0x50494446;  // PID_FS_MAGIC, 6.9

Result<uint64_t> read_start_time(int pid) {
  const std::string path = cat("/proc/", pid, "/stat");
  const std::string stat = TRY(sys::read_file_at(sys::working_directory, path.c_str(), 4096));
  // The command's name may hold anything; the fields after its last ")" do not.
  const size_t name_end = stat.rfind(')');
  std::string_view rest =
      std::string_view(stat).substr(name_end == std::string::npos ? stat.size() : name_end + 1);
  std::string_view field;
  for (int i = 2; i < 23; ++i) field = take_until(rest, ' ');
  const auto time = parse_number<uint64_t>(field);
  if (!time) return fail(Kind::Internal, cat(path, ": no start time"));
  return *time;
}

bool has_ended(const Fd& pidfd) {
  pollfd one{pidfd.get(), POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

}  // namespace

Result<ProcessIdentity> identify(int pid, const Fd& pidfd) {
  ProcessIdentity identity{.pid = pid};
  struct statfs filesystem;
  if (::fstatfs(pidfd.get(), &filesystem) == 0 && filesystem.f_type == pidfs_magic) {
    identity.pidfd_inode = TRY(sys::stat_fd(pidfd)).st_ino;
  } else {
    // REMOVE when 6.9 is the floor: all pidfds share one inode.
    identity.start_time = TRY(read_start_time(pid));
  }
  return identity;
}

Result<Fd> open_process(const ProcessIdentity& identity) {
  const auto gone = [&] { return fail(Kind::NotFound, cat("process ", identity.pid, " is gone")); };
  if (identity.pid <= 0) return gone();
  const long raw = ::syscall(SYS_pidfd_open, identity.pid, 0);
  if (raw < 0) {
    if (errno == ESRCH) return gone();
    return fail_errno(errno, cat("pidfd_open ", identity.pid));
  }
  Fd pidfd(static_cast<int>(raw));
  if (has_ended(pidfd)) return gone();
  const auto found = identify(identity.pid, pidfd);
  if (!found && found.error().kind() != Kind::NotFound) return std::unexpected(found.error());
  if (!found || found->pidfd_inode != identity.pidfd_inode ||
      found->start_time != identity.start_time) {
    return gone();
  }
  return pidfd;
}

}  // namespace nacelle::container
