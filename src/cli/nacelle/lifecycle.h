// A container as `run`, `start`, `attach` and `exec` have it: attached to, started, waited for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/nacelle/session.h"
#include "cli/nacelle/streams.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// 127 for a program that is not there, 126 for one that cannot be executed, else 125.
int exit_code_of_start(const Error& error);

// One line on standard error; the value is `code`.
int complain(const Error& error, int code = 1);

// POST .../wait on a connection of its own. Its answer's head has come when this returns, so that
// no end is missed; the exit code comes later.
class Waiting {
 public:
  static Result<Waiting> begin(const Api& api, const std::string& id, std::string_view condition);
  // Blocks. An error is one of the engine's.
  Result<int> exit_code();

 private:
  explicit Waiting(Api api) : api_(std::move(api)) {}
  Api api_;
};

struct AttachedStreams {
  bool input = false, output = true, errors = true, tty = false, signal_proxy = true;
  bool logs = false;
  std::string detach_keys;  // as typed; empty: the default
};

// POST /containers/ID/attach, taken over.
Result<http::StreamClient::Taken> attach_streams(const Api& api, const std::string& id,
                                                 const AttachedStreams& streams);
// Runs them until the end: signals and sizes go to the container.
struct SignalsOf {
  bool is_exec = false;  // resizes go to /exec
};
Result<StreamEnd> run_attached(Api& api, const std::string& id,
                               http::StreamClient::Taken connection, const AttachedStreams& streams,
                               const Signals& signals, SignalsOf kind = {});
// POST .../resize with our terminal's size.
void send_size(Api& api, const std::string& id, SignalsOf kind = {});

// The phases of a start on standard error, as a timeline: what X-Nacelle-Phases said of them, which
// is "NAME=NS,...", each with its end since the first began. Invalid for anything else.
Result<> print_phases(std::string_view header);

}  // namespace nacelle::cli
