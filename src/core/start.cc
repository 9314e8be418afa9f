// Starting a container: everything that can fail is undone by one object, everything that can wait
// runs while the child works.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "container/cgroup.h"
#include "container/cgroup_wire.h"
#include "container/identity.h"
#include "core/server_impl.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/unix_socket.h"

namespace nacelle::core {

using container::Launch;
using container::PlanView;

namespace {

constexpr std::chrono::milliseconds undo_limit{2'000};

// What is in a plan that only a one-shot runtime can do.
Result<> check_plan(const PlanView& plan) {
  const container::PlanHeader& header = plan.header();
  if (header.has_process == 0) return fail(Kind::Invalid, "plan: no process");
  if (header.hooks.count > 0) return fail(Kind::Unsupported, "plan: hooks are not run here");
  if (header.net_devices.count > 0) {
    return fail(Kind::Unsupported, "plan: network devices are not moved here");
  }
  if ((header.process.flags & container::process_seccomp_notify) != 0) {
    return fail(Kind::Unsupported, "plan: a seccomp listener is not served here");
  }
  return {};
}

std::string path_of(const Fd& directory) {
  auto path =
      sys::read_link_at(sys::working_directory, cat("/proc/self/fd/", directory.get()).c_str());
  return path ? *std::move(path) : std::string();
}

void set_size(const Fd& terminal, uint16_t height, uint16_t width) {
  if (height == 0 && width == 0) return;
  const winsize size{height, width, 0, 0};
  ::ioctl(terminal.get(), TIOCSWINSZ, &size);
}

// Nothing of one that has ended by now, whose mounts go with it.
void hold_mounts(Process& process) {
  if ((process.record.namespaces & CLONE_NEWNS) == 0) return;
  const std::string path = cat("/proc/", process.record.pid, "/ns/mnt");
  if (Result<Fd> mounts = sys::open_at(sys::working_directory, path.c_str(), O_RDONLY)) {
    process.mounts = *std::move(mounts);
  }
}

}  // namespace

// A container on its way up; destroyed before keep(), nothing is left of it.
class Starting {
 public:
  Starting(Server& server, std::shared_ptr<Process> process)
      : server_(server), process_(std::move(process)) {}
  Starting(const Starting&) = delete;
  Starting& operator=(const Starting&) = delete;
  ~Starting() {
    if (!kept_) undo();
  }

  Result<> reserve() {
    if (!server_.processes_.emplace(process_->key(), process_).second) {
      return fail(Kind::Conflict, cat("container ", process_->record.id, " exists"));
    }
    reserved_ = true;
    return {};
  }
  void keep() { kept_ = true; }

  std::unique_ptr<Launch> launch;
  bool made_cgroup = false;
  bool begun = false;
  bool has_network = false;

 private:
  void undo() {
    launch.reset();  // ends and reaps the child
    Record& record = process_->record;
    server_.drop_names(*process_);
    if (server_.groups_ && process_->group != 0) (void)server_.groups_->remove(process_->group);
    if (made_cgroup) {
      (void)container::destroy_cgroup(server_.tree_, record.cgroup, {},
                                      sys::deadline_in(undo_limit));
    }
    if (has_network) {
      server_.pool_->give_back(
          {.descriptor = std::move(process_->network), .interfaces = std::move(record.interfaces)});
    }
    if (begun) server_.records_->remove_begun(record.id);
    process_->stage = Process::Stage::Forgotten;
    if (reserved_) server_.processes_.erase(process_->key());
  }

