// What clients ask to be made of a build, understood and not.
#include "api/build_outputs.h"

#include <gtest/gtest.h>

namespace nacelle::api {
namespace {

TEST(BuildOutputs, those_that_can_be_made_are_taken) {
  EXPECT_TRUE(check_outputs({}));
  EXPECT_TRUE(
      check_outputs({{"moby", {{"name", "a,b"}, {"push", "true"}}},
                     {"local", {{"platform-split", "false"}}},
                     {"tar", {}},
                     {"docker", {{"name", "a"}, {"compression", "gzip"}, {"tar", "true"}}},
                     {"oci", {{"oci-mediatypes", "true"}, {"rewrite-timestamp", "true"}}}}));
}

TEST(BuildOutputs, what_would_change_one_and_is_not_understood_is_refused_by_name) {
  struct Case {
    BuildOutput output;
    const char* complaint;
  };
  const Case cases[] = {
      {{"registry-of-mine", {}}, "registry-of-mine"},
      {{"docker", {{"compression", "zstd"}}}, "compression=zstd"},
      {{"oci", {{"tar", "false"}}}, "tar=false"},
      {{"local", {{"mode", "delete"}}}, "mode=delete"},
      {{"local", {{"platform-split", "true"}}}, "platform-split=true"},
      {{"oci", {{"annotation.a", "b"}}}, "annotation.a=b"},
      {{"tar", {{"source-date-epoch", "1"}}}, "source-date-epoch=1"},
  };
  for (const Case& each : cases) {
    const auto checked = check_outputs({each.output});
    ASSERT_FALSE(checked) << each.complaint;
    EXPECT_EQ(checked.error().kind(), Kind::Unsupported);
    EXPECT_NE(checked.error().message().find(each.complaint), std::string::npos)
        << checked.error().message();
  }
}

}  // namespace
}  // namespace nacelle::api
