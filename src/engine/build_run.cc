// RUN: a container on top of a stage's layers, with the seccomp filter, capabilities and limits
// that any container has. What it wrote is the step's layer.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/text.h"
#include "engine/build_state.h"
#include "engine/container_state.h"
#include "engine/names.h"
#include "logs/reader.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::engine {
namespace {

// How a step's container is known to an engine that finds it left behind: the annotation's value
// says which process has made it.
constexpr const char* step_annotation = "nacelle.build.step";
const std::string& this_engine() {
  static const std::string id = random_id();
  return id;
}

ring::Task<> remove_quietly(Engine* engine, std::string id) {
  (void)co_await ring::as_result(
      engine->containers->remove(std::move(id), /*force=*/true, /*volumes=*/true, /*link=*/false));
}

// A step's container. Whatever ends the step, and be it that its client has left, the container
// goes with it.
class StepContainer {
 public:
  StepContainer(Engine& engine, std::string id) : engine_(engine), id_(std::move(id)) {}
  StepContainer(const StepContainer&) = delete;
  StepContainer& operator=(const StepContainer&) = delete;
  ~StepContainer() {
    if (!id_.empty()) engine_.background->start(remove_quietly(&engine_, std::move(id_)));
  }
  void keep() { id_.clear(); }
  ring::Task<> remove() {
    co_await remove_quietly(&engine_, id_);
    id_.clear();
  }

