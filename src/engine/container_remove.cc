// Removal: done in steps that may each fail and be tried again, written down first where there is
// more than one, the record gone last but for what only takes time. What is set aside (.trash-*) is
// deleted behind the reply, and by the image floor's collection after a crash.
#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/policies.h"
#include "image/disk.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr ring::Duration first_retry = std::chrono::milliseconds(200);
constexpr ring::Duration longest_retry = std::chrono::seconds(30);
constexpr int files_between_turns = 256;

bool is_anonymous_volume(const MountPlan& plan) {
  return plan.point.type == "volume" && plan.anonymous;
}

}  // namespace

ring::Task<> Containers::State::remove(EntryRef entry, bool force, bool volumes) {
  const std::string& name = entry->container.name;
  if (entry->gone) co_return;
  if (entry->removing && !force) {
    co_await fail(Kind::Conflict, cat("removal of container ", name, " is already in progress"));
  }
  const auto check = [&]() -> Result<> {
    const char* why = nullptr;
    switch (entry->container.state.phase) {
      case Phase::Running:
        why = "container is running: stop the container before removing or force remove";
        break;
      case Phase::Paused: why = "container is paused and must be unpaused first"; break;
      case Phase::Restarting:
        why = "container is restarting: stop the container before removing or force remove";
        break;
      default: return {};
    }
    return fail(Kind::Conflict, cat("cannot remove container \"/", name, "\": ", why));
  };
  if (!force) co_await check();
  const Turn turn = co_await take_turn(entry);
  if (entry->gone) co_return;
  if (!force) co_await check();
  if (force && (is_up(entry->container) || entry->container.state.phase == Phase::Restarting)) {
    // No restart and no second removal comes of this end.
    entry->auto_removing = true;
    Result<> stopped = co_await ring::as_result(stop_in_turn(entry, SIGKILL, 0));
    entry->auto_removing = false;
    if (!stopped) {
      co_await fail(stopped.error().kind(),
                    cat("could not kill container: ", stopped.error().message()));
    }
  }
  co_await remove_in_turn(entry, volumes);
}

// Nothing of it runs. After a failure the state is Dead, and it may be tried again.
ring::Task<> Containers::State::remove_in_turn(EntryRef entry, bool volumes) {
  Container& container = entry->container;
  entry->removing = true;
  entry->remove_volumes = entry->remove_volumes || volumes;
  container.state.phase = Phase::Removing;
  ++entry->run;  // no restart
  const std::string& id = container.id;
  if (entry->remove_volumes && std::ranges::any_of(entry->mounts, is_anonymous_volume)) {
    // On a full disk the removal is what helps: it goes on without its note.
    if (const Result<Fd> place = open_directory(*entry)) {
      (void)save_record(*place, write_record(container, entry->mounts, true, true));
    }
  }
  fault_point("remove.noted");
  drop_execs(*entry);
  for (ParkedClient& client : std::exchange(entry->parked, {})) *client.socket = Fd();
  for (const auto& [name, endpoint] : container.endpoints) engine.networks->leave(name, id);
  for (const MountPlan& plan : entry->mounts) {
    if (plan.point.type != "volume") continue;
    engine.volumes->let_go(plan.point.name, id);
    if (entry->remove_volumes && is_anonymous_volume(plan)) {
      (void)co_await ring::as_result(engine.volumes->remove(plan.point.name, true));
    }
  }
  fault_point("remove.volumes");
  entry->compiled = nullptr;
  drop_ready_root(*entry);
  // One rename takes the record, and with it the container, off the list; it takes the writable
  // layer along, whose deletion takes its time.
  Result<> gone = janitor.set_aside(directory, id);
  if (!gone && gone.error().error_number() != ENOENT) {
    entry->removing = false;
    container.state.phase = Phase::Dead;
    container.state.error = gone.error().message();
    co_await std::move(gone);
  }
  fault_point("remove.renamed");
  unlist(entry);
  engine.policies->container_gone(entry->container.id);
  entry->pulse->removed = true;
  entry->pulse->changed.notify_all();
  publish(*entry, "destroy");
}

// --rm, and removals that were begun before a crash: nobody waits for the answer, so it is tried
// until it is done.
ring::Task<> Containers::State::auto_remove(EntryRef entry) {
  if (entry->auto_removing) co_return;  // somebody sees to it, or it is to be started again
  entry->auto_removing = true;
  for (ring::Duration pause = first_retry;; pause = std::min(2 * pause, longest_retry)) {
    {
      const Turn turn = co_await take_turn(entry);
      if (entry->gone || is_up(entry->container)) break;
      const bool volumes = entry->container.host.auto_remove || entry->remove_volumes;
      const Result<> removed = co_await ring::as_result(remove_in_turn(entry, volumes));
      if (removed) break;
      if (removed.error().kind() == Kind::Cancelled) co_await removed;
    }
    co_await ring::sleep_for(loop, pause);
  }
  entry->auto_removing = false;
}

namespace {

// Bytes below a directory, counted in pieces between which the loop goes on.
ring::Task<uint64_t> bytes_below(ring::Loop* loop, Fd top) {
  uint64_t bytes = 0;
  std::vector<Fd> pending;
  pending.push_back(std::move(top));
  int files = 0;
  while (!pending.empty()) {
    const Fd place = std::move(pending.back());
    pending.pop_back();
    for (const std::string& name : co_await image::list_directory(place)) {
      const auto status = sys::stat_at(place.get(), name.c_str(), AT_SYMLINK_NOFOLLOW);
      if (!status) continue;
      if (S_ISDIR(status->st_mode)) {
        auto below = sys::open_at(place.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (below) pending.push_back(*std::move(below));
      } else if (S_ISREG(status->st_mode)) {
        bytes += static_cast<uint64_t>(status->st_size);
      }
      if (++files % files_between_turns == 0) co_await ring::sleep_for(*loop, {});
    }
  }
  co_return bytes;
}

}  // namespace

ring::Task<uint64_t> Containers::State::written_bytes(EntryRef entry) {
  const Fd place = co_await open_directory(*entry);
  Fd upper = co_await sys::open_at(place.get(), "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  co_return co_await bytes_below(&loop, std::move(upper));
}

ring::Task<std::pair<uint64_t, uint64_t>> Containers::sizes(std::string id) {
  const EntryRef entry = co_await state_->find(std::move(id));
  const uint64_t written = co_await state_->written_bytes(entry);
  uint64_t image = 0;
  auto known = co_await ring::as_result(state_->find_image(entry->container.image_id));
  if (known) image = state_->engine.images->size((*known)->details);
  co_return std::pair(written, written + image);
}

}  // namespace nacelle::engine
