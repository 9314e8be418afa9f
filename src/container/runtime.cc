// Runtime: the verbs of an OCI runtime, each on the container as it is right now.
#include "nacelle/container.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "container/cgroup_plan.h"
#include "container/intel_rdt.h"
#include "container/runtime_impl.h"
#include "oci/spec_parse.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle {

using container::HookKind;
using container::Record;
using container::report_fifo;
using container::start_fifo;
using container::Store;

namespace {

bool exists(const Fd& directory, const char* name) {
  return ::faccessat(directory.get(), name, F_OK, 0) == 0;
}

Result<> send_signal(const Fd& pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0) return {};
  // The words that callers of runc look for.
  if (errno == ESRCH) return fail(Kind::NotFound, "container not running");
  return fail_errno(errno, cat("sending signal ", signal));
}

Result<> signal_all(const Fd& cgroup, int signal) {
  if (signal == SIGKILL) return sys::kill_cgroup(cgroup);
  for (const pid_t pid : TRY(sys::list_cgroup_pids(cgroup))) {
    const long raw = ::syscall(SYS_pidfd_open, pid, 0);
    if (raw < 0) continue;  // it ended meanwhile
    const Fd pidfd(static_cast<int>(raw));
    ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
  }
  return {};
}

Result<> wait_ended(const Fd& pidfd, std::chrono::milliseconds deadline) {
  pollfd one{pidfd.get(), POLLIN, 0};
  int ready = -1;
  do {
    ready = ::poll(&one, 1, static_cast<int>(deadline.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready > 0) return {};
  return fail(Kind::Unavailable,
              cat("the container's process has not ended within ", deadline.count(), " ms"));
}

ContainerState describe(const Record& record, Status status) {
  ContainerState state;
  state.id = record.state.id;
  state.status = status;
  state.pid = status == Status::Stopped ? 0 : record.init.pid;
  state.bundle = record.state.bundle;
  state.rootfs = record.state.rootfs;
  state.created = record.state.created;
  state.oci_version = record.state.oci_version;
  state.annotations = record.state.annotations;
  return state;
}

// Lets a parked program go and waits until it runs, or could not be executed.
Result<> open_gate(const Fd& directory, const Fd& init, const std::string& id) {
  const Fd report = TRY(sys::open_at(directory.get(), report_fifo, O_RDONLY | O_NONBLOCK));
  const Fd gate = TRY(sys::open_at(directory.get(), start_fifo, O_WRONLY | O_NONBLOCK));
  // Whoever takes the name away may open the gate; a second start finds none.
  if (::unlinkat(directory.get(), start_fifo, 0) < 0) {
    return fail(Kind::Conflict, cat("cannot start an already running container: ", id));
  }
  TRY(sys::write_all(gate, "s", start_fifo));
  pollfd waiting[2] = {{report.get(), POLLIN, 0}, {init.get(), POLLIN, 0}};
  while (::poll(waiting, 2, -1) < 0 && errno == EINTR) {
  }
  uint32_t exec_errno = 0;
  const ssize_t got = ::read(report.get(), &exec_errno, sizeof exec_errno);
  ::unlinkat(directory.get(), report_fifo, 0);
  if (got == static_cast<ssize_t>(sizeof exec_errno) && exec_errno != 0) {
    return fail_errno(static_cast<int>(exec_errno & ~container::stub_error_bit), "exec");
  }
  return {};
}

}  // namespace

int ExitStatus::code() const {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

Result<ExitStatus> wait(const Process& process) {
  return ExitStatus{TRY(sys::reap(process.pidfd))};
}

// --- what all verbs share -----------------------------------------------------------------------

Result<const sys::CgroupTree*> Runtime::Impl::cgroup_tree() {
  if (!tree_) tree_ = TRY(sys::open_cgroup_tree());
  return &*tree_;
}

Result<std::string> Runtime::Impl::place(std::string_view cgroups_path, std::string_view id) {
  const std::string own =
      cgroups_path.starts_with('/') ? std::string("/") : TRY(sys::read_own_cgroup());
  return container::place_cgroup(cgroups_path, id, own);
}

Result<Fd> Runtime::Impl::open_cgroup(const Record& record) {
  // Of a container that is only reserved yet; an empty path would be the root of the whole tree.
  if (record.cgroup.empty()) return fail(Kind::NotFound, "the container has no cgroup yet");
  const sys::CgroupTree& tree = *TRY(cgroup_tree());
  return sys::open_cgroup(tree, record.cgroup);
}

bool Runtime::Impl::is_frozen(const Record& record) {
  const auto group = open_cgroup(record);
  if (!group) return false;
  const auto frozen = sys::read_control(*group, "cgroup.freeze");
  return frozen && frozen->starts_with('1');
}

void Runtime::Impl::remember(Fd directory, Record record) {
  last_started_.emplace(std::move(directory), std::move(record), Fd(), Status::Stopped);
}

// What the state root says, without a look at the processes.
Result<Runtime::Impl::Opened> Runtime::Impl::open_directory(const std::string& id) {
  Opened opened;
  if (last_started_ && last_started_->record.state.id == id) {
    opened = std::move(*last_started_);
    last_started_.reset();
    // Unless somebody has removed it meanwhile, and perhaps made another of that name.
    if (exists(opened.directory, "state.json")) return opened;
    opened = Opened();
  }
  opened.directory = TRY(store_.open_container(id));
  Result<Record> record = Store::load(opened.directory);
  if (!record) {
    if (record.error().error_number() != ENOENT)
      return std::unexpected(record.error().add_context(id));
    // Reserved, and not yet or no longer anything else.
    opened.record.state.id = id;
    opened.status = Status::Creating;
    if (Result<std::string> cgroup = Store::noted_cgroup(opened.directory))
      opened.record.cgroup = *cgroup;
    return opened;
  }
  opened.record = std::move(*record);
  return opened;
}

Result<Runtime::Impl::Opened> Runtime::Impl::open(const std::string& id) {
  Opened opened = TRY(open_directory(id));
  if (opened.status == Status::Creating) return opened;
  Result<Fd> init = container::open_process(opened.record.init);
  if (!init && init.error().kind() != Kind::NotFound) return std::unexpected(init.error());
  if (!init) return opened;
  opened.init = std::move(*init);
  // A created container may be paused as well, and has to be resumed before it can start.
  opened.status = is_frozen(opened.record)               ? Status::Paused
                  : exists(opened.directory, start_fifo) ? Status::Created
                                                         : Status::Running;
  return opened;
}

Runtime::Runtime(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runtime::Runtime(Runtime&&) noexcept = default;
Runtime& Runtime::operator=(Runtime&&) noexcept = default;
Runtime::~Runtime() = default;

Result<Runtime> Runtime::open(std::string root) {
  return Runtime(std::make_unique<Impl>(TRY(Store::open(std::move(root)))));
}

// --- the verbs ----------------------------------------------------------------------------------

namespace {

Result<Process> start_to_end(Runtime& runtime, const std::string& id, const Bundle& bundle,
                             const IoOptions& io, bool parked, StartTimes* times) {
  const auto starting = TRY(Starting::begin(runtime, id, bundle, io, parked));
  while (!TRY(starting->advance())) {
  }
  if (times != nullptr) *times = starting->times();
  return starting->take_process();
}

}  // namespace

Result<Process> Runtime::create(const std::string& id, const Bundle& bundle, const IoOptions& io) {
  return start_to_end(*this, id, bundle, io, true, nullptr);
}

Result<Process> Runtime::run(const std::string& id, const Bundle& bundle, const IoOptions& io,
                             StartTimes* times) {
  // startContainer hooks run between "everything is there" and the program: then it is parked.
  if (!container::has_hooks(bundle.impl().plan, HookKind::StartContainer)) {
    return start_to_end(*this, id, bundle, io, false, times);
  }
  Process process = TRY(start_to_end(*this, id, bundle, io, true, times));
  if (Result<> started = start(id); !started) {
    (void)remove(id, true);
    return std::unexpected(started.error());
  }
  return process;
}

Result<> Runtime::start(const std::string& id) {
  const Impl::Opened opened = TRY(impl_->open(id));
  if (opened.status == Status::Stopped)
    return fail(Kind::Conflict, "cannot start a container that has stopped");
  if (opened.status == Status::Creating) {
    return fail(Kind::Conflict, cat("cannot start a container that is still being created: ", id));
  }
  if (opened.status == Status::Paused) {
    return fail(Kind::Conflict, cat("cannot start a paused container: ", id));
  }
  if (opened.status != Status::Created) {
    return fail(Kind::Conflict, cat("cannot start an already running container: ", id));
  }
  const bool hooks = opened.record.has_start_hooks;
  container::StoredPlan plan;
  if (hooks) {
    plan = TRY(Store::load_plan(opened.directory));
    Result<> ran = container::run_start_container_hooks(*impl_, opened, plan.view);
    if (!ran) {
      (void)kill(id, SIGKILL, true);
      return ran;
    }
  }
  TRY(open_gate(opened.directory, opened.init, id));
  if (!hooks) return {};
  Result<> ran = container::run_hooks(plan.view, HookKind::Poststart,
                                      state_json(opened.record, Status::Running));
  if (!ran) (void)kill(id, SIGKILL, true);
  return ran;
}

Result<> Runtime::kill(const std::string& id, int signal, bool all) {
  const Impl::Opened opened = TRY(impl_->open(id));
  // Without a pid namespace of its own the end of init ends nobody else.
  const bool shares_pids = (opened.record.namespaces & CLONE_NEWPID) == 0;
  if (all || (signal == SIGKILL && shares_pids)) {
    const auto group = impl_->open_cgroup(opened.record);
    if (group) return signal_all(*group, signal);
    if (all && !opened.init) return {};  // nothing is left of it
  }
  if (!opened.init) return fail(Kind::NotFound, "container not running");
  return send_signal(opened.init, signal);
}

Result<> Runtime::remove(const std::string& id, bool force) {
  Result<Impl::Opened> found = impl_->open(id);
  if (!found && force && found.error().kind() == Kind::NotFound) return {};
  const Impl::Opened opened = TRY(std::move(found));
  if (!force && opened.status == Status::Creating) {
    return fail(Kind::Conflict,
                cat("cannot delete container ", id, " that is not stopped: creating"));
  }
  if (opened.init) {
    if (!force && opened.status != Status::Created) {
      return fail(Kind::Conflict, cat("cannot delete container ", id, " that is not stopped: ",
                                      oci::to_string(static_cast<oci::Status>(opened.status))));
    }
    TRY(send_signal(opened.init, SIGKILL));
    const auto group = impl_->open_cgroup(opened.record);
    if (group) TRY(sys::kill_cgroup(*group));
    TRY(wait_ended(opened.init, removal_deadline));
  }
  if (!opened.record.cgroup.empty()) {
    TRY(container::destroy_cgroup(*TRY(impl_->cgroup_tree()), opened.record.cgroup,
                                  opened.record.cgroups_made, sys::deadline_in(removal_deadline)));
  }
  if (!opened.record.rdt_made.empty()) {
    TRY(container::remove_rdt_groups(TRY(container::open_resctrl()), opened.record.rdt_made));
  }
  Result<> hooks;
  if (opened.record.has_stop_hooks) {
    const container::StoredPlan plan = TRY(Store::load_plan(opened.directory));
    hooks = container::run_hooks(plan.view, HookKind::Poststop,
                                 state_json(opened.record, Status::Stopped));
  }
  // The record goes last: as long as anything is left, `delete` can be tried again.
  TRY(impl_->store().release(id, opened.directory));
  return hooks;
}

Result<> Runtime::pause(const std::string& id) {
  const Impl::Opened opened = TRY(impl_->open(id));
  if (opened.status != Status::Running && opened.status != Status::Created) {
    return fail(Kind::Conflict, cat("cannot pause container ", id, ": it is ",
                                    oci::to_string(static_cast<oci::Status>(opened.status))));
  }
  return sys::freeze_cgroup(TRY(impl_->open_cgroup(opened.record)),
                            sys::deadline_in(freeze_deadline));
}

Result<> Runtime::resume(const std::string& id) {
  const Impl::Opened opened = TRY(impl_->open(id));
  if (opened.status != Status::Paused) {
    return fail(Kind::Conflict, cat("cannot resume container ", id, ": it is not paused"));
  }
  return sys::thaw_cgroup(TRY(impl_->open_cgroup(opened.record)),
                          sys::deadline_in(freeze_deadline));
}

Result<> Runtime::update(const std::string& id, const std::string& resources_json) {
  const Impl::Opened opened = TRY(impl_->open(id));
  if (!opened.init)
    return fail(Kind::Conflict, cat("cannot update container ", id, ": it is stopped"));
  const container::CgroupPlan plan =
      TRY(container::plan_cgroup(TRY(oci::parse_resources(resources_json))));
  const Fd group = TRY(impl_->open_cgroup(opened.record));
  return container::apply_limits(*TRY(impl_->cgroup_tree()), opened.record.cgroup, group, plan);
}

Result<ContainerState> Runtime::state(const std::string& id) {
  const Impl::Opened opened = TRY(impl_->open(id));
  return describe(opened.record, opened.status);
}

Result<std::vector<ContainerState>> Runtime::list() {
  std::vector<ContainerState> states;
  for (const std::string& id : TRY(impl_->store().list())) {
    // One that is removed while we look is not in the list, as if we had looked a moment later.
    if (Result<ContainerState> one = state(id)) states.push_back(std::move(*one));
  }
  return states;
}

Result<std::vector<pid_t>> Runtime::processes(const std::string& id) {
  const Impl::Opened opened = TRY(impl_->open(id));
  return sys::list_cgroup_pids(TRY(impl_->open_cgroup(opened.record)));
}

Result<Fd> Runtime::open_cgroup(const std::string& id) {
  const Impl::Opened opened = TRY(impl_->open(id));
  return impl_->open_cgroup(opened.record);
}

}  // namespace nacelle
