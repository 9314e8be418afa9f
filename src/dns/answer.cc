#include "dns/answer.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace nacelle::dns {

std::optional<std::string> answer(const Table& table, const Member& asker, const Query& query,
                                  size_t bytes_max, unsigned turn) {
  if (query.problem != Code::NoError) return error_reply(query, query.problem);
  if (query.klass != class_in || !query.is_plain) return std::nullopt;
  if (query.type == type_ptr) {
    const std::string name = table.name_of(asker, parse_reverse_name(query.name));
    if (name.empty()) return std::nullopt;
    Reply reply(query);
    reply.add_name(name);
    return std::move(reply).finish(bytes_max);
  }
  std::vector<std::string_view> addresses = table.resolve(asker, query.name);
  if (!addresses.empty()) {
    // Of a name that is ours nobody else is asked, whatever is asked of it.
    Reply reply(query);
    const size_t wanted = query.type == type_a ? 4 : query.type == type_aaaa ? 16 : 0;
    std::erase_if(addresses, [&](std::string_view each) { return each.size() != wanted; });
    if (!addresses.empty())
      std::ranges::rotate(addresses, addresses.begin() + turn % addresses.size());
    for (const std::string_view each : addresses) reply.add_address(each);
    return std::move(reply).finish(bytes_max);
  }
  // As dockerd: who says how many dots a name for outside has gets no other name there.
  const bool is_address = query.type == type_a || query.type == type_aaaa;
  if (asker.ndots_set && is_address && query.name.find('.') == std::string::npos) {
    return Reply(query).finish(bytes_max);
  }
  return std::nullopt;
}

}  // namespace nacelle::dns
