// Starting: one container on its way up, and all the way back down when it fails.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "base/text.h"
#include "container/intel_rdt.h"
#include "container/net_devices.h"
#include "container/runtime_impl.h"
#include "sys/file.h"
#include "sys/unix_socket.h"

namespace nacelle {

using container::HookKind;
using container::Launch;
using container::Phase;
using container::report_fifo;
using container::start_fifo;

namespace {

uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

class Starting::Impl {
 public:
  Impl(Runtime::Impl& runtime, const Bundle::Impl& bundle, std::string id)
      : runtime_(runtime), bundle_(bundle), id_(std::move(id)) {}

  ~Impl() {
    if (!started_) roll_back();
  }

  Result<> begin(const IoOptions& io, bool parked) {
    times_.begin = now_ns();
    directory_ = TRY(runtime_.store().reserve(id_));
    TRY(make_cgroup());
    times_.cgroup = now_ns();
    if (parked) TRY(make_gate());
    TRY(clone(io));
    times_.clone = now_ns();
    if (bundle_.intel_rdt) TRY(join_rdt());
    return save();
  }

  const Fd& handshake() const { return launch_->handshake(); }
  bool ready() const { return launch_->ready(); }

  Result<bool> advance() {
    switch (TRY(launch_->next_event())) {
      case Launch::Event::RunHooks:
        TRY(run_create_hooks());
        TRY(launch_->go_on());
        return false;
      case Launch::Event::Listener:
        TRY(container::send_listener(bundle_.plan, launch_->take_listener(), record_,
                                     launch_->pid(), Status::Creating));
        TRY(launch_->go_on());
        return false;
      case Launch::Event::Mapped: return false;
      case Launch::Event::Started: break;
    }
    times_.exec = now_ns();
    read_phases();
    TRY(container::Store::publish(directory_));
    if (!gate_)
      TRY(container::run_hooks(bundle_.plan, HookKind::Poststart,
                               state_json(record_, Status::Running)));
    if (net_devices_) net_devices_->keep();
    started_ = true;
    runtime_.remember(std::move(directory_), record_);
    return true;
  }

  Process take_process() { return {launch_->pid(), launch_->take_pidfd()}; }
  StartTimes times() const { return times_; }

 private:
  Result<> make_cgroup() {
    const sys::CgroupTree& tree = *TRY(runtime_.cgroup_tree());
    record_.cgroup = TRY(runtime_.place(bundle_.cgroups_path, id_));
    TRY(container::Store::note_cgroup(directory_, record_.cgroup));
    cgroup_ = TRY(container::create_cgroup(tree, record_.cgroup, bundle_.cgroup));
    record_.cgroup = cgroup_.path;
    record_.cgroups_made = cgroup_.made;
    cgroup_directory_ = cat(tree.mount, "/", cgroup_.path);
    if (bundle_.delegate_to) TRY(container::delegate_cgroup(cgroup_.dir, *bundle_.delegate_to));
    return {};
  }

  // Opened for reading and writing: nobody waits in open(2), and the stub's read never sees an end.
  Result<> make_gate() {
    for (const auto& [name, fd] :
         {std::pair{start_fifo, &gate_}, std::pair{report_fifo, &report_}}) {
      TRY(sys::make_fifo_at(directory_.get(), name, 0600));
      *fd = TRY(sys::open_at(directory_.get(), name, O_RDWR));
    }
    return {};
  }

  Result<> clone(const IoOptions& io) {
    container::LaunchOptions options;
    options.cgroup = cgroup_.dir.get();
    options.cgroup_directory = cgroup_directory_.c_str();
    for (int i = 0; i < 3; ++i) options.stdio[i] = io.standard[i];
    options.console_socket = io.console_socket;
    options.preserved = io.preserved_fds;
    options.wait = gate_ ? gate_.get() : -1;
    options.report = report_ ? report_.get() : -1;
    options.traced = io.traced;
    // The program must not run before its devices are there and its class is joined.
    options.ask_before_pivot =
        bundle_.plan.header().net_devices.count > 0 || bundle_.intel_rdt.has_value();
    launch_ = TRY(Launch::begin(bundle_.plan, options));
    return {};
  }

  Result<> join_rdt() {
    const container::RdtPlan plan = container::plan_rdt(*bundle_.intel_rdt, id_);
    const Fd resctrl = TRY(container::open_resctrl().context("linux.intelRdt"));
    record_.rdt_made = TRY(container::join_rdt(resctrl, plan, launch_->pid()));
    record_.rdt_groups = {plan.group};
    if (!plan.monitoring.empty()) record_.rdt_groups.push_back(plan.monitoring);
    return {};
  }

  // While the child sets itself up.
  Result<> save() {
    record_.state.oci_version = bundle_.oci_version;
    record_.state.id = id_;
    record_.state.bundle = bundle_.directory;
    record_.state.rootfs = bundle_.rootfs;
    record_.state.created = container::time_now_rfc3339();
    record_.state.annotations = bundle_.annotations;
    record_.namespaces = bundle_.namespaces;
    record_.has_start_hooks = container::has_hooks(bundle_.plan, HookKind::StartContainer) ||
                              container::has_hooks(bundle_.plan, HookKind::Poststart);
    record_.has_stop_hooks = container::has_hooks(bundle_.plan, HookKind::Poststop);
    record_.init = TRY(container::identify(launch_->pid(), launch_->pidfd()));
    TRY(container::Store::save(directory_, record_));
    return container::Store::save_plan(directory_, bundle_.plan_bytes);
  }

