// Re-exec in place: same process, so children stay children and descriptors stay open. Nothing is
// in flight when it happens: requests have been answered, waits were cancelled and reaped, and what
// they had learned is in the table. The new program has read a copy of the state before.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault.h"
#include "base/text.h"
#include "core/server_impl.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {
namespace {

constexpr uint64_t state_bytes_max = 256u << 20;
constexpr ring::Duration quiet_limit = std::chrono::seconds(5);
constexpr ring::Duration check_limit = std::chrono::seconds(10);
constexpr uint8_t stage_max = static_cast<uint8_t>(Process::Stage::Forgotten);

struct KeptProcess {
  Record record;
  uint8_t stage = 0;
  bool child = true, frozen = false, close_input = false;
  int pidfd = -1, input = -1, output = -1, error = -1, journal = -1, log_directory = -1,
      network = -1;
  std::vector<int> name_sockets;
  template <class Visit>
  void fields(Visit& visit) {
    visit(record, stage, child, frozen, close_input, pidfd, input, output, error, journal,
          log_directory, network, name_sockets);
  }
};

struct State {
  static constexpr uint32_t version_value = 3;
  uint32_t version = version_value;
  std::string run_directory, worker, cgroup_root;
  int lock = -1, listener = -1, engine = -1;
  LogLink::Kept logs;
  WorkerLink::Kept names;
  uint64_t soft_limit = 0, hard_limit = 0;
  std::vector<PoolRequest> pools;
  std::vector<KeptProcess> processes;
  uint64_t request = 0;  // to be answered
  std::string error;     // with this, if it is not empty
  template <class Visit>
  void fields(Visit& visit) {
    visit(version, run_directory, worker, cgroup_root, lock, listener, engine, logs, names,
          soft_limit, hard_limit, pools, processes, request, error);
  }
};

Result<State> read_state(const Fd& file) {
  const struct stat status = TRY(sys::stat_fd(file));
  if (status.st_size < 4 || static_cast<uint64_t>(status.st_size) > state_bytes_max) {
    return fail(Kind::Invalid, "state: not of a size it can have");
  }
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        ::pread(file.get(), bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got <= 0) return fail(Kind::Invalid, "state: cannot be read");
    have += static_cast<size_t>(got);
  }
  uint32_t version = 0;
  std::memcpy(&version, bytes.data(), sizeof version);
  if (version != State::version_value) {
    return fail(Kind::Unsupported,
                cat("state: version ", version, " is not known to this program"));
  }
  State state = TRY(codec::flat::decode<State>(bytes, "state"));
  for (const KeptProcess& each : state.processes) {
    (void)TRY(decode_record(codec::flat::encode(each.record)));
    if (each.stage > stage_max) return fail(Kind::Invalid, "state: unknown stage");
  }
  return state;
}

std::vector<int> descriptors_of(const State& state) {
  std::vector<int> all{state.lock,
                       state.listener,
                       state.engine,
                       state.logs.worker.process,
                       state.logs.worker.socket,
                       state.logs.pipe_read,
                       state.logs.pipe_write,
                       state.names.process,
                       state.names.socket};
  for (const KeptProcess& each : state.processes) {
    all.insert(all.end(), {each.pidfd, each.input, each.output, each.error, each.journal,
                           each.log_directory, each.network});
    all.insert(all.end(), each.name_sockets.begin(), each.name_sockets.end());
  }
  std::erase(all, -1);
  return all;
}

void keep_over_exec(const std::vector<int>& descriptors, bool keep) {
  for (const int fd : descriptors) ::fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

// Comes back only if it failed.
Error execute(const Fd& program, const Fd& state) {
  ::fcntl(state.get(), F_SETFD, 0);
  const std::string number = cat(state.get());
  const char* const arguments[] = {"nacelle-core", "--state-fd", number.c_str(), nullptr};
  ::syscall(SYS_execveat, program.get(), "", arguments, environ, AT_EMPTY_PATH);
  const int reason = errno;
  ::fcntl(state.get(), F_SETFD, FD_CLOEXEC);
  return Error::from_errno(reason, "executing the new program");
}

}  // namespace

Result<> check_state(const Fd& state) {
  TRY(read_state(state));
  return {};
}

Result<Fd> Server::write_state(const std::string& error) const {
  State state;
  state.run_directory = options_.run_directory;
  state.worker = options_.worker;
  state.cgroup_root = options_.cgroup_root;
  state.lock = lock_.get();
  state.listener = listener_.get();
  state.engine = engine_ ? engine_->socket->get() : -1;
  state.logs = logs_->kept();
  state.names = names_->kept();
  state.soft_limit = files_limit_[0];
  state.hard_limit = files_limit_[1];
  for (const auto& [name, request] : pools_) state.pools.push_back(request);
  for (const auto& [key, process] : processes_) {
    const Process& one = *process;
    state.processes.push_back({one.record,
                               static_cast<uint8_t>(one.stage),
                               one.child,
                               one.frozen,
                               one.close_input,
                               one.pidfd.get(),
                               one.input.get(),
                               one.output.get(),
                               one.error.get(),
                               one.journal.get(),
                               one.log_directory.get(),
                               one.network.get(),
                               {}});
    for (const Fd& each : one.name_sockets) {
      state.processes.back().name_sockets.push_back(each.get());
    }
  }
  state.request = upgrade_request_;
  state.error = error;
  Fd file = TRY(sys::make_sealed_memory_file("nacelle-state", codec::flat::encode(state), false));
  if (going_over_) keep_over_exec(descriptors_of(state), true);
  return file;
}

