// What is done to processes that run: signals, freezing, limits, terminals, clients.
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "container/cgroup.h"
#include "container/cgroup_wire.h"
#include "core/server_impl.h"
#include "ring/ops.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {
namespace {

constexpr ring::Duration freeze_limit = std::chrono::seconds(5);
constexpr int signal_max = 64;
constexpr size_t detach_keys_max = 256;

// Each by a pidfd that is asked for its group again: the number may have passed on to another.
Result<> signal_everyone(const Fd& group, int signal) {
  for (const pid_t pid : TRY(sys::list_cgroup_pids(group))) {
    const long raw = ::syscall(SYS_pidfd_open, pid, 0);
    if (raw < 0) continue;
    const Fd pidfd(static_cast<int>(raw));
    if (!contains(TRY(sys::list_cgroup_pids(group)), pid)) continue;
    TRY(sys::kill_process(pidfd, signal));
  }
  return {};
}

// Innermost first; what is in use stays.
void remove_empty_groups(const Fd& group, std::string_view but) {
  const int again = ::openat(group.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(again), ::closedir);
  if (!list) {
    ::close(again);
    return;
  }
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string_view name = entry->d_name;
    if (entry->d_type != DT_DIR || name.starts_with('.') || name == but) continue;
    if (const auto inner = sys::open_at(group.get(), entry->d_name, O_RDONLY | O_DIRECTORY)) {
      remove_empty_groups(*inner, {});
    }
    ::unlinkat(group.get(), entry->d_name, AT_REMOVEDIR);
  }
}

ring::Task<> until_frozen(ring::Loop& loop, const Fd& events, char wanted) {
  char text[256];
  while (true) {
    const ssize_t got = ::pread(events.get(), text, sizeof text, 0);
    if (got < 0) co_await fail_errno(errno, "reading cgroup.events");
    const std::string_view whole(text, static_cast<size_t>(got));
    if (sys::find_keyed(whole, "frozen").starts_with(wanted)) co_return;
    co_await ring::poll(loop, events, POLLPRI);
  }
}

}  // namespace

ring::Task<Nothing> Server::perform(SignalRequest request, Exchange&) {
  co_await check_id(request.id);
  if (request.signal < 0 || request.signal > signal_max) {
    co_await fail(Kind::Invalid, cat("signal ", request.signal, " does not exist"));
  }
  const auto process = co_await find_running(request.id, request.exec);
  if (!request.all) {
    co_await sys::kill_process(process->pidfd, request.signal);
    co_return Nothing{};
  }
  const Fd group = co_await sys::open_cgroup(tree_, process->record.cgroup);
  if (request.signal == SIGKILL) {
    co_await sys::kill_cgroup(group);
  } else {
    co_await signal_everyone(group, request.signal);
  }
  co_return Nothing{};
}

ring::Task<Nothing> Server::perform(FreezeRequest request, Exchange&) {
  co_await check_id(request.id);
  const auto process = co_await find_running(request.id, "");
  const Fd group = co_await sys::open_cgroup(tree_, process->record.cgroup);
  const Fd events = co_await sys::open_at(group.get(), "cgroup.events", O_RDONLY);
  const char wanted = request.frozen ? '1' : '0';
  co_await sys::write_control(group, "cgroup.freeze", std::string_view(&wanted, 1));
  const auto reached = co_await as_result(
      ring::with_deadline(loop_, until_frozen(loop_, events, wanted), freeze_limit,
                          cat("waiting for container ", request.id)));
  if (!reached) {
    // Half of it stopped would be worse than none.
    if (request.frozen) (void)sys::write_control(group, "cgroup.freeze", "0");
    co_await reached;
  }
  process->frozen = request.frozen;
  co_return Nothing{};
}

ring::Task<Nothing> Server::perform(UpdateRequest request, Exchange&) {
  co_await check_id(request.id);
  const auto plan = co_await container::decode_cgroup_plan(request.cgroup_plan);
  const auto process = co_await find_running(request.id, "");
  const Fd group = co_await sys::open_cgroup(tree_, process->record.cgroup);
  co_await container::apply_limits(tree_, process->record.cgroup, group, plan);
  co_return Nothing{};
}

