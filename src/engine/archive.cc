#include "engine/archive.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/moment.h"
#include "image/worker.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

using image::RootIs;
using image::WorkerKind;

// A client may take what it is given as slowly as it likes; the API sees when it leaves.
constexpr auto silence_max = std::chrono::hours(24);

// os.FileMode of Go, which is what clients read.
uint32_t go_mode(uint32_t mode) {
  struct Bit {
    bool there;
    unsigned number;
  };
  const Bit bits[] = {
      {S_ISDIR(mode), 31},         {S_ISLNK(mode), 27},  {S_ISBLK(mode) || S_ISCHR(mode), 26},
      {S_ISFIFO(mode), 25},        {S_ISSOCK(mode), 24}, {(mode & S_ISUID) != 0, 23},
      {(mode & S_ISGID) != 0, 22}, {S_ISCHR(mode), 21},  {(mode & S_ISVTX) != 0, 20},
  };
  uint32_t out = mode & 0777;
  for (const Bit& bit : bits) out |= bit.there ? 1u << bit.number : 0u;
  return out;
}

PathStat to_stat(image::FileStat stat) {
  constexpr int64_t ns_per_s = 1'000'000'000;
  PathStat out;
  out.name = std::move(stat.name);
  out.size = static_cast<int64_t>(std::min<uint64_t>(stat.size, INT64_MAX));
  out.mode = go_mode(stat.mode);
  // What a worker says is checked: a year that no clock shows must not overflow.
  const int64_t seconds_max = INT64_MAX / ns_per_s - 1;
  const int64_t seconds = std::clamp(stat.modified_s, -seconds_max, seconds_max);
  out.mtime = moment_text(seconds * ns_per_s + stat.modified_ns % ns_per_s);
  out.link_target = std::move(stat.link_target);
  return out;
}

// A worker that stands where the container's files are.
struct Inside {
  image::Worker worker;
  Fd root;                   // of a container that does not run
  std::optional<Turn> turn;  // which keeps it from being started meanwhile
};

struct Wanted {
  WorkerKind kind = WorkerKind::Files;
  bool read_only = true;
  bool with_mounts = true;  // volumes as well, not the root file system alone
};

bool runs(const Container& container) {
  return container.state.phase == Phase::Running || container.state.phase == Phase::Paused;
}

ring::Task<std::vector<image::RootMount>> mounts_of(Engine& engine, EntryRef entry) {
  std::vector<image::RootMount> mounts;
  const std::vector<MountPlan> plans = entry->mounts;
  for (const MountPlan& plan : plans) {
    if (!plan.subpath.empty()) continue;
    image::RootMount mount{.source = plan.point.source,
                           .destination = plan.point.destination,
                           .read_only = !plan.point.rw};
    if (plan.point.type == "volume") {
      auto source = engine.volumes->source_of(plan.point.name);
      if (!source) continue;
      mount.source = *std::move(source);
    } else if (plan.point.type != "bind") {
      continue;
    }
    mounts.push_back(std::move(mount));
  }
  std::ranges::sort(mounts, {}, [](const image::RootMount& mount) {
    return std::ranges::count(mount.destination, '/');
  });
  co_return mounts;
}

ring::Task<Inside> enter(Engine& engine, EntryRef entry, Wanted wanted) {
  Containers::State& containers = engine.containers->state();
  image::WorkerOptions options;
  options.kind = wanted.kind;
  options.read_only_root = wanted.read_only;
  options.silence_max = silence_max;
  options.standstill_max = silence_max;
  std::optional<Turn> turn;
  if (!runs(entry->container)) turn.emplace(co_await containers.take_turn(entry));
  if (entry->gone) {
    co_await fail(Kind::NotFound, cat("No such container: ", entry->container.id));
  }
  if (runs(entry->container)) {
    turn.reset();
    const Fd process = co_await open_first_process(entry->container);
    options.root = &process;
    options.root_is = wanted.with_mounts ? RootIs::Process : RootIs::ProcessRoot;
    image::Worker worker = co_await image::Worker::start(engine.loop, options);
    co_return Inside{std::move(worker), Fd(), std::nullopt};
  }
  Fd root = co_await containers.mount_root(entry);
  if (wanted.with_mounts) options.mounts = co_await mounts_of(engine, entry);
  options.root = &root;
  image::Worker worker = co_await image::Worker::start(engine.loop, options);
  co_return Inside{std::move(worker), std::move(root), std::move(turn)};
}

// The worker holds mounts: they are gone when this ends.
ring::Task<> leave(Inside& inside) {
  co_await inside.worker.stop();
  inside.root = Fd();
}

