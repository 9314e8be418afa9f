// Images: listed, looked at, named, removed. What moves them is in image_transfer.cc.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "api/image_events.h"
#include "api/image_json.h"
#include "api/image_transfer.h"
#include "api/registry_auth.h"
#include "api/route.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "oci/reference.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using image::Details;

const std::vector<std::string>& values_of(const Filters& filters, const std::string& name) {
  static const std::vector<std::string> none;
  const auto found = filters.find(name);
  return found == filters.end() ? none : found->second;
}

engine::Labels labels_of(const Details& details) {
  const auto& labels = details.record.config.run.labels;
  return {labels.begin(), labels.end()};
}

int64_t created_ns(const Details& details) {
  return parse_rfc3339(details.record.config.created).value_or(0);
}

// The list
// -----------------------------------------------------------------------------------------

struct Criteria {
  Filters filters;
  std::optional<bool> dangling;
  std::optional<int64_t> before_ns, since_ns, until_ns;
};

ring::Task<Criteria> read_criteria(Call& call) {
  Criteria criteria;
  criteria.filters = co_await read_filters(
      call.http.query("filters"), {"dangling", "label", "before", "since", "reference", "until"});
  // Before 1.25 there was a parameter for it.
  const std::string_view filter = call.http.query("filter");
  if (!filter.empty() && call.version < 41) criteria.filters["reference"] = {std::string(filter)};
  if (criteria.filters.contains("dangling")) {
    criteria.dangling = co_await bool_filter(criteria.filters, "dangling", false);
  }
  for (const std::string& each : values_of(criteria.filters, "before")) {
    criteria.before_ns = created_ns(co_await call.engine.images->inspect(each));
  }
  for (const std::string& each : values_of(criteria.filters, "since")) {
    criteria.since_ns = created_ns(co_await call.engine.images->inspect(each));
  }
  for (const std::string& each : values_of(criteria.filters, "until")) {
    criteria.until_ns = co_await read_time(each);
  }
  co_return criteria;
}

bool matches(const Criteria& criteria, const Details& details) {
  const int64_t created = created_ns(details);
  if (criteria.before_ns && created >= *criteria.before_ns) return false;
  if (criteria.since_ns && created <= *criteria.since_ns) return false;
  if (criteria.until_ns && created > *criteria.until_ns) return false;
  if (criteria.dangling && *criteria.dangling != details.image.names.empty()) return false;
  return label_filters_match(values_of(criteria.filters, "label"), labels_of(details));
}

// With a reference filter an image shows only the names that match.
void keep_matching(const std::vector<std::string>& patterns, std::vector<std::string>& names) {
  std::erase_if(names, [&](const std::string& name) {
    return std::ranges::none_of(
        patterns, [&](const std::string& each) { return matches_reference(each, name); });
  });
}

}  // namespace

std::vector<int64_t> shared_sizes(const image::Images& images, const std::vector<Details>& all) {
  std::map<codec::Digest, int> users;
  for (const Details& each : all) {
    for (const codec::Digest& chain : oci::chain_ids(each.record.config.diff_ids)) ++users[chain];
  }
  std::vector<int64_t> shared;
  for (const Details& each : all) {
    const std::vector<uint64_t> sizes = images.layer_sizes(each);
    const std::vector<codec::Digest> chains = oci::chain_ids(each.record.config.diff_ids);
    uint64_t bytes = 0;
    for (size_t at = 0; at < chains.size(); ++at) {
      if (users[chains[at]] > 1) bytes += sizes[at];
    }
    shared.push_back(static_cast<int64_t>(bytes));
  }
  return shared;
}

uint64_t layers_size(const image::Images& images, const std::vector<Details>& all) {
  std::map<codec::Digest, uint64_t> layers;
  for (const Details& each : all) {
    const std::vector<uint64_t> sizes = images.layer_sizes(each);
    const std::vector<codec::Digest> chains = oci::chain_ids(each.record.config.diff_ids);
    for (size_t at = 0; at < chains.size(); ++at) layers[chains[at]] = sizes[at];
  }
  uint64_t bytes = 0;
  for (const auto& [chain, size] : layers) bytes += size;
  return bytes;
}

