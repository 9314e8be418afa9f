#include "container/intel_rdt.h"

#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "sys/file.h"

namespace nacelle::container {
namespace {

constexpr const char* resctrl_directory = "/sys/fs/resctrl";
constexpr long resctrl_magic = 0x7655821;
constexpr const char* last_status_file = "info/last_cmd_status";
constexpr size_t schemata_bytes_max = 64u << 10;
constexpr size_t status_bytes_max = 4096;

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t') || text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// "000f", "F" and "f" are one value; so are " 20" and "20".
bool same_value(std::string_view a, std::string_view b) {
  a = trim(a);
  b = trim(b);
  while (a.size() > 1 && a.starts_with('0')) a.remove_prefix(1);
  while (b.size() > 1 && b.starts_with('0')) b.remove_prefix(1);
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool has_domain(std::string_view domains, std::string_view id, std::string_view value) {
  while (!domains.empty()) {
    std::string_view have = take_until(domains, ';');
    if (same_value(take_until(have, '='), id)) return same_value(have, value);
  }
  return false;
}

// The kernel says in a file of its own why it refused.
Error explained(const Fd& resctrl, Error error) {
  const auto status = sys::read_file_at(resctrl.get(), last_status_file, status_bytes_max);
  if (!status || trim(*status).empty() || trim(*status) == "ok") return error;
  return Error(error.kind(), cat(error.message(), " (", trim(*status), ")"));
}

Result<> explained(const Fd& resctrl, Result<> result) {
  if (result) return result;
  return std::unexpected(explained(resctrl, std::move(result).error()));
}

// True: it was there already.
Result<bool> ensure_group(const Fd& resctrl, const RdtPlan& plan) {
  auto made = sys::make_directory_at(resctrl.get(), plan.group.c_str(), 0755);
  if (made) return false;
  if (made.error().error_number() == EEXIST && !plan.own) return true;
  return std::unexpected(explained(resctrl, std::move(made).error()));
}

Result<> check_group(const Fd& resctrl, const RdtPlan& plan) {
  if (plan.compared.empty()) return {};
  const std::string file = cat(plan.group, "/schemata");
  const std::string have = TRY(sys::read_file_at(resctrl.get(), file.c_str(), schemata_bytes_max));
  for (const std::string& line : plan.compared) {
    if (schemata_hold(have, line)) continue;
    return fail(Kind::Conflict,
                cat("closID '", plan.group, "' is there with other values than '", line, "'"));
  }
  return {};
}

Result<> fill(const Fd& resctrl, const RdtPlan& plan, pid_t pid, std::vector<std::string>& made) {
  if (plan.must_exist) {
    if (::faccessat(resctrl.get(), plan.group.c_str(), F_OK, 0) != 0) {
      return fail(Kind::NotFound, cat("closID '", plan.group,
                                      "' does not exist, and no schema is given to make it of"));
    }
  } else {
    const bool existed = TRY(ensure_group(resctrl, plan));
    if (!existed) made.push_back(plan.group);
    if (existed) TRY(check_group(resctrl, plan));
  }
  const auto write = [&](const std::string& group, const char* file, std::string_view line) {
    return explained(resctrl,
                     sys::write_file_at(resctrl.get(), cat(group, "/", file).c_str(), line));
  };
  for (const std::string& line : plan.schemata) TRY(write(plan.group, "schemata", cat(line, "\n")));
  const std::string task = cat(pid);
  TRY(write(plan.group, "tasks", task));
  if (plan.monitoring.empty()) return {};
  TRY(explained(resctrl, sys::make_directory_at(resctrl.get(), plan.monitoring.c_str(), 0755)));
  made.push_back(plan.monitoring);
  return write(plan.monitoring, "tasks", task);
}

}  // namespace

Result<Fd> open_resctrl() {
  Fd root(::open(resctrl_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct statfs filesystem;
  if (!root || ::fstatfs(root.get(), &filesystem) != 0 || filesystem.f_type != resctrl_magic) {
    return fail(Kind::Unsupported, "no resctrl file system is mounted at /sys/fs/resctrl");
  }
  return root;
}

RdtPlan plan_rdt(const oci::IntelRdt& rdt, std::string_view container_id) {
  RdtPlan plan;
  plan.own = rdt.clos_id.empty();
  plan.group = plan.own ? std::string(container_id) : rdt.clos_id == "/" ? "." : rdt.clos_id;
  for (const std::string* line : {&rdt.l3_cache_schema, &rdt.mem_bw_schema}) {
    if (line->empty()) continue;
    plan.schemata.push_back(*line);
    if (!plan.own) plan.compared.push_back(*line);
  }
  plan.schemata.insert(plan.schemata.end(), rdt.schemata.begin(), rdt.schemata.end());
  plan.must_exist = !plan.own && plan.schemata.empty();
  if (rdt.enable_monitoring) plan.monitoring = cat(plan.group, "/mon_groups/", container_id);
  return plan;
}

bool schemata_hold(std::string_view schemata, std::string_view line) {
  const std::string_view resource = trim(take_until(line, ':'));
  while (!schemata.empty()) {
    std::string_view have = take_until(schemata, '\n');
    if (trim(take_until(have, ':')) != resource) continue;
    while (!line.empty()) {
      std::string_view value = take_until(line, ';');
      const std::string_view id = take_until(value, '=');
      if (!has_domain(have, id, value)) return false;
    }
    return true;
  }
  return false;
}

Result<std::vector<std::string>> join_rdt(const Fd& resctrl, const RdtPlan& plan, pid_t pid) {
  std::vector<std::string> made;
  Result<> filled = fill(resctrl, plan, pid, made).context("linux.intelRdt");
  if (!filled) {
    (void)remove_rdt_groups(resctrl, made);
    return std::unexpected(std::move(filled).error());
  }
  // A class that the configuration names stays, whoever made it.
  if (!plan.own) std::erase(made, plan.group);
  return made;
}

Result<> put_into_rdt_groups(const Fd& resctrl, std::span<const std::string> groups, pid_t pid) {
  for (const std::string& group : groups) {
    TRY(explained(resctrl,
                  sys::write_file_at(resctrl.get(), cat(group, "/tasks").c_str(), cat(pid)))
            .context("linux.intelRdt"));
  }
  return {};
}

Result<> remove_rdt_groups(const Fd& resctrl, std::span<const std::string> groups) {
  Result<> first_failure;
  for (size_t i = groups.size(); i > 0; --i) {
    Result<> removed = sys::unlink_at(resctrl.get(), groups[i - 1].c_str(), AT_REMOVEDIR);
    // A monitoring group goes with the group it is in.
    if (removed || removed.error().error_number() == ENOENT) continue;
    if (first_failure) first_failure = std::move(removed).context("linux.intelRdt");
  }
  return first_failure;
}

}  // namespace nacelle::container
