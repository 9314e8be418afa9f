// api_load: a client of Docker's API that measures, on raw unix sockets with keep-alive.
//
//   api_load SOCKET cycle N NETWORK          N times create, start, wait, remove of `true`
//   api_load SOCKET exec N                   N execs of `true` in one running container
//   api_load SOCKET closed N NETWORK C       C clients side by side, each N cycles
//   api_load SOCKET open SECONDS NETWORK C R C clients that together begin R cycles a second, each
//                                            when it is due or as soon after as its client is free
//
// Prints `NAME SAMPLE...` in microseconds, a line per step; `closed` also `rate N`, cycles a
// second. The image is `busybox`. `both` is create and start, `cycle` all four; `due` is until the
// start's reply from the moment the cycle was due, so that waiting for a slow one before counts.
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <string>

namespace {

constexpr size_t samples_max = 200'000;
constexpr const char* step_names[] = {"create", "start", "wait",  "remove",
                                      "exec",   "both",  "cycle", "due"};
enum Step : size_t { Create, Start, Wait, Remove, Exec, Both, Cycle, Due };
constexpr size_t steps = std::size(step_names);
// What one leaves behind (namespaces, cgroups) goes before the next: a start is measured here, not
// how many fit into a second.
constexpr uint64_t pause_ns = 3'000'000;

// Shared by the clients, which are processes.
struct Samples {
  size_t count[steps];
  uint32_t us[steps][samples_max];
};
Samples* shared;

void add(Step step, uint64_t ns) {
  const size_t place = __atomic_fetch_add(&shared->count[step], 1, __ATOMIC_RELAXED);
  if (place < samples_max) shared->us[step][place] = static_cast<uint32_t>(ns / 1000);
}

uint64_t now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(time.tv_nsec);
}
void sleep_until(uint64_t when) {
  const timespec time{static_cast<time_t>(when / 1'000'000'000u),
                      static_cast<long>(when % 1'000'000'000u)};
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}
[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "api_load: %s\n", why.c_str());
  std::exit(1);
}

class Connection {
 public:
  explicit Connection(const char* path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      give_up(std::string("connect ") + path);
    }
  }

  // The body of the answer.
  std::string call(const std::string& method, const std::string& target, const std::string& body,
                   int wanted) {
    const std::string request =
        method + " " + target + " HTTP/1.1\r\nHost: d\r\n" +
        "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    if (::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      give_up("send");
    }
    return receive(method + " " + target, wanted);
  }

 private:
  void fill() {
    char bytes[16384];
    const ssize_t got = ::recv(fd_, bytes, sizeof bytes, 0);
    if (got <= 0) give_up("the engine closed the connection");
    input_.append(bytes, static_cast<size_t>(got));
  }

  std::string receive(const std::string& what, int wanted) {
    size_t end = 0;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos) fill();
    const std::string head = input_.substr(0, end);
    input_.erase(0, end + 4);
    std::string body;
    const size_t length = head.find("Content-Length: ");
    if (head.find("chunked") != std::string::npos) {
      for (;;) {
        size_t line = 0;
        while ((line = input_.find("\r\n")) == std::string::npos) fill();
        const size_t size = std::strtoul(input_.c_str(), nullptr, 16);
        while (input_.size() < line + 2 + size + 2) fill();
        body += input_.substr(line + 2, size);
        input_.erase(0, line + 2 + size + 2);
        if (size == 0) break;
      }
    } else if (length != std::string::npos) {
      const size_t size = std::strtoul(head.c_str() + length + 16, nullptr, 10);
      while (input_.size() < size) fill();
      body = input_.substr(0, size);
      input_.erase(0, size);
    }
    if (std::atoi(head.c_str() + 9) != wanted) give_up(what + ": " + head.substr(9, 40) + body);
    return body;
  }

  int fd_;
  std::string input_;
};

std::string field(const std::string& json, const std::string& name) {
  const size_t at = json.find("\"" + name + "\":\"");
  if (at == std::string::npos) give_up("no " + name + " in " + json);
  const size_t begin = at + name.size() + 4;
  return json.substr(begin, json.find('"', begin) - begin);
}

