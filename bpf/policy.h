// Where policies of networks are asked. link.bpf.c calls it for each packet that identity and
// isolation allow: once for who sends it, once for who gets it.
//
// A flow that has passed is remembered with the generation of the policy that let it, and its
// packets, both ways, cost one look at that. Only a new flow, or one of an older generation, is
// judged: the address has a class, a class has verdicts by port, and that is all there is to look
// up, however many rules there are. What is denied is not remembered: nobody can push out flows
// by knocking at doors.
//
// Beside what is enforced, a policy may have a trial: it is judged the same way, and counted alone.
#pragma once

#include "abi/link.h"
#include "abi/policy.h"

// Behind IPv6's own header (RFC 8200).
struct fragment_header {
  __u8 next, reserved;
  __be16 offset;  // in its upper 13 bits; the last one: more follow
  __be32 id;
};

// What is known of a packet when it is judged.
struct packet {
  struct nacelle_address source, destination;  // IPv4's as ::ffff:a.b.c.d
  __be32 fragment;                             // the number that its fragments share
  __be16 source_port, destination_port;
  __u8 protocol;
  __u8 is_v6;
  __u8 has_ports;    // a first fragment, or none, of a protocol that has them
  __u8 is_fragment;  // any but the whole
  __u8 is_rest;      // any but the first
  __u8 header_bytes;
  __u8 unused[2];
};

static __always_inline struct nacelle_address mapped(__be32 address) {
  struct nacelle_address whole = {};
  whole.bytes[10] = whole.bytes[11] = 0xff;
  __builtin_memcpy(&whole.bytes[12], &address, sizeof address);
  return whole;
}
static __always_inline __be32 ipv4_of(const struct nacelle_address* address) {
  __be32 last;
  __builtin_memcpy(&last, &address->bytes[12], sizeof last);
  return last;
}
static __always_inline int is_icmp(__u32 is_v6, __u32 protocol) {
  return protocol == (is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}
static __always_inline int has_ports(__u8 protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

#define POLICY_FLOWS_MAX 65536
#define POLICY_ROWS_MAX (1 << 20)

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, __u32);
  __type(value, struct nacelle_policy);
} policies SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, POLICY_ROWS_MAX);
  __type(key, struct nacelle_policy_address);
  __type(value, __u32);
} policy_addresses SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, POLICY_ROWS_MAX);
  __type(key, struct nacelle_policy_address6);
  __type(value, __u32);
} policy_addresses6 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, POLICY_ROWS_MAX);
  __type(key, struct nacelle_policy_port);
  __type(value, struct nacelle_policy_verdict);
} policy_ports SEC(".maps");

// A flow as its container sees it, whichever way a packet goes.
struct policy_flow {
  struct nacelle_address local, remote;
  __u32 link;
  __be16 local_port, remote_port;
  __u32 protocol;
  __u32 unused;
};
struct policy_flow_state {
  __u32 policy, generation;
  __u32 seen_s;     // in 2^30 ns of CLOCK_MONOTONIC: dividing would cost more than it is worth
  __u8 direction;   // of its first packet
  __u8 is_cut;      // by a change of the policy: neither way until it is begun anew
  __u8 would_drop;  // says the trial: by this counter
  __u8 unused;
  __u16 would_count;
  __u16 unused_too;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, POLICY_FLOWS_MAX);
  __type(key, struct policy_flow);
  __type(value, struct policy_flow_state);
} policy_flows SEC(".maps");

// A packet whose first fragment has passed.
struct policy_fragment {
  struct nacelle_address source, destination;
  __u32 link;
  __be32 id;
  __u8 protocol, direction;
  __u8 unused[6];
};
struct policy_fragment_state {
  __u32 policy, generation, seen_s;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct policy_fragment);
  __type(value, struct policy_fragment_state);
} policy_fragments SEC(".maps");

// When the next packet, or byte, would be due if all came evenly (the generic cell rate algorithm,
// which is a token bucket in one number).
struct policy_bucket_key {
  __u32 link;
  __u16 direction, is_trial;
};
struct policy_bucket {
  __u64 packets_due_ns, bytes_due_ns;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 8192);
  __type(key, struct policy_bucket_key);
  __type(value, struct policy_bucket);
} policy_buckets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, POLICY_ROWS_MAX);
  __type(key, struct nacelle_policy_hit);
  __type(value, __u64);
} policy_hits SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct nacelle_policy_trace);
} policy_trace SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 * 1024);
} policy_events SEC(".maps");

