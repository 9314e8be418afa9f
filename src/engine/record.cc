#include "engine/record.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "codec/json_fields.h"
#include "engine/names.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr int version = 1;

constexpr Phase phases[] = {Phase::Created,  Phase::Running, Phase::Paused, Phase::Restarting,
                            Phase::Removing, Phase::Exited,  Phase::Dead};

struct MountPlanFields {
  MountPlan& plan;
  template <class V>
  void describe(V& v) {
    v("Point", plan.point);
    v("Anonymous", plan.anonymous);
    v("NoCopy", plan.no_copy);
    v("CreateSource", plan.create_source);
    v("Subpath", plan.subpath);
    v("Options", plan.options);
    v("Layers", plan.layers);
  }
};

struct Mounts {
  std::vector<MountPlan>& plans;
};
Result<> read_json(const codec::json::Value& value, Mounts& out) {
  if (value.type() == codec::json::Type::Null) return {};
  for (const codec::json::Value each : TRY(value.array())) {
    MountPlanFields fields{out.plans.emplace_back()};
    TRY(codec::json::read_fields(each, fields));
  }
  return {};
}
void write_json(codec::json::Writer& json, const Mounts& mounts) {
  json.begin_array();
  for (MountPlan& plan : mounts.plans) codec::json::write_fields(json, MountPlanFields{plan});
  json.end_array();
}

struct StateFields {
  ContainerState& state;
  std::string phase;
  template <class V>
  void describe(V& v) {
    v("Status", phase);
    v("OOMKilled", state.oom_killed);
    v("Pid", state.pid);
    v("ExitCode", state.exit_code);
    v("Error", state.error);
    v("StartedAt", state.started_at);
    v("FinishedAt", state.finished_at);
    v("Health", state.health);
  }
};

// {} of an optional list is written as null, like an absent one: these say which it was.
struct EmptyLists {
  bool masked_paths = false, readonly_paths = false;
};

struct Fields {
  Container& container;
  StateFields state;
  Mounts mounts;
  EmptyLists empty;
  int version = 0;
  bool removing = false, remove_volumes = false;
  template <class V>
  void describe(V& v) {
    v("Version", version);
    v("ID", container.id);
    v("Name", container.name);
    v("Created", container.created);
    v("Image", container.image_id);
    v("ImageManifest", container.image_manifest);
    v("Path", container.path);
    v("Args", container.args);
    v("Config", container.config);
    v("HostConfig", container.host);
    v("EmptyMaskedPaths", empty.masked_paths);
    v("EmptyReadonlyPaths", empty.readonly_paths);
    v("Endpoints", container.endpoints);
    v("Ports", container.ports);
    v("Mounts", mounts);
    v("State", state);
    v("RestartCount", container.restart_count);
    v("HasBeenStopped", container.has_been_stopped);
    v("Cgroup", container.cgroup);
    v("Removing", removing);
    v("RemoveVolumes", remove_volumes);
  }
};

std::unexpected<Error> damaged(std::string_view why) {
  return fail(Kind::Invalid, cat("a container's record: ", why));
}

}  // namespace

std::string write_record(const Container& container, const std::vector<MountPlan>& mounts,
                         bool removing, bool remove_volumes) {
  // describe() serves both directions, and only reads here.
  Container& source = const_cast<Container&>(container);
  const auto is_empty = [](const auto& list) { return list && list->empty(); };
  Fields fields{.container = source,
                .state = {source.state, to_string(source.state.phase)},
                .mounts = {const_cast<std::vector<MountPlan>&>(mounts)},
                .empty = {is_empty(source.host.masked_paths), is_empty(source.host.readonly_paths)},
                .version = version,
                .removing = removing,
                .remove_volumes = remove_volumes};
  codec::json::Writer json;
  codec::json::write_fields(json, fields);
  return std::move(json).take();
}

std::string write_record(const Record& record) {
  return write_record(record.container, record.mounts, record.removing, record.remove_volumes);
}

Result<Record> parse_record(std::string_view text) {
  const auto document = TRY(codec::json::Document::parse(text, {.bytes_max = record_bytes_max}));
  Record record;
  Fields fields{.container = record.container,
                .state = {record.container.state, {}},
                .mounts = {record.mounts},
                .empty = {}};
  TRY(codec::json::read_fields(document.root(), fields));
  if (fields.version != version) return damaged(cat("version ", fields.version));
  Container& container = record.container;
  if (!is_id(container.id)) return damaged("no id");
  if (!is_container_name(container.name)) return damaged("no name");
  bool known = false;
  for (const Phase phase : phases) {
    if (fields.state.phase != to_string(phase)) continue;
    container.state.phase = phase;
    known = true;
  }
  if (!known) return damaged(cat("no state '", fields.state.phase, "'"));
  if (fields.empty.masked_paths) container.host.masked_paths.emplace();
  if (fields.empty.readonly_paths) container.host.readonly_paths.emplace();
  record.removing = fields.removing;
  record.remove_volumes = fields.remove_volumes;
  for (const MountPlan& plan : record.mounts) container.mounts.push_back(plan.point);
  return record;
}

Result<> save_record(const Fd& directory, std::string_view text) {
  {
    const Fd file = TRY(sys::open_at(directory.get(), new_record_name, O_WRONLY | O_CREAT, 0600));
    // Only what a crash has left: the file system would write out at once what replaces a cut one.
    if (TRY(sys::stat_fd(file)).st_size > 0 && ::ftruncate(file.get(), 0) != 0) {
      return fail_errno(errno, "ftruncate of a record");
    }
    TRY(sys::write_all(file, text, record_name));
  }
  fault_point("record.written");
  TRY(sys::rename_at(directory.get(), new_record_name, record_name));
  fault_point("record.renamed");
  return {};
}

Result<Record> load_record(const Fd& containers, const std::string& id) {
  const std::string path = cat(id, '/', record_name);
  const std::string text = TRY(sys::read_file_at(containers.get(), path.c_str(), record_bytes_max));
  Record record = TRY(parse_record(text));
  if (record.container.id != id) return damaged(cat("of ", record.container.id, " in ", id));
  return record;
}

}  // namespace nacelle::engine
