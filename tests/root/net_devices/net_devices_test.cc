// linux.netDevices on the kernel: what a device is inside the container, and that it is back as it
// was when the container did not come to be.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/rtnetlink.h>
#include <sys/stat.h>

#include "base/text.h"
#include "sys/netlink.h"
#include "tests/support/bundle.h"
#include "tests/support/command.h"

namespace nacelle::test {
namespace {

void ip(const std::string& words) {
  std::vector<std::string> arguments = {"ip"};
  std::string_view rest = words;
  while (!rest.empty()) arguments.emplace_back(take_until(rest, ' '));
  const CommandResult result = run(arguments);
  ASSERT_TRUE(result.ok()) << words << "\n" << result.text();
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// A network namespace held by a process that sleeps.
class Namespace {
 public:
  Namespace() : sleeper_({"unshare", "-n", "sleep", "100"}) {
    EXPECT_TRUE(eventually([&] { return inode(path()) != inode("/proc/self/ns/net"); }));
  }
  std::string path() const { return cat("/proc/", sleeper_.pid(), "/ns/net"); }
  std::string run_ip(std::vector<std::string> words) const {
    words.insert(words.begin(), {"nsenter", cat("--net=", path()), "ip"});
    const CommandResult result = run(words);
    EXPECT_TRUE(result.ok()) << result.text();
    return result.out;
  }

 private:
  static ino_t inode(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  }
  RunningCommand sleeper_;
};

// A pair of devices, `name` and its peer; gone at the end, wherever they are.
class Pair {
 public:
  explicit Pair(std::string name) : name_(std::move(name)) {
    ip(cat("link add ", name_, " type veth peer name ", name_, "-peer"));
    ip(cat("link set ", name_, "-peer up"));
  }
  Pair(Pair&&) = delete;
  ~Pair() { run({"ip", "link", "delete", name_ + "-peer"}); }
  void set(const std::string& words) const { ip(cat("link set ", name_, " ", words)); }
  void add(const std::string& address) const { ip(cat("addr add ", address, " dev ", name_)); }
  // Its name, state, MTU, hardware address and global addresses; "" when it is not here.
  std::string looks() const {
    const CommandResult link = run({"ip", "-br", "link", "show", "dev", name_});
    if (!link.ok()) return {};
    return cat(link.out, run({"cat", cat("/sys/class/net/", name_, "/mtu")}).out,
               run({"cat", cat("/sys/class/net/", name_, "/ifindex")}).out,
               run({"ip", "-o", "addr", "show", "dev", name_, "scope", "global"}).out);
  }

 private:
  std::string name_;
};

Config with_devices(const std::string& devices, const std::string& network_path = "") {
  Config config = Config::minimal();
  config.top["ociVersion"] = "\"1.3.0\"";
  config.for_linux["netDevices"] = devices;
  if (!network_path.empty()) {
    config.for_linux["namespaces"] =
        cat(R"([{"type":"pid"},{"type":"mount"},{"type":"network","path":)",
            json_string(network_path), "}]");
    config.top["hostname"] = "";
  }
  return config;
}

// A created container, deleted at the end.
class Created {
 public:
  explicit Created(const Bundle& bundle) {
    const CommandResult result =
        oci({"create", "--bundle", bundle.path(), "--pid-file", "/tmp/pid", "devices"});
    EXPECT_TRUE(result.ok()) << result.text();
    pid_ = read_file("/tmp/pid");
  }
  Created(Created&&) = delete;
  ~Created() { EXPECT_TRUE(oci({"delete", "--force", "devices"}).ok()); }
  std::string run_ip(std::vector<std::string> words) const {
    words.insert(words.begin(), {"nsenter", "-t", pid_, "-n", "ip"});
    const CommandResult result = run(words);
    EXPECT_TRUE(result.ok()) << result.text();
    return result.out;
  }

 private:
  std::string pid_;
};

std::string complaint_of_create(const Bundle& bundle) {
  const CommandResult result = oci({"create", "--bundle", bundle.path(), "devices"});
  if (result.ok()) oci({"delete", "--force", "devices"});
  return result.ok() ? "(success)" : result.err;
}

TEST(NetDevices, a_device_arrives_up_with_its_addresses_mtu_and_hardware_address) {
  const Pair pair("eth0");
  pair.set("address 02:00:00:00:be:ef mtu 1400");
  pair.add("192.0.2.7/24 brd 192.0.2.255");
  pair.add("192.0.2.8/24");
  pair.add("2001:db8::7/64 nodad");
  const Bundle bundle(with_devices(R"({"eth0":{}})"));
  const Created created(bundle);
  EXPECT_EQ(pair.looks(), "");
  const std::string link = created.run_ip({"-o", "link", "show", "dev", "eth0"});
  EXPECT_TRUE(contains(link, "mtu 1400")) << link;
  EXPECT_TRUE(contains(link, "02:00:00:00:be:ef")) << link;
  EXPECT_TRUE(contains(link, ",UP")) << link;
  const std::string addresses =
      created.run_ip({"-o", "addr", "show", "dev", "eth0", "scope", "global"});
  EXPECT_TRUE(contains(addresses, "inet 192.0.2.7/24 brd 192.0.2.255 scope global eth0"))
      << addresses;
  EXPECT_TRUE(contains(addresses, "inet 192.0.2.8/24 scope global secondary eth0")) << addresses;
  EXPECT_TRUE(contains(addresses, "inet6 2001:db8::7/64 scope global nodad")) << addresses;
}

TEST(NetDevices, addresses_with_a_lifetime_or_a_smaller_scope_stay_behind) {
  const Pair pair("eth0");
  pair.set("up");
  pair.add("192.0.2.7/24");
  pair.add("198.51.100.7/24 valid_lft 1000 preferred_lft 1000");
  pair.add("203.0.113.7/24 scope link");
  pair.add("2001:db8::8/64 valid_lft 1000 preferred_lft 1000");
  const Bundle bundle(with_devices(R"({"eth0":{"name":"c0"}})"));
  const Created created(bundle);
  const std::string addresses = created.run_ip({"-o", "addr", "show", "dev", "c0"});
  EXPECT_TRUE(contains(addresses, "192.0.2.7/24")) << addresses;
  EXPECT_FALSE(contains(addresses, "198.51.100.7")) << addresses;
  EXPECT_FALSE(contains(addresses, "203.0.113.7")) << addresses;
  EXPECT_FALSE(contains(addresses, "2001:db8::8")) << addresses;
}

TEST(NetDevices, a_new_name_goes_into_the_labels_of_addresses_too) {
  const Pair pair("eth0");
  pair.add("192.0.2.7/24 label eth0:web");
  const Bundle bundle(with_devices(R"({"eth0":{"name":"c0"}})"));
  const Created created(bundle);
  const std::string addresses = created.run_ip({"-o", "addr", "show", "dev", "c0"});
  EXPECT_TRUE(contains(addresses, "scope global c0:web")) << addresses;
}

TEST(NetDevices, sysctls_of_a_device_are_set_once_it_is_there) {
  const Pair pair("eth0");
  Config config = with_devices(R"({"eth0":{"name":"c0"}})");
  config.for_linux["sysctl"] =
      R"({"net.ipv4.conf.c0.forwarding":"1","net.ipv4.ip_default_ttl":"9"})";
  const Bundle bundle(config.guest({"cat", "/proc/sys/net/ipv4/conf/c0/forwarding", "cat",
                                    "/proc/sys/net/ipv4/ip_default_ttl"}));
  const CommandResult result = oci({"run", "--bundle", bundle.path(), "devices"});
  ASSERT_TRUE(result.ok()) << result.text();
  EXPECT_TRUE(contains(result.out, "1\n9\n")) << result.text();
}

TEST(NetDevices, a_container_with_a_user_namespace_gets_its_device_too) {
  const Pair pair("eth0");
  pair.add("192.0.2.7/24");
  Config config = with_devices(R"({"eth0":{"name":"c0"}})");
  config.namespaces({"pid", "network", "ipc", "uts", "mount", "cgroup", "user"});
  config.for_linux["uidMappings"] = R"([{"containerID":0,"hostID":100000,"size":65536}])";
  config.for_linux["gidMappings"] = R"([{"containerID":0,"hostID":100000,"size":65536}])";
  const Bundle bundle(config);
  const Created created(bundle);
  EXPECT_TRUE(contains(created.run_ip({"-o", "addr", "show", "dev", "c0"}), "192.0.2.7/24"));
}

TEST(NetDevices, names_may_be_swapped) {
  const Pair one("eth0"), two("eth1");
  one.add("192.0.2.1/24");
  two.add("198.51.100.1/24");
  const Bundle bundle(with_devices(R"({"eth0":{"name":"eth1"},"eth1":{"name":"eth0"}})"));
  const Created created(bundle);
  EXPECT_TRUE(contains(created.run_ip({"-o", "addr", "show", "dev", "eth1"}), "192.0.2.1"));
  EXPECT_TRUE(contains(created.run_ip({"-o", "addr", "show", "dev", "eth0"}), "198.51.100.1"));
}

TEST(NetDevices, a_template_gets_the_lowest_number_that_is_free) {
  const Pair one("eth0"), two("other");
  const Namespace there;
  there.run_ip({"link", "add", "eth1", "type", "veth", "peer", "name", "x"});
  const Bundle bundle(
      with_devices(R"({"eth0":{"name":"eth%d"},"other":{"name":"eth%d"}})", there.path()));
  {
    const Created created(bundle);
    there.run_ip({"link", "show", "dev", "eth0"});
    there.run_ip({"link", "show", "dev", "eth2"});
  }
  // The namespace is not the container's own: what is in it stays.
  there.run_ip({"link", "show", "dev", "eth0"});
}

// Goal: a device whose number is taken inside arrives all the same, with its addresses.
TEST(NetDevices, a_number_that_is_taken_inside_is_no_obstacle) {
  const Pair pair("eth0");
  pair.add("192.0.2.7/24");
  std::string index = read_file("/sys/class/net/eth0/ifindex");
  index.pop_back();
  const Namespace there;
  there.run_ip({"link", "add", "x", "index", index, "type", "veth", "peer", "name", "y"});
  const Bundle bundle(with_devices(R"({"eth0":{}})", there.path()));
  const Created created(bundle);
  EXPECT_TRUE(contains(there.run_ip({"-o", "addr", "show", "dev", "eth0"}), "192.0.2.7/24"));
}

TEST(NetDevices, a_name_that_is_taken_inside_is_an_error_and_nothing_moved) {
  const Pair first("aaa"), pair("eth0");
  pair.add("192.0.2.7/24");
  const std::string before = first.looks() + pair.looks();
  const Namespace there;
  there.run_ip({"link", "add", "c0", "type", "veth", "peer", "name", "x"});
  const Bundle bundle(with_devices(R"({"aaa":{},"eth0":{"name":"c0"}})", there.path()));
  const std::string complaint = complaint_of_create(bundle);
  EXPECT_TRUE(contains(complaint,
                       "linux.netDevices.eth0: the container's network namespace has a device 'c0' "
                       "already"))
      << complaint;
  EXPECT_EQ(first.looks() + pair.looks(), before);
}

// Goal: what only the kernel sees, after other devices have moved, undoes those. Method: an
// alternative name of the second device is taken inside.
TEST(NetDevices, devices_that_moved_already_are_back_when_a_later_one_fails) {
  const Pair first("aaa"), second("bbb");
  first.set("up");
  first.set("mtu 1300");
  first.add("192.0.2.7/24 brd 192.0.2.255");
  first.add("198.51.100.7/24 scope link");
  first.add("2001:db8::7/64 nodad");
  first.add("2001:db8::8/64 nodad");
  ip("link property add dev bbb altname taken");
  const std::string before = first.looks() + second.looks();
  ASSERT_TRUE(contains(before, "2001:db8::8")) << before;
  const Namespace there;
  there.run_ip({"link", "add", "taken", "type", "veth", "peer", "name", "x"});
  const Bundle bundle(with_devices(R"({"aaa":{"name":"c0"},"bbb":{}})", there.path()));
  const std::string complaint = complaint_of_create(bundle);
  EXPECT_TRUE(contains(complaint, "linux.netDevices.bbb: moving it as 'bbb'")) << complaint;
  EXPECT_TRUE(contains(complaint, "File exists")) << complaint;
  EXPECT_TRUE(eventually([&] { return first.looks() + second.looks() == before; }))
      << first.looks() << second.looks() << "before:\n"
      << before;
}

// Goal: a start that fails after the devices have moved loses none, though their new namespace ends
// with the container and takes virtual devices along.
TEST(NetDevices, a_start_that_fails_later_gives_the_devices_back) {
  const Pair pair("eth0");
  pair.set("up");
  pair.add("192.0.2.7/24");
  const std::string before = pair.looks();
  const auto is_back = [&] { return pair.looks() == before; };

  Config config = with_devices(R"({"eth0":{"name":"c0"}})");
  config.top["hooks"] = R"({"createRuntime":[{"path":"/bin/false"}]})";
  EXPECT_TRUE(contains(complaint_of_create(Bundle(config)), "createRuntime"));
  EXPECT_TRUE(eventually(is_back)) << pair.looks();

  config = with_devices(R"({"eth0":{"name":"c0"}})");
  config.args({"/no/such/program"});
  EXPECT_TRUE(contains(complaint_of_create(Bundle(config)), "no such file"));
  EXPECT_TRUE(eventually(is_back)) << pair.looks() << "before:\n" << before;
}

TEST(NetDevices, what_cannot_be_moved_is_named) {
  const struct {
    const char* devices;
    const char* network_path;
    const char* complaint;
  } cases[] = {
      {R"({"none0":{}})", "", "linux.netDevices.none0: looking for the device: No such device"},
      {R"({"lo":{"name":"c0"}})", "",
       "linux.netDevices.lo: a loopback device cannot leave its network namespace"},
      {R"({"lo":{"name":"c0"}})", "/proc/self/ns/net",
       "linux.netDevices: the container's network namespace is the runtime's own"},
  };
  for (const auto& one : cases) {
    const std::string complaint =
        complaint_of_create(Bundle(with_devices(one.devices, one.network_path)));
    EXPECT_TRUE(contains(complaint, one.complaint)) << complaint;
  }
}

TEST(NetDevices, features_say_so) {
  const std::string features = oci({"features"}).out;
  const size_t at = features.find("\"netDevices\"");
  ASSERT_NE(at, std::string::npos) << features;
  EXPECT_TRUE(contains(features.substr(at, 60), "true")) << features;
}

// Goal: the client itself says what the kernel says, and stays in the namespace it was made in.
TEST(Netlink, errors_carry_the_kernels_words_and_sockets_stay_where_they_are) {
  auto socket = sys::NetlinkSocket::open();
  ASSERT_TRUE(socket) << socket.error().message();
  const auto named = socket->get(
      std::move(sys::NetlinkRequest(RTM_GETLINK, 0, ifinfomsg{}).put_name(IFLA_IFNAME, "lo")),
      "looking");
  ASSERT_TRUE(named) << named.error().message();
  EXPECT_EQ(named->fixed<ifinfomsg>().ifi_index, 1);
  // A get without anything to go by has words on every kernel since 4.20.
  ifinfomsg wrong{};
  wrong.ifi_flags = 1;
  const auto refused = socket->get(sys::NetlinkRequest(RTM_GETLINK, 0, wrong), "looking");
  ASSERT_FALSE(refused);
  EXPECT_TRUE(contains(refused.error().message(), "looking (")) << refused.error().message();

  const Namespace there;
  const Fd place(::open(there.path().c_str(), O_RDONLY | O_CLOEXEC));
  auto inside = sys::NetlinkSocket::open_in(place);
  ASSERT_TRUE(inside) << inside.error().message();
  struct stat ours{}, theirs{}, self{};
  ASSERT_EQ(::fstat(inside->open_namespace()->get(), &theirs), 0);
  ASSERT_EQ(::fstat(socket->open_namespace()->get(), &ours), 0);
  ASSERT_EQ(::stat("/proc/self/ns/net", &self), 0);
  EXPECT_EQ(ours.st_ino, self.st_ino);
  EXPECT_NE(theirs.st_ino, self.st_ino);
  const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(sys::NetlinkSocket::open_in(nothing));
}

}  // namespace
}  // namespace nacelle::test
