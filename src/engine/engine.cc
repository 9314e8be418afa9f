#include "engine/engine.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/build.h"
#include "engine/container_state.h"
#include "engine/names.h"
#include "engine/policies.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr size_t id_bytes_max = 256;
constexpr ring::Duration connect_pause = std::chrono::milliseconds(10);
constexpr int connect_attempts_max = 200;
constexpr unsigned pool_addresses = 64, pool_ready = 16;

Result<> make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string parent = path.substr(0, at);
    const mode_t mode = at == std::string::npos ? 0700 : 0755;
    if (::mkdir(parent.c_str(), mode) != 0 && errno != EEXIST) {
      return fail_errno(errno, cat("mkdir ", parent));
    }
    if (at == std::string::npos) return {};
  }
}

// Of this installation: made once, in the form of a UUID, as `docker info` shows it.
Result<std::string> installation_id(const std::string& data_root) {
  const Fd root =
      TRY(sys::open_at(sys::working_directory, data_root.c_str(), O_RDONLY | O_DIRECTORY));
  auto known = sys::read_file_at(root.get(), "engine-id", id_bytes_max);
  if (known && known->size() == 36) return known;
  const std::string random = random_id();
  const std::string_view hex = random;
  std::string id = cat(hex.substr(0, 8), '-', hex.substr(8, 4), "-4", hex.substr(13, 3), "-8",
                       hex.substr(17, 3), '-', hex.substr(20, 12));
  TRY(sys::replace_file_at(root.get(), "engine-id", id, 0600));
  return id;
}

ring::Task<> refill_pool(Engine* engine) {
  auto pool = engine->networks->lease_pool(pool_addresses, pool_ready);
  co_await engine->core->call(std::move(pool));
}

core::EventHandlers handlers_of(Engine& engine) {
  core::EventHandlers handlers;
  Engine* const self = &engine;
  handlers.exited = [self](const core::ExitedEvent& event) {
    self->containers->state().exited(event);
  };
  handlers.oom = [self](const core::OomEvent& event) { self->containers->state().oom(event); };
  handlers.pool_low = [self](const core::PoolLowEvent&) {
    self->background->start(refill_pool(self));
  };
  handlers.address_free = [self](const core::AddressFreeEvent& event) {
    self->networks->address_free(event.network, event.address);
  };
  handlers.restarted = [self] { self->containers->state().core_restarted(); };
  handlers.log_trouble = [](const core::LogTroubleEvent&) {};
  handlers.client_left = [self](const core::ClientLeftEvent& event) {
    self->containers->state().client_left(event);
  };
  return handlers;
}

// A core that runs from another file than ours would be started from, as after an update, goes over
// to that in place. What it owns does not notice.
ring::Task<> renew_core(Engine* engine) {
  const core::ListRequest::Reply running = co_await engine->core->call(core::ListRequest{});
  const std::string& wanted = engine->core->program();
  const std::string link = cat("/proc/", running.core_pid, "/exe");
  const struct stat now = co_await sys::stat_at(sys::working_directory, link.c_str(), 0);
  const struct stat then = co_await sys::stat_at(sys::working_directory, wanted.c_str(), 0);
  if (now.st_dev == then.st_dev && now.st_ino == then.st_ino) co_return;
  core::UpgradeRequest upgrade;
  upgrade.program = wanted;
  co_await engine->core->call(std::move(upgrade));
}

}  // namespace

Engine::Engine(ring::Loop& loop_in) : loop(loop_in) {}
Engine::~Engine() = default;

ring::Task<std::unique_ptr<Engine>> open_engine(ring::Loop& loop, Options options) {
  auto engine = std::make_unique<Engine>(loop);
  engine->options = std::move(options);
  if (engine->options.init_program.empty()) {
    std::string beside = co_await sys::read_link_at(sys::working_directory, "/proc/self/exe");
    beside.resize(beside.rfind('/') + 1);
    engine->options.init_program = beside + "nacelle-init";
  }
  const Options& chosen = engine->options;
  co_await make_directories(chosen.run_directory);
  co_await make_directories(chosen.data_root);
  engine->events = std::make_unique<Events>(loop);
  engine->background = std::make_unique<ring::Scope>(loop, [](const Error&) {});
  image::ImagesOptions images;
  images.data_root = chosen.data_root;
  images.registries = chosen.registries;
  engine->images = co_await image::Images::open(loop, std::move(images));
  engine->id = co_await installation_id(chosen.data_root);
  engine->volumes = co_await Volumes::open(loop, chosen.data_root, *engine->events);
  NetworksOptions networks;
  networks.data_root = chosen.data_root;
  networks.default_subnet = chosen.default_subnet;
  networks.installation = engine->id;
  engine->networks = co_await Networks::open(loop, std::move(networks), *engine->events);
  engine->rules = std::make_unique<PacketRules>(loop);
  engine->ports = std::make_unique<HostPorts>();
  engine->specs = co_await SpecBuilder::open(cat(chosen.run_directory, "/compiled"));
  engine->policies = co_await Policies::open(*engine);
  engine->containers = co_await Containers::open(*engine);
  core::ClientOptions core;
  core.run_directory = chosen.run_directory;
  core.program = chosen.core_program;
  core.worker = chosen.worker_program;
  core.cgroup_root = chosen.cgroup_root;
  Result<std::unique_ptr<core::Client>> connected = fail(Kind::Internal, "not tried");
  for (int attempt = 0; attempt < connect_attempts_max; ++attempt) {
    if (attempt > 0) co_await ring::sleep_for(loop, connect_pause);
    connected = co_await ring::as_result(core::Client::connect(loop, core));
    // An engine that was killed a moment ago still has its connection: the kernel takes it apart.
    if (connected || connected.error().kind() != Kind::Conflict) break;
  }
  if (!connected) {
    co_await close_engine(*engine);
    co_await fail(connected.error().kind(), connected.error().message());
  }
  engine->core = *std::move(connected);
  if (const Result<> renewed = co_await ring::as_result(renew_core(engine.get())); !renewed) {
    engine->warnings.push_back(cat("nacelle-core runs on from the program it was started with: ",
                                   renewed.error().message()));
  }
  engine->stats = std::make_unique<Stats>(*engine);
  engine->core->listen(handlers_of(*engine));
  Result<> recovered = co_await ring::as_result(engine->containers->recover());
  if (!recovered) {
    co_await close_engine(*engine);
    co_await std::move(recovered);
  }
  engine->background->start(remove_left_steps(engine.get()));
  co_return engine;
}

ring::Task<> close_engine(Engine& engine) {
  engine.background->cancel();
  const bool nothing_runs =
      engine.containers &&
      std::ranges::none_of(engine.containers->all(), [](const Container* each) {
        return is_up(*each) || each->state.phase == Phase::Restarting;
      });
  if (engine.containers) co_await engine.containers->close();
  if (engine.policies) co_await engine.policies->close();
  if (engine.rules) co_await engine.rules->close(nothing_runs);
  co_await engine.background->join();
  if (engine.core) co_await engine.core->close();
}

}  // namespace nacelle::engine