ring::Task<Nothing> Server::perform(ResizeRequest request, Exchange&) {
  co_await check_id(request.id);
  const auto process = co_await find_running(request.id, request.exec);
  if (!process->record.terminal || !process->output) {
    co_await fail(Kind::Conflict, "the process has no terminal");
  }
  const winsize size{request.height, request.width, 0, 0};
  if (::ioctl(process->output.get(), TIOCSWINSZ, &size) < 0) {
    co_await fail_errno(errno, "resizing the terminal");
  }
  co_return Nothing{};
}

ring::Task<Nothing> Server::perform(AttachRequest request, Exchange& exchange) {
  co_await check_id(request.id);
  const auto process = co_await find(request.id, request.exec);
  const bool there = process->record.has_streams && process->journal &&
                     (process->is_running() || process->stage == Process::Stage::Ended);
  if (!there) co_await fail(Kind::NotFound, "the process has no streams any more");
  if (exchange.descriptors.size() != 1) {
    co_await fail(Kind::Invalid, "request: no connection came along");
  }
  if (request.detach_keys.size() > detach_keys_max) {
    co_await fail(Kind::Invalid, "request: too many detach keys");
  }
  logs::AttachClient message;
  message.key = process->key();
  message.wants_stdin = request.wants_stdin;
  message.wants_stdout = request.wants_stdout;
  message.wants_stderr = request.wants_stderr;
  message.multiplexed = request.multiplexed;
  message.detach_keys = std::move(request.detach_keys);
  message.early_bytes = std::move(request.early_bytes);
  const int client[] = {exchange.descriptors[0].get()};
  co_await logs_->send(message, client);
  co_return Nothing{};
}

// The worker has closed its copy, or nobody is to come.
void Server::end_input(Process& process) {
  if (!process.record.has_input || process.record.terminal) return;
  process.record.has_input = false;
  process.input = Fd();
  if (!process.record.reported) (void)records_->save(process.record);
  send_event(InputEndedEvent{process.record.id, process.record.exec});
}

ring::Task<Nothing> Server::perform(CloseInputRequest request, Exchange&) {
  co_await check_id(request.id);
  const auto process = co_await find_running(request.id, request.exec);
  if (!process->record.has_input) co_return Nothing{};
  process->close_input = true;
  (void)logs_->send(logs::CloseInput{process->key()});
  end_input(*process);
  co_return Nothing{};
}

ring::Task<Nothing> Server::perform(PoolRequest request, Exchange&) {
  co_await pool_->configure(request);
  PoolRequest& kept = pools_[request.network];
  std::vector<std::string> addresses = std::move(kept.addresses);
  addresses.insert(addresses.end(), request.addresses.begin(), request.addresses.end());
  kept = std::move(request);
  std::ranges::sort(addresses);
  const auto repeated = std::ranges::unique(addresses);
  addresses.erase(repeated.begin(), repeated.end());
  kept.addresses = std::move(addresses);
  co_return Nothing{};
}

Result<std::shared_ptr<Process>> Server::find_connectable(const std::string& id) const {
  TRY(check_id(id));
  auto process = TRY(find_running(id, ""));
  if (!process->record.own_network) {
    return fail(Kind::Unsupported, cat("container ", id, " has no network namespace of its own"));
  }
  return process;
}

ring::Task<ConnectRequest::Reply> Server::perform(ConnectRequest request, Exchange&) {
  const auto process = co_await find_connectable(request.id);
  std::vector<Interface>& all = process->record.interfaces;
  if (contains(all, request.interface.network, &Interface::network)) {
    co_await fail(Kind::Conflict,
                  cat("an interface of network ", request.interface.network, " is there"));
  }
  for (unsigned number = 0; request.interface.name.empty(); ++number) {
    std::string name = cat("eth", number);
    if (!contains(all, name, &Interface::name)) request.interface.name = std::move(name);
  }
  if (request.has_names) co_await check_names(request.names);
  Interface became = co_await pool_->add(process->pidfd, std::move(request.interface), all);
  all.push_back(became);
  if (request.has_names) co_await set_names(process, std::move(request.names));
  // It may have ended meanwhile, and then its links have gone with it.
  if (process->is_running()) co_await records_->save(process->record);
  co_return ConnectRequest::Reply{std::move(became)};
}

