#include "codec/json.h"

#include <gtest/gtest.h>

#include <string>

#include "base/text.h"

namespace nacelle::codec::json {
namespace {

struct Rejected {
  std::string text;
  std::string complaint;
};

// Goal: what is not JSON is refused whole, wherever the fault is, with its place.
TEST(JsonDocument, what_is_not_json_is_refused_with_its_place) {
  const Rejected cases[] = {
      {"", "not JSON: empty"},
      {"  \n ", "not JSON: empty"},
      {"{", "not JSON: line 1, column 2: expected a property name in quotes"},
      {"[", "not JSON: line 1, column 2: the document ends too early"},
      {"[1", "not JSON: line 1, column 3: expected ',' or ']'"},
      {"[1,", "not JSON: line 1, column 4: the document ends too early"},
      {"[1,]", "not JSON: line 1, column 4: unexpected ']'"},
      {"[,1]", "not JSON: line 1, column 2: unexpected ','"},
      {"[1 2]", "not JSON: line 1, column 4: expected ',' or ']'"},
      {"[1}", "not JSON: line 1, column 3: expected ',' or ']'"},
      {"]", "not JSON: line 1, column 1: unexpected ']'"},
      {"{}}", "not JSON: line 1, column 3: nothing may follow the document"},
      {"{} {}", "not JSON: line 1, column 4: nothing may follow the document"},
      {"1 2", "not JSON: line 1, column 3: nothing may follow the document"},
      {"{\"a\"}", "not JSON: line 1, column 5: expected ':'"},
      {"{\"a\":}", "not JSON: line 1, column 6: unexpected '}'"},
      {"{\"a\" 1}", "not JSON: line 1, column 6: expected ':'"},
      {"{\"a\":1,}", "not JSON: line 1, column 8: expected a property name in quotes"},
      {"{\"a\":1 \"b\":2}", "not JSON: line 1, column 8: expected ',' or '}'"},
      {"{1:2}", "not JSON: line 1, column 2: expected a property name in quotes"},
      {"{a:2}", "not JSON: line 1, column 2: expected a property name in quotes"},
      {"{\n  \"a\": tru\n}", "not JSON: line 2, column 8: unexpected 'tru'"},
      {"truefalse", "not JSON: line 1, column 1: unexpected 'truefalse'"},
      {"nul", "not JSON: line 1, column 1: unexpected 'nul'"},
      {"NaN", "not JSON: line 1, column 1: unexpected 'NaN'"},
      {"'a'", "not JSON: line 1, column 1: unexpected ''a''"},
      {"01", "not JSON: line 1, column 1: unexpected '01'"},
      {"-", "not JSON: line 1, column 1: unexpected '-'"},
      {"+1", "not JSON: line 1, column 1: unexpected '+1'"},
      {"1.", "not JSON: line 1, column 1: unexpected '1.'"},
      {".5", "not JSON: line 1, column 1: unexpected '.5'"},
      {"1e", "not JSON: line 1, column 1: unexpected '1e'"},
      {"1e+", "not JSON: line 1, column 1: unexpected '1e+'"},
      {"0x10", "not JSON: line 1, column 1: unexpected '0x10'"},
      {"12\"a\"", "not JSON: line 1, column 1: unexpected '12\\\"a\\\"'"},
      {"\"a\"b", "not JSON: line 1, column 4: nothing may follow the document"},
      {"\"a\"\"b\"", "not JSON: line 1, column 4: nothing may follow the document"},
      {"\"a", "not JSON: a string is not closed"},
      {"\"a\\\"", "not JSON: a string is not closed"},
      {"\"a\nb\"", "not JSON: a string contains a bare control character"},
      {std::string("\"a\0b\"", 5), "not JSON: a string contains a bare control character"},
      {std::string("{}\0", 3), "not JSON: line 1, column 3: nothing may follow the document"},
      {"\"\\q\"", "not JSON: line 1, column 1: a string has an escape that JSON does not have"},
      {"\"\\u12\"", "not JSON: line 1, column 1: a string has an escape that JSON does not have"},
      {"\"\\u-123\"", "not JSON: line 1, column 1: a string has an escape that JSON does not have"},
      {"\"\\ud800\"", "not JSON: line 1, column 1: a string has an escape that JSON does not have"},
      {"\"\\udc00\"", "not JSON: line 1, column 1: a string has an escape that JSON does not have"},
      {"\"\\ud800\\u0041\"",
       "not JSON: line 1, column 1: a string has an escape that JSON does not have"},
      {"{\"ignored\": [\"\\q\"]}",
       "not JSON: line 1, column 14: a string has an escape that JSON does not have"},
      {"// comment\n{}", "not JSON: line 1, column 1: unexpected '//'"},
      {"\xef\xbb\xbf{}", "not JSON: line 1, column 1: unexpected '\xef\xbb\xbf'"},
      {"{\"a\":\n\"\xff\"}", "line 2: not valid UTF-8"},
      {"\"\xc0\x80\"", "line 1: not valid UTF-8"},
      {"\"\xed\xa0\x80\"", "line 1: not valid UTF-8"},
  };
  for (const Rejected& c : cases) {
    const auto document = Document::parse(c.text);
    ASSERT_FALSE(document) << c.text;
    EXPECT_EQ(document.error().message(), c.complaint) << c.text;
    EXPECT_EQ(document.error().kind(), Kind::Invalid);
  }
}

TEST(JsonDocument, depth_and_size_are_limited) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(Document::parse(nested(5), {.depth_max = 5}));
  const auto deep = Document::parse(nested(6), {.depth_max = 5});
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().message(), "not JSON: line 1, column 6: nested deeper than 5 levels");
  EXPECT_FALSE(Document::parse(std::string(1u << 20, '[')));
  const auto large = Document::parse("[1,2,3]", {.bytes_max = 6});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().message(), "larger than 6 bytes");
}

