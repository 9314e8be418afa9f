#include "base/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.h"

namespace nacelle {

namespace detail {
bool faults_armed = false;
}

namespace {

struct Faults {
  int list = -1;       // where names are written
  long remaining = 0;  // places until the end
  std::string name;    // the place to end at
};
Faults faults;

}  // namespace

void arm_faults(const char* variable) {
  const char* wanted = getenv(variable);
  if (wanted == nullptr) return;
  std::string_view rest = wanted;
  const std::string_view action = take_until(rest, ':');
  if (action == "list") {
    faults.list = open(std::string(rest).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    detail::faults_armed = faults.list >= 0;
  } else if (action == "kill") {
    if (const auto count = parse_number<long>(rest)) {
      faults.remaining = *count;
    } else {
      faults.name = rest;
    }
    detail::faults_armed = true;
  }
}

void detail::pass_fault_point(const char* name) {
  if (faults.list >= 0) {
    const std::string line = cat(name, '\n');
    // A list that cannot be written is an empty list, which its reader notices.
    [[maybe_unused]] const ssize_t written = write(faults.list, line.data(), line.size());
    return;
  }
  const bool here = faults.name.empty() ? --faults.remaining == 0 : faults.name == name;
  if (!here) return;
  kill(getpid(), SIGKILL);
  _exit(128 + SIGKILL);  // the first process of a pid namespace does not hear its own signals
}

}  // namespace nacelle
