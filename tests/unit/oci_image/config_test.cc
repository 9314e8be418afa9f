// Goal: the configurations that tools write are understood, and what could mislead is refused by
// name. Method: real files, and one small document broken in one way per case.
#include <gtest/gtest.h>

#include "oci/image.h"
#include "tests/unit/oci_image/documents.h"

namespace nacelle::oci {
namespace {

using Strings = std::vector<std::string>;

std::string config_text(std::string_view run = "{}") {
  return cat(
      R"({"created":"2024-02-29T23:59:59.123456789+01:00","architecture":"amd64","os":"linux",)",
      R"("config":)", run, R"(,"rootfs":{"type":"layers","diff_ids":[")", digest_a,
      R"("]},"history":[{"created":"2024-01-01T00:00:00Z","empty_layer":true}]})");
}

RunConfig run_of(std::string_view run) {
  const auto config = parse_image_config(config_text(run));
  EXPECT_TRUE(config.has_value()) << run << ": " << config.error().message();
  return config ? config->run : RunConfig{};
}

std::string refusal(const std::string& text, Kind kind = Kind::Invalid) {
  const auto config = parse_image_config(text);
  EXPECT_FALSE(config.has_value()) << text.substr(0, 500);
  if (config) return {};
  EXPECT_EQ(config.error().kind(), kind) << config.error().message();
  EXPECT_EQ(config.error().message().find('\n'), std::string::npos);
  return config.error().message();
}

