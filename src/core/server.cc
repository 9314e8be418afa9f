#include "core/server.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>

#include "base/fault.h"
#include "base/text.h"
#include "bpf/links.h"
#include "bpf/loader.h"
#include "bpf/pins.h"
#include "codec/flat.h"
#include "container/bare_mounts.h"
#include "core/server_impl.h"
#include "ring/ops.h"
#include "ring/program.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {

int64_t realtime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

namespace {

constexpr std::chrono::seconds loader_patience{20};

void say(const std::string& line) {
  const std::string whole = cat("nacelle-core: ", line, "\n");
  (void)!::write(2, whole.data(), whole.size());
}

}  // namespace

std::vector<int> Process::parked() const {
  std::vector<int> all{pidfd.get()};
  if (!record.has_streams) return all;
  if (record.terminal) {
    all.push_back(output.get());
  } else {
    if (input) all.push_back(input.get());
    all.push_back(output.get());
    all.push_back(error.get());
  }
  all.push_back(journal.get());
  std::erase(all, -1);
  return all;
}

Server::Server(ring::Loop& loop, const ServerOptions& options) : loop_(loop), options_(options) {
  const auto on_error = [](const Error& error) { say(error.message()); };
  watching_ = std::make_unique<ring::Scope>(loop_, on_error);
  requests_ = std::make_unique<ring::Scope>(loop_, on_error);
}

Server::~Server() = default;

Result<> Server::open_common() {
  // What enters a running container shares this process's memory until it executes (CVE-2016-9962).
  ::prctl(PR_SET_DUMPABLE, 0);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return fail_errno(errno, "getrlimit");
  files_limit_[0] = limit.rlim_cur;
  files_limit_[1] = limit.rlim_max;
  tree_ = TRY(sys::open_cgroup_tree());
  stub_ = TRY(container::make_stub());
  if (auto bare = container::make_bare_mount_namespace()) bare_mounts_ = std::move(*bare);
  null_ = TRY(sys::open_at(sys::working_directory, "/dev/null", O_RDWR));
  spare_ = TRY(sys::open_at(sys::working_directory, "/dev/null", O_RDONLY));
  program_ = TRY(sys::open_at(sys::working_directory, "/proc/self/exe", O_PATH));
  records_ = TRY(RecordStore::open(options_.run_directory));
  logs_ = std::make_unique<LogLink>(
      loop_, *watching_, options_.worker,
      LogLink::Handlers{
          .started = [this] { log_started(); },
          .drained =
              [this](const logs::Drained& message) {
                const auto found = processes_.find(message.key);
                if (found == processes_.end()) return;
                Process& process = *found->second;
                if (process.stage != Process::Stage::Ended) return;
                if (!message.error.empty() || message.dropped_bytes > 0) {
                  send_event(
                      LogTroubleEvent{process.record.id, message.error, message.dropped_bytes});
                }
                process.stage = Process::Stage::Drained;
                process.drained.notify_all();
              },
          .client_left =
              [this](const logs::ClientLeft& message) {
                const auto found = processes_.find(message.key);
                if (found == processes_.end()) return;
                const Record& record = found->second->record;
                send_event(ClientLeftEvent{record.id, record.exec, message.by_keys});
              },
          .trouble =
              [this](const logs::LogTrouble& message) {
                const auto found = processes_.find(message.key);
                if (found == processes_.end()) return;
                send_event(LogTroubleEvent{found->second->record.id, message.error,
                                           message.dropped_bytes});
              },
          .input_ended =
              [this](const logs::InputEnded& message) {
                const auto found = processes_.find(message.key);
                if (found != processes_.end()) end_input(*found->second);
              },
      });
  names_ = std::make_unique<WorkerLink>(
      loop_, *watching_,
      WorkerLink::Options{.program = options_.worker,
                          .word = "names",
                          .called = "names worker",
                          .more_descriptors = {}},
      WorkerLink::Handlers{.started = [this] { names_started(); }, .heard = {}});
  pool_ = std::make_unique<NetnsPool>(
      loop_, program_,
      NetnsPool::Handlers{.low = [this](const PoolLowEvent& event) { send_event(event); }});
  pool_->await_links();
  // Mounts change before we serve, and not while somebody starts. What is wrong with it, the loader
  // finds and says.
  (void)bpf::ensure_pins_directory(bpf::pins_directory(options_.run_directory));
  watching_->start(load_programs());
  return {};
}

