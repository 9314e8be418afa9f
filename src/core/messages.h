// What the engine and nacelle-core say to each other, over SOCK_SEQPACKET: values in codec/flat.h's
// form behind a Header. A message above inline_bytes_max travels as a sealed memfd. Descriptors
// come with the packet (SCM_RIGHTS), in the order that each message names. Core checks everything:
// each plan again as a whole (PlanView::check), each name, each count.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dns/messages.h"
#include "logs/options.h"

namespace nacelle::core {

struct Header {
  static constexpr uint32_t magic_value = 0x524f434e;  // "NCOR"
  static constexpr uint16_t version_value = 2;
  uint32_t magic = magic_value;
  uint16_t version = version_value;
  uint8_t kind = 0;      // Kind
  uint8_t code = 0;      // which message
  uint64_t request = 0;  // a reply has its request's number; events have 0
  uint64_t length = 0;   // of the payload, wherever it is
};
static_assert(sizeof(Header) == 24);
enum class PacketKind : uint8_t { Request = 1, Reply, Error, Event };

inline constexpr size_t inline_bytes_max = 64u << 10;
inline constexpr uint64_t payload_bytes_max = 16u << 20;
inline constexpr size_t descriptors_max = 8;

// A network interface to be made in a container's own network namespace.
struct Interface {
  std::string network;  // whose pool it may come from (PoolRequest)
  std::string name;     // in the container: "eth0"
  std::string address;  // "172.17.0.2"; empty: one of the pool's, or none without IPv4
  uint8_t prefix_len = 0;
  std::string gateway;  // the address of the host's end
  // The same of IPv6; empty: the network has none. Then it is off at this interface.
  std::string address6;
  uint8_t prefix_len6 = 0;
  std::string gateway6;
  std::string mac;   // empty: made from the address, as Docker does
  uint32_t mtu = 0;  // 0: the kernel's
  // No way out: it leads to the subnet of its address, and nowhere else.
  bool internal = false;
  // Its neighbours, those in the same network, are not reached by it.
  bool isolated = false;
  // Of the host's end, once it is made: by it the kernel's programs and counters know it.
  uint32_t link = 0;
  uint32_t policy = 0;  // the number of its policy (bpf/policies.h); 0: none
  // By which what is elsewhere is reached; empty: by none.
  std::string way_out() const { return internal ? std::string() : gateway; }
  std::string way_out6() const { return internal ? std::string() : gateway6; }
  template <class Visit>
  void fields(Visit& visit) {
    visit(network, name, address, prefix_len, gateway, address6, prefix_len6, gateway6, mac, mtu,
          internal, isolated, link, policy);
  }
};

enum class NetworkMode : uint8_t {
  None,  // a namespace with `lo` alone
  Own,   // a namespace with `interfaces`
  Host,
  Join,  // that of container `network_of`
};

struct Phase {
  std::string name;
  uint64_t ns = 0;  // at its end, by CLOCK_MONOTONIC
  template <class Visit>
  void fields(Visit& visit) {
    visit(name, ns);
  }
};

// Starts a container: the reply means that its program has been executed. Descriptors: the root, as
// a detached mount; the directory for its log.
// Reply descriptors, to be parked with the engine: pidfd; standard input, output, error (or the
// terminal's master alone); the log journal.
struct StartRequest {
  static constexpr uint8_t code = 1;
  std::string id;           // 64 hexadecimal digits
  std::string plan;         // a LaunchPlan
  std::string cgroup_path;  // below the engine's root cgroup
  std::string cgroup_plan;  // container/cgroup_wire.h
  bool terminal = false, open_stdin = false, stdin_once = false;
  uint16_t height = 0, width = 0;
  logs::Options log;
  NetworkMode network = NetworkMode::None;
  std::string network_of;
  std::vector<Interface> interfaces;
  // Containers whose namespaces are joined: CLONE_NEW* and the container's id.
  std::vector<std::pair<uint64_t, std::string>> joined;
  bool traced = false;
  bool has_client = false;  // nothing is read of its output until an AttachRequest has come
  bool has_names = false;   // it is answered at 127.0.0.11, and others find it by `names`
  dns::Member names;        // without addresses: they are those of its interfaces
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, plan, cgroup_path, cgroup_plan, terminal, open_stdin, stdin_once, height, width, log,
          network, network_of, interfaces, joined, traced, has_client, has_names, names);
  }
  struct Reply {
    int32_t pid = 0;
    std::string cgroup;                 // absolute path of the container's cgroup directory
    std::vector<Interface> interfaces;  // as they became
    std::vector<Phase> phases;          // where `traced`
    template <class Visit>
    void fields(Visit& visit) {
      visit(pid, cgroup, interfaces, phases);
    }
  };
};

