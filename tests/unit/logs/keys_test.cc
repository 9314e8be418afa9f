#include <gtest/gtest.h>

#include "logs/client.h"

namespace nacelle::logs {
namespace {

std::pair<std::string, bool> scan(std::string keys, std::string_view input, size_t step) {
  KeyScanner scanner(std::move(keys));
  std::string out;
  while (!input.empty()) {
    if (scanner.scan(input.substr(0, step), out)) return {out, true};
    input.remove_prefix(std::min(step, input.size()));
  }
  return {out, false};
}

TEST(DetachKeys, are_found_whatever_the_pieces) {
  for (size_t step = 1; step < 9; ++step) {
    EXPECT_EQ(scan("\x10\x11", "ab\x10\x11", step), std::pair(std::string("ab"), true));
    EXPECT_EQ(scan("aab", "aaaab", step), std::pair(std::string("aa"), true));
    EXPECT_EQ(scan("abac", "ababac", step), std::pair(std::string("ab"), true));
  }
}

TEST(DetachKeys, a_broken_sequence_is_input) {
  for (size_t step = 1; step < 9; ++step) {
    EXPECT_EQ(scan("\x10\x11", "\x10x\x11", step), std::pair(std::string("\x10x\x11"), false));
    EXPECT_EQ(scan("aab", "aac", step), std::pair(std::string("aac"), false));
    EXPECT_EQ(scan("abcd", "ababcx", step), std::pair(std::string("ababcx"), false));
  }
}

TEST(DetachKeys, the_beginning_of_a_sequence_is_held_back) {
  EXPECT_EQ(scan("\x10\x11", "ab\x10", 1), std::pair(std::string("ab"), false));
}

TEST(DetachKeys, without_any_everything_is_input) {
  EXPECT_EQ(scan("", "\x10\x11", 1), std::pair(std::string("\x10\x11"), false));
}

}  // namespace
}  // namespace nacelle::logs
