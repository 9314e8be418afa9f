// What the programs on the engine's root cgroup (bpf/group.bpf.c) and those who write and read
// their maps (src/bpf/groups.cc) both know. Plain C of both sides. Addresses and ports are in
// network order; an IPv4 address is ::ffff:a.b.c.d. What is here grows at its end only.
#pragma once

#include "link.h"

// A row of `group_counters` (per CPU), by the id of a container's cgroup: that there is one makes
// the group a container's. What is counted:
//   * bytes and packets of layer 3, so with IP headers and without Ethernet's. Large sends and
//     receives, which the kernel cuts and joins (GSO, GRO), are counted as the packets they stand
//     for.
//   * what sockets send and get; what goes by a loopback interface is not.
struct nacelle_group_counters {
  __u64 sent_bytes, sent_packets, received_bytes, received_packets;
  __u64 connections_out, connections_in;  // TCP, established
  __u64 retransmits;                      // TCP segments
  __u64 rtt_us_sum, rtt_samples;          // smoothed round trip times, each time there is a new one
};
NACELLE_SAME(sizeof(struct nacelle_group_counters) == 72);

// A key of `group_peers`: with whom, and about what. The lower of the two ports is taken for that
// of the service: `is_server` says on which side that is.
struct nacelle_peer_key {
  __u64 group;
  struct nacelle_address peer;
  __be16 port;  // 0: the protocol has none, or a later fragment
  __u8 protocol;
  __u8 is_server;  // the container has it
  __u32 unused;
};
NACELLE_SAME(sizeof(struct nacelle_peer_key) == 32);

struct nacelle_peer_counters {
  __u64 sent_bytes, sent_packets, received_bytes, received_packets;
};
NACELLE_SAME(sizeof(struct nacelle_peer_counters) == 32);

enum { NACELLE_PEERS_MAX = 16384 };  // those not seen for longest make room
