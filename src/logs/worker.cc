#include "logs/worker.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/flat.h"
#include "logs/confine.h"
#include "logs/process.h"

namespace nacelle::logs {
namespace {

using std::chrono::milliseconds;

constexpr int control_number = 3;
constexpr int work_read_number = 4, work_write_number = 5;
constexpr size_t packet_bytes_max = 192u << 10;
constexpr size_t packet_descriptors_max = 8;
constexpr size_t events_max = 64;
constexpr int packets_per_turn_max = 64;
constexpr auto tick_interval = milliseconds(10);
// So long the bytes that a predecessor left in the work pipe wait for their owner.
constexpr auto owner_limit = std::chrono::seconds(3);

struct Packet {
  std::string bytes;
  std::vector<Fd> descriptors;
};

class Worker final : public House {
 public:
  Worker(Fd control, Fd epoll, WorkPipe work)
      : control_(std::move(control)),
        epoll_(std::move(epoll)),
        work_(std::move(work)),
        give_up_at_(Clock::now() + owner_limit) {
    control_source_.worker = this;
    departures_.worker = this;
    watch(control_, EPOLLIN, control_source_);
  }

  int run();

 private:
  struct ControlSource final : Source {
    Worker* worker = nullptr;
    void ready(uint32_t events) override { worker->control_ready(events); }
  };
  // Of clients that are leaving: they are looked at every turn, so this only ends the wait.
  struct Departures final : Source {
    Worker* worker = nullptr;
    void ready(uint32_t) override { worker->departures_due_ = true; }
  };

  void watch(const Fd& file, uint32_t events, Source& source) override;
  void forget(const Fd& file, Source& source) override;
  const WorkPipe& work() const override { return work_; }
  bool may_take() const override { return work_.left_behind() == 0; }
  std::span<char> scratch(size_t bytes_min) override;
  void wants_ticks(Process& process) override;
  void say(std::string packet) override;
  void compress(Process& process) override;
  void see_off(std::unique_ptr<Client> client) override;
  void ended(Process& process) override;

  int wait_limit_ms(Clock::time_point now) const;
  void control_ready(uint32_t events);
  Result<bool> receive(Packet& packet);
  void serve(Packet& packet);
  void add(std::string_view message, std::vector<Fd>& descriptors);
  void flush_outbox();
  void tick(Clock::time_point now);
  void compress_a_slice();
  void look_at_departures(Clock::time_point now);
  void let_all_take();
  Process* find(const std::string& key);
  template <class Message, class Serve>
  void with(std::string_view message, const Serve& serve);

  Fd control_, epoll_;
  WorkPipe work_;
  ControlSource control_source_;
  Departures departures_;
  bool departures_due_ = false;
  bool is_over_ = false;
  std::map<std::string, std::unique_ptr<Process>, std::less<>> processes_;
  std::vector<std::unique_ptr<Process>> graveyard_;
  std::vector<Process*> ticking_;
  Clock::time_point next_tick_{};
  Clock::time_point give_up_at_;
  std::vector<std::unique_ptr<Client>> leaving_;
  std::deque<std::string> outbox_;
  std::vector<char> scratch_;
  std::array<epoll_event, events_max> events_{};
  size_t events_count_ = 0;

  struct Compression {
    std::string key;
    std::unique_ptr<Compaction> work;
  };
  std::deque<Compression> compressions_;
};

// What processes ask for. -------------------------------------------------------------------------

void Worker::watch(const Fd& file, uint32_t events, Source& source) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &source;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, file.get(), &event) < 0 && errno == EEXIST)
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, file.get(), &event);
}

void Worker::forget(const Fd& file, Source& source) {
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, file.get(), nullptr);
  for (epoll_event& each : std::span(events_).first(events_count_)) {
    if (each.data.ptr == &source) each.data.ptr = nullptr;
  }
}

std::span<char> Worker::scratch(size_t bytes_min) {
  if (scratch_.size() < bytes_min) scratch_.resize(bytes_min);
  return scratch_;
}

void Worker::wants_ticks(Process& process) {
  if (std::exchange(process.is_ticking, true)) return;
  ticking_.push_back(&process);
}

void Worker::say(std::string packet) { outbox_.push_back(std::move(packet)); }

