#include "http/grpc.h"

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/text.h"
#include "ring/notice.h"
#include "ring/ops.h"

namespace nacelle::http {
namespace {

constexpr size_t prefix_bytes = 5;  // of a message: a flag, and its length in four bytes
constexpr size_t read_bytes = 128u << 10;
constexpr size_t write_bytes = 256u << 10;     // in one go
constexpr size_t unsent_bytes_max = 1u << 20;  // of one call, before send() waits
constexpr int32_t connection_window_bytes = 64 << 20;
constexpr uint32_t frame_bytes_max = 1u << 20;

// https://grpc.io/docs/guides/status-codes/
enum Code : int {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  not_found = 5,
  denied = 7,
  unimplemented = 12
};
constexpr int unavailable = 14, unauthenticated = 16;

// Clients put the name of any code but `unknown` before the words.
int code_of(Kind kind) {
  return kind == Kind::Unsupported ? unimplemented : kind == Kind::Cancelled ? cancelled : unknown;
}
Kind kind_of(int code) {
  switch (code) {
    case not_found: return Kind::NotFound;
    case denied:
    case unauthenticated: return Kind::Denied;
    case unimplemented: return Kind::Unsupported;
    case cancelled:
    case unavailable: return Kind::Unavailable;
    default: return Kind::Invalid;
  }
}

nghttp2_nv pair(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string_view text_of(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::string with_prefix(std::string_view message) {
  const size_t size = message.size();
  std::string bytes;
  bytes.reserve(prefix_bytes + size);
  bytes += '\0';
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift);
  bytes += message;
  return bytes;
}

Error nghttp2_error(std::string_view attempt, long code) {
  return Error(Kind::Invalid, cat(attempt, ": ", ::nghttp2_strerror(static_cast<int>(code))));
}

// One call's two directions.
struct Stream {
  int32_t id = 0;
  std::string path;
  Headers metadata;  // what the other end said before its messages, and after them
  size_t metadata_bytes = 0;
  std::string in;       // messages, with their prefixes
  size_t in_taken = 0;  // of `in`
  size_t unasked = 0;   // of what came: not yet told to the other end to be consumed
  bool in_ended = false;
  std::string out;
  size_t out_taken = 0;
  bool out_ended = false, begun = false, closed = false;
  Result<> status;              // of who serves: what the call ends with
  ring::Scope* work = nullptr;  // of who serves, while it does
  ring::Notice changed;

  size_t unsent() const { return out.size() - out_taken; }
  std::string_view unread() const { return std::string_view(in).substr(in_taken); }
  // The length of the first message that is there, if its prefix is.
  std::optional<size_t> message_bytes() const {
    const std::string_view bytes = unread();
    if (bytes.size() < prefix_bytes) return std::nullopt;
    size_t size = 0;
    for (size_t at = 1; at < prefix_bytes; ++at) size = size << 8 | static_cast<uint8_t>(bytes[at]);
    return size;
  }
  bool has_message() const {
    const auto size = message_bytes();
    return size && unread().size() - prefix_bytes >= *size;
  }
};
using SharedStream = std::shared_ptr<Stream>;

}  // namespace

struct GrpcConnection::State : std::enable_shared_from_this<State> {
  ring::Loop& loop;
  Fd socket;
  std::string early_bytes;
  End end;
  Handler handler;
  GrpcLimits limits;
  nghttp2_session* session = nullptr;
  std::map<int32_t, SharedStream> streams;
  ring::Scope* calls = nullptr;  // while run() runs
  ring::Notice to_write;

  State(ring::Loop& loop_in, Hijacked taken, End end_in, Handler handler_in, GrpcLimits limits_in)
      : loop(loop_in),
        socket(std::move(taken.socket)),
        early_bytes(std::move(taken.early_bytes)),
        end(end_in),
        handler(std::move(handler_in)),
        limits(limits_in) {}

  Result<> open();
  void close();
  ring::Task<> read();
  ring::Task<> write();
  ring::Task<> serve(SharedStream stream);
  ring::Task<> handle(SharedStream stream, Result<>* outcome);
  void finish(Stream& stream, Result<> outcome);
  void begin_answer(Stream& stream);
  void consume(Stream& stream);
  void resume(Stream& stream);
  Result<> feed(std::string_view bytes);
  ring::Task<std::optional<std::string>> receive(SharedStream stream);
  ring::Task<> send(SharedStream stream, std::string message);
  Result<> status_of(const Stream& stream) const;
  void drop(Stream& stream);

