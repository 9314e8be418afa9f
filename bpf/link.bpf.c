// The programs at the host's end of each container's link: who sends is who he says he is
// (identity), reaches whom he may (isolation), and all of it is counted (accounting). They hold
// whatever nftables says, and while nobody of us runs: what they know is in their maps alone, and a
// missing row is a denial.
//
// Neighbours of one network are served without the host's stack: the packet goes from one link's
// host end straight to the other's container end. All else goes up, and is judged again where it
// comes down to a container.
//
// Contexts are those of the UAPI and nothing of the kernel's own structs is read, so the programs
// load without BTF of the kernel (Linux 6.1 and newer).
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/link.h"
#include "policy.h"

#define LINKS_MAX 65536

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, LINKS_MAX);
  __type(key, __u32);
  __type(value, struct nacelle_link);
} links SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 2 * LINKS_MAX);
  __type(key, struct nacelle_address);
  __type(value, struct nacelle_endpoint);
} endpoints SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 2 * LINKS_MAX);  // rows of links that are gone wait for their reader
  __type(key, __u32);
  __type(value, struct nacelle_counters);
} counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 2 * LINKS_MAX);
  __type(key, __u32);
  __type(value, struct nacelle_drops);
} drops SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct nacelle_flow);
  __type(value, __u8);
} translated SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct nacelle_settings);
} settings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct budget {
  __u64 second;
  __u32 told;
  __u32 unused;
};
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct budget);
} event_budget SEC(".maps");

// What follows us in the chain may still object: others may have programs on a link, too.
#define PASS TC_ACT_UNSPEC

static __always_inline struct nacelle_address mapped(__be32 address) {
  struct nacelle_address whole = {};
  whole.bytes[10] = whole.bytes[11] = 0xff;
  __builtin_memcpy(&whole.bytes[12], &address, sizeof address);
  return whole;
}

// Drops ------------------------------------------------------------------------------------------

static __always_inline void tell(struct __sk_buff* skb, const struct packet* packet, __u32 reason,
                                 enum nacelle_direction direction) {
  const __u32 only = 0;
  const struct nacelle_settings* setting = bpf_map_lookup_elem(&settings, &only);
  if (setting == 0 || setting->listened_until_ns == 0) return;
  const __u64 now = bpf_ktime_get_ns();
  if (now > setting->listened_until_ns) return;
  struct budget* budget = bpf_map_lookup_elem(&event_budget, &only);
  if (budget == 0) return;
  const __u64 second = now / 1000000000;
  if (budget->second != second) {
    budget->second = second;
    budget->told = 0;
  }
  if (++budget->told > NACELLE_EVENTS_PER_SECOND) return;
  struct nacelle_drop_event* event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
  if (event == 0) return;
  event->ns = now;
  event->link = skb->ifindex;
  event->reason = (__u8)reason;
  event->direction = (__u8)direction;
  event->protocol = packet->protocol;
  event->has_ports = packet->has_ports;
  event->ethertype = (__be16)skb->protocol;
  event->source_port = packet->source_port;
  event->destination_port = packet->destination_port;
  event->length = skb->len > 0xffff ? 0xffff : (__u16)skb->len;
  event->source = mapped(packet->source);
  event->destination = mapped(packet->destination);
  bpf_ringbuf_submit(event, 0);
}

static __noinline int drop(struct __sk_buff* skb, const struct packet* packet, __u32 reason,
                           __u32 direction) {
  if (packet == 0) return TC_ACT_SHOT;
  __u32 key = skb->ifindex;
  struct nacelle_drops* row = bpf_map_lookup_elem(&drops, &key);
  if (row == 0) {
    key = 0;
    row = bpf_map_lookup_elem(&drops, &key);
  }
  if (row != 0 && reason < NACELLE_DROP_REASONS_MAX) {
    __sync_fetch_and_add(&row->packets[reason], 1);
  }
  tell(skb, packet, reason, (enum nacelle_direction)direction);
  return TC_ACT_SHOT;
}

// Counters ---------------------------------------------------------------------------------------

static __always_inline void count_sent(__u32 link, __u32 bytes) {
  struct nacelle_counters* row = bpf_map_lookup_elem(&counters, &link);
  if (row == 0) return;
  row->sent_bytes += bytes;
  row->sent_packets += 1;
}
static __always_inline void count_received(__u32 link, __u32 bytes) {
  struct nacelle_counters* row = bpf_map_lookup_elem(&counters, &link);
  if (row == 0) return;
  row->received_bytes += bytes;
  row->received_packets += 1;
}

// Reading a packet -------------------------------------------------------------------------------