// One judgement, from its beginning to its end.
struct judgement {
  struct policy_flow flow;
  __u32 policy;
  __u32 length;    // of the packet
  __u8 direction;  // nacelle_policy_direction, of this packet
  __u8 protocol;
  __u8 begins;  // TCP: it opens a connection
  __u8 header_bytes;
  __u32 is_v6;
  __u32 now_s;
};

// Not on the stack, for the reason that `packets` of link.bpf.c has.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct judgement);
} policy_judgements SEC(".maps");

// A verdict in one number.
#define POLICY_DENIED 0x80000000u
#define POLICY_VERDICT(deny, reason, rule) \
  (((deny) ? POLICY_DENIED : 0) | (__u32)(reason) << 16 | (__u16)(rule))
#define POLICY_REASON(verdict) ((verdict) >> 16 & 0xff)

// Telling ----------------------------------------------------------------------------------------

static __always_inline __u16 policy_count_of(__u32 verdict, __u32 direction) {
  const __u32 reason = POLICY_REASON(verdict);
  if (reason == NACELLE_POLICY_RULE) return (__u16)verdict;
  if (reason == NACELLE_POLICY_DEFAULT) return (__u16)(NACELLE_COUNT_DEFAULT + direction);
  return (__u16)(NACELLE_COUNT_REASON + reason);
}

static __always_inline void policy_hit(__u32 policy, __u32 is_trial, __u16 count) {
  const struct nacelle_policy_hit key = {
      .policy = policy, .rule = count, .is_trial = (__u8)is_trial};
  __u64* hits = bpf_map_lookup_elem(&policy_hits, &key);
  if (hits != 0) __sync_fetch_and_add(hits, 1);
}

// Counts it, and tells who listens.
static __noinline int policy_note(const struct judgement* about, __u32 verdict, __u32 is_trial) {
  if (about == 0) return 0;
  policy_hit(about->policy, is_trial, policy_count_of(verdict, about->direction));
  const __u32 only = 0;
  const struct nacelle_policy_trace* trace = bpf_map_lookup_elem(&policy_trace, &only);
  if (trace == 0) return 0;
  const __u32 is_deny = (verdict & POLICY_DENIED) != 0;
  const __u64 until = is_deny ? trace->drops_until_ns : trace->allowed_until_ns;
  if (until == 0) return 0;
  const __u64 now = bpf_ktime_get_ns();
  if (now > until) return 0;
  struct nacelle_policy_event* event = bpf_ringbuf_reserve(&policy_events, sizeof *event, 0);
  if (event == 0) return 0;
  event->ns = now;
  event->link = about->flow.link;
  event->policy = about->policy;
  event->local = about->flow.local;
  event->remote = about->flow.remote;
  event->local_port = about->flow.local_port;
  event->remote_port = about->flow.remote_port;
  event->rule = (__u16)verdict;
  event->length = about->length > 0xffff ? 0xffff : (__u16)about->length;
  event->direction = about->direction;
  event->protocol = about->protocol;
  event->reason = (__u8)POLICY_REASON(verdict);
  event->is_deny = (__u8)is_deny;
  event->is_trial = (__u8)is_trial;
  __builtin_memset(event->unused, 0, sizeof event->unused);
  bpf_ringbuf_submit(event, 0);
  return 0;
}

// Judging a new flow -----------------------------------------------------------------------------

// What a class says of a port: of this protocol if it has anything to say of it, else of any.
static __always_inline const struct nacelle_policy_verdict* policy_look_up(
    struct nacelle_policy_port* key, __u8 protocol) {
  key->bits = 96;
  key->protocol = protocol;
  const struct nacelle_policy_verdict* found = bpf_map_lookup_elem(&policy_ports, key);
  if (found != 0) return found;
  key->protocol = 0;
  return bpf_map_lookup_elem(&policy_ports, key);
}

// The class of the other side's address: by the longest prefix that a rule names.
static __always_inline const __u32* policy_class(const struct judgement* about, __u32 table) {
  if (about->is_v6) {
    const struct nacelle_policy_address6 key = {
        .bits = 160, .table = table, .address = about->flow.remote};
    return bpf_map_lookup_elem(&policy_addresses6, &key);
  }
  const struct nacelle_policy_address key = {
      .bits = 64, .table = table, .address = ipv4_of(&about->flow.remote)};
  return bpf_map_lookup_elem(&policy_addresses, &key);
}

