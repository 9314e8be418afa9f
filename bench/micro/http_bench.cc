// What a request costs: round trips over one keep-alive unix socket, and the processor time of the
// server's thread in them. Client and server are threads of this process, each with a processor of
// its own where there are two.
#include <benchmark/benchmark.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>

#include "base/text.h"
#include "http/server.h"
#include "ring/ops.h"
#include "sys/unix_socket.h"

namespace {

using namespace nacelle;

ring::Task<> answer(http::Exchange& exchange) {
  if (exchange.request().method == "POST") co_await exchange.body(1 << 20);
  co_await exchange.reply(200, "application/json", "{}");
}

double thread_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Life {
  Fd stop{::eventfd(0, EFD_CLOEXEC)};
  std::atomic<bool> ready = false;
  double seconds = 0;

  static ring::Task<> until(ring::Loop& loop, http::Server& server, Life& life) {
    ring::Scope scope(loop, [](const Error&) {});
    scope.start(server.serve(std::chrono::milliseconds(100)));
    life.ready = true;
    uint64_t one = 0;
    co_await ring::read_some(loop, life.stop, {reinterpret_cast<char*>(&one), sizeof one});
    scope.cancel();
    co_await scope.join();
  }
  void run(const std::string& path) {
    auto loop = ring::Loop::open();
    if (!loop) return;
    http::Server server(**loop, answer, {{"Server", "Nacelle"}, {"Api-Version", "1.51"}});
    if (!server.listen_unix(path)) return;
    (void)(*loop)->run(until(**loop, server, *this));
    seconds = thread_seconds();
  }
};

void serve_requests(benchmark::State& state, std::string_view request) {
  const std::string path = cat("/tmp/nacelle-http-bench.", ::getpid());
  Life life;
  std::thread server([&] { life.run(path); });
  while (!life.ready) std::this_thread::yield();
  {
    const auto socket = sys::connect_unix(path);
    char bytes[4096];
    for (auto _ : state) {
      (void)!::send(socket->get(), request.data(), request.size(), MSG_NOSIGNAL);
      benchmark::DoNotOptimize(::recv(socket->get(), bytes, sizeof bytes, 0));
    }
  }
  const uint64_t one = 1;
  (void)!::write(life.stop.get(), &one, sizeof one);
  server.join();
  state.SetItemsProcessed(state.iterations());
  state.counters["server_us"] = life.seconds * 1e6 / static_cast<double>(state.iterations());
}

void get_empty(benchmark::State& state) {
  serve_requests(state,
                 "GET /v1.51/containers/json?all=1 HTTP/1.1\r\nHost: localhost\r\n"
                 "User-Agent: bench\r\n\r\n");
}
void post_small(benchmark::State& state) {
  serve_requests(state,
                 "POST /v1.51/containers/x/start HTTP/1.1\r\nHost: localhost\r\n"
                 "User-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
                 "{\"Name\":\"x\"}");
}
BENCHMARK(get_empty)->UseRealTime();
BENCHMARK(post_small)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
