// Containers through nacelle-core on the real kernel: how they start, end, and what is left.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "bpf/groups.h"
#include "bpf/pins.h"
#include "container/cgroup_wire.h"
#include "core/packet.h"
#include "sys/bpf.h"
#include "sys/file.h"
#include "tests/root/core/driver.h"

namespace nacelle::test {
namespace {

constexpr const char* run_directory = "/run/core-test";

class CoreTest : public testing::Test {
 protected:
  void SetUp() override {
    before_ = take_census();
    driver_.emplace(run_directory);
    driver_->connect();
    ASSERT_FALSE(HasFatalFailure());
  }
  void TearDown() override {
    if (!HasFatalFailure()) driver_->clean_up();
    driver_.reset();
    EXPECT_TRUE(nothing_left_since(before_));
  }
  Driver& driver() { return *driver_; }

  static Config shell(const std::string& script) {
    return Config::minimal().args({"/bin/sh", "-c", script});
  }

 private:
  Census before_;
  std::optional<Driver> driver_;
};

TEST_F(CoreTest, a_container_runs_and_its_exit_code_arrives) {
  const Bundle files(shell("exit 7"));
  const auto reply = driver().start(1, files, compile(files));
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_GT(reply->pid, 0);
  EXPECT_EQ(reply->cgroup, "/sys/fs/cgroup/engine/containers/" + id_of(1));
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->status_known);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 7);
  EXPECT_GT(end->ended_ns, 0);
  EXPECT_TRUE(driver().find(1)->ended);
  ASSERT_TRUE(driver().forget(1));
  EXPECT_FALSE(driver().find(1));
  EXPECT_TRUE(driver().forget(1)) << "asking again is no error";
  EXPECT_NE(::access(reply->cgroup.c_str(), F_OK), 0);
}

size_t group_programs_at(const char* path) {
  const auto group = sys::open_at(sys::working_directory, path, O_RDONLY | O_DIRECTORY);
  if (!group) return 0;
  size_t count = 0;
  for (const bpf::GroupProgram& each : bpf::group_programs) {
    count += sys::query_cgroup_programs(*group, each.type).value_or(std::vector<uint32_t>()).size();
  }
  return count;
}

// Goal: what counts traffic is there before a container's program runs, and goes with it. Method:
// the rows and programs in the kernel, by their pins and the root group.
TEST_F(CoreTest, a_container_has_a_row_of_counters_until_it_is_forgotten) {
  const Bundle files(shell("exec sleep 100"));
  const auto reply = driver().start(1, files, compile(files));
  ASSERT_TRUE(reply) << reply.error().message();
  const auto groups = bpf::Groups::open(bpf::pins_directory(run_directory));
  ASSERT_TRUE(groups) << groups.error().message();
  struct stat status{};
  ASSERT_EQ(::stat(reply->cgroup.c_str(), &status), 0);
  const auto rows = groups->read_all();
  ASSERT_TRUE(rows) << rows.error().message();
  ASSERT_EQ(rows->size(), 1u);
  EXPECT_EQ(rows->begin()->first, status.st_ino);
  EXPECT_EQ(group_programs_at("/sys/fs/cgroup/engine"), std::size(bpf::group_programs));

  ::kill(reply->pid, SIGKILL);
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->traffic.counted);
  EXPECT_EQ(end->traffic.sent_bytes, 0u);
  ASSERT_TRUE(driver().forget(1));
  EXPECT_TRUE(groups->read_all()->empty());

  const int core = driver().core_pid();
  ASSERT_TRUE(driver().call(core::ShutdownRequest{}));
  driver().disconnect();
  EXPECT_TRUE(eventually([&] { return ::kill(core, 0) < 0; }));
  EXPECT_EQ(group_programs_at("/sys/fs/cgroup/engine"), 0u);
  driver().connect();
}