// `direction`: of the first packet of the flow. A deny wins; of two alike, the rule written first.
static __noinline __u32 policy_decide(const struct judgement* about, __u32 table, __u32 deny,
                                      __u32 direction) {
  if (about == 0) return POLICY_DENIED;
  __u32 best = POLICY_VERDICT(deny, NACELLE_POLICY_DEFAULT, 0);
  struct nacelle_policy_port key = {
      .table = table,
      .direction = (__u8)direction,
      .port = direction == NACELLE_INGRESS ? about->flow.local_port : about->flow.remote_port};
  // Of ICMP this is which echo it is, and no port.
  if (is_icmp(about->is_v6, about->protocol)) key.port = 0;
  const struct nacelle_policy_verdict* everyones = policy_look_up(&key, about->protocol);
  if (everyones != 0 && everyones->verdict != NACELLE_POLICY_SILENT) {
    best = POLICY_VERDICT(everyones->verdict == NACELLE_POLICY_DENY, NACELLE_POLICY_RULE,
                          everyones->rule);
  }
  const __u32* address_class = policy_class(about, table);
  if (address_class == 0) return best;
  key.address_class = *address_class;
  const struct nacelle_policy_verdict* its = policy_look_up(&key, about->protocol);
  if (its == 0 || its->verdict == NACELLE_POLICY_SILENT) return best;
  const __u32 mine =
      POLICY_VERDICT(its->verdict == NACELLE_POLICY_DENY, NACELLE_POLICY_RULE, its->rule);
  if (POLICY_REASON(best) == NACELLE_POLICY_DEFAULT) return mine;
  if (((mine ^ best) & POLICY_DENIED) != 0) return (mine & POLICY_DENIED) != 0 ? mine : best;
  return mine < best ? mine : best;
}

// `either_way`: nobody knows who began it, so it passes only if both might have.
static __always_inline __u32 policy_ask(const struct judgement* about,
                                        const struct nacelle_policy* row, __u32 is_trial,
                                        __u32 direction, __u32 either_way) {
  is_trial &= 1;
  direction &= 1;
  const __u32 table = row->table[is_trial];
  if (table == 0) return POLICY_VERDICT(0, NACELLE_POLICY_DEFAULT, 0);
  const __u32 one = policy_decide(about, table, row->deny[is_trial][direction], direction);
  if (!either_way || (one & POLICY_DENIED) != 0) return one;
  const __u32 other =
      policy_decide(about, table, row->deny[is_trial][direction ^ 1], direction ^ 1);
  if ((other & POLICY_DENIED) != 0) return POLICY_VERDICT(1, NACELLE_POLICY_MIDSTREAM, 0);
  return one;
}

// Rates ------------------------------------------------------------------------------------------

#define NS_PER_S 1000000000ull

// Whether `amount` may come now. Who loses the race for the bucket tries again, a few times.
static __always_inline int policy_take(__u64* due, __u64 amount, __u64 rate, __u64 burst,
                                       __u64 now) {
  const __u64 cost = amount * NS_PER_S / rate;
  const __u64 depth = burst * NS_PER_S / rate;
  for (int turn = 0; turn < 4; ++turn) {
    const __u64 before = *(volatile __u64*)due;
    const __u64 from = before > now ? before : now;
    if (from + cost - now > depth) return 0;
    if (__sync_val_compare_and_swap(due, before, from + cost) == before) return 1;
  }
  return 1;
}

// 0, or the verdict against it.
static __noinline __u32 policy_rate(const struct judgement* about, const struct nacelle_policy* row,
                                    __u32 is_trial, __u32 packets) {
  if (about == 0 || row == 0) return 0;
  const struct nacelle_policy_limit* limit = &row->limits[is_trial & 1][about->direction & 1];
  if (limit->packets == 0 && limit->bytes == 0) return 0;
  const struct policy_bucket_key key = {
      .link = about->flow.link, .direction = about->direction, .is_trial = (__u16)is_trial};
  struct policy_bucket* bucket = bpf_map_lookup_elem(&policy_buckets, &key);
  if (bucket == 0) {
    const struct policy_bucket full = {};
    bpf_map_update_elem(&policy_buckets, &key, &full, BPF_NOEXIST);
    bucket = bpf_map_lookup_elem(&policy_buckets, &key);
    if (bucket == 0) return 0;
  }
  const __u64 now = bpf_ktime_get_ns();
  if (limit->packets != 0 &&
      !policy_take(&bucket->packets_due_ns, packets, limit->packets, limit->packets_burst, now)) {
    return POLICY_VERDICT(1, NACELLE_POLICY_PACKET_RATE, 0);
  }
  if (limit->bytes != 0 &&
      !policy_take(&bucket->bytes_due_ns, about->length, limit->bytes, limit->bytes_burst, now)) {
    return POLICY_VERDICT(1, NACELLE_POLICY_BYTE_RATE, 0);
  }
  return 0;
}