// One after the other: they share a place for their pins.
ring::Task<> Server::load_programs() {
  co_await load_links();
  co_await load_groups();
}

// The programs that count what is in containers' groups. A start waits for them, so that nothing of
// a container is missed; it does not need them.
ring::Task<> Server::load_groups() {
  Result<> loaded = co_await as_result(run_loader(absolute(options_.cgroup_root)));
  if (!loaded && loaded.error().kind() == Kind::Cancelled) co_return;
  if (loaded) {
    Result<bpf::Groups> groups = bpf::Groups::open(bpf::pins_directory(options_.run_directory));
    if (groups) {
      groups_ = *std::move(groups);
    } else {
      loaded = std::unexpected(std::move(groups).error());
    }
  }
  if (!loaded) {
    groups_error_ = loaded.error().message();
    say(cat("what containers send and get is not counted by their groups: ", groups_error_));
  }
  for (const auto& [key, process] : processes_) {
    if (process->record.exec.empty()) count_group(*process);
  }
  forget_unknown_groups();
  groups_known_ = true;
  groups_loaded_.notify_all();
}

// Rows of what a predecessor was taking away when it died.
void Server::forget_unknown_groups() {
  if (!groups_) return;
  std::set<uint64_t> known;
  for (const auto& [key, process] : processes_) known.insert(process->group);
  const auto counted = groups_->read_all();
  if (!counted) return;
  for (const auto& [group, counters] : *counted) {
    if (!known.contains(group)) (void)groups_->remove(group);
  }
}

// From here on its traffic is counted, if it was not yet.
void Server::count_group(Process& process) {
  if (!groups_) return;
  if (process.group == 0) {
    const auto directory = sys::open_cgroup(tree_, process.record.cgroup);
    if (!directory) return;  // it has gone
    process.group = bpf::group_number(*directory).value_or(0);
  }
  if (const Result<> added = groups_->add(process.group); !added) {
    say(cat("container ", process.record.id, ": ", added.error().message()));
  }
}

// The programs that watch links, beside everything else: only what makes a link waits for them.
ring::Task<> Server::load_links() {
  const std::string pins = bpf::pins_directory(options_.run_directory);
  Result<> loaded = co_await as_result(run_loader({}));
  if (!loaded && loaded.error().kind() == Kind::Cancelled) co_return;
  if (loaded) loaded = forget_unknown_links(pins);
  if (!loaded) {
    say(cat("no programs watch containers' links, the packet filter alone does: ",
            loaded.error().message()));
  }
  pool_->use_links(loaded ? pins : std::string());
}

// Rows that a predecessor has left: of namespaces it had ready, and of what ended since.
Result<> Server::forget_unknown_links(const std::string& pins) {
  std::set<uint32_t> known;
  for (const auto& [key, process] : processes_) {
    for (const Interface& each : process->record.interfaces) known.insert(each.link);
  }
  bpf::Links links = TRY(bpf::Links::open(pins));
  for (const uint32_t link : links.list()) {
    if (!known.contains(link)) TRY(links.remove(link));
  }
  return {};
}

ring::Task<> Server::run_loader(std::string cgroup) {
  const std::string pins = bpf::pins_directory(options_.run_directory);
  sys::SpawnOptions options;
  options.program = &program_;
  options.arguments = {"nacelle-core", bpf::loader_argument, pins};
  if (!cgroup.empty()) options.arguments.push_back(std::move(cgroup));
  ring::Ended ended =
      co_await ring::run_program(loop_, options, loader_patience, "loading BPF programs");
  if (ended.status != 0) co_await fail(Kind::Unavailable, std::move(ended.words));
}

