// Clients that come and go, and programs that leave somebody behind: nothing grows (CVE-2022-31030,
// CVE-2022-1708, CVE-2022-23471, CVE-2025-64329, CVE-2026-53495).
#include <unistd.h>

#include <memory>
#include <utility>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

// What the three that live as long as the engine hold.
struct Holdings {
  const char* name;
  pid_t pid;
  size_t descriptors;
  long resident_kib;
};

class Endurance : public Hardening {
 protected:
  // When what was asked for a moment ago has been done.
  std::vector<Holdings> holdings() {
    const pid_t worker = engine().log_worker_pid();
    for (size_t last = 0; last != descriptors_of(worker);) {
      last = descriptors_of(worker);
      ::usleep(100'000);
    }
    std::vector<Holdings> all;
    for (const auto& [name, pid] :
         {std::pair("nacelled", engine().pid()), std::pair("nacelle-core", engine().core_pid()),
          std::pair("the log worker", engine().log_worker_pid())}) {
      EXPECT_GT(pid, 0) << name;
      all.push_back({name, pid, descriptors_of(pid), resident_kib_of(pid)});
    }
    return all;
  }
  void expect_flat_since(const std::vector<Holdings>& before, long growth_kib_max) {
    for (const Holdings& each : before) {
      SCOPED_TRACE(each.name);
      EXPECT_TRUE(eventually([&] { return descriptors_of(each.pid) <= each.descriptors; }, 10s))
          << descriptors_of(each.pid) << " descriptors, " << each.descriptors << " before";
      EXPECT_TRUE(eventually(
          [&] { return resident_kib_of(each.pid) <= each.resident_kib + growth_kib_max; }, 5s))
          << resident_kib_of(each.pid) << " KiB, " << each.resident_kib << " before";
    }
  }
  std::string upgrade(std::string_view target, std::string_view body = {}) {
    return cat("POST ", target, " HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n",
               "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  }
};

TEST_F(Endurance, ten_thousand_clients_attach_and_leave) {
  const std::string id = engine().run_container({"cat"}, R"("OpenStdin":true)");
  const std::string request =
      upgrade(cat("/containers/", id, "/attach?stream=1&stdin=1&stdout=1&stderr=1"));
  const auto round = [&](int clients) {
    for (int i = 0; i < clients; ++i) {
      RawClient client(engine().socket_path());
      ASSERT_TRUE(client.send(request));
      ASSERT_TRUE(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 101"));
      if (i % 16 == 0) {
        ASSERT_TRUE(client.send("\x10\x11"));  // ctrl-p ctrl-q
        client.read_all();
        ASSERT_TRUE(client.has_ended());
      }
    }
  };
  round(1'000);
  if (HasFatalFailure()) return;
  const std::vector<Holdings> before = holdings();
  round(9'000);
  expect_flat_since(before, 1024);
  EXPECT_EQ(engine().exec(id, {"echo", "on"}), "on\n");
}

TEST_F(Endurance, execs_that_leave_somebody_behind_end_and_cost_nothing) {
  const std::string id = engine().run_container({"sleep", "1000"});
  const auto batch = [&] {
    std::vector<std::unique_ptr<RawClient>> clients;
    for (int i = 0; i < 50; ++i) {
      const Answer made = engine().call(
          "POST", cat("/containers/", id, "/exec"),
          R"({"AttachStdout":true,"AttachStderr":true,"Cmd":["sh","-c","echo x; sleep 1d &"]})");
      ASSERT_EQ(made.status, 201);
      clients.push_back(std::make_unique<RawClient>(engine().socket_path()));
      clients.back()->send(upgrade(cat("/exec/", json_member(made.body, "Id"), "/start"), "{}"));
    }
    for (const auto& each : clients) {
      // The end comes though the sleeper holds the other end of the pipes.
      EXPECT_TRUE(each->read_all(20s).ends_with("x\n"));
      EXPECT_TRUE(each->has_ended());
    }
  };
  for (int i = 0; i < 3; ++i) batch();
  if (HasFatalFailure()) return;
  const std::vector<Holdings> before = holdings();
  for (int i = 0; i < 6; ++i) batch();
  expect_flat_since(before, 2048);
}

// Output that nobody reads waits in its program, not in our memory.
TEST_F(Endurance, output_nobody_reads_is_held_in_bounds) {
  const std::string id = engine().run_container({"sleep", "1000"});
  const auto execute = [&](RawClient& client) {
    const Answer made =
        engine().call("POST", cat("/containers/", id, "/exec"),
                      R"({"AttachStdout":true,"Cmd":["dd","if=/dev/zero","bs=1M","count=512"]})");
    ASSERT_EQ(made.status, 201);
    client.send(upgrade(cat("/exec/", json_member(made.body, "Id"), "/start"), "{}"));
    ASSERT_TRUE(client.read_until("\r\n\r\n").contains("101"));
  };
  const std::vector<Holdings> before = holdings();
  {
    RawClient one(engine().socket_path()), two(engine().socket_path());
    execute(one);
    execute(two);
    EXPECT_EQ(engine().exec(id, {"echo", "others go on"}), "others go on\n");
    ::usleep(300'000);  // in which half a gigabyte could have come
    for (const Holdings& each : before) {
      EXPECT_LT(resident_kib_of(each.pid), each.resident_kib + (8 << 10)) << each.name;
    }
  }
  expect_flat_since(before, 4096);
}

// What a health check says is kept in part, however much it is.
TEST_F(Endurance, a_health_check_that_floods_is_cut_short) {
  const std::vector<Holdings> before = holdings();
  const std::string id = engine().run_container(
      {"sleep", "1000"},
      R"("Healthcheck":{"Test":["CMD-SHELL","dd if=/dev/zero bs=1M count=256 2>/dev/null | tr '\\0' x"],)"
      R"("Interval":100000000,"Timeout":20000000000,"Retries":1})");
  const auto inspected = [&] {
    return engine().call("GET", cat("/containers/", id, "/json")).body;
  };
  ASSERT_TRUE(eventually([&] { return inspected().contains("\"Status\":\"healthy\""); }, 30s))
      << inspected();
  EXPECT_LT(inspected().size(), 200u << 10);
  for (const Holdings& each : before) {
    EXPECT_LT(resident_kib_of(each.pid), each.resident_kib + (8 << 10)) << each.name;
  }
}

}  // namespace
}  // namespace nacelle::test
