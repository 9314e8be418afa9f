#include "engine/policies.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "bpf/pins.h"
#include "codec/json.h"
#include "codec/json_fields.h"
#include "engine/container_state.h"
#include "engine/engine.h"
#include "engine/moment.h"
#include "image/disk.h"
#include "ring/blocking.h"
#include "ring/ops.h"
#include "sys/clock.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr const char* directory_name = "policies";
constexpr const char* numbers_name = "numbers";
constexpr int64_t ns_per_s = 1'000'000'000;
constexpr ring::Duration load_pause = std::chrono::milliseconds(20);
constexpr int load_turns_max = 500;
// How often the kernel hears that verdicts are still wanted.
constexpr ring::Duration renew = std::chrono::seconds(5);

// What is kept of numbers.
struct NumberRecord {
  std::string network, container;
  uint32_t number = 0;
  template <class V>
  void describe(V& v) {
    v("Network", network);
    v("Container", container);
    v("Number", number);
  }
};
struct Numbers {
  uint32_t next = 1;
  std::vector<NumberRecord> all;
  template <class V>
  void describe(V& v) {
    v("Next", next);
    v("Numbers", all);
  }
};

std::string text_of(const Policy& policy) {
  codec::json::Writer json;
  write_json(json, policy);
  return std::move(json).take();
}

ring::Task<> wait_readable(ring::Loop* loop, const Fd* descriptor) {
  co_await ring::poll(*loop, *descriptor, POLLIN);
}

// Takes the place of a record that cannot be read: nobody knows what it allowed.
Policy nothing_allowed() {
  Policy policy;
  policy.deny_by_default[0] = policy.deny_by_default[1] = true;
  return policy;
}

}  // namespace

Policies::Policies(Engine& engine)
    : engine_(engine),
      names_(engine.loop,
             [this] {
               for (auto& [pair, compiled] : compiled_) compiled.dirty = true;
               kernel_.ask();
             }),
      background_(engine.loop, [](const Error&) {}),
      kernel_(background_, [this] { return tell_kernel(); }) {}

Result<std::unique_ptr<Policies>> Policies::open(Engine& engine) {
  auto policies = std::unique_ptr<Policies>(new Policies(engine));
  const Fd root = TRY(sys::open_at(sys::working_directory, engine.options.data_root.c_str(),
                                   O_RDONLY | O_DIRECTORY));
  TRY(image::ensure_directory(root, directory_name));
  policies->directory_ = TRY(sys::open_at(root.get(), directory_name, O_RDONLY | O_DIRECTORY));
  TRY(policies->read_records());
  return policies;
}

// Records ----------------------------------------------------------------------------------------

std::string Policies::record_of(const PolicyOwner& owner) const {
  return cat(owner.what == PolicyOwner::What::Network ? "network-" : "container-", owner.id);
}

Result<> Policies::read_records() {
  for (const std::string& name : TRY(image::list_directory(directory_))) {
    std::string_view id = name;
    const std::string_view kind = take_until(id, '-');
    if (kind != "network" && kind != "container") continue;
    const PolicyOwner owner{
        .what = kind == "network" ? PolicyOwner::What::Network : PolicyOwner::What::Container,
        .id = std::string(id)};
    const auto text = sys::read_file_at(directory_.get(), name.c_str(), record_bytes_max);
    Result<Policy> policy = text ? parse_policy(*text) : std::unexpected(text.error());
    if (!policy) {
      engine_.warnings.push_back(cat("policy of ", name, ": ", policy.error().message(),
                                     ": until it is set anew, nothing is allowed"));
      policy = nothing_allowed();
    }
    policies_.insert_or_assign(owner, *std::move(policy));
  }
  follow_names();
  const Result<> read = read_numbers();
  if (read || read.error().error_number() == ENOENT) return {};
  // Links may still have numbers that it knew: those that are given from here on are others.
  engine_.warnings.push_back(cat("numbers of policies: ", read.error().message()));
  compiled_.clear();
  next_number_ = static_cast<uint32_t>(now_ns() / ns_per_s);
  return {};
}

