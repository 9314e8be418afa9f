// After a death: what a predecessor's records say is found again, or told to be over.
#include <poll.h>
#include <signal.h>

#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "container/cgroup.h"
#include "container/identity.h"
#include "core/server_impl.h"
#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {
namespace {

constexpr std::chrono::milliseconds end_limit{2'000};

}  // namespace

// A start that was never answered has not happened.
void Server::end_begun(const Record& record) {
  if (record.pid > 0) {
    if (const auto pidfd = container::open_process(record.identity())) {
      (void)sys::kill_process(*pidfd, SIGKILL);
    }
  }
  (void)container::destroy_cgroup(tree_, record.cgroup, {}, sys::deadline_in(end_limit));
  records_->remove_begun(record.id);
}

Result<> Server::adopt() {
  auto found = TRY(records_->load());
  for (const Record& record : found.begun) end_begun(record);
  std::vector<Interface> in_use;
  for (Record& record : found.published) {
    in_use.insert(in_use.end(), record.interfaces.begin(), record.interfaces.end());
    adopt_one(std::move(record));
  }
  pool_->adopt(in_use);
  return {};
}

void Server::adopt_one(Record record) {
  const auto process = std::make_shared<Process>();
  process->record = std::move(record);
  process->child = false;
  const Record& known = process->record;
  if (!known.log_directory.empty()) {
    if (auto directory = sys::open_at(sys::working_directory, known.log_directory.c_str(),
                                      O_RDONLY | O_DIRECTORY)) {
      process->log_directory = *std::move(directory);
    }
  }
  processes_[process->key()] = process;
  if (known.reported) {
    process->stage = Process::Stage::Drained;
    return;
  }
  if (known.ended) {
    process->stage = Process::Stage::Ended;
    process->pidfd = Fd();
    watching_->start(watch(process));
    return;
  }
  auto pidfd = container::open_process(known.identity());
  if (!pidfd) {
    process->stage = Process::Stage::Missing;
    return;
  }
  process->pidfd = *std::move(pidfd);
  process->stage = Process::Stage::Running;
  if (known.exec.empty()) {
    if (const auto group = sys::open_cgroup(tree_, known.cgroup)) {
      if (const auto frozen = sys::read_control(*group, "cgroup.freeze")) {
        process->frozen = frozen->starts_with('1');
      }
    }
  }
  if (known.has_names) watching_->start(serve_again(process));
  watching_->start(watch(process));
}

// The one who had the descriptors is not there: how these ended cannot be known any more.
void Server::give_up_missing() {
  for (const auto& [key, process] : processes_) {
    if (process->stage != Process::Stage::Missing) continue;
    process->record.status_known = false;
    note_end(*process);
    watching_->start(watch(process));
  }
}

ring::Task<Nothing> Server::perform(ParkedRequest request, Exchange& exchange) {
  co_await check_id(request.id);
  const auto process = co_await find(request.id, request.exec);
  Record& record = process->record;
  if (record.reported || process->child) co_return Nothing{};  // it has all of it
  std::vector<Fd>& came = exchange.descriptors;
  if (came.empty()) co_await fail(Kind::Invalid, "request: no descriptor came along");
  size_t next = 0;
  Fd pidfd = std::move(came[next++]);
  const bool missing = process->stage == Process::Stage::Missing;
  if (missing) {
    // Only an ended process may be what is missing: one that runs would have been found.
    pollfd now{pidfd.get(), POLLIN, 0};
    if (::poll(&now, 1, 0) <= 0) co_await fail(Kind::Invalid, "request: not the process's pidfd");
    const auto found = co_await sys::stat_fd(pidfd);
    if (record.pidfd_inode != 0 && found.st_ino != record.pidfd_inode) {
      co_await fail(Kind::Invalid, "request: not the process's pidfd");
    }
    process->pidfd = std::move(pidfd);
  }
  if (record.has_streams && !process->journal) {
    const bool input = request.open_stdin && !record.terminal;
    const size_t expected = record.terminal ? 3 : input ? 5 : 4;
    if (came.size() != expected || request.terminal != record.terminal) {
      co_await fail(Kind::Invalid, "request: not the descriptors of this process");
    }
    if (input) {
      process->input = std::move(came[next++]);
      if (!record.has_input) process->input = Fd();  // it has ended meanwhile
    }
    if (!input && !record.terminal) record.has_input = false;
    process->output = std::move(came[next++]);
    if (!record.terminal) process->error = std::move(came[next++]);
    process->journal = std::move(came[next++]);
    add_streams(*process);
  }
  if (missing) {
    process->stage = Process::Stage::Running;  // so far as anyone has been told
    watching_->start(watch(process));
  }
  fault_point("core parked taken");
  co_return Nothing{};
}

}  // namespace nacelle::core
