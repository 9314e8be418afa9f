#include "logs/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "codec/flat.h"

namespace nacelle::logs {
namespace {

using std::chrono::milliseconds;

// The output of an exec is kept for a client that is on its way for so long after its end.
constexpr auto client_limit = std::chrono::seconds(10);
constexpr auto retry_interval = milliseconds(250);
constexpr auto reopen_interval = milliseconds(100);
constexpr auto idle_limit = std::chrono::seconds(2);
// What clients may be behind when their container has ended: no more than a pipe holds comes.
constexpr size_t ended_queue_max = 2u << 20;
constexpr size_t last_output_max = 2u << 20;
constexpr int wide_pipe_bytes = 1 << 20;
constexpr int plain_pipe_bytes = 64 << 10;
constexpr size_t busy_bytes = 60u << 10;
// Turns of one client's input before others have theirs.
constexpr int input_turns_max = 16;
constexpr uint32_t session_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

template <class Message>
std::string packet(const Message& message) {
  return static_cast<char>(Message::code) + codec::flat::encode(message);
}

void make_nonblocking(const Fd& file) {
  const int flags = ::fcntl(file.get(), F_GETFL);
  if (flags >= 0) (void)::fcntl(file.get(), F_SETFL, flags | O_NONBLOCK);
}

}  // namespace

Process::Process(House& house, AddStreams how, Descriptors descriptors)
    : house_(house), how_(std::move(how)), file_(std::move(descriptors.directory), how_.options) {
  for (size_t index = 0; index < outputs_.size(); ++index) {
    Output& output = outputs_[index];
    output.process = this;
    output.index = index;
    output.kind = index == 0 ? Stream::Stdout : Stream::Stderr;
    output.file = std::move(descriptors.output[index]);
    output.is_over = !output.file;
    if (output.file) make_nonblocking(output.file);
  }
  input_.process = this;
  input_.file = std::move(descriptors.input);
  if (input_.file) make_nonblocking(input_.file);
}

Process::~Process() {
  for (Output& output : outputs_) {
    if (output.is_watched) house_.forget(output.file, output);
  }
  if (input_.file) house_.forget(input_.file, input_);
  for (const auto& session : sessions_) {
    if (session->client) house_.forget(session->client->socket(), *session);
  }
}

Result<> Process::begin(Fd journal, WorkPipe& work) {
  TRY(journal_.open(std::move(journal), work));
  if (input_.file) house_.watch(input_.file, EPOLLOUT | EPOLLET, input_);
  for (Output& output : outputs_) {
    if (!journal_.pending(output.index).empty()) log(output, false);
  }
  if (file_.wants_compression()) house_.compress(*this);
  look_again();
  return {};
}

// Output ------------------------------------------------------------------------------------------

bool Process::is_held_up() const {
  if (!house_.may_take()) return true;
  if (how_.hold_for_client && !had_client_) return true;
  const size_t queue_max = has_ended_ ? ended_queue_max : 0;
  return std::ranges::any_of(sessions_, [queue_max](const auto& session) {
    return !session->is_over && session->client->queued_bytes() > queue_max;
  });
}

void Process::look_again() {
  const bool is_held = is_held_up();
  for (Output& output : outputs_) {
    const bool wanted =
        !is_held && !output.is_over && !is_finished_ && output.reopens == Clock::time_point();
    if (wanted == output.is_watched) continue;
    output.is_watched = wanted;
    // Not watched for nothing either: the end of a pipe is reported whether wanted or not.
    if (wanted) {
      house_.watch(output.file, EPOLLIN, output);
    } else {
      house_.forget(output.file, output);
    }
  }
}

void Process::take(Output& output) {
  if (is_finished_ || output.is_over || is_held_up()) return look_again();
  if (journal_.is_full(output.index)) drop_pending(output, false);
  const Result<size_t> taken = journal_.take(output.file, output.index, house_.work());
  if (!taken) return output_failed(output, taken.error());
  if (*taken == 0) {
    output.is_over = true;
    return look_again();
  }
  output.is_dry = false;
  active_ = Clock::now();
  house_.wants_ticks(*this);
  if (*taken >= busy_bytes && !output.is_wide) {
    // A larger pipe lets the container go on while we write. Where that is not allowed, it waits.
    output.is_wide = true;
    (void)::fcntl(output.file.get(), F_SETPIPE_SZ, wide_pipe_bytes);
  }
  const std::string_view pending = journal_.pending(output.index);
  if (!sessions_.empty()) forward(output, pending.substr(pending.size() - *taken));
  log(output, false);
}

void Process::output_failed(Output& output, const Error& error) {
  if (error.error_number() == EAGAIN) {
    output.is_dry = true;
    return;
  }
  // Of a terminal: nobody has its other side open. An init may open it again.
  if (error.error_number() == EIO && how_.terminal && !has_ended_) {
    output.reopens = Clock::now() + reopen_interval;
    house_.wants_ticks(*this);
  } else {
    output.is_over = true;
    if (error.error_number() != EIO || !how_.terminal) output_error_ = error.message();
  }
  look_again();
}

void Process::forward(Output& output, std::string_view bytes) {
  bool is_behind = false;
  for (const auto& session : sessions_) {
    if (session->is_over || !session->client->wants(output.kind)) continue;
    if (!session->client->send(output.kind, bytes)) leave(*session, false, true);
    is_behind |= session->client != nullptr && session->client->queued_bytes() > 0;
  }
  if (is_behind) look_again();
  sweep_sessions();
}

void Process::log(Output& output, bool is_last) {
  if (journal_.pending(output.index).empty()) return;
  if (!trouble_.empty() && !is_last && Clock::now() < retry_log_) return;
  const uint64_t begun_at = journal_.state().log_offset;
  const auto scratch = house_.scratch(LogFile::scratch_bytes(file_.options()));
  const Result<> written = file_.write(journal_, output.index, output.kind, is_last, scratch);
  if (!written) return log_failed(written.error());
  if (file_.wants_compression()) house_.compress(*this);
  // The rest of a line that waits for its end proves nothing.
  if (trouble_.empty() || journal_.state().log_offset == begun_at) return;
  trouble_.clear();
  house_.say(packet(
      LogTrouble{.key = key(), .error = {}, .dropped_bytes = journal_.state().dropped_bytes}));
}

void Process::log_failed(const Error& error) {
  const bool is_news = trouble_.empty();
  trouble_ = error.message();
  retry_log_ = Clock::now() + retry_interval;
  if (is_news)
    house_.say(packet(LogTrouble{
        .key = key(), .error = trouble_, .dropped_bytes = journal_.state().dropped_bytes}));
  house_.wants_ticks(*this);
}

// The container does not wait for a log that cannot be written.
void Process::drop_pending(Output& output, bool all) {
  Journal::Area& area = journal_.state().areas[output.index];
  const std::string_view pending = journal_.pending(output.index);
  const size_t newline = all ? std::string_view::npos : pending.rfind('\n');
  // The beginning of a line is kept, so that its end is not taken for one.
  size_t dropped = newline == std::string_view::npos ? pending.size() : newline + 1;
  if (pending.size() - dropped > Journal::area_bytes / 2) dropped = pending.size();
  area.begin += static_cast<uint32_t>(dropped);
  area.pieces_open = false;
  journal_.state().dropped_bytes += dropped;
  (void)journal_.commit();
}

// The end -----------------------------------------------------------------------------------------

void Process::end(uint32_t linger_ms) {
  if (has_ended_) return;
  has_ended_ = true;
  const auto now = Clock::now();
  linger_until_ = now + milliseconds(linger_ms);
  client_until_ = now + client_limit;
  for (Output& output : outputs_) output.reopens = {};
  house_.wants_ticks(*this);
  drain(now);
}

// What is there is read at once; writers that were left behind have until `linger_until_`.
void Process::drain(Clock::time_point now) {
  if (is_finished_) return;
  if (how_.hold_for_client && !had_client_ && now >= client_until_) had_client_ = true;
  const auto give_up = linger_until_ + client_limit;
  if (!house_.may_take() || (is_held_up() && now < give_up)) return;
  for (Output& output : outputs_) {
    output.is_dry = false;
    for (size_t turn = 0; !output.is_over && !output.is_dry && !is_held_up(); ++turn) {
      if (turn * busy_bytes > last_output_max) break;
      take(output);
    }
  }
  const bool all_over = std::ranges::all_of(outputs_, &Output::is_over);
  if (all_over || now >= give_up || (now >= linger_until_ && !is_held_up())) finish();
}

void Process::finish() {
  is_finished_ = true;
  look_again();
  for (Output& output : outputs_) {
    log(output, true);
    if (!journal_.pending(output.index).empty()) drop_pending(output, true);
  }
  for (const auto& session : sessions_) {
    if (!session->is_over) leave(*session, false, false);
  }
  house_.say(packet(Drained{.key = key(),
                            .dropped_bytes = journal_.state().dropped_bytes,
                            .error = trouble_.empty() ? output_error_ : trouble_}));
  journal_.release_memory();
  house_.ended(*this);
}

bool Process::tick(Clock::time_point now) {
  if (is_finished_) return false;
  bool again = false;
  for (Output& output : outputs_) {
    if (output.reopens == Clock::time_point()) continue;
    again = true;
    if (now < output.reopens) continue;
    output.reopens = {};
    look_again();
  }
  if (!trouble_.empty()) {
    again = true;
    if (now >= retry_log_) {
      for (Output& output : outputs_) {
        if (!journal_.pending(output.index).empty()) log(output, false);
      }
    }
  }
  if (has_ended_) {
    drain(now);
    return !is_finished_;
  }
  if (!journal_.has_memory()) return again;
  if (now < active_ + idle_limit) return true;
  const Journal::State& state = journal_.state();
  const bool is_empty =
      state.dropped_bytes == 0 && std::ranges::all_of(state.areas, [](const Journal::Area& area) {
        return area.begin == area.end && !area.pieces_open;
      });
  if (is_empty) journal_.release_memory();
  for (Output& output : outputs_) {
    if (!std::exchange(output.is_wide, false)) continue;
    (void)::fcntl(output.file.get(), F_SETPIPE_SZ, plain_pipe_bytes);
  }
  return again;
}

// Clients -----------------------------------------------------------------------------------------

void Process::attach(Fd socket, AttachClient how) {
  had_client_ = true;
  auto session = std::make_unique<Session>();
  session->process = this;
  session->client = std::make_unique<Client>(std::move(socket), std::move(how));
  Session& added = *sessions_.emplace_back(std::move(session));
  house_.watch(added.client->socket(), session_events, added);
  read_session(added);
  sweep_sessions();
  look_again();
  if (has_ended_) drain(Clock::now());
}

void Process::session_ready(Session& session, uint32_t events) {
  if (session.is_over || is_finished_) return;
  if ((events & EPOLLOUT) != 0 && !session.client->flush()) leave(session, false, true);
  if (!session.is_over && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
    read_session(session);
  // The other side is closed, not only for sending. Input that waits for room is still delivered.
  if (!session.is_over && (events & (EPOLLHUP | EPOLLERR)) != 0 && input_queue_.empty())
    leave(session, false, true);
  sweep_sessions();
  look_again();
  if (has_ended_) drain(Clock::now());
}

void Process::read_session(Session& session) {
  std::string input;
  for (int turn = 0; !session.is_over; ++turn) {
    if (session.client->wants_input() && !input_queue_.empty()) return;  // input_ready() goes on
    if (turn == input_turns_max)
      return house_.watch(session.client->socket(), session_events, session);  // reported again
    input.clear();
    const Client::Input came = session.client->receive(input);
    if (!input.empty() && input_.file && !input_ends_) {
      input_queue_ += input;
      write_input();
    }
    switch (came) {
      case Client::Input::Again: break;
      case Client::Input::Nothing: return;
      case Client::Input::Detached: return leave(session, true, true);
      case Client::Input::Gone: return leave(session, false, true);
      case Client::Input::Ended:
        if (!session.client->wants_input()) return;
        if (how_.stdin_once && !how_.terminal) return close_input();
        // As dockerd: who has nothing more to say to a container that goes on listening, leaves.
        return leave(session, false, true);
    }
  }
}

void Process::leave(Session& session, bool by_keys, bool is_told) {
  if (session.is_over) return;
  session.is_over = true;
  house_.forget(session.client->socket(), session);
  session.client->let_go();
  if (is_told) {
    house_.say(packet(ClientLeft{.key = key(), .by_keys = by_keys}));
    // A connection that is cut ends standard input as one that is closed does.
    if (session.client->wants_input() && how_.stdin_once && !how_.terminal && !by_keys)
      close_input();
  }
  house_.see_off(std::move(session.client));
}

void Process::sweep_sessions() {
  std::erase_if(sessions_, [](const auto& session) { return session->is_over; });
}

void Process::input_ready() {
  write_input();
  if (!input_queue_.empty()) return;
  for (const auto& session : sessions_) {
    if (!session->is_over && session->client->wants_input()) read_session(*session);
  }
  sweep_sessions();
  look_again();
}

void Process::write_input() {
  while (input_.file && !input_queue_.empty()) {
    const ssize_t written = ::write(input_.file.get(), input_queue_.data(), input_queue_.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      if (errno == EAGAIN) return;
      // Nobody reads it any more.
      input_queue_.clear();
      input_is_over();
      return;
    }
    input_queue_.erase(0, static_cast<size_t>(written));
  }
  if (input_ends_) input_is_over();
}

void Process::close_input() {
  input_ends_ = true;
  if (input_queue_.empty()) input_is_over();
}

void Process::input_is_over() {
  if (!input_.file) return;
  house_.forget(input_.file, input_);
  input_.file = Fd();
  house_.say(packet(InputEnded{.key = key()}));
}

}  // namespace nacelle::logs
