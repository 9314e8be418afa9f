#include "codec/file_mode.h"

#include <utility>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::codec {
namespace {

constexpr uint32_t umask_of_builds = 022;
constexpr uint32_t whole_mode = 07777;
constexpr uint32_t set_id = 06000, sticky = 01000, any_execute = 0111;
constexpr uint32_t user = 04700, group = 02070, others = 00007;
constexpr uint32_t everyone = user | group | others;

// The permissions of `who` as three bits.
uint32_t part_of(uint32_t mode, char who) {
  const int shift = who == 'u' ? 6 : who == 'g' ? 3 : 0;
  return mode >> shift & 7;
}

constexpr uint32_t for_everyone(uint32_t three_bits) { return three_bits * 0111; }

std::unexpected<Error> invalid(std::string_view text) {
  return fail(
      Kind::Invalid,
      cat("invalid chmod parameter: ", json::in_quotes(text),
          ": it should be an octal string between 0 and 07777, or symbolic as u=rwX,go=rX"));
}

}  // namespace

class ModeChange::Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), rest_(text) {}

  Result<ModeChange> parse() {
    ModeChange change;
    do {
      TRY(parse_clause(change));
    } while (take(','));
    if (!rest_.empty() || text_.empty()) return bad();
    return change;
  }

 private:
  bool take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::unexpected<Error> bad() const { return invalid(text_); }

  // `go+r-w`: some of whom, then at least one operation.
  Result<> parse_clause(ModeChange& change) {
    uint32_t who = 0;
    while (true) {
      if (take('u')) {
        who |= user;
      } else if (take('g')) {
        who |= group;
      } else if (take('o')) {
        who |= others;
      } else if (take('a')) {
        who |= everyone;
      } else {
        break;
      }
    }
    if (!at_operation()) return bad();
    while (at_operation()) {
      if (change.steps_.size() == mode_changes_max) {
        return fail(Kind::Exhausted, cat("a mode of more than ", mode_changes_max, " changes"));
      }
      Step step{.operation = rest_.front()};
      rest_.remove_prefix(1);
      step.cleared = who == 0 ? everyone : who;
      // Sticky is anybody's but the others'.
      step.may_change = who == 0        ? whole_mode & ~umask_of_builds
                        : who == others ? who
                                        : who | sticky;
      parse_permissions(step);
      change.steps_.push_back(step);
    }
    return {};
  }

  bool at_operation() const {
    return rest_.starts_with('+') || rest_.starts_with('-') || rest_.starts_with('=');
  }

  void parse_permissions(Step& step) {
    for (const char from : {'u', 'g', 'o'}) {
      if (!take(from)) continue;
      step.copied_from = from;
      return;
    }
    while (true) {
      if (take('r')) {
        step.bits |= for_everyone(4);
      } else if (take('w')) {
        step.bits |= for_everyone(2);
      } else if (take('x')) {
        step.bits |= for_everyone(1);
      } else if (take('X')) {
        step.executes = true;
      } else if (take('s')) {
        step.bits |= set_id;
      } else if (take('t')) {
        step.bits |= sticky;
      } else {
        return;
      }
    }
  }

  std::string_view text_, rest_;
};

Result<ModeChange> ModeChange::parse(std::string_view text) {
  const auto number = parse_number<uint32_t>(text, 8);
  if (!number) return Parser(text).parse();
  if (*number > whole_mode) return invalid(text);
  ModeChange change;
  change.number_ = *number;
  change.steps_.push_back(
      {.operation = '=', .may_change = whole_mode, .cleared = whole_mode, .bits = *number});
  return change;
}

uint32_t ModeChange::apply(uint32_t mode, bool is_directory) const {
  mode &= whole_mode;
  const bool could_execute = is_directory || (mode & any_execute) != 0;
  for (const Step& step : steps_) {
    uint32_t bits = step.bits;
    if (step.copied_from != 0) bits |= for_everyone(part_of(mode, step.copied_from));
    if (step.executes && could_execute) bits |= any_execute;
    bits &= step.may_change;
    if (step.operation == '=') mode &= ~step.cleared;
    mode = step.operation == '-' ? mode & ~bits : mode | bits;
  }
  return mode;
}

}  // namespace nacelle::codec
