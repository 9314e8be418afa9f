// As whom a container runs, by a request, an image's word and an image's files.
#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

constexpr std::string_view passwd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "web:x:33:44::/www:/bin/sh\n"
    "lone:x:70:71::/:/bin/sh\n"
    "twin:x:33:45::/twin:/bin/sh\n"
    "wrap:x:4294967296:4294967296::/:/bin/sh\n"  // 0 in 32 bits
    "high:x:2147483648:0::/:/bin/sh\n"
    "minus:x:-1:0::/:/bin/sh\n"
    "hex:x:0x0:0::/:/bin/sh\n"
    "none:x:::::\n"
    "1234:x:55:56::/:/bin/sh\n";
constexpr std::string_view groups =
    "root:x:0:root,web\n"
    "www:x:44:\n"
    "adm:x:4:web,lone\n"
    "audio:x:29:web\n"
    "wrapped:x:4294967296:web,lone\n";

class Users : public Hardening {
 protected:
  void SetUp() override {
    Hardening::SetUp();
    if (HasFatalFailure()) return;
    TarBuilder layer;
    layer.file("etc/passwd", passwd).file("etc/group", groups);
    ASSERT_EQ(engine().load_image("people", layer.finish(), R"({"Env":["PATH=/bin"]})").status,
              200);
  }
  static std::string ids_in(std::string_view status) {
    std::string text;
    while (!status.empty()) {
      std::string_view line = take_until(status, '\n');
      const std::string_view key = take_until(line, '\t');
      if (key != "Uid:" && key != "Gid:" && key != "Groups:") continue;
      // Real, effective, saved and file system's are one.
      if (key != "Groups:") line = line.substr(0, line.find('\t'));
      while (line.ends_with(' ')) line.remove_suffix(1);
      text += cat(text.empty() ? "" : " ", key.substr(0, 1), '=', line);
    }
    return text;
  }
};

// CVE-2022-36109, CVE-2023-25173, CVE-2022-2990, CVE-2022-2995: supplementary groups are always
// set, with the primary one and those of the image's /etc/group. The same for run and exec.
TEST_F(Users, supplementary_groups_are_those_of_the_image_and_the_primary_one) {
  struct Case {
    std::string_view user, added, expected;
  };
  const Case cases[] = {
      {"", "", "U=0 G=0 G=0"},
      {"root", "", "U=0 G=0 G=0"},
      {"web", "", "U=33 G=44 G=0 4 29 44"},
      {"33", "", "U=33 G=44 G=0 4 29 44"},
      {"web:audio", "", "U=33 G=29 G=29"},
      {"web:5000", "", "U=33 G=5000 G=5000"},
      {"lone", "", "U=70 G=71 G=4 71"},
      {"5000", "", "U=5000 G=0 G=0"},
      {"5000:5001", "", "U=5000 G=5001 G=5001"},
      {"5000:www", "", "U=5000 G=44 G=44"},
      {"web", R"("audio","6000")", "U=33 G=44 G=0 4 29 44 6000"},
      {"lone:lone", R"("29")", ""},
      {"0:44", R"("29")", "U=0 G=44 G=29 44"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(cat(each.user, " + ", each.added));
    const std::string host = cat(R"("NetworkMode":"none","GroupAdd":[)", each.added, "]");
    if (each.expected.empty()) {
      const Answer answer = create_json(cat(R"({"Image":"people","User":")", each.user,
                                            R"(","Cmd":["true"],"HostConfig":{)", host, "}}"));
      EXPECT_GE(answer.status, 400) << answer.body;
      continue;
    }
    const std::string user = cat(R"("User":")", each.user, "\"");
    const std::string id = engine().run_container(
        {"sh", "-c", "cat /proc/self/status; exec sleep 1000"}, user, host, "people");
    ASSERT_FALSE(id.empty());
    ASSERT_TRUE(eventually([&] { return engine().logs(id).contains("Groups:"); }));
    EXPECT_EQ(ids_in(engine().logs(id)), each.expected);
    EXPECT_EQ(ids_in(engine().exec(id, {"cat", "/proc/self/status"}, user)), each.expected);
    engine().remove_container(id);
  }
}

