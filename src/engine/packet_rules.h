// Who may send packets to whom, and what becomes of addresses on the way: one table of nftables,
// `nacelle`, whose rules never change. What changes are elements of its sets and maps: subnets when
// a network is made or removed, published ports when a container with some starts or ends. So a
// start without published ports costs no more than a look at a number.
// The kernel is told by nft(8), a batch at a time: what was asked for while one was under way goes
// with the next. A batch is what differs from what the kernel has; where that fails, or what it has
// is not known (at our beginning, or after a foreign `nft flush ruleset`), the whole table is
// replaced at once, so that no moment passes without it. So it is with the first network that has
// IPv6: before, the table of that family lets nothing pass.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/model.h"
#include "engine/networks.h"
#include "engine/telling.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

// Set and element: {"networks", "172.17.0.0/16"}. The sets of IPv6 end in a 6: {"networks6",
// "fd00::/64"}.
using RuleElements = std::set<std::pair<std::string, std::string>>;

// The values behind it; pure.
RuleElements elements_of_networks(const std::vector<Network>& networks);
// The container's, where packets for its published ports go; either may be empty.
struct PublishedTo {
  std::string address, address6;
};
// Ports as they are published: "80/tcp" -> {"0.0.0.0", "8080"}, {"::", "8080"}.
RuleElements elements_of_ports(const PublishedTo& to, const PortMap& ports);
std::string batch_of_all(const RuleElements& wanted);  // takes the place of whatever there was
std::string batch_of_difference(const RuleElements& known, const RuleElements& wanted);

class PacketRules {
 public:
  explicit PacketRules(ring::Loop& loop);
  PacketRules(const PacketRules&) = delete;
  PacketRules& operator=(const PacketRules&) = delete;

  // What is to be so from now on. Nothing is said before the first set_networks(): until then an
  // engine after another one is still learning what its predecessor had published.
  void set_networks(const std::vector<Network>& networks);
  void publish(const std::string& container, const PublishedTo& to, const PortMap& ports);
  void withdraw(const std::string& container);

  bool is_settled() const { return kernel_.is_settled(); }
  ring::Task<> settle() { return kernel_.settle(); }
  // With `nothing_runs` the table goes as well.
  ring::Task<> close(bool nothing_runs);

 private:
  ring::Task<> tell_kernel();
  ring::Task<> run_nft(std::string batch);

  ring::Loop& loop_;
  RuleElements networks_;
  std::map<std::string, RuleElements> published_;  // by container
  std::optional<RuleElements> known_;              // what the kernel has
  ring::Scope background_;
  Telling kernel_;
};

// Packets of the host's own clients come from 127.0.0.1 where they go to it, and the kernel sends
// such a source out by no link but those that allow it: the one to this address, from here on. Of
// ::1 it takes no answer from a link, unless that has a route for it. (What comes in for either
// from any link is dropped by the table, and by the programs on links.)
Result<> allow_loopback_source(const std::string& address);

}  // namespace nacelle::engine
