// create: everything a start needs is done here, so that the start has little left to do: the
// image's layers are found, directories made, files written, the plan compiled.
// Until the record is there, the name and whatever was made are given back on any way out.
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/host_path.h"
#include "engine/moment.h"
#include "engine/names.h"
#include "image/disk.h"
#include "image/layers.h"
#include "image/overlay.h"
#include "logs/options.h"
#include "oci/image.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr size_t images_max = 128;
constexpr size_t compiled_max = 256;
constexpr size_t resolv_bytes_max = 64u << 10;
constexpr size_t chains_bytes_max = 1u << 20;

// What identifies a file's content, for those that are replaced by rename.
std::string stamp_of(int directory_fd, const char* path) {
  struct stat status{};
  if (::fstatat(directory_fd, path, &status, 0) != 0) return {};
  return cat(status.st_dev, ' ', status.st_ino, ' ', status.st_size, ' ', status.st_mtim.tv_sec,
             ' ', status.st_mtim.tv_nsec);
}

// Gives back what a create has taken, unless it came to its end.
class Undo {
 public:
  Undo(Containers::State& state, std::string name, std::string id)
      : state_(state), name_(std::move(name)), id_(std::move(id)) {
    state_.names[name_] = id_;
  }
  Undo(Undo&&) = delete;
  ~Undo() {
    if (done_) return;
    if (const auto named = state_.names.find(name_);
        named != state_.names.end() && named->second == id_) {
      state_.names.erase(named);
    }
    for (const std::string& volume : held_) state_.engine.volumes->let_go(volume, id_);
    for (std::string& volume : made_) {
      state_.background.start(state_.engine.volumes->remove(std::move(volume), true));
    }
    if (has_directory_) (void)state_.janitor.set_aside(state_.directory, id_);
  }

  void holds(const std::string& volume) { held_.push_back(volume); }
  void made(const std::string& volume) { made_.push_back(volume); }
  void has_directory() { has_directory_ = true; }
  void done() { done_ = true; }

 private:
  Containers::State& state_;
  std::string name_, id_;
  std::vector<std::string> held_, made_;
  bool has_directory_ = false, done_ = false;
};

const MountRequest* request_at(const CreateRequest& request, const std::string& destination) {
  for (const MountRequest& each : request.host.mounts) {
    if (each.target == destination) return &each;
  }
  return nullptr;
}

// The volume of one mount, made if it is not there.
Result<> resolve_volume(Containers::State& state, const CreateRequest& request,
                        const std::string& id, MountPlan& plan, Undo& undo) {
  Volumes& volumes = *state.engine.volumes;
  const MountRequest* asked = request_at(request, plan.point.destination);
  Labels labels, options;
  std::string driver = plan.point.driver;
  if (asked != nullptr && asked->volume_options) {
    labels = asked->volume_options->labels;
    if (const auto& config = asked->volume_options->driver_config) {
      options = config->options;
      if (!config->name.empty()) driver = config->name;
    }
  }
  if (driver.empty()) driver = request.host.volume_driver;
  const bool there = volumes.find(plan.point.name).has_value();
  const Volume volume = TRY(volumes.create(plan.point.name, driver, std::move(labels),
                                           std::move(options), plan.anonymous && !there));
  if (!there && plan.anonymous) undo.made(volume.name);
  volumes.hold(volume.name, id);
  undo.holds(volume.name);
  plan.point.name = volume.name;
  plan.point.driver = volume.driver;
  plan.point.source = volume.mountpoint;
  return {};
}

// Anonymous volumes get their names here, and the names are written down before the volumes are
// made: an engine that finds the directory without a record takes them away with it.
Result<> name_volumes(const Fd& place, std::vector<MountPlan>& plans) {
  std::string names;
  for (MountPlan& plan : plans) {
    if (plan.point.type != "volume" || !plan.point.name.empty()) continue;
    plan.anonymous = true;
    plan.point.name = random_id();
    names += plan.point.name + '\n';
  }
  if (names.empty()) return {};
  return put_file(place, made_volumes_file, names, 0600);
}

