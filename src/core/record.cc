#include "core/record.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/text.h"
#include "codec/flat.h"
#include "container/launch_plan.h"
#include "sys/file.h"

namespace nacelle::core {
namespace {

constexpr size_t record_bytes_max = 1u << 20;
constexpr std::string_view begun_prefix = "starting-";
constexpr std::string_view container_prefix = "container-";
constexpr std::string_view exec_prefix = "exec-";
constexpr std::string_view plan_prefix = "plan-";

std::string name_of(const Record& record) {
  if (record.exec.empty()) return cat(container_prefix, record.id);
  return cat(exec_prefix, record.id, '-', record.exec);
}

Result<> rewrite(const Fd& file, std::string_view bytes) {
  if (::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
      ::ftruncate(file.get(), static_cast<off_t>(bytes.size())) < 0) {
    return fail_errno(errno == 0 ? EIO : errno, "writing a record");
  }
  return {};
}

}  // namespace

Result<> check_id(std::string_view id) {
  const bool good = id.size() == 64 && std::ranges::all_of(id, [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  if (!good) return fail(Kind::Invalid, "a container's id is 64 hexadecimal digits");
  return {};
}

Result<> check_exec_id(std::string_view exec) {
  const bool good = !exec.empty() && exec.size() <= 64 && std::ranges::all_of(exec, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  });
  if (!good) return fail(Kind::Invalid, "the id of an exec is 1 to 64 letters, digits and '_'");
  return {};
}

Result<Record> decode_record(std::string_view bytes) {
  Record record = TRY(codec::flat::decode<Record>(bytes, "record"));
  if (record.version != Record::version_value) {
    return fail(Kind::Unsupported, cat("record: version ", record.version));
  }
  TRY(check_id(record.id));
  if (!record.exec.empty()) TRY(check_exec_id(record.exec));
  if (record.log.driver > logs::Driver::None) return fail(Kind::Invalid, "record: unknown driver");
  return record;
}

std::string key_of(std::string_view id, std::string_view exec) {
  return exec.empty() ? std::string(id) : cat(id, '/', exec);
}

Result<RecordStore> RecordStore::open(const std::string& run_directory) {
  for (const std::string& path : {run_directory, cat(run_directory, "/core")}) {
    Result<> made = sys::make_directory_at(sys::working_directory, path.c_str(), 0700);
    if (!made && made.error().error_number() != EEXIST) {
      return std::unexpected(std::move(made).error());
    }
  }
  RecordStore store;
  store.directory_ = TRY(sys::open_at(sys::working_directory, cat(run_directory, "/core").c_str(),
                                      O_RDONLY | O_DIRECTORY));
  return store;
}

Result<Fd> RecordStore::begin(const Record& record) const {
  const std::string name = cat(begun_prefix, record.id);
  Fd file = TRY(sys::open_at(directory_.get(), name.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  TRY(rewrite(file, codec::flat::encode(record)));
  return file;
}

Result<> RecordStore::write_begun(const Fd& file, const Record& record) const {
  return rewrite(file, codec::flat::encode(record));
}

Result<> RecordStore::publish(const Record& record) const {
  return sys::rename_at(directory_.get(), cat(begun_prefix, record.id).c_str(),
                        name_of(record).c_str());
}

Result<> RecordStore::save(const Record& record) const {
  return sys::replace_file_at(directory_.get(), name_of(record).c_str(),
                              codec::flat::encode(record), 0600);
}

Result<> RecordStore::save_plan(const std::string& id, std::string_view plan) const {
  const Fd file = TRY(sys::open_at(directory_.get(), cat(plan_prefix, id).c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600));
  return sys::write_all(file, plan, "plan");
}

Result<std::string> RecordStore::load_plan(const std::string& id) const {
  return sys::read_file_at(directory_.get(), cat(plan_prefix, id).c_str(),
                           container::plan_bytes_max);
}

void RecordStore::remove_begun(const std::string& id) const {
  ::unlinkat(directory_.get(), cat(begun_prefix, id).c_str(), 0);
  ::unlinkat(directory_.get(), cat(plan_prefix, id).c_str(), 0);
}

void RecordStore::remove(const Record& record) const {
  ::unlinkat(directory_.get(), name_of(record).c_str(), 0);
  if (record.exec.empty()) ::unlinkat(directory_.get(), cat(plan_prefix, record.id).c_str(), 0);
}

Result<RecordStore::Found> RecordStore::load() const {
  const int again = ::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return fail_errno(errno, "listing the records");
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(again), ::closedir);
  if (!list) {
    ::close(again);
    return fail_errno(ENOMEM, "listing the records");
  }
  Found found;
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string_view name = entry->d_name;
    const bool begun = name.starts_with(begun_prefix);
    if (!begun && !name.starts_with(container_prefix) && !name.starts_with(exec_prefix)) continue;
    const auto bytes = sys::read_file_at(directory_.get(), entry->d_name, record_bytes_max);
    auto record = bytes ? decode_record(*bytes) : Result<Record>(std::unexpected(bytes.error()));
    if (!record) {
      found.damaged.emplace_back(name);
      continue;
    }
    (begun ? found.begun : found.published).push_back(*std::move(record));
  }
  std::ranges::sort(found.published, {}, [](const Record& record) { return !record.exec.empty(); });
  return found;
}

}  // namespace nacelle::core
