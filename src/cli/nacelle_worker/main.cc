// nacelle-worker: sandboxed byte work for the other programs, which start it (src/image/worker.h);
// as `nacelle-worker logs` the log worker (src/logs/worker.h).
#include <string_view>
#include <utility>

#include "image/jobs.h"
#include "logs/worker.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "logs") return nacelle::logs::serve(nacelle::Fd(3));
  return nacelle::image::serve(argc, argv);
}
