// Images, volumes and networks as clients see them, and what they send about them.
#include <gtest/gtest.h>

#include "api/image_json.h"
#include "api/image_transfer.h"
#include "api/network_json.h"
#include "api/progress.h"
#include "api/volume_json.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "engine/host_info.h"
#include "failure.h"

namespace nacelle::test {
namespace {

using codec::json::Writer;
using image::Details;

codec::Digest digest(char digit) {
  return codec::Digest::parse(cat("sha256:", std::string(64, digit))).value();
}

Details image_of_two_layers() {
  Details details;
  details.image.names = {"docker.io/library/busybox:latest", "localhost:5000/a/b:1"};
  details.image.repo_digests = {cat("docker.io/library/busybox@", digest('e').text())};
  details.record.manifest.config.digest = digest('a');
  oci::ImageConfig& config = details.record.config;
  config.created = "2024-01-02T03:04:05.5Z";
  config.author = "someone";
  config.platform = {.os = "linux", .architecture = "amd64", .variant = {}, .os_version = {}};
  config.run.env = {"PATH=/bin"};
  config.run.command = {"sh"};
  config.run.labels = {{"k", "v"}};
  config.diff_ids = {digest('1'), digest('2')};
  config.history = {
      {.created = "2024-01-02T03:04:05Z", .created_by = "first", .author = {}, .comment = "c1"},
      {.created = {}, .created_by = "env", .author = {}, .comment = {}, .empty_layer = true},
      {.created = "2024-01-02T03:04:06Z", .created_by = "second", .author = {}, .comment = "c3"}};
  return details;
}

std::string summary(const Details& details, int version) {
  Writer json;
  api::ImageSizes sizes;
  sizes.bytes = 42;
  api::write_image_summary(json, details, api::repo_tags(details), api::repo_digests(details),
                           sizes, version);
  return std::move(json).take();
}

std::string inspected(const Details& details, int version) {
  Writer json;
  api::write_image_inspect(json, details, 42, version);
  return std::move(json).take();
}

TEST(ImageShapes, ASummaryIsDockers) {
  EXPECT_EQ(
      summary(image_of_two_layers(), 51),
      cat(R"({"Containers":-1,"Created":1704164645,"Id":")", digest('a').text(),
          R"(","Labels":{"k":"v"},"ParentId":"","RepoDigests":["busybox@)", digest('e').text(),
          R"("],"RepoTags":["busybox:latest","localhost:5000/a/b:1"],"SharedSize":-1,)"
          R"("Size":42})"));
}

TEST(ImageShapes, OldClientsSeeNoneWhereThereIsNoName) {
  Details details = image_of_two_layers();
  details.image.names.clear();
  details.image.repo_digests.clear();
  EXPECT_TRUE(summary(details, 42).contains(R"("RepoTags":["<none>:<none>"])"));
  EXPECT_TRUE(summary(details, 42).contains(R"("RepoDigests":["<none>@<none>"])"));
  EXPECT_TRUE(summary(details, 42).contains(R"("VirtualSize":42)"));
  EXPECT_TRUE(summary(details, 43).contains(R"("RepoTags":[])"));
  EXPECT_FALSE(summary(details, 51).contains("VirtualSize"));
}

TEST(ImageShapes, InspectSaysWhatRunsAndHow) {
  const std::string now = inspected(image_of_two_layers(), 51);
  EXPECT_TRUE(now.contains(R"("Config":{"Env":["PATH=/bin"],"Cmd":["sh"],"Labels":{"k":"v"}})"))
      << now;
  EXPECT_TRUE(now.contains(cat(R"("RootFS":{"Type":"layers","Layers":[")", digest('1').text(),
                               R"(",")", digest('2').text(), R"("]})")));
  EXPECT_TRUE(now.contains(R"("Comment":"c3","Created":"2024-01-02T03:04:05.5Z")"));
  const std::string before = inspected(image_of_two_layers(), 49);
  EXPECT_TRUE(before.contains(R"("AttachStdin":false)"));
  EXPECT_TRUE(before.contains(R"("Entrypoint":null)"));
}

