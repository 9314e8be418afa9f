#include "http/address.h"

#include <gtest/gtest.h>

namespace nacelle::http {
namespace {

TEST(Reach, is_what_an_address_says_in_every_form) {
  const struct {
    Reach reach;
    const char* hosts[16];
  } cases[] = {
      {Reach::Public,
       {"8.8.8.8", "172.32.0.1", "11.0.0.1", "192.167.1.1", "100.128.0.1", "126.255.255.255",
        "198.51.100.7", "[2606:4700::1]", "[::ffff:8.8.8.8]", "[2002:808:808::1]",
        "[64:ff9b::808:808]"}},
      {Reach::Private,
       {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "[fc00::1]", "[fdff::1]", "[fec0::1]", "[::ffff:10.0.0.1]",
        "[::10.0.0.1]", "[2002:c0a8:101::]", "[64:ff9b::a00:1]"}},
      {Reach::Loopback,
       {"127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[::127.0.0.1]", "[2002:7f00:1::]", "[::ffff:0.0.0.0]", "::1"}},
      {Reach::Forbidden, {"169.254.169.254", "[fe80::1%25eth0]", "[febf::1]"}},
  };
  for (const auto& each : cases) {
    for (const char* host : each.hosts) {
      if (host == nullptr) break;
      EXPECT_EQ(reach_of_literal(host), each.reach) << host;
    }
  }
  for (const char* host : {"", "localhost", "10.0.0", "10.0.0.1.example", "[", "[]", "[::1"}) {
    EXPECT_FALSE(reach_of_literal(host)) << host;
  }
}

TEST(Reach, only_widens_for_those_who_are_inside_already) {
  using enum Reach;
  for (const Reach home : {Public, Private, Loopback, Forbidden}) {
    EXPECT_TRUE(may_send(home, Public));
    EXPECT_FALSE(may_send(home, Forbidden));
    EXPECT_EQ(may_send(home, Private), home == Private || home == Loopback);
    EXPECT_EQ(may_send(home, Loopback), home == Loopback);
  }
}

TEST(NoProxy, lists_names_addresses_and_networks) {
  constexpr const char* list =
      "Example.com, .inside,10.0.0.0/8 192.168.1.1,fd00::/8,x.,10.0.0.0/33";
  for (const char* host : {"example.com", "a.example.com", "inside", "b.inside", "10.9.8.7",
                           "192.168.1.1", "[fd12::1]", "x", "example.com."}) {
    EXPECT_TRUE(is_listed(host, list)) << host;
  }
  for (const char* host : {"anexample.com", "example.com.evil", "11.0.0.1", "192.168.1.2",
                           "[fe12::1]", "", "10.0.0.1.evil"}) {
    EXPECT_FALSE(is_listed(host, list)) << host;
    EXPECT_TRUE(is_listed(host, "a,*")) << host;
    EXPECT_FALSE(is_listed(host, "")) << host;
    EXPECT_FALSE(is_listed(host, " ,, . /8 a/b")) << host;
  }
}

}  // namespace
}  // namespace nacelle::http
