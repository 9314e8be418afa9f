// Events as clients ask for them and as they are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/route.h"
#include "engine/events.h"

namespace nacelle::api {

// GET /events' filters: Invalid for unknown ones.
Result<Filters> read_event_filters(std::string_view text);
// Whether all filters let it pass; one of each filter's values is enough.
bool matches_event(const Filters& filters, const engine::Event& event);
// One line, with the members of before 1.22 that clients still read.
std::string event_line(const engine::Event& event);

}  // namespace nacelle::api
