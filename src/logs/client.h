// One attached client: what a container writes goes to it, framed or as it is, and what it sends
// goes to the container, watched for the keys that detach it. It keeps what its socket does not
// take at once; whoever feeds it looks at queued_bytes() and waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "logs/messages.h"
#include "logs/reader.h"
#include "nacelle/fd.h"

namespace nacelle::logs {

using Clock = std::chrono::steady_clock;

// Finds a sequence of keys in input that comes in pieces of any size.
class KeyScanner {
 public:
  explicit KeyScanner(std::string keys) : keys_(std::move(keys)) {}
  // True: the sequence is complete, and `out` has what came before it. Until it is complete or
  // broken, its beginning is held back.
  bool scan(std::string_view input, std::string& out);

 private:
  std::string keys_;
  size_t matched_ = 0;
};

class Client {
 public:
  Client(Fd socket, AttachClient how);

  const Fd& socket() const { return socket_; }
  bool wants_input() const { return how_.wants_stdin; }
  bool wants(Stream stream) const {
    return stream == Stream::Stderr ? how_.wants_stderr : how_.wants_stdout;
  }

  // Output. False: the connection is gone.
  bool send(Stream stream, std::string_view bytes);
  bool flush();
  size_t queued_bytes() const { return queue_.size() - queue_at_; }

  // Input: what has come, without what detaches. Again: more may come.
  enum class Input : uint8_t { Again, Nothing, Ended, Detached, Gone };
  Input receive(std::string& out);
  bool input_is_over() const { return input_is_over_; }

  // Nothing more will be sent to it. Its connection ends when it has everything.
  void let_go() { is_leaving_ = true; }
  // True: it may be closed.
  bool has_left(Clock::time_point now);
  bool has_progressed = false;

 private:
  Fd socket_;
  AttachClient how_;
  KeyScanner keys_;
  std::string queue_;
  size_t queue_at_ = 0;
  bool input_is_over_ = false;
  bool is_leaving_ = false;
  bool is_shut_ = false;
  bool is_gone_ = false;
  Clock::time_point leave_until_{};
};

}  // namespace nacelle::logs
