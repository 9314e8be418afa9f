// Networks as Docker knows them: bridge (default and user-defined), host, none, with their
// subnets and who has which address. What carries packets is made by nacelle-core from the
// Interfaces this room hands out.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/messages.h"
#include "engine/events.h"
#include "engine/model.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct IpamPool {
  std::string subnet, gateway, ip_range;
  std::map<std::string, std::string> auxiliary;
  bool chosen_here = false;  // nobody asked for this subnet: nobody may ask for its addresses
  template <class V>
  void describe(V& v) {
    v("Subnet", subnet);
    v("Gateway", gateway);
    v("IPRange", ip_range);
    v("AuxiliaryAddresses", auxiliary);
    v("ChosenHere", chosen_here);
  }
};
struct Network {
  std::string id, name, driver, scope = "local", created;  // RFC 3339
  bool internal = false, attachable = false, ipv4 = true, ipv6 = false, ingress = false;
  Labels options, labels, ipam_options;
  std::string ipam_driver = "default";
  std::vector<IpamPool> pools;
  // `bridge`, `host` and `none`, which are always there.
  bool predefined() const;
  bool has_family(bool v6) const { return v6 ? ipv6 : ipv4; }
  // One of Docker's switches: on, where nobody has said otherwise.
  bool is_on(const std::string& option) const;
  // Whether its containers may reach each other.
  bool allows_neighbours() const { return is_on("com.docker.network.bridge.enable_icc"); }
  template <class V>
  void describe(V& v) {
    v("Id", id);
    v("Name", name);
    v("Driver", driver);
    v("Scope", scope);
    v("Created", created);
    v("Internal", internal);
    v("Attachable", attachable);
    v("EnableIPv4", ipv4);
    v("EnableIPv6", ipv6);
    v("Ingress", ingress);
    v("Options", options);
    v("Labels", labels);
    v("IPAMOptions", ipam_options);
    v("IPAMDriver", ipam_driver);
    v("Pools", pools);
  }
};
// swagger: NetworkCreateRequest.
struct NetworkCreateRequest {
  Network network;  // id and created are made here
  bool check_duplicate = true;
};
struct NetworkMember {
  std::string container, name;
  Endpoint endpoint;
};

struct NetworksOptions {
  std::string data_root;
  // Of `bridge`; empty: 172.17.0.0/16 or the next free. "10.9.0.1/24" names its gateway too.
  std::string default_subnet;
  // Who we are: subnets of IPv6 that nobody has asked for are out of a prefix of its own.
  std::string installation;
};

class Networks {
 public:
  // Reads records; makes `bridge`, `host` and `none`. A record that cannot be read is set aside, as
  // <data root>/networks/.damaged-<id>.
  static Result<std::unique_ptr<Networks>> open(ring::Loop& loop, NetworksOptions options,
                                                Events& events);
  ~Networks();
  // Told whenever a network has been made or removed.
  void listen(std::function<void()> changed);

  std::vector<Network> list() const;
  // By id, name, or the beginning of an id. NotFound `network x not found`.
  Result<Network> find(const std::string& text) const;
  // Of `bridge`: how a container reaches the host.
  std::string default_gateway() const;
  Result<Network> create(NetworkCreateRequest request);
  Result<> remove(const std::string& text);  // Conflict while it has members, or is predefined
  std::vector<std::string> prune(const std::function<bool(const Network&)>& chosen);
  std::vector<NetworkMember> members(const std::string& id) const;

  // Gives `container` an endpoint: address and MAC, those asked for if they are free. On `bridge`
  // without a wish the address is left to core's pool: join_done() says which it became. On `host`
  // and `none` the interface has no name: there is none to be made. The endpoint of an internal
  // network has no gateway. Interface.network is the network's id. `address_now`: no address is
  // left to core.
  struct Joined {
    Endpoint endpoint;
    core::Interface interface;
  };
  Result<Joined> join(const std::string& network, const std::string& container,
                      const std::string& name, const Endpoint& wish, unsigned index,
                      bool address_now = false);
  // What join() would refuse whoever has which address.
  Result<> check(const std::string& network, const Endpoint& wish) const;
  void join_done(const std::string& network, const std::string& container,
                 const core::Interface& became);
  void leave(const std::string& network, const std::string& container);
  // It has another name everywhere.
  void rename(const std::string& container, const std::string& name);

  // Addresses for core's pool of `bridge`; each is reserved until address_free(). What an engine
  // before this one had leased, and no container is known to have, comes first: core passes over
  // what it has already. So adopt() comes before this.
  core::PoolRequest lease_pool(unsigned addresses, unsigned ready);
  void address_free(const std::string& network, const std::string& address);
  // After a restart: this container has this address.
  void adopt(const std::string& network, const std::string& container, const std::string& name,
             const Endpoint& endpoint);

  struct State;

 private:
  explicit Networks(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
