// The bpf(2) calls that processes that stay and the start of containers need, without libbpf:
// device programs of cgroups; programs and maps that somebody has pinned, programs on network
// interfaces. Loading object files is not its business (src/bpf/loader.h).
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

// A BPF_PROG_TYPE_CGROUP_DEVICE program. When the verifier refuses it, the error holds the end of
// its log. `name` is at most 15 letters, digits, '_' or '.'.
Result<Fd> load_device_program(std::span<const bpf_insn> instructions, const char* name);

// A BPF_PROG_TYPE_CGROUP_SOCK_ADDR program for one of its hooks. The same otherwise.
Result<Fd> load_address_program(std::span<const bpf_insn> instructions, bpf_attach_type hook,
                                const char* name);

// Adds `program` beside what others attached (BPF_F_ALLOW_MULTI): an access must pass all of them.
Result<> attach_to_cgroup(const Fd& cgroup, const Fd& program, bpf_attach_type type);
// Puts `program` in the place of `old` in one step.
Result<> replace_on_cgroup(const Fd& cgroup, const Fd& program, const Fd& old,
                           bpf_attach_type type);
Result<> detach_from_cgroup(const Fd& cgroup, const Fd& program, bpf_attach_type type);

// Ids of the programs attached to this very cgroup, in the order they run.
Result<std::vector<uint32_t>> query_cgroup_programs(const Fd& cgroup, bpf_attach_type type);
Result<Fd> open_program(uint32_t id);
// The name a program was loaded with.
Result<std::string> read_program_name(const Fd& program);

// Pins, maps --------------------------------------------------------------------------------------

Result<Fd> open_bpf_pin(const std::string& path);
Result<> pin_bpf(const Fd& object, const std::string& path);

struct BpfMapShape {
  uint32_t type = 0, key_bytes = 0, value_bytes = 0, rows_max = 0, flags = 0;
  bool operator==(const BpfMapShape&) const = default;
};
Result<BpfMapShape> read_map_shape(const Fd& map);

// Keys and values are of the map's own sizes: who calls has compared them with read_map_shape().
Result<> put_map_row(const Fd& map, const void* key, const void* value);
Result<bool> find_map_row(const Fd& map, const void* key, void* value);  // false: there is none
Result<> erase_map_row(const Fd& map, const void* key);                  // none: no error
// The key after `key` (null: the first); false at the end.
Result<bool> next_map_key(const Fd& map, const void* key, void* next);
// Up to `count` rows in one call. `position`: 4 bytes that the kernel goes on by, or for hashes
// a key's worth if that is more; null `from` is the beginning. False: these were the last.
struct BpfBatch {
  const void* from = nullptr;
  void* to = nullptr;
  void *keys = nullptr, *values = nullptr;
  uint32_t count = 0;  // room; then how many came
};
Result<bool> read_map_batch(const Fd& map, BpfBatch& batch);
// How many values a row of a map per CPU has.
Result<uint32_t> count_possible_cpus();

// Programs on network interfaces
// -------------------------------------------------------------------

enum class NetworkSide : uint8_t { Ingress, Egress };
// Before all others there (tcx, Linux 6.6), for as long as the interface lives. Unsupported: the
// kernel has no tcx. With `old` in its place, in one step.
Result<> attach_to_interface(uint32_t index, const Fd& program, NetworkSide side,
                             const Fd* old = nullptr);
Result<std::vector<uint32_t>> query_interface_programs(uint32_t index, NetworkSide side);

}  // namespace nacelle::sys
