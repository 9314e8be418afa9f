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
#include <linux/ipv6.h>
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

// What is known of the packet at hand. On the stack the kernel's verifier would follow each value
// that a field may have through all that comes behind; what is read from a map, it takes as
// anything at once. No program of ours runs in the middle of another on one CPU.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct packet);
} packets SEC(".maps");

static __always_inline struct packet* begin_packet(void) {
  const __u32 only = 0;
  struct packet* packet = bpf_map_lookup_elem(&packets, &only);
  if (packet != 0) __builtin_memset(packet, 0, sizeof *packet);
  return packet;
}

// What follows us in the chain may still object: others may have programs on a link, too.
#define PASS TC_ACT_UNSPEC

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
  event->source = packet->source;
  event->destination = packet->destination;
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

// Of ICMPv6: what makes neighbours, routers (RFC 4861) and groups (MLD, RFC 3810) known on a link.
#define NEIGHBOUR_SOLICITATION 135
static __always_inline int is_router_message(__u8 type) {
  return type == 133 || type == 134 || type == 137;
}
static __always_inline int is_group_message(__u8 type) {
  return (type >= 130 && type <= 132) || type == 143;
}
static __always_inline int is_link_message(__u8 type) {
  // The last two ask for neighbours the other way round (RFC 3122).
  return is_group_message(type) || (type >= 133 && type <= 137) || type == 141 || type == 142;
}

static __always_inline int same(const struct nacelle_address* one,
                                const struct nacelle_address* other) {
  return __builtin_memcmp(one, other, sizeof *one) == 0;
}
static __always_inline int is_none(const struct nacelle_address* address) {
  const struct nacelle_address none = {};
  return same(address, &none);
}

// ::ffff:a.b.c.d, under which IPv4 addresses are known here, and which no packet may have (RFC
// 4291).
static __always_inline int is_mapped(const struct nacelle_address* address) {
  const struct nacelle_address whole = mapped(ipv4_of(address));
  return same(address, &whole);
}

// A first fragment, or none. False: it ends before they are there.
static __always_inline int read_ports(struct __sk_buff* skb, struct packet* packet) {
  if (packet->is_rest || !has_ports(packet->protocol)) return 1;
  __be16 ports[2];
  if (bpf_skb_load_bytes(skb, ETH_HLEN + packet->header_bytes, ports, sizeof ports) != 0) return 0;
  packet->source_port = ports[0];
  packet->destination_port = ports[1];
  packet->has_ports = 1;
  return 1;
}

// The reason against its headers, or PASS.
static __always_inline int read_ipv4(struct __sk_buff* skb, struct packet* packet, __u8* ttl) {
  struct iphdr header;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &header, sizeof header) != 0) return NACELLE_DROP_MALFORMED;
  packet->source = mapped(header.saddr);
  packet->destination = mapped(header.daddr);
  packet->protocol = header.protocol;
  packet->header_bytes = (__u8)(header.ihl * 4);
  *ttl = header.ttl;
  if (header.version != 4 || header.ihl < 5) return NACELLE_DROP_MALFORMED;
  const __u32 total = bpf_ntohs(header.tot_len);
  // A big packet that is yet to be segmented may say 0 (BIG TCP).
  if (total != 0 && (total < packet->header_bytes || total + ETH_HLEN > skb->len)) {
    return NACELLE_DROP_MALFORMED;
  }
  packet->fragment = header.id;
  packet->is_fragment = (header.frag_off & bpf_htons(0x3fff)) != 0;
  packet->is_rest = (header.frag_off & bpf_htons(0x1fff)) != 0;
  return read_ports(skb, packet) ? PASS : NACELLE_DROP_MALFORMED;
}

// Headers that are between IPv6's own and what it carries (IANA, "IPv6 Extension Header Types"),
// but for AH and ESP, which are judged as protocols, as IPv4 has them.
static __always_inline int is_extension(__u8 next) {
  return next == IPPROTO_HOPOPTS || next == IPPROTO_FRAGMENT || next == IPPROTO_DSTOPTS ||
         next == IPPROTO_MH || next == 139 || next == 140 || next == 253 || next == 254;
}