// What a missing file is to clients.
Error as_said(Error error, const std::string& path, const std::string& name) {
  if (error.kind() != Kind::NotFound) return error;
  return Error(Kind::NotFound, cat("Could not find the file ", path, " in container ", name));
}

template <class Request>
ring::Task<typename Request::Reply> ask(Engine& engine, EntryRef entry, Wanted wanted,
                                        Request request, const Fd* descriptor) {
  Inside inside = co_await enter(engine, entry, wanted);
  std::vector<const Fd*> descriptors;
  if (descriptor != nullptr) descriptors.push_back(descriptor);
  auto reply =
      co_await ring::as_result(inside.worker.call(std::move(request), std::move(descriptors)));
  if (reply || reply.error().kind() != Kind::Cancelled) {
    (void)co_await ring::as_result(leave(inside));
  }
  co_return std::move(reply);
}

ring::Task<EntryRef> entry_of(Engine& engine, std::string id) {
  EntryRef entry = engine.containers->state().entry_of(id);
  if (!entry) co_await fail(Kind::NotFound, cat("No such container: ", id));
  co_return entry;
}

// What cp gives its files to with --archive: the container's own user.
ring::Task<ResolvedUser> owner_of(Engine& engine, EntryRef entry) {
  const std::string user = entry->container.config.user;
  auto image =
      co_await engine.containers->state().find_image(std::string(entry->container.image_id));
  co_await engine.containers->state().prepare_root(image);
  co_return resolve_user(user, {}, image->root);
}

}  // namespace

ring::Task<PathStat> stat_path(Engine& engine, Container& container, std::string path) {
  const EntryRef entry = co_await entry_of(engine, container.id);
  auto stat = co_await ring::as_result(
      ask(engine, entry, {}, image::StatPathRequest{.path = path}, nullptr));
  if (!stat) {
    const Error error = as_said(std::move(stat).error(), path, entry->container.name);
    co_await fail(error.kind(), error.message());
  }
  co_return to_stat(*std::move(stat));
}

ring::Task<PathStat> read_archive(Engine& engine, Container& container, std::string path,
                                  Fd output) {
  const EntryRef entry = co_await entry_of(engine, container.id);
  auto stat = co_await ring::as_result(
      ask(engine, entry, {}, image::ReadPathRequest{.path = path}, &output));
  if (!stat) {
    const Error error = as_said(std::move(stat).error(), path, entry->container.name);
    co_await fail(error.kind(), error.message());
  }
  co_return to_stat(*std::move(stat));
}

ring::Task<> write_archive(Engine& engine, Container& container, std::string path,
                           ExtractOptions options, Fd input) {
  const EntryRef entry = co_await entry_of(engine, container.id);
  image::WritePathRequest request;
  request.path = path;
  request.keep_kinds = options.no_overwrite_dir_non_dir;
  if (options.copy_uid_gid && !entry->container.config.user.empty()) {
    const ResolvedUser user = co_await owner_of(engine, entry);
    request.has_owner = true;
    request.uid = user.uid;
    request.gid = user.gid;
  }
  const Wanted wanted{.kind = WorkerKind::Files, .read_only = false, .with_mounts = true};
  auto written = co_await ring::as_result(ask(engine, entry, wanted, std::move(request), &input));
  if (!written) {
    const Error error = as_said(std::move(written).error(), path, entry->container.name);
    co_await fail(error.kind(), error.message());
  }
}

ring::Task<> export_container(Engine& engine, Container& container, Fd output) {
  const EntryRef entry = co_await entry_of(engine, container.id);
  const Wanted wanted{.kind = WorkerKind::Pack, .read_only = true, .with_mounts = false};
  co_await ask(engine, entry, wanted, image::PackRequest{}, &output);
}

ring::Task<std::vector<Change>> changes(Engine& engine, Container& container) {
  const EntryRef entry = co_await entry_of(engine, container.id);
  Containers::State& containers = engine.containers->state();
  auto image = co_await containers.find_image(std::string(entry->container.image_id));
  co_await containers.prepare_root(image);
  const Fd place = co_await containers.open_directory(*entry);
  const Fd upper = co_await sys::open_at(place.get(), "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  image::WorkerOptions options;
  options.kind = WorkerKind::Pack;
  options.root = &upper;
  image::Worker worker = co_await image::Worker::start(engine.loop, options);
  const image::ChangesRequest request;
  const auto reply = co_await worker.call(request, {&image->root});
  co_await worker.stop();
  std::vector<Change> found;
  found.reserve(reply.changes.size());
  for (const auto& each : reply.changes) found.push_back({each.path, static_cast<int>(each.what)});
  co_return found;
}

}  // namespace nacelle::engine
