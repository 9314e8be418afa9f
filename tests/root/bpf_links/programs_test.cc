// The programs on containers' links, packet by packet: the kernel runs them on frames that are made
// here (BPF_PROG_TEST_RUN), with rows of links that exist. One test per reason to drop, and per way
// that is open.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/text.h"
#include "bpf/attach.h"
#include "bpf/drop_events.h"
#include "bpf/links.h"
#include "bpf/loader.h"
#include "bpf/pins.h"
#include "core/netns_maker.h"
#include "sys/bpf.h"
#include "sys/netlink.h"

namespace nacelle::bpf {
namespace {

using core::Interface;
using core::NetnsMaker;

constexpr const char* pins = "/run/bpf-links-test";
constexpr int pass = TC_ACT_UNSPEC, dropped = TC_ACT_SHOT, redirected = TC_ACT_REDIRECT;

in_addr_t ip(const char* text) { return ::inet_addr(text); }

// An Ethernet frame with IPv4 and eight bytes of UDP in it, unless a test says otherwise.
struct Frame {
  std::string to_mac, from_mac;
  uint16_t ethertype = ETH_P_IP;
  in_addr_t source = 0, destination = 0;
  uint8_t version = 4, ttl = 64, protocol = 17;
  uint16_t fragment = 0, source_port = 4000, destination_port = 80;
  std::string options, body;  // `body`: in place of what is made of the others

  static std::string number(uint16_t value) {
    const uint16_t order = htons(value);
    return {reinterpret_cast<const char*>(&order), 2};
  }
  static std::string address(in_addr_t value) { return {reinterpret_cast<const char*>(&value), 4}; }
  std::string packet() const {
    const auto words = static_cast<uint8_t>(5 + options.size() / 4);
    const std::string payload =
        cat(number(source_port), number(destination_port), number(16), number(0), "12345678");
    const auto total = static_cast<uint16_t>(words * 4 + payload.size());
    std::string header;
    header += static_cast<char>(version << 4 | words);
    header += '\0';
    header += cat(number(total), number(7), number(fragment));
    header += static_cast<char>(ttl);
    header += static_cast<char>(protocol);
    return cat(header, number(0), address(source), address(destination), options, payload);
  }
  std::string bytes() const {
    std::string all = cat(to_mac, from_mac, number(ethertype), body.empty() ? packet() : body);
    all.resize(std::max<size_t>(all.size(), ETH_ZLEN));
    return all;
  }
};

std::string ip6(const char* text) {
  std::string bytes(16, '\0');
  EXPECT_EQ(::inet_pton(AF_INET6, text, bytes.data()), 1) << text;
  return bytes;
}

// The same of IPv6. `chain`: what is between its own header and the payload, of which `next` is the
// first.
struct Frame6 {
  std::string to_mac, from_mac, source, destination;
  uint8_t version = 6, next = 17, hop_limit = 64;
  uint16_t source_port = 4000, destination_port = 80;
  std::string chain, payload;  // `payload`: in place of UDP

  std::string packet() const {
    const std::string carried =
        payload.empty() ? cat(Frame::number(source_port), Frame::number(destination_port),
                              Frame::number(16), Frame::number(0), "12345678")
                        : payload;
    std::string header;
    header += static_cast<char>(version << 4);
    header += std::string(3, '\0');
    header += Frame::number(static_cast<uint16_t>(chain.size() + carried.size()));
    header += static_cast<char>(next);
    header += static_cast<char>(hop_limit);
    return cat(header, source, destination, chain, carried);
  }
  std::string bytes() const { return cat(to_mac, from_mac, Frame::number(ETH_P_IPV6), packet()); }
};

// An extension of eight bytes, in front of `next`.
std::string extension(uint8_t next, uint8_t eights_behind_the_first = 0) {
  std::string bytes{static_cast<char>(next), static_cast<char>(eights_behind_the_first)};
  return bytes + std::string("\x01\x04\0\0\0\0", 6) +
         std::string(8u * eights_behind_the_first, '\0');
}
// A fragment's: `offset` as the header has it, with whether more follow.
std::string fragment_of(uint8_t next, uint16_t offset) {
  const std::string bytes{static_cast<char>(next), '\0'};
  return cat(bytes, Frame::number(offset), Frame::number(0), Frame::number(7));
}
std::string icmp6(uint8_t type, std::string_view rest = std::string_view("\0\0\0\0", 4)) {
  const std::string bytes{static_cast<char>(type), '\0', '\0', '\0'};
  return cat(bytes, rest);
}
// A solicitation or an advertisement, which tells a MAC address.
std::string neighbour_message(uint8_t type, const std::string& target, const std::string& mac,
                              uint8_t flags = 0) {
  std::string rest{static_cast<char>(flags), '\0', '\0', '\0'};
  rest += target;
  if (!mac.empty()) rest += cat(static_cast<char>(type == 135 ? 1 : 2), '\1', mac);
  return icmp6(type, rest);
}

struct Ran {
  int verdict = 0;
  std::string frame;
};

class LinkPrograms : public testing::Test {
 protected:
  struct Container {
    Interface interface;
    Fd place;
    nacelle_link row{};
    std::string mac() const { return {reinterpret_cast<const char*>(row.mac), 6}; }
    std::string host_mac() const { return {reinterpret_cast<const char*>(row.host_mac), 6}; }
    std::string address6() const { return text_of(row.address6); }
    std::string gateway6() const { return text_of(row.gateway6); }
    static std::string text_of(const nacelle_address& address) {
      return {reinterpret_cast<const char*>(address.bytes), sizeof address.bytes};
    }
  };

