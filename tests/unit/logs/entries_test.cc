#include "logs/entries.h"

#include <gtest/gtest.h>

#include <random>

#include "base/text.h"
#include "logs/read_log.h"

namespace nacelle::logs {
namespace {

constexpr int64_t noon_ns = 1'795'608'231'123'456'789;  // 2026-11-25T12:03:51.123456789Z

std::string encode(std::string_view output, bool is_last = false, uint64_t room = ~uint64_t{0}) {
  Pieces pieces;
  std::string into(encoded_entry_bytes_max("") + 2'000'000, '\0');
  const Encoded encoded = encode_json_lines(
      {.output = output, .time_ns = noon_ns, .is_last = is_last, .room = room}, "", pieces, into);
  into.resize(encoded.produced);
  return into;
}

std::string log_of(std::string_view output) {
  const std::string line = encode(cat(output, '\n'));
  const std::string_view rest = std::string_view(line).substr(8);
  return std::string(rest.substr(0, rest.find(R"(\n","stream")")));
}

TEST(Entries, a_line_looks_as_docker_writes_it) {
  EXPECT_EQ(
      encode("hello\n"),
      "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-25T12:03:51.123456789Z\"}"
      "\n");
}

TEST(Entries, what_go_escapes_is_escaped) {
  EXPECT_EQ(log_of("a\"b\\c"), R"(a\"b\\c)");
  EXPECT_EQ(log_of("<&>"), R"(\u003c\u0026\u003e)");
  EXPECT_EQ(log_of(std::string_view("\0\t\r\x1b\x7f", 5)), "\\u0000\\u0009\\r\\u001b\x7f");
  EXPECT_EQ(log_of("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa"), "\\u2028\\u2029\xe2\x80\xaa");
}

TEST(Entries, good_utf8_stays_and_every_bad_byte_becomes_a_replacement) {
  EXPECT_EQ(log_of("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  for (const std::string_view bad : {"\xff", "\x80", "\xc0", "\xc1", "\xf5", "\xc3", "\xe2\x82",
                                     "\xf0\x9f\x98", "\xe0\x9f", "\xed\xa0", "\xf4\x90"}) {
    std::string wanted;
    for (size_t each = 0; each < bad.size(); ++each) wanted += "\\ufffd";
    EXPECT_EQ(log_of(bad), wanted);
    EXPECT_EQ(log_of(cat("ab", bad, "cd")), cat("ab", wanted, "cd"));
  }
}

TEST(Entries, a_special_character_is_found_at_every_place_of_a_block) {
  for (size_t length = 0; length < 50; ++length) {
    for (const char special : {'"', '\\', '<', '>', '&', '\x01', '\x1f', '\n'}) {
      std::string text(length, 'x');
      text += special;
      text += std::string(40, ' ');
      text += '\n';
      std::string back;
      std::string lines = encode(text);
      std::string_view rest = lines;
      while (!rest.empty()) back += decode_json_line(take_until(rest, '\n'))->text;
      EXPECT_EQ(back, text);
    }
  }
}

TEST(Entries, anything_comes_back_as_it_was_if_it_was_text) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (unsigned each = random() % 3000; each > 0; --each)
      text += static_cast<char>(random() % (round % 2 == 0 ? 128u : 96u));
    text += '\n';
    std::string back;
    const std::string lines = encode(text);
    std::string_view rest = lines;
    while (!rest.empty()) {
      const auto entry = decode_json_line(take_until(rest, '\n'));
      ASSERT_TRUE(entry);
      EXPECT_EQ(entry->time_ns, noon_ns);
      back += entry->text;
    }
    EXPECT_EQ(back, text);
  }
}

TEST(Entries, the_rest_of_a_line_waits_unless_nothing_more_comes) {
  EXPECT_EQ(encode("no newline"), "");
  EXPECT_TRUE(encode("no newline", true).starts_with(R"({"log":"no newline","stream")"));
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("", true), "");
}

TEST(Entries, a_line_of_exactly_a_piece_ends_in_an_entry_of_a_newline) {
  const std::string lines = encode(std::string(piece_bytes_max, 'x') + "\n");
  std::string_view rest = lines;
  EXPECT_EQ(decode_json_line(take_until(rest, '\n'))->text.size(), piece_bytes_max);
  EXPECT_EQ(decode_json_line(take_until(rest, '\n'))->text, "\n");
  EXPECT_EQ(rest, "");
}

TEST(Entries, pieces_of_a_line_bear_its_first_time_across_batches) {
  Pieces pieces;
  std::string into(1 << 20, '\0');
  const std::string start(piece_bytes_max, 'x');
  encode_json_lines({.output = start, .time_ns = noon_ns}, "", pieces, into);
  EXPECT_TRUE(pieces.open);
  const Encoded encoded =
      encode_json_lines({.output = "end\nnext\n", .time_ns = noon_ns + 5}, "", pieces, into);
  EXPECT_FALSE(pieces.open);
  std::string_view rest = std::string_view(into).substr(0, encoded.produced);
  EXPECT_EQ(decode_json_line(take_until(rest, '\n'))->time_ns, noon_ns);
  EXPECT_EQ(decode_json_line(take_until(rest, '\n'))->time_ns, noon_ns + 5);
}

TEST(Entries, a_file_ends_with_the_first_entry_that_reaches_its_size) {
  const std::string one = encode("one\n");
  EXPECT_EQ(encode("one\ntwo\n", false, 1).size(), one.size());
  EXPECT_EQ(encode("one\ntwo\n", false, one.size()).size(), one.size());
  EXPECT_EQ(encode("one\ntwo\n", false, one.size() + 1).size(), 2 * one.size());
  EXPECT_EQ(encode("one\n", false, 0), "");
}

TEST(Entries, times_lose_trailing_zeros_and_are_read_with_any_offset) {
  for (const auto& [time_ns, text] : std::initializer_list<std::pair<int64_t, const char*>>{
           {0, "1970-01-01T00:00:00Z"},
           {1, "1970-01-01T00:00:00.000000001Z"},
           {100'000'000, "1970-01-01T00:00:00.1Z"},
           {-1, "1969-12-31T23:59:59.999999999Z"},
           {951'782'400'000'000'000, "2000-02-29T00:00:00Z"},
           {4'107'542'399'000'000'000, "2100-02-28T23:59:59Z"}}) {
    std::string out;
    append_time(out, time_ns);
    EXPECT_EQ(out, text);
    EXPECT_EQ(parse_time(text), time_ns);
  }
  EXPECT_EQ(parse_time("1970-01-01T01:00:00+01:00"), 0);
  EXPECT_EQ(parse_time("1969-12-31T23:30:00-00:30"), 0);
}

TEST(Entries, what_is_no_time_is_refused) {
  for (const char* text : {"", "2026", "2026-13-01T00:00:00Z", "2026-01-32T00:00:00Z",
                           "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01 00:00:00Z",
                           "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zx",
                           "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+01:0",
                           "0000-00-00T00:00:00Z", "9999-01-01T00:00:00Z", "-026-01-01T00:00:00Z"})
    EXPECT_FALSE(parse_time(text)) << text;
}

TEST(Entries, a_damaged_line_is_nothing) {
  for (const char* line :
       {"", "{", "{}", "[]", "null", R"({"log":"x"})", R"({"log":"x","time":"never"})",
        R"({"log":1,"time":"2026-01-01T00:00:00Z"})", R"({"log":"x","time":"2026-01-01T00:00:00Z")",
        R"({"log":"x","time":"2026-01-01T00:00:00Z"}})",
        R"({"log":"\x","time":"2026-01-01T00:00:00Z"})",
        R"({"log":"\u00g0","time":"2026-01-01T00:00:00Z"})",
        R"({"log":"x","stream":"other","time":"2026-01-01T00:00:00Z"})",
        R"({"log":"x","attrs":{"a":1},"time":"2026-01-01T00:00:00Z"})",
        R"({"log":"x","attrs":{"a":"1",},"time":"2026-01-01T00:00:00Z"})", "\0\0\0"})
    EXPECT_FALSE(decode_json_line(line)) << line;
}

TEST(Entries, local_entries_are_found_again_after_damage) {
  Pieces pieces;
  std::string file(1 << 20, '\0');
  const Encoded encoded = encode_local_entries(
      {.output = "one\ntwo\nthree\n", .stream = Stream::Stderr, .time_ns = noon_ns}, pieces, file);
  file.resize(encoded.produced);
  const auto texts = [](std::string_view bytes) {
    const auto parser = EntryParser::make(Driver::Local);
    parser->take(bytes);
    std::vector<Entry> entries;
    while (parser->next(entries)) {
    }
    std::string all;
    for (const Entry& each : entries) {
      EXPECT_EQ(each.stream, Stream::Stderr);
      EXPECT_EQ(each.time_ns, noon_ns);
      all += each.text;
    }
    return all;
  };
  EXPECT_EQ(texts(file), "one\ntwo\nthree\n");
  for (size_t at = 0; at < file.size(); ++at) {
    std::string damaged = file;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    const std::string found = texts(damaged);
    const bool is_near = at < 25 ? found.ends_with("two\nthree\n") : found.starts_with("one\n");
    EXPECT_TRUE(is_near) << at << ": " << found;
  }
}

}  // namespace
}  // namespace nacelle::logs
