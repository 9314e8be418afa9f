// Goal: what the CPUs have counted of a group is added up field by field, and addresses read as
// people write them.
#include "bpf/groups.h"

#include <gtest/gtest.h>

#include <cstring>

namespace nacelle::bpf {
namespace {

TEST(GroupCounters, every_field_of_every_cpu_counts) {
  // All members are numbers of 64 bits: a sum that forgets one is seen.
  constexpr size_t fields = sizeof(nacelle_group_counters) / sizeof(uint64_t);
  uint64_t numbers[3][fields];
  for (size_t cpu = 0; cpu < 3; ++cpu) {
    for (size_t field = 0; field < fields; ++field) {
      numbers[cpu][field] = (field + 1) << (16 * cpu);
    }
  }
  nacelle_group_counters of_cpus[3];
  std::memcpy(of_cpus, numbers, sizeof of_cpus);
  const nacelle_group_counters sum = sum_of_cpus(of_cpus, 3);
  uint64_t sums[fields];
  std::memcpy(sums, &sum, sizeof sums);
  for (size_t field = 0; field < fields; ++field) {
    EXPECT_EQ(sums[field], (field + 1) * 0x100010001) << field;
  }
}

TEST(GroupCounters, of_no_cpu_is_nothing) { EXPECT_EQ(sum_of_cpus(nullptr, 0).sent_bytes, 0u); }

TEST(PeerAddress, reads_as_people_write_it) {
  nacelle_address four{};
  four.bytes[10] = four.bytes[11] = 0xff;
  four.bytes[12] = 10;
  four.bytes[15] = 7;
  EXPECT_EQ(address_text(four), "10.0.0.7");
  nacelle_address six{};
  six.bytes[0] = 0xfe;
  six.bytes[1] = 0x80;
  six.bytes[15] = 1;
  EXPECT_EQ(address_text(six), "fe80::1");
}

}  // namespace
}  // namespace nacelle::bpf
