// The options of `run`: what they ask the engine for. That they ask for what Docker's client asks
// for is tests/conform/nacelle_cli; this needs no other program.
#include "cli/nacelle/run_options.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "cli/nacelle/datum.h"
#include "cli/nacelle/run_values.h"

namespace nacelle::cli {
namespace {

using Words = std::vector<std::string>;

Datum body_of(Words words) {
  words.push_back("busybox");
  Result<ParsedRun> parsed = parse_run(RunVerb::Create, words);
  if (!parsed || parsed->exit_code) return {};
  return *Datum::parse(parsed->plan.body());
}

TEST(RunOptions, an_option_is_one_place_in_the_request) {
  const struct {
    Words words;
    Words path;
    const char* json;
  } cases[] = {
      {{}, {"Image"}, "\"busybox\""},
      {{"--entrypoint", "/x"}, {"Entrypoint"}, "[\"/x\"]"},
      {{"--entrypoint="}, {"Entrypoint"}, "[\"\"]"},
      {{"-it"}, {"StdinOnce"}, "true"},
      {{"-m", "1g"}, {"HostConfig", "Memory"}, "1073741824"},
      {{"--memory-swap", "-1"}, {"HostConfig", "MemorySwap"}, "-1"},
      {{"--cpus", "0.5"}, {"HostConfig", "NanoCpus"}, "500000000"},
      {{"--init"}, {"HostConfig", "Init"}, "true"},
      {{"--init=false"}, {"HostConfig", "Init"}, "false"},
      {{"--security-opt", "systempaths=unconfined"}, {"HostConfig", "MaskedPaths"}, "[]"},
      {{}, {"HostConfig", "MaskedPaths"}, "null"},
      {{"-p", "1-2:3-4/udp"},
       {"HostConfig", "PortBindings"},
       R"({"3/udp":[{"HostIp":"","HostPort":"1"}],"4/udp":[{"HostIp":"","HostPort":"2"}]})"},
      {{"-p", "[::1]::80"},
       {"HostConfig", "PortBindings"},
       R"({"80/tcp":[{"HostIp":"::1","HostPort":""}]})"},
      {{"--cap-add", "net_admin", "--cap-add", "CAP_NET_ADMIN"},
       {"HostConfig", "CapAdd"},
       "[\"CAP_NET_ADMIN\"]"},
      {{"--restart", "on-failure:3"},
       {"HostConfig", "RestartPolicy"},
       R"({"Name":"on-failure","MaximumRetryCount":3})"},
      {{"--stop-timeout", "5"}, {"StopTimeout"}, "5"},
      {{"-v", "/a:/b:ro"}, {"HostConfig", "Binds"}, "[\"/a:/b:ro\"]"},
      {{"-v", "/a"}, {"Volumes"}, "{\"/a\":{}}"},
      {{"--health-cmd", "x"}, {"Healthcheck", "Test"}, "[\"CMD-SHELL\",\"x\"]"},
  };
  for (const auto& [words, path, json] : cases) {
    const Datum body = body_of(words);
    const Datum* found = &body;
    for (const std::string& step : path) found = &(*found)[step];
    EXPECT_EQ(found->json(), json) << testing::PrintToString(words);
  }
}

TEST(RunOptions, what_is_behind_the_image_is_the_containers) {
  const Result<ParsedRun> parsed = parse_run(RunVerb::Run, {"-d", "busybox", "ls", "-d", "--rm"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->plan.config.cmd.words, (Words{"ls", "-d", "--rm"}));
  EXPECT_TRUE(parsed->plan.detach);
  EXPECT_FALSE(parsed->plan.host.auto_remove);
}

TEST(RunOptions, mistakes_are_told) {
  const Words cases[] = {
      {"--mount", "type=bind,src=/a"},
      {"--mount", "type=bind,dst=/a,tmpfs-size=1"},
      {"--mount", "type=tmpfs,dst=/a,tmpfs-mode=9"},
      {"--mount", "dst=/a,\"open"},
      {"--mount", "dst=/a,x=y"},
      {"--mount", ""},
      {"-v", "relative"},
      {"-v", ":/b"},
      {"-v", "/a:"},
      {"--security-opt", "seccomp=/nowhere"},
      {"--security-opt", "what"},
      {"--storage-opt", "x"},
      {"--rm", "--restart", "always"},
      {"--restart", ":3"},
      {"--restart", "on-failure:x"},
      {"--no-healthcheck", "--health-retries", "3"},
      {"--health-interval", "-5s"},
      {"--pid", "x"},
      {"--userns", "x"},
      {"--pull", "x"},
      {"-a", "x"},
      {"--network", "name="},
      {"--network", "alias=x"},
      {"--network", "a", "--network", "a"},
      {"--network", "name=a,ip=1.1.1.1", "--ip", "1.1.1.2"},
      {"--network", "name=a,gw-priority=x"},
      {"--memory-swappiness", "500"},
      {"--env-file", "/nowhere"},
  };
  for (Words words : cases) {
    const std::string shown = testing::PrintToString(words);
    words.push_back("busybox");
    testing::internal::CaptureStderr();
    const Result<ParsedRun> parsed = parse_run(RunVerb::Create, words);
    const bool refused = !parsed || parsed->exit_code == exit_usage;
    testing::internal::GetCapturedStderr();
    EXPECT_TRUE(refused) << shown;
  }
}

TEST(RunValues, ports_that_are_none) {
  for (const char* text : {"", "x", "80/", "0x50", "-1", "65536", "1-", "3-1", "80:x", "1-3:1-2",
                           ":80:80:80", "1.2.3.4.5:80:80", "80/icmp", "80/tcp/udp", "target=x",
                           "published=80", "target=80,mode", "target=80,what=x"}) {
    engine::Keys exposed;
    engine::PortMap bindings;
    if (std::string_view(text) == "80/") continue;  // as Docker: the protocol is TCP
    EXPECT_FALSE(add_published(text, exposed, bindings)) << text;
  }
}

TEST(RunValues, csv_has_quotes) {
  EXPECT_EQ(*parse_csv("a,\"b,c\",\"d\"\"e\","), (Words{"a", "b,c", "d\"e", ""}));
  for (const char* text : {"\"", "a\"b", "\"a\"b", "a,\"b"}) EXPECT_FALSE(parse_csv(text)) << text;
}

TEST(RunValues, devices_ulimits_hosts_and_the_rest_are_checked) {
  for (const char* text : {"", "x", ":", "/a:b", "/a:/b:rx", "/a:/b:r:w"}) {
    EXPECT_FALSE(parse_device(text)) << text;
  }
  for (const char* text :
       {"", "nofile", "x=1", "nofile=", "nofile=a", "nofile=2:1", "nofile=-1:5", "=1"}) {
    EXPECT_FALSE(parse_ulimit(text)) << text;
  }
  for (const char* text : {"", "a", ":1.2.3.4", "a:", "a:1.2.3", "a:[::1"}) {
    EXPECT_FALSE(check_added_host(text)) << text;
  }
  for (const char* text : {"", "1:2:3:4:5:6", "02-42-ac-11-00-0g", "02:42:ac:11:00:022"}) {
    EXPECT_FALSE(check_mac_address(text)) << text;
  }
  for (const char* text : {"", "-1", "x", "1/2", "0.1234567890"})
    EXPECT_FALSE(parse_cpus(text)) << text;
  for (const char* text : {"x:1", "/dev/a", "/dev/a:", "/dev/a:x"}) {
    EXPECT_FALSE(parse_throttle(text, true)) << text;
    EXPECT_FALSE(parse_weight_device(text)) << text;
  }
  EXPECT_TRUE(is_cdi_device("vendor.com/class=name"));
  for (const char* text : {"/dev/a=b", "vendor=name", "vendor/class", "vendor/=x", "v/c="}) {
    EXPECT_FALSE(is_cdi_device(text)) << text;
  }
}

}  // namespace
}  // namespace nacelle::cli
