// Runs a program for a test: arguments in, exit status and output out, always with a deadline.
// Output goes to memory files, not pipes, so that a container that outlives the command which
// made it can go on writing and the test can look again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "nacelle/fd.h"

namespace nacelle::test {

using std::chrono::milliseconds;

struct CommandOptions {
  std::string input;                     // what the program reads on its standard input
  std::vector<std::string> environment;  // `NAME=value`, added to ours
  std::string directory;                 // where it starts; empty: where we are
  milliseconds deadline{20'000};         // then it is killed with its process group
  std::vector<int> keep;                 // descriptors handed on under their own numbers
};

struct CommandResult {
  int exit_code = -1;      // -1 when a signal ended it
  int signal = 0;          // the signal that ended it
  bool timed_out = false;  // the deadline ended it
  std::string out;
  std::string err;
  Fd out_file;
  Fd err_file;

  bool ok() const { return exit_code == 0; }
  // What has been written by now, by whoever still holds the other end.
  std::string out_now() const;
  std::string err_now() const;
  // One paragraph for a failure message.
  std::string text() const;
};

// A program that runs while the test does something else. Destroying it kills it.
class RunningCommand {
 public:
  RunningCommand(const std::vector<std::string>& arguments, const CommandOptions& options = {});
  RunningCommand(RunningCommand&&) = delete;
  ~RunningCommand();

  pid_t pid() const { return pid_; }
  std::string out_now() const;
  std::string err_now() const;
  CommandResult wait();  // once

 private:
  pid_t pid_ = -1;
  Fd pidfd_, out_, err_;
  std::chrono::steady_clock::time_point deadline_;
};

// The program is looked up in PATH when its name holds no slash.
CommandResult run(const std::vector<std::string>& arguments, const CommandOptions& options = {});

// Asks until it says yes or the deadline passes; returns the last answer.
template <class Question>
bool eventually(Question&& question, milliseconds deadline = milliseconds(5'000)) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!question()) {
    if (std::chrono::steady_clock::now() >= end) return question();
    const timespec pause{0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
  return true;
}

// The whole of a file as the kernel gives it; empty when it cannot be read.
std::string read_file(const std::string& path);
// False when the file cannot be written.
bool write_file(const std::string& path, std::string_view text, unsigned mode = 0644);

}  // namespace nacelle::test