// CVE-2024-40635, CVE-2026-46680, CVE-2016-3697, CVE-2026-30892: a user that overflows, or that two
// readers take for different ones, is not root by accident.
TEST_F(Users, out_of_range_are_nobody_and_refused) {
  const std::string id = engine().run_container({"sleep", "1000"}, "", "", "people");
  for (const std::string_view user :
       {"4294967296", "4294967295", "2147483648", "-1", "0x0", "0:4294967296", "0:-1", "wrap",
        "high", "minus", "hex", "none", "99999999999999999999", "web:wrapped", "+-0", "0 ",
        "1 0"}) {
    SCOPED_TRACE(user);
    const Answer answer =
        create_json(cat(R"({"Image":"people","User":")", user, R"(","Cmd":["true"]})"));
    EXPECT_GE(answer.status, 400) << answer.body;
    const std::string said =
        engine().exec(id, {"cat", "/proc/self/status"}, cat(R"("User":")", user, "\""));
    EXPECT_FALSE(said.contains("Uid:")) << said;
  }
  // An image's own word is no better.
  for (const std::string_view user : {"4294967296", "-1", "0x0", "wrap", "web:wrapped"}) {
    SCOPED_TRACE(user);
    const Answer loaded = engine().load_image(
        "odd", TarBuilder().file("etc/passwd", passwd).file("etc/group", groups).finish(),
        cat(R"({"User":")", user, R"("})"));
    if (loaded.status != 200) continue;
    EXPECT_GE(create_json(R"({"Image":"odd","Cmd":["true"]})").status, 400);
  }
  EXPECT_EQ(containers(), 1u);
  // What is a number, however it is written, is that number: for us as for who checks before us.
  for (const std::string_view user : {"0", "+0", "00", "-0"}) {
    EXPECT_EQ(ids_in(engine().output_of({"cat", "/proc/self/status"},
                                        cat(R"("User":")", user, "\""), "", "people")),
              "U=0 G=0 G=0")
        << user;
  }
  // A name that looks like a number is none.
  EXPECT_EQ(
      ids_in(engine().output_of({"cat", "/proc/self/status"}, R"("User":"1234")", "", "people")),
      "U=1234 G=0 G=0");
}

// CVE-2024-9676, CVE-2026-47262, CVE-2025-4437, CVE-2022-4318: files of accounts that are links out
// of the image, pipes, devices or without end. Nothing waits, nothing of the host is read.
TEST_F(Users, of_images_whose_files_are_none_hold_nobody_up) {
  ASSERT_TRUE(write_file("/tmp/hosts-accounts", "evil:x:0:0::/:/bin/sh\n"));
  const std::string giant((2u << 20), 'x');
  const std::string long_line = cat("web:x:33:44:", std::string(900'000, 'y'), ":/:\n");
  struct Case {
    const char* what;
    TarBuilder layer;
  };
  std::vector<Case> cases;
  for (const char* file : {"etc/passwd", "etc/group"}) {
    const std::string_view name = file;
    cases.push_back({"fifo", TarBuilder().fifo(name)});
    cases.push_back({"zeros", TarBuilder().device('3', name, 1, 5)});
    cases.push_back({"giant", TarBuilder().file(name, giant)});
    cases.push_back({"outside", TarBuilder().symlink(name, "/tmp/hosts-accounts")});
    if (name == "etc/group") continue;  // which is read in the same way
    cases.push_back({"directory", TarBuilder().directory(cat(name, "/"))});
    cases.push_back({"terminal", TarBuilder().device('3', name, 5, 0)});
    cases.push_back({"loop", TarBuilder().symlink(name, cat("/", name))});
    cases.push_back({"up", TarBuilder().symlink(name, "../../../../../../tmp/hosts-accounts")});
    cases.push_back({"magic", TarBuilder().symlink(name, "/proc/1/root/tmp/hosts-accounts")});
  }
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    ASSERT_EQ(engine().load_image("odd", each.layer.finish(), "{}").status, 200);
    const auto begin = std::chrono::steady_clock::now();
    for (const std::string_view user : {"evil", "0:evil"}) {
      const Answer answer =
          create_json(cat(R"({"Image":"odd","User":")", user, R"(","Cmd":["true"]})"));
      EXPECT_GE(answer.status, 400) << answer.body;
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  }
  EXPECT_EQ(containers(), 0u);
  ASSERT_EQ(
      engine().load_image("odd", TarBuilder().file("etc/passwd", long_line).finish(), "{}").status,
      200);
  EXPECT_EQ(create_json(R"({"Image":"odd","User":"web","Cmd":["true"]})").status, 201);
}

TEST_F(Users, of_a_container_that_has_replaced_its_files_hold_nobody_up) {
  const std::string id = engine().run_container({"sh", "-c",
                                                 "rm /etc/passwd /etc/group; mkfifo /etc/passwd; "
                                                 "ln -s /dev/zero /etc/group; exec sleep 1000"},
                                                "", "", "people");
  ASSERT_TRUE(eventually([&] { return engine().exec(id, {"ls", "/etc"}).contains("passwd"); }));
  ASSERT_TRUE(eventually([&] {
    return engine().exec(id, {"test", "-p", "/etc/passwd", "-a", "-e", "/etc/group"}).empty();
  }));
  for (const std::string_view user : {"web", "0:www"}) {
    const std::string said =
        engine().exec(id, {"cat", "/proc/self/status"}, cat(R"("User":")", user, "\""));
    EXPECT_TRUE(said.contains("not a regular file")) << said;
  }
  // One that names nobody needs no files, and is not kept waiting either.
  EXPECT_EQ(engine().exec(id, {"echo", "here"}), "here\n");
}

}  // namespace
}  // namespace nacelle::test
