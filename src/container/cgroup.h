// The cgroup of one container: where it is, made with its limits and its device program, changed,
// counted, handed to a user namespace, and taken away with everything the workload made in it.
// Plans come from cgroup_plan.h; processes get in by being born there (clone3), never by a write.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "container/cgroup_plan.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "sys/cgroup.h"

namespace nacelle::container {

// The group's path from the root of the tree for linux.cgroupsPath, as runc's cgroupfs driver has
// it: an absolute path counts from the root, a relative one from the parent of the group we are in,
// and without a path the container's id is the relative path.
Result<std::string> place_cgroup(std::string_view cgroups_path, std::string_view container_id,
                                 std::string_view own_cgroup);

struct ContainerCgroup {
  Fd dir;                         // for clone3's CLONE_INTO_CGROUP
  std::string path;               // from the root of the tree, without a leading slash
  std::vector<std::string> made;  // the groups made for it, outermost first: its own to remove
};

// Device programs that are loaded: most containers have the same rules, and to have the kernel
// check and compile them costs 0.1 ms.
class DevicePrograms {
 public:
  // Borrowed until the next call.
  Result<const Fd*> load(std::span<const bpf_insn> program);

 private:
  struct Loaded {
    std::string text;
    Fd program;
  };
  std::vector<Loaded> all_;  // what was used last is last
};

// The group with its limits and device program in force. After an error nothing it made is left.
// A group that is there already is taken if it is empty and not frozen (Kind::Conflict otherwise).
// Who makes many gives `programs`.
Result<ContainerCgroup> create_cgroup(const sys::CgroupTree& tree, const std::string& path,
                                      const CgroupPlan& plan, DevicePrograms* programs = nullptr);

// Writes the limits of `plan`, for a group at `path` that lives; devices are left alone.
Result<> apply_limits(const sys::CgroupTree& tree, const std::string& path, const Fd& dir,
                      const CgroupPlan& plan);

// Makes `program` the one device program of ours on the group, others' stay; an empty one takes
// ours off. There is no moment in which less is denied than before and after.
Result<> set_device_program(const Fd& dir, std::span<const bpf_insn> program);

// Kills what is left in the group, removes it with all groups beneath it, and then those of `made`
// that are empty. A group that is gone is no error.
Result<> destroy_cgroup(const sys::CgroupTree& tree, const std::string& path,
                        std::span<const std::string> made, sys::Deadline deadline);

// Gives the group to `owner`, the user a container's root is outside its user namespace, with the
// files that the kernel names as safe to give (config-linux.md "Cgroup ownership").
Result<> delegate_cgroup(const Fd& dir, uid_t owner);

// A value that is absent was not there to read; nothing here is made up.
struct CgroupStats {
  using Counters = std::vector<std::pair<std::string, uint64_t>>;
  struct Device {
    uint32_t major = 0;
    uint32_t minor = 0;
    Counters counters;  // rbytes wbytes rios wios dbytes dios
  };
  struct Hugepages {
    std::string page_size;
    std::optional<uint64_t> current;
    std::optional<uint64_t> max;
    std::optional<uint64_t> failures;
  };

  std::optional<Counters> cpu;  // cpu.stat
  std::optional<uint64_t> memory_current;
  std::optional<uint64_t> memory_peak;
  std::optional<uint64_t> memory_max;  // unlimited: no_limit
  std::optional<uint64_t> swap_current;
  std::optional<uint64_t> swap_max;
  std::optional<Counters> memory;         // memory.stat
  std::optional<Counters> memory_events;  // memory.events
  std::optional<uint64_t> pids_current;
  std::optional<uint64_t> pids_max;
  std::optional<std::vector<Device>> io;  // io.stat
  std::vector<Hugepages> hugepages;
};
inline constexpr uint64_t no_limit = UINT64_MAX;

Result<CgroupStats> read_stats(const Fd& dir);

}  // namespace nacelle::container
