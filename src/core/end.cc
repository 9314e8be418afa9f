// How processes end, and how they are forgotten. What is learned goes into the table and into the
// record before anything is waited for again, so that every step can be begun anew: after a
// re-exec, or by a successor.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "container/cgroup.h"
#include "core/server_impl.h"
#include "ring/ops.h"
#include "sys/cgroup.h"
#include "sys/file.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace nacelle::core {
namespace {

// How long the log worker may take with what is left, and with a client that has yet to come.
constexpr ring::Duration drain_limit = std::chrono::seconds(5);
constexpr ring::Duration held_drain_limit = std::chrono::seconds(15);
constexpr ring::Duration empty_limit = std::chrono::seconds(10);
constexpr const char* memory_events = "memory.events.local";
constexpr int reaped_turns_max = 200;
constexpr int parked_turns_max = 200;

// PIDFD_GET_INFO (6.13; the exit code 6.15), which Debian 12's headers do not have.
struct PidfdInfo {
  uint64_t mask = 0;
  uint64_t cgroup_id = 0;
  uint32_t numbers[11] = {};
  int32_t exit_code = 0;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t pidfd_info_exit = 1u << 3;
constexpr unsigned long pidfd_get_info = _IOWR(0xff, 11, PidfdInfo);

// The wait status of somebody else's child, once that one has reaped it.
std::optional<int> exit_of_foreign(const Fd& pidfd) {
  PidfdInfo info;
  info.mask = pidfd_info_exit;
  if (::ioctl(pidfd.get(), pidfd_get_info, &info) < 0) return std::nullopt;
  if ((info.mask & pidfd_info_exit) == 0) return std::nullopt;
  return info.exit_code;
}

// Nothing: not our child, or not ended.
std::optional<int> reap_child(const Fd& pidfd) {
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info,
               WEXITED | WNOHANG) < 0 ||
      info.si_pid == 0) {
    return std::nullopt;
  }
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

}  // namespace

void Server::note_end(Process& process) {
  Record& record = process.record;
  record.ended = true;
  record.ended_ns = realtime_ns();
  process.stage = Process::Stage::Ended;
  if (!record.exec.empty()) return;
  drop_names(process);
  if (const auto group = sys::open_cgroup(tree_, record.cgroup)) note_kills(process, *group);
}

// Told as they are seen, those of the last moment before the end they brought about.
void Server::note_kills(Process& process, const Fd& group) {
  const auto events = sys::read_control(group, memory_events);
  if (!events) return;  // memory is not controlled here
  const auto kills = parse_number<uint64_t>(sys::find_keyed(*events, "oom_kill")).value_or(0);
  if (kills <= process.record.oom_kills) return;
  process.record.oom_kills = kills;
  send_event(OomEvent{process.record.id, kills});
}

// A container may lose processes for want of memory and go on.
ring::Task<> Server::watch_memory(std::shared_ptr<Process> process) {
  auto group = sys::open_cgroup(tree_, process->record.cgroup);
  if (!group || !sys::has_control(*group, memory_events)) co_return;
  const Fd events = co_await sys::open_at(group->get(), memory_events, O_RDONLY);
  char text[512];
  while (process->is_running()) {
    // What has been read is not told again; when the group goes, reading fails.
    if (::pread(events.get(), text, sizeof text, 0) < 0) co_return;
    note_kills(*process, *group);
    co_await ring::poll(loop_, events, POLLPRI);
  }
}

// An end is told once it is written down. One descriptor is kept for that; where there is none all
// the same, or no room, it is a moment later.
ring::Task<> Server::save_surely(const Record& record) {
  constexpr auto retry = std::chrono::milliseconds(20);
  for (;;) {
    Result<> saved = records_->save(record);
    if (!saved && saved.error().error_number() == EMFILE && spare_) {
      spare_ = Fd();
      saved = records_->save(record);
    }
    if (!spare_) {
      if (auto again = sys::open_at(sys::working_directory, "/dev/null", O_RDONLY)) {
        spare_ = *std::move(again);
      }
    }
    const int error = saved ? 0 : saved.error().error_number();
    if (error != EMFILE && error != ENFILE && error != ENOSPC) co_return co_await std::move(saved);
    co_await ring::sleep_for(loop_, retry);
  }
}

