#include "bpf/policies.h"

#include <arpa/inet.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "base/text.h"
#include "bpf/map_rows.h"
#include "bpf/pins.h"
#include "sys/bpf.h"

namespace nacelle::bpf {
namespace {

constexpr std::string_view reason_words[] = {
#define NACELLE_POLICY_WORD(number, name, word) word,
    NACELLE_POLICY_REASONS(NACELLE_POLICY_WORD)
#undef NACELLE_POLICY_WORD
};
constexpr useconds_t grace_us = 100'000;

// Until no packet is being judged that was begun before: programs run inside of read-side sections
// of RCU, and this is synchronize_rcu().
void wait_for_packets() {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) ::usleep(grace_us);
}

nacelle_policy_limit limit_row(const PolicyLimit& limit) {
  return {.packets = limit.packets,
          .packets_burst = limit.packets_burst,
          .bytes = limit.bytes,
          .bytes_burst = limit.bytes_burst};
}

// All keys, before any row is deleted.
template <class Key, class Value>
Result<std::vector<Key>> list_keys(const Fd& map) {
  std::vector<Key> all;
  TRY((
      for_each_row<Key, Value>(map, 1, [&](const Key& key, const Value*) { all.push_back(key); })));
  return all;
}

std::vector<uint16_t> counters_of(uint16_t rules) {
  std::vector<uint16_t> all;
  for (uint16_t rule = 0; rule < rules; ++rule) all.push_back(rule);
  for (uint16_t direction = 0; direction < 2; ++direction) {
    all.push_back(static_cast<uint16_t>(NACELLE_COUNT_DEFAULT + direction));
  }
  for (uint16_t reason = 0; reason < std::size(reason_words); ++reason) {
    all.push_back(static_cast<uint16_t>(NACELLE_COUNT_REASON + reason));
  }
  return all;
}

}  // namespace

std::string_view policy_reason_word(unsigned reason) {
  return reason < std::size(reason_words) ? reason_words[reason] : "unknown";
}

Result<PolicyMaps> PolicyMaps::open(const std::string& directory) {
  PolicyMaps maps;
  maps.policies_ =
      TRY(open_pinned_map(directory, "policies", sizeof(uint32_t), sizeof(nacelle_policy)));
  maps.addresses_ = TRY(open_pinned_map(directory, "policy_addresses",
                                        sizeof(nacelle_policy_address), sizeof(uint32_t)));
  maps.addresses6_ = TRY(open_pinned_map(directory, "policy_addresses6",
                                         sizeof(nacelle_policy_address6), sizeof(uint32_t)));
  maps.ports_ = TRY(open_pinned_map(directory, "policy_ports", sizeof(nacelle_policy_port),
                                    sizeof(nacelle_policy_verdict)));
  maps.hits_ =
      TRY(open_pinned_map(directory, "policy_hits", sizeof(nacelle_policy_hit), sizeof(uint64_t)));
  maps.trace_ = TRY(
      open_pinned_map(directory, "policy_trace", sizeof(uint32_t), sizeof(nacelle_policy_trace)));
  maps.next_table_ = TRY(maps.last_table()) + 1;
  return maps;
}

// Of all that have a row anywhere.
Result<uint32_t> PolicyMaps::last_table() const {
  uint32_t last = 0;
  for (const uint32_t policy : TRY((list_keys<uint32_t, nacelle_policy>(policies_)))) {
    nacelle_policy row{};
    if (TRY(sys::find_map_row(policies_, &policy, &row))) {
      last = std::max({last, row.table[0], row.table[1]});
    }
  }
  const auto addresses = TRY((list_keys<nacelle_policy_address, uint32_t>(addresses_)));
  for (const auto& key : addresses) last = std::max(last, key.table);
  const auto addresses6 = TRY((list_keys<nacelle_policy_address6, uint32_t>(addresses6_)));
  for (const auto& key : addresses6) last = std::max(last, key.table);
  const auto ports = TRY((list_keys<nacelle_policy_port, nacelle_policy_verdict>(ports_)));
  for (const auto& key : ports) last = std::max(last, key.table);
  return last;
}