Result<> Policies::read_numbers() {
  const std::string text = TRY(sys::read_file_at(directory_.get(), numbers_name, record_bytes_max));
  Numbers numbers;
  const auto document = TRY(codec::json::Document::parse(text));
  TRY(codec::json::read_fields(document.root(), numbers));
  next_number_ = std::max<uint32_t>(numbers.next, 1);
  for (const NumberRecord& each : numbers.all) {
    Compiled& compiled = compiled_[{each.network, each.container}];
    compiled.number = each.number;
    compiled.counts_anew = false;
  }
  return {};
}

Result<> Policies::save_numbers() {
  Numbers numbers{.next = next_number_, .all = {}};
  for (const auto& [pair, compiled] : compiled_) {
    numbers.all.push_back(
        {.network = pair.network, .container = pair.container, .number = compiled.number});
  }
  codec::json::Writer json;
  codec::json::write_fields(json, numbers);
  return sys::replace_file_at(directory_.get(), numbers_name, std::move(json).take(), 0600);
}

Result<Policy> Policies::find(const PolicyOwner& owner) const {
  const auto found = policies_.find(owner);
  if (found != policies_.end()) return found->second;
  return fail(Kind::NotFound,
              cat("no policy for ",
                  owner.what == PolicyOwner::What::Network ? "network " : "container ", owner.id));
}

// Changes ----------------------------------------------------------------------------------------

void Policies::follow_names() {
  std::set<std::string> names;
  for (const auto& [owner, policy] : policies_) {
    for (const auto& rules : policy.rules) {
      for (const PolicyRule& rule : rules) {
        for (const PolicyPeer& peer : rule.peers) {
          if (peer.what == PolicyPeer::What::Name) names.insert(peer.text);
        }
      }
    }
  }
  names_.follow(names);
}

void Policies::policy_changed(const PolicyOwner& owner) {
  follow_names();
  for (auto& [pair, compiled] : compiled_) {
    const bool is_about =
        (owner.what == PolicyOwner::What::Network ? pair.network : pair.container) == owner.id;
    if (is_about) compiled.dirty = compiled.counts_anew = true;
  }
  kernel_.ask();
}

ring::Task<> Policies::set(PolicyOwner owner, Policy policy) {
  const auto before =
      policies_.find(owner) == policies_.end() ? std::nullopt : std::optional(policies_.at(owner));
  // What would have too many rows is refused before anything changes.
  const std::vector<const Policy*> alone{&policy};
  co_await compile_policies(alone, {});
  co_await sys::replace_file_at(directory_.get(), record_of(owner).c_str(), text_of(policy), 0600);
  policies_.insert_or_assign(owner, std::move(policy));
  policy_changed(owner);
  co_await names_.first_answers();
  const Result<> told = co_await ring::as_result(settle());
  if (told || told.error().kind() == Kind::Cancelled) co_return;
  if (before) {
    (void)sys::replace_file_at(directory_.get(), record_of(owner).c_str(), text_of(*before), 0600);
    policies_.insert_or_assign(owner, *before);
  } else {
    (void)sys::unlink_at(directory_.get(), record_of(owner).c_str());
    policies_.erase(owner);
  }
  policy_changed(owner);
  co_await Result<>(told);
}

ring::Task<> Policies::remove(PolicyOwner owner) {
  co_await find(owner);
  co_await sys::unlink_at(directory_.get(), record_of(owner).c_str());
  policies_.erase(owner);
  policy_changed(owner);
  co_await settle();
}

void Policies::container_gone(const std::string& container) {
  const PolicyOwner owner{.what = PolicyOwner::What::Container, .id = container};
  if (policies_.erase(owner) == 0) return;
  (void)sys::unlink_at(directory_.get(), record_of(owner).c_str());
  policy_changed(owner);
}

void Policies::networks_changed() {
  std::vector<PolicyOwner> gone;
  for (const auto& [owner, policy] : policies_) {
    if (owner.what != PolicyOwner::What::Network) continue;
    const auto network = engine_.networks->find(owner.id);
    if (!network || network->id != owner.id) gone.push_back(owner);
  }
  for (const PolicyOwner& owner : gone) {
    policies_.erase(owner);
    (void)sys::unlink_at(directory_.get(), record_of(owner).c_str());
    policy_changed(owner);
  }
}

