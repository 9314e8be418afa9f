// An engine of a test's own: data on a file system of its own, a core of its own, one image with
// busybox in it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "base/text.h"
#include "core/client.h"
#include "engine/container_state.h"
#include "engine/engine.h"
#include "image/disk.h"
#include "nacelle/loop.h"
#include "sys/file.h"
#include "tests/support/busybox_archive.h"
#include "tests/support/command.h"

namespace nacelle::test {

using engine::Container;
using engine::CreateRequest;
using engine::Phase;
using namespace std::chrono_literals;

inline const char* programs() {
  const char* wanted = ::getenv("NACELLE_TEST_PROGRAMS");
  return wanted != nullptr ? wanted : NACELLE_PROGRAMS;
}

class EngineLife : public testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/engine-life-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    ::setenv("NACELLE_WORKER", cat(programs(), "/nacelle-worker").c_str(), 1);
    open();
    if (HasFatalFailure()) return;
    const Fd archive =
        sys::open_at(sys::working_directory, busybox_archive().c_str(), O_RDONLY).value();
    image::ImportOptions import;
    import.name = oci::parse_reference("busybox").value();
    import.changes = {"CMD [\"sleep\", \"1000\"]", "ENV PATH=/bin"};
    const auto imported = run(engine_->images->import(archive, std::move(import)));
    ASSERT_TRUE(imported) << imported.error().message();
  }

  void TearDown() override {
    if (engine_) {
      for (Container* each : engine_->containers->all()) {
        (void)run(engine_->containers->remove(each->id, true, true, false));
      }
      EXPECT_TRUE(eventually_told([&] { return core_processes() == 0; }));
      if (const auto list = run(engine_->core->call(core::ListRequest{}))) {
        core_pid_ = list->core_pid;
      }
      close();
    }
    end_core();
    const Fd parent = sys::open_at(sys::working_directory, "/tmp", O_RDONLY | O_DIRECTORY).value();
    (void)image::remove_tree_now(parent, directory_.substr(5));
  }

  engine::Options options() const {
    engine::Options options;
    options.data_root = directory_ + "/data";
    options.run_directory = directory_ + "/run";
    options.core_program = core_program_;
    options.worker_program = cat(programs(), "/nacelle-worker");
    options.init_program = cat(programs(), "/nacelle-init");
    options.cgroup_root = "nacelle-life";
    return options;
  }

  void open() {
    auto loop = ring::Loop::open();
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = *std::move(loop);
    auto opened = run(engine::open_engine(*loop_, options()));
    ASSERT_TRUE(opened) << opened.error().message();
    engine_ = *std::move(opened);
    const auto loaded = run(engine_->containers->all_loaded());
    ASSERT_TRUE(loaded) << loaded.error().message();
  }
  void close() {
    (void)run(engine::close_engine(*engine_));
    engine_ = nullptr;
    loop_ = nullptr;
  }
  void end_core() {
    if (core_pid_ <= 0) return;
    ::kill(core_pid_, SIGKILL);
    eventually([&] { return ::kill(core_pid_, 0) != 0; });
  }

  template <class T>
  Result<T> run(ring::Task<T> task, ring::Duration limit = 30s) {
    return loop_->run(ring::with_deadline(*loop_, std::move(task), limit, "the test"));
  }
  // Lets the engine hear what it is told meanwhile.
  template <class Question>
  bool eventually_told(Question&& question, milliseconds limit = milliseconds(10'000)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!question()) {
      if (std::chrono::steady_clock::now() >= end) return question();
      (void)run(ring::sleep_for(*loop_, 2ms));
    }
    return true;
  }

  static CreateRequest request(std::vector<std::string> command, std::string name = {}) {
    CreateRequest request;
    request.name = std::move(name);
    request.config.image = "busybox";
    request.config.cmd = {true, std::move(command)};
    request.host.network_mode = "none";
    return request;
  }
  std::string create_from(CreateRequest request) {
    auto created = run(engine_->containers->create(std::move(request)));
    EXPECT_TRUE(created) << created.error().message();
    return created ? created->id : std::string();
  }
  std::string create(std::vector<std::string> command, std::string name = {}) {
    return create_from(request(std::move(command), std::move(name)));
  }
  void start(const std::string& id) {
    const auto started = run(engine_->containers->start(id));
    ASSERT_TRUE(started) << started.error().message();
  }
  std::string started(std::vector<std::string> command, std::string name = {}) {
    const std::string id = create(std::move(command), std::move(name));
    start(id);
    return id;
  }
  Container* find(const std::string& text) {
    auto found = run(engine_->containers->find(text));
    return found ? *found : nullptr;
  }
  int wait(const std::string& id,
           engine::WaitCondition condition = engine::WaitCondition::NotRunning) {
    auto waiting = run(engine_->containers->wait(id, condition));
    EXPECT_TRUE(waiting) << waiting.error().message();
    if (!waiting) return -1;
    auto outcome = run((*waiting)->outcome());
    EXPECT_TRUE(outcome) << outcome.error().message();
    return outcome ? outcome->exit_code : -1;
  }
  std::string log_of(const std::string& id, logs::ReadOptions options = {}) {
    auto reader = run(engine_->containers->logs(id, options));
    EXPECT_TRUE(reader) << reader.error().message();
    std::string text;
    while (reader) {
      auto entries = run((*reader)->next());
      if (!entries || entries->empty()) break;
      for (const auto& entry : *entries) text += entry.text;
    }
    return text;
  }
  // Attaches to all of a container's streams; what the client's end is.
  Fd attach(const std::string& id, bool in = false) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    engine::ClientConnection client{Fd(ends[1]), {}};
    engine::AttachOptions how;
    how.in = in;
    how.out = how.err = how.stream = true;
    how.multiplexed = false;
    const auto attached = run(engine_->containers->attach(id, how, std::move(client)));
    EXPECT_TRUE(attached) << attached.error().message();
    return Fd(ends[0]);
  }
  // To the end.
  std::string read_all(const Fd& socket) {
    std::string text;
    char piece[4096];
    for (;;) {
      const auto bytes = run(ring::read_some(*loop_, socket, piece));
      if (!bytes || *bytes == 0) return text;
      text.append(piece, *bytes);
    }
  }
  std::string exec(const std::string& id, engine::ExecConfig config, int* exit_code = nullptr) {
    config.attach_stdout = config.attach_stderr = true;
    auto exec = run(engine_->containers->exec_create(id, std::move(config)));
    EXPECT_TRUE(exec) << exec.error().message();
    if (!exec) return {};
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const Fd ours(ends[0]);
    engine::ClientConnection client{Fd(ends[1]), {}};
    const auto begun = run(engine_->containers->exec_start(*exec, std::nullopt, std::move(client)));
    EXPECT_TRUE(begun) << begun.error().message();
    std::string text = read_all(ours);
    const auto ended = [&] {
      const engine::Exec* found = engine_->containers->find_exec(*exec);
      return found == nullptr || found->exit_code.has_value();
    };
    EXPECT_TRUE(eventually_told(ended));
    const engine::Exec* found = engine_->containers->find_exec(*exec);
    if (exit_code != nullptr && found != nullptr) *exit_code = found->exit_code.value_or(-1);
    return text;
  }
  size_t core_processes() {
    auto list = run(engine_->core->call(core::ListRequest{}));
    return list ? list->processes.size() : 0;
  }
  std::vector<std::string> directories() {
    const Fd place = sys::open_at(sys::working_directory, (directory_ + "/data/containers").c_str(),
                                  O_RDONLY | O_DIRECTORY)
                         .value();
    return image::list_directory(place).value();
  }
  std::vector<std::string> actions(const std::string& id) {
    std::vector<std::string> all;
    for (const engine::Event& event : engine_->events->past(0, 0)) {
      if (event.type == "container" && event.actor == id) all.push_back(event.action);
    }
    return all;
  }

  std::string directory_;
  pid_t core_pid_ = 0;
  std::string core_program_ = cat(programs(), "/nacelle-core");
  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<engine::Engine> engine_;
};

}  // namespace nacelle::test