// Two would have it otherwise: the next container that core gives it to, and one of the engine's.
TEST_F(CoreTest, an_address_of_cores_pool_does_not_come_back_to_the_engine) {
  core::PoolRequest pool{.network = "net", .addresses = {"172.30.0.2"}, .prefix_len = 16};
  pool.gateway = "172.30.0.1";
  ASSERT_TRUE(driver().call(pool));
  const Bundle files(shell("true"));
  const Plan plan = compile(files);
  for (unsigned number = 1; number <= 2; ++number) {
    core::StartRequest request = driver().request(number, plan);
    request.network = core::NetworkMode::Own;
    request.interfaces = {{.network = "net", .name = "eth0"}};
    if (number == 2) request.interfaces[0].address = "172.30.0.9";
    const auto reply = driver().start(std::move(request), files);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->interfaces[0].address, number == 1 ? "172.30.0.2" : "172.30.0.9");
    ASSERT_TRUE(driver().exited(number));
    ASSERT_TRUE(driver().forget(number));
  }
  EXPECT_TRUE(driver().wait_until([&] { return !driver().freed.empty(); }));
  EXPECT_EQ(driver().freed, std::vector<std::string>{"172.30.0.9"});
}

TEST_F(CoreTest, a_signal_ends_a_container_and_is_its_status) {
  const Bundle files(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::SignalRequest signal;
  signal.id = id_of(1);
  signal.signal = SIGKILL;
  ASSERT_TRUE(driver().call(signal));
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_TRUE(WIFSIGNALED(end->wait_status));
  EXPECT_EQ(WTERMSIG(end->wait_status), SIGKILL);
  EXPECT_FALSE(driver().call(signal)) << "it does not run any more";
}

TEST_F(CoreTest, a_program_that_is_not_there_is_an_error_and_leaves_nothing) {
  const Bundle files(Config::minimal().args({"/bin/no-such-program"}));
  const auto reply = driver().start(1, files, compile(files));
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind(), Kind::NotFound);
  EXPECT_NE(reply.error().message().find("/bin/no-such-program"), std::string::npos);
  EXPECT_FALSE(driver().find(1));
  EXPECT_NE(::access(cat("/sys/fs/cgroup/engine/containers/", id_of(1)).c_str(), F_OK), 0);
}

TEST_F(CoreTest, a_mount_that_fails_names_itself_and_leaves_nothing) {
  Config config = shell("exit 0");
  config.add_mount(R"({"destination":"/mnt","type":"bind","source":"/no/such/place",)"
                   R"("options":["bind"]})");
  const Bundle files(config);
  const auto reply = driver().start(1, files, compile(files));
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().message().find("/no/such/place"), std::string::npos);
}

TEST_F(CoreTest, an_id_is_of_one_container) {
  const Bundle files(shell("exec sleep 1000"));
  const Plan plan = compile(files);
  ASSERT_TRUE(driver().start(1, files, plan));
  const auto again = driver().start(1, files, plan);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind(), Kind::Conflict);
  EXPECT_TRUE(driver().find(1)) << "the first one is still there";
  const auto forgotten = driver().forget(1);
  ASSERT_FALSE(forgotten) << "it runs";
  EXPECT_EQ(forgotten.error().kind(), Kind::Conflict);
}

TEST_F(CoreTest, requests_that_make_no_sense_are_refused) {
  const Bundle files(shell("exit 0"));
  const Plan plan = compile(files);
  struct Case {
    const char* what;
    std::function<void(core::StartRequest&)> change;
  };
  const Case cases[] = {
      {"no id", [](auto& r) { r.id = ""; }},
      {"an id that is a path", [](auto& r) { r.id = std::string(61, 'a') + "/.."; }},
      {"a group outside of the engine's", [](auto& r) { r.cgroup_path = "../other"; }},
      {"no plan", [](auto& r) { r.plan = ""; }},
      {"a damaged plan", [](auto& r) { r.plan[40] = static_cast<char>(r.plan[40] ^ 0x55); }},
      {"a cut plan", [](auto& r) { r.plan.resize(r.plan.size() - 8); }},
      {"no cgroup plan", [](auto& r) { r.cgroup_plan = "x"; }},
      {"a terminal that is not in the plan", [](auto& r) { r.terminal = true; }},
      {"an unknown network mode", [](auto& r) { r.network = static_cast<core::NetworkMode>(9); }},
      {"an unknown log driver", [](auto& r) { r.log.driver = static_cast<logs::Driver>(9); }},
      {"a container to join that is not there",
       [](auto& r) { r.joined = {{0x08000000, id_of(77)}}; }},
      {"a network to join that is not there",
       [](auto& r) {
         r.network = core::NetworkMode::Join;
         r.network_of = id_of(77);
       }},
  };
  for (const Case& each : cases) {
    core::StartRequest request = driver().request(1, plan);
    each.change(request);
    EXPECT_FALSE(driver().start(request, files)) << each.what;
  }
  core::StartRequest request = driver().request(1, plan);
  EXPECT_FALSE(driver().call(request)) << "no root";
  EXPECT_TRUE(driver().start(1, files, plan)) << "nothing was left in its way";
}

