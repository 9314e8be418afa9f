// Networks in the API's words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/json_writer.h"
#include "engine/networks.h"
#include "nacelle/result.h"

namespace nacelle::api {

void write_network(codec::json::Writer& json, const engine::Network& network,
                   const std::vector<engine::NetworkMember>& members);

// POST /networks/create.
Result<engine::NetworkCreateRequest> read_network_create(std::string_view body);

// POST /networks/{id}/connect and /disconnect.
struct NetworkConnect {
  std::string container;
  engine::Endpoint endpoint;
  bool force = false;
};
Result<NetworkConnect> read_network_connect(std::string_view body);

}  // namespace nacelle::api
