// What instructions make of a configuration, in dockerd's words; which ARGs a RUN sees; and that
// two steps have one key only where everything about them is the same.
#include "engine/build_config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "build/dockerfile.h"
#include "engine/build_state.h"

namespace nacelle::engine {
namespace {

using Words = std::vector<std::string>;

build::Instruction instruction(const std::string& text) {
  auto parsed = build::parse_trigger(text, "test");
  EXPECT_TRUE(parsed) << text << ": " << (parsed ? "" : parsed.error().message());
  build::Instruction made = parsed ? *parsed : build::Instruction();
  auto expanded = build::expand_variables(made, {}, '\\');
  EXPECT_TRUE(expanded) << text;
  return made;
}

std::string apply(StageConfig& stage, const std::string& text) {
  auto said = apply_instruction(instruction(text), stage);
  return said ? *said : "error: " + said.error().message();
}

// Method: each text is what `docker history` shows of dockerd 28.5's builder.
TEST(BuildConfig, history_is_worded_as_dockerd_words_it) {
  struct Case {
    const char* instruction;
    const char* history;
  };
  const Case cases[] = {
      {"ENV A=1 B=\"two words\"", "ENV A=1 B=two words"},
      {"LABEL a=\"1 x\"", "LABEL a=1 x"},
      {"EXPOSE 80 53/udp", "EXPOSE 53/udp 80"},
      {"VOLUME [\"/data\", \"/more\"]", "VOLUME [/data /more]"},
      {"USER 5:6", "USER 5:6"},
      {"STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"},
      {"SHELL [\"/bin/sh\", \"-e\", \"-c\"]", "SHELL [/bin/sh -e -c]"},
      {"CMD [\"a\", \"b c\"]", "CMD [\"a\" \"b c\"]"},
      {"ARG x=1", "ARG x=1"},
      {"HEALTHCHECK --interval=90s CMD true", "HEALTHCHECK &{[CMD-SHELL true] 1m30s 0s 0s 0s 0}"},
  };
  for (const Case& each : cases) {
    StageConfig stage;
    EXPECT_EQ(apply(stage, each.instruction), each.history);
  }
}

TEST(BuildConfig, an_entrypoint_takes_away_a_command_of_below) {
  StageConfig stage;
  stage.run.command = {"below"};
  apply(stage, "ENTRYPOINT [\"x\"]");
  EXPECT_TRUE(stage.run.command.empty());
  apply(stage, "CMD [\"own\"]");
  apply(stage, "ENTRYPOINT [\"y\"]");
  EXPECT_EQ(stage.run.command, Words{"own"});
}

TEST(BuildConfig, shell_form_goes_to_the_shell_that_was_said) {
  StageConfig stage;
  apply(stage, "CMD echo hi");
  EXPECT_EQ(stage.run.command, (Words{"/bin/sh", "-c", "echo hi"}));
  apply(stage, "SHELL [\"/bin/bash\", \"-c\"]");
  apply(stage, "CMD echo hi");
  EXPECT_EQ(stage.run.command, (Words{"/bin/bash", "-c", "echo hi"}));
}

TEST(BuildConfig, a_variable_keeps_its_place) {
  StageConfig stage;
  apply(stage, "ENV A=1 B=2");
  apply(stage, "ENV A=3");
  EXPECT_EQ(stage.run.env, (Words{"A=3", "B=2"}));
}

TEST(BuildConfig, working_directories_go_on_from_each_other) {
  StageConfig stage;
  apply(stage, "WORKDIR /a");
  apply(stage, "WORKDIR b");
  EXPECT_EQ(stage.run.working_directory, "/a/b");
  apply(stage, "WORKDIR ../../../..");
  EXPECT_EQ(stage.run.working_directory, "/");
}

TEST(BuildConfig, a_signal_nobody_knows_is_refused) {
  StageConfig stage;
  EXPECT_TRUE(apply(stage, "STOPSIGNAL SIGNONSENSE").starts_with("error: "));
  EXPECT_TRUE(stage.run.stop_signal.empty());
}

TEST(BuildConfig, ports_that_are_none_are_refused) {
  for (const char* port : {"0", "70000", "80/xyz", "9-8", ""}) {
    StageConfig stage;
    build::Instruction expose;
    expose.what = build::Expose{.ports = {port}};
    EXPECT_FALSE(apply_instruction(expose, stage)) << port;
    EXPECT_TRUE(stage.run.exposed_ports.empty()) << port;
  }
}

// ARG ------------------------------------------------------------------------------------------

build::Arg arg(const std::string& text) { return std::get<build::Arg>(instruction(text).what); }

TEST(StageArguments, a_given_value_goes_before_the_default_and_that_before_the_global_one) {
  const build::Environment given{{"a", "given"}};
  const build::Environment global{{"b", "global"}, {"c", "global"}};
  StageArguments arguments(given, global);
  for (const char* each : {"ARG a=default", "ARG b", "ARG c=default", "ARG d"}) {
    ASSERT_TRUE(arguments.declare(arg(each), {}, '\\'));
  }
  EXPECT_EQ(arguments.declared(),
            (build::Environment{{"a", "given"}, {"b", "global"}, {"c", "default"}}));
}

TEST(StageArguments, env_hides_an_argument) {
  const build::Environment given{{"a", "1"}};
  StageArguments arguments(given, given);
  ASSERT_TRUE(arguments.declare(arg("ARG a"), {}, '\\'));
  oci::RunConfig run;
  EXPECT_EQ(arguments.for_run(run, true), (build::Environment{{"a", "1"}}));
  run.env = {"a=env"};
  EXPECT_TRUE(arguments.for_run(run, true).empty());
  EXPECT_EQ(arguments.environment(run), (build::Environment{{"a", "env"}}));
}

TEST(StageArguments, a_proxy_is_seen_and_does_not_count) {
  const build::Environment given{{"http_proxy", "http://p"}, {"other", "1"}};
  StageArguments arguments(given, given);
  EXPECT_EQ(arguments.for_run({}, false), (build::Environment{{"http_proxy", "http://p"}}));
  EXPECT_TRUE(arguments.for_run({}, true).empty());
}

TEST(StageArguments, what_a_run_sees_is_in_its_text) {
  EXPECT_EQ(run_text({"/bin/sh", "-c", "make"}, {}), "/bin/sh -c make");
  EXPECT_EQ(run_text({"/bin/sh", "-c", "make"}, {{"a", "1"}, {"b", "2"}}),
            "|2 a=1 b=2 /bin/sh -c make");
}

// Keys ------------------------------------------------------------------------------------------

TEST(StepKey, no_two_lists_of_parts_have_one_key) {
  const std::vector<Words> lists = {
      {},         {""},           {"", ""}, {"a"},        {"ab"},
      {"a", "b"}, {"a", "", "b"}, {"1:a"},  {"a", "1:b"}, {"b", "a"},
  };
  for (size_t one = 0; one < lists.size(); ++one) {
    EXPECT_EQ(step_key(lists[one]), step_key(lists[one]));
    for (size_t other = 0; other < one; ++other) {
      EXPECT_NE(step_key(lists[one]), step_key(lists[other])) << one << " " << other;
    }
  }
}

}  // namespace
}  // namespace nacelle::engine
