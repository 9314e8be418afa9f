#include "container/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/text.h"
#include "sys/bpf.h"

namespace nacelle::container {
namespace {

constexpr size_t device_programs_max = 16;
constexpr char device_program_name[] = "nacelle_devices";  // 15 bytes, the most there may be

// Without this line the kernel cannot be asked: before 4.15, or /sys is not mounted.
constexpr std::string_view delegate_default =
    "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

std::string_view trim(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

// slice:prefix:name
bool is_systemd_form(std::string_view path) {
  return std::ranges::count(path, ':') == 2 && !path.contains('/');
}

bool is_absent(const Error& error) { return error.error_number() == ENOENT; }

// Whether a container may move into a group that it did not make.
Result<> check_usable(const Fd& dir) {
  const auto pids = TRY(sys::list_cgroup_pids(dir));
  if (!pids.empty()) {
    return fail(Kind::Conflict,
                cat("container's cgroup is not empty: ", pids.size(), " process(es) found"));
  }
  const auto frozen = sys::read_control(dir, "cgroup.freeze");
  if (frozen && trim(*frozen) == "1") {
    return fail(Kind::Conflict, "container's cgroup is frozen: thaw it or choose another");
  }
  return {};
}

Result<> enable(const sys::CgroupTree& tree, const std::string& path, const CgroupPlan& plan) {
  if (plan.controllers.empty()) return {};
  std::vector<std::string_view> names;
  for (const NeededController& controller : plan.controllers) names.push_back(controller.name);
  auto enabled = sys::enable_controllers(tree, path, names);
  if (enabled) return {};
  // Once more one by one, to say who asked for the one that failed.
  for (const NeededController& controller : plan.controllers) {
    const std::string_view name = controller.name;
    TRY(sys::enable_controllers(tree, path, {&name, 1}).context(controller.source));
  }
  return {};
}

std::optional<uint64_t> parse_amount(std::string_view text) {
  text = trim(text);
  if (text == "max") return no_limit;
  return parse_number<uint64_t>(text);
}

std::optional<uint64_t> read_amount(const Fd& dir, const char* file) {
  const auto text = sys::read_control(dir, file);
  return text ? parse_amount(*text) : std::nullopt;
}

Result<> check_floor(const Fd& dir, const MemoryFloor& floor) {
  if (floor.memory == 0 && floor.memory_and_swap == 0) return {};
  const auto memory = read_amount(dir, "memory.current");
  if (!memory) return {};  // nothing is counted yet, so nothing is in use
  if (floor.memory != 0 && *memory > floor.memory) {
    return fail(Kind::Conflict,
                cat("linux.resources.memory.limit: ", floor.memory, " is below the usage of ",
                    *memory, ", and checkBeforeUpdate is set"));
  }
  const uint64_t total = *memory + read_amount(dir, "memory.swap.current").value_or(0);
  if (floor.memory_and_swap != 0 && total > floor.memory_and_swap) {
    return fail(Kind::Conflict,
                cat("linux.resources.memory.swap: ", floor.memory_and_swap,
                    " is below the usage of ", total, ", and checkBeforeUpdate is set"));
  }
  return {};
}

Result<> write_limits(const std::string& where, const Fd& dir, const CgroupPlan& plan) {
  for (size_t i = 0; i < plan.writes.size(); ++i) {
    const ControlWrite& write = plan.writes[i];
    auto written = sys::write_control(dir, write.file.c_str(), write.value);
    if (written) {
      if (write.if_absent == IfAbsent::Next) ++i;
      continue;
    }
    if (!is_absent(written.error())) return std::move(written).context(write.source);
    if (write.if_absent != IfAbsent::Refuse) continue;
    return fail(Kind::Unsupported,
                cat(write.source, ": the kernel has no '", write.file, "' in ", where));
  }
  return {};
}

// The programs on the group that an earlier call put there.
Result<std::vector<Fd>> find_our_programs(const Fd& dir) {
  std::vector<Fd> ours;
  for (const uint32_t id : TRY(sys::query_cgroup_programs(dir, BPF_CGROUP_DEVICE))) {
    Fd program = TRY(sys::open_program(id));
    const std::string name = TRY(sys::read_program_name(program));
    if (name == device_program_name) ours.push_back(std::move(program));
  }
  return ours;
}

Result<> attach_new(const Fd& dir, std::span<const bpf_insn> program, DevicePrograms& programs) {
  const Fd* loaded = TRY(programs.load(program));
  return sys::attach_to_cgroup(dir, *loaded, BPF_CGROUP_DEVICE);
}

// Everything between the group being there and being ready.
Result<> fit_out(const sys::CgroupTree& tree, const std::string& path,
                 const sys::EnsuredCgroup& group, const CgroupPlan& plan,
                 DevicePrograms& programs) {
  if (group.existed) TRY(check_usable(group.dir));
  TRY(apply_limits(tree, path, group.dir, plan));
  // A new group has no program of ours that would have to be looked for.
  const auto doing = "linux.resources.devices";
  if (group.existed) return set_device_program(group.dir, plan.device_program).context(doing);
  if (plan.device_program.empty()) return {};
  return attach_new(group.dir, plan.device_program, programs).context(doing);
}

CgroupStats::Counters parse_counters(std::string_view text, char between, char line_end) {
  CgroupStats::Counters counters;
  while (!text.empty()) {
    std::string_view value = take_until(text, line_end);
    const std::string_view key = take_until(value, between);
    if (const auto number = parse_amount(value)) counters.emplace_back(key, *number);
  }
  return counters;
}

std::optional<CgroupStats::Counters> read_counters(const Fd& dir, const char* file) {
  const auto text = sys::read_control(dir, file);
  if (!text) return std::nullopt;
  return parse_counters(*text, ' ', '\n');
}

// "8:0 rbytes=1 wbytes=2 ..." a line.
std::optional<std::vector<CgroupStats::Device>> read_devices(const Fd& dir) {
  const auto text = sys::read_control(dir, "io.stat");
  if (!text) return std::nullopt;
  std::vector<CgroupStats::Device> devices;
  std::string_view rest = *text;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    std::string_view number = take_until(line, ' ');
    const auto major = parse_number<uint32_t>(take_until(number, ':'));
    const auto minor = parse_number<uint32_t>(number);
    if (!major || !minor) continue;
    devices.push_back({*major, *minor, parse_counters(line, '=', ' ')});
  }
  return devices;
}

// The kernel's page sizes are known by the files it made for them.
Result<std::vector<CgroupStats::Hugepages>> read_hugepages(const Fd& dir) {
  const int fd = ::openat(dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail_errno(errno, "list cgroup directory");
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(fd), ::closedir);
  if (!list) {
    ::close(fd);
    return fail_errno(ENOMEM, "list cgroup directory");
  }
  std::vector<CgroupStats::Hugepages> found;
  constexpr std::string_view prefix = "hugetlb.";
  constexpr std::string_view suffix = ".current";
  while (const dirent* entry = ::readdir(list.get())) {
    std::string_view name = entry->d_name;
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    name.remove_prefix(prefix.size());
    name.remove_suffix(suffix.size());
    if (name.contains('.')) continue;  // hugetlb.2MB.rsvd.current
    CgroupStats::Hugepages pages;
    pages.page_size = name;
    const std::string stem = cat(prefix, name);
    pages.current = read_amount(dir, cat(stem, ".current").c_str());
    pages.max = read_amount(dir, cat(stem, ".max").c_str());
    if (const auto events = sys::read_control(dir, cat(stem, ".events").c_str())) {
      pages.failures = parse_amount(sys::find_keyed(*events, "max"));
    }
    found.push_back(std::move(pages));
  }
  std::ranges::sort(found, {}, &CgroupStats::Hugepages::page_size);
  return found;
}

}  // namespace

Result<std::string> place_cgroup(std::string_view cgroups_path, std::string_view container_id,
                                 std::string_view own_cgroup) {
  constexpr std::string_view where = "linux.cgroupsPath";
  if (is_systemd_form(cgroups_path)) {
    return fail(Kind::Unsupported, cat(where, ": '", cgroups_path,
                                       "' is for the systemd cgroup driver, which is not "
                                       "supported yet: give a plain path such as /nacelle/NAME"));
  }
  if (cgroups_path.starts_with('/')) {
    std::string clean = TRY(sys::clean_cgroup_path(cgroups_path).context(where));
    if (clean.empty()) {
      return fail(Kind::Invalid, cat(where, ": the root cgroup cannot be a container's"));
    }
    return clean;
  }
  // Our own group holds ourselves, so no controllers could be enabled beneath it: its parent can.
  std::string_view parent = own_cgroup.substr(0, own_cgroup.rfind('/'));
  // Born outside the cgroup namespace we are in: the only place known is its root.
  if (own_cgroup.starts_with("/..")) parent = "";
  const std::string_view name = cgroups_path.empty() ? container_id : cgroups_path;
  std::string clean = TRY(sys::clean_cgroup_path(name).context(where));
  if (clean.empty()) return fail(Kind::Invalid, cat(where, ": '", name, "' names no group"));
  return sys::clean_cgroup_path(cat(parent, "/", clean)).context(where);
}

Result<const Fd*> DevicePrograms::load(std::span<const bpf_insn> program) {
  const std::string_view text(reinterpret_cast<const char*>(program.data()), program.size_bytes());
  if (const auto known = std::ranges::find(all_, text, &Loaded::text); known != all_.end()) {
    std::rotate(known, known + 1, all_.end());
    return &all_.back().program;
  }
  Fd loaded = TRY(sys::load_device_program(program, device_program_name));
  if (all_.size() >= device_programs_max) all_.erase(all_.begin());
  all_.push_back({std::string(text), std::move(loaded)});
  return &all_.back().program;
}

Result<ContainerCgroup> create_cgroup(const sys::CgroupTree& tree, const std::string& path,
                                      const CgroupPlan& plan, DevicePrograms* programs) {
  auto group = TRY(sys::ensure_cgroup(tree, path));
  DevicePrograms none;
  auto ready = fit_out(tree, path, group, plan, programs != nullptr ? *programs : none);
  if (!ready) {
    group.dir = Fd();
    sys::remove_made_cgroups(tree, group.made);
    return std::unexpected(std::move(ready).error());
  }
  return ContainerCgroup{std::move(group.dir), path, std::move(group.made)};
}

Result<> apply_limits(const sys::CgroupTree& tree, const std::string& path, const Fd& dir,
                      const CgroupPlan& plan) {
  if (plan.writes.empty()) return {};
  TRY(enable(tree, path, plan));
  TRY(check_floor(dir, plan.check_before_update));
  return write_limits(cat(tree.mount, "/", path), dir, plan);
}

Result<> set_device_program(const Fd& dir, std::span<const bpf_insn> program) {
  const std::vector<Fd> old = TRY(find_our_programs(dir));
  if (!program.empty() && old.size() == 1) {
    const Fd loaded = TRY(sys::load_device_program(program, device_program_name));
    return sys::replace_on_cgroup(dir, loaded, old.front(), BPF_CGROUP_DEVICE);
  }
  // An access must pass every program: with both on, what either denies is denied.
  DevicePrograms none;
  if (!program.empty()) TRY(attach_new(dir, program, none));
  for (const Fd& one : old) TRY(sys::detach_from_cgroup(dir, one, BPF_CGROUP_DEVICE));
  return {};
}

Result<> destroy_cgroup(const sys::CgroupTree& tree, const std::string& path,
                        std::span<const std::string> made, sys::Deadline deadline) {
  // The usual case, in one call: everybody in it has ended, and nothing was made inside.
  if (sys::remove_empty_cgroup(tree, path)) {
    if (!made.empty() && made.back() == path) made = made.first(made.size() - 1);
    sys::remove_made_cgroups(tree, made);
    return {};
  }
  auto dir = sys::open_cgroup(tree, path);
  if (dir) {
    TRY(sys::kill_cgroup(*dir));
    auto emptied = sys::wait_cgroup_event(*dir, "populated", '0', deadline);
    // Gone under us: someone else removed it, so it was empty.
    if (!emptied && emptied.error().error_number() != ENODEV) return emptied;
    TRY(sys::remove_cgroup(tree, path, deadline));
  } else if (!is_absent(dir.error())) {
    return std::unexpected(std::move(dir).error());
  }
  sys::remove_made_cgroups(tree, made);
  return {};
}

Result<> delegate_cgroup(const Fd& dir, uid_t owner) {
  constexpr auto keep_group = static_cast<gid_t>(-1);
  if (::fchown(dir.get(), owner, keep_group) != 0) {
    return fail_errno(errno, cat("chown the container's cgroup to user ", owner));
  }
  std::string files(delegate_default);
  const Fd kernel(::open("/sys/kernel/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (kernel) {
    if (auto listed = sys::read_control(kernel, "delegate")) files = *std::move(listed);
  }
  std::string_view rest = files;
  while (!rest.empty()) {
    const std::string file(take_until(rest, '\n'));
    if (file.empty()) continue;
    // The list names files of controllers that may be off here.
    if (::fchownat(dir.get(), file.c_str(), owner, keep_group, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno != ENOENT) {
      return fail_errno(errno, cat("chown '", file, "' of the container's cgroup to user ", owner));
    }
  }
  return {};
}

Result<CgroupStats> read_stats(const Fd& dir) {
  CgroupStats stats;
  stats.cpu = read_counters(dir, "cpu.stat");
  stats.memory_current = read_amount(dir, "memory.current");
  stats.memory_peak = read_amount(dir, "memory.peak");
  stats.memory_max = read_amount(dir, "memory.max");
  stats.swap_current = read_amount(dir, "memory.swap.current");
  stats.swap_max = read_amount(dir, "memory.swap.max");
  stats.memory = read_counters(dir, "memory.stat");
  stats.memory_events = read_counters(dir, "memory.events");
  stats.pids_current = read_amount(dir, "pids.current");
  stats.pids_max = read_amount(dir, "pids.max");
  stats.io = read_devices(dir);
  stats.hugepages = TRY(read_hugepages(dir));
  return stats;
}

}  // namespace nacelle::container