// Starts a process in a running container.
struct ExecRequest {
  static constexpr uint8_t code = 2;
  std::string id, exec;
  // What differs from the container's own process; the engine has resolved users to numbers.
  std::vector<std::string> args, env;  // env: added
  bool env_replaces = false;
  std::string cwd;
  bool has_user = false;
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> additional_gids;
  bool privileged = false;  // every capability
  bool terminal = false, open_stdin = false;
  uint16_t height = 0, width = 0;
  bool has_client = false;  // output waits for one; else it goes nowhere
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, args, env, env_replaces, cwd, has_user, uid, gid, additional_gids, privileged,
          terminal, open_stdin, height, width, has_client);
  }
  struct Reply {
    int32_t pid = 0;
    template <class Visit>
    void fields(Visit& visit) {
      visit(pid);
    }
  };
};

struct Nothing {
  template <class Visit>
  void fields(Visit&) {}
};

// `exec` empty: the container's own process. `all`: every process of its cgroup.
struct SignalRequest {
  static constexpr uint8_t code = 3;
  std::string id, exec;
  int32_t signal = 0;
  bool all = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, signal, all);
  }
  using Reply = Nothing;
};

struct FreezeRequest {
  static constexpr uint8_t code = 4;
  std::string id;
  bool frozen = true;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, frozen);
  }
  using Reply = Nothing;
};

struct UpdateRequest {
  static constexpr uint8_t code = 5;
  std::string id;
  std::string cgroup_plan;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, cgroup_plan);
  }
  using Reply = Nothing;
};

struct ResizeRequest {
  static constexpr uint8_t code = 6;
  std::string id, exec;
  uint16_t height = 0, width = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, height, width);
  }
  using Reply = Nothing;
};

// Gives a client's connection to the log worker. Descriptor: the socket. After the process has
// ended and was drained: NotFound.
struct AttachRequest {
  static constexpr uint8_t code = 7;
  std::string id, exec;
  bool wants_stdin = false, wants_stdout = false, wants_stderr = false;
  bool multiplexed = false;
  std::string detach_keys, early_bytes;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, wants_stdin, wants_stdout, wants_stderr, multiplexed, detach_keys, early_bytes);
  }
  using Reply = Nothing;
};

// The engine has written down how a process ended: core forgets it. For a container (`exec` empty)
// its cgroup and network namespace are gone when the reply comes; asking again is no error.
struct ForgetRequest {
  static constexpr uint8_t code = 8;
  std::string id, exec;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec);
  }
  using Reply = Nothing;
};

// Keeps network namespaces ready: `lo` up, an interface with an address of the block. Sent again
// with more addresses when the pool runs dry (PoolLow). No addresses, no name: namespaces with
// `lo` alone, for NetworkMode::None.
struct PoolRequest {
  static constexpr uint8_t code = 9;
  std::string network;
  std::vector<std::string> addresses;
  uint8_t prefix_len = 0;
  std::string gateway;
  uint32_t mtu = 0;
  uint32_t ready = 0;  // how many to keep
  bool isolated = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(network, addresses, prefix_len, gateway, mtu, ready, isolated);
  }
  using Reply = Nothing;
};

// What core knows. First thing an engine asks.
struct ListRequest {
  static constexpr uint8_t code = 10;
  template <class Visit>
  void fields(Visit&) {}
  struct Process {
    std::string id, exec;
    int32_t pid = 0;
    bool frozen = false;
    bool ended = false;  // and not yet forgotten
    int32_t wait_status = 0;
    bool status_known = true;
    bool oom_killed = false;
    int64_t ended_ns = 0;  // since 1970
    std::string cgroup;
    std::vector<Interface> interfaces;
    template <class Visit>
    void fields(Visit& visit) {
      visit(id, exec, pid, frozen, ended, wait_status, status_known, oom_killed, ended_ns, cgroup,
            interfaces);
    }
  };
  struct Reply {
    int32_t core_pid = 0;
    std::string version;
    uint64_t stalls = 0;  // turns of the loop above 5 ms
    uint64_t longest_stall_us = 0;
    uint64_t pool_ready = 0, janitor_backlog = 0;
    std::string log_worker_error;
    std::vector<Process> processes;
    template <class Visit>
    void fields(Visit& visit) {
      visit(core_pid, version, stalls, longest_stall_us, pool_ready, janitor_backlog,
            log_worker_error, processes);
    }
  };
};

// Gives a new core what was parked of a container that its predecessor started. Descriptors as in
// StartRequest::Reply. NotFound: core has no state of it (its files are gone). `open_stdin`:
// standard input is among them. The client (client.h) does all of this by itself.
struct ParkedRequest {
  static constexpr uint8_t code = 11;
  std::string id, exec;
  bool terminal = false, open_stdin = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, terminal, open_stdin);
  }
  using Reply = Nothing;
};

