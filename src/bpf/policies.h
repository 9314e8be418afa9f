// Network policies in the maps of bpf/policy.h, by way of their pins: rules as they were compiled
// into what is looked up, numbers of policies, counters, verdicts as they come.
// An address has a class, a class has verdicts by direction, protocol and port. Two questions
// decide about a new flow: what class 0, the rules for everyone, says, and what the address's own
// class says. Where either denies, it is denied; where either allows, allowed; else the default
// holds.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bpf/abi/policy.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::bpf {

inline constexpr uint8_t policy_ingress = NACELLE_INGRESS, policy_egress = NACELLE_EGRESS;
inline constexpr uint8_t policy_any_protocol = 0;
inline constexpr uint16_t policy_rules_max = 4096;
inline constexpr size_t policy_rows_max = 1u << 18;  // of one table

struct PolicyAddressRow {
  uint32_t base = 0;  // in the order of the host
  uint8_t length = 32;
  uint32_t address_class = 0;
  bool operator==(const PolicyAddressRow&) const = default;
};

struct PolicyAddress6Row {
  std::array<uint8_t, 16> base{};
  uint8_t length = 128;
  uint32_t address_class = 0;
  bool operator==(const PolicyAddress6Row&) const = default;
};

// Of several rows that match, the longest decides. A protocol without a row of its own is asked for
// as policy_any_protocol.
struct PolicyPortRow {
  uint32_t address_class = 0;
  uint8_t direction = policy_ingress;
  uint8_t protocol = policy_any_protocol;
  uint16_t port = 0;
  uint8_t length = 0;  // of the port's prefix: 0 to 16
  bool deny = false;
  bool has_verdict = true;  // false: no rule of this class is about it
  uint16_t rule = 0;        // which one decided
  bool operator==(const PolicyPortRow&) const = default;
};

struct PolicyTable {
  bool deny_by_default[2] = {false, false};  // by direction
  std::vector<PolicyAddressRow> addresses;
  std::vector<PolicyAddress6Row> addresses6;
  std::vector<PolicyPortRow> ports;
  size_t rows() const { return addresses.size() + addresses6.size() + ports.size(); }
  bool operator==(const PolicyTable&) const = default;
};

// 0: no limit. What may come at once (`*_burst`) is never 0 where there is a limit.
struct PolicyLimit {
  uint64_t packets = 0, packets_burst = 0;  // per second
  uint64_t bytes = 0, bytes_burst = 0;
  bool operator==(const PolicyLimit&) const = default;
};

// A policy as it is to be. Beside what is enforced there may be what is tried: would-be drops are
// counted, and nothing else.
struct PolicyVersion {
  bool is_enforced = true, has_trial = false;
  PolicyTable enforced, trial;
  PolicyLimit limits[2], trial_limits[2];  // of each link that has this policy, by direction
  uint16_t rules = 0, trial_rules = 0;     // how many have counters
  bool operator==(const PolicyVersion&) const = default;
};

// What was decided. Of a flow its first packet counts, of what is dropped each packet.
struct PolicyCount {
  bool is_trial = false;
  uint16_t rule = 0;  // or NACELLE_COUNT_DEFAULT + direction, NACELLE_COUNT_REASON + reason
  uint64_t hits = 0;
};

// "fragment"
std::string_view policy_reason_word(unsigned reason);

class PolicyMaps {
 public:
  // `directory`: of the pins. NotFound: nothing is pinned there.
  static Result<PolicyMaps> open(const std::string& directory);

  // All of it at once: rows first, then the policy's row, which names them. The rows of before are
  // retired: they go by sweep(), which waits for some milliseconds, since a packet may still be
  // looking at them. It may run beside everything else here.
  Result<> replace(uint32_t policy, const PolicyVersion& version, bool counts_anew);
  struct Retired {
    std::vector<nacelle_policy_address> addresses;
    std::vector<nacelle_policy_address6> addresses6;
    std::vector<nacelle_policy_port> ports;
  };
  Retired take_retired() { return std::exchange(retired_, {}); }
  Result<> sweep(const Retired& retired) const;
  // No link has it any more.
  Result<> forget(uint32_t policy);
  // Rows that no policy names: of those who were ended in the middle.
  Result<> collect();

  Result<std::vector<PolicyCount>> read_counts(uint32_t policy) const;
  // Until then (CLOCK_MONOTONIC) verdicts are told: drops, and new flows that pass.
  Result<> set_trace(uint64_t drops_until_ns, uint64_t allowed_until_ns);

 private:
  Result<uint32_t> add_table(const PolicyTable& table);
  void retire(const nacelle_policy& row);
  Result<> erase_counts(uint32_t policy);
  Result<> ensure_counts(uint32_t policy, bool is_trial, uint16_t rules);
  Result<uint32_t> last_table() const;

  Fd policies_, addresses_, addresses6_, ports_, hits_, trace_;
  uint32_t next_table_ = 1;
  std::map<uint32_t, Retired> tables_;  // those this object has written
  Retired retired_;
};

// The verdicts that bpf/policy.h tells while it is listened to.
class PolicyEvents {
 public:
  static Result<PolicyEvents> open(const std::string& directory);
  PolicyEvents(PolicyEvents&& other) noexcept;
  PolicyEvents& operator=(PolicyEvents&&) = delete;
  ~PolicyEvents();

  // Readable when there are some.
  const Fd& descriptor() const { return ring_; }
  void read(const std::function<void(const nacelle_policy_event&)>& take);

 private:
  explicit PolicyEvents(Fd ring) : ring_(std::move(ring)) {}
  Fd ring_;
  size_t bytes_ = 0;  // of the ring, a power of two
  unsigned char* consumer_ = nullptr;
  unsigned char* producer_ = nullptr;
};

}  // namespace nacelle::bpf