ring::Task<> Server::watch(std::shared_ptr<Process> process) {
  if (process->stage == Process::Stage::Running) {
    if (process->record.exec.empty()) watching_->start(watch_memory(process));
    co_await ring::poll(loop_, process->pidfd, POLLIN);
    fault_point("core exit seen");
    Record& record = process->record;
    std::optional<int> status = process->child ? reap_child(process->pidfd) : std::nullopt;
    if (!status) {
      // Its parent, the machine's init, reaps it any moment now.
      for (int turn = 0; !status && turn < reaped_turns_max; ++turn) {
        status = exit_of_foreign(process->pidfd);
        if (!status) co_await ring::sleep_for(loop_, std::chrono::milliseconds(5));
      }
    }
    record.status_known = status.has_value();
    record.wait_status = status.value_or(0);
    note_end(*process);
    fault_point("core exit reaped");
    co_await save_surely(record);
  }
  co_await finish(process);
}

static Traffic traffic_of(const nacelle_group_counters& counted) {
  return {.counted = true,
          .sent_bytes = counted.sent_bytes,
          .sent_packets = counted.sent_packets,
          .received_bytes = counted.received_bytes,
          .received_packets = counted.received_packets};
}

static ring::Task<> until_drained(std::shared_ptr<Process> process) {
  while (process->stage == Process::Stage::Ended) co_await process->drained.wait();
}

// From the end of a process to the event that says so.
ring::Task<> Server::finish(std::shared_ptr<Process> process) {
  Record& record = process->record;
  if (process->stage == Process::Stage::Ended) {
    // After a core's death the engine hands the streams back, with what is still in them.
    for (int turn = 0; record.has_streams && !process->journal && turn < parked_turns_max; ++turn) {
      co_await ring::sleep_for(loop_, std::chrono::milliseconds(10));
    }
    const bool drains = record.has_streams && process->journal;
    if (drains) {
      (void)logs_->send(logs::Ended{process->key(), linger_ms});
      const auto limit = record.hold_for_client ? held_drain_limit : drain_limit;
      const auto drained =
          co_await as_result(ring::with_deadline(loop_, until_drained(process), limit));
      if (!drained && drained.error().kind() == Kind::Cancelled) co_await drained;
      if (!drained) {
        send_event(LogTroubleEvent{record.id, "the log was not finished in time", 0});
      }
    }
    if (process->stage == Process::Stage::Ended) process->stage = Process::Stage::Drained;
  }
  if (process->stage != Process::Stage::Drained || record.reported) co_return;
  fault_point("core exit drained");
  for (Fd* each : {&process->input, &process->output, &process->error, &process->journal,
                   &process->log_directory}) {
    *each = Fd();
  }
  record.reported = true;
  co_await save_surely(record);
  ExitedEvent event{
      record.id,       record.exec, record.wait_status, record.status_known, record.oom_kills > 0,
      record.ended_ns, {}};
  if (groups_ && process->group != 0) {
    if (const auto counted = groups_->read(process->group)) event.traffic = traffic_of(*counted);
  }
  send_event(event);
  process->drained.notify_all();
  fault_point("core exit told");
}

// Forgetting. ------------------------------------------------------------------------------------

ring::Task<> Server::end_mounts(Fd mounts) { co_await ring::close_aside(loop_, std::move(mounts)); }

void Server::drop(Process& process) {
  records_->remove(process.record);
  if (process.mounts) watching_->start(end_mounts(std::move(process.mounts)));
  process.stage = Process::Stage::Forgotten;
  processes_.erase(process.key());
}

