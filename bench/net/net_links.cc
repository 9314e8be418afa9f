// Two containers of one network: how much TCP carries between them, how often a byte goes there and
// back, and what making a link costs; by our links with their programs, by the same links without
// them (packets pass the host's stack), and over a Linux bridge, which is what dockerd makes.
// Rounds are interleaved. And what the programs take for a packet, as the kernel measures it.
//
// usage: net_links [ROUNDS [MILLISECONDS]]
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/text.h"
#include "bpf/links.h"
#include "bpf/loader.h"
#include "bpf/pins.h"
#include "core/netns_maker.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "tests/support/private_host.h"

namespace nacelle {
namespace {

constexpr const char* pins = "/run/bench-links";

template <class T>
T need(Result<T> result, const char* what) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "%s: %s\n", what, result.error().message().c_str());
  std::exit(1);
}

struct Way {
  const char* name;
  Fd one, other;
  std::string address;  // of the other
  std::vector<double> megabits, round_trips;
};

Fd socket_in(const Fd& place) {
  const Fd here = need(sys::open_at(sys::working_directory, "/proc/self/ns/net", O_RDONLY), "ns");
  ::setns(place.get(), CLONE_NEWNET);
  Fd made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::setns(here.get(), CLONE_NEWNET);
  return made;
}