// Hop-by-hop options come with what MLD says, and in front of what is yet to be segmented and has
// no room for its length (BIG TCP); what is behind them must be one of these.
static __always_inline int read_hop_by_hop(struct __sk_buff* skb, struct packet* packet) {
  __u8 header[2], type = 0;
  const __u32 at = ETH_HLEN + sizeof(struct ipv6hdr);
  if (bpf_skb_load_bytes(skb, at, header, sizeof header) != 0) return NACELLE_DROP_MALFORMED;
  packet->protocol = header[0];
  packet->header_bytes += 8;
  if (header[1] != 0) return NACELLE_DROP_EXTENSION;
  if (packet->protocol == IPPROTO_TCP && skb->gso_segs > 1) return PASS;
  if (packet->protocol != IPPROTO_ICMPV6) return NACELLE_DROP_EXTENSION;
  if (bpf_skb_load_bytes(skb, at + 8, &type, sizeof type) != 0) return NACELLE_DROP_MALFORMED;
  return is_group_message(type) ? PASS : NACELLE_DROP_EXTENSION;
}

// No chain of headers is followed: what nobody sends who is honest is not judged, but dropped.
static __always_inline int read_ipv6(struct __sk_buff* skb, struct packet* packet, __u8* ttl) {
  struct ipv6hdr header;
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &header, sizeof header) != 0) return NACELLE_DROP_MALFORMED;
  __builtin_memcpy(&packet->source, &header.saddr, sizeof packet->source);
  __builtin_memcpy(&packet->destination, &header.daddr, sizeof packet->destination);
  packet->protocol = header.nexthdr;
  packet->header_bytes = sizeof header;
  packet->is_v6 = 1;
  *ttl = header.hop_limit;
  if (header.version != 6) return NACELLE_DROP_MALFORMED;
  const __u32 payload = bpf_ntohs(header.payload_len);
  if (payload + sizeof header + ETH_HLEN > skb->len) return NACELLE_DROP_MALFORMED;
  if (is_mapped(&packet->source) || is_mapped(&packet->destination)) return NACELLE_DROP_MALFORMED;
  if (packet->protocol == IPPROTO_HOPOPTS) {
    const int reason = read_hop_by_hop(skb, packet);
    if (reason != PASS) return reason;
  } else if (packet->protocol == IPPROTO_FRAGMENT) {
    struct fragment_header fragment;
    if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof header, &fragment, sizeof fragment) != 0) {
      return NACELLE_DROP_MALFORMED;
    }
    packet->protocol = fragment.next;
    packet->header_bytes += sizeof fragment;
    packet->fragment = fragment.id;
    packet->is_fragment = 1;
    packet->is_rest = (fragment.offset & bpf_htons(0xfff8)) != 0;
  }
  if (packet->protocol == IPPROTO_ROUTING) return NACELLE_DROP_SOURCE_ROUTE;
  if (is_extension(packet->protocol)) return NACELLE_DROP_EXTENSION;
  return read_ports(skb, packet) ? PASS : NACELLE_DROP_MALFORMED;
}

static __always_inline int read_packet(struct __sk_buff* skb, struct packet* packet, __u8* ttl) {
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) return read_ipv6(skb, packet, ttl);
  return read_ipv4(skb, packet, ttl);
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

// 0: it is about something else, or the rest of one whose beginning says.
static __always_inline __u8 link_message_type(struct __sk_buff* skb, const struct packet* packet) {
  if (!packet->is_v6 || packet->protocol != IPPROTO_ICMPV6 || packet->is_rest) return 0;
  __u8 type = NEIGHBOUR_SOLICITATION;
  if (bpf_skb_load_bytes(skb, ETH_HLEN + packet->header_bytes, &type, sizeof type) != 0) {
    return type;  // which it is is not to be seen: what it would be is malformed
  }
  return is_link_message(type) ? type : 0;
}