  Server& server_;
  std::shared_ptr<Process> process_;
  bool reserved_ = false;
  bool kept_ = false;
};

// The child may ask for its id mappings in between.
ring::Task<> Server::settle(Launch& launch) {
  while (true) {
    co_await ring::poll(loop_, launch.handshake(), POLLIN);
    const Launch::Event event = co_await launch.next_event();
    if (event == Launch::Event::Started) co_return;
    if (event != Launch::Event::Mapped) {
      co_await fail(Kind::Unsupported, "the plan asks for what is not done here");
    }
  }
}

// `theirs` is what the child gets. A terminal is made by the child itself.
Result<> Server::make_streams(Process& process, bool input, int (&stdio)[3], Fd (&theirs)[3]) {
  Record& record = process.record;
  if (record.terminal) return {};
  Fd* const ours[3] = {&process.input, &process.output, &process.error};
  for (int i = 0; i < 3; ++i) {
    if (i == 0 && !input) {
      stdio[i] = null_.get();
      continue;
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
    *ours[i] = Fd(ends[i == 0 ? 1 : 0]);
    theirs[i] = Fd(ends[i == 0 ? 0 : 1]);
    stdio[i] = theirs[i].get();
  }
  return {};
}

void Server::add_streams(Process& process) {
  const Record& record = process.record;
  if (!record.has_streams) return;
  logs::AddStreams message;
  message.key = process.key();
  message.terminal = record.terminal;
  message.has_stdin = record.has_input;
  message.has_stdout = static_cast<bool>(process.output);
  message.has_stderr = static_cast<bool>(process.error);
  message.has_directory = static_cast<bool>(process.log_directory);
  message.stdin_once = record.stdin_once;
  message.options = record.log;
  message.hold_for_client = record.hold_for_client;
  std::vector<int> descriptors{process.journal.get(), process.output.get()};
  if (!record.terminal) descriptors.push_back(process.error.get());
  if (record.has_input) {
    descriptors.push_back(record.terminal ? process.output.get() : process.input.get());
  }
  if (process.log_directory) descriptors.push_back(process.log_directory.get());
  std::erase(descriptors, -1);
  (void)logs_->send(message, descriptors);
  if (record.ended) (void)logs_->send(logs::Ended{process.key(), linger_ms});
  if (process.close_input) (void)logs_->send(logs::CloseInput{process.key()});
}

ring::Task<StartRequest::Reply> Server::perform(StartRequest request, Exchange& exchange) {
  co_await check_id(request.id);
  const PlanView plan = co_await PlanView::check(request.plan);
  co_await check_plan(plan);
  const auto limits = co_await container::decode_cgroup_plan(request.cgroup_plan);
  const container::PlanHeader& header = plan.header();
  const bool terminal = (header.process.flags & container::process_terminal) != 0;
  if (terminal != request.terminal) {
    co_await fail(Kind::Invalid, "the plan and the request disagree about the terminal");
  }
  if (request.log.driver > logs::Driver::None || request.network > NetworkMode::Join) {
    co_await fail(Kind::Invalid, "request: unknown log driver or network mode");
  }
  if (exchange.descriptors.empty()) co_await fail(Kind::Invalid, "request: no root came along");
  const Fd root = std::move(exchange.descriptors[0]);

  const auto process = std::make_shared<Process>();
  Record& record = process->record;
  record.id = request.id;
  record.cgroup =
      co_await sys::clean_cgroup_path(cat(options_.cgroup_root, "/", request.cgroup_path));
  record.terminal = terminal;
  record.has_streams = true;
  record.has_input = request.open_stdin;
  record.stdin_once = request.stdin_once;
  record.hold_for_client = request.has_client;
  record.log = std::move(request.log);
  record.user_namespace = (header.flags & container::plan_user_namespace) != 0;
  if (exchange.descriptors.size() > 1) {
    process->log_directory = std::move(exchange.descriptors[1]);
    record.log_directory = path_of(process->log_directory);
  }
  if (record.cgroup == options_.cgroup_root) co_await fail(Kind::Invalid, "request: no cgroup");
  record.has_names = request.has_names && request.network == NetworkMode::Own;
  if (record.has_names) {
    co_await check_names(request.names);
    record.names = std::move(request.names);
    co_await names_port_.ensure(tree_, options_.cgroup_root);
  }

  Starting starting(*this, process);
  co_await starting.reserve();
  fault_point("core start reserved");

  std::vector<container::JoinedNamespace> joined;
  std::vector<std::shared_ptr<Process>> others;  // whose pidfds are borrowed
  for (const auto& [type, id] : request.joined) {
    others.push_back(co_await find_running(id, ""));
    joined.push_back({others.back()->pidfd.get(), type});
  }
  const bool new_network = (header.new_namespaces & CLONE_NEWNET) != 0;
  switch (request.network) {
    case NetworkMode::Host:
      if (new_network) co_await fail(Kind::Invalid, "plan: a network namespace on the host's");
      break;
    case NetworkMode::Join:
      others.push_back(co_await find_running(request.network_of, ""));
      joined.push_back({others.back()->pidfd.get(), CLONE_NEWNET});
      break;
    case NetworkMode::None:
      // Its own user namespace must own it, or it could not even be looked at from inside.
      if (new_network && record.user_namespace) break;
      [[fallthrough]];
    case NetworkMode::Own: {
      ReadyNamespace ready = co_await pool_->take(std::move(request.interfaces), record.has_names);
      process->network = std::move(ready.descriptor);
      process->name_sockets = std::move(ready.name_sockets);
      record.interfaces = std::move(ready.interfaces);
      record.own_network = starting.has_network = true;
      joined.push_back({process->network.get(), CLONE_NEWNET});
      break;
    }
  }
  const uint64_t networked_ns = monotonic_ns();
  // What was awaited for may have brought the end of those who are joined.
  for (const auto& other : others) {
    if (!other->is_running()) co_await fail(Kind::Conflict, "a joined container has ended");
  }
  // It may ask for its own name at once.
  tell_names(*process, true);
  record.namespaces = header.new_namespaces;
  for (const container::JoinStep& join : plan.items(header.joins)) record.namespaces |= join.type;
  for (const container::JoinedNamespace& join : joined) record.namespaces |= join.type;

  while (!groups_known_) co_await groups_loaded_.wait();
  const Fd begun = co_await records_->begin(record);
  starting.begun = true;
  fault_point("core start begun");
  container::ContainerCgroup cgroup =
      co_await container::create_cgroup(tree_, record.cgroup, limits, &device_programs_);
  starting.made_cgroup = true;
  if (groups_) {
    process->group = co_await bpf::group_number(cgroup.dir);
    count_group(*process);
  }
  const uint64_t cgroup_ns = monotonic_ns();
  fault_point("core start cgroup");

  container::LaunchOptions options;
  Fd theirs[3];
  Fd console;
  co_await make_streams(*process, request.open_stdin, options.stdio, theirs);
  if (terminal) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
      co_await fail_errno(errno, "socketpair");
    }
    console = Fd(ends[0]);
    theirs[0] = Fd(ends[1]);
    options.console_socket = theirs[0].get();
    for (int& each : options.stdio) each = null_.get();
  }
  const std::string cgroup_directory = absolute(record.cgroup);
  options.cgroup = cgroup.dir.get();
  options.cgroup_directory = cgroup_directory.c_str();
  options.traced = request.traced;
  options.stub = stub_.get();
  options.root_mount = root.get();
  options.bare_mounts = bare_mounts_.get();
  options.joined = joined;
  options.files_limit = files_limit_;
  starting.launch = co_await Launch::begin(plan, options);
  Launch& launch = *starting.launch;
  fault_point("core start cloned");

