// Frames, detach keys and signals of attached containers.
#include "cli/nacelle/streams.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "cli/nacelle/terminal.h"

namespace nacelle::cli {
namespace {

using namespace std::string_literals;

std::string frame(char stream, std::string_view bytes) {
  std::string text{stream, 0, 0, 0, 0, 0, 0, static_cast<char>(bytes.size())};
  return text += bytes;
}

struct Seen {
  std::string out;
  Demultiplexer streams{[this](int stream, std::string_view bytes) -> Result<> {
    out += static_cast<char>('0' + stream);
    out += bytes;
    return {};
  }};
};

TEST(Demultiplexer, takes_frames_apart_wherever_they_are_cut) {
  const std::string text = frame(1, "hello") + frame(2, "no") + frame(1, "") + frame(1, "!");
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Seen seen;
    ASSERT_TRUE(seen.streams.feed(std::string_view(text).substr(0, cut)));
    ASSERT_TRUE(seen.streams.feed(std::string_view(text).substr(cut)));
    std::string joined;
    for (const char c : seen.out) {
      if (c != '1' && c != '2') joined += c;
    }
    EXPECT_EQ(joined, "hellono!") << cut;
    EXPECT_FALSE(seen.streams.in_frame());
  }
}

TEST(Demultiplexer, what_is_no_stream_is_refused) {
  Seen seen;
  EXPECT_FALSE(seen.streams.feed(frame(4, "x")));
  Seen other;
  EXPECT_FALSE(other.streams.feed("\xff\0\0\0\0\0\0\1x"s));
  Seen complaint;
  const Result<> told = complaint.streams.feed(frame(3, "it broke"));
  ASSERT_FALSE(told);
  EXPECT_NE(told.error().message().find("it broke"), std::string::npos);
}

TEST(DetachKeys, are_read_as_docker_does) {
  EXPECT_EQ(*parse_detach_keys("ctrl-p,ctrl-q"), "\x10\x11");
  EXPECT_EQ(*parse_detach_keys("a,ctrl-[,ctrl-A"), "a\x1b\x01");
  EXPECT_EQ(*parse_detach_keys(""), "");
  for (const char* text : {"ab", "ctrl-", "ctrl-1", "alt-x", "a,,b", "ctrl-pq"}) {
    EXPECT_FALSE(parse_detach_keys(text)) << text;
  }
}

TEST(DetachFilter, holds_back_what_may_be_the_keys) {
  const auto typed = [](std::initializer_list<std::string_view> pieces) {
    DetachFilter filter("\x10\x11");
    std::string out;
    for (const std::string_view piece : pieces) {
      bool detached = false;
      out += filter.feed(piece, detached);
      if (detached) return out + "<detached>";
    }
    return out;
  };
  EXPECT_EQ(typed({"abc"}), "abc");
  EXPECT_EQ(typed({"a\x10\x11z"}), "a<detached>");
  EXPECT_EQ(typed({"a\x10", "\x11"}), "a<detached>");
  EXPECT_EQ(typed({"a\x10", "b"}),
            "a\x10"
            "b");
  EXPECT_EQ(typed({"\x10\x10\x11"}), "\x10<detached>");
  EXPECT_EQ(typed({"\x11\x10"}), "\x11");
  DetachFilter none("");
  bool detached = false;
  EXPECT_EQ(none.feed("\x10\x11", detached), "\x10\x11");
  EXPECT_FALSE(detached);
}

TEST(Signals, have_names_and_numbers) {
  EXPECT_EQ(signal_name(SIGTERM), "TERM");
  EXPECT_EQ(signal_number("SIGTERM"), SIGTERM);
  EXPECT_EQ(signal_number("hup"), SIGHUP);
  EXPECT_EQ(signal_number("9"), 9);
  for (const char* text : {"", "SIG", "NOPE", "0", "-1", "999"})
    EXPECT_EQ(signal_number(text), 0) << text;
}

}  // namespace
}  // namespace nacelle::cli
