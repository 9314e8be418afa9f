// The kernel's price for each step of a start, one at a time: children (clone_bench.cc), mounts
// (mount_bench.cc), filters and device programs (policy_bench.cc). src/README.md's decisions rest
// on these. Needs root; makes namespaces and cgroups of its own.
#include <benchmark/benchmark.h>

#include <vector>

int main(int argc, char** argv) {
  // Time is the measured step's, and its child costs a hundred times as much: a fraction of the
  // library's half second is plenty. What the caller says comes later and wins.
  char little[] = "--benchmark_min_time=0.005";
  std::vector<char*> arguments(argv, argv + argc);
  arguments.insert(arguments.begin() + 1, little);
  arguments.push_back(nullptr);
  int count = argc + 1;
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
