// Compiled filters on disk, for programs that start one container and end: a hit costs one open and
// one read instead of parsing and compiling. Nothing in the directory is trusted: a file that is
// not ours alone, not whole, not for exactly these bytes and this kernel, or not a valid program,
// is a miss. A failure to store is no failure of the call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "container/seccomp.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::container {

struct SeccompCacheKey {
  std::string_view profile_json;    // Linux::seccomp_json
  std::string_view kernel_release;  // uname(2); empty: that of the running kernel
};

// Files kept; when there are more, one insertion removes others.
inline constexpr size_t seccomp_cache_files_max = 64;
// Larger profiles are compiled every time.
inline constexpr size_t seccomp_cache_profile_bytes_max = 256u << 10;

// Opens `path` for load_or_compile(), making its last component if it is missing. Fails when it
// is not a directory of ours with mode 0700: others could then plant or read filters.
Result<Fd> open_seccomp_cache(const char* path);

// `directory` comes from open_seccomp_cache().
Result<SeccompProgram> load_or_compile(const Fd& directory, const SeccompCacheKey& key,
                                       const SeccompTarget& target);

// The file that holds the program for `key`.
std::string seccomp_cache_file(const SeccompCacheKey& key, const SeccompTarget& target);

}  // namespace nacelle::container
