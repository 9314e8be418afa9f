// What runs short: the disk, descriptors, a reader's or the log worker's time. Whoever asks is
// told, others go on, and when there is enough again all is as it was.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

class Trouble : public Hardening {
 protected:
  static std::vector<std::string> names_in(const std::string& path) {
    std::vector<std::string> names;
    for (const auto& each : std::filesystem::directory_iterator(path)) {
      names.push_back(each.path().filename());
    }
    std::ranges::sort(names);
    return names;
  }
  // Leaves `process` so many descriptors more than it has; what it had before.
  static rlimit leave(pid_t process, size_t descriptors) {
    rlimit before{};
    EXPECT_EQ(::prlimit(process, RLIMIT_NOFILE, nullptr, &before), 0);
    const rlimit few{descriptors_of(process) + descriptors, before.rlim_max};
    EXPECT_EQ(::prlimit(process, RLIMIT_NOFILE, &few, nullptr), 0);
    return before;
  }
  static void give_back(pid_t process, const rlimit& limit) {
    EXPECT_EQ(::prlimit(process, RLIMIT_NOFILE, &limit, nullptr), 0);
  }
};

// A disk that can be filled.
class FullDisk : public Trouble {
 protected:
  void SetUp() override {
    ::mkdir(disk_, 0700);
    before_ = census_of_this_host();
    ASSERT_EQ(::mount("tmpfs", disk_, "tmpfs", 0, "size=48m"), 0);
    open({.data_root = cat(disk_, "/data"), .arguments = {}});
  }
  void TearDown() override {
    if (engine_) {
      free();
      engine_->remove_containers();
      engine_.reset();
    }
    EXPECT_TRUE(eventually([&] { return ::umount(disk_) == 0; }, 10s)) << errno;
    EXPECT_TRUE(is_as_before(before_));
  }
  void fill() {
    (void)run({"/bin/sh", "-c",
               cat("dd if=/dev/zero of=", disk_, "/filler bs=64k; ", "cat /dev/zero > ", disk_,
                   "/filler2")});
  }
  void free() {
    ::unlink(cat(disk_, "/filler").c_str());
    ::unlink(cat(disk_, "/filler2").c_str());
  }
  static constexpr const char* disk_ = "/tmp/small-disk";
};

TEST_F(FullDisk, of_records_refuses_what_is_new_and_loses_nothing) {
  const std::string steady = engine().run_container({"sleep", "1000"});
  const std::string ending = engine().run_container({"sleep", "1000"});
  const std::string containers_directory = engine().data_root() + "/containers";
  const std::vector<std::string> directories = names_in(containers_directory);
  fill();
  const Answer refused = create_json(
      R"({"Image":"busybox","Cmd":["true"],"Volumes":{"/data":{}},"HostConfig":{"NetworkMode":"none"}})",
      "?name=later");
  EXPECT_EQ(refused.status, 500);
  EXPECT_TRUE(refused.body.contains("No space left on device")) << refused.body;
  EXPECT_EQ(engine().call("POST", "/volumes/create", R"({"Name":"later"})").status, 500);
  EXPECT_EQ(engine().call("POST", "/networks/create", R"({"Name":"later"})").status, 500);
  EXPECT_EQ(containers(), 2u);
  EXPECT_TRUE(eventually([&] { return names_in(containers_directory) == directories; }));
  // What is there can be looked at, entered, stopped and removed.
  EXPECT_EQ(engine().exec(steady, {"echo", "in"}), "in\n");
  EXPECT_EQ(engine().call("POST", cat("/containers/", ending, "/stop?t=0")).status, 204);
  EXPECT_TRUE(engine()
                  .call("GET", cat("/containers/", ending, "/json"))
                  .body.contains("\"Status\":\"exited\""));
  free();
  // What could not be written is written now: an engine that begins anew knows of it.
  const auto recorded = [&] {
    return read_file(cat(containers_directory, "/", ending, "/record.json"))
               .contains("\"exited\"") ||
           run({"/bin/grep", "-rqs", "\"exited\"", cat(containers_directory, "/", ending)}).ok();
  };
  EXPECT_TRUE(eventually(recorded, 15s));
  EXPECT_EQ(engine().call("POST", "/volumes/create", R"({"Name":"later"})").status, 201);
  EXPECT_EQ(engine().call("POST", "/networks/create", R"({"Name":"later"})").status, 201);
  EXPECT_EQ(create_json(R"({"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}})",
                        "?name=later")
                .status,
            201);
  ::kill(engine().pid(), SIGKILL);
  engine().start();
  ASSERT_TRUE(engine().is_up());
  EXPECT_EQ(containers(), 3u);
  EXPECT_TRUE(
      engine().call("GET", cat("/containers/", steady, "/json")).body.contains("\"Running\":true"));
}

