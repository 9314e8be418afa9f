// rename and update.
#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/names.h"

namespace nacelle::engine {

ring::Task<> Containers::State::rename(EntryRef entry, std::string name) {
  if (name.starts_with('/')) name.erase(0, 1);
  const auto context = [](Error error) {
    error.add_context("Error when allocating new name");
    return error;
  };
  if (name == entry->container.name) {
    co_await fail(Kind::Invalid, "Renaming a container with the same name as its current name");
  }
  if (Result<> good = check_container_name(name); !good) {
    co_await Result<>(std::unexpected(context(std::move(good).error())));
  }
  co_await all_loaded();
  const Turn turn = co_await take_turn(entry);
  Container& container = entry->container;
  if (entry->gone || entry->removing) {
    co_await fail(Kind::NotFound, cat("No such container: ", container.id));
  }
  if (is_taken(name)) {
    co_await Result<>(std::unexpected(context(name_conflict(name).error())));
  }
  const Fd place = co_await open_directory(*entry);
  const std::string old = std::exchange(container.name, name);
  fault_point("rename.begun");
  Result<> saved = save_record(
      place, write_record(container, entry->mounts, entry->removing, entry->remove_volumes));
  if (!saved) {
    container.name = old;
    co_await std::move(saved);
  }
  // No await since the name was found free.
  names.erase(old);
  names[name] = container.id;
  flush_later(entry);
  engine.networks->rename(container.id, name);
  members_changed(container);
  name_endpoints(container);
  co_await tell_names(entry);
  fault_point("rename.done");
  publish(*entry, "rename", {{"oldName", cat('/', old)}});
}

namespace {

// Takes over the members of `from` that `names` lists, by their names in JSON.
struct Take {
  const std::vector<std::string>& names;
  std::vector<std::pair<std::string, const void*>>& members;
  template <class T>
  void operator()(const char* name, T& member) {
    if (contains(names, name)) members.emplace_back(name, &member);
  }
};
struct Put {
  const std::vector<std::pair<std::string, const void*>>& members;
  template <class T>
  void operator()(const char* name, T& member) {
    for (const auto& [known, value] : members) {
      if (known == name) member = *static_cast<const T*>(value);
    }
  }
};

void take_over(const HostConfig& from, const std::vector<std::string>& names, HostConfig& into) {
  std::vector<std::pair<std::string, const void*>> members;
  Take take{names, members};
  const_cast<HostConfig&>(from).describe_resources(take);  // reads
  Put put{members};
  into.describe_resources(put);
}

}  // namespace

ring::Task<std::vector<std::string>> Containers::State::update(EntryRef entry,
                                                               UpdateRequest request) {
  const Turn turn = co_await take_turn(entry);
  Container& container = entry->container;
  const auto refused = [&](std::string why) {
    return fail(Kind::Conflict, cat("Cannot update container ", container.id, ": ", why));
  };
  if (entry->gone || entry->removing) {
    co_await refused("Container is marked for removal and cannot be \"update\".");
  }
  CreateRequest changed;
  changed.name = container.name;
  changed.config = container.config;
  changed.host = container.host;
  take_over(request.resources, request.present, changed.host);
  if (request.restart_policy && !request.restart_policy->name.empty()) {
    if (container.host.auto_remove && request.restart_policy->name != "no") {
      co_await refused(
          "Restart policy cannot be updated because AutoRemove is enabled for the "
          "container");
    }
    changed.host.restart_policy = *request.restart_policy;
  }
  co_await check_request(changed);
  if (is_up(container) && !request.present.empty()) {
    core::UpdateRequest message;
    message.id = container.id;
    message.cgroup_plan = co_await engine.specs->compile_update(changed.host);
    co_await engine.core->call(std::move(message));
  }
  container.host = std::move(changed.host);
  entry->compiled = nullptr;  // made with the limits of before
  fault_point("update.done");
  save(entry);
  publish(*entry, "update");
  co_return std::vector<std::string>();
}

}  // namespace nacelle::engine
