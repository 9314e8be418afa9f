// Network namespaces made ahead of the starts that take them, and taken apart behind them. Making
// one costs 0.3 ms, a veth pair as much again, deleting one 16 ms: none of it is done by the loop.
// A maker process (spawned, deadline, no ring) does both in batches, with rtnetlink, and hands the
// namespaces over as descriptors. A namespace is used once.
//
// Default networks are routed: the container's end has an address of the network's subnet, the
// host's end the gateway's address and a host route to the container; proxy ARP on the host's end
// answers for the neighbours.
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

// A namespace somebody uses. The host's end of each interface is named `host_names[i]`.
struct ReadyNamespace {
  Fd descriptor;
  std::vector<Interface> interfaces;
  std::vector<std::string> host_names;
};

class NetnsPool {
 public:
  struct Handlers {
    std::function<void(const PoolLowEvent&)> low;
    std::function<void(const AddressFreeEvent&)> address_free;
  };
  NetnsPool(ring::Loop& loop, Handlers handlers);
  ~NetnsPool();
  NetnsPool(const NetnsPool&) = delete;
  NetnsPool& operator=(const NetnsPool&) = delete;

  // See PoolRequest: sets up, or adds addresses.
  Result<> configure(const PoolRequest& request);
  // From the pool at once if it has one that fits, else made now. `interfaces` empty: `lo` alone.
  ring::Task<ReadyNamespace> take(std::vector<Interface> interfaces);
  // The host's ends are deleted, in a batch, soon; addresses of a pool come back by the handler.
  void give_back(ReadyNamespace used);
  // After a restart of core: what is left of a namespace whose container is known, or (unknown
  // host ends named like ours) is to be removed.
  Result<> adopt(const std::vector<std::string>& host_names_in_use);

  uint64_t ready() const;
  uint64_t backlog() const;
  // Ends the maker; what is ready is thrown away.
  ring::Task<> close();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::core
