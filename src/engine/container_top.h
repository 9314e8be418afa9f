// `docker top`: what ps(1) would say of a container's processes, from /proc. Which columns and
// under which titles is decided by a pure function; reading is another matter.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::engine {

enum class TopField : uint8_t {
  Pid,
  ParentPid,
  Uid,
  User,
  Gid,
  Group,
  Command,
  Name,
  CpuPercent,
  CpuOld,
  MemoryPercent,
  VirtualKib,
  ResidentKib,
  Elapsed,
  Time,
  StartTime,
  Terminal,
  State,
  StateLong,
  Nice,
  Priority,
  ThreadCount,
  ProcessGroup,
  Session,
  WaitChannel,
};

struct TopColumn {
  std::string title;
  TopField field;
};

// `arguments` as for ps: "-ef", "aux", "-o pid,comm", "-eo pid=ID,user". Empty: "-ef". Invalid for
// what is not understood, and where no column has the process id.
Result<std::vector<TopColumn>> plan_top(std::string_view arguments);

// One row; NotFound when the process is gone.
Result<std::vector<std::string>> read_top_row(int pid, const std::vector<TopColumn>& columns);

}  // namespace nacelle::engine