// Executes `program` (a path) in place, with everything running. The reply comes from the new one.
struct UpgradeRequest {
  static constexpr uint8_t code = 12;
  std::string program;
  template <class Visit>
  void fields(Visit& visit) {
    visit(program);
  }
  using Reply = Nothing;
};

struct CloseInputRequest {
  static constexpr uint8_t code = 13;
  std::string id, exec;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec);
  }
  using Reply = Nothing;
};

// Ends core. Refused (Conflict) while containers run.
struct ShutdownRequest {
  static constexpr uint8_t code = 14;
  template <class Visit>
  void fields(Visit&) {}
  using Reply = Nothing;
};

// Gives a running container with a network namespace of its own another interface, which becomes
// its way out where it has none. The reply: as it became.
struct ConnectRequest {
  static constexpr uint8_t code = 15;
  std::string id;
  Interface interface;
  bool has_names = false;
  dns::Member names;  // as in StartRequest, of all its networks
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, interface, has_names, names);
  }
  struct Reply {
    Interface interface;
    template <class Visit>
    void fields(Visit& visit) {
      visit(interface);
    }
  };
};

// Takes the interface to `network` away, and its names there. Where it was the way out, the next
// one that leads anywhere takes its place.
struct DisconnectRequest {
  static constexpr uint8_t code = 16;
  std::string id, network;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, network);
  }
  using Reply = Nothing;
};

// A container that runs is called otherwise, or answered otherwise, from before the reply on.
struct NamesRequest {
  static constexpr uint8_t code = 17;
  std::string id;
  dns::Member names;  // as in StartRequest, of all its networks
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, names);
  }
  using Reply = Nothing;
};

// How core is, without its list.
struct StatusRequest {
  static constexpr uint8_t code = 30;
  template <class Visit>
  void fields(Visit&) {}
  struct Reply {
    int32_t core_pid = 0;
    std::string version;
    // Since it began, or was executed in place.
    uint64_t turns = 0, stalls = 0, longest_turn_us = 0;
    uint64_t containers = 0, execs = 0;  // that run
    uint64_t ended = 0;                  // and not yet forgotten
    uint64_t pool_ready = 0, pool_backlog = 0;
    std::string log_worker_error;
    std::string groups_error;  // why no programs count containers' traffic; empty: they do
    template <class Visit>
    void fields(Visit& visit) {
      visit(core_pid, version, turns, stalls, longest_turn_us, containers, execs, ended, pool_ready,
            pool_backlog, log_worker_error, groups_error);
    }
  };
};

// What a container's sockets have sent and got: layer 3, without loopback (bpf/abi/group.h).
struct Traffic {
  bool counted = false;
  uint64_t sent_bytes = 0, sent_packets = 0, received_bytes = 0, received_packets = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(counted, sent_bytes, sent_packets, received_bytes, received_packets);
  }
};

// Events, core -> engine. ------------------------------------------------------------------------

// A process was killed for want of memory; always before its Exited.
struct OomEvent {
  static constexpr uint8_t code = 1;
  std::string id;
  uint64_t kills = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, kills);
  }
};
// The process has ended and all it had written is in the log.
struct ExitedEvent {
  static constexpr uint8_t code = 2;
  std::string id, exec;
  int32_t wait_status = 0;
  bool status_known = true;  // false: it ended while no core was there to reap it
  bool oom_killed = false;
  int64_t ended_ns = 0;
  Traffic traffic;  // of a container's own process, until now
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, wait_status, status_known, oom_killed, ended_ns, traffic);
  }
};
struct PoolLowEvent {
  static constexpr uint8_t code = 3;
  std::string network;
  uint32_t left = 0;  // addresses that have not been used
  template <class Visit>
  void fields(Visit& visit) {
    visit(network, left);
  }
};
// An address is nobody's any more: no container's, and none that core's pool gives out.
struct AddressFreeEvent {
  static constexpr uint8_t code = 4;
  std::string network, address;
  template <class Visit>
  void fields(Visit& visit) {
    visit(network, address);
  }
};
struct LogTroubleEvent {
  static constexpr uint8_t code = 5;
  std::string id, error;
  uint64_t dropped_bytes = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, error, dropped_bytes);
  }
};
// Standard input has ended: the parked copy is to be closed, or its reader would never see it. The
// client (client.h) does that by itself.
struct InputEndedEvent {
  static constexpr uint8_t code = 7;
  std::string id, exec;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec);
  }
};
struct ClientLeftEvent {
  static constexpr uint8_t code = 6;
  std::string id, exec;
  bool by_keys = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, exec, by_keys);
  }
};

}  // namespace nacelle::core
