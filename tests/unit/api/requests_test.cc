#include <gtest/gtest.h>

#include "api/json_requests.h"

namespace nacelle::api {
namespace {

TEST(CreateRequest, is_read_as_docker_reads_it) {
  const auto request = read_create_request(R"({
    "Image": "busybox", "Cmd": "true", "Entrypoint": ["/bin/sh", "-c"], "Env": ["A=b"],
    "Tty": true, "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}, "81/udp": null},
    "StopTimeout": 3, "Unknown": [1, {"x": 2}],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
    "HostConfig": {"Memory": 6291456, "AutoRemove": true, "Init": true, "PidsLimit": -1,
                   "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/udp": null},
                   "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 5}}],
                   "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
                   "MaskedPaths": [], "Binds": null},
    "NetworkingConfig": {"EndpointsConfig": {"mine": {"Aliases": ["web"]}, "bridge": null}}
  })");
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->config.image, "busybox");
  EXPECT_EQ(request->config.cmd.words, std::vector<std::string>{"true"});
  EXPECT_EQ(request->config.entrypoint.words.size(), 2u);
  EXPECT_TRUE(request->config.tty);
  EXPECT_EQ(request->config.labels.at("a"), "b");
  EXPECT_EQ(request->config.exposed_ports.size(), 2u);
  EXPECT_EQ(request->config.stop_timeout, 3);
  EXPECT_EQ(request->config.healthcheck->interval, 1'000'000'000);
  EXPECT_EQ(request->host.memory, 6291456);
  EXPECT_EQ(request->host.init, true);
  EXPECT_EQ(request->host.pids_limit, -1);
  EXPECT_FALSE(request->host.oom_kill_disable);
  EXPECT_EQ(request->host.port_bindings.at("80/tcp").at(0).host_port, "8080");
  EXPECT_TRUE(request->host.port_bindings.at("81/udp").empty());
  EXPECT_EQ(request->host.mounts.at(0).tmpfs_options->size_bytes, 5);
  EXPECT_EQ(request->host.restart_policy.maximum_retry_count, 2);
  EXPECT_TRUE(request->host.masked_paths && request->host.masked_paths->empty());
  EXPECT_FALSE(request->host.readonly_paths);
  EXPECT_EQ(request->networking.endpoints.at("mine").aliases.at(0), "web");
}

TEST(CreateRequest, host_config_may_be_absent) {
  for (const char* body : {R"({"Image":"a"})", R"({"Image":"a","HostConfig":null})",
                           R"({"Image":"a","HostConfig":{}})",
                           R"({"Image":"a","NetworkingConfig":null,"Cmd":null,"Env":null})"}) {
    const auto request = read_create_request(body);
    ASSERT_TRUE(request) << body;
    EXPECT_EQ(request->host.memory, 0);
    EXPECT_FALSE(request->config.cmd.set);
  }
  // A command that was emptied is not one that was left out.
  EXPECT_TRUE(read_create_request(R"({"Cmd":[]})")->config.cmd.set);
}

