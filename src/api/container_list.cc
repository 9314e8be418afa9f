#include "api/container_list.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "api/container_filters.h"
#include "api/json_requests.h"
#include "image/images.h"

namespace nacelle::api {
namespace {

using engine::Container;

ring::Task<int64_t> creation_of(Call& call, std::string name) {
  const Container* container = co_await call.engine.containers->find(std::move(name));
  co_return created_ns(*container);
}

// Ids of those that are there: a name that none has matches nothing.
ring::Task<std::vector<std::string>> image_ids(Call& call, std::vector<std::string> names) {
  std::vector<std::string> ids;
  for (const std::string& name : names) {
    const auto image = co_await as_result(call.engine.images->inspect(name));
    if (image) ids.push_back(image->id().text());
  }
  co_return ids;
}

}  // namespace

ring::Task<std::vector<Container*>> chosen_containers(Call& call) {
  Criteria criteria = co_await read_criteria(call.http.query("filters"));
  const std::string_view limit = call.http.query("limit");
  const int number = limit.empty() ? 0 : co_await read_number(limit);
  criteria.limit = number > 0 ? static_cast<size_t>(number) : 0;
  criteria.all =
      call.flag("all") || criteria.limit > 0 || !values_of(criteria.filters, "status").empty();
  for (const std::string& value : values_of(criteria.filters, "before")) {
    criteria.before = co_await creation_of(call, value);
  }
  for (const std::string& value : values_of(criteria.filters, "since")) {
    criteria.since = co_await creation_of(call, value);
  }
  const auto& ancestors = values_of(criteria.filters, "ancestor");
  if (!ancestors.empty()) criteria.image_ids = co_await image_ids(call, ancestors);
  // What runs is known from the beginning.
  if (criteria.all) co_await call.engine.containers->all_loaded();

  std::vector<std::pair<int64_t, Container*>> found;
  for (Container* each : call.engine.containers->all()) {
    if (matches(criteria, *each)) found.emplace_back(created_ns(*each), each);
  }
  // Those of one moment stay in an order that does not change from call to call.
  std::ranges::sort(found, [](const auto& a, const auto& b) {
    return std::tie(a.first, a.second->id) > std::tie(b.first, b.second->id);
  });
  if (criteria.limit > 0 && found.size() > criteria.limit) found.resize(criteria.limit);
  std::vector<Container*> chosen;
  chosen.reserve(found.size());
  for (const auto& [time, container] : found) chosen.push_back(container);
  co_return chosen;
}

}  // namespace nacelle::api