  SharedStream find(int32_t id) const {
    const auto found = streams.find(id);
    return found == streams.end() ? nullptr : found->second;
  }
};

namespace {

using State = GrpcConnection::State;

// What nghttp2 calls. --------------------------------------------------------------------------

State& state_of(void* user_data) { return *static_cast<State*>(user_data); }

int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
  State& state = state_of(user_data);
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  auto stream = std::make_shared<Stream>();
  stream->id = frame->hd.stream_id;
  state.streams.emplace(stream->id, std::move(stream));
  return 0;
}

int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
              const uint8_t* value, size_t value_size, uint8_t, void* user_data) {
  State& state = state_of(user_data);
  const SharedStream stream = state.find(frame->hd.stream_id);
  if (!stream) return 0;
  stream->metadata_bytes += name_size + value_size;
  if (stream->metadata_bytes > state.limits.metadata_bytes_max) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }
  const std::string_view key = text_of(name, name_size);
  if (key == ":path") stream->path = text_of(value, value_size);
  stream->metadata.emplace_back(key, text_of(value, value_size));
  return 0;
}

int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
  State& state = state_of(user_data);
  if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
  const SharedStream stream = state.find(frame->hd.stream_id);
  if (!stream) return 0;
  if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) stream->in_ended = true;
  stream->changed.notify_all();
  const bool is_request =
      frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
  if (is_request && state.calls != nullptr) state.calls->start(state.serve(stream));
  return 0;
}

int on_data(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size,
            void* user_data) {
  State& state = state_of(user_data);
  ::nghttp2_session_consume_connection(session, size);
  const SharedStream stream = state.find(id);
  if (!stream || stream->closed) return 0;
  stream->in += text_of(data, size);
  stream->unasked += size;
  state.consume(*stream);
  stream->changed.notify_all();
  return 0;
}

int on_close(nghttp2_session*, int32_t id, uint32_t error, void* user_data) {
  State& state = state_of(user_data);
  const SharedStream stream = state.find(id);
  if (!stream) return 0;
  state.streams.erase(id);
  stream->closed = true;
  if (error != NGHTTP2_NO_ERROR && stream->work != nullptr) stream->work->cancel();
  stream->changed.notify_all();
  return 0;
}

// Bytes of a call that are to go out. Behind the last ones of an answer comes its status.
ssize_t on_more(nghttp2_session* session, int32_t id, uint8_t* into, size_t room, uint32_t* flags,
                nghttp2_data_source*, void* user_data) {
  State& state = state_of(user_data);
  const SharedStream stream = state.find(id);
  if (!stream) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  const size_t size = std::min(room, stream->unsent());
  std::copy_n(stream->out.data() + stream->out_taken, size, reinterpret_cast<char*>(into));
  stream->out_taken += size;
  if (stream->unsent() == 0) {
    stream->out.clear();
    stream->out_taken = 0;
    if (!stream->out_ended && size == 0) return NGHTTP2_ERR_DEFERRED;
  }
  if (stream->unsent() == 0 && stream->out_ended) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (state.end == GrpcConnection::End::Server) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const Result<>& status = stream->status;
      const std::string code = cat(status ? ok : code_of(status.error().kind()));
      const std::string words = status ? "" : percent_encode(status.error().message());
      const std::array trailers{pair("grpc-status", code), pair("grpc-message", words)};
      ::nghttp2_submit_trailer(session, id, trailers.data(), trailers.size());
    }
  }
  stream->changed.notify_all();
  return static_cast<ssize_t>(size);
}

}  // namespace

// The connection. ------------------------------------------------------------------------------

Result<> State::open() {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_option* option = nullptr;
  if (::nghttp2_session_callbacks_new(&callbacks) != 0 || ::nghttp2_option_new(&option) != 0) {
    return fail(Kind::Exhausted, "nghttp2: out of memory");
  }
  ::nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  ::nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  ::nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  ::nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  ::nghttp2_option_set_no_auto_window_update(option, 1);
  const int made = end == End::Server
                       ? ::nghttp2_session_server_new2(&session, callbacks, this, option)
                       : ::nghttp2_session_client_new2(&session, callbacks, this, option);
  ::nghttp2_session_callbacks_del(callbacks);
  ::nghttp2_option_del(option);
  if (made != 0) return std::unexpected(nghttp2_error("nghttp2", made));
  const std::array settings{
      nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                             static_cast<uint32_t>(limits.calls_max)},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
                             static_cast<uint32_t>(limits.call_window_bytes)},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_FRAME_SIZE, frame_bytes_max}};
  ::nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  ::nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, connection_window_bytes);
  return {};
}

void State::close() {
  for (const auto& [id, stream] : std::exchange(streams, {})) {
    stream->closed = true;
    stream->changed.notify_all();
  }
  if (session != nullptr) ::nghttp2_session_del(std::exchange(session, nullptr));
}

