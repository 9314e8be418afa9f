// The programs at the engine's root cgroup: what each container sends and gets is counted, on
// whatever network it is, the host's too. A container is a row, found by the id of an ancestor of
// the socket's cgroup, so that groups made inside a container belong to it; what is in no
// container's group is not counted. Nothing is ever refused here.
//
// Contexts are those of the UAPI, so the programs load without BTF of the kernel (Linux 6.1 and
// newer).
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/group.h"

#define GROUPS_MAX 65536
// How deep the engine's root may lie, and containers below that (--cgroup-parent).
#define ROOT_LEVELS_MAX 16
#define LEVELS_BELOW_MAX 6
#define LOOPBACK_INDEX 1  // of every network namespace

// Of the engine's root cgroup; said at load.
const volatile __u64 root_group = 0;
// Its level in the whole tree. A process in a cgroup namespace cannot know it, so the first packet
// tells.
static __u32 root_level = 0;

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, GROUPS_MAX);
  __type(key, __u64);
  __type(value, struct nacelle_group_counters);
} group_counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, NACELLE_PEERS_MAX);
  __type(key, struct nacelle_peer_key);
  __type(value, struct nacelle_peer_counters);
} group_peers SEC(".maps");

// Whose a TCP socket is: where it connects, loses or measures, no cgroup can be asked for.
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
  __type(key, int);
  __type(value, __u64);
} group_sockets SEC(".maps");

// The row that `ancestor(context, level)` leads to; a macro, since helpers cannot be passed on.
#define FIND_GROUP(ancestor, context, group, row)               \
  do {                                                          \
    __u32 level = root_level;                                   \
    if (level == 0) {                                           \
      for (__u32 at = 1; at <= ROOT_LEVELS_MAX; ++at) {         \
        if (ancestor(context, at) != root_group) continue;      \
        level = root_level = at;                                \
        break;                                                  \
      }                                                         \
    }                                                           \
    if (level == 0) break;                                      \
    for (__u32 below = 1; below <= LEVELS_BELOW_MAX; ++below) { \
      group = ancestor(context, level + below);                 \
      if (group == 0) break;                                    \
      row = bpf_map_lookup_elem(&group_counters, &group);       \
      if (row != 0) break;                                      \
    }                                                           \
  } while (0)
#define OF_SKB(skb, level) bpf_skb_ancestor_cgroup_id(skb, (int)(level))
#define OF_CURRENT(unused, level) bpf_get_current_ancestor_cgroup_id((int)(level))

// Packets ----------------------------------------------------------------------------------------

struct size {
  __u64 bytes;
  __u32 packets;
};

// Reads who is at the other side, and where the protocol's own header is.
static __always_inline __u32 read_addresses(struct __sk_buff* skb, int is_sent,
                                            struct nacelle_peer_key* key, int* is_first) {
  *is_first = 1;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, 0, &ip, sizeof ip) != 0) return 0;
    const __be32 peer = is_sent ? ip.daddr : ip.saddr;
    key->peer.bytes[10] = key->peer.bytes[11] = 0xff;
    __builtin_memcpy(&key->peer.bytes[12], &peer, sizeof peer);
    key->protocol = ip.protocol;
    *is_first = (ip.frag_off & bpf_htons(0x1fff)) == 0;
    return (__u32)ip.ihl * 4;
  }
  struct ipv6hdr ip;
  if (bpf_skb_load_bytes(skb, 0, &ip, sizeof ip) != 0) return 0;
  __builtin_memcpy(&key->peer, is_sent ? &ip.daddr : &ip.saddr, sizeof key->peer);
  key->protocol = ip.nexthdr;  // an extension's number where there are some
  return sizeof ip;
}

static __always_inline void read_ports(struct __sk_buff* skb, __u32 offset, int is_sent,
                                       struct nacelle_peer_key* key) {
  struct {
    __be16 source, destination;
  } ports;
  if (bpf_skb_load_bytes(skb, offset, &ports, sizeof ports) != 0) return;
  const __be16 own = is_sent ? ports.source : ports.destination;
  const __be16 other = is_sent ? ports.destination : ports.source;
  key->is_server = bpf_ntohs(own) < bpf_ntohs(other);
  key->port = key->is_server ? own : other;
}

