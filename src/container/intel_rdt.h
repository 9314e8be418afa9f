// linux.intelRdt: a container's class of service and monitoring group in resctrl (config-linux.md
// "IntelRdt"): shares of the last-level cache and of memory bandwidth. What is to be written is
// decided by pure functions. Groups that others made are joined, and never removed.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

// The mounted resctrl file system, or an error that says that there is none.
Result<Fd> open_resctrl();

struct RdtPlan {
  std::string group;  // below the root; ".": the default class
  bool own = false;   // named after the container: made with it and removed with it
  bool must_exist = false;
  std::vector<std::string> schemata;  // one line a write, in this order
  std::vector<std::string> compared;  // must hold already in a group that is there
  std::string monitoring;             // a group to make, "GROUP/mon_groups/ID"; empty: none
  bool operator==(const RdtPlan&) const = default;
};
RdtPlan plan_rdt(const oci::IntelRdt& rdt, std::string_view container_id);

// Whether what `line` asks for ("L3:0=ff;1=f") is so in `schemata`, a whole file as the kernel
// prints it: padded, with leading zeros, and with domains that the line says nothing about.
bool schemata_hold(std::string_view schemata, std::string_view line);

// Makes what is missing and puts the process in. Gives the groups to remove with the container,
// outermost first. After an error nothing it made is left.
Result<std::vector<std::string>> join_rdt(const Fd& resctrl, const RdtPlan& plan, pid_t pid);
// For a further process of the container: `groups` are the plan's class and monitoring group.
Result<> put_into_rdt_groups(const Fd& resctrl, std::span<const std::string> groups, pid_t pid);
// Removes groups that join_rdt gave; those that are gone are no error.
Result<> remove_rdt_groups(const Fd& resctrl, std::span<const std::string> groups);

}  // namespace nacelle::container