namespace {

ring::Task<> list(Call& call) {
  const Criteria criteria = co_await read_criteria(call);
  std::vector<Details> all = co_await call.engine.images->list();
  std::ranges::sort(all, std::greater(), [](const Details& each) {
    return std::pair(created_ns(each), each.id().text());
  });
  std::vector<int64_t> shared;
  if (call.flag("shared-size")) shared = shared_sizes(*call.engine.images, all);
  const auto& patterns = values_of(criteria.filters, "reference");
  Writer json;
  json.begin_array();
  for (size_t at = 0; at < all.size(); ++at) {
    const Details& details = all[at];
    if (!matches(criteria, details)) continue;
    std::vector<std::string> tags = repo_tags(details), digests = repo_digests(details);
    if (!patterns.empty()) {
      keep_matching(patterns, tags);
      keep_matching(patterns, digests);
      if (tags.empty() && digests.empty()) continue;
    }
    ImageSizes sizes;
    sizes.bytes = call.engine.images->size(details);
    if (!shared.empty()) sizes.shared = shared[at];
    write_image_summary(json, details, tags, digests, sizes, call.version);
  }
  json.end_array();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> inspect(Call& call) {
  const Details details = co_await call.engine.images->inspect(call.variables[0]);
  Writer json;
  write_image_inspect(json, details, call.engine.images->size(details), call.version);
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> history(Call& call) {
  const Details details = co_await call.engine.images->inspect(call.variables[0]);
  Writer json;
  write_image_history(json, details, call.engine.images->layer_sizes(details));
  co_await reply_json(call, 200, std::move(json).take());
}

// Names ------------------------------------------------------------------------------------------

ring::Task<> tag(Call& call) {
  const std::string repository(call.http.query("repo")), name(call.http.query("tag"));
  const oci::Reference reference = co_await new_reference(repository, name);
  const Details details = co_await call.engine.images->inspect(call.variables[0]);
  co_await call.engine.images->tag(call.variables[0], reference);
  tell_image(call, "tag", details.id().text(), reference.familiar(), &details.record.config.run);
  co_await call.http.reply(201, "", "");
}

// Removal ----------------------------------------------------------------------------------------

struct Users {
  const engine::Container* running = nullptr;
  const engine::Container* stopped = nullptr;
};

Users users_of(Call& call, const std::string& id) {
  Users users;
  for (const engine::Container* each : call.engine.containers->all()) {
    if (each->image_id != id) continue;
    const bool runs = each->state.phase == engine::Phase::Running ||
                      each->state.phase == engine::Phase::Paused ||
                      each->state.phase == engine::Phase::Restarting;
    (runs ? users.running : users.stopped) = each;
  }
  return users;
}

// Whether a removal by `typed` takes a name and not the image.
bool takes_one_name(const Details& details, const std::string& typed) {
  const auto reference = oci::parse_reference(typed);
  return reference && reference->digest.empty() && contains(details.image.names, reference->text());
}

struct Removal {
  bool force = false;
  bool untag_only = false;  // somebody runs it
};

// What dockerd refuses: an image that a container has, unless it is only to lose a name.
Result<Removal> plan_removal(Call& call, const Details& details, const std::string& typed,
                             bool force) {
  const Users users = users_of(call, details.id().text());
  const bool by_name = takes_one_name(details, typed);
  const std::string short_id(details.id().hex().substr(0, 12));
  Removal removal{force, false};
  if (by_name && details.image.names.size() > 1) return removal;
  const engine::Container* user = users.running != nullptr ? users.running : users.stopped;
  if (user == nullptr) return removal;
  if (by_name) {
    if (!force) {
      return fail(Kind::Conflict, cat("conflict: unable to remove repository reference \"", typed,
                                      "\" (must force) - container ", user->id.substr(0, 12),
                                      " is using its referenced image ", short_id));
    }
    removal.untag_only = true;
    return removal;
  }
  if (users.running != nullptr) {
    return fail(Kind::Conflict, cat("conflict: unable to delete ", short_id,
                                    " (cannot be forced) - image is being used by running "
                                    "container ",
                                    users.running->id.substr(0, 12)));
  }
  if (!force) {
    return fail(Kind::Conflict, cat("conflict: unable to delete ", short_id,
                                    " (must be forced) - image is being used by stopped container ",
                                    users.stopped->id.substr(0, 12)));
  }
  return removal;
}

void write_removed(Writer& json, const image::Removed& removed) {
  for (const std::string& each : removed.untagged) {
    json.begin_object().member("Untagged", each).end_object();
  }
  for (const codec::Digest& each : removed.deleted) {
    json.begin_object().member("Deleted", each.text()).end_object();
  }
}

ring::Task<> remove(Call& call) {
  const std::string typed = call.variables[0];
  co_await call.engine.containers->all_loaded();
  const Details details = co_await call.engine.images->inspect(typed);
  const std::string id = details.id().text();
  const Removal removal = co_await plan_removal(call, details, typed, call.flag("force"));
  image::Removed removed;
  if (removal.untag_only) {
    const oci::Reference name = co_await oci::parse_reference(typed);
    co_await call.engine.images->store().untag(call.engine.loop, name.text(),
                                               image::Store::LastName::KeepImage);
    removed.untagged = {name.familiar()};
  } else {
    removed = co_await call.engine.images->remove(typed, removal.force);
    if (contains(removed.deleted, details.id())) {
      for (std::string& each : repo_digests(details)) removed.untagged.push_back(std::move(each));
    }
  }
  for (size_t at = 0; at < removed.untagged.size(); ++at) tell_image(call, "untag", id, id);
  if (contains(removed.deleted, details.id())) tell_image(call, "delete", id, id);
  Writer json;
  json.begin_array();
  write_removed(json, removed);
  json.end_array();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> prune(Call& call) {
  const Filters filters =
      co_await read_filters(call.http.query("filters"), {"dangling", "label", "label!", "until"});
  const bool dangling = co_await bool_filter(filters, "dangling", true);
  std::optional<int64_t> until_ns;
  for (const std::string& each : values_of(filters, "until")) until_ns = co_await read_time(each);
  const auto& with = values_of(filters, "label");
  const auto& without = values_of(filters, "label!");
  co_await call.engine.containers->all_loaded();
  image::Removed removed;
  for (const Details& each : co_await call.engine.images->list()) {
    if (dangling && !each.image.names.empty()) continue;
    if (until_ns && created_ns(each) > *until_ns) continue;
    if (!label_filters_match(with, labels_of(each))) continue;
    if (!without.empty() && label_filters_match(without, labels_of(each))) continue;
    const Users users = users_of(call, each.id().text());
    if (users.running != nullptr || users.stopped != nullptr) continue;
    // By its manifest: several may have one id. Who else uses or removes it meanwhile wins.
    auto gone =
        co_await as_result(call.engine.images->remove(each.image.manifest.digest.text(), true));
    if (!gone) continue;
    tell_image(call, "delete", each.id().text(), each.id().text());
    std::ranges::move(gone->untagged, std::back_inserter(removed.untagged));
    std::ranges::move(gone->deleted, std::back_inserter(removed.deleted));
    removed.bytes += gone->bytes;
  }
  call.engine.events->publish("image", "prune", "", {{"reclaimed", cat(removed.bytes)}});
  Writer json;
  json.begin_object().key("ImagesDeleted");
  if (removed.untagged.empty() && removed.deleted.empty()) {
    json.null();
  } else {
    json.begin_array();
    write_removed(json, removed);
    json.end_array();
  }
  json.member("SpaceReclaimed", removed.bytes).end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

// Registries -------------------------------------------------------------------------------------

ring::Task<> distribution(Call& call) {
  const oci::Reference name = co_await oci::parse_reference(call.variables[0]);
  const image::RemoteImage found =
      co_await call.engine.images->look_up(name, registry_login(call.http.request().headers));
  Writer json;
  json.begin_object().key("Descriptor").begin_object();
  json.member("mediaType", found.descriptor.media_type);
  json.member("digest", found.descriptor.digest.text()).member("size", found.descriptor.size);
  json.end_object().key("Platforms").begin_array();
  for (const oci::Platform& each : found.platforms) {
    json.begin_object().member("architecture", each.architecture).member("os", each.os);
    if (!each.os_version.empty()) json.member("os.version", each.os_version);
    if (!each.variant.empty()) json.member("variant", each.variant);
    json.end_object();
  }
  json.end_array().end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> search(Call& call) {
  if (call.http.query("term").empty()) {
    co_await fail(Kind::Invalid, "search term is required");
  }
  co_await reply_error(call.http, 501, "searching Docker Hub is not supported");
}

}  // namespace

void tell_image(Call& call, std::string action, std::string actor, std::string name,
                const oci::RunConfig* run) {
  engine::Labels attributes;
  if (run != nullptr) attributes.insert(run->labels.begin(), run->labels.end());
  attributes["name"] = std::move(name);
  call.engine.events->publish("image", std::move(action), std::move(actor), std::move(attributes));
}

std::vector<Route> image_routes() {
  return {
      {"GET", "/images/json", list},
      {"GET", "/images/search", search},
      {"GET", "/images/get", save_images},
      {"POST", "/images/load", load_images},
      {"POST", "/images/create", create_image},
      {"POST", "/images/prune", prune},
      {"GET", "/images/{name...}/json", inspect},
      {"GET", "/images/{name...}/history", history},
      {"GET", "/images/{name...}/get", save_images},
      {"POST", "/images/{name...}/tag", tag},
      {"POST", "/images/{name...}/push", push_image},
      {"DELETE", "/images/{name...}", remove},
      {"GET", "/distribution/{name...}/json", distribution},
      {"POST", "/commit", commit_container},
  };
}

}  // namespace nacelle::api
