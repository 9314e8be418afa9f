#include "api/network_json.h"

#include <optional>
#include <utility>

#include "api/docker_fields.h"
#include "api/route.h"
#include "base/text.h"
#include "codec/json_fields.h"

namespace nacelle::api {

using codec::json::Writer;
using engine::IpamPool;
using engine::Network;

namespace {

void write_labels(Writer& json, const engine::Labels& labels) {
  json.begin_object();
  for (const auto& [key, value] : labels) json.member(key, value);
  json.end_object();
}

void write_ipam(Writer& json, const Network& network) {
  json.begin_object().member("Driver", network.ipam_driver).key("Options");
  if (network.predefined() || network.ipam_options.empty()) {
    network.predefined() ? json.null() : json.begin_object().end_object();
  } else {
    write_labels(json, network.ipam_options);
  }
  json.key("Config");
  if (network.pools.empty()) {
    json.null();
  } else {
    json.begin_array();
    for (const IpamPool& pool : network.pools) {
      json.begin_object().member("Subnet", pool.subnet);
      if (!pool.ip_range.empty()) json.member("IPRange", pool.ip_range);
      if (!pool.gateway.empty()) json.member("Gateway", pool.gateway);
      if (!pool.auxiliary.empty()) {
        json.key("AuxiliaryAddresses");
        write_labels(json, pool.auxiliary);
      }
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
}

void write_member(Writer& json, const engine::NetworkMember& member) {
  const engine::Endpoint& endpoint = member.endpoint;
  const auto with_length = [](const std::string& address, int length) {
    return address.empty() ? std::string() : cat(address, '/', length);
  };
  json.begin_object().member("Name", member.name).member("EndpointID", endpoint.endpoint_id);
  json.member("MacAddress", endpoint.mac_address);
  json.member("IPv4Address", with_length(endpoint.ip_address, endpoint.ip_prefix_len));
  json.member("IPv6Address",
              with_length(endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len));
  json.end_object();
}

}  // namespace

void write_network(Writer& json, const Network& network,
                   const std::vector<engine::NetworkMember>& members) {
  json.begin_object().member("Name", network.name).member("Id", network.id);
  json.member("Created", network.created).member("Scope", network.scope);
  json.member("Driver", network.driver).member("EnableIPv4", network.ipv4);
  json.member("EnableIPv6", network.ipv6);
  json.key("IPAM");
  write_ipam(json, network);
  json.member("Internal", network.internal).member("Attachable", network.attachable);
  json.member("Ingress", network.ingress);
  json.key("ConfigFrom").begin_object().member("Network", "").end_object();
  json.member("ConfigOnly", false);
  json.key("Containers").begin_object();
  for (const engine::NetworkMember& each : members) {
    json.key(each.container);
    write_member(json, each);
  }
  json.end_object();
  json.key("Options");
  write_labels(json, network.options);
  json.key("Labels");
  write_labels(json, network.labels);
  json.end_object();
}

namespace {

struct ConfigFrom {
  std::string network;
  template <class V>
  void describe(V& v) {
    v("Network", network);
  }
};

struct Ipam {
  std::string driver;
  engine::Labels options;
  struct Config {
    IpamPool pool;
    template <class V>
    void describe(V& v) {
      v("Subnet", pool.subnet);
      v("Gateway", pool.gateway);
      v("IPRange", pool.ip_range);
      v("AuxiliaryAddresses", pool.auxiliary);
    }
  };
  std::vector<Config> config;
  template <class V>
  void describe(V& v) {
    v("Driver", driver);
    v("Options", options);
    v("Config", config);
  }
};

struct CreateFields {
  Network network;
  bool check_duplicate = true, config_only = false;
  std::optional<bool> ipv4, ipv6;
  std::optional<ConfigFrom> config_from;
  std::optional<Ipam> ipam;
  template <class V>
  void describe(V& v) {
    v("Name", network.name);
    v("CheckDuplicate", check_duplicate);
    v("Driver", network.driver);
    v("Scope", network.scope);
    v("Internal", network.internal);
    v("Attachable", network.attachable);
    v("Ingress", network.ingress);
    v("ConfigOnly", config_only);
    v("ConfigFrom", config_from);
    v("IPAM", ipam);
    v("EnableIPv4", ipv4);
    v("EnableIPv6", ipv6);
    v("Options", network.options);
    v("Labels", network.labels);
  }
};

struct ConnectFields {
  NetworkConnect& connect;
  template <class V>
  void describe(V& v) {
    v("Container", connect.container);
    v("EndpointConfig", connect.endpoint);
    v("Force", connect.force);
  }
};

}  // namespace

Result<engine::NetworkCreateRequest> read_network_create(std::string_view body) {
  const auto document = TRY(parse_body(body));
  CreateFields fields;
  TRY(codec::json::read_fields(document.root(), fields));
  if (fields.config_only || (fields.config_from && !fields.config_from->network.empty())) {
    return fail(Kind::Unsupported, "configuration-only networks are not supported");
  }
  engine::NetworkCreateRequest request;
  request.check_duplicate = fields.check_duplicate;
  request.network = std::move(fields.network);
  Network& network = request.network;
  network.ipv4 = fields.ipv4.value_or(true);
  network.ipv6 = fields.ipv6.value_or(false);
  if (fields.ipam) {
    if (!fields.ipam->driver.empty()) network.ipam_driver = std::move(fields.ipam->driver);
    network.ipam_options = std::move(fields.ipam->options);
    for (Ipam::Config& each : fields.ipam->config) network.pools.push_back(std::move(each.pool));
  }
  return request;
}

Result<NetworkConnect> read_network_connect(std::string_view body) {
  const auto document = TRY(parse_body(body));
  NetworkConnect connect;
  ConnectFields fields{connect};
  TRY(codec::json::read_fields(document.root(), fields));
  if (connect.container.empty()) return fail(Kind::Invalid, "container is required");
  return connect;
}

}  // namespace nacelle::api
