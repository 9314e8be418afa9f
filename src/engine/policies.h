// Network policies and what they hold for: kept in records, compiled for each link they are about
// (policy_compile.h), and written into the maps that the programs on links ask (bpf/policies.h).
// Rules that name containers, labels or names of DNS follow who has which address. A change is
// whole or not there: a policy's rows are exchanged at once, and flows that go on are judged anew.
// Every pair of a network's and a container's policy that meet on some link has a number, kept on
// disk, so that links keep theirs over the death of an engine.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bpf/links.h"
#include "bpf/policies.h"
#include "engine/policy.h"
#include "engine/policy_compile.h"
#include "engine/policy_names.h"
#include "engine/telling.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct Engine;

// Whose policy it is.
struct PolicyOwner {
  enum class What : uint8_t { Network, Container };
  What what = What::Network;
  std::string id;
  auto operator<=>(const PolicyOwner&) const = default;
};

// What a policy has decided, on all links it holds for. Of an enforced one `would_drop` is 0.
struct PolicyStats {
  struct Rule {
    unsigned direction = 0;
    std::string text;
    uint64_t hits = 0, would_hits = 0;
  };
  std::vector<Rule> rules;
  uint64_t by_default[2] = {0, 0}, would_by_default[2] = {0, 0};
  std::map<std::string, uint64_t> reasons, would_reasons;  // drops that no rule decided
  std::map<std::string, std::string> name_errors;          // names that could not be looked up
};

class Policies {
 public:
  static Result<std::unique_ptr<Policies>> open(Engine& engine);
  Policies(const Policies&) = delete;
  Policies& operator=(const Policies&) = delete;

  const std::map<PolicyOwner, Policy>& all() const { return policies_; }
  // NotFound: there is none.
  Result<Policy> find(const PolicyOwner& owner) const;
  // Done when the kernel has it. On a failure what was before is so again.
  ring::Task<> set(PolicyOwner owner, Policy policy);
  ring::Task<> remove(PolicyOwner owner);
  ring::Task<PolicyStats> stats(PolicyOwner owner);

  // The number for a container's link to a network; 0: no policy is about it.
  uint32_t number_for(const std::string& network, const std::string& container);
  // A container's link to a network is there: the host's end, by its index.
  void link_made(const std::string& network, const std::string& container, uint32_t link);
  void link_gone(const std::string& network, const std::string& container);
  // Somebody on this network has come, gone, or has another name.
  void members_changed(const std::string& network);
  void container_gone(const std::string& container);
  void networks_changed();
  // Containers that run are known: from here on the kernel is told. Again for another core.
  void begin();

  // Until the kernel has what was asked for. Fails closed: while an error stands, so does this.
  bool is_settled() const { return kernel_.is_settled(); }
  ring::Task<> settle() { return kernel_.settle(); }
  // Whether rules name containers of this network, whose addresses must be known before they start.
  bool follows_members(const std::string& network) const;

  // Verdicts, as long as somebody listens: drops, and which new flows pass. Who reads too slowly
  // misses some.
  struct Verdict {
    nacelle_policy_event event;
    std::string network, container;  // whose link it was
  };
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual ring::Task<std::vector<Verdict>> next() = 0;
  };
  Result<std::unique_ptr<Listener>> listen(bool drops_only);
  std::string rule_text(const Verdict& verdict) const;  // "": no rule decided

  ring::Task<> close();

 private:
  // The policies that meet: of a network, and of a container (empty: it has none).
  struct Pair {
    std::string network, container;
    auto operator<=>(const Pair&) const = default;
  };
  struct Compiled {
    uint32_t number = 0;
    bool dirty = true;
    bool counts_anew = true;
    std::optional<bpf::PolicyVersion> told;
  };
  struct Link {
    uint32_t index = 0;
    bool told = false;  // its row says what it should
    uint32_t number = 0;
  };
  class Listening;

  explicit Policies(Engine& engine);
  Result<> read_records();
  Result<> read_numbers();
  Result<> save_numbers();
  std::string record_of(const PolicyOwner& owner) const;
  Pair pair_for(const std::string& network, const std::string& container) const;
  std::vector<const Policy*> policies_of(const Pair& pair, bool dry_runs_too) const;
  std::set<Pair> wanted_pairs() const;
  uint32_t number_of(const Pair& pair);
  PeerAddresses peers_of(const Pair& pair, const std::vector<const Policy*>& policies) const;
  Result<bpf::PolicyVersion> compile(const Pair& pair) const;
  void policy_changed(const PolicyOwner& owner);
  bool names_members(const Pair& pair) const;
  void follow_names();
  ring::Task<> tell_kernel();
  Result<> open_maps();
  ring::Task<> tell_policies();
  Result<> tell_links();
  ring::Task<> forget_unused();
  ring::Task<> sweep(bpf::PolicyMaps::Retired retired);
  ring::Task<> trace();
  Result<> set_trace();

  Engine& engine_;
  Fd directory_;
  std::map<PolicyOwner, Policy> policies_;
  std::map<Pair, Compiled> compiled_;
  uint32_t next_number_ = 1;
  std::map<std::pair<std::string, std::string>, Link> links_;  // network, container
  PolicyNames names_;
  bool collected_ = false;
  // Shared with a thread that may outlive us.
  std::shared_ptr<bpf::PolicyMaps> maps_;
  std::optional<bpf::Links> link_rows_;
  std::set<Listening*> listeners_;
  bool tracing_ = false;
  ring::Scope background_;
  Telling kernel_;
};

}  // namespace nacelle::engine