// It is allowed: unless there are too many of them.
static __noinline int policy_admit(const struct judgement* about, const struct nacelle_policy* row,
                                   __u32 packets) {
  if (about == 0 || row == 0) return 0;
  if (row->has_limits[1]) {
    const __u32 would = policy_rate(about, row, 1, packets);
    if (would != 0) policy_note(about, would, 1);
  }
  if (!row->has_limits[0]) return 1;
  const __u32 against = policy_rate(about, row, 0, packets);
  if (against == 0) return 1;
  policy_note(about, against, 0);
  return 0;
}

// Flows ------------------------------------------------------------------------------------------

// After as many seconds without a packet a flow is over.
static __always_inline __u32 policy_idle_s(__u8 protocol) {
  return protocol == IPPROTO_TCP ? 24 * 3600 : protocol == IPPROTO_UDP ? 180 : 30;
}

static __always_inline int policy_is_live(const struct judgement* about,
                                          const struct policy_flow_state* state) {
  return about->now_s - state->seen_s <= policy_idle_s(about->protocol);
}

// A flow that is not known to be allowed by the policy as it is. Returns whether it may pass.
static __noinline int policy_judge_flow(const struct judgement* about,
                                        const struct nacelle_policy* row,
                                        struct policy_flow_state* known) {
  if (about == 0 || row == 0) return 0;
  // Who began it: known of a flow that lives; else the sender of this packet, but for TCP in the
  // middle of a connection, which only somebody knows who is not here any more.
  __u32 direction = about->direction;
  __u32 either_way = about->protocol == IPPROTO_TCP && !about->begins;
  if (known != 0 && !policy_is_live(about, known)) known = 0;
  if (known != 0 && !about->begins) {
    const int is_current = known->policy == about->policy && known->generation == row->generation;
    if (known->is_cut && is_current) {
      known->seen_s = about->now_s;
      policy_note(about, POLICY_VERDICT(1, NACELLE_POLICY_CUT, 0), 0);
      return 0;
    }
    direction = known->direction;
    either_way = 0;
  }
  const __u32 verdict = policy_ask(about, row, 0, direction, either_way);
  struct policy_flow_state state = {.policy = about->policy,
                                    .generation = row->generation,
                                    .seen_s = about->now_s,
                                    .direction = (__u8)direction};
  if ((verdict & POLICY_DENIED) != 0) {
    policy_note(about, verdict, 0);
    if (known != 0 && !about->begins) {
      state.is_cut = 1;
      bpf_map_update_elem(&policy_flows, &about->flow, &state, BPF_EXIST);
    }
    return 0;
  }
  if (row->table[0] != 0 || row->table[1] == 0) policy_note(about, verdict, 0);
  if (row->table[1] != 0) {
    const __u32 would = policy_ask(about, row, 1, direction, either_way);
    policy_note(about, would, 1);
    state.would_drop = (would & POLICY_DENIED) != 0;
    state.would_count = policy_count_of(would, direction);
  }
  bpf_map_update_elem(&policy_flows, &about->flow, &state, BPF_ANY);
  return 1;
}

static __always_inline int policy_pass_flow(const struct judgement* about,
                                            const struct nacelle_policy* row, __u32 packets) {
  struct policy_flow_state* known = bpf_map_lookup_elem(&policy_flows, &about->flow);
  if (known != 0 && !about->begins && !known->is_cut && known->policy == about->policy &&
      known->generation == row->generation && policy_is_live(about, known)) {
    if (known->seen_s != about->now_s) known->seen_s = about->now_s;
    if (known->would_drop) policy_hit(about->policy, 1, known->would_count);
  } else if (!policy_judge_flow(about, row, known)) {
    return 0;
  }
  if ((row->has_limits[0] | row->has_limits[1]) == 0) return 1;
  return policy_admit(about, row, packets);
}

