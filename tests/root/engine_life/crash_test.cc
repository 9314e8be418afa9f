// The engine is killed at each of its steps, with workloads running; and core is.
#include <set>

#include "engine/names.h"
#include "engine/record.h"
#include "tests/root/engine_life/life_fixture.h"

namespace nacelle::test {
namespace {

using Words = std::vector<std::string>;

// Everything that can be done to one container.
ring::Task<> whole_life(engine::Engine* engine, CreateRequest request) {
  engine::Containers& all = *engine->containers;
  const std::string id = (co_await all.create(std::move(request))).id;
  co_await all.start(id);
  const std::string exec =
      co_await all.exec_create(id, {.attach_stdout = true, .cmd = {"sleep", "0.01"}});
  co_await all.exec_start_detached(exec);
  co_await all.pause(id);
  co_await all.unpause(id);
  co_await all.rename(id, "renamed");
  co_await all.rename(id, "victim");
  engine::UpdateRequest update;
  update.restart_policy = engine::RestartPolicy{"on-failure", 1};
  co_await all.update(id, std::move(update));
  co_await all.kill(id, "USR1");  // nobody listens
  co_await all.restart(id, "KILL", 1);
  co_await all.stop(id, "KILL", 1);
  co_await all.start(id);
  co_await all.kill(id, "KILL");
  co_await all.remove(id, false, true, false);
  co_await ring::sleep_for(engine->loop, std::chrono::milliseconds(80));  // what is done behind
}

class EngineCrash : public EngineLife {
 protected:
  // In a process of its own, with NACELLE_FAULT set; its wait status.
  int live(const std::string& fault) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setenv("NACELLE_FAULT", fault.c_str(), 1);
      arm_faults();
      open();
      CreateRequest wants = request({"sleep", "1000"}, "victim");
      wants.config.volumes["/data"];
      wants.config.stop_signal = "KILL";
      const auto lived = run(whole_life(engine_.get(), std::move(wants)));
      if (!lived) std::fprintf(stderr, "%s: %s\n", fault.c_str(), lived.error().message().c_str());
      ::_exit(lived ? 0 : 1);
    }
    int status = -1;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }
};

TEST_F(EngineCrash, at_any_step_leaves_everything_whole) {
  const std::string steady =
      started({"sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"}, "steady");
  const int pid = find(steady)->state.pid;
  close();
  const std::string list = directory_ + "/points";
  ASSERT_EQ(live("list:" + list), 0);
  size_t count = 0;
  for (const char c : read_file(list)) count += c == '\n' ? 1 : 0;
  ASSERT_GT(count, 30u);
  const char* only = ::getenv("NACELLE_LIFE_POINT");
  for (size_t point = 1; point <= count; ++point) {
    if (only != nullptr && parse_number<size_t>(only) != point) continue;
    SCOPED_TRACE(cat("point ", point));
    open();
    ASSERT_FALSE(HasFatalFailure());
    const std::string brief = started({"sh", "-c", "sleep 0.1; exit 7"}, "brief");
    close();
    const int status = live(cat("kill:", point));
    ASSERT_TRUE(WIFSIGNALED(status) || status == 0) << status;
    open();
    ASSERT_FALSE(HasFatalFailure());
    // Workloads run on, and ends are told.
    ASSERT_NE(find(steady), nullptr);
    EXPECT_EQ(find(steady)->state.pid, pid);
    EXPECT_EQ(find(steady)->state.phase, Phase::Running);
    EXPECT_EQ(wait(brief), 7);
    EXPECT_EQ(find(brief)->state.phase, Phase::Exited);
    // Names are whole: whoever is there can be found by his, and nobody has it besides.
    std::set<std::string> names;
    for (Container* each : engine_->containers->all()) {
      EXPECT_TRUE(names.insert(each->name).second) << each->name;
      EXPECT_EQ(find(each->name), each);
    }
    for (const char* name : {"victim", "renamed"}) {
      const Container* victim = find(name);
      if (victim == nullptr) continue;
      const auto removed = run(engine_->containers->remove(name, true, true, false));
      EXPECT_TRUE(removed) << removed.error().message();
    }
    ASSERT_TRUE(run(engine_->containers->remove(brief, true, true, false)));
    EXPECT_TRUE(eventually_told([&] {
      return core_processes() == 1 && directories() == Words{steady} &&
             engine_->volumes->list().empty();
    })) << core_processes()
        << " processes, " << directories().size() << " directories, "
        << engine_->volumes->list().size() << " volumes";
    create({"true"}, "victim");
    ASSERT_TRUE(run(engine_->containers->remove("victim", false, true, false)));
    close();
  }
  open();
  // Not a line is missing.
  const std::string log = log_of(steady);
  int expected = 0;
  std::string_view rest = log;
  while (!rest.empty()) ASSERT_EQ(take_until(rest, '\n'), cat(expected++));
  EXPECT_GT(expected, 20);
}

