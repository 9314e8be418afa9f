// Network namespaces of the pool: real ones, with packets through them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <string_view>

#include "core/netns_maker.h"
#include "core/netns_pool.h"
#include "sys/file.h"
#include "tests/support/census.h"

namespace nacelle::core {
namespace {

using namespace std::chrono_literals;
using ring::Loop;
using ring::Task;

PoolRequest block(unsigned addresses, unsigned ready) {
  PoolRequest request{.network = "net", .prefix_len = 16, .gateway = "172.30.0.1", .ready = ready};
  for (unsigned i = 0; i < addresses; ++i) {
    request.addresses.push_back("172.30.0." + std::to_string(2 + i));
  }
  return request;
}

// What `work` returns in the namespace; this thread comes back.
int inside(const Fd& place, const std::function<int()>& work) {
  const Fd here = *sys::open_at(sys::working_directory, "/proc/self/ns/net", O_RDONLY);
  if (::setns(place.get(), CLONE_NEWNET) != 0) return -1;
  const int result = work();
  EXPECT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  return result;
}

// errno of a TCP connection from `from` to address:port, 0 when it stands.
int try_connect(const Fd& from, const std::string& address, uint16_t port) {
  return inside(from, [&] {
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 2, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    // Gone when it is closed: who waits for a peer that is no more keeps its namespace.
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(port)};
    ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
    return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 ? 0 : errno;
  });
}
// Host ends of namespaces that are there or not quite gone.
size_t pool_links() {
  size_t count = 0;
  const std::unique_ptr<struct if_nameindex, decltype(&::if_freenameindex)> links(
      ::if_nameindex(), &::if_freenameindex);
  for (const struct if_nameindex* each = links.get(); each != nullptr && each->if_index != 0;
       ++each) {
    count += std::string_view(each->if_name).starts_with("nv") ? 1 : 0;
  }
  return count;
}

Fd listen_in(const Fd& place, uint16_t port) {
  Fd listener;
  inside(place, [&] {
    listener = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{.sin_family = AF_INET, .sin_port = htons(port)};
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    return ::listen(listener.get(), 8);
  });
  return listener;
}

class Pool : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = Loop::open();
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = *std::move(loop);
    auto program = sys::open_at(sys::working_directory, NACELLE_CORE_PROGRAM, O_PATH);
    ASSERT_TRUE(program);
    program_ = *std::move(program);
    pool_ = std::make_unique<NetnsPool>(
        *loop_, program_,
        NetnsPool::Handlers{.low = [this](const PoolLowEvent& event) { low_.push_back(event); }});
  }
  void TearDown() override {
    if (pool_) {
      EXPECT_TRUE(loop_->run(pool_->close()));
    }
  }

  Result<ReadyNamespace> take(std::vector<Interface> interfaces) {
    return loop_->run(pool_->take(std::move(interfaces)));
  }
  void wait_until_ready(uint64_t count) {
    for (int tries = 0; tries < 2000 && pool_->ready() < count; ++tries) {
      ASSERT_TRUE(loop_->run(ring::sleep_for(*loop_, 1ms)));
    }
    ASSERT_EQ(pool_->ready(), count);
  }

  std::unique_ptr<Loop> loop_;
  Fd program_;
  std::vector<PoolLowEvent> low_;
  std::unique_ptr<NetnsPool> pool_;
};

TEST_F(Pool, a_namespace_without_interfaces_has_its_loopback_up) {
  auto taken = take({});
  ASSERT_TRUE(taken) << taken.error().message();
  const Fd listener = listen_in(taken->descriptor, 80);
  EXPECT_EQ(try_connect(taken->descriptor, "127.0.0.1", 80), 0);
  EXPECT_EQ(try_connect(taken->descriptor, "172.30.0.1", 80), ENETUNREACH);
}

TEST_F(Pool, containers_reach_each_other_and_the_gateway) {
  ASSERT_TRUE(pool_->configure(block(8, 2)));
  wait_until_ready(2);
  auto one = take({{.network = "net"}});
  auto two = take({{.network = "net"}});
  ASSERT_TRUE(one && two);
  ASSERT_EQ(one->interfaces.size(), 1u);
  EXPECT_EQ(one->interfaces[0].address, "172.30.0.2");
  EXPECT_EQ(one->interfaces[0].mac, "02:42:ac:1e:00:02");
  EXPECT_EQ(one->interfaces[0].name, "eth0");
  EXPECT_EQ(two->interfaces[0].address, "172.30.0.3");
  const Fd listener = listen_in(two->descriptor, 80);
  EXPECT_EQ(try_connect(one->descriptor, "172.30.0.3", 80), 0);
  EXPECT_EQ(try_connect(one->descriptor, "172.30.0.3", 81), ECONNREFUSED);
  const Fd host = *sys::open_at(sys::working_directory, "/proc/self/ns/net", O_RDONLY);
  const Fd on_host = listen_in(host, 82);
  EXPECT_EQ(try_connect(one->descriptor, "172.30.0.1", 82), 0);
  EXPECT_EQ(try_connect(host, "172.30.0.3", 80), 0);
}