static __always_inline int has_ports(__u8 protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

// False: these are no headers of IPv4.
static __always_inline int read_packet(struct __sk_buff* skb, struct packet* packet, __u8* ttl) {
  struct iphdr header;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &header, sizeof header) != 0) return 0;
  packet->source = header.saddr;
  packet->destination = header.daddr;
  packet->protocol = header.protocol;
  packet->header_bytes = (__u8)(header.ihl * 4);
  *ttl = header.ttl;
  if (header.version != 4 || header.ihl < 5) return 0;
  const __u32 total = bpf_ntohs(header.tot_len);
  // A big packet that is yet to be segmented may say 0 (BIG TCP).
  if (total != 0 && (total < packet->header_bytes || total + ETH_HLEN > skb->len)) return 0;
  packet->is_fragment = (header.frag_off & bpf_htons(0x3fff)) != 0;
  if ((header.frag_off & bpf_htons(0x1fff)) != 0 || !has_ports(header.protocol)) return 1;
  __be16 ports[2];
  if (bpf_skb_load_bytes(skb, ETH_HLEN + packet->header_bytes, ports, sizeof ports) != 0) return 0;
  packet->source_port = ports[0];
  packet->destination_port = ports[1];
  packet->has_ports = 1;
  return 1;
}

// Loose or strict source routing (RFC 791), which would lead a packet where its destination does
// not say. A loop of the kernel's: unrolled by the verifier, it would take half a second to load.
struct options {
  struct __sk_buff* skb;
  __u32 at, end;  // of the frame
  int bad;
};
static long read_option(__u32 turn, void* data) {
  struct options* options = data;
  __u8 kind = 0, length = 0;
  (void)turn;
  if (options->at >= options->end) return 1;
  if (bpf_skb_load_bytes(options->skb, options->at, &kind, 1) != 0) return 1;
  if (kind == 0) return 1;  // the end of them
  if (kind == 1) {          // nothing
    ++options->at;
    return 0;
  }
  options->bad = kind == 131 || kind == 137 ||
                 bpf_skb_load_bytes(options->skb, options->at + 1, &length, 1) != 0 || length < 2;
  options->at += length;
  return options->bad;
}
static __noinline int is_source_routed(struct __sk_buff* skb, __u32 header_bytes) {
  struct options options = {.skb = skb, .at = ETH_HLEN + sizeof(struct iphdr)};
  options.end = ETH_HLEN + header_bytes;
  bpf_loop(40, read_option, &options, 0);
  return options.bad;
}

static __always_inline int is_icmp_error(struct __sk_buff* skb, const struct packet* packet) {
  if (packet->protocol != IPPROTO_ICMP) return 0;
  __u8 type = 0;
  if (bpf_skb_load_bytes(skb, ETH_HLEN + packet->header_bytes, &type, 1) != 0) return 1;
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static __always_inline struct nacelle_flow flow_from(const struct packet* packet) {
  return (struct nacelle_flow){.container = packet->source,
                               .peer = packet->destination,
                               .container_port = packet->source_port,
                               .peer_port = packet->destination_port,
                               .protocol = packet->protocol};
}
static __always_inline struct nacelle_flow flow_to(const struct packet* packet) {
  return (struct nacelle_flow){.container = packet->destination,
                               .peer = packet->source,
                               .container_port = packet->destination_port,
                               .peer_port = packet->source_port,
                               .protocol = packet->protocol};
}

// From the container -----------------------------------------------------------------------------

// RFC 826, with Ethernet and IPv4. (<linux/if_arp.h> wants the C library.)
struct arp_of_ipv4 {
  __be16 hardware, protocol;
  __u8 hardware_bytes, protocol_bytes;
  __be16 operation;  // 1: a request
  __u8 sender_mac[ETH_ALEN], sender[4], target_mac[ETH_ALEN], target[4];
} __attribute__((packed));

// A container asks for anybody, and answers for itself alone.
static __always_inline int judge_arp(struct __sk_buff* skb, const struct nacelle_link* link,
                                     struct packet* packet) {
  struct arp_of_ipv4 arp;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof arp) != 0) {
    return drop(skb, packet, NACELLE_DROP_MALFORMED, NACELLE_FROM_CONTAINER);
  }
  if (arp.hardware != bpf_htons(1) || arp.protocol != bpf_htons(ETH_P_IP) ||
      arp.hardware_bytes != ETH_ALEN || arp.protocol_bytes != 4) {
    return drop(skb, packet, NACELLE_DROP_MALFORMED, NACELLE_FROM_CONTAINER);
  }
  __builtin_memcpy(&packet->source, arp.sender, 4);
  __builtin_memcpy(&packet->destination, arp.target, 4);
  const int is_probe = packet->source == 0 && arp.operation == bpf_htons(1);
  if ((packet->source != link->address && !is_probe) ||
      __builtin_memcmp(arp.sender_mac, link->mac, ETH_ALEN) != 0) {
    return drop(skb, packet, NACELLE_DROP_ARP_CLAIM, NACELLE_FROM_CONTAINER);
  }
  return PASS;
}

