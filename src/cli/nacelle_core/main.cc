// nacelle-core: owns containers. Started by the engine; see src/core/server.h.
#include <cstdio>
#include <string_view>

#include "base/fault.h"
#include "base/text.h"
#include "bpf/loader.h"
#include "core/netns_pool.h"
#include "core/server.h"

namespace {

constexpr const char* usage =
    "usage: nacelle-core [OPTIONS]\n\n"
    "Owns containers for nacelled, which starts it.\n\n"
    "options:\n"
    "  --background         return once it serves, as a process of its own\n"
    "  --cgroup-root PATH   cgroup below which containers live (default nacelle)\n"
    "  --check-state        with --state-fd: only tell by the exit code whether it is understood\n"
    "  --help               print this\n"
    "  --run DIRECTORY      socket, log and state (default /run/nacelle)\n"
    "  --state-fd NUMBER    go on with what a predecessor left in this descriptor\n"
    "  --worker PROGRAM     nacelle-worker, for logs\n";

bool parse(int argc, char** argv, nacelle::core::ServerOptions& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--background") {
      options.background = true;
      continue;
    }
    if (word == "--check-state") {
      options.check_state = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const std::string_view value = argv[++i];
    if (word == "--run") {
      options.run_directory = value;
    } else if (word == "--worker") {
      options.worker = value;
    } else if (word == "--cgroup-root") {
      options.cgroup_root = value;
    } else if (word == "--state-fd") {
      const auto number = nacelle::parse_number<int>(value);
      if (!number || *number < 0) return false;
      options.state_fd = *number;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == nacelle::core::netns_maker_argument) {
    return nacelle::core::netns_maker_main(argv[2]);
  }
  if ((argc == 3 || argc == 4) && std::string_view(argv[1]) == nacelle::bpf::loader_argument) {
    return nacelle::bpf::loader_main(argv[2], argc == 4 ? argv[3] : nullptr);
  }
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    std::fputs(usage, stdout);
    return 0;
  }
  nacelle::arm_faults("NACELLE_CORE_FAULT");
  nacelle::core::ServerOptions options;
  if (!parse(argc, argv, options)) {
    std::fputs(usage, stderr);
    return 2;
  }
  return nacelle::core::serve(options);
}