 private:
  Engine& engine_;
  std::string id_;
};

// Where every container has something mounted, or has a directory made for it.
std::vector<std::string> mount_points(const CreateRequest& request) {
  std::vector<std::string> paths{"etc/hostname", "etc/hosts", "etc/resolv.conf",
                                 "dev",          "proc",      "sys"};
  for (const MountRequest& mount : request.host.mounts) paths.push_back(mount.target.substr(1));
  return paths;
}

bool is_there(const Fd& root, const std::string& path) {
  const long opened = sys::InRoot(root.get()).open(path.c_str(), O_PATH | O_NOFOLLOW);
  if (opened < 0) return false;
  const Fd closed(static_cast<int>(opened));
  return true;
}

// Whether a directory of the upper layer says nothing but its times that the one below does not.
bool says_nothing(const Fd& parent, const char* name, const Fd& below, const std::string& path) {
  const long opened = ::openat(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (opened < 0) return false;
  const Fd directory(static_cast<int>(opened));
  if (::fgetxattr(directory.get(), "trusted.overlay.opaque", nullptr, 0) >= 0) return false;
  const long found = sys::InRoot(below.get()).open(path.c_str(), O_PATH | O_NOFOLLOW);
  if (found < 0) return found == -ENOENT;
  const Fd lower(static_cast<int>(found));
  struct stat ours{}, theirs{};
  if (::fstat(directory.get(), &ours) < 0 || ::fstat(lower.get(), &theirs) < 0) return false;
  return ours.st_mode == theirs.st_mode && ours.st_uid == theirs.st_uid &&
         ours.st_gid == theirs.st_gid;
}

// What was made for mounts is nothing that the step has written: it is no part of its layer, nor
// are directories that would be there for that alone. The container has ended, and nobody moves
// anything meanwhile.
void remove_mount_points(const Fd& upper, const Fd& below, const std::vector<std::string>& paths) {
  const sys::InRoot inside(upper.get());
  for (std::string path : paths) {
    for (bool is_leaf = true; !path.empty(); is_leaf = false) {
      const size_t slash = path.rfind('/');
      const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
      const char* const name = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
      const long opened =
          inside.open(parent.c_str(), O_RDONLY | O_DIRECTORY, sys::InRoot::Symlinks::Refuse);
      if (opened < 0) break;
      const Fd directory(static_cast<int>(opened));
      struct stat status{};
      if (::fstatat(directory.get(), name, &status, AT_SYMLINK_NOFOLLOW) < 0) break;
      const bool goes =
          is_leaf ? !is_there(below, path) : says_nothing(directory, name, below, path);
      if (!goes) break;
      const bool is_empty_file = is_leaf && S_ISREG(status.st_mode) && status.st_size == 0;
      if (!is_empty_file && !S_ISDIR(status.st_mode)) break;
      if (::unlinkat(directory.get(), name, is_empty_file ? 0 : AT_REMOVEDIR) < 0) break;
      path.resize(slash == std::string::npos ? 0 : slash);
    }
  }
}

// In dockerd's words; nothing where the machine runs what is in the image.
std::string platform_warning(const oci::Platform& image) {
  const oci::Platform host = oci::host_platform();
  if (image.architecture.empty() || oci::platform_match(host, image) > 0) return {};
  return cat(" ---> [Warning] The requested image's platform (", image.text(),
             ") does not match the detected host platform (", host.text(),
             ") and no specific platform was requested\n");
}

HealthConfig no_health_check() {
  HealthConfig health;
  health.test = {"NONE"};
  return health;
}

}  // namespace

ring::Task<> Build::run_command(BuildStage& stage, const build::Run& run,
                                const std::vector<Origin>& origins) {
  if (run.insecure) {
    co_await fail(Kind::Unsupported, "--security=insecure is not supported by this builder");
  }
  if (stage.record.config.diff_ids.empty()) {
    co_await fail(Kind::Invalid, "RUN has nothing to run in: the stage has no files yet");
  }
  const build::RunForm form = build::run_form(run);
  std::vector<std::string> words = form.command.arguments(stage.run().shell);
  const build::Environment counting = stage.arguments->for_run(stage.run(), true);
  const std::string text = run_text(words, counting);
  const char* const network = run.network == build::RunNetwork::None   ? "none"
                              : run.network == build::RunNetwork::Host ? "host"
                                                                       : "";
  std::vector<RunMount> mounts = co_await find_mounts(stage, run, origins);
  std::vector<std::string> parts{"RUN", text, network, form.script};
  for (const RunMount& mount : mounts) parts.push_back(mount.key);
  Step step = step_of(stage, config_of(stage), text, std::move(parts));
  step.history_says_all =
      mounts.empty() && form.script.empty() && run.network == build::RunNetwork::Default;
  if (co_await take_cached(stage, step)) co_return;
  CreateRequest request = plan_container(stage, run, words);
  if (!form.script.empty()) {
    const std::string source = co_await write_script(form.script);
    request.host.binds.push_back(cat(source, ':', form.script_path, ":ro"));
  }
  place_agents(mounts, request);
  co_await add_mounts(mounts, request);
  std::string shown;
  for (const std::string& word : words) shown += cat(shown.empty() ? "" : " ", word);
  co_await with_agents(mounts,
                       run_container(stage, std::move(step), std::move(request), std::move(shown)));
}

// A file whose interpreter is what its first line names. Its path on the host.
ring::Task<std::string> Build::write_script(const std::string& text) {
  const std::string name = cat("script-", scratches_++);
  const int directory = workspace_.directory().get();
  const Fd file = co_await sys::open_at(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0755);
  co_await sys::write_all(file, text, name);
  const std::string link = cat("/proc/self/fd/", directory);
  const std::string path = co_await sys::read_link_at(sys::working_directory, link.c_str());
  co_return cat(path, '/', name);
}

CreateRequest Build::plan_container(const BuildStage& stage, const build::Run& run,
                                    const std::vector<std::string>& words) const {
  CreateRequest request;
  request.host = request_.host;
  request.host.log_config = {.type = "json-file", .config = {}};
  if (!request_.keep_containers) request.host.annotations[step_annotation] = this_engine();
  if (run.network == build::RunNetwork::None) request.host.network_mode = "none";
  if (run.network == build::RunNetwork::Host) request.host.network_mode = "host";
  ContainerConfig& config = request.config;
  const oci::RunConfig& image = stage.run();
  config.image = stage.record.id().text();
  config.cmd = {.set = true, .words = words};
  config.user = image.user;
  config.working_dir = image.working_directory;
  config.env = image.env;
  for (const auto& [name, value] : stage.arguments->for_run(image, false)) {
    config.env.push_back(cat(name, '=', value));
  }
  config.healthcheck = no_health_check();
  config.attach_stdout = config.attach_stderr = true;
  return request;
}

ring::Task<int> Build::run_to_end(std::string id, EntriesReader read) {
  Containers& containers = *engine_.containers;
  const auto waiting = co_await containers.wait(id, WaitCondition::NextExit);
  co_await containers.start(id);
  logs::ReadOptions options;
  options.follow = true;
  const std::unique_ptr<logs::Reader> reader = co_await containers.logs(id, options);
  for (;;) {
    const std::vector<logs::Entry> entries = co_await reader->next();
    if (entries.empty()) break;
    co_await read(entries);
  }
  const WaitOutcome outcome = co_await waiting->outcome();
  co_return outcome.exit_code;
}

namespace {

ring::Task<> show_entries(StageListener& listener, const std::vector<logs::Entry>& entries) {
  for (const logs::Entry& entry : entries) listener.output(entry.text);
  co_await listener.room();
}

ring::Task<> keep_entries(std::string& said, const std::vector<logs::Entry>& entries) {
  constexpr size_t words_max = 4096;
  for (const logs::Entry& entry : entries) {
    if (said.size() < words_max) said += entry.text.substr(0, words_max - said.size());
  }
  co_return;
}

}  // namespace

ring::Task<int> Build::run_apart(CreateRequest request, std::string* said) {
  request.host.annotations[step_annotation] = this_engine();
  request.config.healthcheck = no_health_check();
  auto image = std::make_shared<KnownImage>();
  image->details.record = image::Images::draft({}, {});
  image->root = co_await open_empty();
  const Created created = co_await engine_.containers->state().create(std::move(request), image);
  StepContainer container(engine_, created.id);
  const int code = co_await run_to_end(
      created.id, [said](const auto& entries) { return keep_entries(*said, entries); });
  while (said->ends_with('\n')) said->pop_back();
  co_await container.remove();
  co_return code;
}

ring::Task<> Build::run_container(BuildStage& stage, Step step, CreateRequest request,
                                  std::string shown) {
  Containers::State& containers = engine_.containers->state();
  auto image = std::make_shared<KnownImage>();
  image->details.image.manifest = stage.record.descriptor;
  image->details.record = stage.record;
  image->details.record.config.run = {};  // the request says all of it
  for (const codec::Digest& chain : oci::chain_ids(stage.record.config.diff_ids)) {
    image->chains += chain.text() + '\n';
  }
  image->root = co_await engine_.images->mount(stage.record, {});
  const std::vector<std::string> made_for_mounts = mount_points(request);
  const Created created = co_await containers.create(std::move(request), image);
  StepContainer container(engine_, created.id);
  if (request_.keep_containers) container.keep();
  const std::string short_id = created.id.substr(0, 12);
  stage.listener->text(platform_warning(stage.record.config.platform));
  stage.listener->text(cat(" ---> Running in ", short_id, '\n'));
  StageListener& listener = *stage.listener;
  const int code = co_await run_to_end(
      created.id, [&](const auto& entries) { return show_entries(listener, entries); });
  if (code != 0) {
    stage.listener->command_failed(shown, code);
    co_await fail(Kind::Invalid, cat("The command '", shown, "' returned a non-zero code: ", code));
  }
  const std::string path = cat(created.id, "/upper");
  std::optional<image::Images::NewLayer> layer;
  {
    const Fd upper = co_await sys::open_at(containers.directory.get(), path.c_str(),
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    remove_mount_points(upper, image->root, made_for_mounts);
    layer = co_await engine_.images->pack_layer(upper, lease_, source_date_epoch_);
  }
  if (!request_.keep_containers) {
    co_await container.remove();
    stage.listener->text(cat(" ---> Removed intermediate container ", short_id, '\n'));
  }
  co_await finish(stage, std::move(step), std::move(layer));
}

ring::Task<> remove_left_steps(Engine* engine) {
  co_await remove_left_secrets(*engine);
  co_await engine->containers->all_loaded();
  std::vector<std::string> left;
  for (const Container* each : engine->containers->all()) {
    const auto made_by = each->host.annotations.find(step_annotation);
    if (made_by == each->host.annotations.end() || made_by->second == this_engine()) continue;
    left.push_back(each->id);
  }
  for (std::string& id : left) co_await remove_quietly(engine, std::move(id));
  co_await engine->images->collect_half_done();
}

}  // namespace nacelle::engine
