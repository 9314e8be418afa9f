// What chmod is told, as a value: "0644", "u=rwX,go=rX", "a+x". POSIX's grammar, with the umask
// that Docker builds with where nobody is named; what POSIX leaves open is done as BSD does it.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::codec {

inline constexpr size_t mode_changes_max = 100;

class ModeChange {
 public:
  static Result<ModeChange> parse(std::string_view text);
  // The permissions (up to 07777) of a file that had `mode`.
  uint32_t apply(uint32_t mode, bool is_directory) const;
  // The whole of the permissions, where they were told as a number.
  std::optional<uint32_t> number() const { return number_; }
  bool operator==(const ModeChange&) const = default;

 private:
  // One `u+rX`.
  struct Step {
    char operation = '=';
    uint32_t may_change = 0;  // bits, by who is named
    uint32_t cleared = 0;     // by `=`, before any is set
    uint32_t bits = 0;        // of all, may they change or not
    char copied_from = 0;     // those of the user, the group or others as well: u, g, o
    bool executes = false;    // X: x of directories, and of what somebody could execute before all
    bool operator==(const Step&) const = default;
  };
  class Parser;

  std::vector<Step> steps_;
  std::optional<uint32_t> number_;
};

}  // namespace nacelle::codec
