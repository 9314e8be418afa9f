// Network namespaces made ahead of the starts that take them. Making one costs 0.3 ms, a veth pair
// as much again, and none of it is done by the loop: a maker process (this very program, started
// with netns_maker_argument) does it with rtnetlink and hands the namespace over as a descriptor.
// Taking one apart is the kernel's work, behind the last descriptor: its veth pairs go with it, in
// batches (deleting a pair by name would take 16 ms). A namespace is used once.
//
// Networks are routed, without a bridge: the container's end has its address and a route to the
// gateway alone; the host's end has the gateway's address and a route to the container. An internal
// interface has a route to its subnet in place of one to everywhere.
// The same with IPv6, where a network has it; there each end knows the other's MAC address from the
// beginning, for good. What is between two containers, and who may talk to whom, is not decided
// here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::core {

// A namespace somebody uses, with its interfaces as they became.
struct ReadyNamespace {
  Fd descriptor;
  std::vector<Interface> interfaces;
  std::vector<Fd> name_sockets;  // of dns::SetMember, where they were asked for
};

class NetnsPool {
 public:
  struct Handlers {
    std::function<void(const PoolLowEvent&)> low;
  };
  // `program`: what has netns_maker_main(), borrowed for the pool's life.
  NetnsPool(ring::Loop& loop, const Fd& program, Handlers handlers);
  // close() comes first.
  ~NetnsPool();
  NetnsPool(const NetnsPool&) = delete;
  NetnsPool& operator=(const NetnsPool&) = delete;

  // Makes nothing until use_links() has said whether programs watch links: what makes an interface
  // has to know.
  void await_links();
  // `pins`: their directory; empty: none do.
  void use_links(std::string pins);

  // See PoolRequest. Addresses the pool has already, in whatever state, are not added again.
  Result<> configure(const PoolRequest& request);
  // From the pool at once if it has one that fits, else made now. Empty: `lo` alone. An interface
  // without an address gets one of its network's pool: Exhausted when there is none left.
  // `serves`: with sockets for names, and never from the pool.
  ring::Task<ReadyNamespace> take(std::vector<Interface> interfaces, bool serves = false);
  // Sockets for names, in a namespace that is in use.
  ring::Task<std::vector<Fd>> serve(const Fd& place);
  // One more in a namespace that is in use (a pidfd of somebody inside), which has `rest`; and one
  // less.
  ring::Task<Interface> add(const Fd& place, Interface wanted, std::vector<Interface> rest);
  ring::Task<> remove(const Fd& place, Interface gone, std::vector<Interface> rest);
  // The last descriptor goes; addresses of a pool are free for others.
  void give_back(ReadyNamespace used);
  // Its address, once it is given back, is ours to give out again, and not yet the engine's.
  bool keeps(const Interface& interface) const;
  // After a restart: these are in use, wherever they came from.
  void adopt(const std::vector<Interface>& in_use);

  uint64_t ready() const;
  // Namespaces being made now or waited for.
  uint64_t backlog() const;
  // Ends the maker; what is ready goes.
  ring::Task<> close();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

inline constexpr const char* netns_maker_argument = "--netns-maker";
// The maker's whole life: serves descriptor 3 until that is closed. `pins`: of the programs that
// watch links, or "". Returns an exit code.
int netns_maker_main(const char* pins);

}  // namespace nacelle::core