static ring::Task<> until_empty(ring::Loop& loop, const Fd& events) {
  char text[256];
  while (true) {
    const ssize_t got = ::pread(events.get(), text, sizeof text, 0);
    // The group is gone: nobody is in it.
    if (got < 0) co_return;
    const std::string_view whole(text, static_cast<size_t>(got));
    if (sys::find_keyed(whole, "populated").starts_with('0')) co_return;
    co_await ring::poll(loop, events, POLLPRI);
  }
}

ring::Task<> Server::empty_cgroup(std::shared_ptr<Process> process) {
  const Record& record = process->record;
  // The groups above it stay for the next one (remove_groups).
  if (sys::remove_empty_cgroup(tree_, record.cgroup)) co_return;
  {
    auto group = sys::open_cgroup(tree_, record.cgroup);
    if (!group && group.error().error_number() == ENOENT) co_return;
    const Fd dir = co_await std::move(group);
    co_await sys::kill_cgroup(dir);
    const Fd events = co_await sys::open_at(dir.get(), "cgroup.events", O_RDONLY);
    co_await ring::with_deadline(loop_, until_empty(loop_, events), empty_limit,
                                 cat("waiting for the end of all in ", record.cgroup));
  }
  fault_point("core forget emptied");
  // A group whose last process ended a moment ago may be busy for another one.
  constexpr int turns_max = 100;
  for (int turn = 0;; ++turn) {
    Result<> removed = sys::remove_cgroup(tree_, record.cgroup, loop_.now());
    if (removed) break;
    if (turn == turns_max) co_await std::move(removed);
    co_await ring::sleep_for(loop_, std::chrono::milliseconds(5));
  }
}

ring::Task<Nothing> Server::perform(ForgetRequest request, Exchange&) {
  co_await check_id(request.id);
  const auto found = processes_.find(key_of(request.id, request.exec));
  if (found == processes_.end()) co_return Nothing{};
  const std::shared_ptr<Process> process = found->second;
  if (process->stage == Process::Stage::Starting || process->is_running()) {
    co_await fail(Kind::Conflict, cat("container ", request.id, " is running"));
  }
  // Its end is being told.
  const Record& record = process->record;
  for (int turn = 0; !record.reported && process->stage != Process::Stage::Missing; ++turn) {
    if (process->stage == Process::Stage::Forgotten) co_return Nothing{};
    co_await ring::sleep_for(loop_, std::chrono::milliseconds(turn < 20 ? 1 : 20));
  }
  while (process->forgetting && process->stage != Process::Stage::Forgotten) {
    co_await ring::sleep_for(loop_, std::chrono::milliseconds(2));
  }
  if (process->stage == Process::Stage::Forgotten) co_return Nothing{};
  if (!request.exec.empty()) {
    drop(*process);
    co_return Nothing{};
  }
  process->forgetting = true;
  struct Done {
    Process& process;
    ~Done() { process.forgetting = false; }
  } done{*process};
  fault_point("core forget begun");
  co_await empty_cgroup(process);
  fault_point("core forget removed");
  if (groups_ && process->group != 0) (void)groups_->remove(process->group);
  // What ran in it ended with its cgroup, and is nobody's to ask for any more.
  const std::string prefix = cat(record.id, "/");
  for (int turn = 0;; ++turn) {
    bool waits = false;
    for (auto each = processes_.lower_bound(prefix);
         each != processes_.end() && each->first.starts_with(prefix);) {
      const std::shared_ptr<Process> inner = (each++)->second;
      if (inner->record.reported || inner->stage == Process::Stage::Missing) {
        drop(*inner);
      } else {
        waits = true;
      }
    }
    if (!waits) break;
    co_await ring::sleep_for(loop_, std::chrono::milliseconds(turn < 20 ? 1 : 20));
  }
  if (record.own_network) {
    pool_->give_back(
        {.descriptor = std::move(process->network), .interfaces = process->record.interfaces});
    for (const Interface& each : record.interfaces) {
      if (!pool_->keeps(each)) send_event(AddressFreeEvent{each.network, each.address});
    }
  }
  drop(*process);
  fault_point("core forget done");
  co_return Nothing{};
}

}  // namespace nacelle::core
