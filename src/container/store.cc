#include "container/store.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "sys/file.h"

namespace nacelle::container {
namespace {

constexpr size_t record_bytes_max = 4u << 20;
constexpr size_t id_bytes_max = 1024;
constexpr const char* record_file = "state.json";
constexpr const char* unpublished_file = "state.json.partial";
constexpr const char* plan_file = "plan";
constexpr const char* cgroup_link = "cgroup";

std::string write_record(const Record& record) {
  codec::json::Writer json;
  json.begin_object();
  json.member("ociVersion", record.state.oci_version);
  json.member("id", record.state.id);
  json.member("bundle", record.state.bundle);
  json.member("rootfs", record.state.rootfs);
  json.member("created", record.state.created);
  json.key("annotations").begin_object();
  for (const auto& [name, value] : record.state.annotations) json.member(name, value);
  json.end_object();
  json.member("pid", record.init.pid);
  json.member("pidfdInode", record.init.pidfd_inode);
  json.member("startTime", record.init.start_time);
  json.member("cgroup", record.cgroup);
  json.key("cgroupsMade").values(record.cgroups_made);
  if (!record.rdt_groups.empty()) {
    json.key("rdtGroups").values(record.rdt_groups);
    json.key("rdtMade").values(record.rdt_made);
  }
  json.member("namespaces", record.namespaces);
  json.member("startHooks", record.has_start_hooks);
  json.member("stopHooks", record.has_stop_hooks);
  return std::move(json.end_object()).take();
}

Result<Record> parse_record(std::string text) {
  const auto document = TRY(codec::json::Document::parse(text));
  const codec::json::Object json = TRY(document.root().object());
  Record record;
  TRY(json.need("ociVersion", record.state.oci_version));
  TRY(json.need("id", record.state.id));
  TRY(json.need("bundle", record.state.bundle));
  TRY(json.need("rootfs", record.state.rootfs));
  TRY(json.need("created", record.state.created));
  TRY(json.need("annotations", record.state.annotations));
  TRY(json.need("pid", record.init.pid));
  TRY(json.need("pidfdInode", record.init.pidfd_inode));
  TRY(json.need("startTime", record.init.start_time));
  TRY(json.need("cgroup", record.cgroup));
  TRY(json.need("cgroupsMade", record.cgroups_made));
  TRY(json.maybe("rdtGroups", record.rdt_groups));
  TRY(json.maybe("rdtMade", record.rdt_made));
  TRY(json.need("namespaces", record.namespaces));
  TRY(json.need("startHooks", record.has_start_hooks));
  TRY(json.need("stopHooks", record.has_stop_hooks));
  return record;
}

}  // namespace

Result<Store> Store::open(std::string root) {
  Store store;
  store.path_ = std::move(root);
  Result<Fd> opened =
      sys::open_at(sys::working_directory, store.path_.c_str(), O_PATH | O_DIRECTORY);
  if (!opened && opened.error().error_number() == ENOENT) {
    // All parents, as mkdir -p; only the last is private.
    for (size_t at = store.path_.find('/', 1); at != std::string::npos;
         at = store.path_.find('/', at + 1)) {
      (void)sys::make_directory_at(sys::working_directory, store.path_.substr(0, at).c_str(), 0755);
    }
    Result<> made = sys::make_directory_at(sys::working_directory, store.path_.c_str(), 0700);
    if (!made && made.error().error_number() != EEXIST) return std::unexpected(made.error());
    opened = sys::open_at(sys::working_directory, store.path_.c_str(), O_PATH | O_DIRECTORY);
  }
  store.root_ = TRY(std::move(opened));
  return store;
}

Result<> Store::check_id(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '+' || c == '-' || c == '.';
  };
  if (id.empty()) return fail(Kind::Invalid, "container id: must not be empty");
  if (id == "." || id == ".." || id.size() > id_bytes_max || !std::ranges::all_of(id, allowed)) {
    return fail(Kind::Invalid, cat("container id: ", codec::json::in_quotes(id),
                                   ": invalid: letters, digits and _ + - . only"));
  }
  return {};
}

