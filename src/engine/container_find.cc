// Which container is meant, and whose turn it is.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/names.h"

namespace nacelle::engine {

namespace {
// Long enough for whoever looks at a container while it is removed; short in memory.
constexpr size_t graveyard_max = 64;
}  // namespace

ring::Task<> Containers::State::ready() {
  while (!recovered) co_await progress.wait();
}

ring::Task<> Containers::State::all_loaded() {
  while (!loaded) co_await progress.wait();
}

EntryRef Containers::State::entry_of(const std::string& id) {
  const auto found = entries.find(id);
  return found == entries.end() ? nullptr : found->second;
}

ring::Task<EntryRef> Containers::State::find(std::string text) {
  co_await ready();
  const auto missing = [&] { return fail(Kind::NotFound, cat("No such container: ", text)); };
  std::string name = text;
  if (name.starts_with('/')) name.erase(0, 1);
  if (name.empty()) co_await missing();
  if (EntryRef entry = entry_of(name)) co_return entry;
  if (unloaded.contains(name)) {
    if (Result<EntryRef> entry = load(name)) co_return *std::move(entry);
  }
  // A name goes before the beginning of an id, so all names must be known.
  if (!names.contains(name)) co_await all_loaded();
  if (const auto named = names.find(name); named != names.end()) {
    // A name that is being made has no container yet.
    if (EntryRef entry = entry_of(named->second)) co_return entry;
    co_await missing();
  }
  const auto first = entries.lower_bound(name);
  if (first == entries.end() || !first->first.starts_with(name)) co_await missing();
  if (const auto second = std::next(first);
      second != entries.end() && second->first.starts_with(name)) {
    co_await fail(Kind::Invalid, cat("multiple IDs found with provided prefix: ", name));
  }
  co_return first->second;
}

ring::Task<Turn> Containers::State::take_turn(EntryRef entry) {
  while (entry->in_turn) co_await entry->turn_free.wait();
  co_return Turn(std::move(entry));
}

void Containers::State::list(EntryRef entry) {
  names[entry->container.name] = entry->container.id;
  entries[entry->container.id] = std::move(entry);
}

void Containers::State::unlist(const EntryRef& entry) {
  if (entry->gone) return;
  entry->gone = true;
  const Container& container = entry->container;
  if (const auto named = names.find(container.name);
      named != names.end() && named->second == container.id) {
    names.erase(named);
  }
  graveyard.push_back(entry);
  if (graveyard.size() > graveyard_max) graveyard.pop_front();
  entries.erase(container.id);
}

std::unexpected<Error> Containers::State::name_conflict(const std::string& name) const {
  const auto holder = names.find(name);
  return fail(Kind::Conflict,
              cat("Conflict. The container name \"/", name, "\" is already in use by container \"",
                  holder == names.end() ? "" : holder->second,
                  "\". You have to remove (or rename) that container to be able to reuse that "
                  "name."));
}

}  // namespace nacelle::engine
