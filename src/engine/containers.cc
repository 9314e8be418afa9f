// The room's front door, and what every file behind it uses.
#include "engine/containers.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "engine/moment.h"
#include "engine/names.h"
#include "image/disk.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::engine {

Containers::State::State(Engine& engine_in)
    : engine(engine_in),
      loop(engine_in.loop),
      background(engine_in.loop, [](const Error&) {}),
      janitor(loop, background),
      spares(loop, background, [this](SpareRoot spare) { drop_spare(std::move(spare)); }) {}

Containers::Containers(std::unique_ptr<State> state) : state_(std::move(state)) {}
Containers::~Containers() = default;

Result<std::unique_ptr<Containers>> Containers::open(Engine& engine) {
  auto state = std::make_unique<State>(engine);
  const std::string& root = engine.options.data_root;
  const Fd data = TRY(sys::open_at(sys::working_directory, root.c_str(), O_RDONLY | O_DIRECTORY));
  TRY(image::ensure_directory(data, "containers"));
  state->directory =
      TRY(sys::open_at(data.get(), "containers", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  state->directory_path = cat(root, "/containers");
  state->janitor.begin(state->directory);
  TRY(state->spares.begin(data));
  // What an engine before this one had made ahead; nobody has asked for any of it.
  for (const std::string& name : TRY(image::list_directory(state->spares.directory()))) {
    state->discard_spare(name);
  }
  for (std::string& name : TRY(image::list_directory(state->directory))) {
    if (is_id(name)) state->unloaded.insert(std::move(name));
  }
  return std::unique_ptr<Containers>(new Containers(std::move(state)));
}

ring::Task<> Containers::close() {
  state_->background.cancel();
  co_await state_->background.join();
}

ring::Task<> Containers::recover() { return state_->recover(); }
ring::Task<> Containers::all_loaded() { return state_->all_loaded(); }

ring::Task<Container*> Containers::find(std::string text) {
  const EntryRef entry = co_await state_->find(std::move(text));
  co_return &entry->container;
}

std::vector<Container*> Containers::all() {
  std::vector<Container*> all;
  all.reserve(state_->entries.size());
  for (auto& [id, entry] : state_->entries) all.push_back(&entry->container);
  return all;
}

const ContainerCounts& Containers::counts() const { return state_->counts; }

void ContainerCounts::add_start(uint64_t microseconds) {
  ++starts;
  start_us += microseconds;
  for (size_t at = 0; at < std::size(start_bounds_us); ++at) {
    if (microseconds <= start_bounds_us[at]) ++starts_within[at];
  }
}

ring::Task<Created> Containers::create(CreateRequest request) {
  return state_->create(std::move(request));
}

ring::Task<Changed> Containers::start(std::string text, std::string,
                                      std::shared_ptr<StartTrace> trace) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_return co_await shielded(state_->background,
                              state_->start(std::move(entry), std::move(trace)));
}

ring::Task<Changed> Containers::stop(std::string text, std::optional<std::string> signal,
                                     std::optional<int> timeout_s) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_return co_await shielded(state_->background,
                              state_->stop(std::move(entry), std::move(signal), timeout_s));
}

ring::Task<> Containers::restart(std::string text, std::optional<std::string> signal,
                                 std::optional<int> timeout_s) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_await shielded(state_->background,
                    state_->restart(std::move(entry), std::move(signal), timeout_s));
}

ring::Task<> Containers::kill(std::string text, std::string signal) {
  EntryRef entry = co_await state_->find(std::move(text));
  const int number = signal.empty() ? SIGKILL : co_await parse_signal(signal);
  co_await shielded(state_->background, state_->kill(std::move(entry), number));
}

ring::Task<> Containers::pause(std::string text) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_await shielded(state_->background, state_->freeze(std::move(entry), true));
}

ring::Task<> Containers::unpause(std::string text) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_await shielded(state_->background, state_->freeze(std::move(entry), false));
}

ring::Task<> Containers::rename(std::string text, std::string name) {
  if (name.empty() || text.empty()) {
    co_await fail(Kind::Invalid, "Neither old nor new names may be empty");
  }
  EntryRef entry = co_await state_->find(std::move(text));
  co_await state_->rename(std::move(entry), std::move(name));
}

ring::Task<> Containers::remove(std::string text, bool force, bool volumes, bool link) {
  EntryRef entry = co_await state_->find(text);
  if (link) co_await fail(Kind::NotFound, cat("could not find link for ", text));
  co_await shielded(state_->background, state_->remove(std::move(entry), force, volumes));
}

ring::Task<std::vector<std::string>> Containers::update(std::string text, UpdateRequest request) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_return co_await shielded(state_->background,
                              state_->update(std::move(entry), std::move(request)));
}

ring::Task<Containers::Pruned> Containers::prune(std::function<bool(const Container&)> chosen) {
  State& state = *state_;
  co_await state.all_loaded();
  std::vector<EntryRef> candidates;
  for (const auto& [id, entry] : state.entries) candidates.push_back(entry);
  Pruned pruned;
  for (EntryRef& entry : candidates) {
    const Phase phase = entry->container.state.phase;
    const bool stopped = phase == Phase::Created || phase == Phase::Exited || phase == Phase::Dead;
    if (!stopped || entry->gone || (chosen && !chosen(entry->container))) continue;
    const std::string id = entry->container.id;
    const uint64_t bytes = (co_await ring::as_result(state.written_bytes(entry))).value_or(0);
    const Result<> removed =
        co_await ring::as_result(shielded(state.background, state.remove(entry, false, false)));
    if (!removed && removed.error().kind() == Kind::Cancelled) co_await removed;
    if (!removed) continue;  // it was started meanwhile, or another removes it
    pruned.ids.push_back(id);
    pruned.bytes += bytes;
  }
  co_return pruned;
}