// Fragments, ICMP --------------------------------------------------------------------------------

// (What protocol the rest of an IPv6 packet says it is of is nobody's business: the first counts.)
static __always_inline struct policy_fragment policy_fragment_of(const struct packet* packet,
                                                                 const struct judgement* about) {
  return (struct policy_fragment){.source = packet->source,
                                  .destination = packet->destination,
                                  .link = about->flow.link,
                                  .id = packet->fragment,
                                  .protocol = packet->is_v6 ? 0 : packet->protocol,
                                  .direction = about->direction};
}

// Any but the first: it has no ports, and goes where the first one went.
static __noinline int policy_pass_rest(const struct packet* packet, const struct judgement* about,
                                       const struct nacelle_policy* row) {
  if (packet == 0 || about == 0 || row == 0) return 0;
  const struct policy_fragment key = policy_fragment_of(packet, about);
  const struct policy_fragment_state* first = bpf_map_lookup_elem(&policy_fragments, &key);
  const int is_known = first != 0 && first->policy == about->policy &&
                       first->generation == row->generation && about->now_s - first->seen_s <= 30;
  if (!is_known) {
    const __u32 against = POLICY_VERDICT(1, NACELLE_POLICY_FRAGMENT, 0);
    if (row->table[0] != 0) {
      policy_note(about, against, 0);
      return 0;
    }
    policy_note(about, against, 1);
  }
  return policy_admit(about, row, 1);
}

// The headers of a packet that ICMP quotes, and where the protocol's own begins; 0: not to be read.
static __always_inline __u32 policy_read_quoted(struct __sk_buff* skb, __u32 at, __u32 is_v6,
                                                struct policy_flow* quoted) {
  if (!is_v6) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, at, &ip, sizeof ip) != 0) return 0;
    if (ip.version != 4 || ip.ihl < 5 || (ip.frag_off & bpf_htons(0x1fff)) != 0) return 0;
    quoted->local = mapped(ip.saddr);
    quoted->remote = mapped(ip.daddr);
    quoted->protocol = ip.protocol;
    return at + ip.ihl * 4;
  }
  struct ipv6hdr ip;
  if (bpf_skb_load_bytes(skb, at, &ip, sizeof ip) != 0 || ip.version != 6) return 0;
  __builtin_memcpy(&quoted->local, &ip.saddr, sizeof ip.saddr);
  __builtin_memcpy(&quoted->remote, &ip.daddr, sizeof ip.daddr);
  quoted->protocol = ip.nexthdr;
  at += sizeof ip;
  if (ip.nexthdr != IPPROTO_FRAGMENT) return at;
  struct fragment_header fragment;
  if (bpf_skb_load_bytes(skb, at, &fragment, sizeof fragment) != 0) return 0;
  if ((fragment.offset & bpf_htons(0xfff8)) != 0) return 0;
  quoted->protocol = fragment.next;
  return at + sizeof fragment;
}

// ICMP that says what became of a packet: it belongs to the flow of that packet, which is quoted in
// it. Returns whether that is a flow that may pass.
static __noinline int policy_pass_error(struct __sk_buff* skb, const struct judgement* about,
                                        const struct nacelle_policy* row) {
  if (about == 0 || row == 0) return 0;
  struct policy_flow flow = {.link = about->flow.link};
  const __u32 begin =
      policy_read_quoted(skb, ETH_HLEN + about->header_bytes + 8, about->is_v6, &flow);
  if (begin == 0) return 0;
  __be16 ports[4] = {};
  const int is_echo = is_icmp(about->is_v6, flow.protocol);
  if ((is_echo || has_ports((__u8)flow.protocol)) &&
      bpf_skb_load_bytes(skb, begin, ports, sizeof ports) != 0) {
    return 0;
  }
  if (is_echo) ports[0] = ports[1] = ports[2];  // which one
  flow.local_port = ports[0];
  flow.remote_port = ports[1];
  // What comes to the container is about what it has sent.
  if (about->direction != NACELLE_INGRESS) {
    const struct nacelle_address from = flow.local;
    flow.local = flow.remote;
    flow.remote = from;
    flow.local_port = ports[1];
    flow.remote_port = ports[0];
  }
  const struct policy_flow_state* known = bpf_map_lookup_elem(&policy_flows, &flow);
  return known != 0 && !known->is_cut && known->policy == about->policy &&
         known->generation == row->generation;
}