TEST(ImageShapes, HistoryIsNewestFirstAndKnowsWhoMadeALayer) {
  Writer json;
  api::write_image_history(json, image_of_two_layers(), {10, 20});
  EXPECT_EQ(std::move(json).take(),
            cat(R"([{"Comment":"c3","Created":1704164646,"CreatedBy":"second","Id":")",
                digest('a').text(),
                R"(","Size":20,"Tags":["busybox:latest","localhost:5000/a/b:1"]},)"
                R"({"Comment":"","Created":0,"CreatedBy":"env","Id":"<missing>","Size":0,)"
                R"("Tags":null},{"Comment":"c1","Created":1704164645,"CreatedBy":"first",)"
                R"("Id":"<missing>","Size":10,"Tags":null}])"));
}

TEST(ImageShapes, HistoryThatNamesMoreLayersThanThereAreIsShownAllTheSame) {
  Writer json;
  api::write_image_history(json, image_of_two_layers(), {});
  EXPECT_TRUE(std::move(json).take().contains(R"("Size":0)"));
}

TEST(References, PatternsKnowNamesAndTags) {
  EXPECT_TRUE(api::matches_reference("busybox", "busybox:latest"));
  EXPECT_TRUE(api::matches_reference("busybox:*", "busybox:latest"));
  EXPECT_TRUE(api::matches_reference("b*", "busybox:latest"));
  EXPECT_TRUE(api::matches_reference("localhost:5000/*/b", "localhost:5000/a/b:1"));
  EXPECT_FALSE(api::matches_reference("b*", "team/busybox:latest"));
  EXPECT_FALSE(api::matches_reference("busybox:1", "busybox:latest"));
  EXPECT_FALSE(api::matches_reference("", "busybox:latest"));
  EXPECT_FALSE(api::matches_reference("usybox", "busybox:latest"));
}

TEST(References, ATagMayComeByItself) {
  EXPECT_EQ(api::pull_reference("busybox", "")->familiar(), "busybox:latest");
  EXPECT_EQ(api::pull_reference("busybox", "1")->familiar(), "busybox:1");
  EXPECT_EQ(api::pull_reference("busybox:2", "1")->familiar(), "busybox:1");
  EXPECT_EQ(api::pull_reference("busybox", digest('a').text())->digest, digest('a').text());
  EXPECT_EQ(api::new_reference("a/b", "")->familiar(), "a/b:latest");
  EXPECT_EQ(api::new_reference("a/b", "1")->familiar(), "a/b:1");
}

TEST(References, WhatCannotBeANameIsRefused) {
  for (const char* name : {"", "UPPER", "a b", "a//b", ":1", "a:b:c@"}) {
    EXPECT_FALSE(api::pull_reference(name, "")) << name;
    EXPECT_FALSE(api::new_reference(name, "x")) << name;
  }
  EXPECT_FALSE(api::pull_reference("busybox", "sha256:short"));
  EXPECT_FALSE(api::pull_reference("busybox", "a b"));
  EXPECT_EQ(failure(api::new_reference(cat("busybox@", digest('a').text()), "")),
            "invalid: refusing to create a tag with a digest reference");
}

TEST(ProgressLines, AreDockers) {
  EXPECT_EQ(api::status_line("Pulling from library/busybox", "latest"),
            "{\"status\":\"Pulling from library/busybox\",\"id\":\"latest\"}\r\n");
  EXPECT_EQ(api::stream_line("Loaded image: a\n"), "{\"stream\":\"Loaded image: a\\n\"}\r\n");
  EXPECT_EQ(api::progress_line({.id = "abc", .step = image::Progress::Step::Complete}),
            "{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"abc\"}\r\n");
  EXPECT_EQ(
      api::progress_line(
          {.id = "abc", .step = image::Progress::Step::Downloading, .done = 1000, .total = 2000}),
      "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1000,\"total\":2000},"
      "\"progress\":\"[=========================>                        ]      1kB/2kB\","
      "\"id\":\"abc\"}\r\n");
}