Result<> resolve_mounts(Containers::State& state, const CreateRequest& request,
                        const std::string& id, std::vector<MountPlan>& plans, Undo& undo) {
  for (MountPlan& plan : plans) {
    if (!plan.subpath.empty()) {
      return fail(Kind::Unsupported, cat("mount of '", plan.point.destination,
                                         "': a part of a volume or image (subpath '", plan.subpath,
                                         "') cannot be mounted by itself"));
    }
    if (plan.point.type == "volume") TRY(resolve_volume(state, request, id, plan, undo));
  }
  return {};
}

// "container:x" with x's id. `mode` is left alone when it is none.
ring::Task<> resolve_container(Containers::State* state, std::string* mode) {
  constexpr std::string_view prefix = "container:";
  if (!mode->starts_with(prefix)) co_return;
  const EntryRef other = co_await state->find(mode->substr(prefix.size()));
  *mode = cat(prefix, other->container.id);
}

// What the volume's own options say comes first, then what this container wants of it.
void put_volume(MountPlan& plan, VolumeMount volume) {
  std::vector<std::string> wanted = std::exchange(plan.options, std::move(volume.options));
  plan.point.source = std::move(volume.source);
  const bool is_bind = volume.type == "bind";
  if (!is_bind) plan.file_system = std::move(volume.type);
  // The volume knows what kind of bind it is, and a file system has nothing below it.
  std::erase_if(wanted, [](std::string_view word) { return word == "bind" || word == "rbind"; });
  if (!is_bind) std::ranges::replace(wanted, std::string("rro"), std::string("ro"));
  plan.options.insert(plan.options.end(), wanted.begin(), wanted.end());
  // Everybody's, as the kernel makes one, and not with the mode of the directory it covers.
  const auto is_mode = [](std::string_view word) { return word.starts_with("mode="); };
  if (plan.file_system == "tmpfs" && std::ranges::none_of(plan.options, is_mode)) {
    plan.options.emplace_back("mode=1777");
  }
}

std::vector<std::string> all_words(const ContainerConfig& config) {
  std::vector<std::string> words = config.entrypoint.words;
  words.insert(words.end(), config.cmd.words.begin(), config.cmd.words.end());
  return words;
}

// Which networks, by name, it is to be in.
void fill_endpoints(CreateRequest& request, Container& container) {
  container.endpoints = std::move(request.networking.endpoints);
  request.networking.endpoints.clear();
  std::string mode = request.host.network_mode;
  if (mode.empty() || mode == "default") mode = "bridge";
  if (auto node = container.endpoints.extract("default")) {
    node.key() = "bridge";
    container.endpoints.insert(std::move(node));
  }
  if (mode.starts_with("container:") || request.config.network_disabled) {
    container.endpoints.clear();
    return;
  }
  Endpoint& main = container.endpoints[mode];
  if (main.mac_address.empty()) main.mac_address = request.config.mac_address;
}

// An engine that may not raise limits (it runs in a container itself) gives what it has, unless
// somebody has asked for more.
void fit_open_files(const CreateRequest& request, oci::Spec& spec) {
  if (contains(request.host.ulimits, "nofile", &Ulimit::name) || !spec.process) return;
  static const rlimit own = [] {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (::prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1) limit.rlim_max = RLIM_INFINITY;
    return limit;
  }();
  for (oci::Rlimit& limit : spec.process->rlimits) {
    if (limit.resource != RLIMIT_NOFILE) continue;
    limit.hard = std::min<uint64_t>(limit.hard, own.rlim_max);
    limit.soft = std::min(limit.soft, limit.hard);
  }
}

bool needs_root(const CreateRequest& request) {
  return !request.config.user.empty() || !request.host.group_add.empty();
}

}  // namespace

// Images. ----------------------------------------------------------------------------------------

std::string Containers::State::stamp_of_index() const {
  return stamp_of(engine.images->store().content_directory().get(), "index.json");
}