void Worker::compress(Process& process) {
  if (process.is_compressing) return;
  LogFile& file = process.file();
  file.compression_is_taken_up();
  auto work = Compaction::open(file.directory(), file.options().files_max);
  if (!work) return;  // the next rotation tries again
  process.is_compressing = true;
  compressions_.push_back({.key = process.key(), .work = *std::move(work)});
}

void Worker::see_off(std::unique_ptr<Client> client) {
  watch(client->socket(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, departures_);
  leaving_.push_back(std::move(client));
  departures_due_ = true;
}

void Worker::ended(Process& process) {
  const auto found = processes_.find(process.key());
  graveyard_.push_back(std::move(found->second));
  processes_.erase(found);
}

// What core asks for. -----------------------------------------------------------------------------

// False: nothing is there.
Result<bool> Worker::receive(Packet& packet) {
  packet.bytes.resize(packet_bytes_max);
  packet.descriptors.clear();
  iovec part{.iov_base = packet.bytes.data(), .iov_len = packet.bytes.size()};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(packet_descriptors_max * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = ancillary;
  message.msg_controllen = sizeof ancillary;
  const ssize_t got = ::recvmsg(control_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    return fail_errno(errno, "recvmsg");
  }
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t index = 0; index < count; ++index) {
      int number = -1;
      std::copy_n(CMSG_DATA(each) + index * sizeof number, sizeof number,
                  reinterpret_cast<unsigned char*>(&number));
      packet.descriptors.emplace_back(number);
    }
  }
  if (got == 0) return fail(Kind::Unavailable, "core has closed the connection");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return fail(Kind::Invalid, "a message is too long");
  packet.bytes.resize(static_cast<size_t>(got));
  return true;
}

void Worker::control_ready(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    watch(control_, EPOLLIN, control_source_);
    flush_outbox();
  }
  Packet packet;
  for (int each = 0; each < packets_per_turn_max; ++each) {
    const auto came = receive(packet);
    if (!came) {
      is_over_ = true;
      return;
    }
    if (!*came) return;
    serve(packet);
  }
}

Process* Worker::find(const std::string& key) {
  const auto found = processes_.find(key);
  return found == processes_.end() ? nullptr : found->second.get();
}

template <class Message, class Serve>
void Worker::with(std::string_view message, const Serve& serve) {
  auto decoded = codec::flat::decode<Message>(message, "a message for the log worker");
  if (decoded) serve(*std::move(decoded));
}

void Worker::serve(Packet& packet) {
  const auto code = static_cast<uint8_t>(packet.bytes[0]);
  const std::string_view message = std::string_view(packet.bytes).substr(1);
  switch (code) {
    case AddStreams::code: return add(message, packet.descriptors);
    case AttachClient::code:
      return with<AttachClient>(message, [&](AttachClient attach) {
        if (packet.descriptors.empty()) return;
        if (Process* const process = find(attach.key))
          return process->attach(std::move(packet.descriptors[0]), std::move(attach));
        // It has just been drained: the client finds its end.
        say(std::string(1, static_cast<char>(ClientLeft::code)) +
            codec::flat::encode(ClientLeft{.key = attach.key}));
        see_off(std::make_unique<Client>(std::move(packet.descriptors[0]), AttachClient{}));
      });
    case Ended::code:
      return with<Ended>(message, [&](const Ended& ended) {
        if (Process* const process = find(ended.key)) process->end(ended.linger_ms);
      });
    case CloseInput::code:
      return with<CloseInput>(message, [&](const CloseInput& close) {
        if (Process* const process = find(close.key)) process->close_input();
      });
    default: return;
  }
}

void Worker::add(std::string_view message, std::vector<Fd>& descriptors) {
  with<AddStreams>(message, [&](AddStreams how) {
    size_t next = 0;
    const auto take = [&](bool is_there) {
      return is_there && next < descriptors.size() ? std::move(descriptors[next++]) : Fd();
    };
    Process::Descriptors given;
    Fd journal = take(true);
    given.output[0] = take(how.has_stdout || how.terminal);
    given.output[1] = take(how.has_stderr && !how.terminal);
    given.input = take(how.has_stdin);
    given.directory = take(how.has_directory);
    const std::string key = how.key;
    if (find(key) != nullptr) return;
    auto process = std::make_unique<Process>(*this, std::move(how), std::move(given));
    Process& added = *processes_.emplace(key, std::move(process)).first->second;
    const bool could_take = may_take();
    const auto begun = added.begin(std::move(journal), work_);
    if (!begun) {
      say(std::string(1, static_cast<char>(LogTrouble::code)) +
          codec::flat::encode(
              LogTrouble{.key = key, .error = begun.error().message(), .dropped_bytes = 0}));
    }
    if (!could_take && may_take()) let_all_take();
  });
}

