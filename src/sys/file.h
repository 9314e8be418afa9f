// Files by descriptor: each system call wrapped once, naming the call and its arguments on failure.
// The fd argument comes first, the path second; CLOEXEC always.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

// A directory to start from: a descriptor, or the working directory.
inline constexpr int working_directory = AT_FDCWD;

Result<Fd> open_at(int directory, const char* path, int flags, mode_t mode = 0);
Result<> make_directory_at(int directory, const char* path, mode_t mode);
Result<> unlink_at(int directory, const char* path, int flags = 0);
Result<> make_fifo_at(int directory, const char* path, mode_t mode);
Result<> rename_at(int directory, const char* from, const char* to);
Result<struct stat> stat_fd(const Fd& file);
Result<struct stat> stat_at(int directory, const char* path, int flags);

// Reads to the end, at most `bytes_max`; more is an Exhausted error that names `what`.
Result<std::string> read_all(const Fd& file, size_t bytes_max, std::string_view what);
Result<std::string> read_file_at(int directory, const char* path, size_t bytes_max);
Result<> write_all(const Fd& file, std::string_view bytes, std::string_view what);

// Writes `bytes` to a file that is created, or replaced as a whole: readers see the old content or
// the new, never a part. No fsync: for run-time state on a tmpfs, which dies with the machine.
Result<> replace_file_at(int directory, const char* path, std::string_view bytes, mode_t mode);

// Writes to a file that exists (procfs, cgroupfs) in one write(2), as those demand.
Result<> write_file_at(int directory, const char* path, std::string_view bytes);

// Removes a directory of plain files (one level): `path` and what is in it.
Result<> remove_directory_at(int directory, const char* path);

Result<std::string> read_link_at(int directory, const char* path);

// A sealed, unlinked, executable or plain memory file with these bytes.
Result<Fd> make_sealed_memory_file(const char* name, std::string_view bytes, bool executable);

}  // namespace nacelle::sys
