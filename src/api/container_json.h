// How containers look in answers: inspect, the list, and the texts in them. The members and their
// order are dockerd's, as is what is left out, null or empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "codec/json_writer.h"
#include "engine/containers.h"
#include "engine/model.h"

namespace nacelle::api {

// Bytes of the writable layer, and of it with the image.
using Sizes = std::optional<std::pair<uint64_t, uint64_t>>;

std::string inspect_json(const engine::Container& container, const Sizes& sizes);
void write_summary(codec::json::Writer& json, const engine::Container& container,
                   const Sizes& sizes, int64_t now_ns);

// Endpoints by network name, as both of them and `networks` show one.
void write_endpoint(codec::json::Writer& json, const engine::Endpoint& endpoint);

// "Up 3 minutes (healthy)", "Exited (0) 2 hours ago", "Created".
std::string status_text(const engine::ContainerState& state, int64_t now_ns);
// "About an hour", "2 weeks".
std::string human_duration(int64_t ns);
// "sh -c 'exit 3'".
std::string command_text(const engine::Container& container);
// "none" where there is no health check.
std::string_view health_text(const engine::ContainerState& state);

struct Port {
  uint16_t number = 0;
  std::string protocol;  // "tcp"
};
// "80/tcp", "80": nothing for what is no port.
std::optional<Port> parse_port(std::string_view text);

// Running in Docker's sense: paused and restarting ones are.
bool counts_as_running(engine::Phase phase);

}  // namespace nacelle::api
