#include "engine/volumes.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "base/text.h"
#include "codec/json.h"
#include "codec/json_fields.h"
#include "codec/json_writer.h"
#include "engine/moment.h"
#include "engine/names.h"
#include "image/disk.h"
#include "image/measure.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr size_t record_size_max = 1u << 20;
constexpr size_t volumes_max = 100'000;
constexpr size_t name_bytes_max = 200;  // below NAME_MAX, with room for a prefix of ours
constexpr const char* record_file = "record";
constexpr const char* data_directory = "_data";
constexpr std::string_view new_prefix = ".new-";

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// As Docker puts foreign text into its own.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  codec::json::append_escaped(out, text.substr(0, name_bytes_max));
  return out + '"';
}

bool is_volume_name(std::string_view name) {
  return name.size() >= 2 && name.size() <= name_bytes_max && is_alphanumeric(name.front()) &&
         std::ranges::all_of(
             name, [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

Result<> check_name(const std::string& name) {
  if (name.size() == 1) {
    return fail(Kind::Invalid,
                cat("create ", name,
                    ": volume name is too short, names should be at least two alphanumeric "
                    "characters"));
  }
  if (is_volume_name(name)) return {};
  return fail(Kind::Invalid,
              cat("create ", name, ": ", quoted(name),
                  " includes invalid characters for a local volume name, only "
                  "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host "
                  "directory, use absolute path"));
}

const std::string* find_option(const Labels& options, const char* name) {
  const auto found = options.find(name);
  return found == options.end() ? nullptr : &found->second;
}

// The local driver's options, with Docker's complaints.
Result<> check_options(const std::string& name, const Labels& options) {
  const auto bad = [&](std::string_view why) {
    return fail(Kind::Invalid, cat("create ", name, ": ", why));
  };
  for (const auto& [option, value] : options) {
    if (option != "type" && option != "o" && option != "device" && option != "size") {
      return bad(cat("invalid option: ", quoted(option)));
    }
    if (value.contains('\0')) return bad(cat("invalid value of option \"", option, "\""));
  }
  if (find_option(options, "size") != nullptr) {
    return bad("quota size requested but no quota support");
  }
  const bool has_o = find_option(options, "o") != nullptr;
  const bool has_device = find_option(options, "device") != nullptr;
  const bool has_type = find_option(options, "type") != nullptr;
  if ((has_o || has_type) && !has_device) return bad("missing required option: \"device\"");
  if ((has_o || has_device) && !has_type) return bad("missing required option: \"type\"");
  return {};
}

bool is_mounted(const Volume& volume) {
  const std::string* device = find_option(volume.options, "device");
  const std::string* type = find_option(volume.options, "type");
  return (device != nullptr && !device->empty()) || (type != nullptr && !type->empty());
}

std::string ids_text(const std::set<std::string>& ids) {
  std::string text;
  for (const std::string& each : ids) text += cat(text.empty() ? "" : ", ", each);
  return text;
}

}  // namespace

struct Volumes::State {
  State(ring::Loop& loop_in, Events& events_in) : loop(loop_in), events(events_in) {}

  ring::Loop& loop;
  Events& events;
  std::string path;  // <data root>/volumes
  Fd directory;
  struct Entry {
    Volume volume;
    bool damaged = false;
  };
  std::map<std::string, Entry> entries;
  std::map<std::string, std::set<std::string>> holders;  // by volume
  std::vector<std::string> leftovers;

  Result<> read_all();
  void read_one(const std::string& name);
  Result<const Entry*> find(const std::string& name) const;
  Result<> make(const Volume& volume);
  Result<> fill(const Fd& place, const Volume& volume);
  ring::Task<> discard(std::string name);
  ring::Task<uint64_t> size(std::string name);
};

// On disk --------------------------------------------------------------------------------------

void Volumes::State::read_one(const std::string& name) {
  Entry entry;
  entry.damaged = true;
  const std::string where = cat(name, "/", record_file);
  auto text = sys::read_file_at(directory.get(), where.c_str(), record_size_max);
  if (text) {
    const auto document = codec::json::Document::parse(*text);
    Volume volume;
    const bool whole = document && codec::json::read_fields(document->root(), volume) &&
                       volume.name == name && check_options(name, volume.options);
    if (whole) {
      entry.volume = std::move(volume);
      entry.damaged = false;
    }
  }
  if (entry.damaged) {
    entry.volume.name = name;
    const auto status = sys::stat_at(directory.get(), name.c_str(), AT_SYMLINK_NOFOLLOW);
    if (!status || !S_ISDIR(status->st_mode)) return;
    entry.volume.created_at = moment_text_seconds(status->st_mtim.tv_sec * 1'000'000'000);
  }
  entry.volume.driver = "local";
  entry.volume.mountpoint = cat(path, "/", name, "/", data_directory);
  entries.emplace(name, std::move(entry));
}

Result<> Volumes::State::read_all() {
  for (const std::string& name : TRY(image::list_directory(directory))) {
    if (name.starts_with(new_prefix) || name.starts_with(image::trash_prefix)) {
      leftovers.push_back(name);
    } else if (is_volume_name(name) && entries.size() < volumes_max) {
      read_one(name);
    }
  }
  return {};
}

Result<> Volumes::State::fill(const Fd& place, const Volume& volume) {
  TRY(sys::make_directory_at(place.get(), data_directory, 0755));
  codec::json::Writer json;
  codec::json::write_fields(json, volume);
  return sys::replace_file_at(place.get(), record_file, std::move(json).take(), 0600);
}

// Beside its place first: what has a volume's name is a volume.
Result<> Volumes::State::make(const Volume& volume) {
  const std::string temporary = cat(new_prefix, image::random_name());
  TRY(sys::make_directory_at(directory.get(), temporary.c_str(), 0701));
  const auto made = [&]() -> Result<> {
    const Fd place =
        TRY(sys::open_at(directory.get(), temporary.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    TRY(fill(place, volume));
    return sys::rename_at(directory.get(), temporary.c_str(), volume.name.c_str());
  }();
  if (!made) (void)image::remove_tree_now(directory, temporary);
  return made;
}

ring::Task<> Volumes::State::discard(std::string name) {
  co_await image::remove_tree(loop, directory, std::move(name));
}

Volumes::Volumes(std::unique_ptr<State> state) : state_(std::move(state)) {}
Volumes::~Volumes() = default;

Result<std::unique_ptr<Volumes>> Volumes::open(ring::Loop& loop, std::string data_root,
                                               Events& events) {
  const Fd root =
      TRY(sys::open_at(sys::working_directory, data_root.c_str(), O_RDONLY | O_DIRECTORY));
  // Others may pass through, for a container's root that is another user outside.
  const auto made = sys::make_directory_at(root.get(), "volumes", 0701);
  if (!made && made.error().error_number() != EEXIST) return std::unexpected(made.error());
  auto state = std::make_unique<State>(loop, events);
  state->path = cat(data_root, "/volumes");
  state->directory = TRY(sys::open_at(root.get(), "volumes", O_RDONLY | O_DIRECTORY));
  TRY(state->read_all());
  return std::unique_ptr<Volumes>(new Volumes(std::move(state)));
}

ring::Task<> Volumes::remove_leftovers() {
  std::vector<std::string> names = std::exchange(state_->leftovers, {});
  for (std::string& name : names) {
    // One that cannot be removed now is tried again by the next engine.
    (void)co_await ring::as_result(state_->discard(std::move(name)));
  }
}

// Volumes --------------------------------------------------------------------------------------

std::vector<Volume> Volumes::list() const {
  std::vector<Volume> all;
  for (const auto& [name, entry] : state_->entries) {
    all.push_back(entry.volume);
  }
  return all;
}

Result<const Volumes::State::Entry*> Volumes::State::find(const std::string& name) const {
  const auto found = entries.find(name);
  if (found == entries.end()) {
    return fail(Kind::NotFound, cat("get ", name, ": no such volume"));
  }
  return &found->second;
}

Result<Volume> Volumes::find(const std::string& name) const {
  return TRY(state_->find(name))->volume;
}

Result<Volume> Volumes::create(std::string name, std::string driver, Labels labels, Labels options,
                               bool anonymous) {
  if (name.empty()) {
    name = random_id();
    anonymous = true;
  }
  if (!driver.empty() && driver != "local") {
    return fail(Kind::NotFound, cat("create ", name, ": error looking up volume plugin ", driver,
                                    ": plugin \"", driver, "\" not found"));
  }
  TRY(check_name(name));
  if (const auto there = state_->find(name)) return (*there)->volume;
  TRY(check_options(name, options));
  if (state_->entries.size() >= volumes_max) {
    return fail(Kind::Exhausted, cat("create ", name, ": more than ", volumes_max, " volumes"));
  }
  State::Entry entry;
  Volume& volume = entry.volume;
  volume.mountpoint = cat(state_->path, "/", name, "/", data_directory);
  volume.created_at = moment_text_seconds(now_ns());
  volume.labels = std::move(labels);
  // As Docker marks what nobody gave a name.
  if (anonymous) volume.labels.try_emplace("com.docker.volume.anonymous", "");
  volume.options = std::move(options);
  volume.anonymous = anonymous;
  volume.name = std::move(name);
  TRY(state_->make(volume).context([&] { return cat("create ", volume.name); }));
  state_->events.publish("volume", "create", volume.name, {{"driver", "local"}});
  return state_->entries.insert_or_assign(volume.name, entry).first->second.volume;
}

ring::Task<> Volumes::remove(std::string name, bool force) {
  const auto found = state_->entries.find(name);
  if (found == state_->entries.end()) {
    if (force) co_return;
    co_await fail(Kind::NotFound, cat("get ", name, ": no such volume"));
  }
  if (const auto held = state_->holders.find(name); held != state_->holders.end()) {
    co_await fail(Kind::Conflict,
                  cat("remove ", name, ": volume is in use - [", ids_text(held->second), "]"));
  }
  std::string trash = cat(image::trash_prefix, image::random_name());
  const Result<> moved =
      sys::rename_at(state_->directory.get(), name.c_str(), trash.c_str()).context([&] {
        return cat("remove ", name);
      });
  const bool gone = !moved && moved.error().error_number() == ENOENT;
  if (!moved && !gone) co_await moved;
  state_->entries.erase(found);
  state_->events.publish("volume", "destroy", name, {{"driver", "local"}});
  if (gone) co_return;
  // It is no volume any more, and what is left of it is not the caller's trouble.
  Result<> emptied = co_await ring::as_result(state_->discard(trash));
  if (!emptied) state_->leftovers.push_back(std::move(trash));
}

ring::Task<uint64_t> Volumes::State::size(std::string name) {
  const Entry* entry = co_await find(name);
  if (is_mounted(entry->volume)) co_return 0;
  const std::string data = cat(name, "/", data_directory);
  const Fd place =
      co_await sys::open_at(directory.get(), data.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  co_return co_await image::measure_tree(loop, place);
}

ring::Task<uint64_t> Volumes::size(std::string name) { return state_->size(std::move(name)); }

ring::Task<Volumes::Pruned> Volumes::prune(bool all, std::function<bool(const Volume&)> chosen) {
  Pruned pruned;
  for (const Volume& volume : list()) {
    if (!all && !volume.anonymous) continue;
    if (chosen && !chosen(volume)) continue;
    if (state_->holders.contains(volume.name)) continue;
    const Result<uint64_t> bytes = co_await ring::as_result(state_->size(volume.name));
    // Somebody may have begun to use it, or removed it, while it was measured.
    if (!co_await ring::as_result(remove(volume.name, false))) continue;
    pruned.names.push_back(volume.name);
    pruned.bytes += bytes.value_or(0);
  }
  co_await remove_leftovers();
  state_->events.publish("volume", "prune", "", {{"reclaimed", cat(pruned.bytes)}});
  co_return pruned;
}

// Use ------------------------------------------------------------------------------------------

void Volumes::hold(const std::string& name, const std::string& container) {
  state_->holders[name].insert(container);
}

void Volumes::let_go(const std::string& name, const std::string& container) {
  const auto held = state_->holders.find(name);
  if (held == state_->holders.end()) return;
  held->second.erase(container);
  if (held->second.empty()) state_->holders.erase(held);
}

std::vector<std::string> Volumes::holders(const std::string& name) const {
  const auto held = state_->holders.find(name);
  if (held == state_->holders.end()) return {};
  return {held->second.begin(), held->second.end()};
}

Result<VolumeMount> Volumes::mount_of(const std::string& name) const {
  const State::Entry& entry = *TRY(state_->find(name));
  if (entry.damaged) {
    return fail(Kind::Internal, cat("volume ", name, ": its record is damaged; its data are in ",
                                    entry.volume.mountpoint));
  }
  if (!is_mounted(entry.volume)) return VolumeMount{"bind", entry.volume.mountpoint, {"rbind"}};
  VolumeMount mount;
  mount.type = *find_option(entry.volume.options, "type");
  mount.source = *find_option(entry.volume.options, "device");
  if (const std::string* o = find_option(entry.volume.options, "o")) {
    for (std::string_view rest = *o; !rest.empty();) {
      const std::string_view option = take_until(rest, ',');
      if (!option.empty()) mount.options.emplace_back(option);
    }
  }
  const bool binds = contains(mount.options, "bind") || contains(mount.options, "rbind");
  if (binds) mount.type = "bind";
  if (mount.source.empty()) {
    return fail(Kind::Invalid, "missing device in volume options");
  }
  if (binds && !mount.source.starts_with('/')) {
    return fail(Kind::Invalid, cat("volume ", name, ": device ", quoted(mount.source),
                                   " is not an absolute path"));
  }
  return mount;
}

Result<std::string> Volumes::source_of(const std::string& name) const {
  VolumeMount mount = TRY(mount_of(name));
  if (mount.type == "bind") return std::move(mount.source);
  return fail(Kind::Unsupported,
              cat("volume ", name, ": is a mount of type ", mount.type, ", not a directory"));
}

}  // namespace nacelle::engine
