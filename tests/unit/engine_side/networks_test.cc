#include "engine/networks.h"

#include "side_fixture.h"

namespace nacelle::test {
namespace {

using engine::Endpoint;
using engine::IpamPool;
using engine::Network;
using engine::NetworkCreateRequest;
using engine::Networks;
using engine::NetworksOptions;

IpamPool pool(std::string subnet, std::string gateway = {}, std::string range = {}) {
  IpamPool made;
  made.subnet = std::move(subnet);
  made.gateway = std::move(gateway);
  made.ip_range = std::move(range);
  return made;
}

NetworkCreateRequest request(std::string name, std::vector<IpamPool> pools = {}) {
  NetworkCreateRequest made;
  made.network.name = std::move(name);
  made.network.pools = std::move(pools);
  return made;
}

Endpoint wish(std::string address) {
  Endpoint made;
  made.ipam_config.emplace().ipv4_address = std::move(address);
  return made;
}

Endpoint wish6(std::string address) {
  Endpoint made;
  made.ipam_config.emplace().ipv6_address = std::move(address);
  return made;
}

NetworkCreateRequest with_ipv6(NetworkCreateRequest request) {
  request.network.ipv6 = true;
  return request;
}

std::string id_of(char digit) { return std::string(64, digit); }

class NetworksTest : public SideTest {
 protected:
  void SetUp() override {
    SideTest::SetUp();
    reopen();
  }
  void reopen(std::string default_subnet = "10.99.0.1/24") {
    networks_ = nullptr;
    auto opened = Networks::open(*loop_, options(std::move(default_subnet)), *events_);
    ASSERT_TRUE(opened) << opened.error().message();
    networks_ = *std::move(opened);
  }
  NetworksOptions options(std::string default_subnet) {
    return {.data_root = root_,
            .default_subnet = std::move(default_subnet),
            .installation = "00000000-0000-4000-8000-000000000000"};
  }
  Network make(std::string name, std::vector<IpamPool> pools = {}) {
    auto made = networks_->create(request(std::move(name), std::move(pools)));
    EXPECT_TRUE(made) << made.error().message();
    return made.value_or(Network());
  }
  std::string why_not(NetworkCreateRequest wanted) {
    return failure(networks_->create(std::move(wanted)));
  }
  std::string why_not(std::vector<IpamPool> pools) {
    return why_not(request("mine", std::move(pools)));
  }
  std::string join(const std::string& network, char container, const Endpoint& wanted = {}) {
    auto joined = networks_->join(network, id_of(container), cat("c", container), wanted, 0);
    return joined ? joined->interface.address : failure(joined);
  }