TEST(CreateRequest, that_is_wrong_names_the_place) {
  struct Case {
    const char* body;
    const char* complaint;  // a part of it
  };
  const Case cases[] = {
      {"", "invalid JSON"},
      {"null", "config cannot be empty in order to create a container"},
      {"{}", "config cannot be empty in order to create a container"},
      {"[]", "invalid JSON: expected an object"},
      {"5", "invalid JSON: expected an object"},
      {R"("x")", "invalid JSON: expected an object"},
      {R"({"Image":"a")", "invalid JSON"},
      {R"({"Image":"a"} x)", "invalid JSON"},
      {R"({"Image":"a"}{"Image":"b"})", "invalid JSON"},
      {R"({"Image":"a",})", "invalid JSON"},
      {R"({'Image':'a'})", "invalid JSON"},
      {"{\"Image\":\"\xff\"}", "invalid JSON"},
      {R"({"Image":5})", "invalid JSON: Image: expected a string"},
      {R"({"Image":["a"]})", "invalid JSON: Image: expected a string"},
      {R"({"Cmd":5})", "invalid JSON: Cmd: expected"},
      {R"({"Cmd":[5]})", "invalid JSON: Cmd[0]: expected a string"},
      {R"({"Cmd":{"a":"b"}})", "invalid JSON: Cmd: expected"},
      {R"({"Env":"a=b"})", "invalid JSON: Env: expected an array"},
      {R"({"Env":{"a":"b"}})", "invalid JSON: Env: expected an array"},
      {R"({"Tty":"true"})", "invalid JSON: Tty: expected"},
      {R"({"Tty":1})", "invalid JSON: Tty: expected"},
      {R"({"Labels":["a"]})", "invalid JSON: Labels: expected an object"},
      {R"({"Labels":{"a":1}})", "invalid JSON: Labels.a: expected a string"},
      {R"({"ExposedPorts":["80"]})", "invalid JSON: ExposedPorts: expected an object"},
      {R"({"ExposedPorts":{"80":5}})", "invalid JSON: ExposedPorts.80: expected an object"},
      {R"({"StopTimeout":"3"})", "invalid JSON: StopTimeout: expected"},
      {R"({"HostConfig":[]})", "invalid JSON: HostConfig: expected an object"},
      {R"({"HostConfig":{"Memory":"1g"}})", "invalid JSON: HostConfig.Memory: expected"},
      {R"({"HostConfig":{"Memory":1.5}})", "invalid JSON: HostConfig.Memory: expected"},
      {R"({"HostConfig":{"Memory":99999999999999999999}})", "invalid JSON: HostConfig.Memory:"},
      {R"({"HostConfig":{"BlkioWeight":-1}})", "invalid JSON: HostConfig.BlkioWeight:"},
      {R"({"HostConfig":{"Init":"yes"}})", "invalid JSON: HostConfig.Init: expected"},
      {R"({"HostConfig":{"Binds":"/a:/b"}})", "invalid JSON: HostConfig.Binds: expected an array"},
      {R"({"HostConfig":{"Mounts":[{"Target":5}]}})", "invalid JSON: HostConfig.Mounts[0].Target:"},
      {R"({"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":80}]}}})", ".HostPort: expected"},
      {R"({"HostConfig":{"PortBindings":{"80/tcp":{"HostPort":"80"}}}})", "expected an array"},
      {R"({"HostConfig":{"RestartPolicy":"always"}})", "HostConfig.RestartPolicy: expected"},
      {R"({"NetworkingConfig":{"EndpointsConfig":[]}})", "EndpointsConfig: expected an object"},
  };
  for (const Case& each : cases) {
    const auto request = read_create_request(each.body);
    ASSERT_FALSE(request) << each.body;
    EXPECT_NE(request.error().message().find(each.complaint), std::string::npos)
        << each.body << ": " << request.error().message();
    EXPECT_EQ(request.error().kind(), Kind::Invalid) << each.body;
  }
}

TEST(CreateRequest, a_deep_body_is_refused) {
  std::string body = R"({"X":)";
  body += std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_FALSE(read_create_request(body));
}

TEST(CreateRequest, the_mac_address_moves_to_its_network) {
  engine::CreateRequest request;
  EXPECT_FALSE(*move_mac_address(request));
  EXPECT_TRUE(request.networking.endpoints.empty());
  request.config.mac_address = "02:42:ac:11:00:02";
  EXPECT_TRUE(*move_mac_address(request));
  EXPECT_EQ(request.networking.endpoints.at("bridge").mac_address, "02:42:ac:11:00:02");
  EXPECT_EQ(request.config.mac_address, "");
  request.config.mac_address = "02:42:ac:11:00:03";
  EXPECT_FALSE(move_mac_address(request));  // two that differ
  for (const char* mode : {"host", "none", "container:x"}) {
    engine::CreateRequest other;
    other.config.mac_address = "02:42:ac:11:00:03";
    other.host.network_mode = mode;
    EXPECT_FALSE(move_mac_address(other)) << mode;
  }
}