TEST_F(FullDisk, of_logs_stalls_no_container) {
  const std::string quiet = engine().run_container({"sleep", "1000"});
  const std::string flood = engine().create(
      {"sh", "-c",
       "sleep 0.5; dd if=/dev/zero bs=1M count=16 2>/dev/null | tr '\\0' x; echo end of it"});
  ASSERT_NE(flood, "");
  ASSERT_TRUE(engine().start_container(flood));
  fill();
  EXPECT_EQ(engine().wait_container(flood), 0);
  EXPECT_FALSE(engine().logs(flood).contains("end of it"));  // there was no room for it
  EXPECT_EQ(engine().exec(quiet, {"echo", "on"}), "on\n");
  free();
  EXPECT_EQ(engine().output_of({"echo", "written again"}), "written again\n");
}

TEST_F(Trouble, an_engine_without_descriptors_says_so_and_recovers) {
  const std::string steady = engine().run_container({"sleep", "1000"});
  const size_t descriptors = descriptors_of(engine().pid());
  RawClient early(engine().socket_path());
  const std::string list = "GET /containers/json HTTP/1.1\r\nHost: d\r\n\r\n";
  early.send(list);
  ASSERT_TRUE(early.read_until(steady).contains("200 OK"));
  const rlimit before = leave(engine().pid(), 4);
  std::vector<std::unique_ptr<RawClient>> crowd;
  for (int i = 0; i < 40; ++i) {
    crowd.push_back(std::make_unique<RawClient>(engine().socket_path()));
    crowd.back()->send(list);
  }
  // Who is in is answered, though nothing can be opened.
  const std::string body = R"({"Image":"busybox","Cmd":["true"]})";
  early.send(
      cat("POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n",
          "Content-Length: ", body.size(), "\r\n\r\n", body));
  EXPECT_TRUE(early.read_until("Too many open files").contains("HTTP/1.1 500")) << early.received();
  EXPECT_EQ(::kill(engine().pid(), 0), 0);
  // Who waits at the door is let in as soon as somebody leaves.
  for (size_t i = 0; i < 36; ++i) crowd[i]->leave();
  for (size_t i = 36; i < crowd.size(); ++i) {
    EXPECT_TRUE(crowd[i]->read_until(steady).contains("200 OK"));
  }
  crowd.clear();
  give_back(engine().pid(), before);
  early.leave();
  EXPECT_EQ(containers(), 1u);
  EXPECT_EQ(engine().output_of({"echo", "as before"}), "as before\n");
  EXPECT_EQ(engine().exec(steady, {"echo", "on"}), "on\n");
  // Roots made ahead have two each, and may have become more; what the crowd left would be more
  // yet.
  constexpr size_t made_ahead = 2 * 8 + 2;
  EXPECT_TRUE(eventually([&] {
    return descriptors_of(engine().pid()) <= descriptors + made_ahead + 4;
  })) << descriptors_of(engine().pid())
      << " of " << descriptors;
}

TEST_F(Trouble, a_core_without_descriptors_says_so_and_recovers) {
  const std::string steady = engine().run_container({"sleep", "1000"});
  (void)engine().output_of({"true"});
  const pid_t core = engine().core_pid();
  ASSERT_GT(core, 0);
  // All that it makes ahead is there.
  size_t descriptors = 0;
  EXPECT_TRUE(eventually([&] {
    const timespec pause{0, 200'000'000};
    ::nanosleep(&pause, nullptr);
    const size_t before = descriptors;
    descriptors = descriptors_of(core);
    return descriptors == before;
  }));
  int refused = 0;
  for (size_t left = 0; left < 24; ++left) {
    SCOPED_TRACE(left);
    const std::string id = engine().create({"true"});
    const rlimit before = leave(core, left);
    const Answer started = engine().call("POST", cat("/containers/", id, "/start"));
    EXPECT_TRUE(started.status == 204 || started.status == 500) << started.status << started.body;
    refused += started.status == 500 ? 1 : 0;
    const std::string said = engine().exec(steady, {"true"});
    give_back(core, before);
    EXPECT_TRUE(said.empty() || said.contains("Too many open files")) << said;
    if (started.status == 204) EXPECT_EQ(engine().wait_container(id), 0);
    EXPECT_TRUE(engine().remove_container(id));
  }
  EXPECT_GT(refused, 3);
  // Network namespaces made ahead come and go; what failed starts left would be more.
  EXPECT_TRUE(eventually([&] { return descriptors_of(core) <= descriptors + 3; }))
      << descriptors_of(core) << " of " << descriptors;
  EXPECT_EQ(engine().core_pid(), core);
  EXPECT_EQ(engine().output_of({"echo", "as before"}), "as before\n");
  EXPECT_EQ(engine().exec(steady, {"echo", "on"}), "on\n");
}