  void SetUp() override {
    const Result<> loaded = load_programs(pins);
    ASSERT_TRUE(loaded) << loaded.error().message();
    open();
    a_ = make({.network = "one", .address = "10.1.0.2", .gateway = "10.1.0.1"});
    b_ = make({.network = "one", .address = "10.1.0.3", .gateway = "10.1.0.1"});
    c_ = make({.network = "two", .address = "10.2.0.2", .gateway = "10.2.0.1"});
  }
  void TearDown() override {
    close();
    EXPECT_TRUE(remove_pins_directory(pins));
    EXPECT_NE(::access(pins, F_OK), 0);
  }

  void open() {
    links_ = std::make_unique<Links>(*Links::open(pins));
    maker_ = std::make_unique<NetnsMaker>(*NetnsMaker::open(pins));
    one_ = *open_pin(pins, "link_ingress");
    other_ = *open_pin(pins, "link_egress");
  }
  void close() {
    for (Container* each : {&a_, &b_, &c_}) *each = Container();
    maker_.reset();
    links_.reset();
    one_ = Fd();
    other_ = Fd();
  }

  Container make(Interface interface) {
    Container made;
    interface.name = "eth0";
    if (!interface.address.empty()) interface.prefix_len = 24;
    if (!interface.address6.empty()) interface.prefix_len6 = 64;
    interface.mac =
        interface.address.empty() ? "02:42:00:00:00:66" : core::mac_of_address(interface.address);
    std::vector<Interface> all{interface};
    Result<std::vector<Fd>> place = maker_->make(all, /*serves=*/false);
    EXPECT_TRUE(place) << place.error().message();
    made.place = std::move(place->front());
    made.interface = all.front();
    EXPECT_TRUE(*links_->find(made.interface.link, made.row));
    return made;
  }

  Ran run(const Fd& program, const std::string& frame, uint32_t link, uint32_t from = 0,
          uint32_t mark = 0) {
    std::string out(frame.size() + 64, '\0');
    __sk_buff context{};
    context.ifindex = link;
    context.ingress_ifindex = from;
    context.mark = mark;
    bpf_attr attr;
    std::memset(&attr, 0, sizeof attr);
    attr.test.prog_fd = static_cast<uint32_t>(program.get());
    attr.test.data_in = reinterpret_cast<uintptr_t>(frame.data());
    attr.test.data_size_in = static_cast<uint32_t>(frame.size());
    attr.test.data_out = reinterpret_cast<uintptr_t>(out.data());
    attr.test.data_size_out = static_cast<uint32_t>(out.size());
    attr.test.ctx_in = reinterpret_cast<uintptr_t>(&context);
    attr.test.ctx_size_in = sizeof context;
    EXPECT_EQ(::syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr), 0) << std::strerror(errno);
    out.resize(attr.test.data_size_out);
    return {static_cast<int>(attr.test.retval), out};
  }
  Ran sent(const Container& by, const auto& frame) { return run(one_, frame.bytes(), by.row.link); }
  Ran arrives(const Container& at, const auto& frame, uint32_t from, uint32_t mark = 0) {
    return run(other_, frame.bytes(), at.row.link, from, mark);
  }
  // From `by` as it is, to wherever.
  static Frame honest(const Container& by, in_addr_t destination) {
    return {.to_mac = by.host_mac(),
            .from_mac = by.mac(),
            .source = by.row.address,
            .destination = destination};
  }
  // As the host's stack sends it down to `to`.
  static Frame coming(const Container& to, in_addr_t source) {
    return {.to_mac = to.mac(),
            .from_mac = to.host_mac(),
            .source = source,
            .destination = to.row.address};
  }
  uint64_t drops(const Container& of, unsigned reason) {
    return links_->read_totals(of.row.link)->drops.packets[reason];
  }
  void expect_dropped(const Container& by, const auto& frame, unsigned reason) {
    const uint64_t had = drops(by, reason);
    EXPECT_EQ(sent(by, frame).verdict, dropped) << drop_word(reason);
    EXPECT_EQ(drops(by, reason), had + 1) << drop_word(reason);
  }
  void expect_kept_out(const Container& of, const auto& frame, uint32_t from, uint32_t mark,
                       unsigned reason) {
    const uint64_t had = drops(of, reason);
    EXPECT_EQ(arrives(of, frame, from, mark).verdict, dropped) << drop_word(reason);
    EXPECT_EQ(drops(of, reason), had + 1) << drop_word(reason);
  }

