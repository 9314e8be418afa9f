// linux.resources turned into the control files to write for cgroup v2, in order, and the
// controllers they need. Pure: nothing here touches the kernel. What cgroup v2 cannot limit is
// refused, never dropped in silence.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

// What to do when the control file does not exist.
enum class IfAbsent {
  Refuse,
  Skip,  // the absence of the file already means what was asked for
  Next,  // the next write says the same by another file; if this one works, that one is skipped
};

struct ControlWrite {
  std::string file;
  std::string value;   // one line: some files take only one a write
  std::string source;  // the JSON path, "linux.resources.memory.limit"
  IfAbsent if_absent = IfAbsent::Refuse;
  bool operator==(const ControlWrite&) const = default;
};

struct NeededController {
  std::string name;    // "memory"
  std::string source;  // the first JSON path that asks for it
  bool operator==(const NeededController&) const = default;
};

// New limits that must not lie below what is in use now (memory.checkBeforeUpdate); 0: not asked.
struct MemoryFloor {
  uint64_t memory = 0;
  uint64_t memory_and_swap = 0;
  bool operator==(const MemoryFloor&) const = default;
};

struct CgroupPlan {
  std::vector<NeededController> controllers;
  std::vector<ControlWrite> writes;
  MemoryFloor check_before_update;
  // Empty: every device is allowed and no program is attached.
  std::vector<bpf_insn> device_program;
};

Result<CgroupPlan> plan_cgroup(const oci::Resources& resources);

// CPU shares (2 to 262144, default 1024) as a cpu.weight (1 to 10000, default 100): the logarithmic
// scale that runc 1.3.2 and crun 1.23 introduced, which maps default to default.
uint64_t weight_of_cpu_shares(uint64_t shares);
// A blkio weight (10 to 1000) as an io.weight (1 to 10000).
uint64_t io_weight_of_block_io_weight(uint16_t weight);

}  // namespace nacelle::container