TEST_F(EngineCrash, of_core_leaves_containers_running) {
  const std::string id = started({"sleep", "1000"}, "up");
  const int pid = find(id)->state.pid;
  end_core();
  EXPECT_TRUE(eventually_told([&] { return core_processes() == 1; }));
  EXPECT_EQ(find(id)->state.phase, Phase::Running);
  EXPECT_EQ(find(id)->state.pid, pid);
  int code = -1;
  exec(id, {.cmd = {"sh", "-c", "exit 3"}}, &code);
  EXPECT_EQ(code, 3);
  ASSERT_TRUE(run(engine_->containers->stop(id, "KILL", 1)));
  EXPECT_EQ(find(id)->state.phase, Phase::Exited);
}

TEST_F(EngineCrash, an_engine_with_another_core_has_it_replaced_in_place) {
  const std::string id = started(
      {"sh", "-c", "trap 'echo after; exit 5' TERM; echo before; while :; do sleep 0.05; done"});
  const std::string brief = started({"sh", "-c", "sleep 0.2; exit 9"});
  const auto core = [&] { return run(engine_->core->call(core::ListRequest{}))->core_pid; };
  const auto program_of = [](pid_t pid) {
    struct stat status{};
    return ::stat(cat("/proc/", pid, "/exe").c_str(), &status) == 0 ? status.st_ino : 0;
  };
  const pid_t pid = find(id)->state.pid, core_pid = core();
  const ino_t first = program_of(core_pid);
  close();
  const std::string other = directory_ + "/nacelle-core";
  ASSERT_TRUE(test::run({"/bin/cp", std::exchange(core_program_, other), other}).ok());
  open();
  EXPECT_TRUE(engine_->warnings.empty()) << engine_->warnings.front();
  EXPECT_EQ(core(), core_pid);
  EXPECT_NE(program_of(core_pid), first);
  EXPECT_EQ(find(id)->state.pid, pid);
  int code = -1;
  EXPECT_EQ(exec(id, {.cmd = {"sh", "-c", "echo in; exit 3"}}, &code).substr(8), "in\n");
  EXPECT_EQ(code, 3);
  EXPECT_EQ(wait(brief), 9);
  ASSERT_TRUE(run(engine_->containers->kill(id, "TERM")));
  EXPECT_EQ(wait(id), 5);
  EXPECT_EQ(log_of(id), "before\nafter\n");
  const ino_t second = program_of(core_pid);
  close();
  open();  // the same again: nothing to do
  EXPECT_EQ(program_of(core()), second);
}

TEST_F(EngineCrash, a_core_that_cannot_be_replaced_stays) {
  const std::string id = started({"sleep", "1000"});
  const auto core = [&] { return run(engine_->core->call(core::ListRequest{}))->core_pid; };
  const pid_t core_pid = core();
  for (const char* program : {"/bin/false", "/no/such/core"}) {
    close();
    const std::string right = std::exchange(core_program_, program);
    open();
    core_program_ = right;
    ASSERT_EQ(engine_->warnings.size(), 1u) << program;
    EXPECT_TRUE(engine_->warnings[0].contains("nacelle-core runs on")) << engine_->warnings[0];
    EXPECT_EQ(core(), core_pid);
    int code = -1;
    exec(id, {.cmd = {"sh", "-c", "exit 3"}}, &code);
    EXPECT_EQ(code, 3);
  }
}