// Which policy is about whom ---------------------------------------------------------------------

Policies::Pair Policies::pair_for(const std::string& network, const std::string& container) const {
  const bool own = policies_.contains({PolicyOwner::What::Container, container});
  return {.network = network, .container = own ? container : std::string()};
}

std::vector<const Policy*> Policies::policies_of(const Pair& pair, bool dry_runs_too) const {
  std::vector<const Policy*> both;
  for (const PolicyOwner& owner : {PolicyOwner{PolicyOwner::What::Network, pair.network},
                                   PolicyOwner{PolicyOwner::What::Container, pair.container}}) {
    const auto found = policies_.find(owner);
    if (found == policies_.end() || (found->second.dry_run && !dry_runs_too)) continue;
    both.push_back(&found->second);
  }
  return both;
}

uint32_t Policies::number_of(const Pair& pair) {
  Compiled& compiled = compiled_[pair];
  if (compiled.number != 0) return compiled.number;
  compiled.number = next_number_;
  next_number_ = next_number_ == UINT32_MAX ? 1 : next_number_ + 1;
  if (const Result<> saved = save_numbers(); !saved) kernel_.failed(saved.error());
  kernel_.ask();
  return compiled.number;
}

uint32_t Policies::number_for(const std::string& network, const std::string& container) {
  const Pair pair = pair_for(network, container);
  return policies_of(pair, true).empty() ? 0 : number_of(pair);
}

void Policies::link_made(const std::string& network, const std::string& container, uint32_t link) {
  links_[{network, container}] = {.index = link};
  // A new link without a policy is as it should be.
  if (!policies_.empty() || !compiled_.empty()) kernel_.ask();
}

void Policies::link_gone(const std::string& network, const std::string& container) {
  links_.erase({network, container});
}

void Policies::members_changed(const std::string& network) {
  bool is_about = false;
  for (auto at = compiled_.lower_bound({network, ""});
       at != compiled_.end() && at->first.network == network; ++at) {
    if (names_members(at->first)) is_about = at->second.dirty = true;
  }
  if (is_about) kernel_.ask();
}

// Whether any of its rules is about containers, by name or label.
bool Policies::names_members(const Pair& pair) const {
  const auto is_member = [](const PolicyPeer& peer) {
    return peer.what == PolicyPeer::What::Container || peer.what == PolicyPeer::What::Label;
  };
  return std::ranges::any_of(join_rules(policies_of(pair, true)), [&](const JoinedRule& each) {
    return std::ranges::any_of(each.rule->peers, is_member);
  });
}

bool Policies::follows_members(const std::string& network) const {
  for (auto at = compiled_.lower_bound({network, ""});
       at != compiled_.end() && at->first.network == network; ++at) {
    if (names_members(at->first)) return true;
  }
  return false;
}

PeerAddresses Policies::peers_of(const Pair& pair,
                                 const std::vector<const Policy*>& policies) const {
  PeerAddresses addresses;
  for (const JoinedRule& each : join_rules(policies)) {
    for (const PolicyPeer& peer : each.rule->peers) {
      if (peer.what != PolicyPeer::What::Cidr) addresses[{peer.what, peer.text}];
    }
  }
  if (addresses.empty()) return addresses;
  const std::vector<NetworkMember> members = engine_.networks->members(pair.network);
  for (auto& [who, known] : addresses) {
    if (who.first == PolicyPeer::What::Name) {
      known = names_.addresses_of(who.second);
      continue;
    }
    const PolicyPeer peer{.what = who.first, .text = who.second, .prefix = {}};
    for (const NetworkMember& member : members) {
      const EntryRef entry = engine_.containers->state().entry_of(member.container);
      if (!entry) continue;
      const Labels& labels = entry->container.config.labels;
      if (!is_peer(peer, member.container, member.name, labels)) continue;
      for (const std::string* text :
           {&member.endpoint.ip_address, &member.endpoint.global_ipv6_address}) {
        if (const auto address = parse_address(*text)) known.push_back(*address);
      }
    }
  }
  return addresses;
}