TEST(Config, OfBuildahInDockersFormIsReadWhole) {
  const auto config = parse_image_config(file("buildah-docker-config.json"));
  ASSERT_TRUE(config.has_value()) << config.error().message();
  EXPECT_EQ(config->created, "2023-11-14T22:13:20Z");
  EXPECT_EQ(config->author, "Ada <ada@example.com>");
  EXPECT_EQ(config->platform, (Platform{"linux", "amd64", "", ""}));
  const RunConfig& run = config->run;
  EXPECT_EQ(run.user, "1000:1000");
  EXPECT_EQ(run.working_directory, "/data");
  EXPECT_EQ(run.stop_signal, "SIGTERM");
  EXPECT_EQ(run.env, (Strings{"A=b c", "PATH=/bin"}));
  EXPECT_EQ(run.entrypoint, (Strings{"/hello", "-x"}));
  EXPECT_EQ(run.command, (Strings{"a", "b"}));
  EXPECT_EQ(run.shell, (Strings{"/bin/sh", "-c"}));
  EXPECT_EQ(run.on_build, (Strings{"RUN true"}));
  EXPECT_EQ(run.exposed_ports, (Strings{"53/udp", "80"}));
  EXPECT_EQ(run.volumes, (Strings{"/data"}));
  ASSERT_EQ(run.labels.size(), 3u);
  EXPECT_EQ(run.labels[2], std::make_pair(std::string("q"), std::string("\"x\"")));
  ASSERT_TRUE(run.health_check.has_value());
  EXPECT_EQ(
      *run.health_check,
      (HealthCheck{{"CMD-SHELL", "exit", "0"}, 5'000'000'000, 2'000'000'000, 1'000'000'000, 0, 3}));
  EXPECT_EQ(config->diff_ids.size(), 1u);
  ASSERT_EQ(config->history.size(), 1u);
  EXPECT_EQ(config->history[0].created_by, "/bin/sh -c");
}

TEST(Config, IsWrittenAsBuildahWritesIt) {
  std::string theirs = file("buildah-oci-config.json");
  const auto config = parse_image_config(theirs);
  ASSERT_TRUE(config.has_value()) << config.error().message();
  // Go escapes these two although JSON does not ask for it.
  for (int i = 0; i < 2; ++i) theirs = with(with(theirs, "\\u003c", "<"), "\\u003e", ">");
  EXPECT_EQ(write_image_config(*config), theirs);
}

TEST(Config, OfEveryToolComesBackEqual) {
  for (const std::string_view name : {"buildah-docker-config.json", "buildah-oci-config.json",
                                      "umoci-config.json", "umoci-empty-config.json"}) {
    const auto config = parse_image_config(file(name));
    ASSERT_TRUE(config.has_value()) << name << ": " << config.error().message();
    const std::string written = write_image_config(*config);
    EXPECT_EQ(*parse_image_config(written), *config);
    EXPECT_EQ(write_image_config(*parse_image_config(written)), written);
  }
}

TEST(Config, TakesNullForWhateverIsNotThere) {
  const RunConfig run = run_of(
      R"({"User":null,"ExposedPorts":null,"Env":null,"Entrypoint":null,"Cmd":null,"Volumes":null,
          "WorkingDir":null,"Labels":null,"StopSignal":null,"ArgsEscaped":null,
          "Healthcheck":null,"OnBuild":null,"Shell":null})");
  EXPECT_EQ(run, RunConfig{});
  EXPECT_EQ(run_of("null"), RunConfig{});
  const auto least = parse_image_config(R"({"rootfs":{"type":"layers","diff_ids":null}})");
  ASSERT_TRUE(least.has_value()) << least.error().message();
  EXPECT_EQ(*least, ImageConfig{});
}

TEST(Config, TakesACommandThatIsAString) {
  const RunConfig run = run_of(R"({"Entrypoint":"/a b","Cmd":"c","Shell":"sh"})");
  EXPECT_EQ(run.entrypoint, (Strings{"/a b"}));
  EXPECT_EQ(run.command, (Strings{"c"}));
  EXPECT_EQ(run.shell, (Strings{"sh"}));
}

TEST(Config, TakesNamesInOtherLettersOnceAsDockerDoes) {
  const RunConfig run = run_of(R"({"cmd":["a"],"ENTRYPOINT":["b"],"workingDir":"/w"})");
  EXPECT_EQ(run.command, (Strings{"a"}));
  EXPECT_EQ(run.entrypoint, (Strings{"b"}));
  EXPECT_EQ(run.working_directory, "/w");
}

TEST(Config, LeavesOutEnvironmentThatSetsNothing) {
  EXPECT_EQ(run_of(R"({"Env":["A=1","B","C=","D=="]})").env, (Strings{"A=1", "C=", "D=="}));
}

TEST(Config, TakesNothingFromTheContainerItWasMadeIn) {
  const auto config = parse_image_config(
      with(config_text(), "{", R"({"container_config":{"User":"evil","user":7},"container":5,)"));
  ASSERT_TRUE(config.has_value()) << config.error().message();
  EXPECT_EQ(config->run, RunConfig{});
}

TEST(Config, IsRefusedForWhatItRuns) {
  const std::pair<std::string, std::string> cases[] = {
      {R"({"User":"root\nevil:x:0"})", "config.User: must not contain control"},
      {R"({"User":"a\u0000"})", "config.User: must not contain a NUL"},
      {R"({"User":0})", "config.User: expected a string"},
      {R"({"WorkingDir":"/a\nb"})", "config.WorkingDir: must not contain control"},
      {R"({"WorkingDir":"/a\u0000"})", "config.WorkingDir: must not contain a NUL"},
      {R"({"WorkingDir":["/"]})", "config.WorkingDir: expected a string"},
      {R"({"StopSignal":"\u001b[2J"})", "config.StopSignal: must not contain control"},
      {R"({"StopSignal":9})", "config.StopSignal: expected a string"},
      {R"({"Env":["A=1","B=\u0000"]})", "config.Env[1]: must not contain a NUL"},
      {R"({"Env":["=x"]})", "config.Env[0]: '=x' has no name"},
      {R"({"Env":[""]})", "config.Env[0]: '' has no name"},
      {R"({"Env":[null]})", "config.Env[0]: expected a string"},
      {R"({"Env":{"A":"1"}})", "config.Env: expected an array"},
      {R"({"Env":"A=1"})", "config.Env: expected an array"},
      {R"({"Cmd":[1]})", "config.Cmd[0]: expected a string"},
      {R"({"Cmd":{}})", "config.Cmd: expected an array"},
      {R"({"Cmd":["a\u0000b"]})", "config.Cmd[0]: must not contain a NUL"},
      {R"({"Entrypoint":true})", "config.Entrypoint: expected an array"},
      {R"({"Shell":[[]]})", "config.Shell[0]: expected a string"},
      {R"({"OnBuild":"RUN x"})", "config.OnBuild: expected an array"},
      {R"({"Volumes":["/a"]})", "config.Volumes: expected an object"},
      {R"({"Volumes":{"/a":1}})", "expected an object"},
      {R"({"Volumes":{"/a":{},"/a":{}}})", "config.Volumes: '/a' given twice"},
      {R"({"Volumes":{"/a\u0000":{}}})", "must not contain a NUL"},
      {R"({"ExposedPorts":[80]})", "config.ExposedPorts: expected an object"},
      {R"({"ExposedPorts":{"80":{},"80":null}})", "config.ExposedPorts: '80' given twice"},
      {R"({"Labels":["a=b"]})", "config.Labels: expected an object"},
      {R"({"Labels":{"a":1}})", "config.Labels.a: expected a string"},
      {R"({"Labels":{"a":"1","a":"2"}})", "config.Labels.a: given twice"},
      {R"({"ArgsEscaped":1})", "config.ArgsEscaped: expected true or false"},
      {R"({"Healthcheck":[]})", "config.Healthcheck: expected an object"},
      {R"({"Healthcheck":{"Test":"exit 0"}})", "config.Healthcheck.Test: expected an array"},
      {R"({"Healthcheck":{"Interval":-1}})", "config.Healthcheck.Interval: must not be negative"},
      {R"({"Healthcheck":{"Interval":"5s"}})", "config.Healthcheck.Interval"},
      {R"({"Healthcheck":{"Timeout":1.5}})", "config.Healthcheck.Timeout"},
      {R"({"Healthcheck":{"Retries":9223372036854775808}})", "config.Healthcheck.Retries"},
      {R"({"Healthcheck":{"Test":[],"test":[]}})", "config.Healthcheck.Test: given twice"},
      {R"({"User":"a","User":"b"})", "config.User: given twice"},
      {R"({"User":"a","user":"root"})", "config.User: given twice"},
      {R"({"user":"a","USER":"root"})", "config.User: given twice"},
      {R"({"Env":[],"env":["LD_PRELOAD=x"]})", "config.Env: given twice"},
      {"{\"Shell\":[],\"\u017fhell\":[]}", "config.Shell: given twice"},
      {"[]", "config: expected an object"},
      {"\"\"", "config: expected an object"},
  };
  for (const auto& [run, complaint] : cases) {
    const std::string message = refusal(config_text(run));
    EXPECT_NE(message.find(complaint), std::string::npos) << run << ": " << message;
  }
}

TEST(Config, IsRefusedForWhatItIs) {
  struct Case {
    std::string what, by, complaint;
  };
  const std::string layers = R"("type":"layers")";
  const Case cases[] = {
      {"}", "", "not JSON"},
      {R"("rootfs")", R"("other")", "rootfs: missing"},
      {R"("rootfs":{)", R"("rootfs":null,"other":{)", "rootfs: missing"},
      {R"("rootfs":{)", R"("rootfs":[],"other":{)", "rootfs: expected an object"},
      {R"("rootfs":{)", R"("Rootfs":{},"rootfs":{)", "rootfs: given twice"},
      {layers, R"("type":"layers+base")", "rootfs.type: expected 'layers'"},
      {layers + ",", "", "rootfs.type: missing"},
      {layers, R"("type":1)", "rootfs.type: expected a string"},
      {layers, R"("type":"layers","diff_IDs":[])", "rootfs.diff_ids: given twice"},
      {digest_a, "sha256:..", "rootfs.diff_ids[0]: digest"},
      {digest_a, "", "rootfs.diff_ids[0]"},
      {'"' + digest_a + '"', "null", "rootfs.diff_ids[0]: expected a string"},
      {R"("os":"linux")", R"("os":"linux\n")", "os: must not contain control"},
      {R"("os":"linux")", R"("os":7)", "os: expected a string"},
      {R"("os":"linux")", R"("os":"linux","OS":"windows")", "os: given twice"},
      {R"("created":"2024-02-29)", R"("created":"2023-02-29)", "is not a time"},
      {R"("created":"2024-02-29T23)", R"("created":"2024-02-29 23)", "is not a time"},
      {R"("created":"2024-02-29T23)", R"("created":"2024-02-29T24)", "is not a time"},
      {R"("created":"2024-02)", R"("created":"2024-13)", "is not a time"},
      {"+01:00", "", "is not a time"},
      {"+01:00", "+01", "is not a time"},
      {".123456789", ".", "is not a time"},
      {R"("created":"2024-02)", R"("created":" 024-02)", "is not a time"},
      {R"("created":"2024-01-01T00:00:00Z")", R"("created":"now")",
       "history[0].created: 'now' is not a time"},
      {R"("created":"2024-01-01T00:00:00Z")", R"("created":7)", "history[0].created: expected"},
      {R"("empty_layer":true)", R"("empty_layer":"yes")", "history[0].empty_layer"},
      {R"("empty_layer":true)", R"("empty_layer":true,"Empty_Layer":false)",
       "history[0].empty_layer: given twice"},
      {R"("history":[)", R"("history":[null,)", "history[0]: expected an object"},
      {R"("history":[)", R"("history":{},"other":[)", "history: expected an array"},
  };
  for (const Case& each : cases) {
    const std::string message = refusal(with(config_text(), each.what, each.by));
    EXPECT_NE(message.find(each.complaint), std::string::npos) << each.by << ": " << message;
  }
  EXPECT_EQ(refusal("{}"), "rootfs: missing");
  EXPECT_NE(refusal("[]").find("expected an object"), std::string::npos);
  EXPECT_NE(refusal("").find("not JSON"), std::string::npos);
}

TEST(Config, HasBounds) {
  std::string ids = "\"diff_ids\":[";
  for (size_t i = 0; i < layers_max; ++i) ids += cat('"', digest_b, "\",");
  EXPECT_EQ(refusal(with(config_text(), "\"diff_ids\":[", ids), Kind::Exhausted),
            "rootfs.diff_ids: 501 layers: the limit is 500");
  std::string entries = "\"history\":[";
  for (size_t i = 0; i < history_entries_max; ++i) entries += "{},";
  EXPECT_EQ(refusal(with(config_text(), "\"history\":[", entries), Kind::Exhausted),
            "history: 10001 entries: the limit is 10000");
  EXPECT_NE(refusal(std::string(config_bytes_max + 1, ' '), Kind::Exhausted).find("8388609 bytes"),
            std::string::npos);
}

TEST(Config, FitsTheManifestWithAsManyLayers) {
  Manifest manifest;
  ImageConfig config;
  EXPECT_TRUE(check_config_fits(manifest, config).has_value());
  config.diff_ids.resize(1);
  const auto more = check_config_fits(manifest, config);
  ASSERT_FALSE(more.has_value());
  EXPECT_EQ(more.error().message(),
            "the manifest has 0 layers, its configuration 1 in rootfs.diff_ids");
  manifest.layers.resize(2);
  EXPECT_FALSE(check_config_fits(manifest, config).has_value());
  config.diff_ids.resize(2);
  EXPECT_TRUE(check_config_fits(manifest, config).has_value());
}

TEST(Config, ValuesComeBackEqual) {
  ImageConfig config;
  config.created = "0001-01-01T00:00:00Z";
  config.author = "\t<&>\u2029 ü";
  config.platform = {"linux", "arm", "v7", "1.2"};
  config.run.env = {"A=\"\\", "B=\x7f"};
  config.run.exposed_ports = {"1/tcp", "2/udp"};
  config.run.labels = {{"", ""}, {"a", "\n"}};
  config.run.health_check.emplace();
  config.run.args_escaped = true;
  config.diff_ids = {*codec::Digest::parse("sha512:" + std::string(128, '0'))};
  config.history = {{}, {"", "x", "y", "z", true}};
  const auto again = parse_image_config(write_image_config(config));
  ASSERT_TRUE(again.has_value()) << again.error().message();
  EXPECT_EQ(*again, config);
}

// sha256 of "first second", computed with sha256sum.
TEST(ChainId, OfALayerHashesTheOneBelowAndItsOwn) {
  EXPECT_TRUE(chain_ids({}).empty());
  const auto a = *codec::Digest::parse(digest_a);
  const auto b = *codec::Digest::parse(digest_b);
  const auto chain = chain_ids({a, b, a});
  ASSERT_EQ(chain.size(), 3u);
  EXPECT_EQ(chain[0], a);
  EXPECT_EQ(chain[1].text(),
            "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c");
  EXPECT_EQ(chain[2].text(),
            "sha256:406364a4bd8d39df8107071d4494fa73814420337124657ec5999b072e5d3352");
}

}  // namespace
}  // namespace nacelle::oci
