// nacelled as a program of a test's own: its data and state below one directory, nacelle-core and
// workers behind it, its API over its socket. Destroying it ends all of them.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nacelle/fd.h"
#include "tests/support/command.h"

namespace nacelle::test {

// The answer of `GET /_ping` on this socket; waits until somebody listens.
std::string ping_engine(const std::string& socket_path);

// Permission bits of a file; 0 where there is none.
unsigned mode_of(const std::string& path);

// As a part of a query.
std::string percent_encoded(std::string_view text);

// The text of the first member of this name, or the digits of it; "" where there is none. Enough
// for answers whose shape other tests look at.
std::string json_member(std::string_view json, std::string_view name);

struct Answer {
  int status = 0;  // 0: there was none
  std::string body;
};

// A connection to be spoken to byte by byte, and to be left at any time.
class RawClient {
 public:
  explicit RawClient(const std::string& socket_path);

  bool is_connected() const { return static_cast<bool>(socket_); }
  // False when the other side has gone.
  bool send(std::string_view bytes);
  // What comes until `token` has, or the end, or the deadline passes.
  const std::string& read_until(std::string_view token, milliseconds limit = milliseconds(10'000));
  // The rest, to the end of the connection.
  const std::string& read_all(milliseconds limit = milliseconds(10'000));
  // All that has come.
  const std::string& received() const { return received_; }
  bool has_ended() const { return ended_; }
  const Fd& socket() const { return socket_; }
  void leave() { socket_ = Fd(); }

 private:
  Fd socket_;
  std::string received_;
  bool ended_ = false;
};

class EngineProgram {
 public:
  struct Options {
    std::string data_root;               // empty: below directory()
    std::vector<std::string> arguments;  // besides those that say where
  };
  EngineProgram() : EngineProgram(Options{}) {}
  explicit EngineProgram(Options options);
  EngineProgram(EngineProgram&&) = delete;
  ~EngineProgram();

  const std::string& directory() const { return directory_; }
  const std::string& data_root() const { return data_root_; }
  std::string run_directory() const { return directory_ + "/run"; }
  std::string socket_path() const { return run_directory() + "/n.sock"; }
  // Whether it answers; waits for that.
  bool is_up() const { return ping_engine(socket_path()) == "OK"; }
  pid_t pid() const { return engine_->pid(); }
  pid_t core_pid() const;
  pid_t log_worker_pid() const;
  std::string errors() const { return engine_->err_now(); }
  // SIGTERM; its exit code. Containers and core go on.
  int end();
  void start();  // again

  // A connection of its own. What begins with '{' is sent as JSON, all else as an archive.
  Answer call(std::string_view method, std::string_view target, std::string_view body = {}) const;

  // An image of busybox_archive() with these instructions (`USER web`).
  Answer import_image(std::string_view name, const std::vector<std::string>& changes = {}) const;
  // busybox_archive() below `layer`; `config` is the member of that name, in JSON: with this an
  // image says what no builder would write.
  Answer load_image(std::string_view name, std::string_view layer, std::string_view config) const;

  // Members of a create request besides the image and a network mode of none; "" or the id.
  std::string create(const std::vector<std::string>& command, std::string_view more = {},
                     std::string_view host = {}, std::string_view image = "busybox") const;
  bool start_container(const std::string& id) const;
  std::string run_container(const std::vector<std::string>& command, std::string_view more = {},
                            std::string_view host = {}, std::string_view image = "busybox") const;
  int wait_container(const std::string& id) const;  // its exit code
  // What it wrote, both streams, without the frames.
  std::string logs(const std::string& id) const;
  // run, wait, logs, remove.
  std::string output_of(const std::vector<std::string>& command, std::string_view more = {},
                        std::string_view host = {}, std::string_view image = "busybox") const;
  bool remove_container(const std::string& id) const;
  void remove_containers() const;
  // What a command wrote in a running container; `more`: members of the request.
  std::string exec(const std::string& id, const std::vector<std::string>& command,
                   std::string_view more = {}) const;
  // The process id of its first process, as the host has it.
  pid_t pid_of(const std::string& id) const;

 private:
  std::string directory_, data_root_;
  std::vector<std::string> arguments_;
  std::unique_ptr<RunningCommand> engine_;
};

// What a process has by now.
size_t descriptors_of(pid_t pid);
long resident_kib_of(pid_t pid);

}  // namespace nacelle::test