  std::unique_ptr<Links> links_;
  std::unique_ptr<NetnsMaker> maker_;
  Fd one_, other_;
  Container a_, b_, c_;
};

TEST_F(LinkPrograms, a_link_without_a_row_passes_nothing) {
  ASSERT_TRUE(links_->remove(a_.row.link));
  EXPECT_EQ(sent(a_, honest(a_, ip("192.0.2.2"))).verdict, dropped);
  EXPECT_EQ(arrives(a_, coming(a_, ip("192.0.2.2")), 0).verdict, dropped);
  EXPECT_EQ(sent(b_, honest(b_, a_.row.address)).verdict, pass) << "the host knows no such link";
}

TEST_F(LinkPrograms, a_vlan_tag_is_dropped) {
  for (const uint16_t ethertype : {uint16_t{ETH_P_8021Q}, uint16_t{ETH_P_8021AD}}) {
    Frame frame = honest(a_, b_.row.address);
    frame.body = cat(Frame::number(5), Frame::number(ETH_P_IP), frame.packet());
    frame.ethertype = ethertype;
    expect_dropped(a_, frame, NACELLE_DROP_VLAN);
  }
}

TEST_F(LinkPrograms, only_ipv4_and_arp_are_sent) {
  Frame frame = honest(a_, b_.row.address);
  frame.ethertype = 0x88b5;
  expect_dropped(a_, frame, NACELLE_DROP_ETHERTYPE);
  frame.ethertype = 100;  // a length: IEEE 802.2
  expect_dropped(a_, frame, NACELLE_DROP_ETHERTYPE);
  frame.ethertype = ETH_P_IPV6;
  expect_dropped(a_, frame, NACELLE_DROP_IPV6);
  expect_kept_out(a_, frame, 0, 0, NACELLE_DROP_IPV6);
}

TEST_F(LinkPrograms, another_mac_is_dropped) {
  Frame frame = honest(a_, b_.row.address);
  frame.from_mac = b_.mac();
  expect_dropped(a_, frame, NACELLE_DROP_SOURCE_MAC);
}

TEST_F(LinkPrograms, another_address_is_dropped) {
  for (const in_addr_t source : {b_.row.address, c_.row.address, a_.row.gateway, in_addr_t{0}}) {
    Frame frame = honest(a_, ip("192.0.2.2"));
    frame.source = source;
    expect_dropped(a_, frame, NACELLE_DROP_SOURCE_ADDRESS);
    frame.fragment = 1;
    expect_dropped(a_, frame, NACELLE_DROP_SOURCE_ADDRESS);
  }
}

TEST_F(LinkPrograms, headers_that_cannot_be_true_are_dropped) {
  Frame frame = honest(a_, b_.row.address);
  frame.version = 5;
  expect_dropped(a_, frame, NACELLE_DROP_MALFORMED);
  frame.version = 4;
  std::string longer = frame.packet();
  longer[2] = '\x7f';
  frame.body = longer;
  expect_dropped(a_, frame, NACELLE_DROP_MALFORMED);
  frame.body = "\x41" + frame.packet().substr(1);  // a header of four bytes
  expect_dropped(a_, frame, NACELLE_DROP_MALFORMED);
}

TEST_F(LinkPrograms, source_routes_are_dropped_wherever_they_stand) {
  Frame frame = honest(a_, c_.row.address);
  for (const std::string& options :
       {std::string("\x83\x03\x04\x00", 4), std::string("\x89\x03\x04\x00", 4),
        std::string("\x01\x01\x01\x83\x03\x04\x00\x00", 8),
        std::string("\x07\x07\x04\x01\x02\x03\x04\x89\x03\x04\x00\x00", 12)}) {
    frame.options = options;
    expect_dropped(a_, frame, NACELLE_DROP_SOURCE_ROUTE);
  }
  frame.options = std::string("\x94\x04\x00\x00", 4);  // router alert
  EXPECT_EQ(sent(a_, frame).verdict, pass);
}

TEST_F(LinkPrograms, loopback_of_the_host_is_not_reached) {
  expect_dropped(a_, honest(a_, ip("127.0.0.1")), NACELLE_DROP_LOOPBACK);
  expect_dropped(a_, honest(a_, ip("127.255.0.9")), NACELLE_DROP_LOOPBACK);
}

TEST_F(LinkPrograms, arp_asks_for_anybody_and_answers_for_oneself) {
  const auto arp = [&](uint16_t operation, const std::string& mac, in_addr_t sender) {
    Frame frame = honest(a_, 0);
    frame.ethertype = ETH_P_ARP;
    frame.body =
        cat(Frame::number(1), Frame::number(ETH_P_IP), '\6', '\4', Frame::number(operation), mac,
            Frame::address(sender), std::string(6, '\0'), Frame::address(a_.row.gateway));
    return frame;
  };
  EXPECT_EQ(sent(a_, arp(1, a_.mac(), a_.row.address)).verdict, pass);
  EXPECT_EQ(sent(a_, arp(2, a_.mac(), a_.row.address)).verdict, pass);
  EXPECT_EQ(sent(a_, arp(1, a_.mac(), 0)).verdict, pass) << "a probe (RFC 5227)";
  expect_dropped(a_, arp(2, a_.mac(), 0), NACELLE_DROP_ARP_CLAIM);
  expect_dropped(a_, arp(2, a_.mac(), a_.row.gateway), NACELLE_DROP_ARP_CLAIM);
  expect_dropped(a_, arp(1, a_.mac(), b_.row.address), NACELLE_DROP_ARP_CLAIM);
  expect_dropped(a_, arp(2, b_.mac(), a_.row.address), NACELLE_DROP_ARP_CLAIM);
  Frame odd = arp(1, a_.mac(), a_.row.address);
  odd.body[4] = 7;
  expect_dropped(a_, odd, NACELLE_DROP_MALFORMED);
}

TEST_F(LinkPrograms, a_neighbour_gets_it_directly_with_the_hosts_part_done) {
  const Frame frame = honest(a_, b_.row.address);
  const Ran ran = sent(a_, frame);
  EXPECT_EQ(ran.verdict, redirected);
  EXPECT_EQ(ran.frame.substr(0, 6), b_.mac());
  EXPECT_EQ(ran.frame.substr(6, 6), b_.host_mac());
  EXPECT_EQ(ran.frame[22], 63) << "time to live";
  // What the checksum lacked before (it was zero) is what it lacks now.
  const auto sum = [](const std::string& bytes) {
    uint32_t total = 0;
    for (size_t at = 14; at < 34; at += 2) {
      total += static_cast<uint32_t>(static_cast<uint8_t>(bytes[at]) << 8) +
               static_cast<uint8_t>(bytes[at + 1]);
    }
    return total % 0xffff;
  };
  EXPECT_EQ(sum(ran.frame), sum(frame.bytes()));
  // Its kernel may have had something to say of IPv6.
  EXPECT_GE(links_->read_totals(a_.row.link)->counters.sent_packets, 1u);
  EXPECT_EQ(links_->read_totals(b_.row.link)->counters.received_bytes, frame.bytes().size());
  EXPECT_EQ((*links_->read_counters()).at(b_.row.link).received_packets, 1u);
}

TEST_F(LinkPrograms, what_is_not_as_simple_goes_by_the_host) {
  Frame frame = honest(a_, b_.row.address);
  frame.ttl = 1;
  EXPECT_EQ(sent(a_, frame).verdict, pass) << "which says that its time is over";
  frame.ttl = 64;
  frame.fragment = 0x2000;
  EXPECT_EQ(sent(a_, frame).verdict, pass);
  frame.fragment = 0;
  frame.to_mac = c_.host_mac();
  EXPECT_EQ(sent(a_, frame).verdict, pass) << "which takes no frame for another MAC";
  EXPECT_EQ(sent(a_, honest(a_, ip("192.0.2.2"))).verdict, pass);
  EXPECT_EQ(sent(a_, honest(a_, c_.row.address)).verdict, pass) << "it may be an answer";
}

TEST_F(LinkPrograms, other_networks_are_closed_unless_it_was_translated) {
  const Frame frame = coming(a_, c_.row.address);
  expect_kept_out(a_, frame, c_.row.link, 0, NACELLE_DROP_OTHER_NETWORK);
  expect_kept_out(a_, frame, c_.row.link, ~uint32_t{NACELLE_MARK_TRANSLATED},
                  NACELLE_DROP_OTHER_NETWORK);
  EXPECT_EQ(arrives(a_, frame, c_.row.link, NACELLE_MARK_TRANSLATED).verdict, pass);
}

TEST_F(LinkPrograms, outside_is_closed_unless_it_was_asked_for_or_published) {
  constexpr uint32_t outside = 1;  // any interface that is no link
  const Frame frame = coming(a_, ip("192.0.2.2"));
  expect_kept_out(a_, frame, outside, 0, NACELLE_DROP_UNPUBLISHED);
  EXPECT_EQ(arrives(a_, frame, outside, NACELLE_MARK_TRANSLATED).verdict, pass);
  EXPECT_EQ(arrives(a_, frame, 0).verdict, pass) << "the host itself";
}

TEST_F(LinkPrograms, nobody_comes_under_a_containers_address) {
  for (const uint32_t mark : {0u, uint32_t{NACELLE_MARK_TRANSLATED}}) {
    expect_kept_out(a_, coming(a_, b_.row.address), 1, mark, NACELLE_DROP_SPOOFED);
    expect_kept_out(a_, coming(a_, b_.row.address), c_.row.link, mark, NACELLE_DROP_SPOOFED);
  }
  EXPECT_EQ(arrives(a_, coming(a_, b_.row.address), b_.row.link).verdict, pass);
}

TEST_F(LinkPrograms, an_internal_network_leads_to_itself) {
  Interface wanted{.network = "shut", .address = "10.3.0.2", .gateway = "10.3.0.1"};
  wanted.internal = true;
  const Container e = make(wanted);
  wanted.address = "10.3.0.3";
  const Container f = make(wanted);
  EXPECT_EQ(sent(e, honest(e, f.row.address)).verdict, redirected);
  EXPECT_EQ(sent(e, honest(e, e.row.gateway)).verdict, pass);
  for (const char* to : {"192.0.2.2", "10.1.0.2", "10.1.0.1", "10.3.0.9", "255.255.255.255"}) {
    expect_dropped(e, honest(e, ip(to)), NACELLE_DROP_INTERNAL);
  }
  expect_kept_out(e, coming(e, ip("192.0.2.2")), 1, NACELLE_MARK_TRANSLATED, NACELLE_DROP_INTERNAL);
  expect_kept_out(e, coming(e, a_.row.address), a_.row.link, NACELLE_MARK_TRANSLATED,
                  NACELLE_DROP_INTERNAL);
  expect_kept_out(a_, coming(a_, e.row.address), e.row.link, NACELLE_MARK_TRANSLATED,
                  NACELLE_DROP_INTERNAL);
  EXPECT_EQ(arrives(e, coming(e, e.row.gateway), 0).verdict, pass);
}

TEST_F(LinkPrograms, without_icc_neighbours_are_closed_and_published_ports_open) {
  Interface wanted{.network = "quiet", .address = "10.4.0.2", .gateway = "10.4.0.1"};
  wanted.isolated = true;
  const Container g = make(wanted);
  wanted.address = "10.4.0.3";
  const Container h = make(wanted);
  expect_dropped(g, honest(g, h.row.address), NACELLE_DROP_ISOLATED);
  expect_kept_out(h, coming(h, g.row.address), g.row.link, 0, NACELLE_DROP_ISOLATED);
  EXPECT_EQ(arrives(h, coming(h, g.row.address), g.row.link, NACELLE_MARK_TRANSLATED).verdict,
            pass);
  Frame answer = honest(h, g.row.address);
  std::swap(answer.source_port, answer.destination_port);
  EXPECT_EQ(sent(h, answer).verdict, pass) << "by the host, which knows what was asked";
}

TEST_F(LinkPrograms, an_answer_by_a_published_port_passes_by_the_host) {
  Frame answer = honest(b_, a_.row.address);
  std::swap(answer.source_port, answer.destination_port);
  EXPECT_EQ(sent(b_, answer).verdict, redirected);
  const Frame question = coming(b_, a_.row.address);
  EXPECT_EQ(arrives(b_, question, a_.row.link, NACELLE_MARK_TRANSLATED).verdict, pass);
  EXPECT_EQ(sent(b_, answer).verdict, pass);
  answer.source_port = 81;
  EXPECT_EQ(sent(b_, answer).verdict, redirected) << "another flow";
}

TEST_F(LinkPrograms, an_address_goes_over_to_who_has_it_next) {
  const Container next = make({.network = "one", .address = "10.1.0.3", .gateway = "10.1.0.1"});
  ASSERT_TRUE(links_->remove(b_.row.link));
  EXPECT_EQ(sent(a_, honest(a_, next.row.address)).verdict, redirected);
  EXPECT_EQ(links_->read_totals(next.row.link)->counters.received_packets, 1u);
}

// IPv6 -------------------------------------------------------------------------------------------

// Loading takes its time, and none of these leaves anything that another would notice.
class LinkProgramsOfIPv6 : public LinkPrograms {
 protected:
  static void SetUpTestSuite() {
    const Result<> loaded = load_programs(pins);
    ASSERT_TRUE(loaded) << loaded.error().message();
  }
  static void TearDownTestSuite() { EXPECT_TRUE(remove_pins_directory(pins)); }
  void SetUp() override { open(); }
  void TearDown() override { close(); }

