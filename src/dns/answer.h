// What a container is answered out of the table. Pure.
#pragma once

#include <optional>
#include <string>

#include "dns/message.h"
#include "dns/table.h"

namespace nacelle::dns {

// Nothing: it is to be asked for outside. `turn`: which of several addresses comes first.
std::optional<std::string> answer(const Table& table, const Member& asker, const Query& query,
                                  size_t bytes_max, unsigned turn);

}  // namespace nacelle::dns
