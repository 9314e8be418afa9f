// nacelle-worker: sandboxed byte work for the other programs, which start it (src/image/worker.h);
// as `nacelle-worker logs` the log worker (src/logs/worker.h), as `nacelle-worker names` the one
// that answers for names (src/dns/worker.h).
#include <unistd.h>

#include <string_view>
#include <utility>

#include "dns/worker.h"
#include "image/jobs.h"
#include "logs/worker.h"

namespace {

constexpr std::string_view usage =
    "usage: nacelle-worker KIND ...\n\n"
    "Reads foreign bytes inside a sandbox for nacelle and nacelled, writes logs or answers for "
    "names for nacelle-core.\n"
    "They start it, with a socket as its descriptor 3; it does nothing by hand.\n";

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    return ::write(STDOUT_FILENO, usage.data(), usage.size()) < 0 ? 1 : 0;
  }
  if (argc == 2 && std::string_view(argv[1]) == "logs") return nacelle::logs::serve(nacelle::Fd(3));
  if (argc == 2 && std::string_view(argv[1]) == "names") return nacelle::dns::serve(nacelle::Fd(3));
  return nacelle::image::serve(argc, argv);
}
