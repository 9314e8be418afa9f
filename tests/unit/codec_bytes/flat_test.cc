#include "codec/flat.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace nacelle::codec {
namespace {

using namespace std::string_literals;

enum class Colour : uint8_t { Red, Green, Blue };

struct Inner {
  std::string name;
  std::optional<uint32_t> size;
  bool operator==(const Inner&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(name, size);
  }
};

struct Message {
  uint8_t small = 0;
  int64_t big = 0;
  bool yes = false;
  Colour colour = Colour::Red;
  std::string text;
  Digest digest;
  std::vector<Inner> inner;
  std::vector<std::pair<std::string, uint16_t>> pairs;
  std::optional<Inner> maybe;
  bool operator==(const Message&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(small, big, yes, colour, text, digest, inner, pairs, maybe);
  }
};

Message sample() {
  return {.small = 200,
          .big = std::numeric_limits<int64_t>::min() + 1,
          .yes = true,
          .colour = Colour::Blue,
          .text = "with\0nul and \xff"s,
          .digest = digest_of("abc"),
          .inner = {{.name = "one", .size = 7}, {.name = "", .size = {}}},
          .pairs = {{"a", 1}, {"", 65535}},
          .maybe = Inner{.name = "there", .size = {}}};
}

// A message of one field, for what is wrong with that field alone.
template <class T>
struct One {
  T value{};
  template <class Visit>
  void fields(Visit& visit) {
    visit(value);
  }
};

template <class T>
void expect_refused(std::string_view bytes) {
  const auto message = flat::decode<One<T>>(bytes, "a reply");
  ASSERT_FALSE(message);
  EXPECT_EQ(message.error().kind(), Kind::Invalid);
  EXPECT_TRUE(message.error().message().starts_with("a reply: ")) << message.error().message();
}

TEST(Flat, every_field_comes_back) {
  for (const Message& message : {sample(), Message()}) {
    const auto back = flat::decode<Message>(flat::encode(message), "a message");
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_TRUE(*back == message);
  }
}

TEST(Flat, numbers_are_little_endian_and_as_wide_as_their_type) {
  EXPECT_EQ(flat::encode(One<uint32_t>{0x01020304}), "\x04\x03\x02\x01");
  EXPECT_EQ(flat::encode(One<int16_t>{-2}), "\xfe\xff");
  EXPECT_EQ(flat::encode(One<uint64_t>{1}), "\x01\0\0\0\0\0\0\0"s);
  EXPECT_EQ(flat::encode(One<std::string>{"ab"}), "\x02\0\0\0ab"s);
  EXPECT_EQ(flat::encode(One<bool>{true}), "\x01");
  EXPECT_EQ(flat::encode(One<std::optional<uint8_t>>{}), "\0"s);
}

TEST(Flat, the_ends_of_every_number_come_back) {
  const auto check = [](auto zero) {
    using Number = decltype(zero);
    using Limits = std::numeric_limits<Number>;
    for (const Number number : {Limits::min(), Number{0}, Number{1}, Limits::max()}) {
      const auto back = flat::decode<One<Number>>(flat::encode(One<Number>{number}), "a number");
      ASSERT_TRUE(back);
      EXPECT_EQ(back->value, number);
    }
  };
  check(uint8_t{});
  check(int8_t{});
  check(uint16_t{});
  check(int16_t{});
  check(uint32_t{});
  check(int32_t{});
  check(uint64_t{});
  check(int64_t{});
}

TEST(Flat, a_message_cut_anywhere_is_refused) {
  const std::string whole = flat::encode(sample());
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(flat::decode<Message>(std::string_view(whole).substr(0, cut), "it")) << cut;
  }
}

TEST(Flat, trailing_bytes_are_refused) {
  const std::string whole = flat::encode(sample());
  EXPECT_FALSE(flat::decode<Message>(whole + "\0"s, "it"));
  EXPECT_FALSE(flat::decode<Message>(whole + whole, "it"));
  expect_refused<uint8_t>("\x01\x02");
}

TEST(Flat, counts_beyond_the_message_are_refused) {
  expect_refused<std::string>("\x03\0\0\0ab"s);
  expect_refused<std::string>(
      "\xff\xff\xff\xff"
      "ab"s);
  expect_refused<std::vector<uint8_t>>("\x03\0\0\0ab"s);
  expect_refused<std::vector<uint64_t>>(
      "\x02\0\0\0"
      "12345678"s);
  expect_refused<std::vector<std::string>>("\xff\xff\xff\xff\0\0\0\0"s);
  expect_refused<std::vector<std::vector<std::string>>>("\x02\0\0\0\xff\xff\xff\x7f\0\0\0\0"s);
}

TEST(Flat, what_is_neither_true_nor_false_is_refused) {
  expect_refused<bool>("\x02");
  expect_refused<bool>("\xff");
  expect_refused<std::optional<uint8_t>>("\x02\x01");
  expect_refused<std::optional<uint8_t>>("\x01");
}

TEST(Flat, a_digest_is_nothing_or_canonical) {
  const auto empty = flat::decode<One<Digest>>("\0\0\0\0"s, "it");
  ASSERT_TRUE(empty);
  EXPECT_TRUE(empty->value.empty());
  std::string upper = flat::encode(One<Digest>{digest_of("")});
  upper[4 + 7] = 'E';
  expect_refused<Digest>(upper);
  expect_refused<Digest>("\x0e\0\0\0sha256:../../x"s);
}

// Goal: a hostile message costs no more than its own length. Method: a few bytes that claim four
// billion elements, for elements much larger in memory than on the wire.
TEST(Flat, a_false_count_reserves_nothing) {
  std::string bytes = "\xff\xff\xff\xff"s + std::string(64, '\0');
  for (int each = 0; each < 100'000; ++each) {
    ASSERT_FALSE(flat::decode<One<std::vector<Message>>>(bytes, "it"));
  }
}

// Every byte of a message replaced by every value: no crash (the sanitizers watch), and what is
// accepted encodes to what was read, so no two texts mean the same message.
TEST(Flat, a_changed_byte_is_refused_or_means_what_it_says) {
  const std::string whole = flat::encode(sample());
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = whole;
      changed[at] = static_cast<char>(value);
      const auto message = flat::decode<Message>(changed, "it");
      if (message) EXPECT_EQ(flat::encode(*message), changed) << "byte " << at;
    }
  }
}

}  // namespace
}  // namespace nacelle::codec