Result<> Server::open(Fd lock, Fd listener) {
  TRY(open_common());
  // Descriptors are what a container costs this process; what it starts gets the old limit.
  const rlimit raised{files_limit_[1], files_limit_[1]};
  ::setrlimit(RLIMIT_NOFILE, &raised);
  lock_ = std::move(lock);
  listener_ = std::move(listener);
  TRY(logs_->start());
  return adopt();
}

std::string Server::absolute(const std::string& cgroup) const {
  return cat(tree_.mount, "/", cgroup);
}

// A worker that knows nothing hears of everything that is not over.
void Server::log_started() {
  for (const auto& [key, process] : processes_) {
    if (!process->record.has_streams || process->record.reported) continue;
    if (process->stage != Process::Stage::Running && process->stage != Process::Stage::Ended) {
      continue;
    }
    add_streams(*process);
  }
}

// Engines. ---------------------------------------------------------------------------------------

ring::Task<> Server::accept_engines() {
  while (true) {
    co_await ring::poll(loop_, listener_, POLLIN);
    Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      // No descriptor is free, say: not a reason to spin.
      if (errno != EAGAIN && errno != ECONNABORTED) {
        co_await ring::sleep_for(loop_, std::chrono::milliseconds(10));
      }
      continue;
    }
    if (const auto allowed = check_peer(socket); !allowed) {
      say(cat("a connection was refused: ", allowed.error().message()));
      continue;
    }
    if (engine_) {
      pollfd now{engine_->socket->get(), POLLRDHUP, 0};
      const bool gone = ::poll(&now, 1, 0) > 0 && (now.revents & (POLLHUP | POLLRDHUP)) != 0;
      if (!gone) continue;  // one engine at a time: this one sees its connection closed
      engine_.reset();
    }
    become_engine(std::move(socket));
  }
}

void Server::become_engine(Fd socket) {
  auto connection = std::make_shared<Connection>();
  connection->socket = std::make_shared<const Fd>(std::move(socket));
  connection->outbox = std::make_shared<Outbox>(loop_, *watching_, connection->socket);
  engine_ = connection;
  watching_->start(read_requests(std::move(connection)));
}

ring::Task<> Server::read_requests(std::shared_ptr<Connection> connection) {
  while (engine_ == connection) {
    // Requests that nobody has read yet are the new program's.
    while (life_ != Life::Serving) co_await life_changed_.wait();
    auto raw = receive_raw(*connection->socket, packet_bytes_max, descriptors_max + 1);
    if (raw && !raw->has_value()) {
      co_await ring::poll(loop_, *connection->socket, POLLIN);
      continue;
    }
    if (!raw && raw.error().kind() == Kind::Unavailable) break;
    uint64_t request = 0;
    Result<Packet> packet = raw ? parse_packet(std::move(**raw), request)
                                : Result<Packet>(std::unexpected(std::move(raw).error()));
    if (packet && packet->header.kind != static_cast<uint8_t>(PacketKind::Request)) {
      packet = fail(Kind::Invalid, "packet: not a request");
    }
    if (!packet) {
      (void)connection->outbox->send_packet(PacketKind::Error, 0, request,
                                            codec::flat::encode(to_reply(packet.error())));
      continue;
    }
    requests_->start(handle(connection, *std::move(packet)));
  }
  if (engine_ == connection) engine_.reset();
}

template <class Request>
ring::Task<std::string> Server::answer(std::string payload, Exchange& exchange) {
  Request request = co_await codec::flat::decode<Request>(payload, "request");
  payload = std::string();
  const typename Request::Reply reply = co_await perform(std::move(request), exchange);
  co_return codec::flat::encode(reply);
}

