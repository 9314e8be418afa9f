// Result<T>: a value, or an Error that says what was being attempted and what the caller can do.
// Nacelle throws nothing; every call that can fail returns one of these.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace nacelle {

// What the caller can do about an error, not where it came from.
enum class Kind {
  Invalid,      // the request is wrong: change it
  NotFound,     // the thing named does not exist
  Conflict,     // the thing named is in a state, or in use, that forbids this
  Denied,       // the kernel refuses this to us
  Exhausted,    // a limit was reached: free something or raise it
  Unavailable,  // it may work later
  Cancelled,    // we were asked to stop
  Unsupported,  // this kernel or this build cannot do it
  Internal,     // none of the above: a bug here or an unexpected kernel answer
};

std::string_view to_string(Kind kind);

// The Kind that an errno value suggests when nothing more is known.
Kind kind_of_errno(int error_number);

// A value. Its message reads outermost attempt first:
// `starting 'web': mounting '/proc': fsopen 'proc': Operation not permitted`.
class Error {
 public:
  Error(Kind kind, std::string message) : kind_(kind), message_(std::move(message)) {}

  // `attempt` names the call and its arguments; the text of `error_number` is appended.
  static Error from_errno(int error_number, std::string_view attempt);

  Kind kind() const { return kind_; }
  // The kernel's reason, or 0 when the error did not come from the kernel.
  int error_number() const { return error_number_; }
  const std::string& message() const { return message_; }

  // Puts `attempt: ` before the message.
  Error& add_context(std::string_view attempt);

 private:
  Kind kind_;
  int error_number_ = 0;
  std::string message_;
};

template <class T = void>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;

  // Names what was being attempted. `attempt` is a string, or a callable that is asked for one only
  // when there is an error, so that success pays nothing for the text.
  template <class Attempt>
  Result context(Attempt&& attempt) && {
    if (!this->has_value()) [[unlikely]] {
      if constexpr (std::is_invocable_v<Attempt>) {
        this->error().add_context(attempt());
      } else {
        this->error().add_context(attempt);
      }
    }
    return std::move(*this);
  }
};

// An error as the return value of a function that returns any Result<T>.
inline std::unexpected<Error> fail(Kind kind, std::string message) {
  return std::unexpected(Error(kind, std::move(message)));
}
inline std::unexpected<Error> fail_errno(int error_number, std::string_view attempt) {
  return std::unexpected(Error::from_errno(error_number, attempt));
}

}  // namespace nacelle

// The value of a Result, or a return of its error from the function that stands here.
// For plain functions only; a coroutine says co_await. (The counter keeps nested uses apart.)
#define TRY(expression) NACELLE_TRY_AS(expression, NACELLE_TRY_NAME(__COUNTER__))
#define NACELLE_TRY_NAME(counter) NACELLE_TRY_JOINED(nacelle_try_result_, counter)
#define NACELLE_TRY_JOINED(prefix, counter) prefix##counter
#define NACELLE_TRY_AS(expression, result)               \
  ({                                                     \
    auto result = (expression);                          \
    if (!result) [[unlikely]]                            \
      return std::unexpected(std::move(result).error()); \
    *std::move(result);                                  \
  })