namespace {

class Waits final : public Containers::Waiting {
 public:
  Waits(std::shared_ptr<Pulse> pulse, WaitCondition condition, bool over)
      : pulse_(std::move(pulse)), condition_(condition), over_(over), seen_(pulse_->exits) {}

  ring::Task<WaitOutcome> outcome() override {
    while (!over_ && !is_over()) co_await pulse_->changed.wait();
    co_return WaitOutcome{.exit_code = pulse_->exit_code, .error = pulse_->error};
  }

 private:
  bool is_over() const {
    if (pulse_->removed) return true;
    return condition_ != WaitCondition::Removed && pulse_->exits != seen_;
  }
  std::shared_ptr<Pulse> pulse_;
  WaitCondition condition_;
  bool over_;
  uint64_t seen_;
};

}  // namespace

ring::Task<std::unique_ptr<Containers::Waiting>> Containers::wait(std::string text,
                                                                  WaitCondition condition) {
  const EntryRef entry = co_await state_->find(std::move(text));
  const Phase phase = entry->container.state.phase;
  const bool over = condition == WaitCondition::NotRunning && !is_up(entry->container) &&
                    phase != Phase::Restarting;
  co_return std::make_unique<Waits>(entry->pulse, condition, over);
}

ring::Task<> Containers::resize(std::string text, unsigned height, unsigned width) {
  const EntryRef entry = co_await state_->find(std::move(text));
  if (!is_up(entry->container)) {
    co_await fail(Kind::Conflict, cat("container ", entry->container.id, " is not running"));
  }
  core::ResizeRequest request;
  request.id = entry->container.id;
  request.height = static_cast<uint16_t>(height);
  request.width = static_cast<uint16_t>(width);
  co_await state_->engine.core->call(std::move(request));
  state_->publish(*entry, "resize", {{"height", cat(height)}, {"width", cat(width)}});
}

size_t Containers::leavings() const { return state_->janitor.backlog(); }

bool is_up(const Container& container) {
  return container.state.phase == Phase::Running || container.state.phase == Phase::Paused;
}

// Records. ---------------------------------------------------------------------------------------

Result<Fd> Containers::State::open_directory(const Entry& entry) const {
  return sys::open_at(directory.get(), entry.container.id.c_str(),
                      O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

namespace {
// A journal's commit holds up whoever changes what is in it, and that is us: what is gone again by
// then needs none.
constexpr ring::Duration flush_pause = std::chrono::seconds(1);
constexpr ring::Duration flush_retry_pause = std::chrono::seconds(5);
}  // namespace

void Containers::State::save(const EntryRef& entry) {
  if (entry->gone) return;
  const Result<Fd> place = open_directory(*entry);
  // On a full disk the old record stays, and this is tried again: an engine that begins with the
  // old one finds out what is otherwise, as after a crash.
  entry->unsaved =
      !place || !save_record(*place, write_record(entry->container, entry->mounts, entry->removing,
                                                  entry->remove_volumes));
  flush_later(entry);
}

ring::Task<> Containers::State::save_unsaved(EntryRef entry) {
  // Replies leave before the loop's next turn. Where that is cancelled, it is time to save, too.
  // A rename over what is not yet on disk makes ext4 write that first: nobody is to wait for it.
  (void)co_await ring::as_result(ring::nop(loop));
  fault_point("save.behind");
  if (entry->unsaved) save(entry);
}

void Containers::State::flush_later(const EntryRef& entry) {
  if (!entry->dirty) {
    entry->dirty = true;
    dirty.push_back(entry);
  }
  if (flushing) return;
  flushing = true;
  background.start(flush());
}

// Behind all replies: what was written in the last moments goes to the disk, one after the other.
ring::Task<> Containers::State::flush() {
  while (!dirty.empty()) {
    co_await ring::sleep_for(loop, flush_pause);
    bool failed = false;
    for (size_t rest = dirty.size(); rest > 0 && !dirty.empty(); --rest) {
      const EntryRef entry = std::move(dirty.front());
      dirty.pop_front();
      entry->dirty = false;
      if (entry->gone) continue;
      if (entry->unsaved) {
        save(entry);
        failed |= entry->unsaved;
        continue;
      }
      const std::string path = cat(entry->container.id, '/', record_name);
      const Result<Fd> file = sys::open_at(directory.get(), path.c_str(), O_RDONLY | O_NOFOLLOW);
      if (!file) continue;
      failed |= !co_await ring::as_result(ring::fsync(loop, *file));
    }
    if (failed) co_await ring::sleep_for(loop, flush_retry_pause);
  }
  flushing = false;
}

void Containers::State::publish(const Entry& entry, std::string action,
                                std::map<std::string, std::string> more) {
  const Container& container = entry.container;
  for (const auto& [key, value] : container.config.labels) more.try_emplace(key, value);
  more.insert_or_assign("image", container.config.image);
  more.insert_or_assign("name", container.name);
  engine.events->publish("container", std::move(action), container.id, std::move(more));
}

}  // namespace nacelle::engine