Result<uint32_t> PolicyMaps::add_table(const PolicyTable& table) {
  if (table.rows() > policy_rows_max) {
    return fail(Kind::Exhausted, cat("more than ", policy_rows_max, " rows"));
  }
  const uint32_t number = next_table_++;
  Retired& keys = tables_[number];
  for (const PolicyAddressRow& each : table.addresses) {
    const nacelle_policy_address key{
        .bits = 32u + each.length, .table = number, .address = htonl(each.base)};
    TRY(sys::put_map_row(addresses_, &key, &each.address_class));
    keys.addresses.push_back(key);
  }
  for (const PolicyAddress6Row& each : table.addresses6) {
    nacelle_policy_address6 key{.bits = 32u + each.length, .table = number, .address = {}};
    std::memcpy(&key.address, each.base.data(), each.base.size());
    TRY(sys::put_map_row(addresses6_, &key, &each.address_class));
    keys.addresses6.push_back(key);
  }
  for (const PolicyPortRow& each : table.ports) {
    const nacelle_policy_port key{.bits = 80u + each.length,
                                  .table = number,
                                  .address_class = each.address_class,
                                  .direction = each.direction,
                                  .protocol = each.protocol,
                                  .port = htons(each.port)};
    nacelle_policy_verdict row{.rule = each.rule, .verdict = NACELLE_POLICY_SILENT, .unused = 0};
    if (each.has_verdict) row.verdict = each.deny ? NACELLE_POLICY_DENY : NACELLE_POLICY_ALLOW;
    TRY(sys::put_map_row(ports_, &key, &row));
    keys.ports.push_back(key);
  }
  return number;
}

// Of an object before this one: collect().
void PolicyMaps::retire(const nacelle_policy& row) {
  for (const uint32_t each : row.table) {
    const auto found = tables_.find(each);
    if (found == tables_.end()) continue;
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    append(retired_.addresses, found->second.addresses);
    append(retired_.addresses6, found->second.addresses6);
    append(retired_.ports, found->second.ports);
    tables_.erase(found);
  }
}

Result<> PolicyMaps::sweep(const Retired& retired) const {
  if (retired.addresses.empty() && retired.addresses6.empty() && retired.ports.empty()) return {};
  wait_for_packets();
  for (const auto& key : retired.addresses) TRY(sys::erase_map_row(addresses_, &key));
  for (const auto& key : retired.addresses6) TRY(sys::erase_map_row(addresses6_, &key));
  for (const auto& key : retired.ports) TRY(sys::erase_map_row(ports_, &key));
  return {};
}

Result<> PolicyMaps::erase_counts(uint32_t policy) {
  for (const PolicyCount& each : TRY(read_counts(policy))) {
    const nacelle_policy_hit key{
        .policy = policy, .rule = each.rule, .is_trial = each.is_trial, .unused = 0};
    TRY(sys::erase_map_row(hits_, &key));
  }
  return {};
}

Result<> PolicyMaps::ensure_counts(uint32_t policy, bool is_trial, uint16_t rules) {
  for (const uint16_t each : counters_of(rules)) {
    const nacelle_policy_hit key{.policy = policy, .rule = each, .is_trial = is_trial, .unused = 0};
    uint64_t hits = 0;
    if (TRY(sys::find_map_row(hits_, &key, &hits))) continue;
    TRY(sys::put_map_row(hits_, &key, &hits));
  }
  return {};
}

Result<> PolicyMaps::replace(uint32_t policy, const PolicyVersion& version, bool counts_anew) {
  nacelle_policy before{};
  (void)TRY(sys::find_map_row(policies_, &policy, &before));
  nacelle_policy row{};
  row.generation = before.generation + 1;
  if (counts_anew) TRY(erase_counts(policy));
  TRY(ensure_counts(policy, false, version.rules));
  if (version.is_enforced) row.table[0] = TRY(add_table(version.enforced));
  if (version.has_trial) {
    TRY(ensure_counts(policy, true, version.trial_rules));
    row.table[1] = TRY(add_table(version.trial));
  }
  for (unsigned direction = 0; direction < 2; ++direction) {
    row.deny[0][direction] = version.enforced.deny_by_default[direction];
    row.deny[1][direction] = version.trial.deny_by_default[direction];
    row.limits[0][direction] = limit_row(version.limits[direction]);
    row.limits[1][direction] = limit_row(version.trial_limits[direction]);
    row.has_limits[0] |= version.limits[direction] != PolicyLimit();
    row.has_limits[1] |= version.trial_limits[direction] != PolicyLimit();
  }
  TRY(sys::put_map_row(policies_, &policy, &row));
  retire(before);
  return {};
}

Result<> PolicyMaps::forget(uint32_t policy) {
  nacelle_policy before{};
  if (!TRY(sys::find_map_row(policies_, &policy, &before))) return {};
  TRY(sys::erase_map_row(policies_, &policy));
  retire(before);
  return erase_counts(policy);
}

