#include "tests/root/core/driver.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>

#include "container/cgroup_wire.h"
#include "container/compile.h"
#include "oci/spec_parse.h"
#include "sys/file.h"
#include "sys/mount_api.h"

namespace nacelle::test {

using ring::Task;

std::string id_of(unsigned number) {
  std::string id(64, '0');
  for (size_t at = 63; number > 0; number /= 16) id[at--] = "0123456789abcdef"[number % 16];
  return id;
}

Plan compile(const Bundle& files) {
  auto spec = oci::parse_spec(read_file(files.path() + "/config.json"));
  EXPECT_TRUE(spec) << spec.error().message();
  container::CompileOptions options;
  options.plan.bundle = files.path();
  const auto compiled = container::compile_spec(*spec, options);
  EXPECT_TRUE(compiled) << compiled.error().message();
  Plan plan;
  plan.plan = compiled->plan_bytes;
  plan.cgroup_plan = container::encode_cgroup_plan(compiled->cgroup);
  plan.terminal = spec->process && spec->process->terminal;
  return plan;
}

Driver::Driver(std::string run_directory) : run_directory_(std::move(run_directory)) {
  auto loop = ring::Loop::open();
  EXPECT_TRUE(loop) << loop.error().message();
  loop_ = *std::move(loop);
  log_directory = "/tmp/core-test-logs";
  ::mkdir(log_directory.c_str(), 0700);
}

Driver::~Driver() { disconnect(); }

void Driver::connect(std::string program) {
  core::ClientOptions options;
  options.run_directory = run_directory_;
  options.program = program.empty() ? NACELLE_PROGRAMS "/nacelle-core" : std::move(program);
  options.worker = NACELLE_PROGRAMS "/nacelle-worker";
  options.cgroup_root = "engine";
  core::EventHandlers handlers;
  handlers.oom = [this](const core::OomEvent&) { order.push_back("oom"); };
  handlers.exited = [this](const core::ExitedEvent& event) {
    ends[cat(event.id, "/", event.exec)] = event;
    order.push_back("exited");
  };
  handlers.address_free = [this](const core::AddressFreeEvent& event) {
    freed.push_back(event.address);
  };
  handlers.restarted = [this] { ++restarts; };
  auto client = loop_->run(core::Client::connect(*loop_, options));
  ASSERT_TRUE(client) << client.error().message() << read_file(run_directory_ + "/core.log");
  client_ = *std::move(client);
  client_->listen(std::move(handlers));
}

void Driver::disconnect() {
  if (!client_) return;
  EXPECT_TRUE(loop_->run(client_->close()));
  client_.reset();
}

int Driver::core_pid() {
  const auto list = call(core::ListRequest{});
  return list ? list->core_pid : 0;
}

void Driver::clean_up() {
  if (client_) {
    const auto list = call(core::ListRequest{});
    EXPECT_TRUE(list) << list.error().message();
    if (list) {
      for (const auto& each : list->processes) {
        if (!each.exec.empty()) continue;
        core::SignalRequest signal;
        signal.id = each.id;
        signal.signal = SIGKILL;
        signal.all = true;
        (void)call(signal);
      }
      for (const auto& each : list->processes) {
        if (!each.exec.empty()) continue;
        core::ForgetRequest forget;
        forget.id = each.id;
        Result<core::Nothing> gone = fail(Kind::Internal, "");
        wait_until([&] {
          gone = call(forget);
          return gone.has_value();
        });
        EXPECT_TRUE(gone) << gone.error().message();
      }
    }
    const auto ended = call(core::ShutdownRequest{});
    EXPECT_TRUE(ended) << ended.error().message();
    const int pid = list ? list->core_pid : 0;
    disconnect();
    eventually([&] { return ::kill(pid, 0) < 0; });
  }
  eventually([] {
    ::rmdir("/sys/fs/cgroup/engine/core");
    return ::rmdir("/sys/fs/cgroup/engine") == 0 || errno == ENOENT;
  });
  std::error_code ignored;
  std::filesystem::remove_all(run_directory_, ignored);
  std::filesystem::remove_all(log_directory, ignored);
}

core::StartRequest Driver::request(unsigned number, const Plan& plan) {
  core::StartRequest request;
  request.id = id_of(number);
  request.plan = plan.plan;
  request.cgroup_path = "containers/" + request.id;
  request.cgroup_plan = plan.cgroup_plan;
  request.terminal = plan.terminal;
  return request;
}

Fd Driver::root(const Bundle& files) {
  const auto directory =
      sys::open_at(sys::working_directory, files.rootfs().c_str(), O_PATH | O_DIRECTORY);
  EXPECT_TRUE(directory);
  auto mount = sys::clone_mount(*directory);
  EXPECT_TRUE(mount) << mount.error().message();
  return *std::move(mount);
}

Result<core::StartRequest::Reply> Driver::start(core::StartRequest request, const Bundle& files) {
  const Fd tree = root(files);
  const std::string directory = cat(log_directory, "/", request.id);
  ::mkdir(log_directory.c_str(), 0700);
  ::mkdir(directory.c_str(), 0700);
  const Fd logs =
      TRY(sys::open_at(sys::working_directory, directory.c_str(), O_RDONLY | O_DIRECTORY));
  return call(std::move(request), {&tree, &logs});
}

Result<core::StartRequest::Reply> Driver::start(unsigned number, const Bundle& files,
                                                const Plan& plan) {
  return start(request(number, plan), files);
}

namespace {
Task<> turn(ring::Loop& loop) { co_await ring::sleep_for(loop, std::chrono::milliseconds(2)); }
}  // namespace

bool Driver::wait_until(const std::function<bool()>& question) {
  const auto end = loop_->now() + std::chrono::seconds(20);
  while (!question()) {
    if (loop_->now() > end) return question();
    (void)loop_->run(turn(*loop_));
  }
  return true;
}

std::optional<core::ExitedEvent> Driver::exited(unsigned number, const std::string& exec) {
  const std::string key = cat(id_of(number), "/", exec);
  if (!wait_until([&] { return ends.contains(key); })) return std::nullopt;
  return ends[key];
}

Result<> Driver::forget(unsigned number, const std::string& exec) {
  core::ForgetRequest request;
  request.id = id_of(number);
  request.exec = exec;
  TRY(call(request));
  return {};
}

std::optional<core::ListRequest::Process> Driver::find(unsigned number, const std::string& exec) {
  const auto list = call(core::ListRequest{});
  EXPECT_TRUE(list) << list.error().message();
  if (!list) return std::nullopt;
  for (const auto& each : list->processes) {
    if (each.id == id_of(number) && each.exec == exec) return each;
  }
  return std::nullopt;
}

}  // namespace nacelle::test
