// volume, network.
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/run_values.h"
#include "cli/nacelle/units.h"
#include "engine/addresses.h"

namespace nacelle::cli {

namespace {

Datum labels_of(const std::vector<std::string>& pairs) {
  engine::Labels labels;
  for (const std::string& each : pairs) add_pair(labels, each);
  Datum json = Datum::object();
  for (const auto& [key, value] : labels) json.set(key, value);
  return json;
}

std::string labels_text(const Datum& labels) {
  Datum sorted = labels;
  sorted.sort_members();
  std::string text;
  for (const auto& [key, value] : sorted.members()) {
    text += cat(text.empty() ? "" : ",", key, '=', value.text());
  }
  return text;
}

Result<int> remove_each(Session& session, const Arguments& arguments, std::string_view before,
                        std::string_view usage, std::string_view summary) {
  bool force = false;
  Options options(usage, summary);
  options.flag("force", 'f', force, "Those that are not there are no failure")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return for_each(session, parsed.operands, [&](Api& api, const std::string& name) -> Result<> {
    Target target(before, name);
    target.flag("force", force && before == "/volumes/");
    const Result<> removed = api.send({.method = "DELETE", .target = target});
    if (!removed && !(force && removed.error().kind() == Kind::NotFound)) return removed;
    std::printf("%s\n", name.c_str());
    return {};
  });
}

}  // namespace

// Volumes ----------------------------------------------------------------------------------------

Result<int> run_volume_create(Session& session, const Arguments& arguments) {
  std::string driver = "local", name;
  std::vector<std::string> labels, driver_options;
  Options options("volume create [OPTIONS] [VOLUME]", "Makes a volume.");
  options.value("driver", 'd', driver, "DRIVER", "Volume driver (default local)")
      .list("label", 0, labels, "KEY[=VALUE]", "Set metadata")
      .value("name", 0, name, "NAME", "Name of the volume")
      .list("opt", 'o', driver_options, "KEY=VALUE", "Option of the driver")
      .operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!parsed.operands.empty()) {
    if (!name.empty()) {
      return fail(Kind::Invalid,
                  "conflicting options: cannot specify a volume-name through both "
                  "--name and as a positional arg");
    }
    name = parsed.operands[0];
  }
  Datum body = Datum::object();
  body.set("Driver", driver)
      .set("DriverOpts", labels_of(driver_options))
      .set("Labels", labels_of(labels))
      .set("Name", name);
  Api* api = TRY(session.api());
  const Datum made = TRY(api->post(Target("/volumes/create"), body.json()));
  std::printf("%s\n", made["Name"].text().c_str());
  return 0;
}

Result<int> run_volume_list(Session& session, const Arguments& arguments) {
  bool quiet = false, cluster = false;
  std::string format;
  std::vector<std::string> filters;
  Options options("volume ls [OPTIONS]", "Lists volumes.");
  options.list("filter", 'f', filters, "KEY=VALUE", "Which: dangling, driver, label, name")
      .value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .flag("quiet", 'q', quiet, "Show names only")
      .flag("cluster", 0, cluster, "Accepted for Docker's sake")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum answer =
      TRY(api->get(Target("/volumes").maybe("filters", TRY(filters_json(filters)))));
  std::vector<Datum> rows;
  for (const Datum& volume : answer["Volumes"].items()) {
    Datum row = Datum::object();
    const Datum& use = volume["UsageData"];
    row.set("Name", volume["Name"].text())
        .set("Driver", volume["Driver"].text())
        .set("Scope", volume["Scope"].text())
        .set("Mountpoint", volume["Mountpoint"].text())
        .set("Labels", labels_text(volume["Labels"]))
        .set("Links", use.is_null() ? std::string("N/A") : cat(use["RefCount"].integer()))
        .set("Size", use.is_null() ? std::string("N/A") : decimal_size(use["Size"].number()))
        .set("Availability", "N/A")
        .set("Group", "N/A")
        .set("Status", "N/A")
        .set("\x01labels", volume["Labels"].is_null() ? Datum::object() : volume["Labels"]);
    rows.push_back(std::move(row));
  }
  if (quiet) format = "{{.Name}}";
  TRY(print_list(format, "{{.Driver}}\\t{{.Name}}",
                 {{"Name", "VOLUME NAME"},
                  {"Driver", "DRIVER"},
                  {"Scope", "SCOPE"},
                  {"Mountpoint", "MOUNTPOINT"},
                  {"Labels", "LABELS"},
                  {"Links", "LINKS"},
                  {"Size", "SIZE"},
                  {"Availability", "AVAILABILITY"},
                  {"Group", "GROUP"},
                  {"Status", "STATUS"}},
                 rows));
  return 0;
}