// One that will be cut, or was joined, as what it stands for.
static __always_inline struct size size_of(struct __sk_buff* skb, __u32 offset, __u8 protocol) {
  struct size size = {.bytes = skb->len, .packets = 1};
  const __u32 segments = skb->gso_segs;
  if (segments <= 1) return size;
  __u32 header = offset + 8;  // UDP's
  if (protocol == IPPROTO_TCP) {
    __u8 words;
    if (bpf_skb_load_bytes(skb, offset + 12, &words, 1) != 0) return size;
    header = offset + (__u32)(words >> 4) * 4;
  }
  size.packets = segments;
  size.bytes += (__u64)(segments - 1) * header;
  return size;
}

static __always_inline void count_peer(const struct nacelle_peer_key* key, const struct size* size,
                                       int is_sent) {
  struct nacelle_peer_counters* row = bpf_map_lookup_elem(&group_peers, key);
  if (row == 0) {
    const struct nacelle_peer_counters none = {};
    bpf_map_update_elem(&group_peers, key, &none, BPF_NOEXIST);
    row = bpf_map_lookup_elem(&group_peers, key);
    if (row == 0) return;
  }
  if (is_sent) {
    __sync_fetch_and_add(&row->sent_bytes, size->bytes);
    __sync_fetch_and_add(&row->sent_packets, size->packets);
  } else {
    __sync_fetch_and_add(&row->received_bytes, size->bytes);
    __sync_fetch_and_add(&row->received_packets, size->packets);
  }
}

static __always_inline int count(struct __sk_buff* skb, int is_sent) {
  if (skb->ifindex == LOOPBACK_INDEX) return 1;
  __u64 group = 0;
  struct nacelle_group_counters* row = 0;
  FIND_GROUP(OF_SKB, skb, group, row);
  if (row == 0) return 1;
  struct nacelle_peer_key key = {.group = group};
  int is_first = 0;
  const __u32 offset = read_addresses(skb, is_sent, &key, &is_first);
  if (offset == 0) return 1;
  if (is_first && (key.protocol == IPPROTO_TCP || key.protocol == IPPROTO_UDP)) {
    read_ports(skb, offset, is_sent, &key);
  }
  const struct size size = size_of(skb, offset, key.protocol);
  // Interrupts may come in between on this CPU.
  if (is_sent) {
    __sync_fetch_and_add(&row->sent_bytes, size.bytes);
    __sync_fetch_and_add(&row->sent_packets, size.packets);
  } else {
    __sync_fetch_and_add(&row->received_bytes, size.bytes);
    __sync_fetch_and_add(&row->received_packets, size.packets);
  }
  count_peer(&key, &size, is_sent);
  return 1;
}

SEC("cgroup_skb/egress")
int group_egress(struct __sk_buff* skb) { return count(skb, 1); }

SEC("cgroup_skb/ingress")
int group_ingress(struct __sk_buff* skb) { return count(skb, 0); }

// Sockets ----------------------------------------------------------------------------------------

SEC("cgroup/sock_create")
int group_socket(struct bpf_sock* socket) {
  if (socket->type != 1 /* SOCK_STREAM */) return 1;
  __u64 group = 0;
  struct nacelle_group_counters* row = 0;
  FIND_GROUP(OF_CURRENT, socket, group, row);
  if (row == 0) return 1;
  __u64* kept = bpf_sk_storage_get(&group_sockets, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (kept != 0) *kept = group;
  return 1;
}

SEC("sockops")
int group_sockops(struct bpf_sock_ops* ops) {
  struct bpf_sock* socket = ops->sk;
  if (socket == 0) return 1;
  const __u64* group = bpf_sk_storage_get(&group_sockets, socket, 0, 0);
  if (group == 0) return 1;
  const __u64 key = *group;
  struct nacelle_group_counters* row = bpf_map_lookup_elem(&group_counters, &key);
  if (row == 0) return 1;
  switch (ops->op) {
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
      bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RETRANS_CB_FLAG |
                                         BPF_SOCK_OPS_RTT_CB_FLAG);
      if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
        __sync_fetch_and_add(&row->connections_out, 1);
      } else {
        __sync_fetch_and_add(&row->connections_in, 1);
      }
      break;
    case BPF_SOCK_OPS_RETRANS_CB: __sync_fetch_and_add(&row->retransmits, ops->args[1]); break;
    case BPF_SOCK_OPS_RTT_CB:
      __sync_fetch_and_add(&row->rtt_us_sum, ops->srtt_us >> 3);
      __sync_fetch_and_add(&row->rtt_samples, 1);
      break;
    default: break;
  }
  return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