Result<bpf::PolicyVersion> Policies::compile(const Pair& pair) const {
  bpf::PolicyVersion version;
  const std::vector<const Policy*> enforced = policies_of(pair, false);
  const std::vector<const Policy*> tried = policies_of(pair, true);
  const PeerAddresses addresses = peers_of(pair, tried);
  version.is_enforced = !enforced.empty();
  version.enforced = TRY(compile_policies(enforced, addresses));
  version.rules = static_cast<uint16_t>(join_rules(enforced).size());
  version.has_trial = tried.size() > enforced.size();
  if (version.has_trial) {
    version.trial = TRY(compile_policies(tried, addresses));
    version.trial_rules = static_cast<uint16_t>(join_rules(tried).size());
  }
  for (unsigned direction = 0; direction < 2; ++direction) {
    version.limits[direction] = join_limits(enforced, direction);
    if (version.has_trial) version.trial_limits[direction] = join_limits(tried, direction);
  }
  return version;
}

// Telling the kernel -----------------------------------------------------------------------------

void Policies::begin() {
  for (auto& [pair, compiled] : compiled_) {
    compiled.told.reset();
    compiled.dirty = true;
  }
  maps_.reset();
  link_rows_.reset();
  collected_ = false;
  kernel_.begin();
  networks_changed();
  if (!policies_.empty() || !compiled_.empty()) kernel_.ask();
}

Result<> Policies::open_maps() {
  if (maps_ && link_rows_) return {};
  const std::string directory = bpf::pins_directory(engine_.options.run_directory);
  maps_ = std::make_shared<bpf::PolicyMaps>(TRY(bpf::PolicyMaps::open(directory)));
  link_rows_.emplace(TRY(bpf::Links::open(directory)));
  for (auto& [link, known] : links_) known.told = false;
  return {};
}

ring::Task<> Policies::tell_kernel() {
  Result<> told = open_maps();
  // A core that has just begun is still loading the programs.
  for (int turn = 0; !told && told.error().kind() == Kind::NotFound && turn < load_turns_max;
       ++turn) {
    told = co_await ring::as_result(ring::sleep_for(engine_.loop, load_pause));
    if (told) told = open_maps();
  }
  // Rows first, so that no link ever names a policy that is not there; then who had it.
  if (told) told = co_await ring::as_result(tell_policies());
  if (told) told = tell_links();
  if (told) told = co_await ring::as_result(forget_unused());
  if (maps_) background_.start(sweep(maps_->take_retired()));
  co_await std::move(told).context("network policy");
}

ring::Task<> Policies::sweep(bpf::PolicyMaps::Retired retired) {
  auto erase = [maps = maps_, rows = std::move(retired)] { return maps->sweep(rows); };
  co_await ring::run_blocking(engine_.loop, std::move(erase));
}

std::set<Policies::Pair> Policies::wanted_pairs() const {
  std::set<Pair> wanted;
  for (const auto& [owner, policy] : policies_) {
    if (owner.what == PolicyOwner::What::Network) wanted.insert({owner.id, ""});
  }
  for (const auto& [id, entry] : engine_.containers->state().entries) {
    if (!is_up(entry->container) && !entry->starting) continue;
    for (const auto& [name, endpoint] : entry->container.endpoints) {
      if (endpoint.network_id.empty()) continue;
      const Pair pair = pair_for(endpoint.network_id, id);
      if (!policies_of(pair, true).empty()) wanted.insert(pair);
    }
  }
  return wanted;
}

