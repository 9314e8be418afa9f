// network policy: set, show, rm, ls, stats; network trace.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/options.h"
#include "sys/file.h"

namespace nacelle::cli {
namespace {

constexpr size_t policy_bytes_max = 4u << 20;

constexpr const char* policy_help =
    R"(Says who may talk to whom: a policy from a file, or from options.

The policy of a network holds for each container's link to it, the policy of a container for all of
its links. Where both are, all rules of both hold. A deny wins over any allow; what no rule is about
is decided by the default, which is deny where either policy says so. Answers to what was allowed
pass. A change holds at once, for flows that go on, too. A file is JSON of this form, every member of
which may be left out (but `action`):

        { "mode": "enforce",
          "default": {"ingress": "deny", "egress": "allow"},
          "ingress": [
            { "action": "allow",
              "from": [ {"container": "web"}, {"label": "role=db"},
                        {"cidr": "10.0.0.0/8"}, {"name": "example.org"} ],
              "protocol": "tcp", "ports": [ 80, "8000-8100" ] } ],
          "egress": [ { "action": "deny", "to": [ {"cidr": "192.0.2.0/24"} ] } ],
          "limits": { "egress": {"packets_per_second": 1000, "bytes_per_second": 1000000,
                                 "packets_burst": 100, "bytes_burst": 100000} } }

Mode `dry-run` counts what would be dropped, and drops nothing. A rule without `from` or `to` is about
everyone, without `ports` about every port, without `protocol` about every protocol (with ports, those
that have ports). A protocol is tcp, udp, sctp, icmp, icmpv6 or a number. A `container` is a name or an id, a
`label` KEY or KEY=VALUE, of containers on the same network; a `name` stands for its addresses in DNS,
which are followed. Limits are for each link by itself.)";

// NETWORK, or --container NAME.
struct Owner {
  std::string container;
  std::vector<std::string> operands;  // what is left of them

  Result<> take(std::vector<std::string> words) {
    operands = std::move(words);
    if (!container.empty()) return {};
    if (operands.empty()) return fail(Kind::Invalid, "name a network, or --container NAME");
    network_ = std::move(operands.front());
    operands.erase(operands.begin());
    return {};
  }
  Options& add_to(Options& options) {
    return options.value("container", 0, container, "NAME", "Of a container, not of a network");
  }
  Target target(std::string_view behind) const {
    return container.empty() ? Target("/nacelle/v1/networks/", network_, behind)
                             : Target("/nacelle/v1/containers/", container, behind);
  }

 private:
  std::string network_;
};

Result<std::string> read_policy(const std::string& path) {
  Fd opened;
  if (path != "-") {
    opened = TRY(sys::open_at(sys::working_directory, path.c_str(), O_RDONLY));
  }
  std::string text;
  char piece[16384];
  for (;;) {
    const ssize_t length = ::read(path == "-" ? 0 : opened.get(), piece, sizeof piece);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return fail_errno(errno, cat("reading ", path));
    if (length == 0) return text;
    text.append(piece, static_cast<size_t>(length));
    if (text.size() > policy_bytes_max) return fail(Kind::Invalid, cat(path, ": too large"));
  }
}

// DIRECTION[:PROTOCOL[/PORT,...]][:KIND=PEER,...] as a rule.
Result<> add_rule(Datum& policy, std::string_view action, std::string_view text) {
  const std::string whole(text);
  const std::string_view direction = take_until(text, ':');
  if (direction != "ingress" && direction != "egress") {
    return fail(Kind::Invalid, cat(whole, ": begins with neither ingress nor egress"));
  }
  std::string_view ports = take_until(text, ':');
  const std::string_view protocol = take_until(ports, '/');
  Datum rule = Datum::object();
  rule.set("action", action);
  if (!protocol.empty()) {
    const bool is_number = parse_number<unsigned>(protocol).has_value();
    rule.set("protocol", is_number ? Datum::digits(protocol) : Datum(protocol));
  }
  if (!ports.empty()) {
    Datum list = Datum::array();
    while (!ports.empty()) list.push(Datum(take_until(ports, ',')));
    rule.set("ports", std::move(list));
  }
  if (!text.empty()) {
    Datum peers = Datum::array();
    while (!text.empty()) {
      std::string_view peer = take_until(text, ',');
      const std::string_view kind = take_until(peer, '=');
      peers.push(Datum::object().set(kind, peer));
    }
    rule.set(direction == "ingress" ? "from" : "to", std::move(peers));
  }
  Datum rules = policy[direction].is_null() ? Datum::array() : policy[direction];
  rules.push(std::move(rule));
  policy.set(direction, std::move(rules));
  return {};
}

// DIRECTION:packets=N,bytes=N
Result<> add_limit(Datum& policy, std::string_view text) {
  const std::string whole(text);
  const std::string_view direction = take_until(text, ':');
  Datum limit = Datum::object();
  while (!text.empty()) {
    std::string_view value = take_until(text, ',');
    const std::string_view name = take_until(value, '=');
    if ((name != "packets" && name != "bytes") || !parse_number<uint64_t>(value)) {
      return fail(Kind::Invalid, cat(whole, ": is not DIRECTION:packets=N,bytes=N"));
    }
    limit.set(cat(name, "_per_second"), Datum::digits(value));
  }
  Datum limits = policy["limits"].is_null() ? Datum::object() : policy["limits"];
  limits.set(direction, std::move(limit));
  policy.set("limits", std::move(limits));
  return {};
}

struct QuickPolicy {
  std::string by_default;
  std::vector<std::string> allow, deny, limits;