void Worker::let_all_take() {
  for (const auto& [key, process] : processes_) process->look_again();
}

void Worker::flush_outbox() {
  while (!outbox_.empty()) {
    const std::string& packet = outbox_.front();
    const ssize_t sent =
        ::send(control_.get(), packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return watch(control_, EPOLLIN | EPOLLOUT, control_source_);
    if (sent < 0 && errno != EMSGSIZE) {
      is_over_ = true;
      return;
    }
    outbox_.pop_front();
  }
}

// Turns. ------------------------------------------------------------------------------------------

void Worker::tick(Clock::time_point now) {
  if (now < next_tick_) return;
  next_tick_ = now + tick_interval;
  if (!may_take() && now >= give_up_at_) {
    work_.give_up();
    let_all_take();
  }
  std::vector<Process*> due;
  due.swap(ticking_);
  for (Process* const process : due) {
    process->is_ticking = false;
    if (process->tick(now)) wants_ticks(*process);
  }
  if (!leaving_.empty()) departures_due_ = true;
}

void Worker::compress_a_slice() {
  if (compressions_.empty()) return;
  Compression& first = compressions_.front();
  const auto more = first.work->step();
  if (more && *more) return;
  const std::string key = std::move(first.key);
  compressions_.pop_front();
  Process* const process = find(key);
  if (process == nullptr) return;
  process->is_compressing = false;
  if (process->file().wants_compression()) compress(*process);
}

void Worker::look_at_departures(Clock::time_point now) {
  if (!std::exchange(departures_due_, false)) return;
  std::erase_if(leaving_, [now](const auto& client) { return client->has_left(now); });
}

int Worker::wait_limit_ms(Clock::time_point now) const {
  if (!compressions_.empty() || departures_due_) return 0;
  if (ticking_.empty() && leaving_.empty() && may_take()) return -1;
  const auto left = std::chrono::ceil<milliseconds>(next_tick_ - now).count();
  return static_cast<int>(std::max<int64_t>(left, 0));
}

int Worker::run() {
  while (!is_over_) {
    const auto now = Clock::now();
    const int count = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_max),
                                   wait_limit_ms(now));
    if (count < 0 && errno != EINTR) return 1;
    events_count_ = static_cast<size_t>(std::max(count, 0));
    for (size_t each = 0; each < events_count_; ++each) {
      auto* const source = static_cast<Source*>(events_[each].data.ptr);
      if (source != nullptr) source->ready(events_[each].events);
    }
    events_count_ = 0;
    compress_a_slice();
    const auto after = Clock::now();
    tick(after);
    look_at_departures(after);
    if (!graveyard_.empty()) {
      std::erase_if(ticking_, [this](const Process* process) {
        return std::ranges::any_of(graveyard_,
                                   [process](const auto& dead) { return dead.get() == process; });
      });
      graveyard_.clear();
    }
    flush_outbox();
  }
  return 0;
}

Fd inherited_pipe(int number) {
  struct stat status{};
  if (::fstat(number, &status) < 0 || !S_ISFIFO(status.st_mode)) return {};
  return Fd(number);
}

// Several descriptors for every process.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int serve(Fd control) {
  ::signal(SIGPIPE, SIG_IGN);
  // Whoever started us may end before us: what is in hand is brought to its place then. The end of
  // the connection ends us.
  (void)::prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
  raise_descriptor_limit();
  const bool is_program = control.get() == control_number;
  Fd read_end = is_program ? inherited_pipe(work_read_number) : Fd();
  Fd write_end = is_program ? inherited_pipe(work_write_number) : Fd();
  auto work = WorkPipe::open(std::move(read_end), std::move(write_end));
  if (!work) return 1;
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return 1;
  if (is_program && !confine()) return 1;
  Worker worker(std::move(control), std::move(epoll), *std::move(work));
  return worker.run();
}

}  // namespace nacelle::logs