static __always_inline int is_icmp_error(struct __sk_buff* skb, const struct packet* packet) {
  if (!is_icmp(packet->is_v6, packet->protocol)) return 0;
  __u8 type = 0;
  if (bpf_skb_load_bytes(skb, ETH_HLEN + packet->header_bytes, &type, 1) != 0) return 1;
  if (packet->is_v6) return type < 128;
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
  __be32 sender, target;
  __builtin_memcpy(&sender, arp.sender, sizeof sender);
  __builtin_memcpy(&target, arp.target, sizeof target);
  packet->source = mapped(sender);
  packet->destination = mapped(target);
  const int is_probe = sender == 0 && arp.operation == bpf_htons(1);
  if ((sender != link->address && !is_probe) ||
      __builtin_memcmp(arp.sender_mac, link->mac, ETH_ALEN) != 0) {
    return drop(skb, packet, NACELLE_DROP_ARP_CLAIM, NACELLE_FROM_CONTAINER);
  }
  return PASS;
}

// RFC 4861: a solicitation or an advertisement.
struct neighbour_message {
  __u8 type, code;
  __be16 checksum;
  __u8 flags, reserved[3];
  struct nacelle_address target;
} __attribute__((packed));
#define NEIGHBOUR_OPTIONS_MAX 4
#define FROM_A_ROUTER 0x80  // a flag

// Whether every link-layer address it tells is the sender's own.
static __always_inline int tells_own_mac(struct __sk_buff* skb, const struct nacelle_link* link,
                                         __u32 at) {
  for (int turn = 0; turn < NEIGHBOUR_OPTIONS_MAX; ++turn) {
    if (at >= skb->len) return 1;
    struct {
      __u8 type, eights, mac[ETH_ALEN];
    } option;
    if (bpf_skb_load_bytes(skb, at, &option, sizeof option) != 0 || option.eights == 0) return 0;
    const int is_mac = option.type == 1 || option.type == 2;
    if (is_mac && (option.eights != 1 || __builtin_memcmp(option.mac, link->mac, ETH_ALEN) != 0)) {
      return 0;
    }
    at += option.eights * 8;
  }
  return at >= skb->len;
}

// As with ARP: a container asks for anybody, and answers for itself alone; and only the host hears
// it, which knows the container's MAC address without asking.
static __noinline int judge_neighbour(struct __sk_buff* skb, const struct nacelle_link* link,
                                      const struct packet* packet) {
  if (link == 0 || packet == 0) return NACELLE_DROP_NEIGHBOUR_CLAIM;
  const __u32 at = ETH_HLEN + packet->header_bytes;
  struct neighbour_message message;
  if (bpf_skb_load_bytes(skb, at, &message, sizeof message) != 0) return NACELLE_DROP_MALFORMED;
  const int is_question = message.type == NEIGHBOUR_SOLICITATION;
  const int is_probe = is_question && is_none(&packet->source);
  const int is_own = same(&packet->source, &link->address6);
  const int is_for_host =
      packet->destination.bytes[0] == 0xff || same(&packet->destination, &link->gateway6);
  // Pieces of it are for nobody (RFC 6980).
  if ((!is_own && !is_probe) || !is_for_host || packet->is_fragment ||
      (!is_question && ((message.flags & FROM_A_ROUTER) != 0 ||
                        __builtin_memcmp(&message.target, &link->address6, 16) != 0))) {
    return NACELLE_DROP_NEIGHBOUR_CLAIM;
  }
  return tells_own_mac(skb, link, at + sizeof message) ? PASS : NACELLE_DROP_NEIGHBOUR_CLAIM;
}

// What is said about the link itself. PASS: it is for the host, and for no policy to judge.
static __always_inline int judge_link_message(struct __sk_buff* skb,
                                              const struct nacelle_link* link,
                                              const struct packet* packet, __u8 type) {
  if (is_router_message(type)) return NACELLE_DROP_ROUTER;
  if (!is_group_message(type)) return judge_neighbour(skb, link, packet);
  // Before it has an address it tells its groups from none (RFC 3590).
  if (!same(&packet->source, &link->address6) && !is_none(&packet->source)) {
    return NACELLE_DROP_SOURCE_ADDRESS;
  }
  return packet->destination.bytes[0] == 0xff ? PASS : NACELLE_DROP_EXTENSION;
}

