#include "cli/nacelle/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"

namespace nacelle::cli {

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

TerminalSize terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
  return {.rows = size.ws_row, .columns = size.ws_col};
}

RawTerminal::RawTerminal(int fd) : fd_(fd) {
  termios now{};
  if (::tcgetattr(fd, &now) != 0) return;
  before_ = now;
  ::cfmakeraw(&now);
  ::tcsetattr(fd, TCSADRAIN, &now);
}

void RawTerminal::restore() {
  if (before_) ::tcsetattr(fd_, TCSADRAIN, &*before_);
  before_.reset();
}

Result<std::string> parse_detach_keys(std::string_view text) {
  std::string keys;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view key = take_until(rest, ',');
    if (key.size() == 1) {
      keys += key;
      continue;
    }
    std::string_view letter = key;
    const bool control = take_until(letter, '-') == "ctrl" && letter.size() == 1;
    // '@' to '_' are the control characters 0 to 31, letters in either case.
    const char c = letter.empty() ? 0 : letter[0];
    const char upper = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    if (!control || upper < '@' || upper > '_') {
      return fail(Kind::Invalid,
                  cat("invalid detach keys (", text, "): Unknown character: '", key, "'"));
    }
    keys += static_cast<char>(upper - '@');
  }
  return keys;
}

std::string DetachFilter::feed(std::string_view typed, bool& detached) {
  std::string out;
  for (const char c : typed) {
    if (!keys_.empty() && c == keys_[matched_]) {
      if (++matched_ == keys_.size()) {
        detached = true;
        return out;
      }
      continue;
    }
    out += keys_.substr(0, matched_);
    matched_ = 0;
    if (!keys_.empty() && c == keys_[0]) {
      matched_ = 1;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace nacelle::cli
