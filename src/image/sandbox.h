// What nacelle-worker locks itself into before it reads a foreign byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "image/worker.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

// Sanitizers map terabytes of shadow and read /proc: no limit on address space then.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool is_sanitized = true;
#else
inline constexpr bool is_sanitized = false;
#endif
#else
inline constexpr bool is_sanitized = false;
#endif

std::string_view to_string(WorkerKind kind);  // "unpack", "pack", "bytes", "registry", "files"
std::optional<WorkerKind> parse_worker_kind(std::string_view text);

// How a worker says that its memory limit was reached: no message can be made then.
inline constexpr int exit_out_of_memory = 86;
inline constexpr int exit_out_of_time = 87;
inline constexpr uint64_t cpu_seconds_max = 3'600;
inline constexpr uint64_t cpu_seconds_grace = 5;  // to say so
inline constexpr uint64_t open_files_max = 512;

struct SandboxOptions {
  WorkerKind kind = WorkerKind::Bytes;
  Fd root;  // the directory to become everything there is; empty: nothing is there
  RootIs root_is = RootIs::Directory;
  std::vector<RootMount> mounts;
  bool read_only_root = false;  // of a worker for Pack it always is
  uint64_t memory_bytes_max = 0;
  uint64_t cpu_seconds_max = image::cpu_seconds_max;
};

// Outside its limits stays what a worker writes into memory files, which its answers need: no
// address space is taken by that, and the host's memory is bounded only by the cgroup it runs in.
// And one for Unpack can change mode, owner and times of any file whose descriptor it is given,
// even one opened for reading: what is in it stays, and its digest with that.
//
// Makes the namespaces, pivots into the root, limits, drops and filters. The new root is the value.
// Once, while there is one thread.
Result<Fd> enter_sandbox(SandboxOptions options);

}  // namespace nacelle::image
