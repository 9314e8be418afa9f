// Goal: a request plus an image is what inspect shows and a start uses; and the texts of the files
// in /etc. Method: one part a test.
#include "fixture.h"

namespace nacelle::engine {
namespace {

using Words = std::vector<std::string>;

ContainerConfig merged(ContainerConfig config, const oci::RunConfig& image) {
  CreateRequest request;
  request.config = std::move(config);
  const auto result = merge_image_config(request, image);
  EXPECT_TRUE(result) << result.error().message();
  return request.config;
}
oci::RunConfig image_with_command() {
  oci::RunConfig image;
  image.entrypoint = {"/entry"};
  image.command = {"cmd", "arg"};
  return image;
}

TEST(Merging, takes_commands_as_docker_does) {
  const oci::RunConfig image = image_with_command();
  ContainerConfig none;
  EXPECT_EQ(merged(none, image).entrypoint.words, Words{"/entry"});
  EXPECT_EQ(merged(none, image).cmd.words, (Words{"cmd", "arg"}));
  ContainerConfig command;
  command.cmd = {true, {"mine"}};
  EXPECT_EQ(merged(command, image).entrypoint.words, Words{"/entry"});
  EXPECT_EQ(merged(command, image).cmd.words, Words{"mine"});
  ContainerConfig entrypoint;
  entrypoint.entrypoint = {true, {"/mine"}};
  EXPECT_EQ(merged(entrypoint, image).entrypoint.words, Words{"/mine"});
  EXPECT_EQ(merged(entrypoint, image).cmd.words, Words{});
  ContainerConfig reset;  // --entrypoint ''
  reset.entrypoint = {true, {""}};
  reset.cmd = {true, {"mine"}};
  EXPECT_EQ(merged(reset, image).entrypoint.words, Words{});
  ContainerConfig empty;
  empty.entrypoint = {true, {}};
  EXPECT_EQ(merged(empty, image).entrypoint.words, Words{});
  EXPECT_EQ(merged(empty, image).cmd.words, (Words{"cmd", "arg"}));
  CreateRequest nothing;
  EXPECT_EQ(message_of(merge_image_config(nothing, {})), "no command specified");
  nothing.config.entrypoint = {true, {""}};
  EXPECT_EQ(message_of(merge_image_config(nothing, image)), "no command specified");
}

TEST(Merging, adds_what_the_request_does_not_say) {
  oci::RunConfig image = image_with_command();
  image.user = "web";
  image.working_directory = "/srv";
  image.stop_signal = "SIGQUIT";
  image.env = {"PATH=/i", "A=i", "B=i"};
  image.labels = {{"a", "i"}, {"b", "i"}};
  image.exposed_ports = {"80/tcp"};
  image.volumes = {"/data"};
  ContainerConfig own;
  own.env = {"A=o", "B", "C=o"};
  own.labels = {{"a", "o"}};
  own.exposed_ports["81/tcp"];
  own.volumes["/own"];
  const ContainerConfig both = merged(own, image);
  EXPECT_EQ(both.env, (Words{"A=o", "B", "C=o", "PATH=/i"}));
  EXPECT_EQ(both.labels, (Labels{{"a", "o"}, {"b", "i"}}));
  EXPECT_EQ(both.exposed_ports.size(), 2u);
  EXPECT_EQ(both.volumes.size(), 2u);
  EXPECT_EQ(both.user, "web");
  EXPECT_EQ(both.working_dir, "/srv");
  EXPECT_EQ(both.stop_signal, "SIGQUIT");
  own.user = "me";
  own.working_dir = "/me";
  own.stop_signal = "SIGINT";
  EXPECT_EQ(merged(own, image).user, "me");
  EXPECT_EQ(merged(own, image).working_dir, "/me");
  EXPECT_EQ(merged(own, image).stop_signal, "SIGINT");
}

TEST(Merging, leaves_out_what_no_request_could_say) {
  oci::RunConfig image = image_with_command();
  image.env = {"", "=x", "A\nB=x", "C=a\nb", std::string("D=\0", 3), "E"};
  image.exposed_ports = {"x/tcp", "80/tcp", "70000", "/"};
  image.stop_signal = "NOPE";
  image.working_directory = "srv/../app/";
  const ContainerConfig config = merged({}, image);
  EXPECT_EQ(config.env, (Words{"C=a\nb", "E"}));
  EXPECT_EQ(config.exposed_ports.size(), 1u);
  EXPECT_EQ(config.stop_signal, "");
  EXPECT_EQ(config.working_dir, "/app");
}

TEST(Merging, refuses_words_that_a_program_would_see_cut_short) {
  const auto message = [](const auto& change) {
    oci::RunConfig image = image_with_command();
    change(image);
    CreateRequest request;
    const auto merged = merge_image_config(request, image);
    return merged ? "ok" : merged.error().message();
  };
  const std::string odd("a\0b", 3);
  EXPECT_EQ(message([&](auto& image) { image.command = {"x", odd}; }),
            "a command must not contain NUL");
  EXPECT_EQ(message([&](auto& image) { image.entrypoint = {odd}; }),
            "a command must not contain NUL");
  EXPECT_EQ(message([&](auto& image) { image.working_directory = odd; }),
            "control characters are not allowed");
}

TEST(Execs, are_refused_with_words_that_a_program_would_see_cut_short) {
  const auto message = [](ExecConfig config) {
    const auto checked = check_exec(config);
    return checked ? "ok" : checked.error().message();
  };
  const std::string odd("a=\0b", 4);
  EXPECT_EQ(message({}), "No exec command specified");
  EXPECT_EQ(message({.cmd = {"x"}}), "ok");
  EXPECT_EQ(message({.cmd = {"x", odd}}), "a command must not contain NUL");
  EXPECT_EQ(message({.env = {"A=b\nc", "D", "=x"}, .cmd = {"x"}}), "ok");
  for (const std::string& each : {odd, std::string(), std::string("A\nB=x")}) {
    EXPECT_EQ(message({.env = {each}, .cmd = {"x"}}), cat("invalid environment variable: ", each));
  }
  EXPECT_EQ(message({.cmd = {"x"}, .working_dir = "/a\nb"}), "control characters are not allowed");
}

TEST(Merging, inherits_parts_of_a_health_check) {
  oci::RunConfig image = image_with_command();
  EXPECT_FALSE(merged({}, image).healthcheck);
  image.health_check = {.test = {"CMD", "x"},
                        .interval_ns = 1,
                        .timeout_ns = 2,
                        .start_period_ns = 3,
                        .start_interval_ns = 4,
                        .retries = 5};
  const auto all = merged({}, image).healthcheck;
  ASSERT_TRUE(all);
  EXPECT_EQ(all->test, (Words{"CMD", "x"}));
  EXPECT_EQ(all->retries, 5);
  ContainerConfig own;
  own.healthcheck.emplace().timeout = 9;
  const auto some = merged(own, image).healthcheck;
  EXPECT_EQ(some->timeout, 9);
  EXPECT_EQ(some->interval, 1);
  EXPECT_EQ(some->start_period, 3);
  EXPECT_EQ(some->start_interval, 4);
  own.healthcheck->test = {"NONE"};
  EXPECT_EQ(merged(own, image).healthcheck->test, Words{"NONE"});
}

TEST(Defaults, are_what_inspect_shows) {
  const HostConfig host = plain_request().host;
  EXPECT_EQ(host.shm_size, 67108864);
  EXPECT_EQ(host.ipc_mode, "private");
  EXPECT_EQ(host.cgroupns_mode, "private");
  EXPECT_EQ(host.network_mode, "bridge");
  EXPECT_EQ(host.restart_policy.name, "no");
  EXPECT_EQ(host.log_config.type, "json-file");
  EXPECT_EQ(host.runtime, "runc");
  EXPECT_GE(host.masked_paths->size(), 12u);
  EXPECT_EQ(host.readonly_paths->size(), 5u);
  EXPECT_FALSE(host.pids_limit);
  CreateRequest request;
  request.host.memory = 10;
  request.host.privileged = true;
  request.host.network_mode = "default";
  request.config.working_dir = "/a/../b/";
  fill_defaults(request);
  EXPECT_EQ(request.host.memory_swap, 20);
  EXPECT_FALSE(request.host.masked_paths);
  EXPECT_EQ(request.host.network_mode, "bridge");
  EXPECT_EQ(request.config.working_dir, "/b");
  CreateRequest said;
  said.host.masked_paths.emplace();
  said.host.shm_size = 1;
  said.host.ipc_mode = "host";
  fill_defaults(said);
  EXPECT_TRUE(said.host.masked_paths->empty());
  EXPECT_EQ(said.host.shm_size, 1);
  fill_defaults(said, 2);
  EXPECT_EQ(said.host.shm_size, 1);
  CreateRequest unsaid;
  fill_defaults(unsaid, 128 << 20);
  EXPECT_EQ(unsaid.host.shm_size, 128 << 20);
  EXPECT_EQ(said.host.ipc_mode, "host");
}

constexpr const char* everyone =
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

TEST(Hosts, are_everyones_and_those_asked_for_and_our_own) {
  CreateRequest request = plain_request();
  EXPECT_EQ(hosts_file(request, "web", {}), everyone);
  EXPECT_EQ(hosts_file(request, "web", {{"172.17.0.2", "web.x web"}}),
            cat(everyone, "172.17.0.2\tweb.x web\n"));
  EXPECT_EQ(hosts_file(request, "web", {{"172.17.0.2", ""}}), cat(everyone, "172.17.0.2\tweb\n"));
  request.host.extra_hosts = {"a:1.2.3.4", "b:[::5]", "gw:host-gateway"};
  EXPECT_EQ(hosts_file(request, "web", {}), cat(everyone, "1.2.3.4\ta\n::5\tb\n"));
  EXPECT_EQ(hosts_file(request, "web", {}, "172.17.0.1"),
            cat(everyone, "1.2.3.4\ta\n::5\tb\n172.17.0.1\tgw\n"));
  request.host.extra_hosts = {"a:1.2.3.4\n6.6.6.6 evil"};
  EXPECT_EQ(hosts_file(request, "web", {{"172.17.0.2", "x\n6.6.6.6 evil"}}), everyone);
}

// Goal: the bytes are dockerd's (conform_engine_names compares them with its own).
std::string resolv_text(const HostConfig& host, std::string_view own, bool embedded) {
  std::string whole = resolv_conf(host, own, embedded);
  const std::string_view begin =
      "# Generated by Docker Engine.\n"
      "# This file can be edited; Docker Engine will not make further changes once it\n"
      "# has been modified.\n\n";
  EXPECT_TRUE(whole.starts_with(begin));
  return whole.substr(begin.size());
}

constexpr std::string_view own_resolv_conf =
    "# c\nnameserver 10.0.0.1 # x\nnameserver 127.0.0.53\nsearch a.org b.org\n"
    "options ndots:2 edns0\nnonsense\n";

TEST(Resolving, uses_the_hosts_servers_but_not_the_host_itself) {
  HostConfig host;
  EXPECT_EQ(resolv_text(host, own_resolv_conf, false),
            "nameserver 10.0.0.1\nsearch a.org b.org\noptions ndots:2 edns0\n\n"
            "# Based on host file: '/etc/resolv.conf' (legacy)\n# Overrides: []\n"
            "# Option ndots from: host\n");
  const std::string everyones =
      "nameserver 8.8.8.8\nnameserver 8.8.4.4\n\n"
      "# Based on host file: '/etc/resolv.conf' (legacy)\n# Used default nameservers.\n"
      "# Overrides: []\n";
  EXPECT_EQ(resolv_text(host, "nameserver 127.0.0.54\nnameserver ::1\n", false), everyones);
  EXPECT_EQ(resolv_text(host, "", false), everyones);
  HostConfig shared;
  shared.network_mode = "host";
  EXPECT_EQ(resolv_text(shared, "nameserver 127.0.0.53\n", false),
            "nameserver 127.0.0.53\n\n# Based on host file: '/etc/resolv.conf'\n"
            "# Overrides: []\n");
  host.dns = {"1.1.1.1", "127.0.0.1"};
  host.dns_search = {"c.org"};
  host.dns_options = {"timeout:1"};
  const std::string end =
      "options timeout:1\n\n# Based on host file: '/etc/resolv.conf' (legacy)\n"
      "# Overrides: [nameservers search options]\n";
  const std::string servers = "nameserver 1.1.1.1\nnameserver 127.0.0.1\n";
  EXPECT_EQ(resolv_text(host, own_resolv_conf, false), servers + "search c.org\n" + end);
  host.dns_search = {"."};
  EXPECT_EQ(resolv_text(host, own_resolv_conf, false), servers + end);
}

TEST(Resolving, looks_behind_the_server_of_systemd) {
  const HostConfig host;
  const std::string_view own = "nameserver 127.0.0.53\noptions edns0\n";
  EXPECT_TRUE(resolv_conf(host, own, false, "nameserver 10.0.0.1\nsearch a.org\n")
                  .ends_with("nameserver 10.0.0.1\nsearch a.org\n\n"
                             "# Based on host file: '/run/systemd/resolve/resolv.conf' (legacy)\n"
                             "# Overrides: []\n"));
  EXPECT_TRUE(resolv_conf(host, own, false)
                  .ends_with("# Based on host file: '' (legacy)\n# Used default nameservers.\n"
                             "# Overrides: []\n"));
  EXPECT_TRUE(resolv_conf(host, own, true, "nameserver 10.0.0.1\n")
                  .contains("# ExtServers: [host(127.0.0.53)]\n"));
}

TEST(Resolving, on_networks_of_ones_own_asks_the_embedded_server) {
  HostConfig host;
  EXPECT_EQ(resolv_text(host, "nameserver 10.0.0.1\nnameserver 127.0.0.53\noptions edns0\n", true),
            "nameserver 127.0.0.11\noptions edns0 ndots:0\n\n"
            "# Based on host file: '/etc/resolv.conf' (internal resolver)\n"
            "# ExtServers: [host(10.0.0.1) host(127.0.0.53)]\n# Overrides: []\n"
            "# Option ndots from: internal\n");
  EXPECT_EQ(resolv_text(host, "", true),
            "nameserver 127.0.0.11\noptions ndots:0\n\n"
            "# Based on host file: '/etc/resolv.conf' (internal resolver)\n"
            "# NO EXTERNAL NAMESERVERS DEFINED\n# Overrides: []\n"
            "# Option ndots from: internal\n");
  host.dns = {"9.9.9.9"};
  host.dns_options = {"ndots:3"};
  EXPECT_EQ(resolv_text(host, own_resolv_conf, true),
            "nameserver 127.0.0.11\nsearch a.org b.org\noptions ndots:3\n\n"
            "# Based on host file: '/etc/resolv.conf' (internal resolver)\n"
            "# ExtServers: [9.9.9.9]\n# Overrides: [nameservers options]\n"
            "# Option ndots from: override\n");
}

TEST(Resolving, asks_outside_by_the_container_but_for_what_is_on_the_hosts_loopback) {
  HostConfig host;
  auto found = upstreams_of(host, own_resolv_conf);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].address, "10.0.0.1");
  EXPECT_FALSE(found[0].from_host);
  EXPECT_EQ(found[1].address, "127.0.0.53");
  EXPECT_TRUE(found[1].from_host);
  EXPECT_TRUE(has_ndots_set(host, own_resolv_conf));
  EXPECT_FALSE(has_ndots_set(host, "options ndots:0\n"));
  // What was asked for is the container's own.
  host.dns = {"127.0.0.1", "fd00::1"};
  found = upstreams_of(host, own_resolv_conf);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_FALSE(found[0].from_host);
}

}  // namespace
}  // namespace nacelle::engine
