// A process in a running container: born in its cgroup, joined to its namespaces by pidfd. Nothing
// of config.json is read again; the container's plan says what its processes are like.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>

#include "base/text.h"
#include "container/intel_rdt.h"
#include "container/plan.h"
#include "container/runtime_impl.h"
#include "oci/names.h"
#include "oci/spec_parse.h"
#include "sys/file.h"

namespace nacelle {
namespace {

using container::Launch;
using container::PlanView;

// CVE-2016-9962: what joins a container shares this process's memory until its execve; nothing in
// the container may look into it.
class NotDumpable {
 public:
  NotDumpable() : before_(::prctl(PR_GET_DUMPABLE)) { ::prctl(PR_SET_DUMPABLE, 0); }
  NotDumpable(const NotDumpable&) = delete;
  NotDumpable& operator=(const NotDumpable&) = delete;
  ~NotDumpable() {
    if (before_ == 1) ::prctl(PR_SET_DUMPABLE, 1);
  }

 private:
  int before_;
};

// "uid" or "uid:gid", in digits and nothing else: "1" is user 1 and never root (CVE-2026-30892).
Result<> parse_user(std::string_view text, oci::User& user) {
  constexpr uint32_t id_max =
      0x7ffffffe;  // larger ones read as negative somewhere, sooner or later
  const bool with_group = text.find(':') != std::string_view::npos;
  std::string_view rest = text;
  const auto uid = parse_number<uint32_t>(take_until(rest, ':'));
  const auto gid = with_group ? parse_number<uint32_t>(rest) : uid;
  if (!uid || !gid || *uid > id_max || *gid > id_max) {
    return fail(Kind::Invalid, cat("user '", text, "': must be uid or uid:gid in numbers"));
  }
  user.uid = *uid;
  if (with_group) user.gid = *gid;
  return {};
}

Result<> add_capabilities(const std::vector<std::string>& names, oci::Process& process) {
  if (names.empty()) return {};
  if (!process.capabilities) process.capabilities.emplace();
  for (const std::string& name : names) {
    const auto number = oci::find_capability(name);
    if (!number) return fail(Kind::Invalid, cat("capability '", name, "': unknown"));
    const uint64_t bit = uint64_t{1} << *number;
    // Never inheritable or ambient: that would widen what later programs get (CVE-2022-29162).
    process.capabilities->bounding |= bit;
    process.capabilities->effective |= bit;
    process.capabilities->permitted |= bit;
  }
  return {};
}

Result<oci::Process> make_process(const ExecRequest& request, const PlanView& plan) {
  oci::Process process = container::process_of(plan);
  process.terminal = false;
  if (!request.process_json.empty()) {
    process = TRY(oci::parse_process(request.process_json));
  }
  if (!request.args.empty()) process.args = request.args;
  for (const std::string& entry : request.env) process.env.push_back(entry);
  if (!request.cwd.empty()) process.cwd = request.cwd;
  if (!request.user.empty()) TRY(parse_user(request.user, process.user));
  for (const uint32_t group : request.additional_gids)
    process.user.additional_gids.push_back(group);
  TRY(add_capabilities(request.capabilities, process));
  process.terminal |= request.terminal;
  process.no_new_privileges |= request.no_new_privileges;
  if (!request.apparmor_profile.empty()) process.apparmor_profile = request.apparmor_profile;
  if (!request.selinux_label.empty()) process.selinux_label = request.selinux_label;
  if (process.args.empty()) return fail(Kind::Invalid, "process args cannot be empty");
  if (!process.cwd.starts_with('/'))
    return fail(Kind::Invalid, cat("cwd '", process.cwd, "': must be absolute"));
  return process;
}

// Where a process is by now, relative to the root of our view of the tree.
Result<std::string> read_cgroup_of(int pid) {
  const std::string path = cat("/proc/", pid, "/cgroup");
  const std::string text = TRY(sys::read_file_at(sys::working_directory, path.c_str(), 64u << 10));
  return sys::clean_cgroup_path(TRY(sys::parse_own_cgroup(text)));
}

// The last stage of every start inside: the launch, its listener, its end.
Result<Process> finish(const PlanView& plan, const container::LaunchOptions& options,
                       const container::Record& record) {
  const NotDumpable hidden;
  const auto launch = TRY(Launch::begin(plan, options));
  if (!record.rdt_groups.empty()) {
    TRY(container::put_into_rdt_groups(TRY(container::open_resctrl()), record.rdt_groups,
                                       launch->pid()));
  }
  while (true) {
    const Launch::Event event = TRY(launch->next_event());
    if (event == Launch::Event::Started) return Process{launch->pid(), launch->take_pidfd()};
    if (event == Launch::Event::Mapped) continue;
    if (event == Launch::Event::Listener) {
      TRY(container::send_listener(plan, launch->take_listener(), record, launch->pid(),
                                   Status::Running));
    }
    TRY(launch->go_on());
  }
}

}  // namespace

namespace container {

Result<Process> start_inside(Runtime::Impl& runtime, const Runtime::Impl::Opened& opened,
                             const PlanView& plan, const IoOptions& io,
                             const std::string& sub_cgroup) {
  const Record& record = opened.record;
  const sys::CgroupTree& tree = *TRY(runtime.cgroup_tree());
  const std::string group =
      sub_cgroup.empty() ? record.cgroup : cat(record.cgroup, "/", sub_cgroup);
  Fd cgroup = TRY(sys::open_cgroup(tree, TRY(sys::clean_cgroup_path(group))));

  LaunchOptions options;
  options.cgroup = cgroup.get();
  for (int i = 0; i < 3; ++i) options.stdio[i] = io.standard[i];
  options.console_socket = io.console_socket;
  options.preserved = io.preserved_fds;
  options.init = opened.init.get();
  options.init_namespaces = record.namespaces;
  Fd root;
  if ((record.namespaces & CLONE_NEWNS) == 0) {
    root = TRY(sys::open_at(sys::working_directory, cat("/proc/", record.init.pid, "/root").c_str(),
                            O_PATH | O_DIRECTORY));
    options.init_root = root.get();
  }
  Result<Process> process = finish(plan, options, record);
  const bool refused = !process && process.error().error_number() == EBUSY && sub_cgroup.empty();
  if (!refused) return process;
  // An init inside has enabled controllers, and its group takes no processes any more: its own is
  // the place then (runc's answer, too).
  cgroup = TRY(sys::open_cgroup(tree, TRY(read_cgroup_of(record.init.pid))));
  options.cgroup = cgroup.get();
  return finish(plan, options, record);
}

Result<> run_start_container_hooks(Runtime::Impl& runtime, const Runtime::Impl::Opened& opened,
                                   const PlanView& plan) {
  size_t index = 0;
  for (const HookStep& hook : plan.items(plan.header().hooks)) {
    if (hook.kind != HookKind::StartContainer) continue;
    const auto which = [&] {
      return cat("hooks.startContainer[", index, "]: '", plan.view(hook.path), "'");
    };
    const std::string bytes = TRY(plan_hook_inside(hook, plan).context(which));
    const Fd input = TRY(sys::make_sealed_memory_file(
        "hook-input", state_json(opened.record, Status::Created), false));
    ::lseek(input.get(), 0, SEEK_SET);
    IoOptions io;
    io.standard[0] = input.get();
    const Process process =
        TRY(start_inside(runtime, opened, TRY(PlanView::check(bytes)), io, {}).context(which));
    const ExitStatus status{
        TRY(reap_within(process.pid, process.pidfd, hook.timeout_s).context(which))};
    if (status.code() != 0)
      return fail(Kind::Internal, cat(which(), ": exit status ", status.code()));
    ++index;
  }
  return {};
}

}  // namespace container

Result<Process> Runtime::exec(const std::string& id, const ExecRequest& request,
                              const IoOptions& io) {
  const Impl::Opened opened = TRY(impl_->open(id));
  if (opened.status == Status::Creating) {
    return fail(Kind::Conflict, "cannot exec in a container that is still being created");
  }
  if (!opened.init) return fail(Kind::Conflict, "cannot exec in a stopped container");
  if (opened.status == Status::Paused && !request.ignore_paused) {
    return fail(Kind::Conflict,
                "cannot exec in a paused container (use --ignore-paused to override)");
  }
  const container::StoredPlan plan = TRY(container::Store::load_plan(opened.directory));
  const oci::Process process = TRY(make_process(request, plan.view));
  container::PlanOptions options;
  options.extra_env = request.extra_env;
  const std::string bytes = TRY(container::plan_exec(process, plan.view, options));
  return container::start_inside(*impl_, opened, TRY(PlanView::check(bytes)), io,
                                 request.sub_cgroup);
}

}  // namespace nacelle
