// What a start costs an engine: StartRequest to its reply, container by container, with the mounts,
// masks and capabilities of a Docker container. Prints quantiles, the phases of the median start,
// and what core holds in memory, alone and per container.
//   core_start [rounds] [containers at once]
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "tests/root/core/driver.h"
#include "tests/support/private_host.h"

namespace nacelle::test {
namespace {

constexpr const char* run_directory = "/run/core-bench";

uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

long pss_kib(int pid) {
  const std::string text = read_file(cat("/proc/", pid, "/smaps_rollup"));
  const size_t at = text.find("\nPss:");
  return at == std::string::npos ? -1 : std::atol(text.c_str() + at + 5);
}

struct Sample {
  uint64_t total = 0;
  std::vector<core::Phase> phases;
};

void print(const char* what, std::vector<Sample> samples) {
  std::ranges::sort(samples, {}, &Sample::total);
  const auto at = [&](double part) {
    return samples[static_cast<size_t>(part * static_cast<double>(samples.size() - 1))];
  };
  std::printf("%-14s p50 %4ld  p90 %4ld  p99 %4ld  min %4ld us, %zu starts\n", what,
              static_cast<long>(at(0.5).total / 1000), static_cast<long>(at(0.9).total / 1000),
              static_cast<long>(at(0.99).total / 1000), static_cast<long>(at(0).total / 1000),
              samples.size());
  if (at(0.5).phases.empty()) return;
  std::printf("  median start:");
  const uint64_t received_ns = at(0.5).phases[0].ns;
  for (const core::Phase& each : at(0.5).phases) {
    std::printf(" %s %ld", each.name.c_str(), static_cast<long>((each.ns - received_ns) / 1000));
  }
  std::printf("\n");
}

ring::Task<> settle(ring::Loop& loop) {
  co_await ring::sleep_for(loop, std::chrono::milliseconds(20));
}

int measure(int rounds, int many) {
  Driver driver(run_directory);
  driver.connect();
  if (testing::Test::HasFailure()) return 1;
  const Bundle files(Config::docker_like().args({"/bin/sleep", "1000"}));
  const Plan plan = compile(files);
  core::PoolRequest pool;
  pool.ready = 16;
  if (!driver.call(pool)) return 1;
  const int pid = driver.core_pid();
  const auto end = [&](unsigned number) {
    core::SignalRequest signal;
    signal.id = id_of(number);
    signal.signal = SIGKILL;
    (void)driver.call(signal);
    return driver.exited(number).has_value() && driver.forget(number).has_value();
  };
  const auto wait_for_pool = [&] {
    driver.wait_until([&] {
      const auto list = driver.call(core::ListRequest{});
      return list && list->pool_ready >= pool.ready;
    });
  };
  unsigned number = 0;
  for (const bool traced : {false, true}) {
    std::vector<Sample> samples;
    for (int round = 0; round < rounds + 3; ++round) {
      wait_for_pool();
      // The kernel takes the last one's namespaces down in its own time.
      (void)driver.loop().run(settle(driver.loop()));
      const Fd root = driver.root(files);
      core::StartRequest request = driver.request(++number, plan);
      request.traced = traced;
      const uint64_t begin = now_ns();
      const auto reply = driver.call(std::move(request), {&root});
      const uint64_t total = now_ns() - begin;
      if (!reply) {
        std::fprintf(stderr, "%s\n", reply.error().message().c_str());
        return 1;
      }
      if (round >= 3) samples.push_back({total, reply->phases});
      if (!end(number)) return 1;
    }
    print(traced ? "traced" : "start", std::move(samples));
  }
  wait_for_pool();
  const long alone = pss_kib(pid);
  const unsigned first = number + 1;
  for (int i = 0; i < many; ++i) {
    if (!driver.start(++number, files, plan)) return 1;
  }
  const long with = pss_kib(pid);
  std::printf("memory         core alone %ld KiB PSS, with %d containers %ld KiB: %.1f KiB each\n",
              alone, many, with, static_cast<double>(with - alone) / std::max(many, 1));
  for (unsigned each = first; each <= number; ++each) {
    if (!end(each)) return 1;
  }
  const auto list = driver.call(core::ListRequest{});
  if (list) {
    std::printf("loop           %llu turns above 5 ms, the longest %llu us\n",
                static_cast<unsigned long long>(list->stalls),
                static_cast<unsigned long long>(list->longest_stall_us));
  }
  driver.clean_up();
  return testing::Test::HasFailure() ? 1 : 0;
}

}  // namespace
}  // namespace nacelle::test

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 300;
  const int many = argc > 2 ? std::atoi(argv[2]) : 20;
  return nacelle::test::in_private_host([&] { return nacelle::test::measure(rounds, many); });
}
