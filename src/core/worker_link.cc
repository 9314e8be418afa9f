#include "core/worker_link.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/text.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {
namespace {

constexpr size_t worker_packet_bytes_max = 64u << 10;
constexpr ring::Duration short_life = std::chrono::seconds(1);
constexpr ring::Duration pause_min = std::chrono::milliseconds(20);
constexpr ring::Duration pause_max = std::chrono::seconds(5);

}  // namespace

WorkerLink::WorkerLink(ring::Loop& loop, ring::Scope& scope, Options options, Handlers handlers)
    : loop_(loop), scope_(scope), options_(std::move(options)), handlers_(std::move(handlers)) {}

void WorkerLink::start() {
  started_ = true;
  if (auto spawned = spawn(); !spawned) error_ = spawned.error().message();
  scope_.start(serve());
}

WorkerLink::Kept WorkerLink::kept() const {
  return {started_, process_.get(), socket_ ? socket_->get() : -1};
}

void WorkerLink::take_over(const Kept& kept) {
  started_ = kept.started;
  if (kept.process >= 0) process_ = Fd(kept.process);
  if (kept.socket >= 0) {
    socket_ = std::make_shared<const Fd>(kept.socket);
    outbox_ = std::make_shared<Outbox>(loop_, scope_, socket_);
    error_.clear();
  }
  if (started_) scope_.start(serve());
}

Result<> WorkerLink::spawn() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
    return fail_errno(errno, "socketpair");
  }
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const Fd program =
      TRY(sys::open_at(sys::working_directory, options_.program.c_str(), O_PATH).context([this] {
        return cat("starting the ", options_.called);
      }));
  sys::SpawnOptions options;
  options.program = &program;
  options.arguments = {"nacelle-worker", options_.word};
  options.descriptors = {&theirs};
  options.descriptors.insert(options.descriptors.end(), options_.more_descriptors.begin(),
                             options_.more_descriptors.end());
  process_ = TRY(sys::spawn(options));
  socket_ = std::make_shared<const Fd>(std::move(ours));
  outbox_ = std::make_shared<Outbox>(loop_, scope_, socket_);
  error_.clear();
  return {};
}

Result<> WorkerLink::send_bytes(uint8_t code, const std::string& bytes,
                                std::span<const int> descriptors) {
  if (!outbox_) return fail(Kind::Unavailable, cat(options_.called, ": ", error_));
  std::string packet(1, static_cast<char>(code));
  packet += bytes;
  return outbox_->send(packet, descriptors);
}

// One worker after the other.
ring::Task<> WorkerLink::serve() {
  ring::Duration pause = pause_min;
  while (true) {
    const ring::TimePoint begun = loop_.now();
    if (socket_) {
      const Result<> ended = co_await as_result(read_packets());
      if (!ended && ended.error().kind() == Kind::Cancelled)
        co_await std::unexpected(ended.error());
      error_ = cat("the ", options_.called, " has ended");
      outbox_.reset();
      socket_.reset();
    }
    if (process_) {
      (void)sys::kill_process(process_, SIGKILL);
      co_await ring::poll(loop_, process_, POLLIN);
      if (auto status = sys::reap(process_); status) {
        error_ = cat("the ", options_.called,
                     " has ended: ", WIFSIGNALED(*status) ? "signal " : "status ",
                     WIFSIGNALED(*status) ? WTERMSIG(*status) : WEXITSTATUS(*status));
      }
      process_ = Fd();
    }
    pause = loop_.now() - begun > short_life ? pause_min : std::min(pause * 2, pause_max);
    co_await ring::sleep_for(loop_, pause);
    if (auto spawned = spawn(); !spawned) {
      error_ = spawned.error().message();
      continue;
    }
    handlers_.started();
  }
}

// Until the worker is gone. What cannot be read is passed over: the worker reads foreign bytes.
ring::Task<> WorkerLink::read_packets() {
  const std::shared_ptr<const Fd> socket = socket_;
  while (true) {
    auto packet = receive_raw(*socket, worker_packet_bytes_max, 0);
    if (!packet && packet.error().kind() != Kind::Invalid) {
      co_await std::unexpected(std::move(packet).error());
    }
    if (packet && !packet->has_value()) {
      co_await ring::poll(loop_, *socket, POLLIN);
    } else if (packet && !(*packet)->refused && handlers_.heard) {
      const std::string_view bytes = (*packet)->bytes;
      handlers_.heard(static_cast<uint8_t>(bytes[0]), bytes.substr(1));
    }
  }
}

}  // namespace nacelle::core