  static Frame6 honest6(const Container& by, std::string destination) {
    return {.to_mac = by.host_mac(),
            .from_mac = by.mac(),
            .source = by.address6(),
            .destination = std::move(destination)};
  }
  static Frame6 coming6(const Container& to, std::string source) {
    return {.to_mac = to.mac(),
            .from_mac = to.host_mac(),
            .source = std::move(source),
            .destination = to.address6()};
  }
  // ICMPv6 of `by`, to whoever.
  static Frame6 said(const Container& by, std::string destination, std::string message) {
    Frame6 frame = honest6(by, std::move(destination));
    frame.next = IPPROTO_ICMPV6;
    frame.payload = std::move(message);
    return frame;
  }
  Container make6(const char* network, const char* last, bool internal = false,
                  bool isolated = false) {
    Interface wanted{.network = network,
                     .address = cat("10.6.", network == std::string("six") ? 0 : 1, '.', last),
                     .gateway = cat("10.6.", network == std::string("six") ? 0 : 1, ".1"),
                     .address6 = cat("fd00:", network == std::string("six") ? 6 : 7, "::", last),
                     .gateway6 = cat("fd00:", network == std::string("six") ? 6 : 7, "::1")};
    wanted.internal = internal;
    wanted.isolated = isolated;
    return make(wanted);
  }
};

TEST_F(LinkProgramsOfIPv6, an_ipv6_neighbour_gets_it_directly_with_the_hosts_part_done) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  const Frame6 frame = honest6(d, e.address6());
  const Ran ran = sent(d, frame);
  EXPECT_EQ(ran.verdict, redirected);
  EXPECT_EQ(ran.frame.substr(0, 14), cat(e.mac(), e.host_mac(), Frame::number(ETH_P_IPV6)));
  std::string expected = frame.packet();
  expected[7] = 63;  // the hop limit, and nothing else
  EXPECT_EQ(ran.frame.substr(14), expected);
  EXPECT_EQ(links_->read_totals(e.row.link)->counters.received_bytes, frame.bytes().size());
}