Result<int> run_volume_remove(Session& session, const Arguments& arguments) {
  return remove_each(session, arguments, "/volumes/", "volume rm [OPTIONS] VOLUME [VOLUME...]",
                     "Removes volumes.");
}

Result<int> run_volume_prune(Session& session, const Arguments& arguments) {
  bool all = false, force = false;
  std::vector<std::string> filters;
  Options options("volume prune [OPTIONS]", "Removes volumes that no container uses.");
  options.flag("all", 'a', all, "Those with a name too")
      .list("filter", 0, filters, "KEY=VALUE", "label=KEY[=VALUE]")
      .flag("force", 'f', force, "Do not ask")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!force && !confirmed(all ? "WARNING! This will remove all local volumes not used by at least "
                                 "one container."
                               : "WARNING! This will remove anonymous local volumes not used by at "
                                 "least one container.")) {
    return 0;
  }
  if (all) filters.emplace_back("all=true");
  Api* api = TRY(session.api());
  const Datum answer =
      TRY(api->post(Target("/volumes/prune").maybe("filters", TRY(filters_json(filters)))));
  const std::vector<Datum>& removed = answer["VolumesDeleted"].items();
  if (!removed.empty()) std::printf("Deleted Volumes:\n");
  for (const Datum& name : removed) std::printf("%s\n", name.text().c_str());
  if (!removed.empty()) std::printf("\n");
  std::printf("Total reclaimed space: %s\n",
              decimal_size(answer["SpaceReclaimed"].number()).c_str());
  return 0;
}

// Networks ---------------------------------------------------------------------------------------

namespace {

struct Addressing {
  std::vector<std::string> subnets, ranges, gateways, auxiliary, options;
  std::string driver = "default";

  // Ranges, gateways and auxiliary addresses belong to the subnets that they are in.
  Result<Datum> json() const {
    if (subnets.size() < ranges.size() || subnets.size() < gateways.size()) {
      return fail(Kind::Invalid, "every ip-range or gateway must have a corresponding subnet");
    }
    std::vector<Pool> pools;
    for (const std::string& each : subnets) pools.push_back({each, "", "", {}});
    for (const std::string& each : ranges) {
      Pool& pool = *TRY(find(pools, each, "range"));
      if (!pool.range.empty()) {
        return fail(Kind::Invalid, cat("cannot configure multiple ranges (", each, ", ", pool.range,
                                       ") on the same subnet (", pool.subnet, ')'));
      }
      pool.range = each;
    }
    for (const std::string& each : gateways) {
      Pool& pool = *TRY(find(pools, each, "gateway"));
      if (!pool.gateway.empty()) {
        return fail(Kind::Invalid, cat("cannot configure multiple gateways (", each, ", ",
                                       pool.gateway, ") for the same subnet (", pool.subnet, ')'));
      }
      pool.gateway = each;
    }
    for (const std::string& each : auxiliary) {
      std::string_view address = each;
      take_until(address, '=');
      TRY(find(pools, std::string(address), "aux-address"))->auxiliary.push_back(each);
    }
    Datum config = Datum::array();
    for (const Pool& pool : pools) config.push(pool.json());
    Datum ipam = Datum::object();
    ipam.set("Driver", driver).set("Options", labels_of(options)).set("Config", std::move(config));
    return ipam;
  }

 private:
  struct Pool {
    std::string subnet, range, gateway;
    std::vector<std::string> auxiliary;
    Datum json() const {
      Datum pool = Datum::object();
      pool.set("Subnet", subnet);
      if (!range.empty()) pool.set("IPRange", range);
      if (!gateway.empty()) pool.set("Gateway", gateway);
      if (!auxiliary.empty()) pool.set("AuxiliaryAddresses", labels_of(auxiliary));
      return pool;
    }
  };
  // `text`: an address, or a prefix.
  static Result<Pool*> find(std::vector<Pool>& pools, const std::string& text,
                            std::string_view what) {
    const auto prefix = engine::parse_prefix(text);
    const auto address = prefix ? std::optional(prefix->first()) : engine::parse_address(text);
    for (Pool& each : pools) {
      const auto subnet = engine::parse_prefix(each.subnet);
      if (subnet && address && subnet->contains(*address)) return &each;
    }
    return fail(Kind::Invalid, cat("no matching subnet for ", what, ' ', text));
  }
};

}  // namespace

