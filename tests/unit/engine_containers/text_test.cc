#include "engine/container_text.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "engine/moment.h"

namespace nacelle::engine {
namespace {

TEST(Signals, by_any_of_their_names) {
  EXPECT_EQ(parse_signal("TERM").value(), SIGTERM);
  EXPECT_EQ(parse_signal("SIGTERM").value(), SIGTERM);
  EXPECT_EQ(parse_signal("sigkill").value(), SIGKILL);
  EXPECT_EQ(parse_signal("9").value(), 9);
  EXPECT_EQ(parse_signal("64").value(), 64);
  EXPECT_EQ(parse_signal("RTMIN").value(), 34);
  EXPECT_EQ(parse_signal("SIGRTMIN+3").value(), 37);
  EXPECT_EQ(parse_signal("RTMAX-1").value(), 63);
}

TEST(Signals, that_are_none_are_refused_by_name) {
  for (const char* text : {"", "0", "-1", "65", "999999999999", "SIG", "TERMX", "SIGSIGTERM", "15x",
                           " 15", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMIN+x", "1.5"}) {
    const auto signal = parse_signal(text);
    ASSERT_FALSE(signal) << text;
    EXPECT_EQ(signal.error().kind(), Kind::Invalid);
    EXPECT_EQ(signal.error().message(), std::string("invalid signal: ") + text);
  }
}

TEST(DetachKeys, become_what_a_terminal_sends) {
  EXPECT_EQ(parse_detach_keys("").value(), "\x10\x11");
  EXPECT_EQ(parse_detach_keys("ctrl-a,x").value(), "\x01x");
  EXPECT_EQ(parse_detach_keys("ctrl-[").value(), "\x1b");
  EXPECT_EQ(parse_detach_keys("ctrl-_").value(), "\x1f");
  EXPECT_EQ(parse_detach_keys("ctrl-@").value(), std::string(1, '\0'));
}

TEST(DetachKeys, that_no_key_makes_are_refused) {
  for (const char* text :
       {"ctrl-", "ctrl-A", "ctrl-aa", "CTRL-a", "xx", "a,,b", "ctrl-1", "alt-a"}) {
    const auto keys = parse_detach_keys(text);
    ASSERT_FALSE(keys) << text;
    EXPECT_EQ(keys.error().kind(), Kind::Invalid);
  }
}

TEST(ExitCodes, are_what_a_shell_says) {
  EXPECT_EQ(exit_code_of(0, true), 0);
  EXPECT_EQ(exit_code_of(3 << 8, true), 3);
  EXPECT_EQ(exit_code_of(SIGKILL, true), 137);
  EXPECT_EQ(exit_code_of(SIGSEGV | 0x80, true), 139);
  EXPECT_EQ(exit_code_of(0, false), 255);
}

TEST(Times, are_read_as_they_were_written) {
  for (const int64_t ns :
       {int64_t{0}, int64_t{1'700'000'000'123'456'789}, int64_t{1'000'000'000}}) {
    EXPECT_EQ(parse_time(moment_text(ns)), ns);
  }
  EXPECT_EQ(parse_time("2024-02-29T12:00:00Z"), 1'709'208'000'000'000'000);
  EXPECT_EQ(parse_time("2024-02-29T12:00:00.5Z"), 1'709'208'000'500'000'000);
  for (const char* text :
       {"", "Z", "2024-02-29 12:00:00Z", "2024-02-29T12:00:00", "x024-02-29T12:00:00Z",
        "2024-02-29T12:00:00,5Z", "2024-02-29T12:00:00.Z", "2024-02-29T12:00:00.1234567890Z",
        "2024-02-29T12:00:00.xZ"}) {
    EXPECT_FALSE(parse_time(text)) << text;
  }
}

}  // namespace
}  // namespace nacelle::engine