ring::Task<> Policies::tell_policies() {
  for (const Pair& pair : wanted_pairs()) (void)number_of(pair);
  std::vector<Pair> dirty;
  for (const auto& [pair, compiled] : compiled_) {
    if (compiled.dirty) dirty.push_back(pair);
  }
  for (const Pair& pair : dirty) {
    const auto found = compiled_.find(pair);
    if (found == compiled_.end() || policies_of(pair, true).empty()) continue;
    Compiled& compiled = found->second;
    const auto version = std::make_shared<bpf::PolicyVersion>(co_await compile(pair));
    compiled.dirty = false;
    if (!compiled.counts_anew && compiled.told == *version) continue;
    const bool anew = std::exchange(compiled.counts_anew, false);
    auto write = [maps = maps_, version, anew, number = compiled.number] {
      return maps->replace(number, *version, anew);
    };
    const auto told = co_await ring::as_result(ring::run_blocking(engine_.loop, std::move(write)));
    const auto now = compiled_.find(pair);  // others may have changed the list meanwhile
    if (now == compiled_.end()) continue;
    if (!told) {
      now->second.dirty = true;
      now->second.counts_anew |= anew;
      co_await Result<>(told);
    }
    now->second.told = *version;
  }
}

Result<> Policies::tell_links() {
  for (auto& [link, known] : links_) {
    const uint32_t wanted = number_for(link.first, link.second);
    if (known.told && known.number == wanted) continue;
    nacelle_link row{};
    const bool is_there = TRY(link_rows_->find(known.index, row));
    // Without a row it passes nothing: it is on its way out.
    if (is_there && row.policy != wanted) TRY(link_rows_->set_policy(known.index, wanted));
    known.told = true;
    known.number = wanted;
  }
  return {};
}

// Those that no link can have any more; of an engine before this one, too.
ring::Task<> Policies::forget_unused() {
  const std::set<Pair> wanted = wanted_pairs();
  std::vector<std::pair<Pair, uint32_t>> unused;
  for (const auto& [pair, compiled] : compiled_) {
    if (!wanted.contains(pair) && policies_of(pair, true).empty()) {
      unused.emplace_back(pair, compiled.number);
    }
  }
  for (const auto& [pair, number] : unused) {
    compiled_.erase(pair);
    auto write = [maps = maps_, policy = number] { return maps->forget(policy); };
    co_await ring::run_blocking(engine_.loop, std::move(write));
  }
  if (!unused.empty()) co_await save_numbers();
  if (std::exchange(collected_, true)) co_return;
  co_await ring::run_blocking(engine_.loop, [maps = maps_] { return maps->collect(); });
}

// What was decided -------------------------------------------------------------------------------

ring::Task<PolicyStats> Policies::stats(PolicyOwner owner) {
  const Policy policy = co_await find(owner);
  PolicyStats stats;
  co_await open_maps();
  for (unsigned direction = 0; direction < 2; ++direction) {
    for (const PolicyRule& rule : policy.rules[direction]) {
      stats.rules.push_back({.direction = direction, .text = to_text(rule, direction)});
    }
  }
  std::vector<std::pair<Pair, uint32_t>> pairs;
  for (const auto& [pair, compiled] : compiled_) {
    const bool is_network = owner.what == PolicyOwner::What::Network;
    if ((is_network ? pair.network : pair.container) == owner.id) {
      pairs.emplace_back(pair, compiled.number);
    }
  }
  for (const auto& [pair, number] : pairs) {
    for (const bpf::PolicyCount& count : co_await maps_->read_counts(number)) {
      const std::vector<const Policy*> joined = policies_of(pair, count.is_trial);
      if (count.rule >= NACELLE_COUNT_REASON) {
        auto& reasons = count.is_trial ? stats.would_reasons : stats.reasons;
        const std::string_view word = bpf::policy_reason_word(count.rule - NACELLE_COUNT_REASON);
        if (count.hits > 0) reasons[std::string(word)] += count.hits;
        continue;
      }
      if (count.rule >= NACELLE_COUNT_DEFAULT) {
        const unsigned direction = (count.rule - NACELLE_COUNT_DEFAULT) & 1;
        (count.is_trial ? stats.would_by_default : stats.by_default)[direction] += count.hits;
        continue;
      }
      const std::vector<JoinedRule> rules = join_rules(joined);
      if (count.rule >= rules.size()) continue;
      const JoinedRule& rule = rules[count.rule];
      const auto found = policies_.find(owner);
      if (found == policies_.end() || joined[rule.policy] != &found->second) continue;
      const size_t at = rule.index + (rule.direction == 1 ? found->second.rules[0].size() : 0);
      if (at >= stats.rules.size()) continue;
      (count.is_trial ? stats.rules[at].would_hits : stats.rules[at].hits) += count.hits;
    }
  }
  for (const auto& rules : policy.rules) {
    for (const PolicyRule& rule : rules) {
      for (const PolicyPeer& peer : rule.peers) {
        if (peer.what != PolicyPeer::What::Name) continue;
        if (std::string error = names_.error_of(peer.text); !error.empty()) {
          stats.name_errors[peer.text] = std::move(error);
        }
      }
    }
  }
  co_return stats;
}

