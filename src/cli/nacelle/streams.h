// The streams of an attached container or exec: ours to it, its to ours, until it has ended or we
// have detached. Signals and changes of the terminal's size come in between.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "http/stream_client.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// Signals as a descriptor, from construction on: none is lost before it is read. Blocked meanwhile.
class Signals {
 public:
  // `all`: everything that can be passed on; else changes of the terminal's size only.
  static Result<Signals> open(bool all);
  const Fd& file() const { return file_; }
  // The next one that has come; 0: none.
  int take();

 private:
  Fd file_;
};

struct StreamOptions {
  bool tty = false;          // one stream, and the terminal raw
  bool wants_input = false;  // ours goes to it
  bool wants_output = true, wants_errors = true;
  std::string detach_keys;  // their bytes
  const Signals* signals = nullptr;
  std::function<void(int)> on_signal;
};

enum class StreamEnd : uint8_t { Ended, Detached };
Result<StreamEnd> run_streams(http::StreamClient::Taken connection, const StreamOptions& options);

// Takes the 8-byte frames of an untold number of streams apart.
class Demultiplexer {
 public:
  using Sink = std::function<Result<>(int stream, std::string_view bytes)>;
  explicit Demultiplexer(Sink sink) : sink_(std::move(sink)) {}
  // Invalid for a stream that is none. Stream 3 is the engine's own complaint: an error.
  Result<> feed(std::string_view bytes);
  bool in_frame() const { return left_ != 0 || !head_.empty(); }

 private:
  Sink sink_;
  std::string head_, complaint_;
  int stream_ = 0;
  size_t left_ = 0;
};

// To a descriptor of ours, whole. A reader who has gone is Unavailable.
Result<> write_out(int fd, std::string_view bytes);

// "TERM", "SIGTERM" and "15" as a number; nothing for what is no signal.
int signal_number(std::string_view text);
// "TERM" of SIGTERM.
std::string signal_name(int number);

}  // namespace nacelle::cli
