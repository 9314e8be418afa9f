// Goal: what clients read of a container has dockerd's members, in dockerd's order. The expected
// texts are what dockerd 28.5 answered, with its paths and ids replaced.
#include "api/container_json.h"

#include <gtest/gtest.h>

#include "codec/json.h"

namespace nacelle::api {
namespace {

using engine::Container;
using engine::Phase;

constexpr int64_t second = 1'000'000'000;

Container created() {
  Container one;
  one.id = "48888595940a";
  one.name = "c1";
  one.created = "2026-11-24T04:31:52.534110298Z";
  one.path = "true";
  one.image_id = "sha256:539a";
  one.directory = "/data/containers/48888595940a";
  one.config.hostname = "48888595940a";
  one.config.image = "busybox";
  one.config.cmd = {true, {"true"}};
  one.host.log_config.type = "json-file";
  one.host.network_mode = "bridge";
  one.host.restart_policy.name = "no";
  one.host.cgroupns_mode = "private";
  one.host.ipc_mode = "private";
  one.host.shm_size = 67108864;
  one.host.runtime = "runc";
  one.host.oom_kill_disable = false;
  one.host.masked_paths = {{"/proc/asound"}};
  one.host.readonly_paths = {{"/proc/bus"}};
  one.endpoints["bridge"];
  return one;
}

// dockerd's answer; ours differs in what is named in the test.
constexpr const char* created_inspect =
    R"({"Id":"48888595940a","Created":"2026-11-24T04:31:52.534110298Z","Path":"true","Args":[],)"
    R"("State":{"Status":"created","Running":false,"Paused":false,"Restarting":false,)"
    R"("OOMKilled":false,"Dead":false,"Pid":0,"ExitCode":0,"Error":"",)"
    R"("StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"},)"
    R"("Image":"sha256:539a","ResolvConfPath":"","HostnamePath":"","HostsPath":"","LogPath":"",)"
    R"("Name":"/c1","RestartCount":0,"Driver":"overlay2","Platform":"linux","MountLabel":"",)"
    R"("ProcessLabel":"","AppArmorProfile":"","ExecIDs":null,"HostConfig":{"Binds":null,)"
    R"("ContainerIDFile":"","LogConfig":{"Type":"json-file","Config":{}},"NetworkMode":"bridge",)"
    R"("PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":false,)"
    R"("VolumeDriver":"","VolumesFrom":null,"ConsoleSize":[0,0],"CapAdd":null,"CapDrop":null,)"
    R"("CgroupnsMode":"private","Dns":null,"DnsOptions":null,"DnsSearch":null,"ExtraHosts":null,)"
    R"("GroupAdd":null,"IpcMode":"private","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"",)"
    R"("Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,)"
    R"("UTSMode":"","UsernsMode":"","ShmSize":67108864,"Runtime":"runc","Isolation":"",)"
    R"("CpuShares":0,"Memory":0,"CgroupParent":"","BlkioWeight":0,"BlkioWeightDevice":null,)"
    R"("BlkioDeviceReadBps":null,"BlkioDeviceWriteBps":null,"BlkioDeviceReadIOps":null,)"
    R"("BlkioDeviceWriteIOps":null,"CpuPeriod":0,"CpuQuota":0,"CpuRealtimePeriod":0,)"
    R"("CpuRealtimeRuntime":0,"CpusetCpus":"","CpusetMems":"","Devices":null,)"
    R"("DeviceCgroupRules":null,"DeviceRequests":null,"MemoryReservation":0,"MemorySwap":0,)"
    R"("MemorySwappiness":null,"NanoCpus":0,"OomKillDisable":false,"PidsLimit":null,)"
    R"("Ulimits":null,"CpuCount":0,"CpuPercent":0,"IOMaximumIOps":0,"IOMaximumBandwidth":0,)"
    R"("MaskedPaths":["/proc/asound"],"ReadonlyPaths":["/proc/bus"]},"GraphDriver":{"Data":{)"
    R"("ID":"48888595940a","UpperDir":"/data/containers/48888595940a/upper",)"
    R"("WorkDir":"/data/containers/48888595940a/work"},"Name":"overlay2"},"Mounts":[],)"
    R"("Config":{"Hostname":"48888595940a","Domainname":"","User":"","AttachStdin":false,)"
    R"("AttachStdout":false,"AttachStderr":false,"Tty":false,"OpenStdin":false,)"
    R"("StdinOnce":false,"Env":null,"Cmd":["true"],"Image":"busybox","Volumes":null,)"
    R"("WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{}},"NetworkSettings":{)"
    R"("Bridge":"","SandboxID":"","SandboxKey":"","Ports":{},"HairpinMode":false,)"
    R"("LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,"SecondaryIPAddresses":null,)"
    R"("SecondaryIPv6Addresses":null,"EndpointID":"","Gateway":"","GlobalIPv6Address":"",)"
    R"("GlobalIPv6PrefixLen":0,"IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","MacAddress":"",)"
    R"("Networks":{"bridge":{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"",)"
    R"("DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"","Gateway":"",)"
    R"("IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"",)"
    R"("GlobalIPv6PrefixLen":0,"DNSNames":null}}}})";

