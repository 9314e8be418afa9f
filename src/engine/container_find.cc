// Which container is meant, whose turn it is, and which process is its own.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/names.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {
// Long enough for whoever looks at a container while it is removed; short in memory.
constexpr size_t graveyard_max = 64;
constexpr size_t cgroup_file_bytes_max = 16u << 10;
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

namespace {

std::unexpected<Error> not_running(const Container& container) {
  return fail(Kind::Conflict, cat("container ", container.id, " is not running"));
}

bool has_ended(const Fd& process) {
  pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, 0) != 0;
}

}  // namespace

Result<Fd> open_first_process(const Container& container) {
  if (container.state.pid <= 0) return not_running(container);
  const long opened = ::syscall(SYS_pidfd_open, container.state.pid, 0);
  if (opened < 0 && errno == ESRCH) return not_running(container);
  if (opened < 0) return fail_errno(errno, "pidfd_open");
  Fd process(static_cast<int>(opened));
  const auto cgroup = sys::read_file_at(sys::working_directory,
                                        cat("/proc/", container.state.pid, "/cgroup").c_str(),
                                        cgroup_file_bytes_max);
  if (!cgroup || has_ended(process) || !cgroup->contains(container.id)) {
    return not_running(container);
  }
  return process;
}

Result<Fd> open_root(const Container& container) {
  const Fd process = TRY(open_first_process(container));
  const std::string path = cat("/proc/", container.state.pid, "/root");
  Fd root = TRY(sys::open_at(sys::working_directory, path.c_str(), O_PATH | O_DIRECTORY));
  // While it lives the number is its own, and so was what was opened by it.
  if (has_ended(process)) return not_running(container);
  return root;
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
