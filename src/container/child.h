// What runs between clone3 and execve: a plan executed with raw system calls, in memory shared with
// the parent. Nothing here allocates, locks, logs, throws or touches errno; a failure is written to
// the Brief and ends the child. child.cc has the order of the steps; child_*.cc the steps.
#pragma once

#include <cstdint>

#include "container/launch_plan.h"

namespace nacelle::container {

// Points in a start that are timed when somebody asks (Brief::traced).
enum class Phase : uint32_t { Born, Namespaces, Mounts, Pivot, Process, Seccomp, count };

// One byte each over the handshake socket. The child asks, the parent answers `go_on`.
enum class Signal : char {
  MapUsers = 'U',  // write my uid_map and gid_map
  RunHooks = 'H',  // namespaces and mounts stand, the old root is still visible
  GoOn = 'g',
};

// Why a child ended before its execve. The strings are literals or lie in the plan.
struct ChildFailure {
  int error_number = 0;            // 0: none
  const char* doing = nullptr;     // "mounting"
  const char* noun = nullptr;      // "/proc", or null
  const char* call = nullptr;      // "fsopen", or null
  const char* argument = nullptr;  // "proc", or null
};

// Set in what the stub writes about a failed execve, besides its errno (stub.S).
inline constexpr uint32_t stub_error_bit = 0x80000000u;

// PATH_MAX of the kernel: longer paths are refused.
inline constexpr uint32_t path_bytes_max = 4096;

struct Join {
  int fd = -1;
  uint64_t type = 0;           // CLONE_NEW*
  const char* path = nullptr;  // for words; null: joined by descriptor
};

// What parent and child share. Owned by the Launch, which outlives the child's execve.
struct Brief {
  PlanView plan;

  // Descriptors in the child; -1: none.
  int handshake = -1;
  int stub = -1;
  int console_socket = -1;      // receives the terminal's master
  int stdio[3] = {-1, -1, -1};  // become 0, 1, 2; -1: inherited
  int wait = -1;                // the stub waits here before the last execve
  int report = -1;              // and writes here why it failed; may be `handshake`
  // The stub starts the program as a new process, in the pid namespace that this one has entered
  // for its children (stub.S, "f"); this process stays outside of it.
  bool fork_last = false;
  bool writes_oom_score = false;  // it is not what is inherited
  bool own_memory = false;        // a copy of the parent's, not shared with it
  uint32_t preserved = 0;         // 3 .. 3+preserved-1 go to the program

  // Where the container's cgroup is in the runtime's mount namespace, for MountKind::CgroupTree.
  const char* cgroup_directory = nullptr;

  // Namespaces to join, in order: the plan's, then the caller's. A descriptor may be a pidfd.
  const Join* joins = nullptr;
  uint32_t join_count = 0;
  bool joined = false;          // the trampoline has joined them already
  uint64_t new_namespaces = 0;  // CLONE_NEW*: the plan's but for those the caller has joined
  int root_mount = -1;          // a detached mount to be the root, instead of what is at root.path
  bool resets_files_limit = false;
  uint64_t files_limit[2] = {};  // soft, hard; before the plan's own limits
  // What to bind, detached, one per MountStep that binds, in order; -1: to be opened by its source.
  int* trees = nullptr;
  // A namespace to be left for before anything is mounted (bare_mounts.h); -1: the caller's own is
  // copied, and left by the pivot.
  int bare_mounts = -1;

  // For a process in a running container: its init, and what of it to join.
  int init = -1;
  uint64_t init_namespaces = 0;
  int init_root = -1;  // where init's root is, if it has no mount namespace of its own

  // For execveat: argv[0] and argv[1] are the stub's own; envp has one free slot before its null.
  const char** argv = nullptr;
  const char** envp = nullptr;
  uint32_t env_count = 0;
  char stub_control[32] = {};

  // From the child.
  ChildFailure failure;
  char kernel_says[256] = {};       // what a file system context logged about the failure
  volatile int listener = -1;       // the seccomp notify descriptor, in the child's table
  volatile int listener_taken = 0;  // set by the parent
  volatile uint64_t phase_ns[static_cast<uint32_t>(Phase::count)] = {};
  bool traced = false;
  volatile bool handed_over = false;  // everything of ours is done; what follows is an execve
  bool always_ask = false;  // Signal::RunHooks is wanted even without hooks (network devices)

  char program[path_bytes_max] = {};
  char home[path_bytes_max] = {};
};

// Runs the plan; never returns. `brief` is a Brief*.
[[noreturn]] int run_child(void* brief);

// --- between the files child*.cc ----------------------------------------------------------------

[[noreturn]] void give_up(Brief& brief, long result, const char* doing, const char* noun = nullptr,
                          const char* call = nullptr, const char* argument = nullptr);

// Ends the child when `result` is a negative errno; else returns it.
inline long need(Brief& brief, long result, const char* doing, const char* noun = nullptr,
                 const char* call = nullptr, const char* argument = nullptr) {
  if (result < 0) [[unlikely]]
    give_up(brief, result, doing, noun, call, argument);
  return result;
}

void tie_to_parent(Brief& brief);
void mark(Brief& brief, Phase phase);
void ask_parent(Brief& brief, Signal signal);

// Mounts, devices, console, sysctls, masks; leaves the root where "/" is.
void set_up_root(Brief& brief);
// The default and configured nodes and links of /dev (child_devices.cc).
void make_devices(Brief& brief, int root);
// A terminal from the devpts at `root`/dev/pts: becomes 0, 1, 2 and the controlling terminal; its
// master goes to Brief::console_socket. `own_console`: it is also bound to /dev/console.
void set_up_console(Brief& brief, int root, bool own_console);
// Credentials, limits, working directory, program lookup, seccomp.
void set_up_process_before_root(Brief& brief);
void set_up_process(Brief& brief);
// Fills a tmpfs with what it is about to cover (`tmpcopyup`). Negative errno on failure.
long copy_directory(int from, int to, int depth);

}  // namespace nacelle::container
