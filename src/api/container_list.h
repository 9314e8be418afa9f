// Which containers a list is of: Docker's filters, checked before any container is looked at.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "api/route.h"
#include "engine/containers.h"
#include "nacelle/task.h"

namespace nacelle::api {

// Those that GET /containers/json asks for, newest first.
ring::Task<std::vector<engine::Container*>> chosen_containers(Call& call);

using Chosen = std::function<bool(const engine::Container&)>;
// Of POST /containers/prune: until, label, label!. Never empty.
Result<Chosen> prune_choice(std::string_view filters);

// A filter's value that is a regular expression, as Docker's `name` and `id` are: POSIX extended
// ones here, without repetition counts (whose cost is the client's to choose). One that is none
// matches what is literally the same.
bool pattern_matches(const std::string& pattern, const std::string& text);

// "80", "80/udp", "80-90/tcp" as a test of a port; protocol tcp where there is none.
struct PortRange {
  uint16_t first = 0, last = 0;
  std::string protocol;
  bool has(uint16_t port, std::string_view of_protocol) const {
    return port >= first && port <= last && of_protocol == protocol;
  }
};
Result<PortRange> parse_port_range(std::string_view text);

}  // namespace nacelle::api