TEST(JsonValue, strings_are_unescaped) {
  const std::string text = R"({"k\u0065y":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00 plain"})";
  const auto document = Document::parse(text);
  ASSERT_TRUE(document);
  const auto object = document->root().object();
  std::string value;
  ASSERT_TRUE(object->need("key", value));
  EXPECT_EQ(value, "\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80 plain");
}

// Goal: no string with a NUL in it reaches a C string, where its tail would be lost.
TEST(JsonValue, a_nul_character_is_refused_where_the_string_is_read) {
  const auto document = Document::parse(R"({"a":["x","y\u0000z"],"m":{"k\u0000":"v"}})");
  ASSERT_TRUE(document);
  const auto object = document->root().object();
  std::vector<std::string> list;
  EXPECT_EQ(object->need("a", list).error().message(), "a[1]: must not contain a NUL character");
  std::map<std::string, std::string> map;
  EXPECT_EQ(object->need("m", map).error().message(),
            "m['k\\u0000']: must not contain a NUL character");
}

template <class Number>
std::string error_of(std::string_view text) {
  const std::string json = cat("{\"n\":", text, "}");
  const auto document = Document::parse(json);
  if (!document) return document.error().message();
  Number number{};
  const auto read = document->root().object()->need("n", number);
  return read ? cat("ok ", number) : read.error().message();
}

TEST(JsonValue, numbers_are_held_to_their_type) {
  EXPECT_EQ(error_of<uint8_t>("255"), "ok 255");
  EXPECT_EQ(error_of<uint8_t>("256"), "n: 256: out of range");
  EXPECT_EQ(error_of<uint8_t>("-1"), "n: -1: out of range");
  EXPECT_EQ(error_of<uint32_t>("-0"), "ok 0");
  EXPECT_EQ(error_of<uint32_t>("4294967295"), "ok 4294967295");
  EXPECT_EQ(error_of<uint32_t>("4294967296"), "n: 4294967296: out of range");
  EXPECT_EQ(error_of<int32_t>("-2147483648"), "ok -2147483648");
  EXPECT_EQ(error_of<int32_t>("-2147483649"), "n: -2147483649: out of range");
  EXPECT_EQ(error_of<int64_t>("-9223372036854775808"), "ok -9223372036854775808");
  EXPECT_EQ(error_of<int64_t>("9223372036854775808"), "n: 9223372036854775808: out of range");
  EXPECT_EQ(error_of<int64_t>("-9223372036854775809"), "n: -9223372036854775809: out of range");
  EXPECT_EQ(error_of<uint64_t>("18446744073709551615"), "ok 18446744073709551615");
  EXPECT_EQ(error_of<uint64_t>("18446744073709551616"), "n: 18446744073709551616: out of range");
  EXPECT_EQ(error_of<int64_t>("1.0"), "n: expected an integer");
  EXPECT_EQ(error_of<int64_t>("1e3"), "n: expected an integer");
  EXPECT_EQ(error_of<int64_t>("\"1\""), "n: expected an integer");
  EXPECT_EQ(error_of<int64_t>("true"), "n: expected an integer");
  EXPECT_EQ(error_of<int64_t>(std::string(1000, '9')),
            cat("n: ", std::string(64, '9'), "...: out of range"));
}