  // While the child works.
  for (Fd& each : theirs) each = Fd();
  record.pid = launch.pid();
  const auto identity = co_await container::identify(launch.pid(), launch.pidfd());
  record.pidfd_inode = identity.pidfd_inode;
  record.start_time = identity.start_time;
  co_await records_->write_begun(begun, record);
  co_await records_->save_plan(record.id, request.plan);
  process->journal = Fd(::memfd_create("nacelle-journal", MFD_CLOEXEC));
  if (!process->journal || ::ftruncate(process->journal.get(), logs::journal_bytes) < 0) {
    co_await fail_errno(errno, "making the journal of a log");
  }
  fault_point("core start written");
  co_await settle(launch);
  const uint64_t executed_ns = monotonic_ns();
  fault_point("core start executed");

  if (terminal) {
    process->output = co_await sys::receive_fd(console);
    set_size(process->output, request.height, request.width);
  }
  process->pidfd = launch.take_pidfd();
  co_await records_->publish(record);
  fault_point("core start published");
  starting.keep();
  process->stage = Process::Stage::Running;

  StartRequest::Reply reply;
  reply.pid = record.pid;
  reply.cgroup = cgroup_directory;
  reply.interfaces = record.interfaces;
  if (request.traced) {
    const auto add = [&](const char* name, uint64_t at) {
      if (at > 0) reply.phases.push_back({name, at});
    };
    add("core", exchange.received_ns);
    add("network", networked_ns);
    add("cgroup", cgroup_ns);
    constexpr std::pair<container::Phase, const char*> phases[] = {
        {container::Phase::Born, "clone"},      {container::Phase::Namespaces, "namespaces"},
        {container::Phase::Mounts, "mounts"},   {container::Phase::Pivot, "pivot"},
        {container::Phase::Process, "process"}, {container::Phase::Seccomp, "seccomp"}};
    for (const auto& [phase, name] : phases) add(name, launch.phase_ns(phase));
    add("exec", executed_ns);
    add("record", monotonic_ns());
  }
  exchange.keep = process;
  exchange.reply_descriptors = process->parked();
  exchange.after = [this, process] {
    add_streams(*process);
    hold_mounts(*process);
    watching_->start(watch(process));
  };
  co_return reply;
}

}  // namespace nacelle::core
