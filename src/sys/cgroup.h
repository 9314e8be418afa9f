// The cgroup v2 tree by descriptor: find it, make and open groups, read and write control files,
// kill, freeze, wait, count, remove. Paths are relative to the root of the mounted tree and never
// leave it. Refuses two things on purpose: cgroup v1, and moving a process (`cgroup.procs` is never
// written; a process is born in its group by clone3 with CLONE_INTO_CGROUP).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

// The root of a mounted cgroup v2 tree.
struct CgroupTree {
  Fd root;
  std::string mount;  // "/sys/fs/cgroup"
};

// /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host.
Result<CgroupTree> open_cgroup_tree();
// The tree at `mount`, which must be cgroup v2.
Result<CgroupTree> open_cgroup_tree_at(std::string mount);

// The "0::" line of a /proc/PID/cgroup file: "/user.slice/x".
Result<std::string> parse_own_cgroup(std::string_view proc_cgroup);
Result<std::string> read_own_cgroup();

// `path` without leading, trailing and doubled slashes and without "."; "" is the root. A "..", a
// NUL, a newline and a name too long for the kernel are errors.
Result<std::string> clean_cgroup_path(std::string_view path);

// The group as a readable directory: enough for clone3, for bpf and for the calls below.
Result<Fd> open_cgroup(const CgroupTree& tree, const std::string& path);

struct EnsuredCgroup {
  Fd dir;
  std::vector<std::string> made;  // paths of the groups this call made, outermost first
  bool existed = false;           // the innermost group was there already
};
// Makes what is missing of `path`. After an error nothing this call made is left.
Result<EnsuredCgroup> ensure_cgroup(const CgroupTree& tree, const std::string& path);

// Removes the groups of `made`, innermost first, as far as they are empty: someone else may have
// put groups of their own beneath them meanwhile, and those stay.
void remove_made_cgroups(const CgroupTree& tree, std::span<const std::string> made);

// The whole of a control file.
Result<std::string> read_control(const Fd& group, const char* file);
Result<> write_control(const Fd& group, const char* file, std::string_view value);
bool has_control(const Fd& group, const char* file);

// Whether the space-separated list `words` holds `word`.
bool has_word(std::string_view words, std::string_view word);
// The value after `key ` in a flat keyed file such as cgroup.events, or nothing.
std::string_view find_keyed(std::string_view text, std::string_view key);

// Makes `controllers` usable in the group at `path`: turns on those that are missing in
// cgroup.subtree_control of each ancestor, from the root down. What was turned on stays on: others
// may rely on it by the time this call could take it back.
Result<> enable_controllers(const CgroupTree& tree, const std::string& path,
                            std::span<const std::string_view> controllers);

using Deadline = std::chrono::steady_clock::time_point;
inline Deadline deadline_in(std::chrono::milliseconds span) {
  return std::chrono::steady_clock::now() + span;
}

// Waits until `key` is `value` in cgroup.events; Kind::Unavailable when the deadline passes first.
Result<> wait_cgroup_event(const Fd& group, std::string_view key, char value, Deadline deadline);

// SIGKILL to every process of the group and beneath it, frozen ones too.
Result<> kill_cgroup(const Fd& group);
// Stops every process of the group and waits until all have stopped; a group that could not be
// frozen in time is thawed again.
Result<> freeze_cgroup(const Fd& group, Deadline deadline);
Result<> thaw_cgroup(const Fd& group, Deadline deadline);

// Every process in the group and beneath it.
Result<std::vector<pid_t>> list_cgroup_pids(const Fd& group);

// Removes the group at `path` if nobody and nothing is in it; false if it is still there.
bool remove_empty_cgroup(const CgroupTree& tree, const std::string& path);

// Removes the group at `path` with all groups beneath it, innermost first; the processes in them
// must be dead or dying. A group that is not there is no error.
Result<> remove_cgroup(const CgroupTree& tree, const std::string& path, Deadline deadline);

// The number the kernel and BPF programs know the group by.
Result<uint64_t> read_cgroup_id(const Fd& group);

}  // namespace nacelle::sys
