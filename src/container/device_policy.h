// Which devices a container may make and open: the rules of linux.resources.devices turned into one
// BPF_PROG_TYPE_CGROUP_DEVICE program. Pure: nothing here touches the kernel. Whatever no rule
// allows is denied.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

// What is asked for, with the bits of BPF_DEVCG_ACC_*: mknod 1, read 2, write 4.
struct DeviceAccess {
  uint8_t type = BPF_DEVCG_DEV_CHAR;  // BPF_DEVCG_DEV_CHAR or _BLOCK
  uint32_t major = 0;
  uint32_t minor = 0;
  uint8_t bits = 0;
};

// One checked rule. Rules apply in order; for each bit asked for, the last rule that covers it
// decides, and the access passes when every bit does. A rule of type 'a' with numbers or with fewer
// than three bits means just what it says (runc widens it to all devices; crun does not).
struct DeviceMatch {
  bool allow = false;
  uint8_t bits = 0;
  std::optional<uint8_t> type;  // absent: both
  std::optional<uint32_t> major;
  std::optional<uint32_t> minor;
  bool operator==(const DeviceMatch&) const = default;
};

// What every container gets after its own rules, as in runc: mknod of anything, and null, zero,
// full, random, urandom, tty, ptmx and the pts terminals.
std::span<const DeviceMatch> default_device_rules();

// The rules of a config checked, the defaults appended, and what can no longer decide anything
// dropped. An error names the JSON path.
Result<std::vector<DeviceMatch>> plan_device_rules(std::span<const oci::DeviceRule> rules);

// Whether the rules let every access pass, so that no program is needed.
bool allows_everything(std::span<const DeviceMatch> rules);

// The meaning of the rules, said directly.
bool allows(std::span<const DeviceMatch> rules, const DeviceAccess& access);

// The rules as a program. `rules` come from plan_device_rules.
std::vector<bpf_insn> compile_device_program(std::span<const DeviceMatch> rules);

}  // namespace nacelle::container
