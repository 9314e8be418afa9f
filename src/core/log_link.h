// Core's end of the connection to the log worker: starts it, starts another when it dies, and
// passes on what it says. It holds the work pipe (logs/messages.h) and nothing of any container.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "codec/flat.h"
#include "core/packet.h"
#include "logs/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"

namespace nacelle::core {

class LogLink {
 public:
  struct Handlers {
    // A new worker is there and knows nothing: everything is to be said again.
    std::function<void()> started;
    std::function<void(const logs::Drained&)> drained;
    std::function<void(const logs::ClientLeft&)> client_left;
    std::function<void(const logs::LogTrouble&)> trouble;
    std::function<void(const logs::InputEnded&)> input_ended;
  };
  // The scope is cancelled and joined before the link goes.
  LogLink(ring::Loop& loop, ring::Scope& scope, std::string worker, Handlers handlers);

  Result<> start();
  // After a re-exec: the worker goes on as it was.
  struct Kept {
    int process = -1, socket = -1, pipe_read = -1, pipe_write = -1;
    template <class Visit>
    void fields(Visit& visit) {
      visit(process, socket, pipe_read, pipe_write);
    }
  };
  Kept kept() const;
  void take_over(const Kept& kept);

  // Lost when no worker is there: `started` says it again.
  template <class Message>
  Result<> send(const Message& message, std::span<const int> descriptors = {}) {
    return send_bytes(Message::code, codec::flat::encode(message), descriptors);
  }
  bool all_sent() const { return !outbox_ || outbox_->empty(); }
  const std::string& error() const { return error_; }  // why there is no worker; empty: there is

 private:
  Result<> send_bytes(uint8_t code, const std::string& bytes, std::span<const int> descriptors);
  Result<> spawn();
  void listen();
  ring::Task<> serve();
  ring::Task<> read_packets();
  void dispatch(const RawPacket& packet);

  ring::Loop& loop_;
  ring::Scope& scope_;
  std::string worker_;
  Handlers handlers_;
  Fd process_;
  std::shared_ptr<const Fd> socket_;
  std::shared_ptr<Outbox> outbox_;
  Fd pipe_read_, pipe_write_;
  std::string error_ = "not started";
};

}  // namespace nacelle::core