Result<int> run_network_create(Session& session, const Arguments& arguments) {
  std::string driver = "bridge", scope, config_from;
  std::optional<bool> ipv4, ipv6;
  bool attachable = false, internal = false, ingress = false, config_only = false;
  std::vector<std::string> labels, driver_options;
  Addressing addressing;
  Options options("network create [OPTIONS] NETWORK", "Makes a network.");
  options.flag("attachable", 0, attachable, "Accepted for Docker's sake")
      .list("aux-address", 0, addressing.auxiliary, "NAME=ADDRESS", "Addresses that are taken")
      .value("config-from", 0, config_from, "NETWORK", "Copy another's configuration")
      .flag("config-only", 0, config_only, "Make a configuration only")
      .value("driver", 'd', driver, "DRIVER", "Network driver (default bridge)")
      .list("gateway", 0, addressing.gateways, "ADDRESS", "Gateway of the subnet")
      .flag("ingress", 0, ingress, "Accepted for Docker's sake")
      .flag("internal", 0, internal, "Without a way outside")
      .list("ip-range", 0, addressing.ranges, "CIDR", "Where containers get addresses from")
      .value("ipam-driver", 0, addressing.driver, "DRIVER", "Address driver")
      .list("ipam-opt", 0, addressing.options, "KEY=VALUE", "Option of the address driver")
      .flag("ipv4", 0, ipv4, "IPv4 addresses (default true)")
      .flag("ipv6", 0, ipv6, "IPv6 addresses")
      .list("label", 0, labels, "KEY[=VALUE]", "Set metadata")
      .list("opt", 'o', driver_options, "KEY=VALUE", "Option of the driver")
      .value("scope", 0, scope, "SCOPE", "Accepted for Docker's sake")
      .list("subnet", 0, addressing.subnets, "CIDR", "Subnet")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Datum body = Datum::object();
  body.set("Name", parsed.operands[0])
      .set("Driver", driver)
      .set("Scope", scope)
      .set("IPAM", TRY(addressing.json()))
      .set("Internal", Datum(internal))
      .set("Attachable", Datum(attachable))
      .set("Ingress", Datum(ingress))
      .set("ConfigOnly", Datum(config_only))
      .set("Options", labels_of(driver_options))
      .set("Labels", labels_of(labels));
  if (ipv4) body.set("EnableIPv4", Datum(*ipv4));
  if (ipv6) body.set("EnableIPv6", Datum(*ipv6));
  if (!config_from.empty()) body.set("ConfigFrom", Datum::object().set("Network", config_from));
  Api* api = TRY(session.api());
  const Datum made = TRY(api->post(Target("/networks/create"), body.json()));
  if (const std::string& warning = made["Warning"].text(); !warning.empty()) {
    std::fprintf(stderr, "WARNING: %s\n", warning.c_str());
  }
  std::printf("%s\n", made["Id"].text().c_str());
  return 0;
}

Result<int> run_network_list(Session& session, const Arguments& arguments) {
  bool quiet = false, no_trunc = false;
  std::string format;
  std::vector<std::string> filters;
  Options options("network ls [OPTIONS]", "Lists networks.");
  options.list("filter", 'f', filters, "KEY=VALUE", "Which: driver, id, label, name, scope, type")
      .value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .flag("no-trunc", 0, no_trunc, "Show ids in full")
      .flag("quiet", 'q', quiet, "Show ids only")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum networks =
      TRY(api->get(Target("/networks").maybe("filters", TRY(filters_json(filters)))));
  std::vector<Datum> rows;
  for (const Datum& network : networks.items()) {
    const std::string& id = network["Id"].text();
    Datum row = Datum::object();
    row.set("ID", no_trunc ? id : id.substr(0, 12))
        .set("Name", network["Name"].text())
        .set("Driver", network["Driver"].text())
        .set("Scope", network["Scope"].text())
        .set("IPv4",
             network["EnableIPv4"].is_null() || network["EnableIPv4"].boolean() ? "true" : "false")
        .set("IPv6", network["EnableIPv6"].boolean() ? "true" : "false")
        .set("Internal", network["Internal"].boolean() ? "true" : "false")
        .set("Labels", labels_text(network["Labels"]))
        .set("CreatedAt", network["Created"].text())
        .set("\x01labels", network["Labels"].is_null() ? Datum::object() : network["Labels"]);
    rows.push_back(std::move(row));
  }
  std::ranges::sort(rows, [](const Datum& one, const Datum& other) {
    return one["Name"].text() < other["Name"].text();
  });
  if (quiet) format = "{{.ID}}";
  TRY(print_list(format, "{{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}",
                 {{"ID", "NETWORK ID"},
                  {"Name", "NAME"},
                  {"Driver", "DRIVER"},
                  {"Scope", "SCOPE"},
                  {"IPv4", "IPV4"},
                  {"IPv6", "IPV6"},
                  {"Internal", "INTERNAL"},
                  {"Labels", "LABELS"},
                  {"CreatedAt", "CREATED AT"}},
                 rows));
  return 0;
}