TEST_F(EngineCrash, ends_while_no_engine_is_there_are_told_to_the_next) {
  CreateRequest removed = request({"sleep", "0.1"}, "removed");
  removed.host.auto_remove = true;
  const std::string gone = create_from(removed);
  start(gone);
  CreateRequest again = request({"sleep", "0.1"}, "again");
  again.host.restart_policy = {"always", 0};
  const std::string restarted = create_from(again);
  start(restarted);
  const std::string brief = started({"sh", "-c", "sleep 0.1; exit 9"}, "brief");
  const std::string held = started({"sleep", "1000"}, "held");
  ASSERT_TRUE(run(engine_->containers->pause(held)));
  close();
  const timespec pause{0, 300'000'000};
  ::nanosleep(&pause, nullptr);
  open();
  EXPECT_EQ(wait(brief), 9);
  EXPECT_EQ(find(held)->state.phase, Phase::Paused);
  EXPECT_TRUE(eventually_told([&] { return find(gone) == nullptr; }));
  EXPECT_TRUE(eventually_told([&] { return find(restarted)->restart_count > 0; }));
  ASSERT_TRUE(run(engine_->containers->remove(restarted, true, true, false)));
}

TEST_F(EngineCrash, what_is_no_record_is_set_aside_or_taken_away) {
  const std::string good = create({"true"}, "good");
  const std::string damaged = create({"true"}, "damaged"), empty = create({"true"}, "empty");
  close();
  const std::string root = directory_ + "/data/containers/";
  ASSERT_TRUE(write_file(root + damaged + "/record", "{\"Version\":1,\"ID\":"));
  ASSERT_EQ(::unlink((root + empty + "/record").c_str()), 0);
  open();
  EXPECT_EQ(engine_->containers->all().size(), 1u);
  EXPECT_NE(find("good"), nullptr);
  EXPECT_TRUE(eventually_told([&] { return directories().size() == 2; }));
  EXPECT_TRUE(contains(directories(), ".damaged-" + damaged));
  create({"true"}, "damaged");
}

TEST_F(EngineCrash, ten_thousand_stopped_containers_keep_nobody_waiting) {
  const std::string id = create({"true"}, "first");
  engine::Record record;
  record.container = *find(id);
  close();
  const std::string root = directory_ + "/data/containers/";
  for (int each = 0; each < 10'000; ++each) {
    record.container.id = engine::random_id();
    record.container.name = cat("c", each, "x");
    record.container.state.phase = Phase::Exited;
    const std::string place = root + record.container.id;
    ASSERT_EQ(::mkdir(place.c_str(), 0700), 0);
    ASSERT_TRUE(write_file(place + "/record", engine::write_record(record)));
  }
  auto loop = ring::Loop::open();
  ASSERT_TRUE(loop);
  loop_ = *std::move(loop);
  const auto begin = std::chrono::steady_clock::now();
  auto opened = run(engine::open_engine(*loop_, options()));
  const auto up = std::chrono::steady_clock::now();
  ASSERT_TRUE(opened) << opened.error().message();
  engine_ = *std::move(opened);
  EXPECT_NE(find(record.container.id), nullptr);
  ASSERT_TRUE(run(engine_->containers->all_loaded()));
  const auto all = std::chrono::steady_clock::now();
  const auto ms = [](auto span) { return std::chrono::duration<double, std::milli>(span).count(); };
  std::printf("10,000 stopped: up after %.1f ms, all read after %.0f ms\n", ms(up - begin),
              ms(all - begin));
  EXPECT_EQ(engine_->containers->all().size(), 10'001u);
  EXPECT_LT(ms(up - begin), 500.0);
  EXPECT_NE(find("c77x"), nullptr);
  close();
  const Fd data =
      sys::open_at(sys::working_directory, (directory_ + "/data").c_str(), O_RDONLY | O_DIRECTORY)
          .value();
  ASSERT_TRUE(image::remove_tree_now(data, "containers"));
}

}  // namespace
}  // namespace nacelle::test
