#include "bpf/groups.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "bpf/map_rows.h"
#include "bpf/pins.h"
#include "sys/bpf.h"
#include "sys/file.h"

namespace nacelle::bpf {

Result<uint64_t> group_number(const Fd& directory) {
  const struct stat status = TRY(sys::stat_fd(directory));
  return static_cast<uint64_t>(status.st_ino);
}

nacelle_group_counters sum_of_cpus(const nacelle_group_counters* of_cpus, uint32_t count) {
  nacelle_group_counters all{};
  for (const nacelle_group_counters* each = of_cpus; each != of_cpus + count; ++each) {
    all.sent_bytes += each->sent_bytes;
    all.sent_packets += each->sent_packets;
    all.received_bytes += each->received_bytes;
    all.received_packets += each->received_packets;
    all.connections_out += each->connections_out;
    all.connections_in += each->connections_in;
    all.retransmits += each->retransmits;
    all.rtt_us_sum += each->rtt_us_sum;
    all.rtt_samples += each->rtt_samples;
  }
  return all;
}

std::string address_text(const nacelle_address& address) {
  char text[INET6_ADDRSTRLEN];
  in6_addr whole;
  std::memcpy(&whole, address.bytes, sizeof whole);
  if (IN6_IS_ADDR_V4MAPPED(&whole)) {
    return ::inet_ntop(AF_INET, address.bytes + 12, text, sizeof text);
  }
  return ::inet_ntop(AF_INET6, &whole, text, sizeof text);
}

Result<> detach_group_programs(const Fd& cgroup) {
  for (const GroupProgram& each : group_programs) {
    for (const uint32_t id : TRY(sys::query_cgroup_programs(cgroup, each.type))) {
      const Result<Fd> program = sys::open_program(id);
      if (!program || TRY(sys::read_program_name(*program)) != each.name) continue;
      TRY(sys::detach_from_cgroup(cgroup, *program, each.type));
    }
  }
  return {};
}

Result<Groups> Groups::open(const std::string& directory) {
  Groups groups;
  groups.counters_ = TRY(open_pinned_map(directory, "group_counters", sizeof(uint64_t),
                                         sizeof(nacelle_group_counters)));
  groups.peers_ = TRY(open_pinned_map(directory, "group_peers", sizeof(nacelle_peer_key),
                                      sizeof(nacelle_peer_counters)));
  groups.cpus_ = TRY(sys::count_possible_cpus());
  return groups;
}

Result<> Groups::add(uint64_t group) {
  std::vector<nacelle_group_counters> values(cpus_);
  if (TRY(sys::find_map_row(counters_, &group, values.data()))) return {};
  return sys::put_map_row(counters_, &group, values.data());
}

Result<nacelle_group_counters> Groups::read(uint64_t group) const {
  std::vector<nacelle_group_counters> values(cpus_);
  if (TRY(sys::find_map_row(counters_, &group, values.data()))) {
    return sum_of_cpus(values.data(), cpus_);
  }
  return fail(Kind::NotFound, cat("cgroup ", group, ": has no counters"));
}

Result<> Groups::remove(uint64_t group) { return sys::erase_map_row(counters_, &group); }

Result<std::map<uint64_t, nacelle_group_counters>> Groups::read_all() const {
  std::map<uint64_t, nacelle_group_counters> all;
  TRY((for_each_row<uint64_t, nacelle_group_counters>(
      counters_, cpus_, [&](uint64_t group, const nacelle_group_counters* values) {
        all[group] = sum_of_cpus(values, cpus_);
      })));
  return all;
}

Result<std::vector<Groups::Peer>> Groups::read_peers(uint64_t group) const {
  std::vector<Peer> all;
  TRY((for_each_row<nacelle_peer_key, nacelle_peer_counters>(
      peers_, 1, [&](const nacelle_peer_key& key, const nacelle_peer_counters* counters) {
        if (key.group == group) all.emplace_back(key, *counters);
      })));
  return all;
}

}  // namespace nacelle::bpf