Result<> State::feed(std::string_view bytes) {
  const ssize_t taken = ::nghttp2_session_mem_recv(
      session, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  to_write.notify_all();
  if (taken < 0) return std::unexpected(nghttp2_error("HTTP/2", taken));
  return {};
}

ring::Task<> State::read() {
  if (!early_bytes.empty()) co_await feed(std::exchange(early_bytes, {}));
  std::string buffer(read_bytes, '\0');
  for (;;) {
    const size_t got = co_await ring::receive(loop, socket, buffer);
    if (got == 0) co_return;
    co_await feed(std::string_view(buffer).substr(0, got));
    if (::nghttp2_session_want_read(session) == 0 && ::nghttp2_session_want_write(session) == 0) {
      co_return;
    }
  }
}

ring::Task<> State::write() {
  std::string batch;
  for (;;) {
    batch.clear();
    while (batch.size() < write_bytes) {
      const uint8_t* bytes = nullptr;
      const ssize_t size = ::nghttp2_session_mem_send(session, &bytes);
      if (size < 0) co_await std::unexpected(nghttp2_error("HTTP/2", size));
      if (size == 0) break;
      batch += text_of(bytes, static_cast<size_t>(size));
    }
    if (batch.empty()) {
      co_await to_write.wait();
      continue;
    }
    for (std::string_view rest = batch; !rest.empty();) {
      rest.remove_prefix(co_await ring::send(loop, socket, rest));
    }
  }
}

// What the other end may send more of: the rest of a message that is not whole, and otherwise not
// much more than is asked for.
void State::consume(Stream& stream) {
  const bool much = stream.has_message() && stream.unread().size() > prefix_bytes * 2 &&
                    stream.unread().size() >= static_cast<size_t>(limits.call_window_bytes) / 2;
  if (much || stream.unasked == 0 || session == nullptr || stream.closed) return;
  ::nghttp2_session_consume_stream(session, stream.id, std::exchange(stream.unasked, 0));
  to_write.notify_all();
}

void State::resume(Stream& stream) {
  if (session == nullptr || stream.closed) return;
  ::nghttp2_session_resume_data(session, stream.id);
  to_write.notify_all();
}

// Calls. ---------------------------------------------------------------------------------------

Result<> State::status_of(const Stream& stream) const {
  const std::string* code = find_header(stream.metadata, "grpc-status");
  if (code == nullptr) {
    return fail(Kind::Unavailable, cat(stream.path, ": the other end has gone"));
  }
  const int number = parse_number<int>(*code).value_or(unknown);
  if (number == ok) return {};
  const std::string* words = find_header(stream.metadata, "grpc-message");
  const std::string text = words == nullptr ? "" : percent_decode(*words, false).value_or(*words);
  return fail(kind_of(number), text.empty() ? cat(stream.path, ": status ", number) : text);
}

ring::Task<std::optional<std::string>> State::receive(SharedStream stream) {
  for (;;) {
    const std::optional<size_t> size = stream->message_bytes();
    if (size && *size > limits.message_bytes_max) {
      co_await fail(Kind::Invalid, cat(stream->path, ": a message of ", *size, " bytes"));
    }
    if (size && stream->unread().front() != '\0') {
      co_await fail(Kind::Unsupported, "compressed messages are not understood");
    }
    if (stream->has_message()) {
      std::string message(stream->unread().substr(prefix_bytes, *size));
      stream->in_taken += prefix_bytes + *size;
      if (stream->in_taken > read_bytes || stream->unread().empty()) {
        stream->in.erase(0, std::exchange(stream->in_taken, 0));
      }
      consume(*stream);
      co_return message;
    }
    if (stream->in_ended || stream->closed) {
      if (end == End::Client) co_await status_of(*stream);
      if (end == End::Server && !stream->in_ended) {
        co_await fail(Kind::Unavailable, cat(stream->path, ": the caller has gone"));
      }
      co_return std::nullopt;
    }
    co_await stream->changed.wait();
  }
}

ring::Task<> State::send(SharedStream stream, std::string message) {
  if (end == End::Server) begin_answer(*stream);
  while (!stream->closed && stream->unsent() > unsent_bytes_max) co_await stream->changed.wait();
  if (stream->closed) {
    // Who serves a call may end it before it has heard everything, and say why.
    if (end == End::Client) co_await status_of(*stream);
    co_await fail(Kind::Unavailable, cat(stream->path, ": the other end has gone"));
  }
  stream->out += with_prefix(message);
  resume(*stream);
}

void State::begin_answer(Stream& stream) {
  if (std::exchange(stream.begun, true) || session == nullptr || stream.closed) return;
  const std::array headers{pair(":status", "200"), pair("content-type", "application/grpc")};
  nghttp2_data_provider more{};
  more.read_callback = on_more;
  ::nghttp2_submit_response(session, stream.id, headers.data(), headers.size(), &more);
  to_write.notify_all();
}

void State::finish(Stream& stream, Result<> outcome) {
  stream.status = std::move(outcome);
  stream.out_ended = true;
  begin_answer(stream);
  resume(stream);
}

// The one who began it wants no more of it.
void State::drop(Stream& stream) {
  if (session == nullptr || stream.closed) return;
  ::nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_CANCEL);
  to_write.notify_all();
}