TEST_F(LinkProgramsOfIPv6, ipv6_that_is_not_as_simple_goes_by_the_host) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  Frame6 frame = honest6(d, e.address6());
  frame.hop_limit = 1;
  EXPECT_EQ(sent(d, frame).verdict, pass);
  EXPECT_EQ(sent(d, honest6(d, ip6("2001:db8::9"))).verdict, pass);
  EXPECT_EQ(sent(d, honest6(d, d.gateway6())).verdict, pass);
  EXPECT_EQ(sent(d, honest6(d, ip6("ff02::fb"))).verdict, pass);
}

TEST_F(LinkProgramsOfIPv6, another_ipv6_address_is_dropped) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  for (const std::string& source : {e.address6(), d.gateway6(), ip6("::"), ip6("fe80::2")}) {
    Frame6 frame = honest6(d, ip6("2001:db8::9"));
    frame.source = source;
    expect_dropped(d, frame, NACELLE_DROP_SOURCE_ADDRESS);
    frame.next = IPPROTO_FRAGMENT;
    for (const uint16_t offset : std::initializer_list<uint16_t>{0x0001, 0x0010}) {
      frame.chain = fragment_of(17, offset);
      expect_dropped(d, frame, NACELLE_DROP_SOURCE_ADDRESS);
    }
  }
  Frame6 frame = honest6(d, e.address6());
  frame.from_mac = e.mac();
  expect_dropped(d, frame, NACELLE_DROP_SOURCE_MAC);
}

TEST_F(LinkProgramsOfIPv6, ipv6_headers_that_cannot_be_true_are_dropped) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  Frame6 frame = honest6(d, e.address6());
  frame.version = 4;
  expect_dropped(d, frame, NACELLE_DROP_MALFORMED);
  frame.version = 6;
  // An IPv4 address in IPv6's clothes would be somebody's.
  frame.destination = ip6("::ffff:10.6.0.3");
  expect_dropped(d, frame, NACELLE_DROP_MALFORMED);
  frame = honest6(d, e.address6());
  frame.source = ip6("::ffff:10.6.0.2");
  expect_dropped(d, frame, NACELLE_DROP_MALFORMED);
  std::string longer = honest6(d, e.address6()).bytes();
  longer[18] = '\x7f';
  const uint64_t had = drops(d, NACELLE_DROP_MALFORMED);
  EXPECT_EQ(run(one_, longer, d.row.link).verdict, dropped);
  EXPECT_EQ(drops(d, NACELLE_DROP_MALFORMED), had + 1);
}

TEST_F(LinkProgramsOfIPv6, extension_headers_are_not_followed) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  Frame6 frame = honest6(d, e.address6());
  for (const uint8_t kind : std::initializer_list<uint8_t>{60, 135, 139, 140, 253, 254}) {
    frame.next = kind;
    frame.chain = extension(17);
    expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
    frame.next = IPPROTO_FRAGMENT;
    frame.chain = fragment_of(kind, 1) + extension(17);
    expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
  }
  frame.next = IPPROTO_HOPOPTS;
  frame.chain = extension(17);
  expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
  frame.chain = extension(IPPROTO_TCP);
  expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
  frame.chain = extension(IPPROTO_FRAGMENT) + fragment_of(17, 1);
  expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
  frame.chain = extension(IPPROTO_ICMPV6);
  frame.payload = icmp6(128);
  expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
  frame.chain = extension(IPPROTO_ICMPV6, 1);
  frame.payload = icmp6(143);
  expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
  frame.next = IPPROTO_ROUTING;
  frame.chain = extension(17);
  expect_dropped(d, frame, NACELLE_DROP_SOURCE_ROUTE);
  frame.next = IPPROTO_FRAGMENT;
  frame.chain = fragment_of(IPPROTO_ROUTING, 0) + extension(17);
  expect_dropped(d, frame, NACELLE_DROP_SOURCE_ROUTE);
  frame = coming6(d, ip6("2001:db8::9"));
  frame.next = IPPROTO_DSTOPTS;
  frame.chain = extension(17);
  expect_kept_out(d, frame, 1, NACELLE_MARK_TRANSLATED, NACELLE_DROP_EXTENSION);
}