TEST(ProgressLines, ABarNeverLeavesItsFrame) {
  EXPECT_EQ(api::progress_bar(5, 0), "5B");
  EXPECT_EQ(api::progress_bar(7, 5), "7B");
  EXPECT_TRUE(api::progress_bar(0, 5).starts_with("[>  "));
  EXPECT_TRUE(api::progress_bar(5, 5).starts_with("[" + std::string(50, '=') + "] "));
  EXPECT_TRUE(api::progress_bar(~0ull - 1, ~0ull).size() < 100);
}

// Volumes ----------------------------------------------------------------------------------------

TEST(VolumeShapes, AVolumeIsDockers) {
  engine::Volume volume;
  volume.name = "data";
  volume.mountpoint = "/v/data/_data";
  volume.created_at = "2024-01-02T03:04:05Z";
  Writer json;
  api::write_volume(json, volume);
  // Unset labels are {} here where dockerd says null for some, and never the other way round.
  const std::string text = std::move(json).take();
  EXPECT_TRUE(
      text.starts_with(R"({"CreatedAt":"2024-01-02T03:04:05Z","Driver":"local","Labels":)"));
  EXPECT_TRUE(text.ends_with(
      R"("Mountpoint":"/v/data/_data","Name":"data","Options":null,"Scope":"local"})"));
  Writer with_usage;
  api::write_volume(with_usage, volume, std::pair<int64_t, int64_t>(7, 2));
  EXPECT_TRUE(std::move(with_usage).take().ends_with(R"("UsageData":{"RefCount":2,"Size":7}})"));
}

TEST(VolumeRequests, AreRead) {
  const auto request = api::read_volume_create(
      R"({"Name":"a","Driver":"local","DriverOpts":{"type":"tmpfs"},"Labels":{"x":"y"},"Other":1})");
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->name, "a");
  EXPECT_EQ(request->options.at("type"), "tmpfs");
  EXPECT_EQ(request->labels.at("x"), "y");
  EXPECT_TRUE(api::read_volume_create("")->name.empty());
  EXPECT_TRUE(api::read_volume_create(R"({"Labels":null})")->labels.empty());
}

TEST(VolumeRequests, WhatIsNoneIsRefused) {
  for (const char* body : {"{", "[]", "null", R"({"Name":1})", R"({"Labels":["a"]})",
                           R"({"DriverOpts":{"size":1}})", R"({"Name":"a"}x)"}) {
    EXPECT_FALSE(api::read_volume_create(body)) << body;
  }
}

// Networks ---------------------------------------------------------------------------------------

TEST(NetworkShapes, ANetworkIsDockers) {
  engine::Network network;
  network.id = "id";
  network.name = "mine";
  network.driver = "bridge";
  network.created = "2024-01-02T03:04:05Z";
  engine::IpamPool pool;
  pool.subnet = "10.1.0.0/16";
  pool.gateway = "10.1.0.1";
  network.pools = {pool};
  engine::NetworkMember member;
  member.container = "c1";
  member.name = "web";
  member.endpoint.endpoint_id = "e1";
  member.endpoint.mac_address = "02:42:0a:01:00:02";
  member.endpoint.ip_address = "10.1.0.2";
  member.endpoint.ip_prefix_len = 16;
  Writer json;
  api::write_network(json, network, {member});
  EXPECT_EQ(std::move(json).take(),
            R"({"Name":"mine","Id":"id","Created":"2024-01-02T03:04:05Z","Scope":"local",)"
            R"("Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default",)"
            R"("Options":{},"Config":[{"Subnet":"10.1.0.0/16","Gateway":"10.1.0.1"}]},)"
            R"("Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},)"
            R"("ConfigOnly":false,"Containers":{"c1":{"Name":"web","EndpointID":"e1",)"
            R"("MacAddress":"02:42:0a:01:00:02","IPv4Address":"10.1.0.2/16","IPv6Address":""}},)"
            R"("Options":{},"Labels":{}})");
}

