// The bpf(2) calls that container start-up needs, without libbpf: load a program, attach it to a
// cgroup, exchange it, take it off, ask what is there. Maps and links are not its business.
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

}  // namespace nacelle::sys