namespace {

class StreamCall final : public GrpcCall {
 public:
  StreamCall(std::shared_ptr<State> state, SharedStream stream)
      : state_(std::move(state)), stream_(std::move(stream)) {}
  ~StreamCall() override {
    if (state_->end == GrpcConnection::End::Client) state_->drop(*stream_);
  }
  const std::string& path() const override { return stream_->path; }
  std::string_view metadata(std::string_view name) const override {
    const std::string* found = find_header(stream_->metadata, name);
    return found == nullptr ? std::string_view() : *found;
  }
  ring::Task<std::optional<std::string>> receive() override { return state_->receive(stream_); }
  ring::Task<> send(std::string message) override {
    return state_->send(stream_, std::move(message));
  }
  void end_sending() override {
    stream_->out_ended = true;
    state_->resume(*stream_);
  }

 private:
  std::shared_ptr<State> state_;
  SharedStream stream_;
};

}  // namespace

ring::Task<> State::handle(SharedStream stream, Result<>* outcome) {
  StreamCall call(shared_from_this(), stream);
  *outcome = co_await ring::as_result(handler(call));
}

ring::Task<> State::serve(SharedStream stream) {
  Result<> outcome = fail(Kind::Cancelled, "cancelled");
  ring::Scope work(*calls, [](const Error&) {});
  stream->work = &work;
  work.start(handle(stream, &outcome));
  co_await work.join();
  stream->work = nullptr;
  finish(*stream, std::move(outcome));
}

GrpcConnection::GrpcConnection(ring::Loop& loop, Hijacked taken, End end, Handler handler,
                               GrpcLimits limits)
    : state_(std::make_shared<State>(loop, std::move(taken), end, std::move(handler), limits)) {
  if (!state_->open()) state_->close();
}

GrpcConnection::~GrpcConnection() { state_->close(); }

ring::Task<> GrpcConnection::run() {
  const std::shared_ptr<State> state = state_;
  if (state->session == nullptr) co_await fail(Kind::Exhausted, "nghttp2: no session");
  ring::Scope calls(state->loop, [](const Error&) {});
  // Whoever can no longer write will not be heard either.
  ring::Scope writing(state->loop,
                      [&](const Error&) { ::shutdown(state->socket.get(), SHUT_RDWR); });
  state->calls = &calls;
  writing.start(state->write());
  Result<> read = co_await ring::as_result(state->read());
  state->calls = nullptr;
  writing.cancel();
  co_await writing.join();
  for (const auto& [id, stream] : state->streams) stream->closed = true;
  calls.cancel();
  co_await calls.join();
  state->close();
  state->socket = Fd();
  if (!read && read.error().kind() == Kind::Cancelled) co_await std::move(read);
}

Result<std::unique_ptr<GrpcCall>> GrpcConnection::call(std::string path, Headers metadata) {
  State& state = *state_;
  if (state.session == nullptr || state.calls == nullptr) {
    return fail(Kind::Unavailable, cat(path, ": the client has gone"));
  }
  std::vector<nghttp2_nv> headers{pair(":method", "POST"),
                                  pair(":scheme", "http"),
                                  pair(":authority", "localhost"),
                                  pair(":path", path),
                                  pair("content-type", "application/grpc"),
                                  pair("te", "trailers")};
  for (const auto& [name, value] : metadata) headers.push_back(pair(name, value));
  nghttp2_data_provider more{};
  more.read_callback = on_more;
  const int32_t id = ::nghttp2_submit_request(state.session, nullptr, headers.data(),
                                              headers.size(), &more, nullptr);
  if (id < 0) return std::unexpected(nghttp2_error(path, id));
  auto stream = std::make_shared<Stream>();
  stream->id = id;
  stream->path = std::move(path);
  state.streams.emplace(id, stream);
  state.to_write.notify_all();
  return std::make_unique<StreamCall>(state_, std::move(stream));
}

ring::Task<std::string> grpc_ask(GrpcConnection& connection, std::string path, std::string message,
                                 Headers metadata) {
  const std::unique_ptr<GrpcCall> call = co_await connection.call(path, std::move(metadata));
  co_await call->send(std::move(message));
  call->end_sending();
  std::optional<std::string> answer = co_await call->receive();
  if (!answer) co_await fail(Kind::Unavailable, cat(path, ": no answer"));
  co_return *std::move(answer);
}

}  // namespace nacelle::http
