// Modes as chmod is told them. Method: a mode, what it is changed by, and what it becomes.
#include "codec/file_mode.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace nacelle::codec {
namespace {

struct Case {
  const char* change;
  uint32_t before, file, directory;
};

TEST(FileMode, changes_what_is_named) {
  const Case cases[] = {
      {"0644", 07777, 0644, 0644},
      {"0", 0755, 0, 0},
      {"7777", 0, 07777, 07777},
      {"go-w", 0666, 0644, 0644},
      {"u=rw,g=r,o=r", 0777, 0644, 0644},
      {"a+X", 0644, 0644, 0755},
      {"a+X", 0744, 0755, 0755},
      {"u=rwX,go=rX", 0600, 0644, 0755},
      {"u=rwX,go=rX", 0711, 0755, 0755},
      // X asks for what was, not for what has been made of it.
      {"a=r,a+X", 0755, 0555, 0555},
      {"u+rw,g+r,o-x,o+w", 0124, 0766, 0766},
      {"g=u", 0740, 0770, 0770},
      {"g=u-w", 0740, 0750, 0750},
      {"o-g", 0777, 0770, 0770},
      {"u+s,g+s", 0755, 06755, 06755},
      {"o+s", 0755, 0755, 0755},
      {"+t", 0755, 01755, 01755},
      {"o+t", 0755, 0755, 0755},
      {"go=", 0777, 0700, 0700},
      {"a=rwx", 01000, 01777, 01777},
      {"-rwx", 0777, 0022, 0022},
  };
  for (const Case& each : cases) {
    const auto change = ModeChange::parse(each.change);
    ASSERT_TRUE(change) << each.change << ": " << change.error().message();
    EXPECT_EQ(change->apply(each.before, false), each.file) << each.change;
    EXPECT_EQ(change->apply(each.before, true), each.directory) << each.change;
  }
}

TEST(FileMode, nobody_named_is_everybody_but_for_the_umask) {
  EXPECT_EQ(ModeChange::parse("+w")->apply(0444, false), 0644u);
  EXPECT_EQ(ModeChange::parse("=rw")->apply(0777, false), 0644u);
}

// Whatever kind of file it was.
TEST(FileMode, is_of_permissions_alone) {
  EXPECT_EQ(ModeChange::parse("u+x")->apply(0100644, false), 0744u);
}

TEST(FileMode, knows_whether_it_was_a_number) {
  EXPECT_EQ(ModeChange::parse("0750")->number(), 0750u);
  EXPECT_EQ(ModeChange::parse("u=rwx,g=rx,o=")->number(), std::nullopt);
}

TEST(FileMode, refuses_what_is_no_mode) {
  for (const char* text : {"", "8", "0648", "10000", "-1", "u", "u+q", "u+r,", ",u+r", "u+rg", "x",
                           "0644,u+x", " 644", "u+r g+r", "99999999999999"}) {
    const auto change = ModeChange::parse(text);
    ASSERT_FALSE(change) << text;
    EXPECT_EQ(change.error().kind(), Kind::Invalid) << text;
  }
  std::string many = "u+r";
  for (size_t i = 0; i < mode_changes_max; ++i) many += "+r";
  EXPECT_EQ(ModeChange::parse(many).error().kind(), Kind::Exhausted);
}

}  // namespace
}  // namespace nacelle::codec
