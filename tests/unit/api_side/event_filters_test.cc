#include "api/event_filters.h"

#include <gtest/gtest.h>

#include "failure.h"

namespace nacelle::test {
namespace {

using api::Filters;
using engine::Event;

Event event(std::string type, std::string action, std::string actor,
            std::map<std::string, std::string> attributes = {}) {
  Event made;
  made.type = std::move(type);
  made.action = std::move(action);
  made.actor = std::move(actor);
  made.attributes = std::move(attributes);
  made.time_ns = 1'700'000'000'123'456'789;
  return made;
}

const Event start = event("container", "start", "abcdef0123",
                          {{"image", "busybox:latest"}, {"name", "web"}, {"tier", "front"}});

bool passes(Filters filters, const Event& what = start) {
  return api::matches_event(filters, what);
}

TEST(EventFilters, NoFilterLetsAllPass) {
  EXPECT_TRUE(passes({}));
  EXPECT_TRUE(passes({{"type", {}}}));
}

TEST(EventFilters, OneValueOfEachIsEnough) {
  EXPECT_TRUE(passes({{"type", {"image", "container"}}, {"event", {"die", "start"}}}));
  EXPECT_FALSE(passes({{"type", {"container"}}, {"event", {"die"}}}));
  EXPECT_FALSE(passes({{"type", {"image"}}}));
  EXPECT_FALSE(passes({{"scope", {"swarm"}}}));
  EXPECT_TRUE(passes({{"scope", {"local"}}}));
}

TEST(EventFilters, ContainersGoByIdNameOrTheirBeginning) {
  EXPECT_TRUE(passes({{"container", {"abcd"}}}));
  EXPECT_TRUE(passes({{"container", {"web"}}}));
  EXPECT_FALSE(passes({{"container", {"bcd"}}}));
  EXPECT_FALSE(passes({{"container", {"webb"}}}));
  EXPECT_FALSE(passes({{"volume", {"web"}}}));
  EXPECT_FALSE(passes({{"container", {"web"}}}, event("volume", "create", "web")));
}

TEST(EventFilters, AnActionWithItsArgumentIsFoundByItsName) {
  const Event exec = event("container", "exec_create: sh -c x", "a");
  const Event health = event("container", "health_status: healthy", "a");
  EXPECT_TRUE(passes({{"event", {"exec_create"}}}, exec));
  EXPECT_TRUE(passes({{"event", {"health_status"}}}, health));
  EXPECT_TRUE(passes({{"event", {"health_status: healthy"}}}, health));
  EXPECT_FALSE(passes({{"event", {"health_status: unhealthy"}}}, health));
  EXPECT_FALSE(passes({{"event", {"exec"}}}, exec));
}

TEST(EventFilters, ImagesGoByReferenceWithOrWithoutTag) {
  EXPECT_TRUE(passes({{"image", {"busybox"}}}));
  EXPECT_TRUE(passes({{"image", {"busybox:latest"}}}));
  EXPECT_FALSE(passes({{"image", {"busybox:1"}}}));
  EXPECT_FALSE(passes({{"image", {"busy"}}}));
  const Event pull = event("image", "pull", "localhost:5000/a", {{"name", "localhost:5000/a"}});
  EXPECT_TRUE(passes({{"image", {"localhost:5000/a"}}}, pull));
  EXPECT_FALSE(passes({{"image", {"localhost"}}}, pull));
}

TEST(EventFilters, LabelsAreAttributes) {
  EXPECT_TRUE(passes({{"label", {"tier"}}}));
  EXPECT_TRUE(passes({{"label", {"tier=front"}}}));
  EXPECT_FALSE(passes({{"label", {"tier=back"}}}));
  EXPECT_FALSE(passes({{"label", {"other"}}}));
}

TEST(EventFilters, UnknownOnesAreSaid) {
  EXPECT_EQ(failure(api::read_event_filters(R"({"colour":["red"]})")),
            "invalid: invalid filter 'colour'");
  EXPECT_FALSE(api::read_event_filters("{"));
  EXPECT_FALSE(api::read_event_filters("[]"));
  EXPECT_TRUE(api::read_event_filters(R"({"type":{"container":true}})"));
}

TEST(EventFilters, ALineHasTheMembersOfBeforeAndOfNow) {
  EXPECT_EQ(api::event_line(start),
            R"({"status":"start","id":"abcdef0123","from":"busybox:latest","Type":"container",)"
            R"("Action":"start","Actor":{"ID":"abcdef0123","Attributes":{"image":"busybox:latest",)"
            R"("name":"web","tier":"front"}},"scope":"local","time":1700000000,)"
            R"("timeNano":1700000000123456789})"
            "\n");
  EXPECT_TRUE(api::event_line(event("volume", "create", "data"))
                  .starts_with(R"({"Type":"volume","Action":"create","Actor":{"ID":"data")"));
}

}  // namespace
}  // namespace nacelle::test
