// The terminal we were started from: raw while a container has it, its size, what detaches.
#pragma once

#include <termios.h>

#include <optional>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::cli {

bool is_terminal(int fd);

struct TerminalSize {
  unsigned rows = 0, columns = 0;
};
TerminalSize terminal_size(int fd);  // zeros where there is none

// Raw from construction until it goes; nothing where `fd` is no terminal.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal() { restore(); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  void restore();

 private:
  int fd_;
  std::optional<termios> before_;
};

inline constexpr std::string_view default_detach_keys = "ctrl-p,ctrl-q";
// "ctrl-p,ctrl-q" or "a,ctrl-[" as the bytes that a terminal sends.
Result<std::string> parse_detach_keys(std::string_view text);

// Looks for the detach keys in what is typed. What may be their beginning is held back until it is
// known.
class DetachFilter {
 public:
  explicit DetachFilter(std::string keys) : keys_(std::move(keys)) {}
  // What goes to the container; `detached` when the keys are complete.
  std::string feed(std::string_view typed, bool& detached);

 private:
  std::string keys_;
  size_t matched_ = 0;
};

}  // namespace nacelle::cli