  std::unique_ptr<Networks> networks_;
};

TEST_F(NetworksTest, ThreeAreThereFromTheBeginning) {
  std::string names;
  for (const Network& each : networks_->list()) names += cat(each.name, ':', each.driver, ' ');
  EXPECT_EQ(names, "bridge:bridge host:host none:null ");
  const Network bridge = networks_->find("bridge").value();
  ASSERT_EQ(bridge.pools.size(), 1u);
  EXPECT_EQ(bridge.pools[0].subnet, "10.99.0.0/24");
  EXPECT_EQ(bridge.pools[0].gateway, "10.99.0.1");
  EXPECT_TRUE(networks_->find("host")->pools.empty());
}

TEST_F(NetworksTest, TheDefaultSubnetIsOneOfDockers) {
  ASSERT_TRUE(sys::unlink_at(sys::working_directory,
                             cat(root_, "/networks/", networks_->find("bridge")->id).c_str()));
  reopen("");
  const std::string subnet = networks_->find("bridge")->pools[0].subnet;
  EXPECT_TRUE(subnet.starts_with("172.") || subnet.starts_with("192.168.")) << subnet;
}

TEST_F(NetworksTest, ADefaultSubnetThatIsNoneIsSaid) {
  for (const char* text : {"x", "10.0.0.0", "fd00::/64", "10.0.0.0/31"}) {
    const auto opened = Networks::open(*loop_, options(text), *events_);
    ASSERT_FALSE(opened) << text;
    EXPECT_EQ(opened.error().kind(), Kind::Invalid);
  }
}

TEST_F(NetworksTest, RecordsOutliveTheEngine) {
  const Network made = make("mine", {pool("10.1.0.0/16", "10.1.0.9", "10.1.7.0/24")});
  const std::string bridge = networks_->find("bridge")->id;
  reopen();
  const Network found = networks_->find("mine").value();
  EXPECT_EQ(found.id, made.id);
  EXPECT_EQ(found.created, made.created);
  EXPECT_EQ(found.pools[0].gateway, "10.1.0.9");
  EXPECT_EQ(found.pools[0].ip_range, "10.1.7.0/24");
  EXPECT_EQ(networks_->find("bridge")->id, bridge);
  EXPECT_EQ(networks_->list().size(), 4u);
}

TEST_F(NetworksTest, DamagedRecordsAreSetAsideAndTheRestIsRead) {
  const Network one = make("one", {pool("10.1.0.0/16")});
  const Network two = make("two", {pool("10.2.0.0/16")});
  const Network three = make("three", {pool("10.3.0.0/16")});
  write(cat("networks/", one.id), R"({"Network":{"Id":")");
  write(cat("networks/", two.id), R"({"Network":{"Id":"x","Name":"two"}})");
  write("networks/not-an-id", "x");
  reopen();
  EXPECT_FALSE(networks_->find("one"));
  EXPECT_FALSE(networks_->find("two"));
  EXPECT_TRUE(networks_->find("three"));
  EXPECT_TRUE(exists(cat("networks/.damaged-", one.id)));
  EXPECT_TRUE(exists(cat("networks/.damaged-", two.id)));
  EXPECT_TRUE(networks_->create(request("one", {pool("10.1.0.0/16")})));
}

TEST_F(NetworksTest, AreFoundByIdNameAndBeginning) {
  const Network made = make("mine", {pool("10.1.0.0/16")});
  EXPECT_EQ(networks_->find(made.id)->name, "mine");
  EXPECT_EQ(networks_->find(made.id.substr(0, 12))->name, "mine");
  EXPECT_EQ(failure(networks_->find("other")), "not found: network other not found");
  EXPECT_EQ(failure(networks_->find("")), "not found: network  not found");
}

TEST_F(NetworksTest, NamesAreUniqueAndPredefinedOnesTaken) {
  make("mine", {pool("10.1.0.0/16")});
  EXPECT_EQ(why_not(request("mine")), "conflict: network with name mine already exists");
  EXPECT_EQ(why_not(request("bridge")),
            "denied: operation is not permitted on predefined bridge network ");
  EXPECT_EQ(why_not(request("none")),
            "denied: operation is not permitted on predefined none network ");
  EXPECT_EQ(why_not(request("")), "invalid: invalid name: name is empty");
  EXPECT_EQ(why_not(request("  ")), "invalid: invalid name: name is empty");
  EXPECT_EQ(why_not(request("a\nb")), "invalid: invalid name: not a network's");
  EXPECT_EQ(why_not(request(std::string(256, 'a'))), "invalid: invalid name: not a network's");
}

TEST_F(NetworksTest, DriversThatAreNotThereAreSaid) {
  const auto with = [&](const char* driver) {
    NetworkCreateRequest wanted = request("mine");
    wanted.network.driver = driver;
    return why_not(std::move(wanted));
  };
  EXPECT_EQ(with("host"), "denied: only one instance of \"host\" network is allowed");
  EXPECT_EQ(with("null"), "denied: only one instance of \"null\" network is allowed");
  EXPECT_EQ(with("weave"), "not found: plugin \"weave\" not found");
  EXPECT_TRUE(with("overlay").starts_with("denied: This node is not a swarm manager."));
}

TEST_F(NetworksTest, SubnetsThatDoNotHoldTogetherAreRefusedInDockersWords) {
  const std::string begin = "invalid: invalid network config:\n";
  EXPECT_EQ(why_not({pool("10.1.0.0")}),
            begin + "invalid subnet 10.1.0.0: invalid CIDR block notation");
  EXPECT_EQ(why_not({pool("10.1.2.0/16")}),
            begin + "invalid subnet 10.1.2.0/16: it should be 10.1.0.0/16");
  EXPECT_EQ(why_not({pool("10.1.0.0/16", "10.2.0.1")}),
            begin +
                "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this "
                "address");
  EXPECT_EQ(why_not({pool("10.1.0.0/16", "x")}), begin + "invalid gateway x: invalid address");
  EXPECT_EQ(why_not({pool("10.1.0.0/16", "fd00::1")}),
            begin + "invalid gateway fd00::1: parent subnet is an IPv4 block");
  EXPECT_EQ(why_not({pool("10.1.0.0/16", "", "10.0.0.0/8")}),
            begin +
                "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet "
                "10.1.0.0/16");
  EXPECT_EQ(why_not({pool("10.1.0.0/16", "", "10.2.0.0/24")}),
            begin +
                "invalid ip-range 10.2.0.0/24: parent subnet 10.1.0.0/16 doesn't contain "
                "ip-range");
  EXPECT_EQ(why_not({pool("10.1.0.0/16", "", "nonsense")}),
            begin + "invalid ip-range nonsense: invalid CIDR block notation");
  IpamPool auxiliary = pool("10.1.0.0/16");
  auxiliary.auxiliary = {{"router", "10.9.0.1"}};
  EXPECT_EQ(why_not({auxiliary}),
            begin +
                "invalid auxiliary address router: parent subnet 10.1.0.0/16 doesn't contain "
                "this address");
  EXPECT_EQ(networks_->list().size(), 3u);
}

TEST_F(NetworksTest, SubnetsDoNotOverlap) {
  make("mine", {pool("10.1.0.0/16")});
  const std::string why =
      "denied: invalid pool request: Pool overlaps with other one on this address space";
  EXPECT_EQ(why_not(request("other", {pool("10.1.5.0/24")})), why);
  EXPECT_EQ(why_not(request("other", {pool("10.0.0.0/8")})), why);
  EXPECT_EQ(why_not(request("other", {pool("10.5.0.0/24"), pool("10.5.0.0/25")})), why);
  EXPECT_TRUE(networks_->create(request("other", {pool("10.2.0.0/16")})));
}

TEST_F(NetworksTest, SubnetsNobodyAskedForDifferAndEnd) {
  std::vector<std::string> subnets;
  std::string why;
  for (int at = 0; at < 100 && why.empty(); ++at) {
    const auto made = networks_->create(request(cat("net", at)));
    if (made) {
      EXPECT_FALSE(contains(subnets, made->pools[0].subnet));
      subnets.push_back(made->pools[0].subnet);
    } else {
      why = failure(made);
    }
  }
  EXPECT_EQ(why, "invalid: all predefined address pools have been fully subnetted");
  EXPECT_GT(subnets.size(), 10u);
}

TEST_F(NetworksTest, AddressesAreGivenOutFromTheLowest) {
  make("mine", {pool("10.1.0.0/29")});
  EXPECT_EQ(join("mine", 'a'), "10.1.0.2");
  EXPECT_EQ(join("mine", 'b'), "10.1.0.3");
  networks_->leave("mine", id_of('a'));
  EXPECT_EQ(join("mine", 'c'), "10.1.0.2");
  EXPECT_EQ(join("mine", 'd'), "10.1.0.4");
  EXPECT_EQ(join("mine", 'e'), "10.1.0.5");
  EXPECT_EQ(join("mine", 'f'), "10.1.0.6");
  const Network network = networks_->find("mine").value();
  EXPECT_EQ(join("mine", '0'),
            cat("exhausted: no available IPv4 addresses on this network's address pools: mine (",
                network.id, ")"));
}

TEST_F(NetworksTest, RangesGatewaysAndAuxiliaryAddressesAreKeptTo) {
  IpamPool wanted = pool("10.1.0.0/24", "10.1.0.128", "10.1.0.128/30");
  wanted.auxiliary = {{"printer", "10.1.0.129"}};
  make("mine", {wanted});
  EXPECT_EQ(join("mine", 'a'), "10.1.0.130");
  EXPECT_EQ(join("mine", 'b'), "10.1.0.131");
  EXPECT_TRUE(join("mine", 'c').starts_with("exhausted: "));
  // What is asked for may lie outside of the range.
  EXPECT_EQ(join("mine", 'd', wish("10.1.0.7")), "10.1.0.7");
}

TEST_F(NetworksTest, AddressesThatCannotBeHadAreRefused) {
  make("mine", {pool("10.1.0.0/24")});
  make("chosen");
  EXPECT_EQ(join("mine", 'a', wish("10.1.0.77")), "10.1.0.77");
  const std::string used = "denied: Address already in use";
  const std::string begin = "invalid: invalid endpoint settings:\n";
  EXPECT_EQ(join("mine", 'b', wish("10.1.0.77")), used);
  EXPECT_EQ(join("mine", 'b', wish("10.1.0.1")), used);    // the gateway
  EXPECT_EQ(join("mine", 'b', wish("10.1.0.0")), used);    // the network
  EXPECT_EQ(join("mine", 'b', wish("10.1.0.255")), used);  // the broadcast address
  EXPECT_EQ(join("mine", 'b', wish("10.2.0.1")),
            begin + "no configured subnet or ip-range contain the IP address 10.2.0.1");
  EXPECT_EQ(join("mine", 'b', wish("x")),
            begin +
                "* invalid IPv4 address: x\n"
                "* no configured subnet or ip-range contain the IP address x");
  EXPECT_EQ(join("mine", 'b', wish("fd00::1")),
            begin +
                "* invalid IPv4 address: fd00::1\n"
                "* no configured subnet or ip-range contain the IP address fd00::1");
  const std::string subnet = networks_->find("chosen")->pools[0].subnet;
  const std::string inside = cat(subnet.substr(0, subnet.rfind('.')), ".9");
  const std::string unchosen =
      "user specified IP address is supported only when connecting to networks with user "
      "configured subnets";
  EXPECT_EQ(join("chosen", 'b', wish(inside)), begin + unchosen);
  EXPECT_EQ(join("mine", 'b', wish6("fd00::1")), begin + unchosen);
  EXPECT_EQ(join("bridge", 'b', wish("10.99.0.9")),
            begin + "* user specified IP address is supported on user defined networks only\n* " +
                unchosen);
  Endpoint alias;
  alias.aliases = {"db"};
  EXPECT_EQ(join("bridge", 'b', alias),
            begin +
                "network-scoped alias is supported only for containers in user defined "
                "networks");
  Endpoint mac;
  mac.mac_address = "nonsense";
  EXPECT_EQ(join("mine", 'b', mac), "invalid: invalid MAC address: nonsense");
  EXPECT_EQ(join("mine", 'a'), "denied: endpoint with name ca already exists in network mine");
  EXPECT_EQ(join("other", 'a'), "not found: network other not found");
  EXPECT_EQ(networks_->members("mine").size(), 1u);
}

TEST_F(NetworksTest, AnEndpointSaysWhatItIs) {
  const Network network = make("mine", {pool("10.1.0.0/24")});
  Endpoint wanted;
  wanted.aliases = {"db", "cache"};
  const auto joined = networks_->join("mine", id_of('a'), "web", wanted, 3).value();
  EXPECT_EQ(joined.interface.name, "eth3");
  EXPECT_EQ(joined.interface.network, network.id);
  EXPECT_EQ(joined.interface.gateway, "10.1.0.1");
  EXPECT_EQ(joined.interface.prefix_len, 24);
  EXPECT_EQ(joined.interface.mac, "02:42:0a:01:00:02");
  EXPECT_EQ(joined.endpoint.ip_address, "10.1.0.2");
  EXPECT_EQ(joined.endpoint.gateway, "10.1.0.1");
  EXPECT_EQ(joined.endpoint.network_id, network.id);
  EXPECT_EQ(joined.endpoint.endpoint_id.size(), 64u);
  EXPECT_EQ(joined.endpoint.aliases, wanted.aliases);
}

TEST_F(NetworksTest, HostAndNoneHaveNoInterface) {
  for (const char* name : {"host", "none"}) {
    const auto joined = networks_->join(name, id_of('a'), "web", {}, 0).value();
    EXPECT_TRUE(joined.interface.name.empty());
    EXPECT_TRUE(joined.endpoint.ip_address.empty());
    EXPECT_EQ(networks_->members(name).size(), 1u);
  }
}

TEST_F(NetworksTest, AnInternalNetworkLeadsNowhere) {
  NetworkCreateRequest wanted = request("mine", {pool("10.1.0.0/24")});
  wanted.network.internal = true;
  ASSERT_TRUE(networks_->create(wanted));
  const auto joined = networks_->join("mine", id_of('a'), "web", {}, 0).value();
  EXPECT_TRUE(joined.interface.internal);
  EXPECT_EQ(joined.interface.gateway, "10.1.0.1");  // the host's end, no way out
  EXPECT_EQ(joined.endpoint.gateway, "");
  networks_->join_done("mine", id_of('a'), joined.interface);
  EXPECT_EQ(networks_->members("mine")[0].endpoint.gateway, "");
}

TEST_F(NetworksTest, OfBridgeCoreGivesOutWhatItLeased) {
  const auto lease = networks_->lease_pool(4, 2);
  EXPECT_EQ(lease.network, networks_->find("bridge")->id);
  EXPECT_EQ(lease.addresses,
            (std::vector<std::string>{"10.99.0.2", "10.99.0.3", "10.99.0.4", "10.99.0.5"}));
  EXPECT_EQ(lease.gateway, "10.99.0.1");
  EXPECT_EQ(lease.ready, 2u);
  auto joined = networks_->join("bridge", id_of('a'), "web", {}, 0).value();
  EXPECT_EQ(joined.interface.address, "");
  joined.interface.address = "10.99.0.3";
  networks_->join_done("bridge", id_of('a'), joined.interface);
  EXPECT_EQ(networks_->members("bridge")[0].endpoint.ip_address, "10.99.0.3");
  EXPECT_EQ(networks_->members("bridge")[0].endpoint.mac_address, "02:42:0a:63:00:03");
  // It is core's until core says otherwise.
  networks_->leave("bridge", id_of('a'));
  EXPECT_EQ(networks_->lease_pool(1, 2).addresses, std::vector<std::string>{"10.99.0.6"});
  networks_->address_free("bridge", "10.99.0.3");
  EXPECT_EQ(networks_->lease_pool(1, 2).addresses, std::vector<std::string>{"10.99.0.3"});
}

TEST_F(NetworksTest, AnEngineAfterThisOneLeasesTheSameAgain) {
  (void)networks_->lease_pool(3, 2);
  reopen();
  Endpoint had;
  had.ip_address = "10.99.0.3";
  networks_->adopt("bridge", id_of('a'), "web", had);
  EXPECT_EQ(networks_->lease_pool(3, 2).addresses,
            (std::vector<std::string>{"10.99.0.2", "10.99.0.4", "10.99.0.5"}));
  networks_->address_free("bridge", "10.99.0.3");  // its container still has it
  EXPECT_EQ(networks_->lease_pool(1, 2).addresses, std::vector<std::string>{"10.99.0.6"});
}

TEST_F(NetworksTest, AnAdoptedAddressIsTaken) {
  make("mine", {pool("10.1.0.0/24")});
  Endpoint had;
  had.ip_address = "10.1.0.2";
  networks_->adopt("mine", id_of('a'), "web", had);
  EXPECT_EQ(join("mine", 'b'), "10.1.0.3");
  networks_->adopt("gone", id_of('a'), "web", had);
  networks_->address_free("mine", "nonsense");
  networks_->address_free("mine", "10.1.0.1");
  EXPECT_EQ(join("mine", 'c', wish("10.1.0.1")), "denied: Address already in use");
}

TEST_F(NetworksTest, AreRemovedWhenNobodyIsInThem) {
  const Network network = make("mine", {pool("10.1.0.0/24")});
  EXPECT_EQ(failure(networks_->remove("bridge")),
            "denied: bridge is a pre-defined network and cannot be removed");
  EXPECT_EQ(failure(networks_->remove("other")), "not found: network other not found");
  EXPECT_EQ(join("mine", 'a'), "10.1.0.2");
  const std::string endpoint = networks_->members("mine")[0].endpoint.endpoint_id.substr(0, 12);
  EXPECT_EQ(failure(networks_->remove("mine")),
            cat("denied: error while removing network: network mine has active endpoints "
                "(name:\"ca\" id:\"",
                endpoint, "\")"));
  networks_->leave("mine", id_of('a'));
  EXPECT_TRUE(networks_->remove("mine"));
  EXPECT_FALSE(exists(cat("networks/", network.id)));
  EXPECT_TRUE(networks_->create(request("mine", {pool("10.1.0.0/24")})));
  EXPECT_EQ(told(),
            "network create\nnetwork connect\nnetwork disconnect\nnetwork destroy\n"
            "network create");
}

TEST_F(NetworksTest, PruneTakesWhatIsUnusedAndChosen) {
  make("used", {pool("10.1.0.0/24")});
  make("kept", {pool("10.2.0.0/24")});
  make("idle", {pool("10.3.0.0/24")});
  EXPECT_EQ(join("used", 'a'), "10.1.0.2");
  const auto names = networks_->prune([](const Network& each) { return each.name != "kept"; });
  EXPECT_EQ(names, std::vector<std::string>{"idle"});
  EXPECT_EQ(networks_->list().size(), 5u);
}

TEST_F(NetworksTest, IPv6SubnetsAreRecorded) {
  NetworkCreateRequest wanted = request("mine", {pool("10.1.0.0/24"), pool("fd00:1::/64")});
  wanted.network.ipv6 = true;
  const Network made = networks_->create(wanted).value();
  EXPECT_EQ(made.pools[1].subnet, "fd00:1::/64");
  EXPECT_EQ(made.pools[1].gateway, "fd00:1::1");
  wanted.network.name = "other";
  wanted.network.pools = {pool("10.2.0.0/24"), pool("fd00:1::/48")};
  EXPECT_TRUE(why_not(wanted).starts_with("denied: invalid pool request"));
  wanted.network.pools = {pool("10.2.0.0/24"), pool("fd00:2::1/64")};
  EXPECT_EQ(why_not(wanted),
            "invalid: invalid network config:\ninvalid subnet fd00:2::1/64: it should be "
            "fd00:2::/64");
}

// Of what a container gets in a network: "address/length gateway" of IPv6.
std::string ipv6_of(const Networks::Joined& joined) {
  const core::Interface& interface = joined.interface;
  return cat(interface.address6, '/', interface.prefix_len6, ' ', interface.gateway6);
}

TEST_F(NetworksTest, AnIPv6SubnetNobodyAskedForIsOfThisInstallation) {
  const Network one = networks_->create(with_ipv6(request("one"))).value();
  const Network two = networks_->create(with_ipv6(request("two", {pool("10.1.0.0/24")}))).value();
  ASSERT_EQ(one.pools.size(), 2u);
  const std::string first = one.pools[1].subnet, second = two.pools[1].subnet;
  EXPECT_TRUE(first.starts_with("fd") && first.ends_with("::/64")) << first;
  EXPECT_EQ(second, first.substr(0, first.find("::")) + ":1::/64");
  EXPECT_EQ(one.pools[1].gateway, first.substr(0, first.find('/')) + "1");
  const Endpoint asks = wish6(first.substr(0, first.find('/')) + "9");
  EXPECT_TRUE(join("one", 'a', asks).contains("only when connecting to networks with user"));
}

TEST_F(NetworksTest, ContainersHaveAddressesOfBothFamiliesAndGiveThemBack) {
  ASSERT_TRUE(
      networks_->create(with_ipv6(request("mine", {pool("10.1.0.0/24"), pool("fd00:1::/64")}))));
  const auto joined = networks_->join("mine", id_of('a'), "web", {}, 0).value();
  EXPECT_EQ(joined.interface.address, "10.1.0.2");
  EXPECT_EQ(ipv6_of(joined), "fd00:1::2/64 fd00:1::1");
  EXPECT_EQ(joined.interface.mac, "02:42:0a:01:00:02");
  EXPECT_EQ(joined.endpoint.global_ipv6_address, "fd00:1::2");
  EXPECT_EQ(joined.endpoint.global_ipv6_prefix_len, 64);
  EXPECT_EQ(joined.endpoint.ipv6_gateway, "fd00:1::1");
  EXPECT_EQ(ipv6_of(networks_->join("mine", id_of('b'), "b", wish6("fd00:1::77"), 0).value()),
            "fd00:1::77/64 fd00:1::1");
  EXPECT_EQ(join("mine", 'c', wish6("fd00:1::77")), "denied: Address already in use");
  EXPECT_EQ(join("mine", 'c', wish6("fd00:1::")), "denied: Address already in use");
  // What was taken of the one family while the other had none is free again.
  EXPECT_EQ(join("mine", 'c'), "10.1.0.4");
  networks_->leave("mine", id_of('a'));
  networks_->leave("mine", id_of('b'));
  EXPECT_EQ(ipv6_of(networks_->join("mine", id_of('d'), "d", wish6("fd00:1::77"), 0).value()),
            "fd00:1::77/64 fd00:1::1");
  EXPECT_EQ(ipv6_of(networks_->join("mine", id_of('e'), "e", {}, 0).value()),
            "fd00:1::2/64 fd00:1::1");
}

TEST_F(NetworksTest, ARangeOfIPv6IsKeptToAndEnds) {
  IpamPool wanted = pool("fd00:1::/64", "fd00:1::5", "fd00:1::4/126");
  wanted.auxiliary = {{"router", "fd00:1::6"}};
  const Network made = networks_->create(with_ipv6(request("mine", {wanted}))).value();
  EXPECT_EQ(ipv6_of(networks_->join("mine", id_of('a'), "a", {}, 0).value()),
            "fd00:1::4/64 fd00:1::5");
  EXPECT_EQ(ipv6_of(networks_->join("mine", id_of('b'), "b", {}, 0).value()),
            "fd00:1::7/64 fd00:1::5");
  EXPECT_EQ(join("mine", 'c'),
            cat("exhausted: no available IPv6 addresses on this network's address pools: mine (",
                made.id, ")"));
}

TEST_F(NetworksTest, WithoutIPv4ThereIsIPv6Alone) {
  NetworkCreateRequest wanted = request("mine", {pool("fd00:1::/64")});
  wanted.network.ipv4 = false;
  EXPECT_EQ(why_not(wanted), "invalid: IPv4 or IPv6 must be enabled");
  ASSERT_TRUE(networks_->create(with_ipv6(wanted)));
  const auto joined = networks_->join("mine", id_of('a'), "web", {}, 0).value();
  EXPECT_EQ(joined.interface.address, "");
  EXPECT_EQ(joined.interface.gateway, "");
  EXPECT_EQ(ipv6_of(joined), "fd00:1::2/64 fd00:1::1");
  EXPECT_EQ(joined.interface.mac, "02:42:00:00:00:02");
  EXPECT_EQ(joined.endpoint.ip_address, "");
}

TEST_F(NetworksTest, WhatCannotBeRoutedIsRefused) {
  const auto with = [&](const char* subnet) {
    return why_not(with_ipv6(request("mine", {pool(subnet)})));
  };
  EXPECT_EQ(with("ff00::/64"), "invalid: multicast subnet 'ff00::/64' is not allowed");
  EXPECT_TRUE(with("fe80::/64").contains("link-local subnet 'fe80::/64' is not supported"));
  EXPECT_EQ(with("fd00::/128"),
            "invalid: failed to allocate gateway (): no available addresses on this pool");
  EXPECT_EQ(with("::ffff:10.0.0.0/112"),
            "invalid: invalid network config:\n"
            "invalid subnet ::ffff:10.0.0.0/112: invalid CIDR block notation");
  EXPECT_EQ(why_not(with_ipv6(request("mine", {pool("fd00:1::/64"), pool("fd00:2::/64")}))),
            "denied: bridge driver doesn't support multiple subnets");
}

TEST_F(NetworksTest, ARecordOfBeforeIsReadAndItsContainersHaveNoIPv6) {
  const std::string id = id_of('7');
  write(cat("networks/", id),
        cat(R"({"Network":{"Id":")", id,
            R"(","Name":"old","Driver":"bridge","Internal":true,"EnableIPv4":true,"EnableIPv6":)"
            R"(false,"Pools":[{"Subnet":"10.5.0.0/24","Gateway":"10.5.0.1"},{"Subnet":)"
            R"("fd00:5::/64"}]},"Leased":[]})"));
  reopen();
  EXPECT_EQ(join("old", 'a'), "10.5.0.2");
  EXPECT_EQ(networks_->members("old")[0].endpoint.global_ipv6_address, "");
  // What it does not use is there for others.
  EXPECT_TRUE(networks_->create(with_ipv6(request("new", {pool("fd00:5::/64")}))));
}

TEST_F(NetworksTest, IPv6AddressesOutliveTheEngine) {
  ASSERT_TRUE(networks_->create(with_ipv6(request("mine", {pool("fd00:1::/64")}))));
  const auto joined = networks_->join("mine", id_of('a'), "web", {}, 0).value();
  reopen();
  networks_->adopt("mine", id_of('a'), "web", joined.endpoint);
  EXPECT_EQ(ipv6_of(networks_->join("mine", id_of('b'), "b", {}, 0).value()),
            "fd00:1::3/64 fd00:1::1");
}

TEST_F(NetworksTest, AnMtuThatIsNoneIsRefused) {
  NetworkCreateRequest wanted = request("mine", {pool("10.1.0.0/24")});
  wanted.network.options["com.docker.network.driver.mtu"] = "many";
  EXPECT_TRUE(why_not(wanted).starts_with("invalid: invalid value for option"));
  wanted.network.options["com.docker.network.driver.mtu"] = "1450";
  ASSERT_TRUE(networks_->create(wanted));
  EXPECT_EQ(networks_->join("mine", id_of('a'), "web", {}, 0)->interface.mtu, 1450u);
}

}  // namespace
}  // namespace nacelle::test
