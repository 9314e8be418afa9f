#include "api/route.h"

#include <gtest/gtest.h>

#include <vector>

#include "engine/moment.h"

namespace nacelle::api {
namespace {

ring::Task<> a(Call&) { co_return; }
ring::Task<> b(Call&) { co_return; }
ring::Task<> c(Call&) { co_return; }

const Table& table() {
  static const Table made({{"GET", "/containers/{id}/json", b},
                           {"GET", "/containers/json", a},
                           {"DELETE", "/containers/{id}", b},
                           {"POST", "/containers/create", a},
                           {"POST", "/containers/{id}/start", b},
                           {"GET", "/images/{name...}/json", c},
                           {"GET", "/images/json", a},
                           {"DELETE", "/images/{name...}", c},
                           {"GET", "/_ping", a}});
  return made;
}

struct Found {
  Action action = nullptr;
  std::vector<std::string> variables;
};
Found find(const char* method, const char* path) {
  Found found;
  found.action = table().find(method, path, found.variables);
  return found;
}

TEST(ApiRoute, finds_what_is_there) {
  EXPECT_EQ(find("GET", "/_ping").action, &a);
  EXPECT_EQ(find("GET", "/containers/json").action, &a);
  EXPECT_EQ(find("GET", "//containers/json").action, &a);
  const Found one = find("GET", "/containers/web/json");
  EXPECT_EQ(one.action, &b);
  EXPECT_EQ(one.variables, std::vector<std::string>{"web"});
}

TEST(ApiRoute, a_name_may_begin_with_a_slash) {
  const Found one = find("GET", "/containers//web/json");
  EXPECT_EQ(one.action, &b);
  EXPECT_EQ(one.variables, std::vector<std::string>{"/web"});
  EXPECT_EQ(find("DELETE", "/containers//web").variables, std::vector<std::string>{"/web"});
}

TEST(ApiRoute, image_names_have_slashes) {
  EXPECT_EQ(find("GET", "/images/a/b/c:1/json").variables, std::vector<std::string>{"a/b/c:1"});
  EXPECT_EQ(find("GET", "/images/json/json").variables, std::vector<std::string>{"json"});
  EXPECT_EQ(find("DELETE", "/images/a/json/b").variables, std::vector<std::string>{"a/json/b"});
  EXPECT_EQ(find("GET", "/images/json").action, &a);
}

TEST(ApiRoute, all_else_is_not_there) {
  const std::pair<const char*, const char*> nowhere[] = {
      {"GET", ""},
      {"GET", "/"},
      {"GET", "//"},
      {"GET", "/nope"},
      {"GET", "_ping"},
      {"HEAD", "/_ping"},
      {"POST", "/_ping"},
      {"GET", "/_ping/"},
      {"GET", "/_ping/x"},
      {"get", "/_ping"},
      {"GET", "/containers"},
      {"GET", "/containers/"},
      {"GET", "/containers/json/"},
      {"GET", "/containers/a/b/json"},
      {"GET", "/containers//json"},
      {"GET", "/containers///json"},
      {"DELETE", "/containers/"},
      {"DELETE", "/containers/a/"},
      {"POST", "/containers/web/start/now"},
      {"GET", "/images//json"},
      {"DELETE", "/images/"},
  };
  for (const auto& [method, path] : nowhere) {
    const Found found = find(method, path);
    EXPECT_EQ(found.action, nullptr) << method << ' ' << path;
    EXPECT_TRUE(found.variables.empty()) << method << ' ' << path;
  }
}

TEST(ApiVersion, is_taken_off_the_path) {
  struct Case {
    const char* path;
    const char* rest;
    int minor;
  };
  const Case cases[] = {
      {"/_ping", "/_ping", 51},     {"/v1.24/_ping", "/_ping", 24},
      {"/v1.51/a/b", "/a/b", 51},   {"/v1.40/v1.41/a", "/v1.41/a", 40},
      {"/volumes", "/volumes", 51}, {"/v/a", "/v/a", 51},
      {"/v1.4a/a", "/v1.4a/a", 51}, {"/v1.51", "/v1.51", 51},
      {"/v01.051/a", "/a", 51},     {"/version", "/version", 51},
  };
  for (const Case& each : cases) {
    std::string_view path = each.path;
    const Version version = take_version(path);
    EXPECT_EQ(path, each.rest) << each.path;
    EXPECT_EQ(version.minor, each.minor) << each.path;
    EXPECT_EQ(version.complaint, "") << each.path;
  }
}

TEST(ApiVersion, outside_of_the_range_is_dockers_text) {
  struct Case {
    const char* path;
    bool too_old;
    const char* complaint;
  };
  const Case cases[] = {
      {"/v1.23/_ping", true,
       "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your "
       "client to a newer version"},
      {"/v1/info", true,
       "client version 1 is too old. Minimum supported API version is 1.24, please upgrade your "
       "client to a newer version"},
      {"/v./info", true,
       "client version . is too old. Minimum supported API version is 1.24, please upgrade your "
       "client to a newer version"},
      {"/v0.99/info", true,
       "client version 0.99 is too old. Minimum supported API version is 1.24, please upgrade your "
       "client to a newer version"},
      {"/v1.52/_ping", false,
       "client version 1.52 is too new. Maximum supported API version is 1.51"},
      {"/v2.0/_ping", false,
       "client version 2.0 is too new. Maximum supported API version is 1.51"},
      {"/v1.51.2/_ping", false,
       "client version 1.51.2 is too new. Maximum supported API version is 1.51"},
      {"/v1.99999999999999999999/_ping", false,
       "client version 1.99999999999999999999 is too new. Maximum supported API version is 1.51"},
  };
  for (const Case& each : cases) {
    std::string_view path = each.path;
    const Version version = take_version(path);
    EXPECT_EQ(version.complaint, each.complaint);
    EXPECT_EQ(version.too_old, each.too_old) << each.path;
  }
}

TEST(ApiStatus, follows_from_the_kind) {
  const std::pair<Kind, int> cases[] = {
      {Kind::Invalid, 400},   {Kind::NotFound, 404},    {Kind::Conflict, 409},
      {Kind::Denied, 403},    {Kind::Unavailable, 503}, {Kind::Unsupported, 501},
      {Kind::Exhausted, 500}, {Kind::Internal, 500},
  };
  for (const auto& [kind, status] : cases) EXPECT_EQ(status_of(Error(kind, "")), status);
  EXPECT_EQ(status_of(Error(Kind::Invalid, "request body too large")), 413);
}

// Filters ----------------------------------------------------------------------------------------

using Values = std::vector<std::string>;

TEST(ApiFilters, come_in_two_forms) {
  auto both = read_filters(R"({"label":["a=b","c","a=b"],"status":{"running":true,"dead":false}})",
                           {"label", "status"});
  ASSERT_TRUE(both);
  EXPECT_EQ((*both)["label"], (Values{"a=b", "c"}));
  // A key counts whatever its value says.
  EXPECT_EQ((*both)["status"], (Values{"running", "dead"}));
  for (const char* empty : {"", "{}", "null"}) {
    const auto none = read_filters(empty, {"label"});
    ASSERT_TRUE(none) << empty;
    EXPECT_TRUE(none->empty()) << empty;
  }
}

TEST(ApiFilters, that_are_wrong_are_refused_in_dockers_words) {
  const std::pair<const char*, const char*> cases[] = {
      {"abc", "invalid filter"},
      {"[]", "invalid filter"},
      {"5", "invalid filter"},
      {R"("label")", "invalid filter"},
      {R"({"label":"a"})", "invalid filter"},
      {R"({"label":5})", "invalid filter"},
      {R"({"label":true})", "invalid filter"},
      {R"({"label":["a",1]})", "invalid filter"},
      {R"({"label":{"a":1}})", "invalid filter"},
      {R"({"label":["a"]} x)", "invalid filter"},
      {R"({"label":["a"])", "invalid filter"},
      {R"({"bogus":["a"]})", "invalid filter 'bogus'"},
      {R"({"label":["a"],"Label":["a"]})", "invalid filter 'Label'"},
      {R"({"":[]})", "invalid filter ''"},
  };
  for (const auto& [text, complaint] : cases) {
    const auto filters = read_filters(text, {"label"});
    ASSERT_FALSE(filters) << text;
    EXPECT_EQ(filters.error().message(), complaint) << text;
    EXPECT_EQ(filters.error().kind(), Kind::Invalid);
  }
}

TEST(ApiFilters, labels_match_all) {
  const engine::Labels labels{{"a", "b"}, {"c", ""}, {"d", "e=f"}};
  EXPECT_TRUE(label_filters_match({}, labels));
  EXPECT_TRUE(label_filters_match({"a"}, labels));
  EXPECT_TRUE(label_filters_match({"a=b", "c", "c=", "d=e=f"}, labels));
  for (const char* wrong : {"x", "a=", "a=c", "c=d", "d=e", "", "=b", "A=b"}) {
    EXPECT_FALSE(label_filters_match({wrong}, labels)) << wrong;
    EXPECT_FALSE(label_filters_match({"a", wrong}, labels)) << wrong;
  }
}

TEST(ApiFilters, yes_and_no) {
  const auto value = [](Values values) { return bool_filter({{"x", values}}, "x", false); };
  EXPECT_TRUE(*bool_filter({}, "x", true));
  EXPECT_FALSE(*bool_filter({}, "x", false));
  EXPECT_TRUE(*value({"true"}));
  EXPECT_TRUE(*value({"1"}));
  EXPECT_FALSE(*value({"false"}));
  EXPECT_FALSE(*value({"0"}));
  EXPECT_EQ(value({"x"}).error().message(), "invalid filter 'x=[x]'");
  EXPECT_EQ(value({"true", "false"}).error().message(), "invalid filter 'x=[true false]'");
  EXPECT_FALSE(value({"True"}));
  EXPECT_FALSE(value({""}));
}

// Times ------------------------------------------------------------------------------------------

constexpr int64_t second = 1'000'000'000;

TEST(ApiTime, points) {
  const std::pair<const char*, int64_t> cases[] = {
      {"0", 0},
      {"1700000000", 1700000000 * second},
      {"1700000000.5", 1700000000 * second + 500'000'000},
      {"1700000000.000000001", 1700000000 * second + 1},
      {"1700000000.1234567899", 1700000000 * second + 123456789},
      {"2023-11-14T22:13:20Z", 1700000000 * second},
      {"2023-11-14T22:13:20.25Z", 1700000000 * second + 250'000'000},
      {"2023-11-15T00:13:20+02:00", 1700000000 * second},
      {"2023-11-14T22:13:20", 1700000000 * second},
      {"2023-11-14T22:13", 1699999980 * second},
      {"2023-11-14T22", 1699999200 * second},
      {"2023-11-14", 1699920000 * second},
      {"2023-11-14Z", 1699920000 * second},
      {"2023-11-14T21:13:20-01:00", 1700000000 * second},
      {"1969-12-31T23:59:59Z", -second},
      {"2024-02-29T00:00:00Z", 1709164800 * second},
  };
  for (const auto& [text, ns] : cases) {
    const auto time = read_time(text);
    ASSERT_TRUE(time) << text;
    EXPECT_EQ(*time, ns) << text;
  }
}

TEST(ApiTime, durations_are_before_now) {
  const std::pair<const char*, int64_t> cases[] = {
      {"10s", 10 * second},      {"1h30m", 5400 * second}, {"1.5h", 5400 * second},
      {"500ms", second / 2},     {"-10s", -10 * second},   {"24h", 86400 * second},
      {"1h0.5m", 3630 * second}, {"90us", 90'000},         {".5s", second / 2},
  };
  for (const auto& [text, ago] : cases) {
    const int64_t before = engine::now_ns();
    const auto time = read_time(text);
    const int64_t after = engine::now_ns();
    ASSERT_TRUE(time) << text;
    EXPECT_GE(*time + ago, before) << text;
    EXPECT_LE(*time + ago, after) << text;
  }
}

TEST(ApiTime, what_is_none_is_refused) {
  for (const char* text : {"",
                           "abc",
                           "1.5x",
                           "1.",
                           ".",
                           "1.-5",
                           "--1",
                           "s",
                           "1x",
                           "10 s",
                           "1h30",
                           "2023-13-01",
                           "2023-00-01",
                           "2023-02-29",
                           "2023-1-1",
                           "2023-11-14T",
                           "2023-11-14T24:00",
                           "2023-11-14T22:60",
                           "2023-11-14T22:13:60",
                           "2023-11-14T22:13:20+0200",
                           "2023-11-14T22:13:20 Z",
                           "2023-11-14x",
                           "99999999999999999999",
                           "9223372036854775807",
                           "1.5.5s",
                           "..s",
                           "-",
                           "+",
                           "1e9x"}) {
    const auto time = read_time(text);
    EXPECT_FALSE(time) << text << " as " << (time ? *time : 0);
  }
  EXPECT_EQ(read_time("abc").error().message(),
            "failed to parse value as time or duration: \"abc\"");
}

TEST(ApiTime, rfc3339_alone) {
  EXPECT_EQ(parse_rfc3339("2023-11-14T22:13:20.000000001Z"), 1700000000 * second + 1);
  for (const char* text :
       {"2023-11-14", "2023-11-14T22:13Z", "2023-11-14T22:13:20", "1700000000", "", "10s"}) {
    EXPECT_FALSE(parse_rfc3339(text)) << text;
  }
}

}  // namespace
}  // namespace nacelle::api