  bool is_given() const {
    return !by_default.empty() || !allow.empty() || !deny.empty() || !limits.empty();
  }
  Result<std::string> text() const {
    Datum policy = Datum::object();
    if (!by_default.empty()) policy.set("default", by_default);
    for (const std::string& each : allow) TRY(add_rule(policy, "allow", each));
    for (const std::string& each : deny) TRY(add_rule(policy, "deny", each));
    for (const std::string& each : limits) TRY(add_limit(policy, each));
    return policy.json();
  }
};

}  // namespace

Result<int> run_policy_set(Session& session, const Arguments& arguments) {
  Owner owner;
  QuickPolicy quick;
  bool dry_run = false;
  Options options("network policy set [OPTIONS] NETWORK|--container NAME [FILE|-]", policy_help);
  options.value("container", 0, owner.container, "NAME", "For a container, not for a network")
      .list("allow", 0, quick.allow, "RULE",
            "Allow: ingress|egress[:PROTOCOL[/PORTS]][:PEER], PEER being container=, label=, "
            "cidr= or name=")
      .list("deny", 0, quick.deny, "RULE", "Deny; wins over what is allowed")
      .value("default", 0, quick.by_default, "allow|deny", "What no rule is about (default allow)")
      .list("limit", 0, quick.limits, "LIMIT",
            "At most so many a second: ingress|egress:packets=N,bytes=N")
      .flag("dry-run", 0, dry_run, "Count what would be dropped, and drop nothing")
      .operands(0, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  TRY(owner.take(parsed.operands));
  if (owner.operands.size() > 1) return fail(Kind::Invalid, "more than one file");
  if (quick.is_given() == !owner.operands.empty()) {
    return fail(Kind::Invalid, "give a file, or - for standard input, or rules by options");
  }
  const bool is_quick = quick.is_given();
  const std::string text = is_quick ? TRY(quick.text()) : TRY(read_policy(owner.operands.front()));
  Target target = owner.target("/policy");
  target.flag("dry-run", dry_run);
  Api* api = TRY(session.api());
  Result<> done = api->send({.method = "PUT", .target = target, .body = text});
  // What is wrong is wrong with the file.
  if (!done && done.error().kind() == Kind::Invalid && !is_quick) {
    const std::string& path = owner.operands.front();
    TRY(std::move(done).context(path == "-" ? "standard input" : path));
  }
  TRY(std::move(done));
  return 0;
}

namespace {

// A verb that is told whose policy, and nothing else.
template <class Deed>
Result<int> with_owner(Session& session, const Arguments& arguments, const char* usage,
                       const char* help, Deed&& deed) {
  Owner owner;
  Options options(usage, help);
  owner.add_to(options).operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  TRY(owner.take(parsed.operands));
  Api* api = TRY(session.api());
  TRY(deed(*api, owner.target("/policy")));
  return 0;
}

}  // namespace

Result<int> run_policy_show(Session& session, const Arguments& arguments) {
  return with_owner(session, arguments, "network policy show [OPTIONS] NETWORK|--container NAME",
                    "Shows a policy.", [](Api& api, const Target& target) -> Result<> {
                      const Datum policy = TRY(api.get(target));
                      std::printf("%s\n", policy.json("  ").c_str());
                      return {};
                    });
}

Result<int> run_policy_remove(Session& session, const Arguments& arguments) {
  return with_owner(session, arguments, "network policy rm [OPTIONS] NETWORK|--container NAME",
                    "Removes a policy.", [](Api& api, const Target& target) {
                      return api.send({.method = "DELETE", .target = target});
                    });
}

Result<int> run_policy_list(Session& session, const Arguments& arguments) {
  std::string format;
  Options options("network policy ls [OPTIONS]", "Lists policies.");
  options.value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum policies = TRY(api->get(Target("/nacelle/v1/policies")));
  std::vector<Datum> rows;
  for (const Datum& each : policies.items()) {
    const bool is_network = !each["network"].is_null();
    Datum row = Datum::object();
    row.set("Kind", is_network ? "network" : "container")
        .set("Name", each[is_network ? "network" : "container"].text())
        .set("ID", each["id"].text().substr(0, 12))
        .set("Mode", each["mode"].text())
        .set("Ingress", each["default"]["ingress"].text())
        .set("Egress", each["default"]["egress"].text())
        .set("Rules", each["rules"].text());
    rows.push_back(std::move(row));
  }
  TRY(print_list(format,
                 "{{.Kind}}\\t{{.Name}}\\t{{.Mode}}\\t{{.Ingress}}\\t{{.Egress}}\\t{{.Rules}}",
                 {{"Kind", "KIND"},
                  {"Name", "NAME"},
                  {"ID", "ID"},
                  {"Mode", "MODE"},
                  {"Ingress", "INGRESS"},
                  {"Egress", "EGRESS"},
                  {"Rules", "RULES"}},
                 rows));
  return 0;
}

Result<int> run_policy_stats(Session& session, const Arguments& arguments) {
  Owner owner;
  std::string format;
  Options options("network policy stats [OPTIONS] NETWORK|--container NAME",
                  "Shows what the rules of a policy have decided: of a flow its first packet "
                  "counts, of what is dropped each packet.");
  owner.add_to(options)
      .value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  TRY(owner.take(parsed.operands));
  Api* api = TRY(session.api());
  const Datum stats = TRY(api->get(owner.target("/policy/stats")));
  std::vector<Datum> rows;
  const auto add = [&](std::string_view direction, std::string_view rule, const std::string& hits,
                       const std::string& would_hits) {
    const auto count = [](const std::string& text) { return text.empty() ? "0" : text; };
    rows.push_back(Datum::object()
                       .set("Direction", direction)
                       .set("Rule", rule)
                       .set("Hits", count(hits))
                       .set("WouldHits", count(would_hits)));
  };
  for (const Datum& rule : stats["rules"].items()) {
    add(rule["direction"].text(), rule["rule"].text(), rule["hits"].text(),
        rule["would_hits"].text());
  }
  for (const char* direction : {"ingress", "egress"}) {
    add(direction, "(default)", stats["default"][direction].text(),
        stats["would_default"][direction].text());
  }
  for (const auto& [reason, hits] : stats["drops"].members()) {
    add("-", cat("(dropped: ", reason, ")"), hits.text(), stats["would_drops"][reason].text());
  }
  for (const auto& [reason, hits] : stats["would_drops"].members()) {
    if (stats["drops"][reason].is_null()) add("-", cat("(dropped: ", reason, ")"), "", hits.text());
  }
  for (const auto& [name, error] : stats["name_errors"].members()) {
    std::fprintf(stderr, "WARNING: %s\n", error.text().c_str());
  }
  TRY(print_list(
      format, "{{.Direction}}\\t{{.Hits}}\\t{{.WouldHits}}\\t{{.Rule}}",
      {{"Direction", "DIRECTION"}, {"Rule", "RULE"}, {"Hits", "HITS"}, {"WouldHits", "WOULD-HITS"}},
      rows));
  return 0;
}

// Verdicts ---------------------------------------------------------------------------------------

namespace {

std::string protocol_text(const Datum& number) {
  switch (number.integer()) {
    case 1: return "icmp";
    case 6: return "tcp";
    case 17: return "udp";
    case 58: return "icmpv6";
    case 132: return "sctp";
    default: return number.text();
  }
}

std::string verdict_text(const Datum& verdict) {
  const auto end = [&](const char* address, const char* port) {
    const std::string& number = verdict[port].text();
    const std::string& host = verdict[address].text();
    if (number == "0") return host;
    return host.contains(':') ? cat('[', host, "]:", number) : cat(host, ':', number);
  };
  const bool comes_in = verdict["direction"].text() == "ingress";
  const std::string local = end("local", "local_port"), remote = end("remote", "remote_port");
  std::string text = cat(verdict["verdict"].text(), ' ', verdict["direction"].text(), ' ',
                         verdict["container"].text(), '@', verdict["network"].text(), ' ',
                         protocol_text(verdict["protocol"]), ' ', comes_in ? remote : local, " > ",
                         comes_in ? local : remote, ' ', verdict["length"].text(),
                         " bytes: ", verdict["reason"].text());
  if (!verdict["rule"].is_null()) text += cat(": ", verdict["rule"].text());
  return text;
}

}  // namespace

Result<int> run_network_trace(Session& session, const Arguments& arguments) {
  std::string network, container, format;
  bool drops = false;
  Options options("network trace [OPTIONS]",
                  "Shows verdicts of policies as they come: what is dropped, and which new flows "
                  "pass, each with its reason.");
  options.value("network", 0, network, "NETWORK", "On this network only")
      .value("container", 0, container, "NAME", "Of this container only")
      .flag("drops", 0, drops, "Only what is dropped, or would be")
      .value("format", 0, format, "FORMAT", "json, or a template")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  Target target("/nacelle/v1/network/trace");
  target.maybe("network", network).maybe("container", container).flag("drops", drops);
  TRY(api->each_line({.target = target}, [&](const Datum& verdict) -> Result<bool> {
    const std::string line =
        format.empty() ? verdict_text(verdict) + "\n" : TRY(format_one(format, verdict));
    std::fputs(line.c_str(), stdout);
    std::fflush(stdout);
    return true;
  }));
  return 0;
}

}  // namespace nacelle::cli
