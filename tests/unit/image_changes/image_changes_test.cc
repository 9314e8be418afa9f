// Dockerfile instructions as changes of an image's configuration.
#include "image/config_changes.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace nacelle::image {
namespace {

using Words = std::vector<std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

oci::RunConfig changed(std::initializer_list<std::string_view> instructions) {
  oci::RunConfig config;
  for (const std::string_view each : instructions) {
    const Result<> result = apply_change(config, each);
    EXPECT_TRUE(result) << result.error().message();
  }
  return config;
}

TEST(ConfigChanges, a_command_is_words_or_a_line_for_the_shell) {
  EXPECT_EQ(changed({R"(CMD ["a", "b c"])"}).command, (Words{"a", "b c"}));
  EXPECT_EQ(changed({"cmd echo $HOME"}).command, (Words{"/bin/sh", "-c", "echo $HOME"}));
  EXPECT_EQ(changed({R"(ENTRYPOINT [])"}).entrypoint, Words{});
  // What is not JSON after all is a line, as Docker has it.
  EXPECT_EQ(changed({"ENTRYPOINT [a]"}).entrypoint, (Words{"/bin/sh", "-c", "[a]"}));
}

TEST(ConfigChanges, the_environment_is_set_and_replaced_in_place) {
  const oci::RunConfig config = changed({"ENV A=1 B='two words' C=\"3 $x\"", "ENV A the new one"});
  EXPECT_EQ(config.env, (Words{"A=the new one", "B=two words", "C=3 $x"}));
}

TEST(ConfigChanges, labels_ports_and_volumes_are_sorted_sets) {
  const oci::RunConfig config =
      changed({"LABEL b=2 a=1", "LABEL b=3", "EXPOSE 80 53/udp 8000-8002", "EXPOSE 80/tcp",
               R"(VOLUME ["/z", "/a"])", "VOLUME /z /m"});
  EXPECT_EQ(config.labels, (Pairs{{"a", "1"}, {"b", "3"}}));
  EXPECT_EQ(config.exposed_ports, (Words{"53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"}));
  EXPECT_EQ(config.volumes, (Words{"/a", "/m", "/z"}));
}

TEST(ConfigChanges, the_rest_is_taken_as_it_is) {
  const oci::RunConfig config =
      changed({"USER 1000:1000", "WORKDIR /a", "WORKDIR b", "STOPSIGNAL SIGQUIT",
               "ONBUILD RUN make", "onbuild USER x"});
  EXPECT_EQ(config.user, "1000:1000");
  EXPECT_EQ(config.working_directory, "/a/b");
  EXPECT_EQ(config.stop_signal, "SIGQUIT");
  EXPECT_EQ(config.on_build, (Words{"RUN make", "USER x"}));
}

TEST(ConfigChanges, a_health_check_has_its_times) {
  const oci::RunConfig config =
      changed({"HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f localhost"});
  ASSERT_TRUE(config.health_check);
  EXPECT_EQ(config.health_check->test, (Words{"CMD-SHELL", "curl -f localhost"}));
  EXPECT_EQ(config.health_check->interval_ns, 90'000'000'000);
  EXPECT_EQ(config.health_check->timeout_ns, 500'000'000);
  EXPECT_EQ(config.health_check->retries, 3);
  EXPECT_EQ(changed({"HEALTHCHECK NONE"}).health_check->test, Words{"NONE"});
  EXPECT_EQ(changed({R"(HEALTHCHECK CMD ["a"])"}).health_check->test, (Words{"CMD", "a"}));
}

TEST(ConfigChanges, an_entrypoint_takes_the_command_below_away_but_not_its_own) {
  oci::RunConfig config;
  config.command = {"below"};
  oci::RunConfig other = config;
  ASSERT_TRUE(apply_changes(config, {R"(ENTRYPOINT ["a"])", "USER b"}));
  EXPECT_EQ(config.command, Words{});
  ASSERT_TRUE(apply_changes(other, {R"(CMD ["own"])", R"(entrypoint ["a"])"}));
  EXPECT_EQ(other.command, Words{"own"});
  ASSERT_TRUE(apply_changes(other, {"USER c"}));
  EXPECT_EQ(other.command, Words{"own"});
  EXPECT_FALSE(apply_changes(other, {"USER d", "RUN x"}));
}

TEST(ConfigChanges, what_is_wrong_is_refused_and_named) {
  const struct {
    std::string_view instruction, complaint;
  } cases[] = {
      {"", "needs an argument"},
      {"RUN true", "not an instruction that changes no file"},
      {"COPY a b", "not an instruction"},
      {"CMD", "needs an argument"},
      {"ENV A", "has no value"},
      {"ENV A=1 B", "not of the form"},
      {"ENV =1", "not of the form"},
      {"ENV A='1", "is not closed"},
      {"LABEL", "needs an argument"},
      {"EXPOSE http", "is no port"},
      {"EXPOSE 0", "is no port"},
      {"EXPOSE 65536", "is no port"},
      {"EXPOSE 90-80", "is no port"},
      {"EXPOSE 80/icmp", "is no port"},
      {R"(VOLUME [""])", "is empty"},
      {"HEALTHCHECK echo", "takes NONE or CMD"},
      {"HEALTHCHECK --interval=fast CMD x", "--interval=fast"},
      {"HEALTHCHECK --interval=9999999999999h CMD x", "--interval"},
      {"HEALTHCHECK --color=red CMD x", "--color=red"},
      {"HEALTHCHECK --retries=-1 CMD x", "--retries=-1"},
      {"USER a\nUSER root", "one instruction"},
      {std::string_view("USER a\0b", 8), "one instruction"},
  };
  for (const auto& [instruction, complaint] : cases) {
    oci::RunConfig config;
    const Result<> result = apply_change(config, instruction);
    ASSERT_FALSE(result) << instruction;
    EXPECT_EQ(result.error().kind(), Kind::Invalid);
    EXPECT_NE(result.error().message().find(complaint), std::string::npos)
        << instruction << ": " << result.error().message();
    EXPECT_NE(result.error().message().find("--change"), std::string::npos);
  }
}

}  // namespace
}  // namespace nacelle::image