std::string creation(const std::string& network, const char* command) {
  return std::string(R"({"Image":"busybox","Cmd":)") + command +
         R"(,"HostConfig":{"NetworkMode":")" + network + R"("}})";
}

std::string create_and_start(Connection& engine, const std::string& body) {
  const uint64_t begin = now();
  const std::string id = field(engine.call("POST", "/v1.41/containers/create", body, 201), "Id");
  const uint64_t created = now();
  engine.call("POST", "/v1.41/containers/" + id + "/start", "", 204);
  const uint64_t started = now();
  add(Create, created - begin);
  add(Start, started - created);
  add(Both, started - begin);
  return id;
}

void cycle(Connection& engine, const std::string& network, uint64_t due) {
  const uint64_t all = now();
  const std::string id = create_and_start(engine, creation(network, R"(["true"])"));
  const std::string path = "/v1.41/containers/" + id;
  const uint64_t begin = now();
  engine.call("POST", path + "/wait", "", 200);
  const uint64_t waited = now();
  engine.call("DELETE", path, "", 204);
  const uint64_t removed = now();
  add(Wait, waited - begin);
  add(Remove, removed - waited);
  add(Cycle, removed - all);
  if (due != 0) add(Due, begin - due);
}

void execs(Connection& engine, unsigned count) {
  const std::string id = create_and_start(engine, creation("none", R"(["sleep","1000"])"));
  const std::string path = "/v1.41/containers/" + id;
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t begin = now();
    const std::string exec =
        field(engine.call("POST", path + "/exec", R"({"Cmd":["true"]})", 201), "Id");
    engine.call("POST", "/v1.41/exec/" + exec + "/start", R"({"Detach":true})", 200);
    add(Exec, now() - begin);
    sleep_until(now() + pause_ns);
  }
  engine.call("DELETE", path + "?force=1", "", 204);
}

void report() {
  for (size_t step = 0; step < steps; ++step) {
    const size_t count = std::min(shared->count[step], samples_max);
    if (count == 0) continue;
    std::fputs(step_names[step], stdout);
    for (size_t i = 0; i < count; ++i) std::printf(" %u", shared->us[step][i]);
    std::putchar('\n');
  }
}

// Each client is a process of its own.
template <class Work>
void side_by_side(unsigned clients, Work work) {
  for (unsigned i = 0; i < clients; ++i) {
    if (::fork() == 0) {
      work(i);
      ::_exit(0);
    }
  }
  int status = 0;
  while (::wait(&status) > 0) {
    if (status != 0) give_up("a client failed");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) give_up("usage: api_load SOCKET cycle|exec|closed|open COUNT [NETWORK [C [R]]]");
  shared = static_cast<Samples*>(
      ::mmap(nullptr, sizeof(Samples), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const std::string mode = argv[2];
  const auto count = static_cast<unsigned>(std::atoi(argv[3]));
  const std::string network = argc > 4 ? argv[4] : "none";
  const unsigned clients = argc > 5 ? static_cast<unsigned>(std::atoi(argv[5])) : 1;
  const unsigned rate = argc > 6 ? static_cast<unsigned>(std::atoi(argv[6])) : 1;
  const uint64_t begin = now();
  if (mode == "cycle") {
    Connection engine(argv[1]);
    for (unsigned i = 0; i < count; ++i) {
      cycle(engine, network, 0);
      sleep_until(now() + pause_ns);
    }
  } else if (mode == "exec") {
    Connection engine(argv[1]);
    execs(engine, count);
  } else if (mode == "closed") {
    side_by_side(clients, [&](unsigned) {
      Connection engine(argv[1]);
      for (unsigned i = 0; i < count; ++i) cycle(engine, network, 0);
    });
    std::printf("rate %lu\n", static_cast<unsigned long>(uint64_t{count} * clients *
                                                         1'000'000'000u / (now() - begin)));
  } else if (mode == "open") {
    const uint64_t gap = uint64_t{clients} * 1'000'000'000u / rate;
    side_by_side(clients, [&](unsigned client) {
      Connection engine(argv[1]);
      uint64_t due = begin + gap * client / clients;
      for (; due < begin + uint64_t{count} * 1'000'000'000u; due += gap) {
        sleep_until(due);
        cycle(engine, network, due);
      }
    });
  }
  report();
  return 0;
}
