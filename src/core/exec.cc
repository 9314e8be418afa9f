// A process in a running container: its plan is made from the container's stored one, and it is
// born in the container's cgroup.
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "container/plan.h"
#include "core/server_impl.h"
#include "oci/spec.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/unix_socket.h"

namespace nacelle::core {

using container::Launch;
using container::PlanView;

namespace {

constexpr uint32_t user_id_max = 0x7ffffffe;  // larger ones read as negative somewhere
constexpr size_t environment_max = 64u << 10;

Result<uint64_t> every_capability() {
  std::string text =
      TRY(sys::read_file_at(sys::working_directory, "/proc/sys/kernel/cap_last_cap", 64));
  while (text.ends_with('\n')) text.pop_back();
  const auto last = parse_number<unsigned>(text);
  if (!last || *last > 62) return fail(Kind::Internal, "/proc/sys/kernel/cap_last_cap: no number");
  return (uint64_t{2} << *last) - 1;
}

std::string_view name_of(std::string_view entry) { return entry.substr(0, entry.find('=')); }

// As Docker has it: a later value replaces an earlier one of the same name.
void add_environment(std::vector<std::string>& env, std::vector<std::string> added) {
  for (std::string& entry : added) {
    const auto same =
        std::ranges::find(env, name_of(entry), [](const std::string& one) { return name_of(one); });
    if (same != env.end()) {
      *same = std::move(entry);
    } else {
      env.push_back(std::move(entry));
    }
  }
}

Result<std::string> plan_process(ExecRequest& request, const PlanView& plan) {
  oci::Process process = container::process_of(plan);
  if (request.args.empty()) return fail(Kind::Invalid, "exec: no command");
  process.args = std::move(request.args);
  if (request.env_replaces) process.env.clear();
  if (request.env.size() > environment_max)
    return fail(Kind::Exhausted, "exec: too many variables");
  add_environment(process.env, std::move(request.env));
  if (!request.cwd.empty()) process.cwd = std::move(request.cwd);
  if (!process.cwd.starts_with('/')) {
    return fail(Kind::Invalid, cat("cwd '", process.cwd, "': must be absolute"));
  }
  if (request.has_user) {
    if (request.uid > user_id_max || request.gid > user_id_max) {
      return fail(Kind::Invalid, "exec: user or group out of range");
    }
    process.user.uid = request.uid;
    process.user.gid = request.gid;
    process.user.additional_gids = std::move(request.additional_gids);
    // What root has effective, another user has not (as runc's `exec --user`): only what may be
    // gained by executing a file.
    if (request.uid != 0 && process.capabilities && !request.privileged) {
      process.capabilities->effective = process.capabilities->ambient;
      process.capabilities->permitted = process.capabilities->ambient;
    }
  }
  if (request.privileged) {
    const uint64_t all = TRY(every_capability());
    process.capabilities = oci::Capabilities{.bounding = all,
                                             .effective = all,
                                             .inheritable = 0,
                                             .permitted = all,
                                             .ambient = 0,
                                             .unknown = {}};
  }
  process.terminal = request.terminal;
  return container::plan_exec(process, plan, {});
}

// Where a process is by now, relative to the root of our view of the tree.
Result<std::string> read_cgroup_of(int pid) {
  const std::string text = TRY(
      sys::read_file_at(sys::working_directory, cat("/proc/", pid, "/cgroup").c_str(), 64u << 10));
  return sys::clean_cgroup_path(TRY(sys::parse_own_cgroup(text)));
}

}  // namespace

// An exec on its way up.
class StartingExec {
 public:
  StartingExec(std::map<std::string, std::shared_ptr<Process>>& processes,
               std::shared_ptr<Process> process)
      : processes_(processes), process_(std::move(process)) {}
  StartingExec(const StartingExec&) = delete;
  StartingExec& operator=(const StartingExec&) = delete;
  ~StartingExec() {
    if (kept_ || !reserved_) return;
    launch.reset();
    process_->stage = Process::Stage::Forgotten;
    processes_.erase(process_->key());
  }
  Result<> reserve() {
    if (!processes_.emplace(process_->key(), process_).second) {
      return fail(Kind::Conflict, cat("exec ", process_->record.exec, " exists"));
    }
    reserved_ = true;
    return {};
  }
  void keep() { kept_ = true; }

  std::unique_ptr<Launch> launch;