TEST(NetworkRequests, AreRead) {
  const auto request = api::read_network_create(
      R"({"Name":"mine","Driver":"bridge","Internal":true,"EnableIPv6":true,"IPAM":{"Driver":"",)"
      R"("Config":[{"Subnet":"10.1.0.0/16","IPRange":"10.1.2.0/24","Gateway":"10.1.0.9",)"
      R"("AuxiliaryAddresses":{"a":"10.1.0.5"}}]},"Options":{"o":"p"},"Labels":{"l":"m"},)"
      R"("CheckDuplicate":true,"ConfigFrom":null})");
  ASSERT_TRUE(request) << request.error().message();
  const engine::Network& network = request->network;
  EXPECT_TRUE(network.internal);
  EXPECT_TRUE(network.ipv6);
  EXPECT_EQ(network.ipam_driver, "default");
  EXPECT_EQ(network.pools.at(0).ip_range, "10.1.2.0/24");
  EXPECT_EQ(network.pools.at(0).auxiliary.at("a"), "10.1.0.5");
  EXPECT_EQ(network.options.at("o"), "p");
}

TEST(NetworkRequests, WhatIsNoneIsRefused) {
  for (const char* body :
       {"", "{", "[]", R"({"Name":7})", R"({"IPAM":[]})", R"({"IPAM":{"Config":{}}})",
        R"({"IPAM":{"Config":[{"Subnet":5}]}})", R"({"Internal":"yes"})", R"({"Labels":[]})"}) {
    EXPECT_FALSE(api::read_network_create(body)) << body;
  }
  EXPECT_TRUE(failure(api::read_network_create(R"({"Name":"a","ConfigOnly":true})"))
                  .starts_with("unsupported: "));
}

TEST(NetworkRequests, EitherFamilyCanBeLeftOut) {
  const auto plain = api::read_network_create(R"({"Name":"a"})");
  ASSERT_TRUE(plain);
  EXPECT_TRUE(plain->network.ipv4);
  EXPECT_FALSE(plain->network.ipv6);
  const auto other =
      api::read_network_create(R"({"Name":"a","EnableIPv4":false,"EnableIPv6":true})");
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->network.ipv4);
  EXPECT_TRUE(other->network.ipv6);
}

TEST(NetworkRequests, AConnectionNamesItsContainer) {
  const auto connect = api::read_network_connect(
      R"({"Container":"web","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.1.0.5"},)"
      R"("Aliases":["db"]},"Force":true})");
  ASSERT_TRUE(connect) << connect.error().message();
  EXPECT_EQ(connect->container, "web");
  EXPECT_EQ(connect->endpoint.ipam_config->ipv4_address, "10.1.0.5");
  EXPECT_EQ(connect->endpoint.aliases, std::vector<std::string>{"db"});
  EXPECT_TRUE(connect->force);
  for (const char* body : {"", "{}", R"({"Container":""})", R"({"Container":1})",
                           R"({"Container":"a","EndpointConfig":[]})"}) {
    EXPECT_FALSE(api::read_network_connect(body)) << body;
  }
}

// The host ---------------------------------------------------------------------------------------

TEST(HostInfo, OsReleaseIsReadAsShellsWould) {
  const std::string text =
      "NAME=\"Debian\"\nPRETTY_NAME='A \\\"B\\\"'\nVERSION_ID=12\nBROKEN\n=x\n";
  EXPECT_EQ(engine::os_release_value(text, "NAME"), "Debian");
  EXPECT_EQ(engine::os_release_value(text, "PRETTY_NAME"), "A \"B\"");
  EXPECT_EQ(engine::os_release_value(text, "VERSION_ID"), "12");
  EXPECT_EQ(engine::os_release_value(text, "BROKEN"), "");
  EXPECT_EQ(engine::os_release_value(text, "VERSION"), "");
  EXPECT_EQ(engine::os_release_value("", "NAME"), "");
  EXPECT_EQ(engine::os_release_value("NAME=\"", "NAME"), "\"");
}

TEST(HostInfo, SaysWhatThisMachineIs) {
  const engine::HostInfo info = engine::read_host_info("/");
  EXPECT_GT(info.processors, 0u);
  EXPECT_GT(info.memory_bytes, 1u << 20);
  EXPECT_FALSE(info.kernel.empty());
  EXPECT_FALSE(info.operating_system.empty());
  EXPECT_EQ(engine::go_architecture("x86_64"), "amd64");
  EXPECT_EQ(engine::go_architecture("riscv64"), "riscv64");
}

}  // namespace
}  // namespace nacelle::test