ring::Task<std::shared_ptr<KnownImage>> Containers::State::find_image(std::string name) {
  std::string stamp = stamp_of_index();
  if (stamp != index_stamp || images.size() >= images_max) {
    images.clear();
    trees.clear();
    spares.drop_all();
    index_stamp = std::move(stamp);
  }
  if (const auto known = images.find(name); known != images.end()) co_return known->second;
  auto image = std::make_shared<KnownImage>();
  image->details = co_await engine.images->inspect(name);
  for (const codec::Digest& chain : oci::chain_ids(image->details.record.config.diff_ids)) {
    image->chains += chain.text() + '\n';
  }
  images[name] = image;
  co_return image;
}

ring::Task<> Containers::State::prepare_root(std::shared_ptr<KnownImage> image) {
  if (image->root) co_return;
  image->root = co_await engine.images->mount(image->details.image.manifest.digest, {});
}

// An image's layers, as far as they are unpacked.
Result<Trees> Containers::State::trees_of(const std::string& chains) {
  if (const auto known = trees.find(chains); known != trees.end()) {
    const bool are_there = std::ranges::all_of(*known->second, [](const Fd& tree) {
      const Result<struct stat> status = sys::stat_fd(tree);
      return status && status->st_nlink > 0;
    });
    if (are_there) return known->second;
  }
  std::vector<codec::Digest> digests;
  std::string_view rest = chains;
  while (!rest.empty()) digests.push_back(TRY(codec::Digest::parse(take_until(rest, '\n'))));
  auto opened = TRY(image::Layers(engine.images->store()).open_all(digests));
  if (trees.size() >= images_max) trees.clear();
  return trees[chains] = std::make_shared<std::vector<Fd>>(std::move(opened));
}

