#include "engine/policy.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::engine {
namespace {

using codec::json::Array;
using codec::json::Object;
using codec::json::Type;
using codec::json::Value;

constexpr size_t policy_bytes_max = 4u << 20;
constexpr size_t peers_max = 4096, ports_max = 4096, name_bytes_max = 253;
// What may come at once where nothing is said: a tenth of a second's, and no less than one packet
// as large as the kernel makes them.
constexpr uint64_t burst_share = 10, bytes_burst_min = 64u << 10;
constexpr uint64_t rate_max = uint64_t{1} << 40;

constexpr std::array direction_names{"ingress", "egress"};
constexpr std::array peers_names{"from", "to"};
constexpr std::pair<std::string_view, uint8_t> protocols[] = {
    {"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"icmpv6", 58}, {"sctp", 132}};
constexpr std::pair<std::string_view, PolicyPeer::What> peer_kinds[] = {
    {"container", PolicyPeer::What::Container},
    {"label", PolicyPeer::What::Label},
    {"cidr", PolicyPeer::What::Cidr},
    {"name", PolicyPeer::What::Name}};

std::string_view name_of(PolicyPeer::What what) {
  return std::ranges::find(peer_kinds, what, [](const auto& each) { return each.second; })->first;
}

// A member that nobody reads is a mistake that nobody sees.
Result<> check_members(const Object& object, std::initializer_list<std::string_view> known) {
  for (const auto [key, value] : object) {
    const std::string name = TRY(key.string());
    if (!contains(known, name)) return value.invalid("is no member of a policy at this place");
  }
  return {};
}

// One of two words; `word` is set to whether it is `yes`.
Result<> read_choice(const Value& value, std::string_view no, std::string_view yes, bool& word) {
  const std::string text = TRY(value.string());
  if (text != no && text != yes) {
    return value.invalid(cat(codec::json::in_quotes(text), " is neither ", no, " nor ", yes));
  }
  word = text == yes;
  return {};
}

Result<uint16_t> read_port(const Value& value, std::string_view text) {
  const auto port = parse_number<uint16_t>(text);
  if (!port || *port == 0) return value.invalid(cat(codec::json::in_quotes(text), " is no port"));
  return *port;
}

// 80, "80" or "8000-8100".
Result<PortRange> read_ports(const Value& value) {
  const bool is_number = value.type() == Type::Number;
  const std::string text = is_number ? std::string(value.raw()) : TRY(value.string());
  std::string_view rest = text;
  const std::string_view first = take_until(rest, '-');
  PortRange range;
  range.first = range.last = TRY(read_port(value, first));
  if (first.size() == text.size()) return range;
  range.last = TRY(read_port(value, rest));
  if (range.last < range.first) return value.invalid(cat(text, " ends before it begins"));
  return range;
}

bool is_dns_name(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.ends_with('.') || name.size() > name_bytes_max) return false;
  while (!name.empty()) {
    const std::string_view label = take_until(name, '.');
    const auto is_odd = [](unsigned char c) {
      return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_');
    };
    if (label.empty() || label.size() > 63 || std::ranges::any_of(label, is_odd)) return false;
  }
  return true;
}

Result<> check_peer(const Value& value, PolicyPeer& peer) {
  switch (peer.what) {
    case PolicyPeer::What::Cidr: {
      const auto address = parse_address(peer.text);
      const auto prefix = address ? Prefix{.base = *address, .length = address->v6 ? 128u : 32u}
                                  : parse_prefix(peer.text).value_or(Prefix{.length = 255});
      if (prefix.length == 255) {
        return value.invalid(cat(codec::json::in_quotes(peer.text), " is no address or prefix"));
      }
      if (prefix.base != prefix.first()) {
        return value.invalid(cat(peer.text, " has bits behind its length: it should be ",
                                 prefix.first().text(), '/', prefix.length));
      }
      peer.prefix = prefix;
      return {};
    }
    case PolicyPeer::What::Name:
      if (is_dns_name(peer.text)) return {};
      return value.invalid(cat(codec::json::in_quotes(peer.text), " is no name of DNS"));
    case PolicyPeer::What::Container:
    case PolicyPeer::What::Label: break;
  }
  if (peer.text.empty() || peer.text.starts_with('=')) return value.invalid("is empty");
  return {};
}

Result<PolicyPeer> read_peer(const Value& value) {
  const Object object = TRY(value.object());
  TRY(check_members(object, {"container", "label", "cidr", "name"}));
  PolicyPeer peer;
  size_t found = 0;
  for (const auto& [name, what] : peer_kinds) {
    const auto member = object.find(name);
    if (!member) continue;
    ++found;
    peer.what = what;
    peer.text = TRY(member->string());
    TRY(check_peer(*member, peer));
  }
  if (found == 1) return peer;
  return value.invalid("must be one of container, label, cidr and name");
}

Result<uint8_t> read_protocol(const Value& value) {
  if (value.type() == Type::Number) {
    const auto number = TRY(value.integer<uint8_t>());
    if (number != bpf::policy_any_protocol) return number;
    return value.invalid("0 is no protocol");
  }
  const std::string text = TRY(value.string());
  for (const auto& [name, number] : protocols) {
    if (name == text) return number;
  }
  return value.invalid(cat(codec::json::in_quotes(text),
                           " is no protocol: tcp, udp, sctp, icmp, icmpv6, or a number"));
}

bool has_ports(uint8_t protocol) { return protocol == 6 || protocol == 17 || protocol == 132; }

Result<PolicyRule> read_rule(const Value& value, unsigned direction) {
  const Object object = TRY(value.object());
  const char* const peers = peers_names[direction];
  TRY(check_members(object, {"action", peers, "protocol", "ports"}));
  PolicyRule rule;
  TRY(read_choice(TRY(object.need("action")), "allow", "deny", rule.deny));
  if (const auto list = object.find(peers)) {
    for (const Value each : TRY(list->array())) rule.peers.push_back(TRY(read_peer(each)));
    // Nobody in a list is not everybody.
    if (rule.peers.empty()) return list->invalid("names nobody; without it, everyone is meant");
    if (rule.peers.size() > peers_max) return list->invalid(cat("more than ", peers_max));
  }
  if (const auto protocol = object.find("protocol")) rule.protocol = TRY(read_protocol(*protocol));
  if (const auto list = object.find("ports")) {
    for (const Value each : TRY(list->array())) rule.ports.push_back(TRY(read_ports(each)));
    if (rule.ports.empty()) return list->invalid("names none; without it, every port is meant");
    if (rule.ports.size() > ports_max) return list->invalid(cat("more than ", ports_max));
    if (rule.protocol && !has_ports(*rule.protocol)) {
      return list->invalid("this protocol has no ports");
    }
  }
  return rule;
}

Result<> read_rate(const Object& object, const char* name, uint64_t& rate) {
  const auto value = object.find(name);
  if (!value) return {};
  rate = TRY(value->integer<uint64_t>());
  if (rate >= 1 && rate <= rate_max) return {};
  return value->invalid(cat("must be from 1 to ", rate_max));
}

Result<bpf::PolicyLimit> read_limit(const Value& value) {
  const Object object = TRY(value.object());
  TRY(check_members(object,
                    {"packets_per_second", "packets_burst", "bytes_per_second", "bytes_burst"}));
  bpf::PolicyLimit limit;
  TRY(read_rate(object, "packets_per_second", limit.packets));
  TRY(read_rate(object, "packets_burst", limit.packets_burst));
  TRY(read_rate(object, "bytes_per_second", limit.bytes));
  TRY(read_rate(object, "bytes_burst", limit.bytes_burst));
  if (limit.packets_burst != 0 && limit.packets == 0) {
    return object.invalid("packets_burst", "needs packets_per_second");
  }
  if (limit.bytes_burst != 0 && limit.bytes == 0) {
    return object.invalid("bytes_burst", "needs bytes_per_second");
  }
  if (limit.packets != 0 && limit.packets_burst == 0) {
    limit.packets_burst = std::max<uint64_t>(limit.packets / burst_share, 1);
  }
  if (limit.bytes != 0) {
    limit.bytes_burst = std::max(
        limit.bytes_burst != 0 ? limit.bytes_burst : limit.bytes / burst_share, bytes_burst_min);
  }
  return limit;
}

Result<> read_defaults(const Object& object, Policy& policy) {
  const auto value = object.find("default");
  if (!value) return {};
  if (value->type() == Type::String) {
    TRY(read_choice(*value, "allow", "deny", policy.deny_by_default[0]));
    policy.deny_by_default[1] = policy.deny_by_default[0];
    return {};
  }
  const Object both = TRY(value->object());
  TRY(check_members(both, {"ingress", "egress"}));
  for (unsigned direction = 0; direction < 2; ++direction) {
    if (const auto each = both.find(direction_names[direction])) {
      TRY(read_choice(*each, "allow", "deny", policy.deny_by_default[direction]));
    }
  }
  return {};
}

}  // namespace

Result<Policy> parse_policy(std::string_view text) {
  const auto document = TRY(codec::json::Document::parse(text, {.bytes_max = policy_bytes_max}));
  const Object object = TRY(document.root().object());
  TRY(check_members(object, {"mode", "default", "ingress", "egress", "limits"}));
  Policy policy;
  if (const auto mode = object.find("mode")) {
    TRY(read_choice(*mode, "enforce", "dry-run", policy.dry_run));
  }
  TRY(read_defaults(object, policy));
  for (unsigned direction = 0; direction < 2; ++direction) {
    const auto list = object.find(direction_names[direction]);
    if (!list) continue;
    for (const Value each : TRY(list->array())) {
      policy.rules[direction].push_back(TRY(read_rule(each, direction)));
    }
    if (policy.rules[0].size() + policy.rules[1].size() > bpf::policy_rules_max / 2) {
      return list->invalid(cat("more than ", bpf::policy_rules_max / 2, " rules"));
    }
  }
  if (const auto limits = object.find("limits")) {
    const Object both = TRY(limits->object());
    TRY(check_members(both, {"ingress", "egress"}));
    for (unsigned direction = 0; direction < 2; ++direction) {
      const auto each = both.find(direction_names[direction]);
      if (each) policy.limits[direction] = TRY(read_limit(*each));
    }
  }
  return policy;
}

// Out ---------------------------------------------------------------------------------------------

namespace {

std::string protocol_text(uint8_t number) {
  for (const auto& [name, each] : protocols) {
    if (each == number) return std::string(name);
  }
  return cat(number);
}

std::string range_text(const PortRange& range) {
  return range.first == range.last ? cat(range.first) : cat(range.first, '-', range.last);
}

void write_rule(codec::json::Writer& json, const PolicyRule& rule, unsigned direction) {
  json.begin_object().member("action", rule.deny ? "deny" : "allow");
  if (!rule.peers.empty()) {
    json.key(peers_names[direction]).begin_array();
    for (const PolicyPeer& peer : rule.peers) {
      json.begin_object().member(name_of(peer.what), peer.text).end_object();
    }
    json.end_array();
  }
  if (rule.protocol) {
    const std::string text = protocol_text(*rule.protocol);
    json.key("protocol");
    if (parse_number<unsigned>(text)) {
      json.value(*rule.protocol);
    } else {
      json.value(text);
    }
  }
  if (!rule.ports.empty()) {
    json.key("ports").begin_array();
    for (const PortRange& range : rule.ports) {
      if (range.first == range.last) {
        json.value(range.first);
      } else {
        json.value(range_text(range));
      }
    }
    json.end_array();
  }
  json.end_object();
}

void write_limit(codec::json::Writer& json, const bpf::PolicyLimit& limit) {
  json.begin_object();
  if (limit.packets != 0) {
    json.member("packets_per_second", limit.packets).member("packets_burst", limit.packets_burst);
  }
  if (limit.bytes != 0) {
    json.member("bytes_per_second", limit.bytes).member("bytes_burst", limit.bytes_burst);
  }
  json.end_object();
}

}  // namespace

void write_json(codec::json::Writer& json, const Policy& policy) {
  json.begin_object().member("mode", policy.dry_run ? "dry-run" : "enforce");
  json.key("default").begin_object();
  for (unsigned direction = 0; direction < 2; ++direction) {
    json.member(direction_names[direction], policy.deny_by_default[direction] ? "deny" : "allow");
  }
  json.end_object();
  for (unsigned direction = 0; direction < 2; ++direction) {
    json.key(direction_names[direction]).begin_array();
    for (const PolicyRule& rule : policy.rules[direction]) write_rule(json, rule, direction);
    json.end_array();
  }
  if (policy.limits[0] != bpf::PolicyLimit() || policy.limits[1] != bpf::PolicyLimit()) {
    json.key("limits").begin_object();
    for (unsigned direction = 0; direction < 2; ++direction) {
      if (policy.limits[direction] == bpf::PolicyLimit()) continue;
      json.key(direction_names[direction]);
      write_limit(json, policy.limits[direction]);
    }
    json.end_object();
  }
  json.end_object();
}

std::string to_text(const PolicyRule& rule, unsigned direction) {
  std::string text = rule.deny ? "deny" : "allow";
  for (size_t at = 0; at < rule.peers.size(); ++at) {
    const PolicyPeer& peer = rule.peers[at];
    text += at == 0 ? cat(' ', peers_names[direction], ' ') : std::string(",");
    text += cat(name_of(peer.what), ' ', peer.text);
  }
  if (rule.protocol) text += cat(' ', protocol_text(*rule.protocol));
  for (size_t at = 0; at < rule.ports.size(); ++at) {
    text += cat(at == 0 ? " " : ",", range_text(rule.ports[at]));
  }
  return text;
}

bool is_peer(const PolicyPeer& peer, std::string_view id, std::string_view name,
             const Labels& labels) {
  if (peer.what == PolicyPeer::What::Container) {
    return peer.text == name || peer.text == id ||
           (peer.text.size() == 12 && id.starts_with(peer.text));
  }
  if (peer.what != PolicyPeer::What::Label) return false;
  std::string_view value = peer.text;
  const bool has_value = value.contains('=');
  const auto found = labels.find(std::string(take_until(value, '=')));
  return found != labels.end() && (!has_value || found->second == value);
}

}  // namespace nacelle::engine