// The whole --------------------------------------------------------------------------------------

// Fills what differs by protocol. Returns 0 where headers end too early.
static __always_inline int policy_read(struct __sk_buff* skb, const struct packet* packet,
                                       struct judgement* about, __u8* is_error) {
  const __u32 begin = ETH_HLEN + packet->header_bytes;
  if (packet->protocol == IPPROTO_TCP) {
    __u8 flags = 0;
    if (bpf_skb_load_bytes(skb, begin + 13, &flags, 1) != 0) return 0;
    about->begins = (flags & 0x12) == 0x02;  // SYN without ACK
  } else if (is_icmp(packet->is_v6, packet->protocol)) {
    __u8 icmp[8];
    if (bpf_skb_load_bytes(skb, begin, icmp, sizeof icmp) != 0) return 0;
    *is_error = packet->is_v6 ? icmp[0] >= 1 && icmp[0] <= 4
                              : icmp[0] == 3 || icmp[0] == 11 || icmp[0] == 12;
    // Echoes and timestamps, and the answers to them, have a number that says which.
    const int is_numbered = packet->is_v6
                                ? icmp[0] == 128 || icmp[0] == 129
                                : icmp[0] == 0 || icmp[0] == 8 || icmp[0] == 13 || icmp[0] == 14;
    if (is_numbered) {
      __builtin_memcpy(&about->flow.local_port, icmp + 4, 2);
      about->flow.remote_port = about->flow.local_port;
    }
  }
  return 1;
}

static __noinline int policy_judge(struct __sk_buff* skb, const struct packet* packet,
                                   const struct nacelle_link* link, __u32 to_container) {
  if (packet == 0 || link == 0) return 0;
  const __u32 only = 0;
  struct judgement* about = bpf_map_lookup_elem(&policy_judgements, &only);
  if (about == 0) return 0;
  __builtin_memset(about, 0, sizeof *about);
  about->flow.link = link->link;
  about->flow.protocol = packet->protocol;
  about->flow.local = to_container ? packet->destination : packet->source;
  about->flow.remote = to_container ? packet->source : packet->destination;
  about->flow.local_port = to_container ? packet->destination_port : packet->source_port;
  about->flow.remote_port = to_container ? packet->source_port : packet->destination_port;
  about->policy = link->policy;
  about->length = skb->len;
  about->direction = to_container ? NACELLE_INGRESS : NACELLE_EGRESS;
  about->protocol = packet->protocol;
  about->header_bytes = packet->header_bytes;
  about->is_v6 = packet->is_v6;
  about->now_s = (__u32)(bpf_ktime_get_coarse_ns() >> 30);
  const struct nacelle_policy* row = bpf_map_lookup_elem(&policies, &about->policy);
  if (row == 0) {
    policy_note(about, POLICY_VERDICT(1, NACELLE_POLICY_NO_POLICY, 0), 0);
    return 0;
  }
  if (packet->is_rest) return policy_pass_rest(packet, about, row);
  __u8 is_error = 0;
  if (!policy_read(skb, packet, about, &is_error)) {
    policy_note(about, POLICY_VERDICT(1, NACELLE_POLICY_MALFORMED, 0), 0);
    return row->table[0] == 0;
  }
  const __u32 packets = skb->gso_segs != 0 ? skb->gso_segs : 1;
  if (is_error && policy_pass_error(skb, about, row)) return policy_admit(about, row, packets);
  if (!policy_pass_flow(about, row, packets)) return 0;
  if (packet->is_fragment) {
    const struct policy_fragment key = policy_fragment_of(packet, about);
    const struct policy_fragment_state first = {
        .policy = about->policy, .generation = row->generation, .seen_s = about->now_s};
    bpf_map_update_elem(&policy_fragments, &key, &first, BPF_ANY);
  }
  return 1;
}

// `link`: whose policy is asked. `peer`: the other side where that is a container, else null.
// `direction`: seen from `link`. True: it may pass.
static __always_inline int policy_verdict(struct __sk_buff* skb, const struct packet* packet,
                                          const struct nacelle_link* link,
                                          const struct nacelle_link* peer,
                                          enum nacelle_direction direction) {
  (void)peer;  // it is known by its address, which the programs have made sure is its own
  if (link->policy == 0) return 1;
  return policy_judge(skb, packet, link, direction == NACELLE_TO_CONTAINER);
}