ring::Task<std::string> Server::dispatch(uint8_t code, std::string payload, Exchange& exchange) {
  switch (code) {
    case StartRequest::code: return answer<StartRequest>(std::move(payload), exchange);
    case ExecRequest::code: return answer<ExecRequest>(std::move(payload), exchange);
    case SignalRequest::code: return answer<SignalRequest>(std::move(payload), exchange);
    case FreezeRequest::code: return answer<FreezeRequest>(std::move(payload), exchange);
    case UpdateRequest::code: return answer<UpdateRequest>(std::move(payload), exchange);
    case ResizeRequest::code: return answer<ResizeRequest>(std::move(payload), exchange);
    case AttachRequest::code: return answer<AttachRequest>(std::move(payload), exchange);
    case ForgetRequest::code: return answer<ForgetRequest>(std::move(payload), exchange);
    case PoolRequest::code: return answer<PoolRequest>(std::move(payload), exchange);
    case ListRequest::code: return answer<ListRequest>(std::move(payload), exchange);
    case ParkedRequest::code: return answer<ParkedRequest>(std::move(payload), exchange);
    case UpgradeRequest::code: return answer<UpgradeRequest>(std::move(payload), exchange);
    case CloseInputRequest::code: return answer<CloseInputRequest>(std::move(payload), exchange);
    case ConnectRequest::code: return answer<ConnectRequest>(std::move(payload), exchange);
    case DisconnectRequest::code: return answer<DisconnectRequest>(std::move(payload), exchange);
    case NamesRequest::code: return answer<NamesRequest>(std::move(payload), exchange);
    case StatusRequest::code: return answer<StatusRequest>(std::move(payload), exchange);
    case ShutdownRequest::code: return answer<ShutdownRequest>(std::move(payload), exchange);
    default: break;
  }
  return answer<Unknown>(std::move(payload), exchange);
}

ring::Task<> Server::handle(std::shared_ptr<Connection> connection, Packet packet) {
  struct UnderWay {
    Server& server;
    ~UnderWay() {
      --server.requests_under_way_;
      server.life_changed_.notify_all();
    }
  };
  ++requests_under_way_;
  const UnderWay counted{*this};
  Exchange exchange;
  exchange.received_ns = monotonic_ns();
  exchange.descriptors = std::move(packet.descriptors);
  exchange.request = packet.header.request;
  const Result<std::string> reply =
      co_await as_result(dispatch(packet.header.code, std::move(packet.payload), exchange));
  if (!reply) {
    (void)connection->outbox->send_packet(PacketKind::Error, packet.header.code,
                                          packet.header.request,
                                          codec::flat::encode(to_reply(reply.error())));
    co_return;
  }
  fault_point("core reply");
  (void)connection->outbox->send_packet(PacketKind::Reply, packet.header.code,
                                        packet.header.request, *reply, exchange.reply_descriptors);
  if (exchange.after) exchange.after();
}

ring::Task<Nothing> Server::perform(Unknown, Exchange&) {
  co_return fail(Kind::Unsupported, "a request of an unknown kind");
}

Result<std::shared_ptr<Process>> Server::find(const std::string& id,
                                              const std::string& exec) const {
  const auto found = processes_.find(key_of(id, exec));
  if (found == processes_.end() || found->second->stage == Process::Stage::Starting) {
    return fail(Kind::NotFound, exec.empty() ? cat("container ", id, " is not running")
                                             : cat("exec ", exec, " is not running"));
  }
  return found->second;
}

Result<std::shared_ptr<Process>> Server::find_running(const std::string& id,
                                                      const std::string& exec) const {
  auto process = TRY(find(id, exec));
  if (!process->is_running()) {
    return fail(Kind::Conflict, exec.empty() ? cat("container ", id, " is not running")
                                             : cat("exec ", exec, " has ended"));
  }
  return process;
}

// Life. ------------------------------------------------------------------------------------------

ring::Task<int> Server::run() {
  watching_->start(accept_engines());
  while (life_ == Life::Serving) {
    co_await life_changed_.wait();
    if (life_ == Life::Upgrading) {
      // Comes back only if there is nothing to go over to.
      const Result<> failed = co_await as_result(upgrade());
      if (!failed) upgrade_error_ = failed.error();
      life_ = Life::Serving;
      upgrade_over_.notify_all();
      life_changed_.notify_all();
    }
  }
  // The reply to who asked for the end is on its way.
  while (requests_under_way_ > 0) co_await life_changed_.wait();
  co_await pool_->close();
  watching_->cancel();
  co_await watching_->join();
  co_await requests_->join();
  groups_.reset();
  // A group that is there no longer has none.
  if (const auto root = sys::open_cgroup(tree_, options_.cgroup_root)) {
    const Result<> detached = bpf::detach_group_programs(*root);
    if (!detached) say(detached.error().message());
  }
  // Nobody is there whom they would keep apart.
  const Result<> removed = bpf::remove_pins_directory(bpf::pins_directory(options_.run_directory));
  if (!removed) say(removed.error().message());
  co_return 0;
}