TEST_F(Pool, an_internal_interface_leads_to_its_subnet_alone) {
  ASSERT_TRUE(pool_->configure(block(2, 1)));
  const Interface internal{.network = "inner",
                           .name = "eth0",
                           .address = "10.66.1.2",
                           .prefix_len = 24,
                           .gateway = "10.66.1.1",
                           .internal = true};
  Interface other = internal;
  other.address = "10.66.1.3";
  Interface second = internal;
  second.address = "10.66.1.4";
  const Interface outside{.network = "net", .name = "eth1"};
  auto one = take({internal});
  auto two = take({other});
  auto both = take({second, outside});
  auto out = take({{.network = "net"}});
  ASSERT_TRUE(one && two && both && out);
  const Fd listener = listen_in(two->descriptor, 80);
  EXPECT_EQ(try_connect(one->descriptor, "10.66.1.3", 80), 0);
  EXPECT_EQ(try_connect(both->descriptor, "10.66.1.3", 80), 0);
  const Fd outer = listen_in(out->descriptor, 80);
  const std::string elsewhere = out->interfaces[0].address;
  EXPECT_EQ(try_connect(one->descriptor, elsewhere, 80), ENETUNREACH);
  EXPECT_EQ(try_connect(one->descriptor, "172.30.0.1", 80), ENETUNREACH);
  EXPECT_EQ(try_connect(both->descriptor, elsewhere, 80), 0);
  // Who is outside gets no answer.
  EXPECT_NE(try_connect(out->descriptor, "10.66.1.3", 80), 0);
}

TEST_F(Pool, it_fills_itself_up_again_and_says_when_addresses_run_out) {
  ASSERT_TRUE(pool_->configure(block(4, 2)));
  wait_until_ready(2);
  std::vector<ReadyNamespace> taken;
  for (int i = 0; i < 4; ++i) {
    auto next = take({{.network = "net"}});
    ASSERT_TRUE(next) << next.error().message();
    taken.push_back(*std::move(next));
  }
  EXPECT_FALSE(low_.empty());
  auto fifth = take({{.network = "net"}});
  ASSERT_FALSE(fifth);
  EXPECT_EQ(fifth.error().kind(), Kind::Exhausted);
  // What was used first is used again.
  const std::string address = taken[0].interfaces[0].address;
  pool_->give_back(std::move(taken[0]));
  wait_until_ready(1);
  auto again = take({{.network = "net"}});
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->interfaces[0].address, address);
  const Fd listener = listen_in(again->descriptor, 80);
  EXPECT_EQ(try_connect(taken[1].descriptor, address, 80), 0);
}

TEST_F(Pool, wishes_are_made_on_demand) {
  ASSERT_TRUE(pool_->configure(block(4, 1)));
  wait_until_ready(1);
  auto made = take({{.network = "net",
                     .name = "web0",
                     .address = "172.30.7.7",
                     .mac = "02:42:00:00:00:07",
                     .mtu = 1400},
                    {.network = "other",
                     .name = "eth1",
                     .address = "10.9.0.2",
                     .prefix_len = 24,
                     .gateway = "10.9.0.1"}});
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->interfaces[0].gateway, "172.30.0.1");
  EXPECT_EQ(pool_->ready(), 1u);
  EXPECT_GT(inside(made->descriptor, [] { return static_cast<int>(::if_nametoindex("web0")); }), 1);
  EXPECT_GT(inside(made->descriptor, [] { return static_cast<int>(::if_nametoindex("eth1")); }), 1);
}

TEST_F(Pool, an_interface_comes_and_goes_while_the_namespace_is_in_use) {
  const Interface inner{.network = "inner",
                        .name = "eth1",
                        .address = "10.9.0.2",
                        .prefix_len = 24,
                        .gateway = "10.9.0.1",
                        .internal = true};
  const Interface outer{.network = "outer",
                        .name = "eth2",
                        .address = "10.8.0.2",
                        .prefix_len = 24,
                        .gateway = "10.8.0.1"};
  auto made = take({});
  auto other = take({{.network = "outer",
                      .name = "eth0",
                      .address = "10.7.0.2",
                      .prefix_len = 24,
                      .gateway = "10.7.0.1"}});
  ASSERT_TRUE(made && other);
  const Fd listener = listen_in(other->descriptor, 80);
  const auto has = [&](const char* name) {
    return inside(made->descriptor, [&] { return static_cast<int>(::if_nametoindex(name)); }) > 0;
  };

  auto first = loop_->run(pool_->add(made->descriptor, inner, {}));
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(first->mac, "02:42:0a:09:00:02");
  EXPECT_EQ(try_connect(made->descriptor, "10.7.0.2", 80), ENETUNREACH);  // no way out
  auto second = loop_->run(pool_->add(made->descriptor, outer, {*first}));
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_TRUE(has("eth1") && has("eth2"));
  EXPECT_EQ(try_connect(made->descriptor, "10.7.0.2", 80), 0);
  EXPECT_FALSE(loop_->run(pool_->add(made->descriptor, outer, {*first, *second})));  // is there

  const Interface third{.network = "third",
                        .name = "eth3",
                        .address = "10.6.0.2",
                        .prefix_len = 24,
                        .gateway = "10.6.0.1"};
  ASSERT_TRUE(loop_->run(pool_->add(made->descriptor, third, {*first, *second})));
  // The way out goes, and the next one takes its place.
  ASSERT_TRUE(loop_->run(pool_->remove(made->descriptor, *second, {*first, third})));
  EXPECT_FALSE(has("eth2"));
  EXPECT_EQ(try_connect(made->descriptor, "10.7.0.2", 80), 0);
  ASSERT_TRUE(loop_->run(pool_->remove(made->descriptor, third, {*first})));
  EXPECT_EQ(try_connect(made->descriptor, "10.7.0.2", 80), ENETUNREACH);
  EXPECT_FALSE(loop_->run(pool_->remove(made->descriptor, third, {*first})));  // is gone
  EXPECT_TRUE(take({}));  // the maker is at home and well
}