static __always_inline int is_own_source(const struct nacelle_link* link,
                                         const struct packet* packet) {
  if (packet->is_v6) return same(&packet->source, &link->address6);
  return ipv4_of(&packet->source) == link->address;
}
static __always_inline int is_to_gateway(const struct nacelle_link* link,
                                         const struct packet* packet) {
  if (packet->is_v6) return same(&packet->destination, &link->gateway6);
  return ipv4_of(&packet->destination) == link->gateway;
}
// ::1, and with it what else begins as it does (RFC 4291 has no other use for it any more).
static __always_inline int is_to_loopback(const struct packet* packet) {
  if (!packet->is_v6) return packet->destination.bytes[12] == 127;
  __u64 first;
  __builtin_memcpy(&first, &packet->destination, sizeof first);
  return first == 0;
}

// The host's stack gets what is not as simple: the last hop (it says so by ICMP), options,
// fragments (they have to be put together where addresses are translated), frames to another MAC.
static __always_inline int can_deliver(const struct __sk_buff* skb, const struct packet* packet,
                                       __u8 ttl) {
  const __u32 plain = packet->is_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
  return ttl > 1 && !packet->is_fragment && packet->header_bytes == plain &&
         skb->pkt_type == 0 /* PACKET_HOST */;
}

// Of the header checksum only what the time to live is in has changed (RFC 1624).
static __always_inline int lower_ttl(struct __sk_buff* skb, const struct packet* packet, __u8 ttl) {
  const __u8 lower = ttl - 1;
  if (packet->is_v6) {
    return bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, hop_limit),
                               &lower, 1, 0) == 0;
  }
  const __be16 before = bpf_htons((__u16)(ttl << 8 | packet->protocol));
  const __be16 after = bpf_htons((__u16)(lower << 8 | packet->protocol));
  return bpf_l3_csum_replace(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check), before, after,
                             2) == 0 &&
         bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, ttl), &lower, 1, 0) ==
             0;
}

// To a neighbour, past the host's stack.
static __always_inline int deliver(struct __sk_buff* skb, const struct packet* packet, __u8 ttl,
                                   const struct nacelle_link* to) {
  struct ethhdr frame = {.h_proto = bpf_htons(packet->is_v6 ? ETH_P_IPV6 : ETH_P_IP)};
  __builtin_memcpy(frame.h_dest, to->mac, ETH_ALEN);
  __builtin_memcpy(frame.h_source, to->host_mac, ETH_ALEN);
  if (!lower_ttl(skb, packet, ttl) || bpf_skb_store_bytes(skb, 0, &frame, sizeof frame, 0) != 0) {
    return TC_ACT_SHOT;
  }
  count_received(to->link, skb->len);
  return (int)bpf_redirect_peer(to->link, 0);
}

