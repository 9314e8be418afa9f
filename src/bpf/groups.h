// What containers have sent and got, whatever network they are on: the rows of their cgroups in the
// maps of bpf/group.bpf.c, by way of their pins. Core makes a row before a container's program runs
// and takes it away when the container is forgotten; anybody may read.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bpf/abi/group.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::bpf {

// Of a cgroup's directory: what its rows know it by.
Result<uint64_t> group_number(const Fd& directory);

// What the CPUs have counted, together.
nacelle_group_counters sum_of_cpus(const nacelle_group_counters* of_cpus, uint32_t count);

// "10.1.2.3", "fe80::1".
std::string address_text(const nacelle_address& address);

// The programs, and where on the engine's root cgroup each of them is.
struct GroupProgram {
  const char* name;
  bpf_attach_type type;
};
inline constexpr GroupProgram group_programs[] = {{"group_egress", BPF_CGROUP_INET_EGRESS},
                                                  {"group_ingress", BPF_CGROUP_INET_INGRESS},
                                                  {"group_socket", BPF_CGROUP_INET_SOCK_CREATE},
                                                  {"group_sockops", BPF_CGROUP_SOCK_OPS}};
// Takes them off again, whoever has put them there.
Result<> detach_group_programs(const Fd& cgroup);

class Groups {
 public:
  // `directory`: of the pins. NotFound: nothing is pinned there.
  static Result<Groups> open(const std::string& directory);

  // One that is there already goes on counting.
  Result<> add(uint64_t group);
  Result<nacelle_group_counters> read(uint64_t group) const;  // NotFound: there is no such row
  Result<> remove(uint64_t group);
  // Of all there are, in one pass.
  Result<std::map<uint64_t, nacelle_group_counters>> read_all() const;
  // With whom a group has spoken, as far as it is remembered.
  using Peer = std::pair<nacelle_peer_key, nacelle_peer_counters>;
  Result<std::vector<Peer>> read_peers(uint64_t group) const;

 private:
  Fd counters_, peers_;
  uint32_t cpus_ = 1;
};

}  // namespace nacelle::bpf
