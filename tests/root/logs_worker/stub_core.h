// What nacelle-core is to the log worker, for tests: starts it, holds a copy of every pipe end, and
// tells a successor everything again.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/flat.h"
#include "logs/messages.h"
#include "logs/reader.h"
#include "nacelle/fd.h"

namespace nacelle::logs {

struct Said {
  uint8_t code = 0;
  std::string bytes;
  template <class Message>
  Message as() const {
    auto message = codec::flat::decode<Message>(bytes, "what the worker said");
    EXPECT_TRUE(message);
    return message ? *message : Message{};
  }
};

struct Streams {
  Fd journal, stdout_read, stderr_read, stdin_write, directory;  // core's
  Fd stdout_write, stderr_write, stdin_read;                     // the container's
  AddStreams how;
  bool ended = false;
};

class StubCore {
 public:
  StubCore();
  ~StubCore();

  void start_worker();
  void kill_worker();     // and reap it
  void restart_worker();  // kill, start, tell everything again
  const Fd& work_write() const { return work_write_; }
  int worker_pid() const { return pid_; }

  // Makes pipes (a terminal where `how.terminal`), a directory /tmp/<key> and a journal, and adds
  // them.
  Streams& add(AddStreams how);
  Streams& streams(const std::string& key) { return streams_.at(key); }
  void end(const std::string& key, uint32_t linger_ms = 0);
  // The client's end of a new connection.
  Fd attach(AttachClient how);
  void close_input(const std::string& key);

  std::optional<Said> hear(std::chrono::milliseconds limit = std::chrono::seconds(5));
  // Passes over everything else.
  template <class Message>
  std::optional<Message> hear_of(std::chrono::milliseconds limit = std::chrono::seconds(5)) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < until) {
      const auto said = hear(std::chrono::duration_cast<std::chrono::milliseconds>(
          until - std::chrono::steady_clock::now()));
      if (said && said->code == Message::code) return said->as<Message>();
    }
    return std::nullopt;
  }
  template <class Message>
  void tell(const Message& message, std::vector<const Fd*> descriptors = {}) {
    tell_bytes(static_cast<char>(Message::code) + codec::flat::encode(message), descriptors);
  }

 private:
  void tell_bytes(const std::string& bytes, const std::vector<const Fd*>& descriptors);
  void tell_streams(const Streams& streams);

  Fd control_, pidfd_, work_read_, work_write_;
  int pid_ = 0;
  std::map<std::string, Streams> streams_;
};

std::string directory_of(const std::string& key);
std::string read_text(const std::string& path);  // empty when it is not there
void write_text(const Fd& file, std::string_view text);
// What can be read until the end, or until `bytes` are there.
std::string read_until_end(const Fd& file, size_t bytes = ~size_t{0});
// The `log` of each line of a json-file, by the reader's own rules; a damaged line is a failure.
std::vector<Entry> entries_of(const std::string& path);
std::string text_of(const std::string& path);
// The files of a row, oldest first, unpacked.
std::string text_of_row(const std::string& directory);
bool eventually(const std::function<bool()>& condition);

}  // namespace nacelle::logs