TEST_F(LinkProgramsOfIPv6, fragments_of_ipv6_go_by_the_host) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  Frame6 frame = honest6(d, e.address6());
  frame.next = IPPROTO_FRAGMENT;
  for (const uint16_t offset : std::initializer_list<uint16_t>{1, 0, 0x0010, 0x0011}) {
    frame.chain = fragment_of(17, offset);
    EXPECT_EQ(sent(d, frame).verdict, pass) << offset;
  }
  frame.chain = fragment_of(17, 1);
  frame.payload = "xx";  // its ports are in the next one (RFC 7112)
  expect_dropped(d, frame, NACELLE_DROP_MALFORMED);
  frame.payload.clear();
  frame.chain = fragment_of(17, 1).substr(0, 4);
  frame.payload = std::string(2, 'x');
  expect_dropped(d, frame, NACELLE_DROP_MALFORMED);
}

TEST_F(LinkProgramsOfIPv6, neighbours_are_asked_for_and_answered_for_oneself) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  const std::string nodes = ip6("ff02::1"), routers = ip6("ff02::1:ff00:1");
  const auto ask = [&](const std::string& target, const std::string& mac) {
    return said(d, routers, neighbour_message(135, target, mac));
  };
  const auto answer = [&](const std::string& target, const std::string& mac, uint8_t flags = 0x20) {
    return said(d, nodes, neighbour_message(136, target, mac, flags));
  };
  EXPECT_EQ(sent(d, ask(d.gateway6(), d.mac())).verdict, pass);
  EXPECT_EQ(sent(d, ask(e.address6(), d.mac())).verdict, pass) << "the host does not answer";
  EXPECT_EQ(sent(d, answer(d.address6(), d.mac())).verdict, pass);
  EXPECT_EQ(sent(d, answer(d.address6(), "")).verdict, pass);
  Frame6 probe = ask(d.address6(), "");
  probe.source = ip6("::");
  EXPECT_EQ(sent(d, probe).verdict, pass) << "whether its address is free (RFC 4862)";
  const unsigned claim = NACELLE_DROP_NEIGHBOUR_CLAIM;
  expect_dropped(d, answer(e.address6(), d.mac()), claim);
  expect_dropped(d, answer(d.gateway6(), d.mac()), claim);
  expect_dropped(d, answer(d.address6(), e.mac()), claim);
  expect_dropped(d, answer(d.address6(), d.mac(), 0xa0), claim);  // "I am a router"
  expect_dropped(d, ask(d.gateway6(), e.mac()), claim);
  Frame6 other = answer(e.address6(), d.mac());
  other.source = e.address6();
  expect_dropped(d, other, claim);
  other = answer(d.address6(), d.mac());
  other.source = ip6("::");
  expect_dropped(d, other, claim);
  other = answer(d.address6(), d.mac());
  other.destination = e.address6();
  expect_dropped(d, other, claim);
  // A second option, and one that does not end.
  other = ask(d.gateway6(), d.mac());
  other.payload += cat('\1', '\1', e.mac());
  expect_dropped(d, other, claim);
  other = ask(d.gateway6(), d.mac());
  other.payload += std::string("\x0e\0\0\0\0\0\0\0", 8);
  expect_dropped(d, other, claim);
  // In pieces (RFC 6980).
  other = answer(d.address6(), d.mac());
  other.next = IPPROTO_FRAGMENT;
  other.chain = fragment_of(IPPROTO_ICMPV6, 1);
  expect_dropped(d, other, claim);
  expect_dropped(d, said(d, nodes, icmp6(141, std::string(20, '\0'))), claim);
  expect_dropped(d, said(d, nodes, icmp6(136).substr(0, 1)), NACELLE_DROP_MALFORMED);
}

TEST_F(LinkProgramsOfIPv6, nobody_is_a_router) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  for (const uint8_t type : std::initializer_list<uint8_t>{133, 134, 137}) {
    for (const std::string& to : {ip6("ff02::1"), e.address6(), d.gateway6()}) {
      Frame6 frame = said(d, to, icmp6(type, std::string(36, '\0')));
      expect_dropped(d, frame, NACELLE_DROP_ROUTER);
      frame.source = ip6("fe80::1");
      expect_dropped(d, frame, NACELLE_DROP_ROUTER);
    }
  }
}

TEST_F(LinkProgramsOfIPv6, groups_are_told_to_the_host) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  Frame6 frame = said(d, ip6("ff02::16"), icmp6(143));
  frame.next = IPPROTO_HOPOPTS;
  frame.chain = extension(IPPROTO_ICMPV6);
  EXPECT_EQ(sent(d, frame).verdict, pass);
  frame.source = ip6("::");
  EXPECT_EQ(sent(d, frame).verdict, pass);
  frame.source = e.address6();
  expect_dropped(d, frame, NACELLE_DROP_SOURCE_ADDRESS);
  frame.source = d.address6();
  frame.destination = e.address6();
  expect_dropped(d, frame, NACELLE_DROP_EXTENSION);
}