TEST(JsonObject, the_last_of_duplicate_keys_wins) {
  const auto document = Document::parse(R"({"a":1,"b":5,"\u0061":2,"c":null,"c":3,"b":null})");
  const auto object = document->root().object();
  int a = 0, b = 7, c = 0;
  EXPECT_TRUE(object->need("a", a));
  EXPECT_TRUE(object->maybe("b", b));
  EXPECT_TRUE(object->need("c", c));
  EXPECT_EQ(a, 2);
  EXPECT_EQ(b, 7) << "null is absent, also when it is the last of two";
  EXPECT_EQ(c, 3);
}

TEST(JsonObject, a_missing_or_null_property_is_missing_only_where_it_is_needed) {
  const auto document = Document::parse(R"({"o":{"x":null}})");
  const auto root = document->root().object();
  const auto inner = root->need("o")->object();
  std::string text = "as before";
  EXPECT_TRUE(inner->maybe("x", text));
  EXPECT_TRUE(inner->maybe("y", text));
  EXPECT_EQ(text, "as before");
  EXPECT_EQ(inner->need("x", text).error().message(), "o.x: missing");
  EXPECT_EQ(inner->need("y", text).error().message(), "o.y: missing");
}

TEST(JsonValue, the_bytes_of_a_value_are_those_of_the_source) {
  const auto document = Document::parse("{\"a\": { \"b\" : [1, 2 ] } , \"c\":\"x\" }");
  const auto object = document->root().object();
  EXPECT_EQ(object->need("a")->raw(), "{ \"b\" : [1, 2 ] }");
  EXPECT_EQ(object->need("c")->raw(), "\"x\"");
  EXPECT_EQ(object->need("a")->object()->need("b")->raw(), "[1, 2 ]");
}

TEST(JsonValue, paths_name_every_step) {
  const auto document =
      Document::parse(R"({"a":[{"b":1},{"b":[true,{"c.d/e":null}]}],"":2})", {}, "linux.seccomp");
  const auto root = document->root().object();
  std::vector<std::string> paths;
  for (const auto [key, value] : *root) paths.push_back(value.path());
  EXPECT_EQ(paths, (std::vector<std::string>{"linux.seccomp.a", "linux.seccomp['']"}));
  const Value second = *++root->need("a")->array()->begin();
  const Value list = *second.object()->need("b");
  EXPECT_EQ(list.path(), "linux.seccomp.a[1].b");
  const Value inner = *++list.array()->begin();
  EXPECT_EQ((*inner.object()->begin()).value.path(), "linux.seccomp.a[1].b[1]['c.d/e']");
  EXPECT_EQ(document->root().path(), "linux.seccomp");
}

TEST(JsonText, echoed_text_is_one_short_line_of_whole_characters) {
  EXPECT_EQ(in_quotes("a\nb"), "'a\\nb'");
  EXPECT_EQ(in_quotes(std::string(63, 'a') + "\xc3\xa9"), "'" + std::string(63, 'a') + "...'");
  EXPECT_EQ(path_step("plain_key-1"), ".plain_key-1");
  EXPECT_EQ(path_step("net.core"), "['net.core']");
}

}  // namespace
}  // namespace nacelle::codec::json
