// Unpacks one layer into a directory as the image room does, and prints what it took:
// `seconds peak-resident-KiB entries tree-bytes`.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "image/worker.h"
#include "nacelle/loop.h"

namespace {

using namespace nacelle;

ring::Task<image::UnpackRequest::Reply> unpack(image::Worker& worker, const Fd& blob) {
  image::UnpackRequest request{.label = "the layer"};
  std::vector<const Fd*> descriptors = {&blob};
  auto reply = co_await worker.call(std::move(request), std::move(descriptors));
  co_await worker.stop();
  co_return reply;
}

int complain(const Error& error) {
  std::fprintf(stderr, "%s\n", error.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: unpack_layer BLOB DIRECTORY\n");
    return 2;
  }
  const auto begun = std::chrono::steady_clock::now();
  auto loop = ring::Loop::open();
  if (!loop) return complain(loop.error());
  const Fd blob(::open(argv[1], O_RDONLY | O_CLOEXEC));
  const Fd root(::open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!blob || !root) {
    std::perror("open");
    return 1;
  }
  auto worker = image::Worker::start(**loop, {.kind = image::WorkerKind::Unpack, .root = &root});
  if (!worker) return complain(worker.error());
  const auto reply = (*loop)->run(unpack(*worker, blob));
  if (!reply) return complain(reply.error());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  std::printf("%.4f %ld %llu %llu\n", took.count(), usage.ru_maxrss,
              static_cast<unsigned long long>(reply->entries),
              static_cast<unsigned long long>(reply->tree_bytes));
  return 0;
}