TEST(UpdateRequest, knows_what_was_named) {
  const auto request = read_update_request(
      R"({"Memory":0,"CpuShares":5,"Unknown":1,"RestartPolicy":{"Name":"always"},)"
      R"("PidsLimit":null})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->present, (std::vector<std::string>{"CpuShares", "Memory"}));
  EXPECT_EQ(request->resources.cpu_shares, 5);
  EXPECT_EQ(request->restart_policy->name, "always");
  for (const char* body : {"", "{}", "null"}) {
    const auto nothing = read_update_request(body);
    ASSERT_TRUE(nothing) << body;
    EXPECT_TRUE(nothing->present.empty() && !nothing->restart_policy) << body;
  }
  for (const char* body : {"[]", "x", R"({"Memory":"x"})", R"({"RestartPolicy":"always"})",
                           R"({"CpuShares":1.5})", R"({"Ulimits":{}})"}) {
    EXPECT_FALSE(read_update_request(body)) << body;
  }
}

TEST(ExecRequest, needs_a_command) {
  const auto config =
      read_exec_config(R"({"Cmd":["a","b"],"Tty":true,"User":"1:2","Env":["a=b"]})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->cmd.size(), 2u);
  EXPECT_EQ(config->user, "1:2");
  for (const char* body : {"", "{}", "null", R"({"Cmd":[]})", R"({"Cmd":null})"}) {
    const auto none = read_exec_config(body);
    ASSERT_FALSE(none) << body;
    EXPECT_EQ(none.error().message(), "No exec command specified") << body;
  }
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"Cmd":"true"})", "invalid JSON: Cmd: expected an array"},
      {R"({"Cmd":["true"],"User":5})", "invalid JSON: User: expected a string"},
      {R"({"Cmd":["true"],"Env":"x"})", "invalid JSON: Env: expected an array"},
      {R"({"Cmd":["true"],"ConsoleSize":["1",2]})", "invalid JSON: ConsoleSize[0]: expected"},
      {"not json", "invalid JSON"},
  };
  for (const auto& [body, complaint] : wrong) {
    const auto result = read_exec_config(body);
    ASSERT_FALSE(result) << body;
    EXPECT_TRUE(result.error().message().starts_with(complaint)) << result.error().message();
  }
}

TEST(ExecRequest, start) {
  EXPECT_FALSE(read_exec_start("")->detach);
  EXPECT_TRUE(read_exec_start(R"({"Detach":true})")->detach);
  const auto sized = read_exec_start(R"({"Tty":true,"ConsoleSize":[24,80]})");
  ASSERT_TRUE(sized);
  EXPECT_EQ(sized->console->first, 24u);
  EXPECT_EQ(sized->console->second, 80u);
  EXPECT_FALSE(read_exec_start(R"({"ConsoleSize":null})")->console);
  for (const char* body : {"[]", R"({"Detach":1})", R"({"ConsoleSize":[1]})",
                           R"({"ConsoleSize":[1,2,3]})", R"({"ConsoleSize":[-1,2]})"}) {
    EXPECT_FALSE(read_exec_start(body)) << body;
  }
}

TEST(Parameters, console_sizes_and_numbers) {
  EXPECT_EQ(*read_console_size("0", "height"), 0u);
  EXPECT_EQ(*read_console_size("65535", "height"), 65535u);
  const std::pair<const char*, const char*> wrong[] = {
      {"", "invalid resize height \"\": invalid syntax"},
      {"x", "invalid resize height \"x\": invalid syntax"},
      {"1.5", "invalid resize height \"1.5\": invalid syntax"},
      {" 1", "invalid resize height \" 1\": invalid syntax"},
      {"-1", "invalid resize height \"-1\": value out of range"},
      {"65536", "invalid resize height \"65536\": value out of range"},
  };
  for (const auto& [text, complaint] : wrong) {
    const auto size = read_console_size(text, "height");
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().message(), complaint);
  }
  EXPECT_EQ(*read_number("-5"), -5);
  EXPECT_EQ(*read_number("+5"), 5);
  for (const char* text : {"", "abc", "5x", "+-5", "--5", "+", "99999999999"}) {
    EXPECT_FALSE(read_number(text)) << text;
  }
  EXPECT_EQ(read_number("abc").error().message(), "strconv.Atoi: parsing \"abc\": invalid syntax");
}

}  // namespace
}  // namespace nacelle::api
