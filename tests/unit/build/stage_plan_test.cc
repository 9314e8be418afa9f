// Which stages are built, and in which order.
#include "build/stage_plan.h"

#include "tests/unit/build/parse.h"

namespace nacelle::build {
namespace {

using Indices = std::vector<size_t>;

Result<StagePlan> plan(std::string_view text, PlanOptions options = {}) {
  return plan_stages(parsed(text), options);
}

Indices order(std::string_view text, std::string target = {}) {
  Indices indices;
  const auto planned = plan(text, {.target = std::move(target)});
  EXPECT_TRUE(planned) << (planned ? "" : planned.error().message());
  if (!planned) return {};
  for (const PlannedStage& stage : planned->stages) indices.push_back(stage.stage);
  return indices;
}

std::string complaint(std::string_view text, PlanOptions options = {}) {
  const auto planned = plan(text, options);
  if (planned) return "none";
  return planned.error().message().substr(0, planned.error().message().find('\n'));
}

constexpr std::string_view example =
    "FROM base AS one\nFROM base AS two\nFROM one AS three\nCOPY --from=two a b\n"
    "FROM unused AS four\nFROM scratch AS five\nCOPY --from=three a b\nCOPY --from=0 a b\n"
    "RUN --mount=from=busybox,target=/x --mount=target=/y --mount=from=two,target=/z a\n";

TEST(StagePlan, has_what_the_target_needs_in_order) {
  EXPECT_EQ(order(example), (Indices{0, 1, 2, 4}));
  EXPECT_EQ(order(example, "three"), (Indices{0, 1, 2}));
  EXPECT_EQ(order(example, "TWO"), (Indices{1}));
  EXPECT_EQ(order(example, "3"), (Indices{3}));
}

TEST(StagePlan, says_where_everything_comes_from) {
  const auto planned = plan(example);
  ASSERT_TRUE(planned);
  const PlannedStage& last = planned->stages.back();
  EXPECT_TRUE(last.base.is_scratch());
  EXPECT_EQ(last.needs, (Indices{2, 0, 1}));
  ASSERT_EQ(last.origins.size(), 3u);
  EXPECT_EQ(last.origins[0], (std::vector<Origin>{{.stage = 2, .image = ""}}));
  EXPECT_EQ(last.origins[2], (std::vector<Origin>{{.stage = std::nullopt, .image = "busybox"},
                                                  {.stage = 1, .image = ""}}));
  EXPECT_EQ(planned->stages[2].base.stage, 0u);
  EXPECT_EQ(planned->stages[0].base.image, "base");
}

TEST(StagePlan, a_name_that_is_replaced_means_no_stage) {
  PlanOptions options;
  options.replaced = {"one"};
  const auto planned = plan("FROM x AS one\nFROM one AS two\nCOPY --from=one a b\n", options);
  ASSERT_TRUE(planned);
  ASSERT_EQ(planned->stages.size(), 1u);
  EXPECT_EQ(planned->stages[0].base.image, "one");
  EXPECT_EQ(planned->stages[0].origins[0],
            (std::vector<Origin>{{.stage = std::nullopt, .image = "one"}}));
}

TEST(StagePlan, from_means_an_earlier_stage_or_an_image) {
  const auto planned = plan("FROM later AS a\nFROM x AS later\nFROM LATER\n", {.target = "a"});
  ASSERT_TRUE(planned);
  EXPECT_EQ(planned->stages[0].base.image, "later");
  EXPECT_EQ(order("FROM x AS a\nFROM y AS a\nFROM a\n"), (Indices{1, 2}));
  EXPECT_EQ(order("FROM x\nFROM 0\n"), (Indices{1}));  // a number is no stage here
  EXPECT_EQ(order("FROM x AS a\nCOPY --from=b / /\nFROM y AS b\n", "a"), (Indices{1, 0}));
}

TEST(StagePlan, replaces_variables_of_from) {
  const auto other = plan(
      "ARG V=1\nARG W=${V}0 X\nARG TARGETOS=z\nFROM --platform=$BUILDPLATFORM a:$W$X-$TARGETARCH\n",
      {.target = "",
       .build_arguments = {{"V", "2"}},
       .build_platform = {"linux", "arm64", "", ""},
       .target_platform = {"linux", "arm", "v7", ""}});
  ASSERT_TRUE(other);
  EXPECT_EQ(other->stages[0].base.image, "a:20-arm");
  EXPECT_EQ(other->stages[0].platform, "linux/arm64");
  EXPECT_EQ(other->global_arguments.at("TARGETPLATFORM"), "linux/arm/v7");
  EXPECT_EQ(other->global_arguments.at("TARGETVARIANT"), "v7");
  EXPECT_EQ(other->global_arguments.at("TARGETSTAGE"), "default");
  EXPECT_EQ(other->global_arguments.at("V"), "2");
  EXPECT_FALSE(other->global_arguments.contains("X"));
}

TEST(StagePlan, arguments_of_a_stage_are_none_of_from) {
  EXPECT_EQ(complaint("FROM a\nARG V=b\nFROM $V\n"),
            "Dockerfile:3: base name ($V) should not be blank");
}

TEST(StagePlan, complains) {
  EXPECT_EQ(complaint("FROM a AS build\n", {.target = "biuld"}),
            "target stage 'biuld' could not be found (did you mean build?)");
  EXPECT_EQ(complaint("FROM a\n", {.target = "1"}), "target stage '1' could not be found");
  EXPECT_EQ(complaint("FROM a\n", {.target = "-1"}), "target stage '-1' could not be found");
  EXPECT_EQ(complaint("FROM a AS b\nCOPY --from=b a b\n"),
            "Dockerfile:1: circular dependency detected on stage b");
  EXPECT_EQ(complaint("FROM a AS b\nCOPY --from=c a b\nFROM b AS c\n"),
            "Dockerfile:3: circular dependency detected on stage c");
  EXPECT_EQ(complaint("FROM a\nCOPY --from=1 a b\n"), "Dockerfile:2: invalid stage index 1");
  EXPECT_EQ(complaint("FROM a\nCOPY --from=-1 a b\n"), "Dockerfile:2: invalid stage index -1");
  EXPECT_EQ(complaint("FROM $x\n"), "Dockerfile:1: base name ($x) should not be blank");
  EXPECT_EQ(complaint("FROM --platform=$x a\n"),
            "Dockerfile:1: empty platform value from expression $x");
  EXPECT_EQ(complaint("ARG a=${b:?none}\nFROM a\n"),
            "Dockerfile:1: failed to process '${b:?none}': b: none");
  EXPECT_NE(complaint("FROM --platform=a/b/c/d a\n"), "none");
  EXPECT_NE(complaint("FROM ${a\n"), "none");
}

TEST(StagePlan, is_content_with_many_stages) {
  std::string text = "FROM a AS s0\n";
  for (size_t i = 1; i < dockerfile_stages_max; ++i) text += cat("FROM s", i - 1, " AS s", i, "\n");
  EXPECT_EQ(order(text).size(), dockerfile_stages_max);
}

}  // namespace
}  // namespace nacelle::build
