// nacelle-worker: sandboxed byte work for the other programs, which start it (src/image/worker.h).
#include "image/jobs.h"

int main(int argc, char** argv) { return nacelle::image::serve(argc, argv); }
