#include "tests/support/link_programs.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "bpf/loader.h"
#include "bpf/pins.h"
#include "sys/bpf.h"

namespace nacelle::test {
namespace {

constexpr uint32_t loopback = 1;  // what a test run says skb->ifindex is
constexpr unsigned char mac[] = {0x02, 0x42, 10, 0, 0, 2}, host_mac[] = {0x02, 0x42, 10, 0, 0, 1};

void put16(std::string& out, uint16_t number) {
  out += static_cast<char>(number >> 8);
  out += static_cast<char>(number);
}
void put32(std::string& out, uint32_t number) {
  put16(out, static_cast<uint16_t>(number >> 16));
  put16(out, static_cast<uint16_t>(number));
}

void put_ipv6_address(std::string& out, uint32_t end) {
  out += std::string("\xfd\0\0\0\0\0\0\0\0\0\0\0", 12);
  put32(out, end);
}

// Behind Ethernet's addresses.
std::string ipv4_bytes(const PacketText& packet, const std::string& rest) {
  std::string all("\x08\x00\x45\x00", 4);
  put16(all, static_cast<uint16_t>(20 + rest.size()));
  put16(all, packet.id);
  put16(all, packet.fragment);
  all += '\x40';
  all += static_cast<char>(packet.protocol);
  put16(all, 0);
  put32(all, packet.source);
  put32(all, packet.destination);
  return all + rest;
}
std::string ipv6_bytes(const PacketText& packet, std::string rest) {
  if (packet.fragment != 0) {
    std::string header{static_cast<char>(packet.protocol), '\0'};
    const bool has_more = (packet.fragment & 0x2000) != 0;
    put16(header, static_cast<uint16_t>((packet.fragment & 0x1fff) << 3 | has_more));
    put32(header, packet.id);
    rest = header + rest;
  }
  std::string all("\x86\xdd\x60\x00\x00\x00", 6);
  put16(all, static_cast<uint16_t>(rest.size()));
  all += static_cast<char>(packet.fragment != 0 ? 44 : packet.protocol);
  all += '\x40';
  put_ipv6_address(all, packet.source);
  put_ipv6_address(all, packet.destination);
  return all + rest;
}

}  // namespace

std::string PacketText::bytes() const {
  std::string rest;
  const bool is_first = (fragment & 0x1fff) == 0;
  if (is_first && protocol == (v6 ? 58 : 1)) {
    rest = {static_cast<char>(icmp_type), 0, 0, 0};
    put16(rest, source_port);  // which echo
    put16(rest, 1);
  } else if (is_first) {
    put16(rest, source_port);
    put16(rest, destination_port);
    if (protocol == 6) {
      put32(rest, 1);
      put32(rest, 1);
      rest += '\x50';
      rest += static_cast<char>(tcp_flags);
      rest += std::string(6, '\0');
    } else {
      put32(rest, 0);
    }
  }
  rest += payload;
  const bool is_sent = source == container_address;
  std::string all(reinterpret_cast<const char*>(is_sent ? host_mac : mac), 6);
  all.append(reinterpret_cast<const char*>(is_sent ? mac : host_mac), 6);
  return all + (v6 ? ipv6_bytes(*this, rest) : ipv4_bytes(*this, rest));
}

Result<std::unique_ptr<LinkPrograms>> LinkPrograms::open() {
  TRY(bpf::load_programs(directory));
  auto programs = std::make_unique<LinkPrograms>();
  programs->ingress_ = TRY(bpf::open_pin(directory, "link_ingress"));
  programs->egress_ = TRY(bpf::open_pin(directory, "link_egress"));
  programs->links_ = TRY(bpf::open_pin(directory, "links"));
  programs->policies_.emplace(TRY(bpf::PolicyMaps::open(directory)));
  TRY(programs->set_policy(0));
  return programs;
}

Result<> LinkPrograms::set_policy(uint32_t policy) {
  nacelle_link row{};
  row.network = 1;
  row.policy = policy;
  row.link = loopback;
  row.address = htonl(container_address);
  row.gateway = htonl(container_address - 1);
  std::string address6;
  put_ipv6_address(address6, container_address);
  std::memcpy(&row.address6, address6.data(), address6.size());
  std::memcpy(row.mac, mac, sizeof mac);
  std::memcpy(row.host_mac, host_mac, sizeof host_mac);
  return sys::put_map_row(links_, &loopback, &row);
}

Result<LinkPrograms::Run> LinkPrograms::run(const PacketText& packet, bool to_container,
                                            uint32_t repeat) const {
  const std::string bytes = packet.bytes();
  bpf_attr attr;
  std::memset(&attr, 0, sizeof attr);
  attr.test.prog_fd = static_cast<uint32_t>((to_container ? egress_ : ingress_).get());
  attr.test.data_in = reinterpret_cast<uint64_t>(bytes.data());
  attr.test.data_size_in = static_cast<uint32_t>(bytes.size());
  attr.test.repeat = repeat;
  if (::syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr) != 0) {
    return fail_errno(errno, "BPF_PROG_TEST_RUN");
  }
  constexpr uint32_t shot = 2;  // TC_ACT_SHOT
  return Run{.passed = attr.test.retval != shot, .ns = attr.test.duration};
}

}  // namespace nacelle::test