ring::Task<Fd> Containers::State::mount_root(EntryRef entry) {
  if (entry->ready_root) co_return std::exchange(entry->ready_root, Fd());
  // Two mounts over one writable directory would not see each other.
  if (entry->left_mount) co_await janitor.end_now(std::exchange(entry->left_mount, nullptr));
  const Fd place = co_await open_directory(*entry);
  const std::string chains = co_await sys::read_file_at(place.get(), "image", chains_bytes_max);
  const Fd upper = co_await sys::open_at(place.get(), "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const Fd work = co_await sys::open_at(place.get(), "work", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const Container& container = entry->container;
  const bool is_volatile = container.host.auto_remove;
  // What never ran may have been mounted ahead, by an engine that is no more.
  const bool may_have_been_mounted = entry->run > 0 || container.state.phase == Phase::Created;
  if (is_volatile && may_have_been_mounted) co_await image::end_volatile(work);
  const Result<Trees> found = trees_of(chains);
  if (!found) {
    // Unpacks again what is missing, as far as its blobs are there.
    image::Images::MountOptions options;
    options.upper = &upper;
    options.work = &work;
    options.is_volatile = is_volatile;
    auto manifest = co_await codec::Digest::parse(container.image_manifest);
    co_return co_await engine.images->mount(std::move(manifest), options);
  }
  co_return spares.mount(*found, upper, work, is_volatile);
}

// Another one of the kind may follow.
void Containers::State::wish_for_spare(const RootKind& kind) {
  Result<Trees> layers = trees_of(kind.chains);
  if (layers) spares.wish(kind, *std::move(layers));
}

void Containers::State::drop_ready_root(Entry& entry) {
  (void)janitor.end_mount(std::move(entry.ready_root));
}

void Containers::State::drop_spare(SpareRoot spare) {
  (void)janitor.end_mount(std::move(spare.mount));
  discard_spare(spare.name);
}

void Containers::State::discard_spare(const std::string& name) {
  (void)janitor.set_aside(spares.directory(), name);
}

// Plans. -----------------------------------------------------------------------------------------

std::string Containers::State::cgroup_path(const HostConfig& host, const std::string& id) const {
  std::string_view parent = host.cgroup_parent;
  while (parent.starts_with('/')) parent.remove_prefix(1);
  while (parent.ends_with('/')) parent.remove_suffix(1);
  return parent.empty() ? id : cat(parent, '/', id);
}

ring::Task<> Containers::State::compile(EntryRef entry, const CreateRequest& request,
                                        const Fd* mounted) {
  const Container& container = entry->container;
  SpecInput input;
  input.request = &request;
  input.id = container.id;
  input.directory = container.directory;
  input.mounts = entry->mounts;
  for (MountPlan& plan : input.mounts) {
    if (plan.point.type == "volume") {
      put_volume(plan, co_await engine.volumes->mount_of(plan.point.name));
    } else if (plan.point.type == "image") {
      put_volume(plan, co_await mount_of_image(plan));
    }
  }
  input.init_program = engine.options.init_program;
  input.cgroup_path = cgroup_path(request.host, container.id);
  input.cgroup_parent = request.host.cgroup_parent;
  const std::string& mode = request.host.network_mode;
  input.own_network = mode != "host" && !mode.starts_with("container:");
  Fd empty;
  const Fd* root = mounted != nullptr ? mounted : &empty;
  std::shared_ptr<KnownImage> image;
  if (mounted == nullptr && needs_root(request)) {
    image = co_await find_image(container.image_id);
    co_await prepare_root(image);
    root = &image->root;
  }
  oci::Spec spec = co_await engine.specs->build(input, *root);
  fit_open_files(request, spec);
  entry->compiled = std::make_unique<Compiled>(co_await engine.specs->compile(spec));
}

void Containers::State::keep_compiled(const EntryRef& entry) {
  compiled.push_back(entry);
  if (compiled.size() <= compiled_max) return;
  compiled.front()->compiled = nullptr;
  drop_ready_root(*compiled.front());
  compiled.pop_front();
}

const std::string& Containers::State::text_of(HostFile& file) const {
  std::string stamp = stamp_of(sys::working_directory, file.path);
  if (stamp != file.stamp || stamp.empty()) {
    file.text = sys::read_file_at(sys::working_directory, file.path, resolv_bytes_max)
                    .value_or(std::string());
    file.stamp = std::move(stamp);
  }
  return file.text;
}

std::string Containers::State::resolv_conf_for(const HostConfig& host, bool embedded) {
  const std::string& own = text_of(hosts_resolv_conf);
  return resolv_conf(host, own, embedded, embedded ? std::string() : text_of(resolv_behind));
}

// create. ----------------------------------------------------------------------------------------

namespace {

ring::Task<> check_bind_sources(Containers::State* state, EntryRef entry) {
  for (const MountPlan& plan : entry->mounts) {
    if (plan.point.type != "bind" || plan.create_source) continue;
    if (co_await host_path_exists(state->loop, state->background, plan.point.source)) continue;
    co_await fail(Kind::Invalid,
                  cat("invalid mount config for type \"bind\": bind source path does not exist: ",
                      plan.point.source));
  }
}

// The container's directory with all that gc and a start look for in it. The chains come first and
// under the store's lock: a collection sees either them or the image.
ring::Task<Fd> make_directory(Containers::State* state, EntryRef entry, RootKind kind, Undo* undo) {
  const image::Store& store = state->engine.images->store();
  const image::StoreLock held = co_await store.lock(state->loop, image::Store::LockKind::Shared);
  const int parent = state->directory.get();
  const char* id = entry->container.id.c_str();
  // A spare has been made when the image was there; its layers are as long as the index is the
  // same.
  if (state->index_stamp == state->stamp_of_index()) {
    std::optional<SpareRoot> spare = state->spares.take(kind);
    if (spare && image::rename_between(state->spares.directory(), spare->name.c_str(),
                                       state->directory, id)) {
      undo->has_directory();
      entry->ready_root = std::move(spare->mount);
      fault_point("create.spare");
      co_return std::move(spare->place);
    }
  }
  co_await sys::make_directory_at(parent, id, 0700);
  undo->has_directory();
  fault_point("create.directory");
  Fd place = co_await sys::open_at(parent, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  co_await put_file(place, "image", kind.chains, 0600);
  co_await put_file(place, "base", kind.base, 0600);
  for (const char* name : {"upper", "work"}) {
    co_await sys::make_directory_at(place.get(), name, name[0] == 'u' ? 0755 : 0700);
  }
  fault_point("create.image");
  // Nothing removes the image from now on; that it is still there is seen at the start.
  co_return place;
}

ring::Task<> fill_directory(Containers::State* state, const CreateRequest& request,
                            const Container& container, const Fd& place) {
  co_await put_file(place, "hostname", cat(request.config.hostname, '\n'), 0644);
  co_await put_file(place, "hosts", {}, 0644);
  const bool embedded = state->is_answered(container.endpoints);
  co_await put_file(place, "resolv.conf", state->resolv_conf_for(request.host, embedded), 0644);
  fault_point("create.files");
}

}  // namespace

ring::Task<Created> Containers::State::create(CreateRequest request,
                                              std::shared_ptr<KnownImage> image) {
  co_await ready();
  if (request.name.starts_with('/')) request.name.erase(0, 1);
  if (!request.name.empty()) co_await check_container_name(request.name);
  // Whose record has not been read may have any name.
  co_await all_loaded();
  if (is_taken(request.name)) co_await name_conflict(request.name);
  co_await check_request(request);
  const bool is_stored = image == nullptr;
  if (is_stored) image = co_await find_image(request.config.image);
  co_await merge_image_config(request, image->details.record.config.run);
  if (request.host.log_config.type.empty()) request.host.log_config = engine.options.log;
  fill_defaults(request, engine.options.default_shm_bytes);
  (void)co_await logs::parse_options(request.host.log_config.type, request.host.log_config.config);
  std::vector<std::string> words = all_words(request.config);
  if (words.empty()) co_await fail(Kind::Invalid, "no command specified");
  co_await resolve_container(this, &request.host.network_mode);
  co_await resolve_container(this, &request.host.ipc_mode);
  co_await resolve_container(this, &request.host.pid_mode);
  if (!request.host.links.empty()) (void)co_await find_links(request.host);
  std::vector<std::vector<MountPoint>> volumes_from;
  for (const std::string& from : request.host.volumes_from) {
    const EntryRef other = co_await find(from.substr(0, from.find(':')));
    volumes_from.push_back(other->container.mounts);
  }

  auto entry = std::make_shared<Entry>();
  Container& container = entry->container;
  container.id = random_id();
  // From here on nobody else can have taken the name meanwhile.
  if (request.name.empty()) {
    request.name = make_up_name([this](const std::string& name) { return is_taken(name); });
  } else if (is_taken(request.name)) {
    co_await name_conflict(request.name);
  }
  Undo undo(*this, request.name, container.id);
  container.name = request.name;
  container.created = moment_text(now_ns());
  container.image_id = image->details.id().text();
  container.image_manifest = image->details.image.manifest.digest.text();
  container.path = words.front();
  container.args.assign(words.begin() + 1, words.end());
  container.directory = cat(directory_path, '/', container.id);
  const bool shares_host_name =
      request.host.network_mode == "host" || request.host.uts_mode == "host";
  if (request.config.hostname.empty()) {
    char name[256] = {};
    if (shares_host_name && ::gethostname(name, sizeof name - 1) == 0)
      request.config.hostname = name;
    if (request.config.hostname.empty()) request.config.hostname = container.id.substr(0, 12);
  }
  fill_endpoints(request, container);

  entry->mounts = co_await plan_mounts(request, volumes_from);
  const std::string mounted = co_await find_mounted_images(&entry->mounts);
  const RootKind kind{.chains = image->chains,
                      .base = cat(container.image_manifest, mounted),
                      .is_volatile = request.host.auto_remove};
  const Fd place = co_await make_directory(this, entry, kind, &undo);
  co_await name_volumes(place, entry->mounts);
  co_await resolve_mounts(*this, request, container.id, entry->mounts, undo);
  fault_point("create.volumes");
  for (const MountPlan& plan : entry->mounts) container.mounts.push_back(plan.point);
  co_await check_bind_sources(this, entry);
  co_await fill_directory(this, request, container, place);
  co_await copy_up(entry, image);
  co_await compile(entry, request, is_stored ? nullptr : &image->root);
  Created created{.id = container.id, .warnings = entry->compiled->warnings};
  container.config = std::move(request.config);
  container.host = std::move(request.host);
  co_await save_record(place, write_record(container, entry->mounts, false, false));
  // No await from here on: it is there.
  undo.done();
  list(entry);
  keep_compiled(entry);
  flush_later(entry);
  publish(*entry, "create");
  if (is_stored) wish_for_spare(kind);
  co_return created;
}

}  // namespace nacelle::engine
