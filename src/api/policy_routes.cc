// Network policies and what they decide: paths of our own, below /nacelle/v1/, in the shapes of
// engine/policy.h.
#include <ctime>
#include <string>
#include <utility>

#include "api/route.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/policies.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Policy;
using engine::PolicyOwner;
using engine::PolicyStats;

constexpr std::string_view directions[] = {"ingress", "egress"};

struct Owner {
  PolicyOwner owner;
  std::string name;
};

Result<Owner> network_of(const Call& call) {
  const engine::Network network = TRY(call.engine.networks->find(call.variables[0]));
  if (network.driver != "bridge") {
    return fail(Kind::Invalid, cat("network ", network.name, " has no links to hold a policy"));
  }
  return Owner{{PolicyOwner::What::Network, network.id}, network.name};
}

ring::Task<Owner> container_of(Call& call) {
  const engine::Container* const found = co_await call.engine.containers->find(call.variables[0]);
  const std::string& mode = found->host.network_mode;
  if (mode == "host" || mode == "none" || mode.starts_with("container:")) {
    co_await fail(Kind::Invalid, cat("container ", found->name, " has no link of its own (network ",
                                     mode, ") to hold a policy"));
  }
  co_return Owner{{PolicyOwner::What::Container, found->id}, found->name};
}

void write_owner(Writer& json, const Owner& owner) {
  const bool is_network = owner.owner.what == PolicyOwner::What::Network;
  json.member(is_network ? "network" : "container", owner.name).member("id", owner.owner.id);
}