static __always_inline int judge_sent(struct __sk_buff* skb, const struct nacelle_link* link,
                                      struct packet* packet) {
  const enum nacelle_direction from = NACELLE_FROM_CONTAINER;
  __u8 ttl = 0;
  const int unreadable = read_packet(skb, packet, &ttl);
  if (unreadable != PASS) return drop(skb, packet, (__u32)unreadable, from);
  const __u8 type = link_message_type(skb, packet);
  if (type != 0) {
    const int reason = judge_link_message(skb, link, packet, type);
    return reason == PASS ? PASS : drop(skb, packet, (__u32)reason, from);
  }
  if (!is_own_source(link, packet)) return drop(skb, packet, NACELLE_DROP_SOURCE_ADDRESS, from);
  if (!packet->is_v6 && packet->header_bytes > sizeof(struct iphdr) &&
      is_source_routed(skb, packet->header_bytes)) {
    return drop(skb, packet, NACELLE_DROP_SOURCE_ROUTE, from);
  }
  // Links of containers with published ports route them (route_localnet), for the host's own sake.
  if (is_to_loopback(packet)) return drop(skb, packet, NACELLE_DROP_LOOPBACK, from);

  const struct nacelle_endpoint* endpoint = bpf_map_lookup_elem(&endpoints, &packet->destination);
  const struct nacelle_link* to = 0;
  if (endpoint != 0) {
    const __u32 index = endpoint->link;
    to = bpf_map_lookup_elem(&links, &index);
  }
  const int is_neighbour = to != 0 && to->network == link->network && to->link != link->link;
  if ((link->flags & NACELLE_LINK_INTERNAL) != 0 && !is_neighbour && !is_to_gateway(link, packet)) {
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

// Whether the network has what the frame carries.
static __always_inline int judge_ethertype(const struct __sk_buff* skb,
                                           const struct nacelle_link* link) {
  switch (skb->protocol) {
    case bpf_htons(ETH_P_IP):
    case bpf_htons(ETH_P_ARP): return link->address != 0 ? PASS : NACELLE_DROP_IPV4;
    case bpf_htons(ETH_P_IPV6): return is_none(&link->address6) ? NACELLE_DROP_IPV6 : PASS;
    default: return NACELLE_DROP_ETHERTYPE;
  }
}

SEC("tc")
int link_ingress(struct __sk_buff* skb) {
  const enum nacelle_direction from = NACELLE_FROM_CONTAINER;
  struct packet* packet = begin_packet();
  if (packet == 0) return TC_ACT_SHOT;
  const __u32 index = skb->ifindex;
  const struct nacelle_link* link = bpf_map_lookup_elem(&links, &index);
  if (link == 0) return drop(skb, packet, NACELLE_DROP_NO_ROW, from);
  // A tag has been taken off the frame by now.
  count_sent(index, skb->len + (skb->vlan_present ? 4 : 0));
  if (skb->vlan_present || skb->protocol == bpf_htons(ETH_P_8021Q) ||
      skb->protocol == bpf_htons(ETH_P_8021AD)) {
    return drop(skb, packet, NACELLE_DROP_VLAN, from);
  }
  __u8 macs[2 * ETH_ALEN] __attribute__((aligned(4)));
  if (bpf_skb_load_bytes(skb, 0, macs, sizeof macs) != 0) {
    return drop(skb, packet, NACELLE_DROP_MALFORMED, from);
  }
  if (__builtin_memcmp(macs + ETH_ALEN, link->mac, ETH_ALEN) != 0) {
    return drop(skb, packet, NACELLE_DROP_SOURCE_MAC, from);
  }
  const int unknown = judge_ethertype(skb, link);
  if (unknown != PASS) return drop(skb, packet, (__u32)unknown, from);
  if (skb->protocol == bpf_htons(ETH_P_ARP)) return judge_arp(skb, link, packet);
  return judge_sent(skb, link, packet);
}

// To the container: what has come through the host's stack ---------------------------------------

// The reason against it, or PASS. What the host itself sends (it comes from no link) may go
// anywhere.
static __always_inline int judge_origin(struct __sk_buff* skb, struct nacelle_link* link,
                                        const struct packet* packet,
                                        const struct nacelle_link* sender, __u32 from) {
  const int marked = (skb->mark & NACELLE_MARK_TRANSLATED) != 0;
  const struct nacelle_endpoint* claimed = bpf_map_lookup_elem(&endpoints, &packet->source);
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
  struct packet* packet = begin_packet();
  if (packet == 0) return TC_ACT_SHOT;
  const __u32 index = skb->ifindex;
  struct nacelle_link* link = bpf_map_lookup_elem(&links, &index);
  if (link == 0) return drop(skb, packet, NACELLE_DROP_NO_ROW, to);
  if (skb->vlan_present) return drop(skb, packet, NACELLE_DROP_VLAN, to);
  const int unknown = judge_ethertype(skb, link);
  if (unknown != PASS) return drop(skb, packet, (__u32)unknown, to);
  if (skb->protocol != bpf_htons(ETH_P_ARP)) {
    __u8 ttl = 0;
    const int unreadable = read_packet(skb, packet, &ttl);
    if (unreadable != PASS) return drop(skb, packet, (__u32)unreadable, to);
    const __u32 from = skb->ingress_ifindex;
    const struct nacelle_link* sender = from != 0 ? bpf_map_lookup_elem(&links, &from) : 0;
    const __u8 type = link_message_type(skb, packet);
    if (from != 0) {
      // What is said about a link goes no further.
      const int reason =
          type != 0 ? NACELLE_DROP_NEIGHBOUR_CLAIM : judge_origin(skb, link, packet, sender, from);
      if (reason != PASS) return drop(skb, packet, (__u32)reason, to);
    }
    if (type == 0 && !policy_verdict(skb, packet, link, sender, to)) {
      return drop(skb, packet, NACELLE_DROP_POLICY, to);
    }
  }
  count_received(index, skb->len);
  return PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
