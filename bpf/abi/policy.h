// What policies of networks look like to the kernel (bpf/policy.h) and to who writes them
// (src/bpf/policies.cc). A policy has a number, which is in the row of each link it holds for. Its
// rules are rows of a table; a new version of it has a table of its own, which is filled first, and
// then is named by the policy's row: so a change is whole or not there. The row's generation grows
// with it, by which flows of before are known and judged anew.
#pragma once

#include "link.h"

// Seen from the container.
enum nacelle_policy_direction { NACELLE_INGRESS = 0, NACELLE_EGRESS = 1 };

// Why a packet has passed or has not. Numbers stay what they are.
#define NACELLE_POLICY_REASONS(X)                                                        \
  X(0, RULE, "rule")               /* a rule says so */                                  \
  X(1, DEFAULT, "default")         /* no rule is about it */                             \
  X(2, FRAGMENT, "fragment")       /* its first fragment has not been seen to pass */    \
  X(3, MIDSTREAM, "midstream")     /* nobody knows who began it, and not both may */     \
  X(4, CUT, "cut")                 /* of a flow that a change of the policy has ended */ \
  X(5, PACKET_RATE, "packet-rate") /* too many a second */                               \
  X(6, BYTE_RATE, "byte-rate")                                                           \
  X(7, NO_POLICY, "no-policy") /* the link names a policy that is not there */           \
  X(8, MALFORMED, "malformed") /* headers that end too early */

enum nacelle_policy_reason {
#define NACELLE_POLICY_NUMBER(number, name, word) NACELLE_POLICY_##name = number,
  NACELLE_POLICY_REASONS(NACELLE_POLICY_NUMBER)
#undef NACELLE_POLICY_NUMBER
};
enum { NACELLE_POLICY_REASONS_MAX = 16 };  // room for more

// 0: no limit.
struct nacelle_policy_limit {
  __u64 packets, packets_burst, bytes, bytes_burst;  // per second
};

// A row of `policies`, by number. Twice each: what is enforced, and what is tried.
struct nacelle_policy {
  __u32 generation;
  __u32 table[2];   // 0: there is none, and nothing is denied
  __u8 deny[2][2];  // by default; then by direction
  __u8 has_limits[2];
  __u8 unused[2];
  struct nacelle_policy_limit limits[2][2];
};
NACELLE_SAME(sizeof(struct nacelle_policy) == 152);

// A key of `policy_addresses` (a trie); its row is the class of the address.
struct nacelle_policy_address {
  __u32 bits;  // that count: 32 of the table, and the prefix
  __u32 table;
  __be32 address;
};
NACELLE_SAME(sizeof(struct nacelle_policy_address) == 12);

// A key of `policy_addresses6`, the same for IPv6.
struct nacelle_policy_address6 {
  __u32 bits;
  __u32 table;
  struct nacelle_address address;
};
NACELLE_SAME(sizeof(struct nacelle_policy_address6) == 24);

// A key of `policy_ports` (a trie).
struct nacelle_policy_port {
  __u32 bits;  // 80, and those of the port
  __u32 table, address_class;
  __u8 direction, protocol;
  __be16 port;
};
NACELLE_SAME(sizeof(struct nacelle_policy_port) == 16);
enum { NACELLE_POLICY_SILENT = 0, NACELLE_POLICY_ALLOW = 1, NACELLE_POLICY_DENY = 2 };
struct nacelle_policy_verdict {
  __u16 rule;
  __u8 verdict, unused;
};

// A key of `policy_hits`: of a rule, or of what was decided without one.
enum { NACELLE_COUNT_DEFAULT = 0x8000, NACELLE_COUNT_REASON = 0x8100 };
struct nacelle_policy_hit {
  __u32 policy;
  __u16 rule;
  __u8 is_trial, unused;
};
NACELLE_SAME(sizeof(struct nacelle_policy_hit) == 8);

// The one row of `policy_trace`: until then (CLOCK_MONOTONIC) verdicts are told.
struct nacelle_policy_trace {
  __u64 drops_until_ns, allowed_until_ns;
};

// What `policy_events` (a ring buffer) holds.
struct nacelle_policy_event {
  __u64 ns;  // CLOCK_MONOTONIC
  __u32 link, policy;
  struct nacelle_address local, remote;
  __be16 local_port, remote_port;
  __u16 rule, length;
  __u8 direction, protocol, reason, is_deny, is_trial, unused[3];
};
NACELLE_SAME(sizeof(struct nacelle_policy_event) == 64);
