// RUN --mount: files of the context or of another stage, read-only; directories that outlive the
// build (caches); memory; secrets, which lie in memory while their step runs and are no part of
// what a step is found again by. Agents (ssh) are in build_agents.cc.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "base/text.h"
#include "container/plan.h"
#include "engine/build_state.h"
#include "engine/names.h"
#include "image/disk.h"
#include "image/messages.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/mount_api.h"
#include "sys/resolve.h"

namespace nacelle::engine {
namespace {

using build::MountType;
using build::Sharing;

constexpr const char* caches_name = "build-mounts";
constexpr const char* secrets_name = "secrets";  // in the run directory; agents' sockets, too
constexpr auto lock_pause = std::chrono::milliseconds(50);
constexpr int private_caches_max = 64;

std::string target_of(const oci::RunConfig& run, const std::string& target) {
  if (target.starts_with('/')) return container::clean_path(target);
  return container::clean_path(cat('/', run.working_directory, '/', target));
}

// Whoever holds it has the cache to himself, or (shared) with others like him.
Result<Fd> open_cache(const Fd& parent, const std::string& name, const build::Mount& mount) {
  auto made = sys::make_directory_at(parent.get(), name.c_str(), 0700);
  if (!made && made.error().error_number() != EEXIST) return std::unexpected(made.error());
  Fd directory = TRY(sys::open_at(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (made) {
    // As the first who asks for it wants it to be.
    if (::fchown(directory.get(), mount.uid.value_or(0), mount.gid.value_or(0)) < 0 ||
        ::fchmod(directory.get(), mount.mode.value_or(0755)) < 0) {
      return fail_errno(errno, cat("making the cache ", name));
    }
  }
  return directory;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// A secret's `source` is an older word for its id; where neither is said, it goes by its file.
std::string secret_id(const build::Mount& mount) {
  if (!mount.id.empty()) return mount.id;
  return mount.source.empty() ? base_name(mount.target) : mount.source;
}

}  // namespace

std::string host_path(const Fd& directory) {
  const std::string link = cat("/proc/self/fd/", directory.get());
  return sys::read_link_at(sys::working_directory, link.c_str()).value_or("");
}

MountRequest bind_mount(std::string source, std::string target, bool read_only) {
  MountRequest request;
  request.type = "bind";
  request.source = std::move(source);
  request.target = std::move(target);
  request.read_only = read_only;
  return request;
}

Result<std::string> secrets_directory(const Engine& engine) {
  std::string path = cat(engine.options.run_directory, '/', secrets_name);
  auto made = sys::make_directory_at(sys::working_directory, path.c_str(), 0700);
  if (!made && made.error().error_number() != EEXIST) return std::unexpected(made.error());
  return path;
}

ring::Task<std::vector<Build::RunMount>> Build::find_mounts(const BuildStage& stage,
                                                            const build::Run& run,
                                                            const std::vector<Origin>& origins) {
  std::vector<RunMount> found;
  size_t origin = 0;
  for (const build::Mount& mount : run.mounts) {
    RunMount one;
    one.asked = &mount;
    one.target = target_of(stage.run(), mount.target);
    const Origin* from = mount.from.empty() ? nullptr : &origins.at(origin++);
    if (mount.type == MountType::Secret || mount.type == MountType::Ssh) {
      one.key = mount.text;
      found.push_back(std::move(one));
      continue;
    }
    one.key = mount.text;
    if (mount.type == MountType::Bind) {
      if (!mount.read_only) {
        co_await fail(Kind::Unsupported,
                      cat("RUN --mount=", mount.text, ": files are mounted read-only only"));
      }
      one.source = co_await open_source(stage, from);
      one.from_context = from == nullptr;
      image::FindSourcesRequest request{
          .patterns = {mount.source}, .exclude = {}, .owners = counts_owners(from)};
      const auto files = co_await find_sources(from, one.source, std::move(request));
      if (files.sources.size() != 1) {
        co_await fail(Kind::Invalid, cat("RUN --mount=", mount.text, ": one source is needed"));
      }
      one.path = files.sources.front().path;
      one.is_directory = files.all_are_directories;
      one.key += cat(' ', files.digest.text());
    } else if (from != nullptr) {
      co_await fail(Kind::Unsupported,
                    cat("RUN --mount=", mount.text, ": only files are taken from elsewhere"));
    }
    found.push_back(std::move(one));
  }
  co_return found;
}

ring::Task<MountRequest> Build::make_bind(RunMount& mount) {
  if (mount.from_context) {
    // Where its links lead: nobody moves anything in there.
    const char* const path = mount.path.empty() ? "." : mount.path.c_str();
    const long opened = sys::InRoot(context_.directory.get()).open(path, O_PATH);
    if (opened < 0) co_await fail_errno(static_cast<int>(-opened), mount.path);
    mount.held = Fd(static_cast<int>(opened));
    co_return bind_mount(host_path(mount.held), mount.target, true);
  }
  // What is mounted nowhere has no path: its files are brought to where they have one.
  const int parent = workspace_.directory().get();
  const std::string name = cat("files-", scratches_++);
  co_await sys::make_directory_at(parent, name.c_str(), 0755);
  const Fd place = co_await sys::open_at(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  image::CopyFilesRequest request;
  request.sources = {{.path = mount.path, .pattern = {}}};
  request.destination = "/";
  co_await ask_files(engine_.loop, place, FilesRoot::Writable, std::move(request), &mount.source);
  std::string path = host_path(place);
  if (!mount.is_directory) path += cat('/', mount.path.substr(mount.path.rfind('/') + 1));
  co_return bind_mount(std::move(path), mount.target, true);
}

ring::Task<MountRequest> Build::make_cache(RunMount& mount) {
  const build::Mount& asked = *mount.asked;
  co_await image::ensure_directory(store().root(), caches_name);
  const Fd parent =
      co_await sys::open_at(store().root().get(), caches_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const codec::Digest key = codec::digest_of(asked.id.empty() ? mount.target : asked.id);
  std::string name(key.hex().substr(0, 32));
  for (int copy = 1;; ++copy) {
    mount.held = co_await open_cache(parent, name, asked);
    const bool is_ours = co_await image::try_lock(mount.held, asked.sharing != Sharing::Shared);
    if (is_ours && image::is_still_named(mount.held, parent, name.c_str())) break;
    if (is_ours) continue;  // it has just been pruned
    if (asked.sharing == Sharing::Private && copy < private_caches_max) {
      name = cat(key.hex().substr(0, 32), '-', copy);
    } else {
      co_await ring::sleep_for(engine_.loop, lock_pause);
    }
  }
  co_return bind_mount(host_path(mount.held), mount.target, asked.read_only);
}

ring::Task<std::optional<std::string>> Build::find_secret(const build::Mount& mount) {
  std::optional<std::string> secret;
  if (request_.secret) secret = co_await request_.secret(secret_id(mount));
  if (!secret && mount.required) {
    co_await fail(Kind::Invalid, cat("secret ", secret_id(mount), ": not found"));
  }
  co_return secret;
}

// A file below the run directory, which is memory. Its name goes when its step has ended.
ring::Task<MountRequest> Build::make_secret(RunMount& mount, const std::string& secret) {
  const build::Mount& asked = *mount.asked;
  const std::string directory = co_await secrets_directory(engine_);
  mount.file = std::make_unique<TemporaryFile>(cat(directory, '/', random_id()));
  const Fd file = co_await sys::open_at(sys::working_directory, mount.file->path().c_str(),
                                        O_WRONLY | O_CREAT | O_EXCL, 0600);
  co_await sys::write_all(file, secret, "a secret");
  constexpr mode_t owner_reads = 0400;
  if (::fchown(file.get(), asked.uid.value_or(0), asked.gid.value_or(0)) < 0 ||
      ::fchmod(file.get(), asked.mode.value_or(owner_reads)) < 0) {
    co_await fail_errno(errno, "making a secret");
  }
  const std::string target =
      asked.target.empty() ? cat("/run/secrets/", base_name(secret_id(asked))) : mount.target;
  co_return bind_mount(mount.file->path(), target, true);
}

ring::Task<> Build::add_mounts(std::vector<RunMount>& mounts, CreateRequest& request) {
  for (RunMount& mount : mounts) {
    MountRequest made;
    if (mount.asked->type == MountType::Secret) {
      std::optional<std::string> secret = co_await find_secret(*mount.asked);
      if (!secret) continue;
      const build::Mount& asked = *mount.asked;
      if (!asked.environment.empty()) {
        request.secret_env.push_back(cat(asked.environment, '=', *secret));
        if (asked.target.empty()) continue;
      }
      made = co_await make_secret(mount, *secret);
    } else if (mount.asked->type == MountType::Ssh) {
      if (!co_await find_agent(*mount.asked)) continue;
      made = co_await make_agent_socket(mount);
    } else if (mount.asked->type == MountType::Bind) {
      made = co_await make_bind(mount);
    } else if (mount.asked->type == MountType::Cache) {
      made = co_await make_cache(mount);
    } else {
      made.type = "tmpfs";
      made.target = mount.target;
      made.tmpfs_options = TmpfsOptions{.size_bytes = mount.asked->size, .mode = 0, .options = {}};
    }
    request.host.mounts.push_back(std::move(made));
  }
}

ring::Task<> remove_left_secrets(Engine& engine) {
  const std::string path = cat(engine.options.run_directory, '/', secrets_name);
  auto opened =
      sys::open_at(sys::working_directory, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!opened) co_return;
  for (const std::string& name : co_await image::list_directory(*opened)) {
    (void)::unlinkat(opened->get(), name.c_str(), 0);
  }
}

ring::Task<> remove_cache_mounts(Engine& engine) {
  const image::Store& store = engine.images->store();
  auto opened = sys::open_at(store.root().get(), caches_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!opened) co_return;
  const Fd parent = *std::move(opened);
  for (std::string& name : co_await image::list_directory(parent)) {
    const Fd directory =
        co_await sys::open_at(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    // One that a step has mounted stays.
    if (!co_await image::try_lock(directory)) continue;
    co_await image::remove_tree(engine.loop, parent, std::move(name));
  }
}

}  // namespace nacelle::engine
