// What the programs on containers' links (bpf/link.bpf.c) and those who write and read their maps
// (src/bpf) both know: rows, counters, events, and one list of reasons for which a packet is
// dropped. Plain C of both sides. Addresses and ports are in network order; an IPv4 address where
// there is room for IPv6 is ::ffff:a.b.c.d. A map's layout is part of what outlives a program: what
// is here grows at its end only, and rows are taken over (src/bpf/loader.cc).
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
#define NACELLE_SAME(expression) static_assert(expression, #expression)
#else
#define NACELLE_SAME(expression) _Static_assert(expression, #expression)
#endif

// The number, its word in answers and logs, and what it means. Numbers stay what they are.
#define NACELLE_DROP_REASONS(X)                                                           \
  X(0, NO_ROW, "no-row", "nobody has said whose link this is")                            \
  X(1, VLAN, "vlan", "a VLAN tag")                                                        \
  X(2, ETHERTYPE, "ethertype", "neither IP nor ARP")                                      \
  X(3, IPV6, "ipv6", "IPv6, which the network does not have")                             \
  X(4, MALFORMED, "malformed", "headers that cannot be true")                             \
  X(5, SOURCE_MAC, "source-mac", "sent under another MAC address")                        \
  X(6, SOURCE_ADDRESS, "source-address", "sent under another address")                    \
  X(7, ARP_CLAIM, "arp-claim", "ARP that claims another address")                         \
  X(8, SOURCE_ROUTE, "source-route", "a source-routed packet")                            \
  X(9, LOOPBACK, "loopback", "to the host's loopback addresses")                          \
  X(10, INTERNAL, "internal", "out of an internal network, or into one")                  \
  X(11, ISOLATED, "isolated", "to a neighbour, in a network without icc")                 \
  X(12, OTHER_NETWORK, "other-network", "from a container of another network")            \
  X(13, UNPUBLISHED, "unpublished", "from outside, and neither asked for nor published")  \
  X(14, SPOOFED, "spoofed", "under the address of a container that did not send it")      \
  X(15, POLICY, "policy", "a policy forbids it")                                          \
  X(16, IPV4, "ipv4", "IPv4, which the network does not have")                            \
  X(17, NEIGHBOUR_CLAIM, "neighbour-claim", "neighbour discovery not of its own address") \
  X(18, ROUTER, "router", "router discovery, or a redirect")                              \
  X(19, EXTENSION, "extension", "IPv6 extension headers that nobody here judges")

enum nacelle_drop_reason {
#define NACELLE_DROP_NUMBER(number, name, word, meaning) NACELLE_DROP_##name = number,
  NACELLE_DROP_REASONS(NACELLE_DROP_NUMBER)
#undef NACELLE_DROP_NUMBER
};
enum { NACELLE_DROP_REASONS_MAX = 32 };  // room for more

enum nacelle_direction {
  NACELLE_FROM_CONTAINER = 0,
  NACELLE_TO_CONTAINER = 1,
};

enum nacelle_link_flag {
  NACELLE_LINK_INTERNAL = 1,  // its network has no way out, and none in
  NACELLE_LINK_ISOLATED = 2,  // its neighbours may not be reached (icc is off)
};

// nftables sets it on a packet that it has translated for a published port, or that answers what a
// container has sent out. A container cannot: marks do not cross the border of a namespace.
enum { NACELLE_MARK_TRANSLATED = 0x20000000 };

struct nacelle_address {
  __u8 bytes[16];
} __attribute__((aligned(8)));
NACELLE_SAME(sizeof(struct nacelle_address) == 16);

// A row of `links`, by the ifindex of the host's end.
struct nacelle_link {
  __u64 network;                              // src/bpf/links.h, network_number()
  __u32 flags;                                // nacelle_link_flag
  __u32 policy;                               // 0: none
  __u32 link;                                 // the key again
  __u32 peer;                                 // the container's end, in its own namespace
  __be32 address, gateway;                    // zero: it has no IPv4
  struct nacelle_address address6, gateway6;  // zeros: it has no IPv6
  __u8 mac[6], host_mac[6];
  // Set by the programs: some neighbour has reached it by a published port, so its answers are
  // looked up in `translated`.
  __u32 has_translated;
};
NACELLE_SAME(sizeof(struct nacelle_link) == 80);

// A row of `endpoints`, by address. Networks of one host have no address in common: they share its
// routing table. So the address alone says which network it is, by way of the link.
struct nacelle_endpoint {
  __u32 link;
};

// A row of `counters` (per CPU), by link: bytes as its own interface counts them, with the Ethernet
// header. What a container has sent is counted before it is judged, what it gets only when it gets
// it. It goes with the link's row: who wants to know the end of it looks before core forgets the
// container.
struct nacelle_counters {
  __u64 sent_bytes, sent_packets, received_bytes, received_packets;
};
NACELLE_SAME(sizeof(struct nacelle_counters) == 32);

// A row of `drops`, by link; link 0 has what was dropped at links without a row.
struct nacelle_drops {
  __u64 packets[NACELLE_DROP_REASONS_MAX];
};

// A key of `translated`: a flow that reached a container by a published port from its own network.
// The answers have to pass by the host, which gives them back the address that was asked.
struct nacelle_flow {
  struct nacelle_address container, peer;
  __be16 container_port, peer_port;
  __u32 protocol;
};
NACELLE_SAME(sizeof(struct nacelle_flow) == 40);

// The one row of `settings`.
struct nacelle_settings {
  __u64 listened_until_ns;  // CLOCK_MONOTONIC: until then drops are told by `events`
};

// What `events` (a ring buffer) holds.
struct nacelle_drop_event {
  __u64 ns;  // CLOCK_MONOTONIC
  __u32 link;
  __u8 reason, direction, protocol, has_ports;
  __be16 ethertype, source_port, destination_port;
  __u16 length;
  struct nacelle_address source, destination;
};
NACELLE_SAME(sizeof(struct nacelle_drop_event) == 56);
// As many a second are told by each CPU.
enum { NACELLE_EVENTS_PER_SECOND = 1000 };