// Who follows a log and does not read it holds nobody up.
TEST_F(Trouble, a_reader_of_a_log_that_stands_still_stalls_no_container) {
  const std::string id = engine().create(
      {"sh", "-c", "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' x; echo end of it"});
  ASSERT_TRUE(engine().start_container(id));
  RawClient reader(engine().socket_path());
  reader.send(cat("GET /containers/", id, "/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n"));
  EXPECT_EQ(engine().wait_container(id), 0);
  EXPECT_LT(resident_kib_of(engine().pid()), 64 << 10);
  EXPECT_EQ(engine().output_of({"echo", "others"}), "others\n");
  // It finds all of it when it goes on.
  EXPECT_TRUE(reader.read_until("end of it", 30s).contains("end of it"));
}

// One that has attached and does not read holds up its container, as a pipe does, and nobody else;
// when it goes, its container goes on.
TEST_F(Trouble, a_container_goes_on_when_a_client_that_stands_still_has_left) {
  const std::string id = engine().create(
      {"sh", "-c", "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' x; echo end of it"});
  RawClient client(engine().socket_path());
  client.send(cat("POST /containers/", id, "/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n",
                  "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"));
  ASSERT_TRUE(client.read_until("\r\n\r\n").contains("101"));
  ASSERT_TRUE(engine().start_container(id));
  EXPECT_EQ(engine().output_of({"echo", "others"}), "others\n");
  client.leave();
  EXPECT_EQ(engine().wait_container(id), 0);
  EXPECT_TRUE(engine().logs(id).ends_with("end of it\n"));
}

// A file system whose server has gone, as NFS's may (moby's and containerd's oldest complaint: one
// `stat` of such a mount, and nothing answers any more).
TEST_F(Trouble, a_bind_source_that_never_answers_stalls_nobody_else) {
  ::mkdir("/tmp/dead", 0755);
  Fd server(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!server) GTEST_SKIP() << "no FUSE on this machine";
  const std::string options = cat("fd=", server.get(), ",rootmode=40000,user_id=0,group_id=0");
  ASSERT_EQ(::mount("dead", "/tmp/dead", "fuse", 0, options.c_str()), 0) << errno;
  const std::string body =
      R"({"Image":"busybox","HostConfig":{"NetworkMode":"none","Mounts":[{"Type":"bind","Source":"/tmp/dead/x","Target":"/x"}]}})";
  RawClient creating(engine().socket_path());
  creating.send(cat("POST /containers/create?name=stuck HTTP/1.1\r\nHost: d\r\n",
                    "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n",
                    body));
  const std::string id = engine().create({"true"}, "", R"("Binds":["/tmp/dead/y:/y"])");
  RawClient starting(engine().socket_path());
  starting.send(cat("POST /containers/", id, "/start HTTP/1.1\r\nHost: d\r\n\r\n"));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(engine().output_of({"echo", "others"}), "others\n");
    ::usleep(50'000);
  }
  EXPECT_EQ(creating.received(), "");
  // Whoever asked is told, and what was taken for it is given back.
  EXPECT_TRUE(creating.read_until("/tmp/dead/x", 30s).contains("HTTP/1.1 503"))
      << creating.received();
  EXPECT_TRUE(starting.read_until("/tmp/dead/y", 30s).contains("HTTP/1.1 503"))
      << starting.received();
  EXPECT_TRUE(engine().remove_container(id));
  EXPECT_EQ(create_json(R"({"Image":"busybox"})", "?name=stuck").status, 201);
  server = Fd();  // and the kernel says that it is gone
  EXPECT_EQ(::umount2("/tmp/dead", MNT_DETACH), 0);
}

// As if the disk of all logs stood still.
TEST_F(Trouble, a_log_worker_that_stands_still_holds_up_no_more_than_output) {
  const std::string steady = engine().run_container({"sleep", "1000"});
  const std::string id = engine().create({"sh", "-c", "echo little; exit 3"});
  const pid_t worker = engine().log_worker_pid();
  ASSERT_GT(worker, 0);
  ::kill(worker, SIGSTOP);
  EXPECT_TRUE(engine().start_container(id));
  EXPECT_EQ(engine().call("GET", "/containers/json").status, 200);
  const std::string other = engine().create({"true"});
  EXPECT_NE(other, "");
  // Its end is told, if not before its log has been waited for; what it wrote is in a pipe of ours.
  EXPECT_EQ(engine().wait_container(id), 3);
  ::kill(worker, SIGCONT);
  EXPECT_EQ(engine().exec(steady, {"echo", "on"}), "on\n");
  EXPECT_EQ(engine().output_of({"echo", "as before"}), "as before\n");
}

}  // namespace
}  // namespace nacelle::test