namespace {

// flock(2); <sys/file.h> is our own here.
constexpr int lock_exclusive = 2, lock_no_wait = 4;

Result<Fd> take_lock(const std::string& run_directory) {
  Result<> made = sys::make_directory_at(sys::working_directory, run_directory.c_str(), 0700);
  if (!made && made.error().error_number() != EEXIST) {
    return std::unexpected(std::move(made).error());
  }
  Fd lock = TRY(sys::open_at(sys::working_directory, cat(run_directory, "/core.lock").c_str(),
                             O_RDWR | O_CREAT, 0600));
  // What a predecessor was starting when it was killed holds the lock for a moment longer.
  constexpr int turns = 200;
  for (int turn = 0; turn < turns; ++turn) {
    if (sys::call(SYS_flock, lock.get(), lock_exclusive | lock_no_wait) == 0) return lock;
    const timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return fail(Kind::Conflict, cat("another nacelle-core serves ", run_directory));
}

// Born in its own group: it belongs to nobody's session, terminal or limits.
Result<bool> go_to_background(const ServerOptions& options) {
  const sys::CgroupTree tree = TRY(sys::open_cgroup_tree());
  const auto group =
      TRY(sys::ensure_cgroup(tree, TRY(sys::clean_cgroup_path(cat(options.cgroup_root, "/core")))));
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(group.dir.get());
  const long pid = sys::call(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return fail_errno(static_cast<int>(-pid), "clone3");
  if (pid > 0) return false;
  ::setsid();
  (void)!::chdir("/");
  const Fd log =
      TRY(sys::open_at(sys::working_directory, cat(options.run_directory, "/core.log").c_str(),
                       O_WRONLY | O_CREAT | O_APPEND, 0600));
  const Fd null = TRY(sys::open_at(sys::working_directory, "/dev/null", O_RDWR));
  ::dup2(null.get(), 0);
  ::dup2(null.get(), 1);
  ::dup2(log.get(), 2);
  return true;
}

Result<int> serve_loop(const ServerOptions& options, Fd lock, Fd listener, Fd ready) {
  sys::run_promptly();
  auto loop = TRY(ring::Loop::open());
  Server server(*loop, options);
  if (options.state_fd >= 0) {
    const Fd state(options.state_fd);
    TRY(server.restore(state));
  } else {
    TRY(server.open(std::move(lock), std::move(listener)));
  }
  if (ready) (void)!::write(ready.get(), "", 1);
  ready = Fd();
  return loop->run(server.run());
}

Result<int> serve_all(const ServerOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGINT, SIG_IGN);
  ::umask(0022);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, 0);
  if (options.state_fd >= 0) return serve_loop(options, {}, {}, {});
  Fd lock = TRY(take_lock(options.run_directory));
  Fd listener = TRY(listen_packets(cat(options.run_directory, "/core.sock")));
  if (!options.background) return serve_loop(options, std::move(lock), std::move(listener), {});

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
  Fd told(ends[0]);
  Fd ready(ends[1]);
  if (!TRY(go_to_background(options))) {
    ready = Fd();
    char byte = 0;
    const ssize_t got = ::read(told.get(), &byte, 1);
    return got == 1 ? 0 : 1;
  }
  told = Fd();
  return serve_loop(options, std::move(lock), std::move(listener), std::move(ready));
}

}  // namespace

int serve(const ServerOptions& options) {
  if (options.check_state) {
    const auto checked = check_state(Fd(options.state_fd));
    if (!checked) say(checked.error().message());
    return checked ? 0 : 1;
  }
  const auto code = serve_all(options);
  if (!code) say(code.error().message());
  return code.value_or(1);
}

}  // namespace nacelle::core