// Nothing has been changed when this fails.
ring::Task<> Server::check_successor(const Fd& program) {
  const Fd state = co_await write_state("");
  sys::SpawnOptions options;
  options.program = &program;
  options.arguments = {"nacelle-core", "--check-state", "--state-fd", "3"};
  options.descriptors = {&state};
  const Fd checker = co_await sys::spawn(options);
  const auto ended = co_await as_result(ring::with_deadline(
      loop_, ring::readable(loop_, checker), check_limit, "the new program's look at the state"));
  if (!ended) (void)sys::kill_process(checker, SIGKILL);
  const int status = co_await sys::reap(checker);
  co_await ended;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    co_await fail(Kind::Unsupported, "the new program does not understand this one's state");
  }
}

ring::Task<> Server::upgrade() {
  // The upgrade's own request is one of those under way.
  for (const ring::TimePoint end = loop_.now() + quiet_limit; requests_under_way_ > 1;) {
    if (loop_.now() > end) co_await fail(Kind::Unavailable, "requests are under way");
    co_await ring::sleep_for(loop_, std::chrono::milliseconds(1));
  }
  const Fd program =
      co_await sys::open_at(sys::working_directory, upgrade_program_.c_str(), O_RDONLY);
  co_await check_successor(program);
  for (const ring::TimePoint end = loop_.now() + quiet_limit;
       (engine_ && !engine_->outbox->empty()) || !logs_->all_sent() || !names_->all_sent();) {
    if (loop_.now() > end) co_await fail(Kind::Unavailable, "messages are under way");
    co_await ring::sleep_for(loop_, std::chrono::milliseconds(1));
  }
  fault_point("core upgrade checked");
  co_await pool_->close();
  watching_->cancel();
  co_await watching_->join();
  // From here on there is no way back but through an execve.
  going_over_ = true;
  auto state = write_state("");
  Error error(Kind::Internal, "");
  if (state) {
    fault_point("core upgrade written");
    error = execute(program, *state);
  } else {
    error = state.error();
  }
  // This very program once more, with the bad news.
  if (auto again = write_state(error.message())) error = execute(program_, *again);
  ::_exit(1);  // a successor finds everything in the records
}

ring::Task<Nothing> Server::perform(UpgradeRequest request, Exchange& exchange) {
  if (!request.program.starts_with('/')) {
    co_await fail(Kind::Invalid, cat("program '", request.program, "': must be absolute"));
  }
  if (life_ != Life::Serving) co_await fail(Kind::Conflict, "an upgrade is under way");
  upgrade_program_ = std::move(request.program);
  upgrade_request_ = exchange.request;
  upgrade_error_.reset();
  life_ = Life::Upgrading;
  life_changed_.notify_all();
  while (life_ == Life::Upgrading) co_await upgrade_over_.wait();
  if (upgrade_error_) co_await std::unexpected(*upgrade_error_);
  co_return Nothing{};
}

Result<> Server::restore(const Fd& file) {
  State state = TRY(read_state(file));
  // Before anything is opened: these numbers are taken.
  keep_over_exec(descriptors_of(state), false);
  options_.run_directory = state.run_directory;
  options_.worker = state.worker;
  options_.cgroup_root = state.cgroup_root;
  TRY(open_common());
  files_limit_[0] = state.soft_limit;
  files_limit_[1] = state.hard_limit;
  const auto take = [](int fd) { return fd >= 0 ? Fd(fd) : Fd(); };
  lock_ = take(state.lock);
  listener_ = take(state.listener);
  logs_->take_over(state.logs);
  names_->take_over(state.names);
  std::vector<Interface> in_use;
  for (PoolRequest& each : state.pools) {
    TRY(pool_->configure(each));
    std::string network = each.network;
    pools_[std::move(network)] = std::move(each);
  }
  for (KeptProcess& each : state.processes) {
    const auto process = std::make_shared<Process>();
    process->record = std::move(each.record);
    process->stage = static_cast<Process::Stage>(each.stage);
    process->child = each.child;
    process->frozen = each.frozen;
    process->close_input = each.close_input;
    process->pidfd = take(each.pidfd);
    process->input = take(each.input);
    process->output = take(each.output);
    process->error = take(each.error);
    process->journal = take(each.journal);
    process->log_directory = take(each.log_directory);
    process->network = take(each.network);
    for (const int number : each.name_sockets) process->name_sockets.push_back(take(number));
    const auto& interfaces = process->record.interfaces;
    in_use.insert(in_use.end(), interfaces.begin(), interfaces.end());
    processes_[process->key()] = process;
    if (process->stage != Process::Stage::Missing && !process->record.reported) {
      watching_->start(watch(process));
    }
  }
  pool_->adopt(in_use);
  if (state.engine < 0) return {};
  become_engine(Fd(state.engine));
  if (state.error.empty()) {
    return engine_->outbox->send_packet(PacketKind::Reply, UpgradeRequest::code, state.request,
                                        codec::flat::encode(Nothing{}));
  }
  return engine_->outbox->send_packet(
      PacketKind::Error, UpgradeRequest::code, state.request,
      codec::flat::encode(to_reply(Error(Kind::Unavailable, state.error))));
}

}  // namespace nacelle::core
