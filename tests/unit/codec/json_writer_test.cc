#include "codec/json_writer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "codec/json.h"

namespace nacelle::codec::json {
namespace {

TEST(JsonWriter, writes_on_one_line) {
  Writer json;
  json.begin_object().member("id", "web").key("pids").values(std::vector<int>{1, -2});
  json.member("up", true)
      .key("none")
      .null()
      .key("raw")
      .raw("{}")
      .key("e")
      .begin_array()
      .end_array();
  json.key("nested")
      .begin_array()
      .begin_object()
      .end_object()
      .begin_array()
      .end_array()
      .end_array();
  json.end_object();
  EXPECT_EQ(std::move(json).take(),
            R"({"id":"web","pids":[1,-2],"up":true,"none":null,"raw":{},"e":[],"nested":[{},[]]})");
}

TEST(JsonWriter, indents_as_encoding_json_does) {
  Writer json("\t");
  json.begin_object().member("a", 1).key("b").begin_array().value("x").value("y").end_array();
  json.key("c").begin_object().end_object().end_object();
  EXPECT_EQ(std::move(json).take(),
            "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t\"x\",\n\t\t\"y\"\n\t],\n\t\"c\": {}\n}");
}

TEST(JsonWriter, writes_the_ends_of_the_number_types) {
  Writer json;
  json.begin_array();
  json.value(std::numeric_limits<int64_t>::min()).value(std::numeric_limits<uint64_t>::max());
  json.end_array();
  EXPECT_EQ(std::move(json).take(), "[-9223372036854775808,18446744073709551615]");
}

TEST(JsonWriter, escapes_what_json_cannot_hold) {
  struct Case {
    std::string_view text;
    std::string_view json;
  };
  const Case cases[] = {
      {"plain", "plain"},
      {"\"\\/", "\\\"\\\\/"},
      {"\n\r\t", "\\n\\r\\t"},
      {std::string_view("\0\x01\x1f\x7f", 4), "\\u0000\\u0001\\u001f\\u007f"},
      {"\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80"},
      {"\xff", "\xef\xbf\xbd"},
      {"a\xc3", "a\xef\xbf\xbd"},
      {"\xc3(", "\xef\xbf\xbd("},
      {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
      {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
      {"\x80", "\xef\xbf\xbd"},
  };
  for (const Case& c : cases) {
    std::string out;
    append_escaped(out, c.text);
    EXPECT_EQ(out, c.json);
  }
}

// Goal: the reader takes whatever the writer makes, for every byte there is.
TEST(JsonWriter, what_it_writes_can_be_read) {
  for (int byte = 0; byte < 256; ++byte) {
    Writer json;
    json.begin_array().value(std::string(1, static_cast<char>(byte))).end_array();
    const std::string text = std::move(json).take();
    EXPECT_TRUE(Document::parse(text)) << text;
  }
}

}  // namespace
}  // namespace nacelle::codec::json