// The host's stack gets what is not as simple: the last hop (it says so by ICMP), options,
// fragments (they have to be put together where addresses are translated), frames to another MAC.
static __always_inline int can_deliver(const struct __sk_buff* skb, const struct packet* packet,
                                       __u8 ttl) {
  return ttl > 1 && !packet->is_fragment && packet->header_bytes == sizeof(struct iphdr) &&
         skb->pkt_type == 0 /* PACKET_HOST */;
}

// To a neighbour, past the host's stack.
static __always_inline int deliver(struct __sk_buff* skb, const struct packet* packet, __u8 ttl,
                                   const struct nacelle_link* to) {
  // Of the header checksum only what the time to live is in has changed (RFC 1624).
  const __be16 before = bpf_htons((__u16)(ttl << 8 | packet->protocol));
  const __be16 after = bpf_htons((__u16)((ttl - 1) << 8 | packet->protocol));
  const __u8 lower = ttl - 1;
  struct ethhdr frame = {.h_proto = bpf_htons(ETH_P_IP)};
  __builtin_memcpy(frame.h_dest, to->mac, ETH_ALEN);
  __builtin_memcpy(frame.h_source, to->host_mac, ETH_ALEN);
  if (bpf_l3_csum_replace(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check), before, after,
                          2) != 0 ||
      bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, ttl), &lower, 1, 0) !=
          0 ||
      bpf_skb_store_bytes(skb, 0, &frame, sizeof frame, 0) != 0) {
    return TC_ACT_SHOT;
  }
  count_received(to->link, skb->len);
  return (int)bpf_redirect_peer(to->link, 0);
}

static __always_inline int judge_sent(struct __sk_buff* skb, const struct nacelle_link* link,
                                      struct packet* packet) {
  const enum nacelle_direction from = NACELLE_FROM_CONTAINER;
  __u8 ttl = 0;
  if (!read_packet(skb, packet, &ttl)) return drop(skb, packet, NACELLE_DROP_MALFORMED, from);
  if (packet->source != link->address) {
    return drop(skb, packet, NACELLE_DROP_SOURCE_ADDRESS, from);
  }
  if (packet->header_bytes > sizeof(struct iphdr) && is_source_routed(skb, packet->header_bytes)) {
    return drop(skb, packet, NACELLE_DROP_SOURCE_ROUTE, from);
  }
  // Links of containers with published ports route them (route_localnet), for the host's own sake.
  if ((packet->destination & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000)) {
    return drop(skb, packet, NACELLE_DROP_LOOPBACK, from);
  }

  const struct nacelle_address key = mapped(packet->destination);
  const struct nacelle_endpoint* endpoint = bpf_map_lookup_elem(&endpoints, &key);
  const struct nacelle_link* to = 0;
  if (endpoint != 0) {
    const __u32 index = endpoint->link;
    to = bpf_map_lookup_elem(&links, &index);
  }
  const int is_neighbour = to != 0 && to->network == link->network && to->link != link->link;
  if ((link->flags & NACELLE_LINK_INTERNAL) != 0 && !is_neighbour &&
      packet->destination != link->gateway) {
    return drop(skb, packet, NACELLE_DROP_INTERNAL, from);
  }
  if (!policy_verdict(skb, packet, link, to, from)) {
    return drop(skb, packet, NACELLE_DROP_POLICY, from);
  }
  if (!is_neighbour) return PASS;
  // An answer by a published port passes by the host, which knows what was asked for.
  if (link->has_translated) {
    const struct nacelle_flow flow = flow_from(packet);
    if (is_icmp_error(skb, packet) || packet->is_fragment ||
        bpf_map_lookup_elem(&translated, &flow) != 0) {
      return PASS;
    }
  }
  if ((link->flags & NACELLE_LINK_ISOLATED) != 0) {
    return drop(skb, packet, NACELLE_DROP_ISOLATED, from);
  }
  // Its own policy is asked where it comes down to it again.
  if (!can_deliver(skb, packet, ttl)) return PASS;
  if (!policy_verdict(skb, packet, to, link, NACELLE_TO_CONTAINER)) {
    return drop(skb, packet, NACELLE_DROP_POLICY, from);
  }
  return deliver(skb, packet, ttl, to);
}