TEST_F(Pool, bad_wishes_are_errors_and_leave_nothing) {
  ASSERT_TRUE(pool_->configure(block(2, 0)));
  ASSERT_TRUE(take({}));  // the maker runs
  // What other tests gave back is the kernel's to take down, in its own time.
  for (int tries = 0; tries < 3000 && pool_links() > 0; ++tries) {
    ASSERT_TRUE(loop_->run(ring::sleep_for(*loop_, 10ms)));
  }
  ASSERT_EQ(pool_links(), 0u);
  const test::Census before = test::take_census();
  const std::vector<Interface> bad = {
      {.network = "x", .name = "eth0", .address = "nonsense", .gateway = "10.0.0.1"},
      {.network = "x", .name = "eth0", .address = "10.0.0.2", .gateway = ""},
      {.network = "x",
       .name = "eth0",
       .address = "10.0.0.2",
       .prefix_len = 33,
       .gateway = "10.0.0.1"},
      {.network = "x",
       .name = "a-name-that-is-too-long",
       .address = "10.0.0.2",
       .gateway = "10.0.0.1"},
      {.network = "x", .name = "lo", .address = "10.0.0.2", .gateway = "10.0.0.1"},
      {.network = "x",
       .name = "eth0",
       .address = "10.0.0.2",
       .gateway = "10.0.0.1",
       .mac = "01:00:5e:00:00:01"},
      {.network = "x",
       .name = "eth0",
       .address = "10.0.0.2",
       .gateway = "10.0.0.1",
       .mac = "02:42"},
      {.network = "x", .name = "../x", .address = "10.0.0.2", .gateway = "10.0.0.1"},
      {.network = "x", .name = "eth0", .address6 = "10.0.0.2", .gateway6 = "fd00::1"},
      {.network = "x", .name = "eth0", .address6 = "fd00::2", .gateway6 = ""},
      {.network = "x", .name = "eth0", .address = "fd00::2", .gateway = "fd00::1"},
      {.network = "x",
       .name = "eth0",
       .address6 = "fd00::2",
       .prefix_len6 = 129,
       .gateway6 = "fd00::1",
       .mac = "02:42:00:00:00:02"},
  };
  for (const Interface& each : bad) {
    auto made = take({each});
    EXPECT_FALSE(made) << each.address << " " << each.name;
  }
  auto good = take({{.network = "net"}});
  EXPECT_TRUE(good) << good.error().message();
  good = ReadyNamespace();
  EXPECT_TRUE(test::nothing_left_since(before));
}

TEST_F(Pool, a_maker_that_was_killed_is_replaced) {
  ASSERT_TRUE(pool_->configure(block(8, 1)));
  wait_until_ready(1);
  for (int round = 0; round < 3; ++round) {
    // Its only child.
    const std::string children = *sys::read_file_at(
        sys::working_directory,
        ("/proc/self/task/" + std::to_string(::gettid()) + "/children").c_str(), 4096);
    ASSERT_FALSE(children.empty());
    ASSERT_EQ(::kill(std::atoi(children.c_str()), SIGKILL), 0);
    // The next request may find out; the one after it is served.
    (void)take({{.network = "net", .address = "172.30.9.9"}});
    auto taken = take({{.network = "net", .address = "172.30.9.8"}});
    EXPECT_TRUE(taken) << taken.error().message();
  }
}

TEST_F(Pool, addresses_in_use_elsewhere_are_left_alone) {
  pool_->adopt({{.network = "net", .address = "172.30.0.2"}});
  ASSERT_TRUE(pool_->configure(block(2, 0)));
  auto taken = take({{.network = "net"}});
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->interfaces[0].address, "172.30.0.3");
  EXPECT_FALSE(take({{.network = "net"}}));
}

}  // namespace
}  // namespace nacelle::core