 private:
  std::map<std::string, std::shared_ptr<Process>>& processes_;
  std::shared_ptr<Process> process_;
  bool reserved_ = false, kept_ = false;
};

ring::Task<ExecRequest::Reply> Server::perform(ExecRequest request, Exchange& exchange) {
  co_await check_id(request.id);
  co_await check_exec_id(request.exec);
  const auto owner = co_await find_running(request.id, "");
  if (owner->frozen) {
    co_await fail(Kind::Conflict, cat("container ", request.id, " is paused, unpause it first"));
  }
  std::string container_plan = co_await records_->load_plan(request.id);
  const PlanView container_view = co_await PlanView::check(container_plan);
  const std::string plan_bytes = co_await plan_process(request, container_view);
  const PlanView plan = co_await PlanView::check(plan_bytes);

  const auto process = std::make_shared<Process>();
  Record& record = process->record;
  record.id = request.id;
  record.exec = request.exec;
  record.cgroup = owner->record.cgroup;
  record.terminal = request.terminal;
  record.has_streams = request.terminal || request.open_stdin || request.has_client;
  record.has_input = request.open_stdin;
  record.stdin_once = true;
  record.hold_for_client = request.has_client;
  record.log.driver = logs::Driver::None;

  StartingExec starting(processes_, process);
  co_await starting.reserve();
  fault_point("core exec reserved");

  container::LaunchOptions options;
  Fd theirs[3];
  Fd console;
  if (!record.has_streams || record.terminal) {
    for (int& each : options.stdio) each = null_.get();
  } else {
    co_await make_streams(*process, request.open_stdin, options.stdio, theirs);
  }
  if (record.terminal) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
      co_await fail_errno(errno, "socketpair");
    }
    console = Fd(ends[0]);
    theirs[0] = Fd(ends[1]);
    options.console_socket = theirs[0].get();
  }
  Fd cgroup = co_await sys::open_cgroup(tree_, record.cgroup);
  options.cgroup = cgroup.get();
  options.stub = stub_.get();
  options.init = owner->pidfd.get();
  options.init_namespaces = owner->record.namespaces;
  options.files_limit = files_limit_;
  Fd root;
  if ((owner->record.namespaces & CLONE_NEWNS) == 0) {
    root = co_await sys::open_at(sys::working_directory,
                                 cat("/proc/", owner->record.pid, "/root").c_str(),
                                 O_PATH | O_DIRECTORY);
    options.init_root = root.get();
  }
  auto launch = Launch::begin(plan, options);
  if (!launch && launch.error().error_number() == EBUSY) {
    // An init inside has enabled controllers: its own group is the place then.
    cgroup = co_await sys::open_cgroup(tree_, co_await read_cgroup_of(owner->record.pid));
    options.cgroup = cgroup.get();
    launch = Launch::begin(plan, options);
  }
  starting.launch = co_await std::move(launch);
  fault_point("core exec cloned");
  for (Fd& each : theirs) each = Fd();
  if (record.has_streams) {
    process->journal = Fd(::memfd_create("nacelle-journal", MFD_CLOEXEC));
    if (!process->journal || ::ftruncate(process->journal.get(), logs::journal_bytes) < 0) {
      co_await fail_errno(errno, "making the journal of a log");
    }
  }
  co_await settle(*starting.launch);
  fault_point("core exec executed");
  if (record.terminal) {
    process->output = co_await sys::receive_fd(console);
    if (request.height != 0 || request.width != 0) {
      const winsize size{request.height, request.width, 0, 0};
      ::ioctl(process->output.get(), TIOCSWINSZ, &size);
    }
  }
  record.pid = starting.launch->pid();
  process->pidfd = starting.launch->take_pidfd();
  const auto identity = co_await container::identify(record.pid, process->pidfd);
  record.pidfd_inode = identity.pidfd_inode;
  record.start_time = identity.start_time;
  // Written at once, in one piece: before this it dies with its container at the latest.
  co_await records_->save(record);
  fault_point("core exec published");
  starting.keep();
  process->stage = Process::Stage::Running;

  ExecRequest::Reply reply;
  reply.pid = record.pid;
  exchange.keep = process;
  exchange.reply_descriptors = process->parked();
  exchange.after = [this, process] {
    add_streams(*process);
    watching_->start(watch(process));
  };
  co_return reply;
}

}  // namespace nacelle::core