TEST_F(LinkProgramsOfIPv6, what_is_said_about_a_link_comes_from_the_host_alone) {
  const Container d = make6("six", "2"), e = make6("six", "3");
  Frame6 frame = coming6(d, d.gateway6());
  frame.next = IPPROTO_ICMPV6;
  for (const uint8_t type : std::initializer_list<uint8_t>{130, 134, 135, 136, 137}) {
    frame.payload = icmp6(type, std::string(36, '\0'));
    EXPECT_EQ(arrives(d, frame, 0).verdict, pass);
    expect_kept_out(d, frame, 1, NACELLE_MARK_TRANSLATED, NACELLE_DROP_NEIGHBOUR_CLAIM);
    expect_kept_out(d, frame, e.row.link, 0, NACELLE_DROP_NEIGHBOUR_CLAIM);
  }
}

TEST_F(LinkProgramsOfIPv6, walls_of_ipv6_are_those_of_ipv4) {
  const Container d = make6("six", "2"), e = make6("six", "3"), f = make6("seven", "2");
  EXPECT_EQ(sent(d, honest6(d, f.address6())).verdict, pass) << "it may be an answer";
  const Frame6 across = coming6(d, f.address6());
  expect_kept_out(d, across, f.row.link, 0, NACELLE_DROP_OTHER_NETWORK);
  EXPECT_EQ(arrives(d, across, f.row.link, NACELLE_MARK_TRANSLATED).verdict, pass);
  const Frame6 outside = coming6(d, ip6("2001:db8::9"));
  expect_kept_out(d, outside, 1, 0, NACELLE_DROP_UNPUBLISHED);
  EXPECT_EQ(arrives(d, outside, 1, NACELLE_MARK_TRANSLATED).verdict, pass);
  EXPECT_EQ(arrives(d, outside, 0).verdict, pass) << "the host itself";
  for (const uint32_t mark : {0u, uint32_t{NACELLE_MARK_TRANSLATED}}) {
    expect_kept_out(d, coming6(d, e.address6()), 1, mark, NACELLE_DROP_SPOOFED);
    expect_kept_out(d, coming6(d, e.address6()), f.row.link, mark, NACELLE_DROP_SPOOFED);
  }
  EXPECT_EQ(arrives(d, coming6(d, e.address6()), e.row.link).verdict, pass);
  expect_dropped(d, honest6(d, ip6("::1")), NACELLE_DROP_LOOPBACK);
  expect_dropped(d, honest6(d, ip6("::")), NACELLE_DROP_LOOPBACK);
}

TEST_F(LinkProgramsOfIPv6, an_internal_network_of_ipv6_leads_to_itself) {
  const Container d = make6("six", "2", true), e = make6("six", "3", true);
  EXPECT_EQ(sent(d, honest6(d, e.address6())).verdict, redirected);
  EXPECT_EQ(sent(d, honest6(d, d.gateway6())).verdict, pass);
  EXPECT_EQ(sent(d, said(d, ip6("ff02::1:ff00:1"), neighbour_message(135, d.gateway6(), d.mac())))
                .verdict,
            pass);
  for (const char* to : {"2001:db8::9", "fd00:7::2", "fd00:6::99", "ff02::1", "fe80::1"}) {
    expect_dropped(d, honest6(d, ip6(to)), NACELLE_DROP_INTERNAL);
  }
  expect_kept_out(d, coming6(d, ip6("2001:db8::9")), 1, NACELLE_MARK_TRANSLATED,
                  NACELLE_DROP_INTERNAL);
}

TEST_F(LinkProgramsOfIPv6, without_icc_ipv6_neighbours_are_closed_and_published_ports_open) {
  const Container g = make6("six", "2", false, true), h = make6("six", "3", false, true);
  expect_dropped(g, honest6(g, h.address6()), NACELLE_DROP_ISOLATED);
  expect_kept_out(h, coming6(h, g.address6()), g.row.link, 0, NACELLE_DROP_ISOLATED);
  EXPECT_EQ(arrives(h, coming6(h, g.address6()), g.row.link, NACELLE_MARK_TRANSLATED).verdict,
            pass);
  Frame6 answer = honest6(h, g.address6());
  std::swap(answer.source_port, answer.destination_port);
  EXPECT_EQ(sent(h, answer).verdict, pass) << "by the host, which knows what was asked";
}

TEST_F(LinkProgramsOfIPv6, a_network_without_ipv4_has_none) {
  const Container d = make({.network = "alone", .address6 = "fd00:8::2", .gateway6 = "fd00:8::1"});
  EXPECT_EQ(sent(d, honest6(d, ip6("2001:db8::9"))).verdict, pass);
  Frame frame = honest(d, ip("192.0.2.2"));
  expect_dropped(d, frame, NACELLE_DROP_IPV4);
  expect_kept_out(d, frame, 0, 0, NACELLE_DROP_IPV4);
  frame.ethertype = ETH_P_ARP;
  expect_dropped(d, frame, NACELLE_DROP_IPV4);
  const Container a = make({.network = "one", .address = "10.1.0.2", .gateway = "10.1.0.1"});
  EXPECT_EQ(sent(a, honest(a, 0)).verdict, pass) << "nobody has the address 0.0.0.0";
}