Result<int> run_network_remove(Session& session, const Arguments& arguments) {
  return remove_each(session, arguments, "/networks/", "network rm [OPTIONS] NETWORK [NETWORK...]",
                     "Removes networks.");
}

Result<int> run_network_connect(Session& session, const Arguments& arguments) {
  std::vector<std::string> aliases, links, link_local, driver_options;
  std::string ip, ip6;
  std::optional<int64_t> priority;
  Options options("network connect [OPTIONS] NETWORK CONTAINER",
                  "Connects a container to a network.");
  options.list("alias", 0, aliases, "NAME", "Another name on that network")
      .list("driver-opt", 0, driver_options, "KEY=VALUE", "Option of the driver")
      .value("gw-priority", 0, priority, "NUMBER", "The highest has the default route")
      .value("ip", 0, ip, "ADDRESS", "IPv4 address")
      .value("ip6", 0, ip6, "ADDRESS", "IPv6 address")
      .list("link", 0, links, "CONTAINER[:ALIAS]", "Add a link to another container")
      .list("link-local-ip", 0, link_local, "ADDRESS", "Link-local address")
      .operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const auto list = [](const std::vector<std::string>& words) {
    Datum all = Datum::array();
    for (const std::string& each : words) all.push(Datum(each));
    return all;
  };
  Datum addresses = Datum::object();
  if (!ip.empty()) addresses.set("IPv4Address", ip);
  if (!ip6.empty()) addresses.set("IPv6Address", ip6);
  if (!link_local.empty()) addresses.set("LinkLocalIPs", list(link_local));
  Datum endpoint = Datum::object();
  endpoint.set("IPAMConfig", std::move(addresses));
  if (!links.empty()) endpoint.set("Links", list(links));
  if (!aliases.empty()) endpoint.set("Aliases", list(aliases));
  if (!driver_options.empty()) endpoint.set("DriverOpts", labels_of(driver_options));
  if (priority) endpoint.set("GwPriority", Datum(*priority));
  Datum body = Datum::object();
  body.set("Container", parsed.operands[1]).set("EndpointConfig", std::move(endpoint));
  Api* api = TRY(session.api());
  TRY(api->post(Target("/networks/", parsed.operands[0], "/connect"), body.json()));
  return 0;
}

Result<int> run_network_disconnect(Session& session, const Arguments& arguments) {
  bool force = false;
  Options options("network disconnect [OPTIONS] NETWORK CONTAINER",
                  "Disconnects a container from a network.");
  options.flag("force", 'f', force, "Even where the container is gone").operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Datum body = Datum::object();
  body.set("Container", parsed.operands[1]).set("Force", Datum(force));
  Api* api = TRY(session.api());
  TRY(api->post(Target("/networks/", parsed.operands[0], "/disconnect"), body.json()));
  return 0;
}

Result<int> run_network_prune(Session& session, const Arguments& arguments) {
  bool force = false;
  std::vector<std::string> filters;
  Options options("network prune [OPTIONS]", "Removes networks that no container uses.");
  options.list("filter", 0, filters, "KEY=VALUE", "until=TIME, label=KEY[=VALUE]")
      .flag("force", 'f', force, "Do not ask")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!force && !confirmed("WARNING! This will remove all custom networks not used by at least one "
                           "container.")) {
    return 0;
  }
  Api* api = TRY(session.api());
  const Datum answer =
      TRY(api->post(Target("/networks/prune").maybe("filters", TRY(filters_json(filters)))));
  const std::vector<Datum>& removed = answer["NetworksDeleted"].items();
  if (!removed.empty()) std::printf("Deleted Networks:\n");
  for (const Datum& name : removed) std::printf("%s\n", name.text().c_str());
  if (!removed.empty()) std::printf("\n");
  return 0;
}

}  // namespace nacelle::cli
