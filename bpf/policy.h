// Where policies of networks are asked. link.bpf.c calls it for each packet that identity and
// isolation allow: once for who sends it, once for who gets it.
#pragma once

#include "abi/link.h"

// What is known of a packet when it is judged.
struct packet {
  __be32 source, destination;
  __be16 source_port, destination_port;
  __u8 protocol;
  __u8 has_ports;    // a first fragment, or none, of a protocol that has them
  __u8 is_fragment;  // any but the whole
  __u8 header_bytes;
};

// `link`: whose policy is asked. `peer`: the other side where that is a container, else null.
// `direction`: seen from `link`. True: it may pass.
static __always_inline int policy_verdict(struct __sk_buff* skb, const struct packet* packet,
                                          const struct nacelle_link* link,
                                          const struct nacelle_link* peer,
                                          enum nacelle_direction direction) {
  if (link->policy == 0) return 1;
  (void)skb, (void)packet, (void)peer, (void)direction;
  return 1;
}