ring::Task<Nothing> Server::perform(DisconnectRequest request, Exchange&) {
  const auto process = co_await find_connectable(request.id);
  std::vector<Interface>& all = process->record.interfaces;
  std::vector<Interface> rest = all;
  std::erase_if(rest, [&](const Interface& each) { return each.network == request.network; });
  if (rest.size() == all.size()) {
    co_await fail(Kind::NotFound, cat("no interface of network ", request.network));
  }
  const auto found = std::ranges::find(all, request.network, &Interface::network);
  const Interface gone = *found;
  std::erase_if(process->record.names.endpoints,
                [&](const dns::Endpoint& each) { return each.network == request.network; });
  tell_names(*process, false);
  co_await pool_->remove(process->pidfd, gone, std::move(rest));
  std::erase_if(all, [&](const Interface& each) { return each.network == request.network; });
  tell_names(*process, false);  // it may have no way out now
  if (process->is_running()) co_await records_->save(process->record);
  if (!pool_->keeps(gone)) send_event(AddressFreeEvent{gone.network, gone.address});
  co_return Nothing{};
}

ring::Task<ListRequest::Reply> Server::perform(ListRequest, Exchange&) {
  give_up_missing();
  ListRequest::Reply reply;
  const ring::LoopStats stats = loop_.stats();
  reply.core_pid = ::getpid();
  reply.version = NACELLE_VERSION;
  reply.stalls = stats.stalls;
  reply.longest_stall_us = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(stats.longest_turn).count());
  reply.pool_ready = pool_->ready();
  reply.janitor_backlog = pool_->backlog();
  reply.log_worker_error = logs_->error();
  for (const auto& [key, process] : processes_) {
    if (process->stage == Process::Stage::Starting) continue;
    const Record& record = process->record;
    ListRequest::Process& one = reply.processes.emplace_back();
    one.id = record.id;
    one.exec = record.exec;
    one.pid = record.pid;
    one.frozen = process->frozen;
    one.ended = record.reported;
    one.wait_status = record.wait_status;
    one.status_known = record.status_known;
    one.oom_killed = record.oom_kills > 0;
    one.ended_ns = record.ended_ns;
    one.cgroup = absolute(record.cgroup);
    one.interfaces = record.interfaces;
  }
  co_return reply;
}

ring::Task<StatusRequest::Reply> Server::perform(StatusRequest, Exchange&) {
  StatusRequest::Reply reply;
  const ring::LoopStats stats = loop_.stats();
  reply.core_pid = ::getpid();
  reply.version = NACELLE_VERSION;
  reply.turns = stats.turns;
  reply.stalls = stats.stalls;
  reply.longest_turn_us = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(stats.longest_turn).count());
  for (const auto& [key, process] : processes_) {
    if (process->is_running()) {
      ++(process->record.exec.empty() ? reply.containers : reply.execs);
    } else if (process->stage != Process::Stage::Starting) {
      ++reply.ended;
    }
  }
  reply.pool_ready = pool_->ready();
  reply.pool_backlog = pool_->backlog();
  reply.log_worker_error = logs_->error();
  reply.groups_error = groups_error_;
  co_return reply;
}

ring::Task<Nothing> Server::perform(ShutdownRequest, Exchange& exchange) {
  for (const auto& [key, process] : processes_) {
    if (process->stage == Process::Stage::Starting || process->is_running()) {
      co_await fail(Kind::Conflict, "containers are running");
    }
  }
  exchange.after = [this] {
    if (const auto group = sys::open_cgroup(tree_, options_.cgroup_root)) {
      remove_empty_groups(*group, "core");
    }
    life_ = Life::Ending;
    life_changed_.notify_all();
  };
  co_return Nothing{};
}

}  // namespace nacelle::core
