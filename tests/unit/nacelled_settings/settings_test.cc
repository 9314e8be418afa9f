// What nacelled is told: flags, the file, and what of both is refused.
#include "cli/nacelled/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/text.h"

namespace nacelle::cli {
namespace {

class SettingsTest : public ::testing::Test {
 protected:
  SettingsTest() : path_(cat("/tmp/nacelled-settings.", ::getpid(), ".json")) { write("{}"); }
  ~SettingsTest() override { ::unlink(path_.c_str()); }

  void write(std::string_view text) { std::ofstream(path_) << text; }
  Result<Settings> read(std::vector<std::string> arguments) {
    arguments.push_back("--config-file=" + path_);
    return read_settings(arguments);
  }
  void expect_refused(std::vector<std::string> arguments, std::string_view words,
                      Kind kind = Kind::Invalid) {
    const auto settings = read(std::move(arguments));
    ASSERT_FALSE(settings.has_value()) << words;
    EXPECT_EQ(settings.error().kind(), kind) << settings.error().message();
    EXPECT_TRUE(settings.error().message().contains(words)) << settings.error().message();
  }
  std::string path_;
};

TEST_F(SettingsTest, NothingSaidMeansTheDefaults) {
  const auto settings = read({});
  ASSERT_TRUE(settings.has_value()) << settings.error().message();
  EXPECT_EQ(settings->hosts, std::vector<std::string>{default_host});
  EXPECT_EQ(settings->data_root, "/var/lib/nacelle");
  EXPECT_EQ(settings->exec_root, "/run/nacelle");
  EXPECT_EQ(settings->level(), LogLevel::Info);
}

TEST_F(SettingsTest, FlagsComeInAllTheirForms) {
  const auto settings =
      read({"-H", "unix:///a", "--host=unix:///b", "-Hfd://", "--data-root", "/d", "-l", "debug",
            "--label", "a=b", "--label=c=d=e", "--idle-exit", "5", "--validate"});
  ASSERT_TRUE(settings.has_value()) << settings.error().message();
  EXPECT_EQ(settings->hosts, (std::vector<std::string>{"unix:///a", "unix:///b", "fd://"}));
  EXPECT_EQ(settings->data_root, "/d");
  EXPECT_EQ(settings->level(), LogLevel::Debug);
  EXPECT_EQ(settings->idle_exit_s, 5);
  EXPECT_TRUE(settings->validate);
  const auto labels = read_pairs(settings->labels, "label");
  ASSERT_TRUE(labels.has_value());
  EXPECT_EQ(labels->at("c"), "d=e");
}

TEST_F(SettingsTest, MetricsHaveAnAddressAndAPort) {
  const auto settings = read({"--metrics-addr", ":9323"});
  ASSERT_TRUE(settings.has_value()) << settings.error().message();
  EXPECT_EQ(settings->metrics_addr, ":9323");
  for (const char* wrong : {"9323", "127.0.0.1", "127.0.0.1:", "[::1]:99999", "a:b"}) {
    expect_refused({"--metrics-addr", wrong}, "must be ADDRESS:PORT");
  }
}

TEST_F(SettingsTest, TheFileSaysTheSameInItsOwnWords) {
  write(R"({"hosts":["unix:///f"],"log-level":"warn","labels":["a=b"],"tlsverify":false,
            "log-opts":{"max-size":"10m"},"registry-mirrors":["https://m"],"bip":"10.0.0.1/24"})");
  const auto settings = read({"--data-root", "/d"});
  ASSERT_TRUE(settings.has_value()) << settings.error().message();
  EXPECT_EQ(settings->hosts, std::vector<std::string>{"unix:///f"});
  EXPECT_EQ(settings->level(), LogLevel::Warn);
  EXPECT_EQ(settings->log_opts, std::vector<std::string>{"max-size=10m"});
  EXPECT_EQ(settings->bip, "10.0.0.1/24");
}

TEST_F(SettingsTest, ASizeIsReadAsANumber) {
  EXPECT_EQ(read({})->shm_bytes, std::nullopt);
  EXPECT_EQ(read({"--default-shm-size", "1g"})->shm_bytes, int64_t{1} << 30);
  write(R"({"default-shm-size":"128M"})");
  EXPECT_EQ(read({})->shm_bytes, 128 << 20);
  write("{}");
  for (const char* size : {"much", "0", "-1", "-5m", "99999999999g"}) {
    expect_refused({"--default-shm-size", size}, "default-shm-size: ");
  }
}

TEST_F(SettingsTest, AKeyGivenTwiceIsRefused) {
  write(R"({"hosts":["unix:///f"]})");
  expect_refused({"-H", "unix:///a"}, "both as a flag and in the configuration file: hosts");
  write(R"({"log-level":"warn"})");
  expect_refused({"-l", "info"}, "both as a flag and in the configuration file: log-level");
}

TEST_F(SettingsTest, FilesThatMakeNoSenseAreRefused) {
  write(R"({"unknown-key":1})");
  expect_refused({}, "don't match any configuration option: unknown-key");
  write(R"({"":1})");
  expect_refused({}, "don't match any configuration option");
  write(R"({"hosts":"unix:///a"})");
  expect_refused({}, "expected");
  write(R"({"labels":[1]})");
  expect_refused({}, "expected");
  write(R"({"tlsverify":"yes"})");
  expect_refused({}, "expected");
  write(R"({"log-opts":["a=b"]})");
  expect_refused({}, "expected");
  write("[]");
  expect_refused({}, "expected");
  write("{");
  expect_refused({}, path_);
  ::unlink(path_.c_str());
  expect_refused({}, path_, Kind::NotFound);
}

TEST_F(SettingsTest, FlagsThatMakeNoSenseAreRefused) {
  expect_refused({"--no-such"}, "unknown option");
  expect_refused({"operand"}, "unknown option or operand");
  expect_refused({"-Z"}, "unknown option");
  expect_refused({"--idle-exit", "soon"}, "is no number");
  expect_refused({"--idle-exit", "-1"}, "is no number");
  expect_refused({"--tlsverify=perhaps"}, "neither true nor false");
  expect_refused({"--label", "novalue"}, "must be KEY=VALUE");
  expect_refused({"--label", "=x"}, "must be KEY=VALUE");
  expect_refused({"--log-level", "loud"}, "not a level");
  expect_refused({"--data-root", "relative"}, "must be absolute");
  expect_refused({"-H", "http://x"}, "must begin with");
  expect_refused({"-H", "/run/x"}, "must begin with");
  const auto missing = read_settings({"--data-root"});
  EXPECT_FALSE(missing.has_value());
}

TEST_F(SettingsTest, TcpWithoutMutualTlsIsDenied) {
  const std::string host = "tcp://127.0.0.1:2375";
  expect_refused({"-H", host}, "tlsverify", Kind::Denied);
  expect_refused({"-H", host, "--tlsverify"}, "tlscacert", Kind::Denied);
  expect_refused({"-H", host, "--tls", "--tlscert", "/c", "--tlskey", "/k"}, "tlscacert",
                 Kind::Denied);
  expect_refused({"-H", host, "--tlscert", "/c", "--tlskey", "/k", "--tlscacert", "/a"},
                 "tlsverify", Kind::Denied);
  EXPECT_TRUE(
      read({"-H", host, "--tlsverify", "--tlscert", "/c", "--tlskey", "/k", "--tlscacert", "/a"})
          .has_value());
}

TEST_F(SettingsTest, HelpNamesEveryFlagOnce) {
  const std::string help = settings_help();
  for (const char* flag : {"--host", "--data-root", "--tlscacert", "--idle-exit", "--version"}) {
    EXPECT_TRUE(help.contains(flag)) << flag;
  }
}

}  // namespace
}  // namespace nacelle::cli
