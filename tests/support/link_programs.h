// The programs of bpf/ on packets that are bytes, by BPF_PROG_TEST_RUN: the kernel runs them as it
// would for an interface, here `lo`, at which a container with the addresses 10.0.0.2 and
// fd00::a00:2 is said to be.
// In a private host only: what is loaded is pinned below /run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "bpf/links.h"
#include "bpf/policies.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::test {

inline constexpr uint32_t container_address = 0x0a000002;

// From `source` to `destination` (in the order of the host).
struct PacketText {
  uint32_t source = 0, destination = 0;
  uint8_t protocol = 6;
  uint16_t source_port = 0, destination_port = 0;
  uint8_t tcp_flags = 0x02;       // SYN
  uint16_t id = 0, fragment = 0;  // as the header has it: flags, and the offset in eights
  uint8_t icmp_type = 8;
  bool v6 = false;  // between addresses that end so, of fd00::/64; types of ICMP are ICMPv6's
  std::string payload = std::string(32, 'x');
  std::string bytes() const;
};

class LinkPrograms {
 public:
  static Result<std::unique_ptr<LinkPrograms>> open();

  bpf::PolicyMaps& policies() { return *policies_; }
  Result<> set_policy(uint32_t policy);
  struct Run {
    bool passed = false;
    uint32_t ns = 0;  // of each of `repeat` runs
  };
  // To the container, or from it.
  Result<Run> run(const PacketText& packet, bool to_container, uint32_t repeat = 1) const;

  static constexpr const char* directory = "/run/bpf";

 private:
  Fd ingress_, egress_, links_;
  std::optional<bpf::PolicyMaps> policies_;
};

}  // namespace nacelle::test
