// Core's end of the connection to a worker of its own (nacelle-worker with one word: `logs`,
// `names`): starts it, starts another when it dies, says things to it, and hears what it says. What
// is said is for those who use this.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codec/flat.h"
#include "core/packet.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"

namespace nacelle::core {

class WorkerLink {
 public:
  struct Options {
    std::string program, word;
    std::string called;                       // in errors: "log worker"
    std::vector<const Fd*> more_descriptors;  // 4 and on; borrowed for the link's life
  };
  struct Handlers {
    // A new worker is there and knows nothing: everything is to be said again.
    std::function<void()> started;
    std::function<void(uint8_t code, std::string_view message)> heard;
  };
  // The scope is cancelled and joined before the link goes.
  WorkerLink(ring::Loop& loop, ring::Scope& scope, Options options, Handlers handlers);

  void start();
  bool is_started() const { return started_; }
  // After a re-exec: the worker goes on as it was.
  struct Kept {
    bool started = false;
    int process = -1, socket = -1;
    template <class Visit>
    void fields(Visit& visit) {
      visit(started, process, socket);
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
  ring::Task<> serve();
  ring::Task<> read_packets();

  ring::Loop& loop_;
  ring::Scope& scope_;
  Options options_;
  Handlers handlers_;
  bool started_ = false;
  Fd process_;
  std::shared_ptr<const Fd> socket_;
  std::shared_ptr<Outbox> outbox_;
  std::string error_ = "not started";
};

}  // namespace nacelle::core