Result<> PolicyMaps::collect() {
  std::set<uint32_t> policies, named;
  for (const uint32_t policy : TRY((list_keys<uint32_t, nacelle_policy>(policies_)))) {
    nacelle_policy row{};
    if (!TRY(sys::find_map_row(policies_, &policy, &row))) continue;
    policies.insert(policy);
    named.insert({row.table[0], row.table[1]});
  }
  const auto addresses = TRY((list_keys<nacelle_policy_address, uint32_t>(addresses_)));
  for (const auto& key : addresses) {
    if (!named.contains(key.table)) TRY(sys::erase_map_row(addresses_, &key));
  }
  const auto addresses6 = TRY((list_keys<nacelle_policy_address6, uint32_t>(addresses6_)));
  for (const auto& key : addresses6) {
    if (!named.contains(key.table)) TRY(sys::erase_map_row(addresses6_, &key));
  }
  const auto ports = TRY((list_keys<nacelle_policy_port, nacelle_policy_verdict>(ports_)));
  for (const auto& key : ports) {
    if (!named.contains(key.table)) TRY(sys::erase_map_row(ports_, &key));
  }
  for (const auto& key : TRY((list_keys<nacelle_policy_hit, uint64_t>(hits_)))) {
    if (!policies.contains(key.policy)) TRY(sys::erase_map_row(hits_, &key));
  }
  return {};
}

Result<std::vector<PolicyCount>> PolicyMaps::read_counts(uint32_t policy) const {
  std::vector<PolicyCount> counts;
  for (const bool is_trial : {false, true}) {
    for (const uint16_t each : counters_of(policy_rules_max)) {
      const nacelle_policy_hit key{
          .policy = policy, .rule = each, .is_trial = is_trial, .unused = 0};
      uint64_t hits = 0;
      // Rules have no gaps.
      if (!TRY(sys::find_map_row(hits_, &key, &hits))) {
        if (each < policy_rules_max) continue;
        break;
      }
      counts.push_back({.is_trial = is_trial, .rule = each, .hits = hits});
    }
  }
  return counts;
}

Result<> PolicyMaps::set_trace(uint64_t drops_until_ns, uint64_t allowed_until_ns) {
  const uint32_t only = 0;
  const nacelle_policy_trace row{.drops_until_ns = drops_until_ns,
                                 .allowed_until_ns = allowed_until_ns};
  return sys::put_map_row(trace_, &only, &row);
}

// The ring ---------------------------------------------------------------------------------------

Result<PolicyEvents> PolicyEvents::open(const std::string& directory) {
  PolicyEvents events(TRY(open_pin(directory, "policy_events")));
  const size_t bytes = TRY(sys::read_map_shape(events.ring_)).rows_max;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  // Where the reader is can be written; where the writer is, and twice the data, so that what goes
  // over the end can be read in one piece, cannot.
  void* const consumer =
      ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, events.ring_.get(), 0);
  if (consumer == MAP_FAILED) return fail_errno(errno, "mmap of a BPF ring buffer");
  events.consumer_ = static_cast<unsigned char*>(consumer);
  events.bytes_ = bytes;
  void* const producer = ::mmap(nullptr, page + 2 * bytes, PROT_READ, MAP_SHARED,
                                events.ring_.get(), static_cast<off_t>(page));
  if (producer == MAP_FAILED) return fail_errno(errno, "mmap of a BPF ring buffer");
  events.producer_ = static_cast<unsigned char*>(producer);
  return events;
}

PolicyEvents::PolicyEvents(PolicyEvents&& other) noexcept
    : ring_(std::move(other.ring_)),
      bytes_(other.bytes_),
      consumer_(std::exchange(other.consumer_, nullptr)),
      producer_(std::exchange(other.producer_, nullptr)) {}

PolicyEvents::~PolicyEvents() {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  if (consumer_ != nullptr) ::munmap(consumer_, page);
  if (producer_ != nullptr) ::munmap(producer_, page + 2 * bytes_);
}

void PolicyEvents::read(const std::function<void(const nacelle_policy_event&)>& take) {
  // linux/bpf.h, "BPF ring buffer": records of a length with two flags, and their data, in eights.
  auto* const consumed = reinterpret_cast<uint64_t*>(consumer_);
  const auto* const produced = reinterpret_cast<const uint64_t*>(producer_);
  const unsigned char* const data = producer_ + ::sysconf(_SC_PAGESIZE);
  uint64_t at = __atomic_load_n(consumed, __ATOMIC_ACQUIRE);
  while (at < __atomic_load_n(produced, __ATOMIC_ACQUIRE)) {
    const unsigned char* const record = data + (at & (bytes_ - 1));
    const uint32_t header =
        __atomic_load_n(reinterpret_cast<const uint32_t*>(record), __ATOMIC_ACQUIRE);
    if ((header & BPF_RINGBUF_BUSY_BIT) != 0) return;  // it is being written
    const uint32_t length = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    if ((header & BPF_RINGBUF_DISCARD_BIT) == 0 && length == sizeof(nacelle_policy_event)) {
      nacelle_policy_event event;
      std::memcpy(&event, record + BPF_RINGBUF_HDR_SZ, sizeof event);
      take(event);
    }
    at += (length + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
    __atomic_store_n(consumed, at, __ATOMIC_RELEASE);
  }
}

}  // namespace nacelle::bpf