SEC("tc")
int link_ingress(struct __sk_buff* skb) {
  const enum nacelle_direction from = NACELLE_FROM_CONTAINER;
  struct packet packet = {};
  const __u32 index = skb->ifindex;
  const struct nacelle_link* link = bpf_map_lookup_elem(&links, &index);
  if (link == 0) return drop(skb, &packet, NACELLE_DROP_NO_ROW, from);
  // A tag has been taken off the frame by now.
  count_sent(index, skb->len + (skb->vlan_present ? 4 : 0));
  if (skb->vlan_present || skb->protocol == bpf_htons(ETH_P_8021Q) ||
      skb->protocol == bpf_htons(ETH_P_8021AD)) {
    return drop(skb, &packet, NACELLE_DROP_VLAN, from);
  }
  __u8 macs[2 * ETH_ALEN] __attribute__((aligned(4)));
  if (bpf_skb_load_bytes(skb, 0, macs, sizeof macs) != 0) {
    return drop(skb, &packet, NACELLE_DROP_MALFORMED, from);
  }
  if (__builtin_memcmp(macs + ETH_ALEN, link->mac, ETH_ALEN) != 0) {
    return drop(skb, &packet, NACELLE_DROP_SOURCE_MAC, from);
  }
  switch (skb->protocol) {
    case bpf_htons(ETH_P_IP): return judge_sent(skb, link, &packet);
    case bpf_htons(ETH_P_ARP): return judge_arp(skb, link, &packet);
    case bpf_htons(ETH_P_IPV6): return drop(skb, &packet, NACELLE_DROP_IPV6, from);
    default: return drop(skb, &packet, NACELLE_DROP_ETHERTYPE, from);
  }
}

// To the container: what has come through the host's stack ---------------------------------------

// The reason against it, or PASS. What the host itself sends (it comes from no link) may go
// anywhere.
static __always_inline int judge_origin(struct __sk_buff* skb, struct nacelle_link* link,
                                        const struct packet* packet,
                                        const struct nacelle_link* sender, __u32 from) {
  const int marked = (skb->mark & NACELLE_MARK_TRANSLATED) != 0;
  const struct nacelle_address key = mapped(packet->source);
  const struct nacelle_endpoint* claimed = bpf_map_lookup_elem(&endpoints, &key);
  if (claimed != 0 && claimed->link != from) return NACELLE_DROP_SPOOFED;
  if (sender == 0) {
    if ((link->flags & NACELLE_LINK_INTERNAL) != 0) return NACELLE_DROP_INTERNAL;
    return marked ? PASS : NACELLE_DROP_UNPUBLISHED;
  }
  if (sender->network != link->network) {
    if (((link->flags | sender->flags) & NACELLE_LINK_INTERNAL) != 0) return NACELLE_DROP_INTERNAL;
    return marked ? PASS : NACELLE_DROP_OTHER_NETWORK;
  }
  if (!marked) {
    if ((link->flags & NACELLE_LINK_ISOLATED) != 0 && sender->link != link->link) {
      return NACELLE_DROP_ISOLATED;
    }
    return PASS;
  }
  if (packet->has_ports) {
    const struct nacelle_flow flow = flow_to(packet);
    const __u8 yes = 1;
    if (bpf_map_lookup_elem(&translated, &flow) == 0) {
      bpf_map_update_elem(&translated, &flow, &yes, BPF_ANY);
    }
  }
  link->has_translated = 1;
  return PASS;
}

SEC("tc")
int link_egress(struct __sk_buff* skb) {
  const enum nacelle_direction to = NACELLE_TO_CONTAINER;
  struct packet packet = {};
  const __u32 index = skb->ifindex;
  struct nacelle_link* link = bpf_map_lookup_elem(&links, &index);
  if (link == 0) return drop(skb, &packet, NACELLE_DROP_NO_ROW, to);
  if (skb->vlan_present) return drop(skb, &packet, NACELLE_DROP_VLAN, to);
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    __u8 ttl = 0;
    if (!read_packet(skb, &packet, &ttl)) return drop(skb, &packet, NACELLE_DROP_MALFORMED, to);
    const __u32 from = skb->ingress_ifindex;
    const struct nacelle_link* sender = from != 0 ? bpf_map_lookup_elem(&links, &from) : 0;
    if (from != 0) {
      const int reason = judge_origin(skb, link, &packet, sender, from);
      if (reason != PASS) return drop(skb, &packet, (__u32)reason, to);
    }
    if (!policy_verdict(skb, &packet, link, sender, to)) {
      return drop(skb, &packet, NACELLE_DROP_POLICY, to);
    }
  } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
    return drop(skb, &packet, NACELLE_DROP_IPV6, to);
  } else if (skb->protocol != bpf_htons(ETH_P_ARP)) {
    return drop(skb, &packet, NACELLE_DROP_ETHERTYPE, to);
  }
  count_received(index, skb->len);
  return PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
