// The streams of one process: its output to the log and to clients, clients' input to it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "logs/client.h"
#include "logs/journal.h"
#include "logs/log_file.h"
#include "logs/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::logs {

// Something that epoll reports.
class Source {
 public:
  virtual void ready(uint32_t events) = 0;

 protected:
  ~Source() = default;
};

class Process;

// What a Process needs of the worker.
class House {
 public:
  // Also when it is watched already: what is there is reported again.
  virtual void watch(const Fd& file, uint32_t events, Source& source) = 0;
  virtual void forget(const Fd& file, Source& source) = 0;
  virtual const WorkPipe& work() const = 0;
  virtual bool may_take() const = 0;  // no predecessor's bytes are in the work pipe
  virtual std::span<char> scratch(size_t bytes_min) = 0;
  // tick() is called now and then until it returns false.
  virtual void wants_ticks(Process& process) = 0;
  virtual void say(std::string packet) = 0;
  virtual void compress(Process& process) = 0;
  virtual void see_off(std::unique_ptr<Client> client) = 0;  // flush, then close
  virtual void ended(Process& process) = 0;  // the process is destroyed when this turn is over

 protected:
  ~House() = default;
};

class Process {
 public:
  struct Descriptors {
    Fd journal, output[2], input, directory;
  };
  Process(House& house, AddStreams how, Descriptors descriptors);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  const std::string& key() const { return how_.key; }
  Result<> begin(Fd journal, WorkPipe& work);

  void attach(Fd socket, AttachClient how);
  void end(uint32_t linger_ms);
  void close_input();
  // Something that held output up may be over.
  void look_again();
  bool tick(Clock::time_point now);
  LogFile& file() { return file_; }
  bool is_ticking = false;  // the worker's own notes
  bool is_compressing = false;

 private:
  struct Output final : Source {
    Process* process = nullptr;
    size_t index = 0;
    Stream kind = Stream::Stdout;
    Fd file;
    bool is_watched = false;
    bool is_over = false;         // nobody can write to it
    bool is_dry = false;          // there was nothing when we last looked
    bool is_wide = false;         // the pipe has been enlarged
    Clock::time_point reopens{};  // a terminal that nobody has open may be opened again
    void ready(uint32_t) override { process->take(*this); }
  };
  struct Input final : Source {
    Process* process = nullptr;
    Fd file;
    void ready(uint32_t) override { process->input_ready(); }
  };
  struct Session final : Source {
    Process* process = nullptr;
    std::unique_ptr<Client> client;
    bool is_over = false;
    void ready(uint32_t events) override { process->session_ready(*this, events); }
  };

  bool is_held_up() const;
  void take(Output& output);
  void output_failed(Output& output, const Error& error);
  void forward(Output& output, std::string_view bytes);
  void log(Output& output, bool is_last);
  void log_failed(const Error& error);
  void drop_pending(Output& output, bool all);
  void drain(Clock::time_point now);
  void finish();

  void session_ready(Session& session, uint32_t events);
  void read_session(Session& session);
  void leave(Session& session, bool by_keys, bool is_told);
  void sweep_sessions();
  void input_ready();
  void write_input();
  void input_is_over();

  House& house_;
  AddStreams how_;
  Journal journal_;
  LogFile file_;
  std::array<Output, 2> outputs_;
  Input input_;
  std::string input_queue_;
  bool input_ends_ = false;  // when the queue is written
  std::vector<std::unique_ptr<Session>> sessions_;
  bool had_client_ = false;

  std::string trouble_;  // why the log cannot be written
  std::string output_error_;
  Clock::time_point retry_log_{};
  Clock::time_point active_{};

  bool has_ended_ = false, is_finished_ = false;
  Clock::time_point linger_until_{}, client_until_{};
};

}  // namespace nacelle::logs