// Verdicts as they come --------------------------------------------------------------------------

class Policies::Listening : public Policies::Listener {
 public:
  Listening(Policies& policies, bool drops_only_in)
      : drops_only(drops_only_in), policies_(policies) {
    policies_.listeners_.insert(this);
  }
  ~Listening() override { policies_.listeners_.erase(this); }
  ring::Task<std::vector<Verdict>> next() override {
    while (waiting_.empty()) co_await came_.wait();
    co_return std::exchange(waiting_, {});
  }
  void take(const Verdict& verdict) {
    if (waiting_.size() >= waiting_max || (drops_only && !verdict.event.is_deny)) return;
    waiting_.push_back(verdict);
    came_.notify_all();
  }
  const bool drops_only;

 private:
  static constexpr size_t waiting_max = 16384;
  Policies& policies_;
  std::vector<Verdict> waiting_;
  ring::Notice came_;
};

Result<std::unique_ptr<Policies::Listener>> Policies::listen(bool drops_only) {
  TRY(open_maps());
  std::unique_ptr<Listener> listener = std::make_unique<Listening>(*this, drops_only);
  TRY(set_trace());
  if (!std::exchange(tracing_, true)) background_.start(trace());
  return listener;
}

std::string Policies::rule_text(const Verdict& verdict) const {
  if (verdict.event.reason != NACELLE_POLICY_RULE) return {};
  const Pair pair = pair_for(verdict.network, verdict.container);
  const std::vector<JoinedRule> rules = join_rules(policies_of(pair, verdict.event.is_trial != 0));
  if (verdict.event.rule >= rules.size()) return {};
  const JoinedRule& rule = rules[verdict.event.rule];
  return to_text(*rule.rule, rule.direction);
}

// The kernel tells for a while only: an engine that has died is told nothing.
Result<> Policies::set_trace() {
  const uint64_t until =
      listeners_.empty() ? 0 : sys::monotonic_ns() + 2 * std::chrono::nanoseconds(renew).count();
  const bool all = std::ranges::any_of(listeners_, [](auto* each) { return !each->drops_only; });
  return maps_->set_trace(until, all ? until : 0);
}

ring::Task<> Policies::trace() {
  const std::string directory = bpf::pins_directory(engine_.options.run_directory);
  Result<bpf::PolicyEvents> events = bpf::PolicyEvents::open(directory);
  while (events && !listeners_.empty()) {
    const Result<> ready = co_await ring::as_result(ring::with_deadline(
        engine_.loop, wait_readable(&engine_.loop, &events->descriptor()), renew, "verdicts"));
    if (!ready && ready.error().kind() == Kind::Cancelled) break;
    std::map<uint32_t, std::pair<std::string, std::string>> owners;
    for (const auto& [link, known] : links_) owners[known.index] = link;
    events->read([&](const nacelle_policy_event& event) {
      const auto owner = owners.find(event.link);
      Verdict verdict{.event = event, .network = {}, .container = {}};
      if (owner != owners.end()) std::tie(verdict.network, verdict.container) = owner->second;
      for (Listening* each : listeners_) each->take(verdict);
    });
    if (open_maps()) (void)set_trace();
  }
  tracing_ = false;
}

ring::Task<> Policies::close() {
  co_await names_.close();
  background_.cancel();
  co_await background_.join();
}

}  // namespace nacelle::engine