  Result<> run_create_hooks() {
    if (bundle_.plan.header().net_devices.count > 0) {
      net_devices_ = TRY(container::NetDevices::move(bundle_.plan, launch_->pidfd()));
    }
    hooks_ran_ = true;
    const std::string json = state_json(record_, Status::Creating);
    TRY(container::run_hooks(bundle_.plan, HookKind::Prestart, json));
    TRY(container::run_hooks(bundle_.plan, HookKind::CreateRuntime, json));
    // The child stands in its namespaces, before its pivot: paths still are the runtime's.
    return container::run_hooks(bundle_.plan, HookKind::CreateContainer, json,
                                {.process = &launch_->pidfd(), .namespaces = bundle_.namespaces});
  }

  void read_phases() {
    times_.born = launch_->phase_ns(Phase::Born);
    times_.namespaces = launch_->phase_ns(Phase::Namespaces);
    times_.mounts = launch_->phase_ns(Phase::Mounts);
    times_.pivot = launch_->phase_ns(Phase::Pivot);
    times_.process = launch_->phase_ns(Phase::Process);
    times_.seccomp = launch_->phase_ns(Phase::Seccomp);
  }

  // As if it had never been asked for (runtime.md "Errors"). What cannot be undone is left for
  // `delete --force`, whose record is then still there.
  void roll_back() {
    if (!directory_) return;  // the id was not ours
    net_devices_.reset();     // they go back while their namespace lives
    launch_.reset();
    bool gone = true;
    if (!record_.rdt_made.empty()) {
      const auto resctrl = container::open_resctrl();
      gone = resctrl && container::remove_rdt_groups(*resctrl, record_.rdt_made);
    }
    if (cgroup_.dir) {
      const auto tree = runtime_.cgroup_tree();
      gone &= tree && container::destroy_cgroup(**tree, record_.cgroup, record_.cgroups_made,
                                                sys::deadline_in(removal_deadline));
    }
    if (hooks_ran_) {
      (void)container::run_hooks(bundle_.plan, HookKind::Poststop,
                                 state_json(record_, Status::Stopped));
    }
    if (gone) (void)runtime_.store().release(id_, directory_);
  }

  Runtime::Impl& runtime_;
  const Bundle::Impl& bundle_;
  std::string id_;
  Fd directory_;
  container::Record record_;
  container::ContainerCgroup cgroup_;
  std::string cgroup_directory_;
  Fd gate_;
  Fd report_;
  std::unique_ptr<Launch> launch_;
  std::unique_ptr<container::NetDevices> net_devices_;
  StartTimes times_;
  bool hooks_ran_ = false;
  bool started_ = false;
};

Starting::Starting(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Starting::~Starting() = default;

Result<std::unique_ptr<Starting>> Starting::begin(Runtime& runtime, const std::string& id,
                                                  const Bundle& bundle, const IoOptions& io,
                                                  bool parked) {
  auto impl = std::make_unique<Impl>(*runtime.impl_, bundle.impl(), id);
  TRY(impl->begin(io, parked));
  return std::unique_ptr<Starting>(new Starting(std::move(impl)));
}

const Fd& Starting::handshake() const { return impl_->handshake(); }
bool Starting::ready() const { return impl_->ready(); }
Result<bool> Starting::advance() { return impl_->advance(); }
Process Starting::take_process() { return impl_->take_process(); }
StartTimes Starting::times() const { return impl_->times(); }

std::string state_json(const container::Record& record, Status status) {
  oci::State state = record.state;
  state.status = static_cast<oci::Status>(status);
  state.pid = status == Status::Stopped ? 0 : record.init.pid;
  return oci::state_document(state);
}

namespace container {

std::string time_now_rfc3339() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  // gmtime_r would do, but loads the local time zone first: a file and forty microseconds for every
  // start.
  const std::chrono::sys_seconds seconds{std::chrono::seconds(now.tv_sec)};
  const auto day = std::chrono::floor<std::chrono::days>(seconds);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(seconds - day);
  const auto padded = [](int64_t number, size_t width) {
    std::string digits = cat(number);
    return std::string(width - digits.size(), '0') + digits;
  };
  return cat(static_cast<int>(date.year()), "-", padded(static_cast<unsigned>(date.month()), 2),
             "-", padded(static_cast<unsigned>(date.day()), 2), "T",
             padded(time.hours().count(), 2), ":", padded(time.minutes().count(), 2), ":",
             padded(time.seconds().count(), 2), ".", padded(now.tv_nsec, 9), "Z");
}

Result<> send_listener(const PlanView& plan, const Fd& listener, const Record& record, pid_t pid,
                       Status status) {
  const ProcessPlan& process = plan.header().process;
  oci::ContainerProcessState document;
  document.pid = pid;
  if (process.seccomp_listener_metadata)
    document.metadata = plan.view(process.seccomp_listener_metadata);
  document.state = record.state;
  document.state.status = static_cast<oci::Status>(status);
  document.state.pid = record.init.pid;
  const std::string json = oci::container_process_state_document(document);

  constexpr const char* attempt = "linux.seccomp.listenerPath";
  const Fd socket =
      TRY(sys::connect_unix(plan.view(process.seccomp_listener_path)).context(attempt));
  return sys::send_fd(socket, listener, json).context(attempt);
}

}  // namespace container
}  // namespace nacelle
