// Goal: who a process runs as is decided by numbers first, then by the image's files, as dockerd
// decides it, and by nothing outside of the image. Method: a table of forms against one root.
#include "fixture.h"

namespace nacelle::engine {
namespace {

constexpr std::string_view passwd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "web:x:33:44:Web:/var/www:/bin/false\n"
    "twin:x:33:45::/twin:\n"
    "1234:x:50:51::/numeric-name:\n"
    "crlf:x:60:61::/crlf:/bin/sh\r\n"
    "nouid:x:abc:7::/:\n"
    "minus:x:-1:7::/:\n"
    "huge:x:4294967296:7::/:\n"
    "short:x:70\n"
    ":x:0:0::/:\n"
    "last:x:80:81::/last:/bin/sh";
constexpr std::string_view group =
    "root:x:0:\n"
    "adm:x:4:web,daemon\n"
    "www:x:44:\n"
    "audio:x:29:web\n"
    "dup:x:29:web\n"
    "nogid:x:x:web\n"
    "minus:x:-5:web\n"
    "777:x:9:\n";

class Users : public testing::Test {
 protected:
  Users() {
    tree_.write("/etc/passwd", passwd);
    tree_.write("/etc/group", group);
  }
  std::string resolve(std::string_view user, const std::vector<std::string>& add = {}) {
    const auto resolved = resolve_user(user, add, tree_.root());
    if (!resolved) return resolved.error().message();
    std::string text = cat(resolved->uid, ":", resolved->gid, " [");
    for (const uint32_t gid : resolved->additional_gids) {
      text += cat(text.ends_with('[') ? "" : " ", gid);
    }
    return text + "] " + resolved->home;
  }
  Tree tree_;
};

TEST_F(Users, are_found_as_docker_finds_them) {
  struct Case {
    std::string_view user, expected;
  };
  const std::string_view range = "uids and gids must be in range 0-2147483647";
  const Case cases[] = {
      {"", "0:0 [0] /root"},
      {"root", "0:0 [0] /root"},
      {"0", "0:0 [0] /root"},
      {"00", "0:0 [0] /root"},
      {"+0", "0:0 [0] /root"},
      {"-0", "0:0 [0] /root"},
      {"1", "1:1 [1 4] /usr/sbin"},
      {"daemon", "1:1 [1 4] /usr/sbin"},
      {"web", "33:44 [44 4 29] /var/www"},
      {"33", "33:44 [44 4 29] /var/www"},
      {"twin", "33:45 [45] /twin"},
      {"web:", "33:44 [44 4 29] /var/www"},
      {"web:audio", "33:29 [29] /var/www"},
      {"web:29", "33:29 [29] /var/www"},
      {"web:5000", "33:5000 [5000] /var/www"},
      {"5000", "5000:0 [0] "},
      {"5000:5001", "5000:5001 [5001] "},
      {"5000:www", "5000:44 [44] "},
      {":www", "0:44 [44] /root"},
      // A number is a number, even where a name is written like it.
      {"1234", "1234:0 [0] "},
      {"0:777", "0:777 [777] /root"},
      {"last", "80:81 [81] /last"},
      {"crlf", "60:61 [61] /crlf"},
      {"2147483647", "2147483647:0 [0] "},
      {"2147483648", range},
      {"4294967295", range},
      {"4294967296", range},
      {"-1", range},
      {"0:-1", range},
      {"0:2147483648", range},
      {"0:4294967296", range},
      {"99999999999999999999",
       "unable to find user 99999999999999999999: no matching entries in passwd file"},
      {"0x0", "unable to find user 0x0: no matching entries in passwd file"},
      {"+-1", "unable to find user +-1: no matching entries in passwd file"},
      {" 0", "unable to find user  0: no matching entries in passwd file"},
      {"nobody", "unable to find user nobody: no matching entries in passwd file"},
      {"ROOT", "unable to find user ROOT: no matching entries in passwd file"},
      {"nouid", "unable to find user nouid: no matching entries in passwd file"},
      {"minus", "unable to find user minus: no matching entries in passwd file"},
      {"huge", "unable to find user huge: no matching entries in passwd file"},
      {"short", "unable to find user short: no matching entries in passwd file"},
      {"web:nogroup", "unable to find group nogroup: no matching entries in group file"},
      {"web:nogid", "unable to find group nogid: no matching entries in group file"},
      {"web:minus", "unable to find group minus: no matching entries in group file"},
      {"web:0x0", "unable to find group 0x0: no matching entries in group file"},
      {"we\nb", "invalid user: control characters are not allowed"},
      {std::string_view("a\0b", 3), "invalid user: control characters are not allowed"},
  };
  for (const Case& c : cases) EXPECT_EQ(resolve(c.user), c.expected) << c.user;
}

TEST_F(Users, get_groups_that_are_added) {
  EXPECT_EQ(resolve("web", {"www"}), "33:44 [4 29 44] /var/www");
  EXPECT_EQ(resolve("0", {"audio", "29", "6000"}), "0:0 [0 29 6000] /root");
  EXPECT_EQ(resolve("0", {"nope"}), "unable to find group nope: no matching entries in group file");
  EXPECT_EQ(resolve("0", {"-1"}), "uids and gids must be in range 0-2147483647");
  EXPECT_EQ(resolve("0", {"4294967296"}), "uids and gids must be in range 0-2147483647");
}

TEST(UsersOfOddImages, without_files_are_numbers) {
  Tree tree;
  EXPECT_EQ(resolve_user("7:8", {}, tree.root())->gid, 8u);
  EXPECT_EQ(resolve_user("", {}, tree.root())->uid, 0u);
  EXPECT_EQ(message_of(resolve_user("web", {}, tree.root())),
            "unable to find user web: no matching entries in passwd file");
  EXPECT_EQ(resolve_user("7:8", {}, Fd())->uid, 7u);
}

TEST(UsersOfOddImages, never_come_from_outside_of_them) {
  Tree outside;
  outside.write("/passwd", "evil:x:0:0::/:\n");
  Tree tree;
  tree.link("/etc/passwd", outside.path() + "/passwd");
  EXPECT_EQ(message_of(resolve_user("evil", {}, tree.root())),
            "unable to find user evil: no matching entries in passwd file");
  Tree upwards;
  upwards.link("/etc/passwd", "../../../../../.." + outside.path() + "/passwd");
  EXPECT_FALSE(resolve_user("evil", {}, upwards.root()));
  Tree directory;
  directory.link("/etc", outside.path());
  EXPECT_FALSE(resolve_user("evil", {}, directory.root()));
  Tree magic;
  magic.link("/etc/passwd", "/proc/self/root" + outside.path() + "/passwd");
  EXPECT_FALSE(resolve_user("evil", {}, magic.root()));
}

TEST(UsersOfOddImages, are_found_behind_links_inside) {
  Tree tree;
  tree.write("/usr/lib/accounts", "web:x:33:44::/w:\n");
  tree.link("/etc/passwd", "/usr/lib/accounts");
  const auto user = resolve_user("web", {}, tree.root());
  ASSERT_TRUE(user) << user.error().message();
  EXPECT_EQ(user->uid, 33u);
}

TEST(UsersOfOddImages, do_not_hold_us_up) {
  Tree fifo;
  fifo.fifo("/etc/passwd");
  EXPECT_EQ(message_of(resolve_user("web", {}, fifo.root())), "/etc/passwd: not a regular file");
  Tree directory;
  directory.write("/etc/passwd/x", "");
  EXPECT_EQ(message_of(resolve_user("web", {}, directory.root())),
            "/etc/passwd: not a regular file");
  Tree loop;
  loop.link("/etc/passwd", "passwd");
  EXPECT_FALSE(resolve_user("web", {}, loop.root()));
}

TEST(UsersOfOddImages, are_read_up_to_a_bound) {
  Tree tree;
  tree.write("/etc/passwd", std::string((1u << 20) + 1, 'x'));
  EXPECT_FALSE(resolve_user("web", {}, tree.root()));
  Tree many;
  std::string text;
  for (int i = 0; i < 30000; ++i) text += cat("u", i, ":x:", i, ":", i, "::/:\n");
  many.write("/etc/passwd", text);
  ASSERT_LT(text.size(), 1u << 20);
  EXPECT_EQ(resolve_user("u29999", {}, many.root())->uid, 29999u);
}

}  // namespace
}  // namespace nacelle::engine