// Ids of programs that filters of one side are.
std::vector<uint32_t> filter_ids(uint32_t link, sys::NetworkSide side) {
  std::vector<uint32_t> ids;
  tcmsg fixed{};
  fixed.tcm_ifindex = static_cast<int>(link);
  fixed.tcm_parent = TC_H_MAKE(
      TC_H_CLSACT, side == sys::NetworkSide::Ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
  auto socket = sys::NetlinkSocket::open();
  auto filters = socket->dump(sys::NetlinkRequest(RTM_GETTFILTER, 0, fixed), "filters");
  EXPECT_TRUE(filters);
  for (const sys::NetlinkMessage& each : *filters) {
    std::string_view rest = each.attribute(sizeof(tcmsg), TCA_OPTIONS);
    while (rest.size() >= sizeof(rtattr)) {
      rtattr head{};
      std::memcpy(&head, rest.data(), sizeof head);
      if (head.rta_type == TCA_BPF_ID) {
        ids.push_back(sys::netlink_number<uint32_t>(rest.substr(sizeof head)));
      }
      rest.remove_prefix(std::min<size_t>(rest.size(), RTA_ALIGN(head.rta_len)));
    }
  }
  return ids;
}

TEST_F(LinkPrograms, programs_are_replaced_where_they_are_and_rows_stay) {
  using sys::NetworkSide;
  const auto had = filter_ids(a_.row.link, NetworkSide::Ingress);
  ASSERT_EQ(had.size(), 1u);
  ASSERT_TRUE(sent(a_, honest(a_, b_.row.address)).verdict == redirected);
  ASSERT_TRUE(load_programs(pins));
  const auto has = filter_ids(a_.row.link, NetworkSide::Ingress);
  ASSERT_EQ(has.size(), 1u);
  EXPECT_NE(had, has);
  EXPECT_EQ(filter_ids(a_.row.link, NetworkSide::Egress).size(), 1u);
  one_ = *open_pin(pins, "link_ingress");
  EXPECT_EQ(sent(a_, honest(a_, b_.row.address)).verdict, redirected);
  EXPECT_EQ(links_->read_totals(b_.row.link)->counters.received_packets, 2u);
}

TEST_F(LinkPrograms, what_was_pinned_outlives_who_pinned_it_and_goes_with_the_directory) {
  links_.reset();
  links_ = std::make_unique<Links>(*Links::open(pins));
  EXPECT_EQ(links_->list().size(), 3u);
  struct stat info{};
  ASSERT_EQ(::stat(pins, &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(LinkPrograms, drops_are_told_to_who_listens_and_no_more_than_he_can_read) {
  Result<DropEvents> events = DropEvents::open(pins);
  ASSERT_TRUE(events) << events.error().message();
  Frame frame = honest(a_, b_.row.address);
  frame.source = c_.row.address;
  expect_dropped(a_, frame, NACELLE_DROP_SOURCE_ADDRESS);
  EXPECT_FALSE(events->next()) << "nobody had listened";
  ASSERT_TRUE(events->listen(std::chrono::minutes(1)));
  expect_dropped(a_, frame, NACELLE_DROP_SOURCE_ADDRESS);
  std::optional<nacelle_drop_event> event;
  for (auto each = events->next(); each; each = events->next()) {
    if (each->reason == NACELLE_DROP_SOURCE_ADDRESS) event = each;  // or its kernel's IPv6
  }
  ASSERT_TRUE(event);
  EXPECT_EQ(event->link, a_.row.link);
  EXPECT_EQ(event->direction, NACELLE_FROM_CONTAINER);
  EXPECT_EQ(event->destination_port, htons(80));
  EXPECT_EQ(std::memcmp(event->source.bytes + 12, &c_.row.address, 4), 0);
  unsigned told = 0;
  for (unsigned i = 0; i < 20 * NACELLE_EVENTS_PER_SECOND; ++i) {
    (void)sent(a_, frame);
    while (events->next()) ++told;
  }
  EXPECT_GT(told, 0u);
  EXPECT_LT(told, 20u * NACELLE_EVENTS_PER_SECOND);
  ASSERT_TRUE(events->listen(std::chrono::milliseconds(0)));
  (void)sent(a_, frame);
  EXPECT_FALSE(events->next());
}

TEST_F(LinkPrograms, without_filters_tcx_does_it) {
  using sys::NetworkSide;
  NetnsMaker unwatched = *NetnsMaker::open("");
  std::vector<Interface> all{{.network = "old",
                              .name = "eth0",
                              .address = "10.9.0.2",
                              .prefix_len = 24,
                              .gateway = "10.9.0.1",
                              .mac = core::mac_of_address("10.9.0.2")}};
  const std::vector<Fd> place = *unwatched.make(all, /*serves=*/false);
  for (int turn = 0; turn < 2; ++turn) {  // the second time in the first one's place
    for (const auto& [program, side, name] :
         {std::tuple(&one_, NetworkSide::Ingress, "link_ingress"),
          std::tuple(&other_, NetworkSide::Egress, "link_egress")}) {
      const Result<> done = ensure_attached_by_tcx(all[0].link, *program, side, name);
      if (!done && done.error().kind() == Kind::Unsupported) GTEST_SKIP() << "no tcx: Linux 6.6";
      ASSERT_TRUE(done) << done.error().message();
    }
  }
  const uint64_t had = links_->read_totals(0)->drops.packets[NACELLE_DROP_NO_ROW];
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = ip("10.9.0.2");
  (void)::sendto(socket.get(), "?", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  EXPECT_GT(links_->read_totals(0)->drops.packets[NACELLE_DROP_NO_ROW], had);
}

TEST_F(LinkPrograms, nothing_is_left_of_programs_without_pins_and_links) {
  using sys::NetworkSide;
  std::vector<uint32_t> ids = filter_ids(a_.row.link, NetworkSide::Ingress);
  ids.push_back(filter_ids(a_.row.link, NetworkSide::Egress).front());
  TearDown();
  // A namespace, its links and what is attached to them go when the kernel comes to it.
  bool gone = false;
  for (int turn = 0; turn < 1000 && !gone; ++turn) {
    gone = !sys::open_program(ids[0]) && !sys::open_program(ids[1]);
    ::usleep(10'000);
  }
  EXPECT_TRUE(gone);
}

TEST(LinkWords, every_reason_has_one) {
  EXPECT_EQ(drop_word(NACELLE_DROP_SPOOFED), "spoofed");
  EXPECT_EQ(drop_word(NACELLE_DROP_POLICY), "policy");
  EXPECT_EQ(drop_word(NACELLE_DROP_REASONS_MAX), "unknown");
  EXPECT_NE(network_number("one"), network_number("two"));
}

}  // namespace
}  // namespace nacelle::bpf