TEST_F(CoreTest, two_containers_share_the_namespaces_of_one) {
  const Bundle first(shell("hostname one; exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, first, compile(first)));
  Config config = shell("exec sleep 1000");
  config.top["hostname"] = "";
  const Bundle second(config);
  core::StartRequest request = driver().request(2, compile(second));
  request.network = core::NetworkMode::Join;
  request.network_of = id_of(1);
  request.joined = {{0x08000000, id_of(1)}, {0x20000000, id_of(1)}};  // ipc, pid
  const auto reply = driver().start(request, second);
  ASSERT_TRUE(reply) << reply.error().message();
  const auto same = [&](const char* name, int a, int b) {
    const auto link = [&](int pid) {
      char target[64] = {};
      const std::string path = cat("/proc/", pid, "/ns/", name);
      return ::readlink(path.c_str(), target, sizeof target - 1) > 0 ? std::string(target) : "";
    };
    return !link(a).empty() && link(a) == link(b);
  };
  const int one = driver().find(1)->pid;
  EXPECT_TRUE(same("net", one, reply->pid));
  EXPECT_TRUE(same("ipc", one, reply->pid));
  EXPECT_TRUE(same("pid", one, reply->pid));
  EXPECT_FALSE(same("uts", one, reply->pid));
  EXPECT_FALSE(same("mnt", one, reply->pid));
}

TEST_F(CoreTest, the_root_comes_as_a_mount_and_the_hosts_table_does_not_grow) {
  const std::string before = read_file("/proc/self/mountinfo");
  const Bundle files(
      shell("[ -x /bin/sh ] && [ ! -e /proc/1/root/run/core-test ] && exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  EXPECT_EQ(read_file("/proc/self/mountinfo"), before);
  EXPECT_FALSE(driver().find(1)->ended);
}

TEST_F(CoreTest, nothing_of_core_is_inherited) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const Bundle files(
      shell(cat("for i in 3 4 5 6 7 8 9 10 11 12 20 30 50; do "
                "[ -e /proc/self/fd/$i ] && exit 1; done; [ \"$(ulimit -n)\" = ",
                limit.rlim_cur, " ] || exit 2; [ \"$(umask)\" = 0022 ] && exit 3; exit 4")));
  const Plan plan = compile(files);
  ASSERT_TRUE(driver().start(1, files, plan));
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 3);
}

TEST_F(CoreTest, a_frozen_container_stands_still_and_goes_on) {
  const Bundle files(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::FreezeRequest freeze;
  freeze.id = id_of(1);
  ASSERT_TRUE(driver().call(freeze));
  EXPECT_TRUE(driver().find(1)->frozen);
  core::ExecRequest exec;
  exec.id = id_of(1);
  exec.exec = "e1";
  exec.args = {"/bin/true"};
  EXPECT_FALSE(driver().call(exec)) << "it is paused";
  freeze.frozen = false;
  ASSERT_TRUE(driver().call(freeze));
  EXPECT_FALSE(driver().find(1)->frozen);
  EXPECT_TRUE(driver().call(exec));
  ASSERT_TRUE(driver().exited(1, "e1"));
}

TEST_F(CoreTest, limits_are_written) {
  const Bundle files(shell("exec sleep 1000"));
  const auto reply = driver().start(1, files, compile(files));
  ASSERT_TRUE(reply);
  container::CgroupPlan plan;
  plan.writes.push_back({"cgroup.max.descendants", "5", "test"});
  core::UpdateRequest update;
  update.id = id_of(1);
  update.cgroup_plan = container::encode_cgroup_plan(plan);
  ASSERT_TRUE(driver().call(update));
  EXPECT_EQ(read_file(reply->cgroup + "/cgroup.max.descendants"), "5\n");
  update.cgroup_plan = "nonsense";
  EXPECT_FALSE(driver().call(update));
}

TEST_F(CoreTest, a_signal_to_all_reaches_all) {
  const Bundle files(shell("trap '' TERM; sleep 1000 & wait; wait; exit 9"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::SignalRequest signal;
  signal.id = id_of(1);
  signal.signal = SIGKILL;
  signal.all = true;
  ASSERT_TRUE(driver().call(signal));
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_EQ(WTERMSIG(end->wait_status), SIGKILL);
}

TEST_F(CoreTest, an_exec_runs_inside_and_its_code_arrives) {
  const Bundle files(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::ExecRequest exec;
  exec.id = id_of(1);
  exec.exec = "e1";
  exec.args = {"/bin/sh", "-c", "[ \"$HELLO\" = world ] && [ $$ != 1 ] && exit 5; exit 1"};
  exec.env = {"HELLO=world"};
  const auto reply = driver().call(exec);
  ASSERT_TRUE(reply) << reply.error().message();
  const auto end = driver().exited(1, "e1");
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 5);
  EXPECT_TRUE(driver().find(1, "e1")->ended);
  ASSERT_TRUE(driver().forget(1, "e1"));
  EXPECT_FALSE(driver().find(1, "e1"));
  EXPECT_FALSE(driver().find(1)->ended);
}

// Goal: who has asked is told what has happened, whatever the reply's descriptors come to. Method:
// this process has no descriptor to spare from before it asks until it has its answer.
TEST_F(CoreTest, a_reply_is_heard_where_its_descriptors_find_no_room) {
  const Bundle files(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::ExecRequest exec;
  exec.id = id_of(1);
  exec.exec = "e1";
  exec.args = {"/bin/sh", "-c", "exit 5"};
  const int lowest_free = ::dup(STDIN_FILENO);
  ASSERT_EQ(::close(lowest_free), 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = static_cast<rlim_t>(lowest_free), .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto reply = driver().call(exec);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_GT(reply->pid, 0);
  const auto end = driver().exited(1, "e1");
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 5);
}

TEST_F(CoreTest, an_exec_that_cannot_be_is_an_error) {
  const Bundle files(shell("exec sleep 1000"));
  core::ExecRequest exec;
  exec.id = id_of(1);
  exec.exec = "e1";
  exec.args = {"/bin/no-such"};
  EXPECT_FALSE(driver().call(exec)) << "no container";
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  const auto reply = driver().call(exec);
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().message().find("no-such"), std::string::npos);
  exec.args = {};
  EXPECT_FALSE(driver().call(exec)) << "no command";
  exec.args = {"/bin/true"};
  exec.exec = "../x";
  EXPECT_FALSE(driver().call(exec)) << "an id that is a path";
  exec.exec = "e1";
  exec.has_user = true;
  exec.uid = 0xffffffff;
  EXPECT_FALSE(driver().call(exec)) << "no such user";
  EXPECT_FALSE(driver().find(1, "e1"));
}

ring::Task<> start_and_end(Driver& driver, unsigned number, const Plan& plan, const Bundle& files,
                           int& started) {
  const Fd tree = driver.root(files);
  (void)co_await driver.client().call(driver.request(number, plan), {&tree});
  ++started;
}

ring::Task<> start_many(Driver& driver, unsigned count, const Plan& plan, const Bundle& files,
                        int& started) {
  ring::Scope scope(driver.loop(), [](const Error& error) { ADD_FAILURE() << error.message(); });
  for (unsigned i = 1; i <= count; ++i) scope.start(start_and_end(driver, i, plan, files, started));
  co_await scope.join();
}

TEST_F(CoreTest, two_hundred_at_once_and_none_is_lost) {
  constexpr unsigned count = 200;
  const Bundle files(shell("exit 4"));
  const Plan plan = compile(files);
  int started = 0;
  ASSERT_TRUE(driver().loop().run(start_many(driver(), count, plan, files, started)));
  EXPECT_EQ(started, static_cast<int>(count));
  for (unsigned i = 1; i <= count; ++i) {
    const auto end = driver().exited(i);
    ASSERT_TRUE(end) << i;
    EXPECT_EQ(WEXITSTATUS(end->wait_status), 4);
    ASSERT_TRUE(driver().forget(i));
  }
}

TEST_F(CoreTest, only_one_engine_at_a_time) {
  auto second = core::connect_packets(cat(run_directory, "/core.sock"));
  ASSERT_TRUE(second);
  char byte;
  EXPECT_EQ(::recv(second->get(), &byte, 1, 0), 0);
  EXPECT_GT(driver().core_pid(), 0) << "the first is still served";
}

TEST_F(CoreTest, an_engine_that_comes_back_finds_everything) {
  const Bundle files(shell("exec sleep 1000"));
  const Bundle short_lived(shell("exit 3"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  const int core = driver().core_pid();
  ASSERT_TRUE(driver().start(2, short_lived, compile(short_lived)));
  driver().disconnect();
  driver().connect();
  EXPECT_EQ(driver().core_pid(), core);
  EXPECT_FALSE(driver().find(1)->ended);
  ASSERT_TRUE(driver().wait_until([&] { return driver().find(2)->ended; }));
  EXPECT_EQ(WEXITSTATUS(driver().find(2)->wait_status), 3);
}

// Whatever is sent: an answer or an end, never harm.
TEST_F(CoreTest, packets_of_the_wrong_form_are_refused) {
  driver().disconnect();
  const std::string path = cat(run_directory, "/core.sock");
  core::Header good;
  good.kind = static_cast<uint8_t>(core::PacketKind::Request);
  good.code = core::ListRequest::code;
  good.request = 5;
  const auto bytes_of = [](const core::Header& header) {
    return std::string(reinterpret_cast<const char*>(&header), sizeof header);
  };
  std::vector<std::string> packets = {"x", std::string(23, '\0'), std::string(70'000, 'x')};
  core::Header header = good;
  header.version = 9;
  packets.push_back(bytes_of(header));
  header = good;
  header.magic = 1;
  packets.push_back(bytes_of(header));
  header = good;
  header.kind = 77;
  packets.push_back(bytes_of(header));
  header = good;
  header.code = 200;
  packets.push_back(bytes_of(header));
  header = good;
  header.length = 8;
  packets.push_back(bytes_of(header));
  header = good;
  header.length = ~uint64_t{0};
  packets.push_back(bytes_of(header));
  header = good;
  header.length = core::inline_bytes_max + 1;  // and no memfd
  packets.push_back(bytes_of(header));
  header = good;
  header.code = core::StartRequest::code;
  header.length = 4;
  packets.push_back(bytes_of(header) + std::string(4, '\xff'));
  Fd socket;
  ASSERT_TRUE(eventually([&] {
    auto connected = core::connect_packets(path);
    if (!connected) return false;
    socket = *std::move(connected);
    // Taken, or refused because the last one has not been seen to be gone.
    ::send(socket.get(), bytes_of(good).data(), sizeof good, MSG_NOSIGNAL);
    char byte[256];
    return ::recv(socket.get(), byte, sizeof byte, 0) > 0;
  }));
  for (const std::string& packet : packets) {
    ASSERT_EQ(::send(socket.get(), packet.data(), packet.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(packet.size()));
    char answer[4096];
    const ssize_t got = ::recv(socket.get(), answer, sizeof answer, 0);
    ASSERT_GE(got, static_cast<ssize_t>(sizeof(core::Header)));
    core::Header reply;
    std::memcpy(&reply, answer, sizeof reply);
    EXPECT_EQ(reply.kind, static_cast<uint8_t>(core::PacketKind::Error));
  }
  socket = Fd();
  driver().connect();
}

}  // namespace
}  // namespace nacelle::test
