// Goal: what dockerd refuses is refused, in its words. Method: one change to a request that passes.
#include <unistd.h>

#include <functional>

#include "fixture.h"

namespace nacelle::engine {
namespace {

using Change = std::function<void(CreateRequest&)>;
struct Case {
  const char* complaint;  // "ok": none
  Change change;
};

void expect(const std::vector<Case>& cases) {
  for (size_t i = 0; i < cases.size(); ++i) {
    CreateRequest request;
    request.config.cmd = {.set = true, .words = {"true"}};
    cases[i].change(request);
    const auto result = check_request(request);
    EXPECT_EQ(message_of(result), cases[i].complaint) << "case " << i;
    if (!result) {
      // dockerd answers some with 500.
      const std::string& text = result.error().message();
      const bool as_internal =
          text.starts_with("invalid --security-opt") || text.starts_with("--storage-opt");
      EXPECT_EQ(result.error().kind(), as_internal ? Kind::Internal : Kind::Invalid)
          << "case " << i;
    }
  }
}
#define WITH(...) [](CreateRequest& r) { __VA_ARGS__; }

TEST(Requests, without_wishes_pass) {
  expect({{"ok", WITH(r.name = "web")}});
  EXPECT_EQ(message_of(check_request(plain_request())), "ok");
}

TEST(Requests, have_names) {
  const char* bad = "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
  for (const char* name : {"a", "-ab", "_ab", "a b", "a/b", "ä-b", "a:b", ".ab"}) {
    char text[200];
    snprintf(text, sizeof text, bad, name);
    CreateRequest request = plain_request();
    request.name = name;
    EXPECT_EQ(message_of(check_request(request)), text);
  }
  for (const char* name : {"ab", "0-_.", "/ab", "A1"}) {
    CreateRequest request = plain_request();
    request.name = name;
    EXPECT_EQ(message_of(check_request(request)), "ok") << name;
  }
}

TEST(Requests, have_sound_configurations) {
  expect({
      {"the working directory 'tmp' is invalid, it needs to be an absolute path",
       WITH(r.config.working_dir = "tmp")},
      {"ok", WITH(r.config.working_dir = "/tmp/..")},
      {"invalid signal: NOPE", WITH(r.config.stop_signal = "NOPE")},
      {"ok", WITH(r.config.stop_signal = "SIGUSR1")},
      {"invalid environment variable: ", WITH(r.config.env = {""})},
      {"invalid environment variable: =x", WITH(r.config.env = {"=x"})},
      {"invalid environment variable: a\nb=x", WITH(r.config.env = {"a\nb=x"})},
      {"ok", WITH(r.config.env = {"a=x\ny"})},
      {"ok", WITH(r.config.env = {"A"})},
      {"a command must not contain NUL", WITH(r.config.cmd.words = {std::string("a\0b", 3)})},
      {"invalid hostname format: a\nb", WITH(r.config.hostname = "a\nb")},
      {"invalid hostname format: a/b", WITH(r.config.hostname = "a/b")},
      {"invalid hostname format: a b", WITH(r.config.hostname = "a b")},
      {"ok", WITH(r.config.hostname = std::string(64, 'x'))},
      {"invalid domainname format: a b", WITH(r.config.domainname = "a b")},
      {"control characters are not allowed", WITH(r.config.user = "a\nb")},
  });
  CreateRequest request = plain_request();
  request.config.hostname = std::string(65, 'x');
  EXPECT_FALSE(check_request(request));
  request = plain_request();
  request.config.env = {std::string("A=\0", 3)};
  EXPECT_FALSE(check_request(request));
}

TEST(Requests, have_sound_health_checks) {
  expect({
      {"Interval in Healthcheck cannot be less than 1ms",
       WITH(r.config.healthcheck.emplace().interval = 1)},
      {"Timeout in Healthcheck cannot be less than 1ms",
       WITH(r.config.healthcheck.emplace().timeout = 999999)},
      {"StartPeriod in Healthcheck cannot be less than 1ms",
       WITH(r.config.healthcheck.emplace().start_period = -1)},
      {"StartInterval in Healthcheck cannot be less than 1ms",
       WITH(r.config.healthcheck.emplace().start_interval = 1)},
      {"Retries in Healthcheck cannot be negative",
       WITH(r.config.healthcheck.emplace().retries = -1)},
      {"ok", WITH(r.config.healthcheck.emplace().interval = 1000000)},
  });
}

TEST(Requests, restart_by_policies_that_exist) {
  expect({
      {"ok", WITH(r.host.restart_policy.name = "always")},
      {"ok", WITH(r.host.restart_policy = (RestartPolicy{"on-failure", 3}))},
      {"can't create 'AutoRemove' container with restart policy",
       WITH(r.host.auto_remove = true; r.host.restart_policy.name = "always")},
      {"ok", WITH(r.host.auto_remove = true; r.host.restart_policy.name = "no")},
      {"invalid restart policy: maximum retry count can only be used with 'on-failure'",
       WITH(r.host.restart_policy = (RestartPolicy{"always", 3}))},
      {"invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot "
       "be negative",
       WITH(r.host.restart_policy = (RestartPolicy{"no", -1}))},
      {"invalid restart policy: maximum retry count cannot be negative",
       WITH(r.host.restart_policy = (RestartPolicy{"on-failure", -1}))},
      {"invalid restart policy: unknown policy 'never'; use one of 'no', 'always', 'on-failure', "
       "or "
       "'unless-stopped'",
       WITH(r.host.restart_policy.name = "never")},
  });
}

TEST(Requests, name_capabilities_that_exist) {
  expect({
      {"ok", WITH(r.host.cap_add = (std::vector<std::string>{"net_admin", "CAP_CHOWN", "all"}))},
      {"invalid CapAdd: unknown capability: \"CAP_NOPE\"", WITH(r.host.cap_add = {"nope"})},
      {"invalid CapDrop: unknown capability: \"CAP_NOPE\"", WITH(r.host.cap_drop = {"CAP_NOPE"})},
      {"invalid CapAdd: unknown capability: \"CAP_\"", WITH(r.host.cap_add = {""})},
  });
}

TEST(Requests, limit_memory_sensibly) {
  expect({
      {"Minimum memory limit allowed is 6MB", WITH(r.host.memory = 6291455)},
      {"ok", WITH(r.host.memory = 6291456)},
      {"Minimum memory limit allowed is 6MB", WITH(r.host.memory = -1)},
      {"Minimum memoryswap limit should be larger than memory limit, see usage",
       WITH(r.host.memory = 1 << 24; r.host.memory_swap = 1 << 23)},
      {"ok", WITH(r.host.memory = 1 << 24; r.host.memory_swap = -1)},
      {"ok", WITH(r.host.memory = 1 << 24; r.host.memory_swap = 1 << 24)},
      {"You should always set the Memory limit when using Memoryswap limit, see usage",
       WITH(r.host.memory_swap = 1 << 24)},
      {"Invalid value: 101, valid memory swappiness range is 0-100",
       WITH(r.host.memory_swappiness = 101)},
      {"Invalid value: -2, valid memory swappiness range is 0-100",
       WITH(r.host.memory_swappiness = -2)},
      {"ok", WITH(r.host.memory_swappiness = -1)},
      {"Minimum memory reservation allowed is 6MB", WITH(r.host.memory_reservation = 1)},
      {"Minimum memory limit can not be less than memory reservation limit, see usage",
       WITH(r.host.memory = 1 << 24; r.host.memory_reservation = 1 << 25)},
      {"SHM size can not be less than 0", WITH(r.host.shm_size = -1)},
      {"Invalid value 1001, range for oom score adj is [-1000, 1000]",
       WITH(r.host.oom_score_adj = 1001)},
      {"Invalid value -1001, range for oom score adj is [-1000, 1000]",
       WITH(r.host.oom_score_adj = -1001)},
  });
}

TEST(Requests, limit_processors_sensibly) {
  expect({
      {"Conflicting options: Nano CPUs and CPU Period cannot both be set",
       WITH(r.host.nano_cpus = 1; r.host.cpu_period = 1000)},
      {"Conflicting options: Nano CPUs and CPU Quota cannot both be set",
       WITH(r.host.nano_cpus = 1; r.host.cpu_quota = 1000)},
      {"CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
       WITH(r.host.cpu_period = 999)},
      {"CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
       WITH(r.host.cpu_period = 1000001)},
      {"CPU cfs quota can not be less than 1ms (i.e. 1000)", WITH(r.host.cpu_quota = 999)},
      {"invalid CPU shares (-1): value must be a positive integer", WITH(r.host.cpu_shares = -1)},
      {"kernel does not support CPU real-time scheduler", WITH(r.host.cpu_realtime_runtime = 1)},
      {"Invalid value 1- for cpuset cpus: invalid format: 1-", WITH(r.host.cpuset_cpus = "1-")},
      {"Invalid value 0,, for cpuset cpus: invalid format: 0,,", WITH(r.host.cpuset_cpus = "0,,")},
      {"Invalid value a for cpuset mems: invalid format: a", WITH(r.host.cpuset_mems = "a")},
      {"Range of blkio weight is from 10 to 1000", WITH(r.host.blkio_weight = 9)},
      {"Range of blkio weight is from 10 to 1000", WITH(r.host.blkio_weight = 1001)},
      {"ok", WITH(r.host.nano_cpus = 1'000'000'000; r.host.cpuset_cpus = "0")},
  });
  CreateRequest request = plain_request();
  const long count = ::sysconf(_SC_NPROCESSORS_ONLN);
  request.host.nano_cpus = (count + 1) * 1'000'000'000;
  EXPECT_EQ(message_of(check_request(request)),
            cat("range of CPUs is from 0.01 to ", count, ".00, as there are only ", count,
                " CPUs available"));
  request = plain_request();
  request.host.cpuset_cpus = "0,8000";
  EXPECT_TRUE(
      message_of(check_request(request))
          .starts_with("Requested CPUs are not available - requested 0,8000, available: 0"));
}

TEST(Requests, use_modes_that_exist) {
  expect({
      {"ok", WITH(r.host.ipc_mode = "shareable"; r.host.pid_mode = "container:x")},
      {"ok", WITH(r.host.userns_mode = "host"; r.host.cgroupns_mode = "host")},
      {"invalid IPC mode: container:", WITH(r.host.ipc_mode = "container:")},
      {"invalid IPC mode: shared", WITH(r.host.ipc_mode = "shared")},
      {"invalid PID mode: private", WITH(r.host.pid_mode = "private")},
      {"invalid UTS mode: container:x", WITH(r.host.uts_mode = "container:x")},
      {"invalid user namespace mode: private", WITH(r.host.userns_mode = "private")},
      {"invalid cgroup namespace mode: container:x", WITH(r.host.cgroupns_mode = "container:x")},
      {"invalid isolation (hyperv): linux only supports 'default'",
       WITH(r.host.isolation = "hyperv")},
      {"ok", WITH(r.host.isolation = "default")},
      {"unknown or invalid runtime name: kata", WITH(r.host.runtime = "kata")},
      {"ok", WITH(r.host.runtime = "runc")},
      {"error looking up logging plugin gelf: plugin \"gelf\" not found",
       WITH(r.host.log_config.type = "gelf")},
      {"ok", WITH(r.host.log_config.type = "local")},
  });
}

TEST(Requests, do_not_contradict_their_network) {
  const auto joined = [](CreateRequest& r) { r.host.network_mode = "container:x"; };
  const std::vector<Case> cases = {
      {"conflicting options: hostname and the network mode",
       [&](CreateRequest& r) { joined(r), r.config.hostname = "h"; }},
      {"conflicting options: container type network can't be used with links. This would result in "
       "undefined behavior",
       [&](CreateRequest& r) { joined(r), r.host.links = {"a:b"}; }},
      {"conflicting options: dns and the network mode",
       [&](CreateRequest& r) { joined(r), r.host.dns = {"1.1.1.1"}; }},
      {"conflicting options: custom host-to-IP mapping and the network mode",
       [&](CreateRequest& r) { joined(r), r.host.extra_hosts = {"a:1.2.3.4"}; }},
      {"conflicting options: mac-address and the network mode",
       [&](CreateRequest& r) { joined(r), r.config.mac_address = "02:00:00:00:00:01"; }},
      {"conflicting options: port publishing and the container type network mode",
       [&](CreateRequest& r) { joined(r), r.host.publish_all_ports = true; }},
      {"conflicting options: port exposing and the container type network mode",
       [&](CreateRequest& r) { joined(r), r.config.exposed_ports["80/tcp"]; }},
      {"invalid network mode: invalid container format container:<name|id>",
       [](CreateRequest& r) { r.host.network_mode = "container:"; }},
      {"conflicting options: hostname and the UTS mode",
       [](CreateRequest& r) { r.host.uts_mode = "host", r.config.hostname = "h"; }},
      {"conflicting options: host type networking can't be used with links. This would result in "
       "undefined behavior",
       [](CreateRequest& r) { r.host.network_mode = "host", r.host.links = {"a:b"}; }},
      {"ok", [&](CreateRequest& r) { joined(r); }},
  };
  expect(cases);
}

TEST(Requests, publish_ports_that_exist) {
  expect({
      {"ok", WITH(r.host.port_bindings["80/tcp"] = {{"", "8080"}})},
      {"ok", WITH(r.host.port_bindings["80"] = {{"127.0.0.1", ""}})},
      {"ok", WITH(r.host.port_bindings["53/udp"] = {{"::1", "1000-1010"}})},
      {"invalid port specification: \"65536\"", WITH(r.host.port_bindings["65536/tcp"])},
      {"invalid port specification: \"x\"", WITH(r.config.exposed_ports["x/tcp"])},
      {"invalid port specification: \"\"", WITH(r.config.exposed_ports["/tcp"])},
      {"invalid proto: icmp", WITH(r.config.exposed_ports["8/icmp"])},
      {"invalid port specification: \"70000\"",
       WITH(r.host.port_bindings["80/tcp"] = {{"", "70000"}})},
      {"invalid port specification: \"9-8\"", WITH(r.host.port_bindings["80/tcp"] = {{"", "9-8"}})},
      {"invalid port specification: \"-1\"", WITH(r.host.port_bindings["80/tcp"] = {{"", "-1"}})},
      {"invalid IP address: 1.2.3", WITH(r.host.port_bindings["80/tcp"] = {{"1.2.3", "1"}})},
  });
}

TEST(Requests, resolve_names_by_addresses) {
  expect({
      {"ok", WITH(r.host.extra_hosts = {"a:1.2.3.4"})},
      {"ok", WITH(r.host.extra_hosts = {"a:::1"})},
      {"ok", WITH(r.host.extra_hosts = {"a:[::1]"})},
      {"ok", WITH(r.host.extra_hosts = {"a:host-gateway"})},
      {"bad format for add-host: \"a\"", WITH(r.host.extra_hosts = {"a"})},
      {"bad format for add-host: \":1.2.3.4\"", WITH(r.host.extra_hosts = {":1.2.3.4"})},
      {"bad format for add-host: \"a\nb:1.2.3.4\"", WITH(r.host.extra_hosts = {"a\nb:1.2.3.4"})},
      {"invalid IP address in add-host: \"1.2.3\"", WITH(r.host.extra_hosts = {"a:1.2.3"})},
      {"invalid IP address in add-host: \"\"", WITH(r.host.extra_hosts = {"a:"})},
      {"bad nameserver address x: ParseAddr(\"x\"): unable to parse IP", WITH(r.host.dns = {"x"})},
      {"invalid DNS setting: a\nb", WITH(r.host.dns_search = {"a\nb"})},
      {"invalid DNS setting: a b", WITH(r.host.dns_options = {"a b"})},
  });
}

TEST(Requests, set_kernel_parameters_of_their_own) {
  expect({
      {"ok", WITH(r.host.sysctls["net.core.somaxconn"] = "1")},
      {"ok", WITH(r.host.sysctls["kernel.msgmax"] = "1")},
      {"ok", WITH(r.host.sysctls["fs.mqueue.msg_max"] = "1")},
      {"ok", WITH(r.host.sysctls["kernel.domainname"] = "x")},
      {"sysctl \"kernel.core_pattern\" is not in a separate kernel namespace",
       WITH(r.host.sysctls["kernel.core_pattern"] = "1")},
      {"sysctl \"vm.swappiness\" is not in a separate kernel namespace",
       WITH(r.host.sysctls["vm.swappiness"] = "1")},
      {"sysctl \"net.x\" not allowed in host network namespace",
       WITH(r.host.sysctls["net.x"] = "1"; r.host.network_mode = "host")},
      {"sysctl \"kernel.sem\" is not allowed in the hosts ipc namespace",
       WITH(r.host.sysctls["kernel.sem"] = "1"; r.host.ipc_mode = "host")},
      {"invalid sysctl \"net/../kernel\"", WITH(r.host.sysctls["net/../kernel"] = "1")},
      {"invalid sysctl \"net..x\"", WITH(r.host.sysctls["net..x"] = "1")},
      {"invalid sysctl \"net.x\"", WITH(r.host.sysctls["net.x"] = "1\nkernel.x=2")},
      {"invalid sysctl \"kernel.shm_rmid_forced=1+kernel.core_pattern\"",
       WITH(r.host.sysctls["kernel.shm_rmid_forced=1+kernel.core_pattern"] = "|/x")},
  });
}

TEST(Requests, ask_for_what_we_have) {
  expect({
      {"invalid device cgroup rule format: 'c 1:3'", WITH(r.host.device_cgroup_rules = {"c 1:3"})},
      {"invalid device cgroup rule format: 'x 1:3 r'",
       WITH(r.host.device_cgroup_rules = {"x 1:3 r"})},
      {"invalid device cgroup rule format: 'c 1 r'", WITH(r.host.device_cgroup_rules = {"c 1 r"})},
      {"invalid device cgroup rule format: 'c 1:3 rwmr'",
       WITH(r.host.device_cgroup_rules = {"c 1:3 rwmr"})},
      {"invalid device cgroup rule format: 'c 1:3 x'",
       WITH(r.host.device_cgroup_rules = {"c 1:3 x"})},
      {"invalid device cgroup rule format: 'c -1:3 r'",
       WITH(r.host.device_cgroup_rules = {"c -1:3 r"})},
      {"ok", WITH(r.host.device_cgroup_rules = {"a *:* rwm"})},
      {"invalid ulimit type: nope", WITH(r.host.ulimits = {{"nope", 1, 1}})},
      {"ulimit soft limit must be less than or equal to hard limit: 2 > 1",
       WITH(r.host.ulimits = {{"nofile", 1, 2}})},
      {"ulimit soft limit must be less than or equal to hard limit: -1 > 1",
       WITH(r.host.ulimits = {{"nofile", 1, -1}})},
      {"ok", WITH(r.host.ulimits = {{"nofile", -1, -1}})},
      {"invalid --security-opt 1: \"nope\"", WITH(r.host.security_opt = {"nope"})},
      {"invalid --security-opt 2: \"nope=1\"", WITH(r.host.security_opt = {"nope=1"})},
      {"invalid --security-opt 2: \"no-new-privileges=maybe\"",
       WITH(r.host.security_opt = {"no-new-privileges=maybe"})},
      {"--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
       WITH(r.host.storage_opt["size"] = "1G")},
      {"invalid Annotations: the empty string is not permitted as an annotation key",
       WITH(r.host.annotations[""] = "x")},
      {"invalid cgroup parent: /a/../b", WITH(r.host.cgroup_parent = "/a/../b")},
      {"ok", WITH(r.host.cgroup_parent = "/a/b")},
  });
}

}  // namespace
}  // namespace nacelle::engine