struct Pair {
  Fd one, other;
};
Pair connect_pair(const Way& way) {
  const Fd listener = socket_in(way.other);
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(5001);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) std::perror("bind");
  ::listen(listener.get(), 1);
  Pair pair{.one = socket_in(way.one), .other = Fd()};
  ::inet_pton(AF_INET, way.address.c_str(), &at.sin_addr);
  if (::connect(pair.one.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  pair.other = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  for (const Fd* each : {&pair.one, &pair.other}) {
    ::setsockopt(each->get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  }
  return pair;
}

// `work` at the other end, until this end has measured.
template <class Work>
pid_t beside(Work work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    work();
    ::_exit(0);
  }
  return pid;
}
void end(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

double measure_megabits(const Way& way, uint64_t ns) {
  const Pair pair = connect_pair(way);
  std::string block(256 << 10, 'x');
  const pid_t sender = beside([&] {
    while (::send(pair.one.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  uint64_t bytes = 0;
  const uint64_t begin = sys::monotonic_ns();
  while (sys::monotonic_ns() - begin < ns) {
    const ssize_t got = ::recv(pair.other.get(), block.data(), block.size(), 0);
    if (got <= 0) break;
    bytes += static_cast<uint64_t>(got);
  }
  const uint64_t took = sys::monotonic_ns() - begin;
  end(sender);
  return static_cast<double>(bytes) * 8e3 / static_cast<double>(took);
}

double measure_round_trips(const Way& way, uint64_t ns) {
  const Pair pair = connect_pair(way);
  char byte = 'x';
  const pid_t echo = beside([&] {
    while (::recv(pair.other.get(), &byte, 1, 0) == 1) {
      (void)::send(pair.other.get(), &byte, 1, MSG_NOSIGNAL);
    }
  });
  uint64_t count = 0;
  const uint64_t begin = sys::monotonic_ns();
  for (; sys::monotonic_ns() - begin < ns; ++count) {
    if (::send(pair.one.get(), &byte, 1, MSG_NOSIGNAL) != 1) break;
    if (::recv(pair.one.get(), &byte, 1, 0) != 1) break;
  }
  const uint64_t took = sys::monotonic_ns() - begin;
  end(echo);
  return static_cast<double>(count) * 1e9 / static_cast<double>(took);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

core::Interface wish(const char* network, std::string address) {
  core::Interface interface;
  interface.network = network;
  interface.name = "eth0";
  interface.mac = core::mac_of_address(address);
  interface.gateway = cat(address.substr(0, address.rfind('.')), ".1");
  interface.address = std::move(address);
  interface.prefix_len = 24;
  return interface;
}

Way by_links(const char* name, core::NetnsMaker& maker, const char* subnet) {
  Way way{.name = name, .address = cat(subnet, ".3")};
  std::vector<core::Interface> one{wish(name, cat(subnet, ".2"))}, other{wish(name, way.address)};
  way.one = std::move(need(maker.make(one, false), name).front());
  way.other = std::move(need(maker.make(other, false), name).front());
  return way;
}

Way by_bridge() {
  const char* commands =
      "set -e; ip link add br0 type bridge; ip link set br0 up\n"
      "for i in 2 3; do ip netns add b$i; ip link add p$i type veth peer name eth0 netns b$i\n"
      "ip link set p$i master br0 up; ip -n b$i addr add 10.63.0.$i/24 dev eth0\n"
      "ip -n b$i link set lo up; ip -n b$i link set eth0 up; done";
  if (std::system(commands) != 0) std::exit(1);
  Way way{.name = "bridge", .address = "10.63.0.3"};
  way.one = need(sys::open_at(sys::working_directory, "/run/netns/b2", O_RDONLY), "b2");
  way.other = need(sys::open_at(sys::working_directory, "/run/netns/b3", O_RDONLY), "b3");
  return way;
}

// Milliseconds per namespace with a link.
double measure_making(core::NetnsMaker& maker, const char* subnet) {
  constexpr unsigned count = 20;
  std::vector<Fd> made;
  const uint64_t begin = sys::monotonic_ns();
  for (unsigned number = 0; number < count; ++number) {
    std::vector<core::Interface> all{wish("many", cat(subnet, ".", 10 + number))};
    made.push_back(std::move(need(maker.make(all, false), "making a link").front()));
  }
  return static_cast<double>(sys::monotonic_ns() - begin) / 1e6 / count;
}

// Nanoseconds of a program for a frame that passes unchanged.
unsigned measure_program(const char* name, const std::string& frame, uint32_t link, uint32_t from) {
  const Fd program = need(bpf::open_pin(pins, name), name);
  __sk_buff context{};
  context.ifindex = link;
  context.ingress_ifindex = from;
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.test.prog_fd = static_cast<uint32_t>(program.get());
  attr.test.data_in = reinterpret_cast<uintptr_t>(frame.data());
  attr.test.data_size_in = static_cast<uint32_t>(frame.size());
  attr.test.ctx_in = reinterpret_cast<uintptr_t>(&context);
  attr.test.ctx_size_in = sizeof context;
  attr.test.repeat = 200'000;
  if (::syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr) != 0) std::perror(name);
  return attr.test.duration;
}

std::string tcp_frame(const nacelle_link& row, bool is_sent, uint32_t other) {
  const auto mac = [](const uint8_t* bytes) {
    return std::string(reinterpret_cast<const char*>(bytes), 6);
  };
  std::string frame = is_sent ? mac(row.host_mac) + mac(row.mac) : mac(row.mac) + mac(row.host_mac);
  frame += std::string("\x08\x00\x45\x00\x00\x28\x00\x01\x00\x00\x40\x06\x00\x00", 14);
  const uint32_t ends[] = {is_sent ? row.address : other, is_sent ? other : row.address};
  frame.append(reinterpret_cast<const char*>(ends), sizeof ends);
  frame.resize(ETH_ZLEN);
  return frame;
}

void measure_programs() {
  bpf::Links links = need(bpf::Links::open(pins), "links");
  for (const uint32_t link : links.list()) {
    nacelle_link row{};
    char name[IF_NAMESIZE];
    if (::if_indextoname(link, name) == nullptr) continue;
    if (!links.find(link, row).value_or(false)) continue;
    const uint32_t world = ::inet_addr("192.0.2.2");
    std::printf("link_ingress, to the host's stack: %u ns a packet\n",
                measure_program("link_ingress", tcp_frame(row, true, world), link, 0));
    std::printf("link_egress, from the host: %u ns a packet\n",
                measure_program("link_egress", tcp_frame(row, false, world), link, 0));
    return;
  }
}

int run(unsigned rounds, uint64_t ns) {
  if (const Result<> loaded = bpf::load_programs(pins); !loaded) {
    std::printf("skip: %s\n", loaded.error().message().c_str());
    return 0;
  }
  auto maker = need(core::NetnsMaker::open(pins), "maker");
  auto plain = need(core::NetnsMaker::open(""), "maker");
  std::vector<Way> ways;
  ways.push_back(by_links("ours", maker, "10.61.0"));
  ways.push_back(by_links("routed", plain, "10.62.0"));
  ways.push_back(by_bridge());
  for (unsigned round = 0; round < rounds; ++round) {
    for (Way& way : ways) {
      way.megabits.push_back(measure_megabits(way, ns));
      way.round_trips.push_back(measure_round_trips(way, ns));
    }
  }
  std::printf("%-8s %12s %6s %14s %6s\n", "", "Mbit/s", "ratio", "round trips/s", "ratio");
  const double most = median(ways[0].megabits), often = median(ways[0].round_trips);
  for (const Way& way : ways) {
    const double megabits = median(way.megabits), trips = median(way.round_trips);
    std::printf("%-8s %12.0f %6.2f %14.0f %6.2f\n", way.name, megabits, megabits / most, trips,
                trips / often);
  }
  std::printf("a namespace with its link: %.2f ms with programs, %.2f ms without\n",
              measure_making(maker, "10.64.0"), measure_making(plain, "10.65.0"));
  measure_programs();
  return 0;
}

}  // namespace
}  // namespace nacelle

int main(int argc, char** argv) {
  const auto number = [&](int at, uint64_t otherwise) {
    return argc > at ? nacelle::parse_number<uint64_t>(argv[at]).value_or(otherwise) : otherwise;
  };
  return nacelle::test::in_private_host([&] {
    return nacelle::run(static_cast<unsigned>(number(1, 5)), number(2, 500) * 1'000'000);
  });
}