Result<Fd> Store::reserve(const std::string& id) const {
  TRY(check_id(id));
  const Result<> made = sys::make_directory_at(root_.get(), id.c_str(), 0700);
  if (!made) {
    if (made.error().error_number() == EEXIST) {
      return fail(Kind::Conflict, cat("container with given ID already exists: ", id));
    }
    return std::unexpected(made.error());
  }
  return sys::open_at(root_.get(), id.c_str(), O_PATH | O_DIRECTORY);
}

Result<Fd> Store::open_container(const std::string& id) const {
  TRY(check_id(id));
  Result<Fd> directory = sys::open_at(root_.get(), id.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (!directory && directory.error().error_number() == ENOENT) {
    return fail(Kind::NotFound, cat("container does not exist: ", id));
  }
  return directory;
}

Result<> Store::release(const std::string& id, const Fd& directory) const {
  // Somebody may have released it before us, and somebody else taken the id since.
  const struct stat ours = TRY(sys::stat_fd(directory));
  const auto named = sys::stat_at(root_.get(), id.c_str(), AT_SYMLINK_NOFOLLOW);
  if (!named || named->st_ino != ours.st_ino || named->st_dev != ours.st_dev) return {};
  // The record goes last: what is left of a removal that was killed can be removed again.
  for (const char* file :
       {plan_file, start_fifo, report_fifo, unpublished_file, record_file, cgroup_link}) {
    if (::unlinkat(directory.get(), file, 0) < 0 && errno != ENOENT) {
      return fail_errno(errno, cat("unlink '", id, "/", file, "'"));
    }
  }
  Result<> removed = sys::unlink_at(root_.get(), id.c_str(), AT_REMOVEDIR);
  // A file of a later version.
  if (!removed && removed.error().error_number() == ENOTEMPTY) {
    return sys::remove_directory_at(root_.get(), id.c_str());
  }
  return removed;
}

Result<> Store::save(const Fd& directory, const Record& record) {
  const Fd file =
      TRY(sys::open_at(directory.get(), unpublished_file, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return sys::write_all(file, write_record(record), record_file);
}

Result<> Store::publish(const Fd& directory) {
  return sys::rename_at(directory.get(), unpublished_file, record_file);
}

Result<Record> Store::load(const Fd& directory) {
  std::string text = TRY(sys::read_file_at(directory.get(), record_file, record_bytes_max));
  return parse_record(std::move(text)).context(record_file);
}

Result<> Store::note_cgroup(const Fd& directory, const std::string& path) {
  // A link is a file whose content is there with its name: one call.
  if (::symlinkat(path.c_str(), directory.get(), cgroup_link) < 0) {
    return fail_errno(errno, cat("symlink '", cgroup_link, "'"));
  }
  return {};
}

Result<std::string> Store::noted_cgroup(const Fd& directory) {
  return sys::read_link_at(directory.get(), cgroup_link);
}

Result<> Store::save_plan(const Fd& directory, std::string_view plan) {
  const Fd file = TRY(sys::open_at(directory.get(), plan_file, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return sys::write_all(file, plan, plan_file);
}

Result<StoredPlan> Store::load_plan(const Fd& directory) {
  StoredPlan plan;
  plan.bytes = TRY(sys::read_file_at(directory.get(), plan_file, plan_bytes_max));
  plan.view = TRY(PlanView::check(plan.bytes));
  return plan;
}

Result<std::vector<std::string>> Store::list() const {
  Fd inside = TRY(sys::open_at(root_.get(), ".", O_RDONLY | O_DIRECTORY));
  DIR* listing = ::fdopendir(inside.get());
  if (listing == nullptr) return fail_errno(errno, cat("opendir '", path_, "'"));
  (void)std::move(inside).release();  // owned by `listing` from here on
  std::vector<std::string> ids;
  while (const dirent* entry = ::readdir(listing)) {
    if (check_id(entry->d_name)) ids.emplace_back(entry->d_name);
  }
  ::closedir(listing);
  std::ranges::sort(ids);
  return ids;
}

}  // namespace nacelle::container