ring::Task<> show(Call& call, const Owner& owner) {
  const Policy policy = co_await call.engine.policies->find(owner.owner);
  Writer json;
  write_json(json, policy);
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> set(Call& call, Owner owner) {
  const std::string body = co_await read_json_body(call);
  Policy policy = co_await engine::parse_policy(body);
  if (call.flag("dry-run")) policy.dry_run = true;
  co_await call.engine.policies->set(owner.owner, std::move(policy));
  co_await call.http.reply(204, "", "");
}

ring::Task<> remove(Call& call, const Owner& owner) {
  co_await call.engine.policies->remove(owner.owner);
  co_await call.http.reply(204, "", "");
}

void write_counts(Writer& json, std::string_view name, const uint64_t (&counts)[2]) {
  json.key(name).begin_object();
  for (unsigned direction = 0; direction < 2; ++direction) {
    json.member(directions[direction], counts[direction]);
  }
  json.end_object();
}

template <class Map>
void write_map(Writer& json, std::string_view name, const Map& map) {
  json.key(name).begin_object();
  for (const auto& [key, value] : map) json.member(key, value);
  json.end_object();
}

ring::Task<> stats(Call& call, const Owner& owner) {
  const PolicyStats stats = co_await call.engine.policies->stats(owner.owner);
  const Policy policy = co_await call.engine.policies->find(owner.owner);
  Writer json;
  json.begin_object();
  write_owner(json, owner);
  json.member("mode", policy.dry_run ? "dry-run" : "enforce");
  json.key("rules").begin_array();
  for (const PolicyStats::Rule& rule : stats.rules) {
    json.begin_object()
        .member("direction", directions[rule.direction])
        .member("rule", rule.text)
        .member("hits", rule.hits)
        .member("would_hits", rule.would_hits)
        .end_object();
  }
  json.end_array();
  write_counts(json, "default", stats.by_default);
  write_counts(json, "would_default", stats.would_by_default);
  write_map(json, "drops", stats.reasons);
  write_map(json, "would_drops", stats.would_reasons);
  write_map(json, "name_errors", stats.name_errors);
  json.end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> network_show(Call& call) { co_await show(call, co_await network_of(call)); }
ring::Task<> network_set(Call& call) { co_await set(call, co_await network_of(call)); }
ring::Task<> network_remove(Call& call) { co_await remove(call, co_await network_of(call)); }
ring::Task<> network_stats(Call& call) { co_await stats(call, co_await network_of(call)); }

ring::Task<> container_show(Call& call) {
  const Owner owner = co_await container_of(call);
  co_await show(call, owner);
}
ring::Task<> container_set(Call& call) {
  Owner owner = co_await container_of(call);
  co_await set(call, std::move(owner));
}
ring::Task<> container_remove(Call& call) {
  const Owner owner = co_await container_of(call);
  co_await remove(call, owner);
}
ring::Task<> container_stats(Call& call) {
  const Owner owner = co_await container_of(call);
  co_await stats(call, owner);
}

std::string name_of(engine::Engine& engine, const PolicyOwner& owner) {
  if (owner.what == PolicyOwner::What::Network) {
    const auto network = engine.networks->find(owner.id);
    return network ? network->name : owner.id;
  }
  for (const engine::Container* each : engine.containers->all()) {
    if (each->id == owner.id) return each->name;
  }
  return owner.id;
}

ring::Task<> list(Call& call) {
  co_await call.engine.containers->all_loaded();
  Writer json;
  json.begin_array();
  for (const auto& [owner, policy] : call.engine.policies->all()) {
    json.begin_object();
    write_owner(json, {owner, name_of(call.engine, owner)});
    json.member("mode", policy.dry_run ? "dry-run" : "enforce")
        .member("rules", policy.rules[0].size() + policy.rules[1].size());
    json.key("default").begin_object();
    for (unsigned direction = 0; direction < 2; ++direction) {
      json.member(directions[direction], policy.deny_by_default[direction] ? "deny" : "allow");
    }
    json.end_object().end_object();
  }
  json.end_array();
  co_await reply_json(call, 200, std::move(json).take());
}

// Verdicts, a line each ---------------------------------------------------------------------------

uint16_t port_of(uint16_t port) { return __builtin_bswap16(port); }

std::string verdict_line(Call& call, const engine::Policies::Verdict& verdict) {
  const nacelle_policy_event& event = verdict.event;
  Writer json;
  json.begin_object()
      .member("time_ns", event.ns)
      .member("verdict", event.is_deny ? (event.is_trial ? "would-drop" : "drop") : "pass")
      .member("reason", bpf::policy_reason_word(event.reason))
      .member("direction", directions[event.direction & 1]);
  const std::string rule = call.engine.policies->rule_text(verdict);
  if (!rule.empty()) json.member("rule", rule);
  json.member("network", name_of(call.engine, {PolicyOwner::What::Network, verdict.network}))
      .member("container", name_of(call.engine, {PolicyOwner::What::Container, verdict.container}))
      .member("protocol", event.protocol)
      .member("local", bpf::address_text(event.local))
      .member("local_port", port_of(event.local_port))
      .member("remote", bpf::address_text(event.remote))
      .member("remote_port", port_of(event.remote_port))
      .member("length", event.length)
      .end_object();
  return std::move(json).take() + "\n";
}

ring::Task<> tell(Call* call, engine::Policies::Listener* listener, const std::string* network,
                  const std::string* container) {
  for (;;) {
    std::string lines;
    for (const engine::Policies::Verdict& each : co_await listener->next()) {
      // Of a trial what it would let pass is what passes in any case.
      if (each.event.is_trial && !each.event.is_deny) continue;
      if (!network->empty() && *network != each.network) continue;
      if (!container->empty() && *container != each.container) continue;
      lines += verdict_line(*call, each);
    }
    if (!lines.empty()) co_await call->http.write(lines);
  }
}

ring::Task<> trace(Call& call) {
  std::string network(call.http.query("network")), container(call.http.query("container"));
  if (!network.empty()) network = (co_await call.engine.networks->find(network)).id;
  if (!container.empty()) container = (co_await call.engine.containers->find(container))->id;
  const auto listener = co_await call.engine.policies->listen(call.flag("drops"));
  co_await call.http.begin(200, "application/json");
  co_await while_client_stays(call, tell(&call, listener.get(), &network, &container));
  co_await call.http.end();
}

}  // namespace

std::vector<Route> policy_routes() {
  return {
      {"GET", "/nacelle/v1/policies", list},
      {"GET", "/nacelle/v1/networks/{id}/policy", network_show},
      {"PUT", "/nacelle/v1/networks/{id}/policy", network_set},
      {"DELETE", "/nacelle/v1/networks/{id}/policy", network_remove},
      {"GET", "/nacelle/v1/networks/{id}/policy/stats", network_stats},
      {"GET", "/nacelle/v1/containers/{id}/policy", container_show},
      {"PUT", "/nacelle/v1/containers/{id}/policy", container_set},
      {"DELETE", "/nacelle/v1/containers/{id}/policy", container_remove},
      {"GET", "/nacelle/v1/containers/{id}/policy/stats", container_stats},
      {"GET", "/nacelle/v1/network/trace", trace},
  };
}

}  // namespace nacelle::api
