// Docker's filters of containers, checked before any container is looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/route.h"
#include "engine/containers.h"

namespace nacelle::api {

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

// What was asked for, checked: everything that an answer needs.
struct Criteria {
  Filters filters;
  bool all = false;
  size_t limit = 0;
  bool only_tasks = false;
  std::vector<int> exit_codes;
  std::vector<PortRange> exposed, published;
  std::optional<int64_t> before, since;  // when those were created
  std::optional<std::vector<std::string>> image_ids;
};

// What of them can be wrong without looking at anything; ancestor, before and since are left to
// the caller, who can look.
Result<Criteria> read_criteria(std::string_view filters);
bool matches(const Criteria& criteria, const engine::Container& container);

// A filter's values; none where there is no such filter.
const std::vector<std::string>& values_of(const Filters& filters, const std::string& name);
// Nanoseconds since 1970.
int64_t created_ns(const engine::Container& container);

}  // namespace nacelle::api
