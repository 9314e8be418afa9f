// Clients that vanish in the middle of whatever they asked for: nothing of what was done for them
// is left, neither processes, descriptors, groups and mounts nor files.
#include <unistd.h>

#include <filesystem>
#include <set>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

class Vanishing : public Hardening {
 protected:
  void SetUp() override {
    Hardening::SetUp();
    if (HasFatalFailure()) return;
    id_ = engine().run_container(
        {"sh", "-c", "dd if=/dev/zero of=/big bs=1M count=48 2>/dev/null; echo ready; exec cat"},
        R"("OpenStdin":true)");
    ASSERT_TRUE(eventually([&] { return engine().logs(id_).contains("ready"); }, 20s));
    (void)engine().exec(id_, {"true"});
    for (const char* target : {"/archive?path=/etc", "/changes", "/stats?stream=0"}) {
      ASSERT_EQ(engine().call("GET", cat("/containers/", id_, target)).status, 200);
    }
  }
  std::multiset<std::string> files() {
    std::multiset<std::string> all;
    std::error_code error;
    for (const auto& each :
         std::filesystem::recursive_directory_iterator(engine().data_root(), error)) {
      // What came of an archive before its client went is the container's, as with dockerd.
      const std::string path = each.path();
      if (!path.contains("/upper/")) all.insert(path);
    }
    return all;
  }
  // `ask` some of it, see something of the answer, and go. Several times.
  void vanish(std::string_view what, const std::string& request,
              std::string_view seen = "HTTP/1.1") {
    SCOPED_TRACE(what);
    const Census before = census_of_this_host();
    const std::multiset<std::string> files_before = files();
    const size_t engines = descriptors_of(engine().pid());
    const size_t cores = descriptors_of(engine().core_pid());
    const size_t workers = descriptors_of(engine().log_worker_pid());
    for (int i = 0; i < 4; ++i) {
      RawClient client(engine().socket_path());
      ASSERT_TRUE(client.send(request));
      if (seen.empty()) {
        ::usleep(20'000);  // in which what came is taken up
        continue;
      }
      ASSERT_TRUE(client.read_until(seen).contains(seen)) << client.received().substr(0, 300);
    }
    EXPECT_TRUE(is_as_before(before));
    EXPECT_TRUE(eventually([&] { return descriptors_of(engine().pid()) <= engines; }, 10s))
        << descriptors_of(engine().pid()) << " of " << engines;
    EXPECT_TRUE(eventually([&] { return descriptors_of(engine().core_pid()) <= cores; }, 10s));
    EXPECT_TRUE(
        eventually([&] { return descriptors_of(engine().log_worker_pid()) <= workers; }, 10s));
    EXPECT_TRUE(eventually([&] { return files() == files_before; }, 10s))
        << new_files(files_before);
  }
  std::string new_files(const std::multiset<std::string>& before) {
    std::string text;
    for (const std::string& each : files()) {
      if (!before.contains(each)) text += each + '\n';
    }
    return text;
  }
  std::string get(std::string_view target) {
    return cat("GET ", target, " HTTP/1.1\r\nHost: d\r\n\r\n");
  }
  std::string of(std::string_view target) { return get(cat("/containers/", id_, target)); }
  // A request whose body is announced and comes in part.
  std::string half(std::string_view method, std::string_view target, std::string_view content,
                   size_t announced) {
    return cat(method, " ", target, " HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n",
               "Content-Length: ", announced, "\r\n\r\n", content);
  }

  std::string id_;
};

TEST_F(Vanishing, while_they_listen) {
  vanish("logs", of("/logs?follow=1&stdout=1&stderr=1"), "ready");
  vanish("events", get("/events"));
  vanish("events of the past", get("/events?since=1"), "create");
  vanish("stats", of("/stats"));
  vanish("wait", cat("POST /containers/", id_, "/wait HTTP/1.1\r\nHost: d\r\n\r\n"));
  vanish("wait for the removal",
         cat("POST /containers/", id_, "/wait?condition=removed HTTP/1.1\r\nHost: d\r\n\r\n"));
}

TEST_F(Vanishing, while_they_are_sent_files) {
  vanish("an archive", of("/archive?path=/big"), std::string_view("big\0", 4));
  vanish("an export", of("/export"));
  vanish("an image", get("/images/busybox/get"));
  vanish("changes", of("/changes"), "");
}

TEST_F(Vanishing, while_they_send_files) {
  TarBuilder tar;
  tar.file("file", std::string(1u << 20, 'x'));
  const std::string whole = tar.finish();
  const std::string part = whole.substr(0, whole.size() / 2);
  vanish("an archive",
         half("PUT", cat("/containers/", id_, "/archive?path=/tmp"), part, whole.size()), "");
  vanish("an archive's beginning",
         half("PUT", cat("/containers/", id_, "/archive?path=/tmp"), part.substr(0, 100),
              whole.size()),
         "");
  const std::string image = read_file("/tmp/busybox-root.tar");
  ASSERT_FALSE(image.empty());
  vanish("a root",
         half("POST", "/images/create?fromSrc=-&repo=half", image.substr(0, image.size() / 2),
              image.size()),
         "");
  TarBuilder saved;
  saved.file("manifest.json",
             R"([{"Config":"config.json","RepoTags":["half:latest"],"Layers":["layer.tar"]}])");
  saved.file("layer.tar", image);
  const std::string all = saved.finish();
  vanish("an image", half("POST", "/images/load", all.substr(0, all.size() / 2), all.size()), "");
  vanish("a request", half("POST", "/containers/create", "{\"Image\":", 1000), "");
  EXPECT_FALSE(engine().call("GET", "/images/json").body.contains("half"));
}

TEST_F(Vanishing, while_they_are_attached) {
  const std::string upgrade = " HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n";
  vanish("a container", cat("POST /containers/", id_, "/attach?stream=1&stdin=1&stdout=1&stderr=1",
                            upgrade, "Content-Length: 0\r\n\r\n"));
  vanish("a container with its log",
         cat("POST /containers/", id_, "/attach?logs=1&stream=1&stdout=1", upgrade,
             "Content-Length: 0\r\n\r\n"),
         "ready");
  // What reads its client's words ends with them; what reads none, in its own time.
  struct Case {
    std::string_view command, terminal, seen;
  };
  for (const Case& each :
       {Case{R"(["cat"])", "false", "word"},
        Case{R"(["sh","-c","echo word; sleep 0.3; seq 10000"])", "false", "word"},
        Case{R"(["sh","-c","echo word; sleep 0.3; seq 10000"])", "true", "word"}}) {
    SCOPED_TRACE(cat(each.command, each.terminal));
    const Census before = census_of_this_host();
    for (int i = 0; i < 4; ++i) {
      const Answer made = engine().call("POST", cat("/containers/", id_, "/exec"),
                                        cat(R"({"AttachStdin":true,"AttachStdout":true,"Tty":)",
                                            each.terminal, R"(,"Cmd":)", each.command, "}"));
      ASSERT_EQ(made.status, 201) << made.body;
      const std::string body = cat(R"({"Tty":)", each.terminal, "}");
      RawClient client(engine().socket_path());
      client.send(cat("POST /exec/", json_member(made.body, "Id"), "/start", upgrade,
                      "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n",
                      body));
      ASSERT_TRUE(client.read_until("\r\n\r\n").contains("101"));
      client.send("word\n");
      EXPECT_TRUE(client.read_until(each.seen).contains(each.seen));
    }
    EXPECT_TRUE(is_as_before(before));
  }
}

}  // namespace
}  // namespace nacelle::test
