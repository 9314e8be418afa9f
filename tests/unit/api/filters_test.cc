#include <gtest/gtest.h>

#include "api/container_filters.h"
#include "base/text.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

using engine::Container;
using engine::Phase;

Container container() {
  Container one;
  one.id = "0123456789abcdef";
  one.name = "web-1";
  one.created = "2023-11-14T22:13:20.5Z";
  one.image_id = "sha256:aa";
  one.config.labels = {{"a", "b"}};
  one.config.exposed_ports = {{"80/tcp", {}}, {"53/udp", {}}};
  one.mounts = {{.type = "volume",
                 .name = "data",
                 .source = "/x",
                 .destination = "/d",
                 .driver = "local",
                 .mode = "",
                 .propagation = ""},
                {.type = "bind",
                 .name = "",
                 .source = "/host",
                 .destination = "/b",
                 .driver = "",
                 .mode = "",
                 .propagation = ""}};
  one.endpoints["mine"].network_id = "fedcba9876";
  one.state.phase = Phase::Running;
  one.state.started_at = "2023-11-14T22:13:21Z";
  return one;
}

bool shown(std::string_view filters, const Container& one, bool all = true) {
  auto criteria = read_criteria(filters);
  if (!criteria) ADD_FAILURE() << filters << ": " << criteria.error().message();
  criteria->all = all;
  return matches(*criteria, one);
}

