// Runs one command and says how long it took, from before the spawn until it was reaped.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace nacelle::startup {

struct Outcome {
  bool succeeded = false;
  double microseconds = 0;
};

struct Spawned {
  pid_t pid = -1;
  double began = 0;
};

double now_us();

// stdin and stdout are /dev/null; stderr goes to error_log, which describes the last failure.
inline constexpr const char* error_log = "/tmp/stderr";

Spawned spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment);
Outcome run(const std::vector<std::string>& command,
            const std::vector<std::string>& environment = {});

std::string read_text(const std::string& path);

}  // namespace nacelle::startup