// Differences from dockerd: PortBindings is {} and not null when there was no HostConfig, NanoCpus
// stands with the other limits, and GraphDriver names no layers.
TEST(ContainerJson, inspect_of_a_created_container_is_dockers) {
  EXPECT_EQ(inspect_json(created(), {}), created_inspect);
}

TEST(ContainerJson, inspect_with_sizes) {
  const std::string text = inspect_json(created(), Sizes({5, 1984254}));
  EXPECT_NE(text.find(R"(,"SizeRw":5,"SizeRootFs":1984254,"Mounts":[])"), std::string::npos);
}

TEST(ContainerJson, inspect_of_a_running_container) {
  Container one = created();
  one.state.phase = Phase::Paused;
  one.state.pid = 7;
  one.state.started_at = "2026-11-24T04:31:53Z";
  one.state.health.emplace().status = "healthy";
  one.state.health->log.push_back({"a", "b", 0, "out"});
  one.config.healthcheck.emplace().test = {"CMD", "true"};
  one.config.exposed_ports = {{"80/tcp", {}}};
  one.config.stop_timeout = 0;
  one.host.init = false;
  one.host.tmpfs = {{"/t", ""}};
  one.mounts = {{.type = "volume",
                 .name = "v",
                 .source = "/data/v",
                 .destination = "/v",
                 .driver = "local",
                 .mode = "z",
                 .rw = false,
                 .propagation = ""}};
  one.endpoints["bridge"].ip_address = "172.17.0.2";
  one.endpoints["bridge"].ipam_config.emplace().ipv4_address = "172.17.0.2";
  one.execs = {"e1"};
  const std::string text = inspect_json(one, {});
  ASSERT_TRUE(codec::json::Document::parse(text));
  for (const char* part :
       {R"("Status":"paused","Running":true,"Paused":true,"Restarting":false)",
        R"("Health":{"Status":"healthy","FailingStreak":0,"Log":[{"Start":"a","End":"b",)"
        R"("ExitCode":0,"Output":"out"}]})",
        R"("HostsPath":"/data/containers/48888595940a/hosts")", R"("ExecIDs":["e1"])",
        R"("Healthcheck":{"Test":["CMD","true"]})", R"("ExposedPorts":{"80/tcp":{}})",
        R"("StopTimeout":0)", R"("Init":false)", R"("Tmpfs":{"/t":""})",
        R"("Mounts":[{"Type":"volume","Name":"v","Source":"/data/v","Destination":"/v",)"
        R"("Driver":"local","Mode":"z","RW":false,"Propagation":""}])",
        R"("SandboxKey":"/proc/7/ns/net","Ports":{"80/tcp":null})", R"("IPAddress":"172.17.0.2")",
        R"("IPAMConfig":{"IPv4Address":"172.17.0.2"})"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(ContainerJson, a_summary_is_dockers) {
  codec::json::Writer json;
  write_summary(json, created(), Sizes({0, 1984254}), 0);
  EXPECT_EQ(
      std::move(json).take(),
      R"({"Id":"48888595940a","Names":["/c1"],"Image":"busybox","ImageID":"sha256:539a",)"
      R"("Command":"true","Created":1795494712,"Ports":[],"SizeRootFs":1984254,"Labels":{},)"
      R"("State":"created","Status":"Created","HostConfig":{"NetworkMode":"bridge"},)"
      R"("NetworkSettings":{"Networks":{"bridge":{"IPAMConfig":null,"Links":null,"Aliases":null,)"
      R"("MacAddress":"","DriverOpts":null,"GwPriority":0,"NetworkID":"","EndpointID":"",)"
      R"("Gateway":"","IPAddress":"","IPPrefixLen":0,"IPv6Gateway":"","GlobalIPv6Address":"",)"
      R"("GlobalIPv6PrefixLen":0,"DNSNames":null}}},"Mounts":[]})");
}

TEST(ContainerJson, exposed_ports_are_listed_while_it_runs) {
  Container one = created();
  one.config.exposed_ports = {{"80/tcp", {}}, {"53/udp", {}}, {"bogus", {}}};
  const auto summary = [&] {
    codec::json::Writer json;
    write_summary(json, one, {}, 0);
    return std::move(json).take();
  };
  EXPECT_NE(summary().find(R"("Ports":[])"), std::string::npos);
  one.state.phase = Phase::Running;
  EXPECT_NE(summary().find(
                R"("Ports":[{"PrivatePort":53,"Type":"udp"},{"PrivatePort":80,"Type":"tcp"}])"),
            std::string::npos);
  one.host.network_mode = "host";
  EXPECT_NE(summary().find(R"("Ports":[])"), std::string::npos);
}

TEST(ContainerJson, ports) {
  EXPECT_EQ(parse_port("80")->protocol, "tcp");
  EXPECT_EQ(parse_port("80/udp")->protocol, "udp");
  for (const char* text : {"", "/tcp", "x/tcp", "-1/tcp", "65536/tcp", "80-81/tcp", " 80"}) {
    EXPECT_FALSE(parse_port(text)) << text;
  }
}

TEST(ContainerTexts, durations) {
  const std::pair<int64_t, const char*> cases[] = {
      {-5, "Less than a second"}, {0, "Less than a second"}, {1, "1 second"},
      {59, "59 seconds"},         {60, "About a minute"},    {119, "About a minute"},
      {120, "2 minutes"},         {3599, "59 minutes"},      {3600, "About an hour"},
      {5399, "About an hour"},    {5400, "2 hours"},         {47 * 3600, "47 hours"},
      {48 * 3600, "2 days"},      {13 * 86400, "13 days"},   {14 * 86400, "2 weeks"},
      {59 * 86400, "8 weeks"},    {60 * 86400, "2 months"},  {729 * 86400, "24 months"},
      {730 * 86400, "2 years"},
  };
  for (const auto& [seconds, text] : cases) EXPECT_EQ(human_duration(seconds * second), text);
}

TEST(ContainerTexts, states) {
  engine::ContainerState state;
  state.started_at = "1970-01-01T00:00:10Z";
  state.finished_at = "1970-01-01T00:00:40Z";
  state.exit_code = 137;
  const int64_t now = 100 * second;
  const std::pair<Phase, const char*> cases[] = {
      {Phase::Created, "Created"},
      {Phase::Running, "Up About a minute"},
      {Phase::Paused, "Up About a minute (Paused)"},
      {Phase::Restarting, "Restarting (137) About a minute ago"},
      {Phase::Removing, "Removal In Progress"},
      {Phase::Exited, "Exited (137) About a minute ago"},
      {Phase::Dead, "Dead"},
  };
  for (const auto& [phase, text] : cases) {
    state.phase = phase;
    EXPECT_EQ(status_text(state, now), text);
  }
  state.phase = Phase::Running;
  state.health.emplace().status = "starting";
  EXPECT_EQ(status_text(state, now), "Up About a minute (health: starting)");
  state.health->status = "unhealthy";
  EXPECT_EQ(status_text(state, now), "Up About a minute (unhealthy)");
  state.health->status = "none";
  EXPECT_EQ(status_text(state, now), "Up About a minute");
}

TEST(ContainerTexts, commands) {
  Container one;
  one.path = "sh";
  EXPECT_EQ(command_text(one), "sh");
  one.args = {"-c", "exit 3"};
  EXPECT_EQ(command_text(one), "sh -c 'exit 3'");
}

}  // namespace
}  // namespace nacelle::api