TEST(ContainerFilters, choose) {
  const Container one = container();
  for (const char* filters : {"",
                              "{}",
                              R"({"name":["web-1"]})",
                              R"({"name":["^/web-1$"]})",
                              R"({"name":["web"]})",
                              R"({"name":["nope","^w.b"]})",
                              R"({"id":["0123"]})",
                              R"({"id":["^0123456789abcdef$"]})",
                              R"({"label":["a"]})",
                              R"({"label":["a=b"]})",
                              R"({"status":["running"]})",
                              R"({"status":["exited","running"]})",
                              R"({"health":["none"]})",
                              R"({"volume":["data"]})",
                              R"({"volume":["/d"]})",
                              R"({"volume":["/host"]})",
                              R"({"network":["mine"]})",
                              R"({"network":["fedc"]})",
                              R"({"expose":["80"]})",
                              R"({"expose":["50-60/udp"]})",
                              R"({"is-task":["false"]})",
                              R"({"isolation":["x"]})",
                              R"({"name":[]})"}) {
    EXPECT_TRUE(shown(filters, one)) << filters;
  }
  for (const char* filters :
       {R"({"name":["^eb"]})",       R"({"name":["["]})",
        R"({"name":["WEB"]})",       R"({"name":["w{1}eb"]})",
        R"({"id":["xyz"]})",         R"({"label":["a","c"]})",
        R"({"label":["a=c"]})",      R"({"status":["exited"]})",
        R"({"health":["healthy"]})", R"({"volume":["/x"]})",
        R"({"volume":["dat"]})",     R"({"network":["min"]})",
        R"({"network":[""]})",       R"({"expose":["81"]})",
        R"({"expose":["53"]})",      R"({"expose":["80/udp"]})",
        R"({"publish":["80"]})",     R"({"is-task":["true"]})",
        R"({"exited":["0"]})",       R"({"name":["web-1"],"status":["exited"]})"}) {
    EXPECT_FALSE(shown(filters, one)) << filters;
  }
}

TEST(ContainerFilters, what_has_ended) {
  Container one = container();
  one.state.phase = Phase::Exited;
  one.state.exit_code = 3;
  EXPECT_TRUE(shown("", one));
  EXPECT_FALSE(shown("", one, false));
  EXPECT_TRUE(shown(R"({"exited":["0","3"]})", one));
  EXPECT_FALSE(shown(R"({"exited":["0"]})", one));
  one.state.started_at.clear();
  one.state.phase = Phase::Created;
  EXPECT_FALSE(shown(R"({"exited":["3"]})", one));
  for (const Phase phase : {Phase::Running, Phase::Paused, Phase::Restarting}) {
    one.state.phase = phase;
    EXPECT_TRUE(shown("", one, false));
  }
}

TEST(ContainerFilters, neighbours_in_time_and_images) {
  const Container one = container();
  Criteria criteria;
  criteria.all = true;
  criteria.before = created_ns(one);
  EXPECT_FALSE(matches(criteria, one));
  criteria.before = created_ns(one) + 1;
  EXPECT_TRUE(matches(criteria, one));
  criteria.since = created_ns(one);
  EXPECT_FALSE(matches(criteria, one));
  criteria.since = created_ns(one) - 1;
  EXPECT_TRUE(matches(criteria, one));
  criteria.image_ids.emplace();
  EXPECT_FALSE(matches(criteria, one));
  criteria.image_ids->push_back("sha256:aa");
  EXPECT_TRUE(matches(criteria, one));
}

TEST(ContainerFilters, that_are_wrong_are_refused_in_dockers_words) {
  const std::pair<const char*, const char*> cases[] = {
      {"abc", "invalid filter"},
      {R"({"bogus":["x"]})", "invalid filter 'bogus'"},
      {R"({"label!":["x"]})", "invalid filter 'label!'"},
      {R"({"status":["bogus"]})",
       "invalid filter 'status=bogus': invalid value for state (bogus): must be one of created, "
       "running, paused, restarting, removing, exited, dead"},
      {R"({"status":["running","Exited"]})",
       "invalid filter 'status=Exited': invalid value for state (Exited): must be one of created, "
       "running, paused, restarting, removing, exited, dead"},
      {R"({"health":["bogus"]})",
       "invalid filter 'health=bogus': invalid value for health (bogus): must be one of none, "
       "starting, healthy, unhealthy"},
      {R"({"exited":["a"]})",
       "invalid filter 'exited=a': strconv.Atoi: parsing \"a\": invalid syntax"},
      {R"({"is-task":["x"]})", "invalid filter 'is-task=[x]'"},
      {R"({"publish":["x"]})", "error while looking up for publish x: invalid port range: \"x\""},
      {R"({"expose":["x/y/z"]})",
       "error while looking up for expose x/y/z: invalid port range: \"x\""},
  };
  for (const auto& [filters, complaint] : cases) {
    const auto criteria = read_criteria(filters);
    ASSERT_FALSE(criteria) << filters;
    EXPECT_EQ(criteria.error().message(), complaint);
    EXPECT_EQ(criteria.error().kind(), Kind::Invalid);
  }
}

TEST(ContainerFilters, port_ranges) {
  const auto range = parse_port_range("80-90/udp");
  ASSERT_TRUE(range);
  EXPECT_TRUE(range->has(80, "udp") && range->has(90, "udp"));
  EXPECT_FALSE(range->has(91, "udp") || range->has(79, "udp") || range->has(80, "tcp"));
  for (const char* text : {"", "/", "-", "80-", "-80", "90-80", "65536", "80/http", "80/tcp/x",
                           " 80", "80-90-100", "0x50"}) {
    EXPECT_FALSE(parse_port_range(text)) << text;
  }
}

TEST(ContainerFilters, patterns_have_bounds) {
  EXPECT_FALSE(pattern_matches("a{1000}{1000}{1000}", "a"));
  EXPECT_FALSE(pattern_matches(std::string(10'000, '('), "a"));
  EXPECT_FALSE(pattern_matches("*[", "a"));
  EXPECT_FALSE(pattern_matches("a\\", "a"));
  EXPECT_FALSE(pattern_matches("(a)\\1", "aa"));
  EXPECT_TRUE(pattern_matches("a\\.b", "a.b"));
  EXPECT_TRUE(pattern_matches("", "a"));
}

TEST(PruneFilters, choose) {
  const Container one = container();
  const auto chosen = [&](const char* filters) {
    const auto choice = prune_choice(filters);
    if (!choice) ADD_FAILURE() << filters << ": " << choice.error().message();
    return (*choice)(one);
  };
  EXPECT_TRUE(chosen(""));
  EXPECT_TRUE(chosen(R"({"until":["1h"]})"));
  EXPECT_TRUE(chosen(R"({"until":["2023-11-15"]})"));
  EXPECT_FALSE(chosen(R"({"until":["2023-11-14"]})"));
  EXPECT_FALSE(chosen(R"({"until":["1700000000"]})"));
  EXPECT_TRUE(chosen(R"({"label":["a=b"]})"));
  EXPECT_FALSE(chosen(R"({"label":["x"]})"));
  EXPECT_FALSE(chosen(R"({"label!":["a"]})"));
  EXPECT_TRUE(chosen(R"({"label!":["x"]})"));
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"until":["abc"]})", "failed to parse value as time or duration: \"abc\""},
      {R"({"until":["1h","2h"]})", "more than one until filter specified"},
      {R"({"bogus":["abc"]})", "invalid filter 'bogus'"},
      {R"({"name":["abc"]})", "invalid filter 'name'"},
  };
  for (const auto& [filters, complaint] : wrong) {
    const auto choice = prune_choice(filters);
    ASSERT_FALSE(choice) << filters;
    EXPECT_EQ(choice.error().message(), complaint);
  }
}

}  // namespace
}  // namespace nacelle::api
