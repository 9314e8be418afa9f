// `update` and `events` on a running container. The private host has at most the hugetlb
// controller, so what needs another one must be a clear error here.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"
#include "codec/json.h"
#include "tests/support/bundle.h"
#include "tests/support/command.h"

namespace nacelle::test {
namespace {

constexpr const char* group = "/sys/fs/cgroup/limits";

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool has_hugetlb() { return contains(read_file("/sys/fs/cgroup/cgroup.controllers"), "hugetlb"); }

Config waiting() {
  Config config = Config::minimal();
  config.for_linux["cgroupsPath"] = "\"/limits\"";
  return config.guest({"wait"});
}

class Limits : public testing::Test {
 protected:
  Limits() : bundle_(waiting()) {
    const CommandResult result = oci({"run", "--detach", "--bundle", bundle_.path(), "web"});
    EXPECT_TRUE(result.ok()) << result.text();
  }
  ~Limits() override { EXPECT_TRUE(oci({"delete", "--force", "web"}).ok()); }

  static CommandResult update(std::vector<std::string> options, const std::string& input = "") {
    options.insert(options.begin(), "update");
    options.emplace_back("web");
    CommandOptions how;
    how.input = input;
    return oci(options, how);
  }
  static void expect_refused(const std::vector<std::string>& options, std::string_view complaint,
                             const std::string& input = "") {
    const CommandResult result = update(options, input);
    EXPECT_EQ(result.exit_code, 1) << result.text();
    EXPECT_TRUE(contains(result.err, complaint)) << result.err << "expected: " << complaint;
  }

 private:
  Bundle bundle_;
};

// Method: a limit that needs no controller.
TEST_F(Limits, a_resources_document_from_a_file_and_from_standard_input_is_applied) {
  const auto limit = [] { return read_file(cat(group, "/cgroup.max.descendants")); };
  ASSERT_TRUE(write_file("/tmp/resources.json", R"({"unified":{"cgroup.max.descendants":"4"}})"));
  CommandResult result = update({"--resources", "/tmp/resources.json"});
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(limit(), "4\n");
  result = update({"-r", "-"}, R"({"unified":{"cgroup.max.descendants":"6"}})");
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(limit(), "6\n");
  // Beside a document other options do not count.
  result = update({"--pids-limit", "5", "-r", "-"}, R"({"unified":{}})");
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(limit(), "6\n");
}

TEST_F(Limits, huge_pages_are_limited_where_the_kernel_can) {
  if (!has_hugetlb()) GTEST_SKIP() << "the hugetlb controller";
  const CommandResult result =
      update({"-r", "-"}, R"({"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]})");
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(read_file(cat(group, "/hugetlb.2MB.max")), "4194304\n");
}

TEST_F(Limits, nothing_asked_for_and_limits_lifted_need_no_controller) {
  const std::vector<std::string> accepted[] = {
      {},
      {"--memory", "", "--cpu-quota", "", "--pids-limit", "", "--cpuset-cpus", ""},
      {"--pids-limit", "-1"},
      {"--memory", "-1", "--memory-swap", "-1"},
      {"--cpu-quota", "-1"},
      {"--kernel-memory", "1g"},
  };
  for (const auto& options : accepted) {
    const CommandResult result = update(options);
    EXPECT_TRUE(result.ok()) << result.text();
  }
}

// Goal: a limit that cannot be set is never taken for set. Method: every option, on a host without
// its controller; the complaint names the limit.
TEST_F(Limits, a_limit_without_its_controller_is_named) {
  expect_refused({"--pids-limit", "5"}, "linux.resources.pids.limit");
  expect_refused({"--memory", "512m"}, "linux.resources.memory.limit");
  expect_refused({"--memory-reservation", "512m"}, "linux.resources.memory.reservation");
  expect_refused({"--memory", "512m", "--memory-swap", "1g"}, "linux.resources.memory.swap");
  expect_refused({"--cpu-quota", "50000"}, "linux.resources.cpu.quota");
  expect_refused({"--cpu-share", "512"}, "linux.resources.cpu.shares");
  expect_refused({"--cpu-burst", "1000"}, "linux.resources.cpu.burst");
  expect_refused({"--cpu-idle", "1"}, "linux.resources.cpu.idle");
  expect_refused({"--cpuset-cpus", "0"}, "linux.resources.cpu.cpus");
  expect_refused({"--cpuset-mems", "0"}, "linux.resources.cpu.mems");
  expect_refused({"--blkio-weight", "100"}, "linux.resources.blockIO.weight");
  expect_refused({"--cpu-rt-runtime", "1000"}, "linux.resources.cpu.realtimeRuntime");
  expect_refused({"--cpu-rt-period", "1000"}, "linux.resources.cpu.realtimePeriod");
  expect_refused({"-r", "-"}, "linux.resources.pids.limit", R"({"pids":{"limit":7}})");
  expect_refused({"--l3-cache-schema", "L3:0=f"},
                 "no resctrl file system is mounted at /sys/fs/resctrl");
  expect_refused({"--mem-bw-schema", "MB:0=20"},
                 "no resctrl file system is mounted at /sys/fs/resctrl");
}

TEST_F(Limits, values_that_make_no_sense_are_named) {
  for (const char* size : {"12q", "-2", "9999999999g"}) {
    expect_refused({"--memory", size}, cat("update: --memory: '", size, "': must be a size"));
  }
  expect_refused({"--pids-limit", "many"}, "update: --pids-limit: 'many': must be a number");
  expect_refused({"--cpu-share", "-1"}, "update: --cpu-share: '-1': must be a number");
  expect_refused({"--blkio-weight", "70000"}, "update: --blkio-weight: '70000'");
  expect_refused({"--cpu-quota", "5"}, "linux.resources.cpu.quota: 5");
  expect_refused({"--cpuset-cpus", "first"}, "linux.resources.cpu.cpus");
  expect_refused({"--resources", "/no/such/file"}, "--resources: open '/no/such/file'");
  expect_refused({"-r", "-"}, "pids.limit", R"({"pids":{"limit":"7"}})");
  expect_refused({"-r", "-"}, "", "{");
  expect_refused({"another"}, "update: requires exactly 1 argument");
}

TEST_F(Limits, a_stopped_or_missing_container_has_no_limits) {
  EXPECT_TRUE(contains(oci({"update", "--pids-limit", "5", "nobody"}).err, "nobody"));
  ASSERT_TRUE(oci({"kill", "web", "KILL"}).ok());
  EXPECT_TRUE(eventually([] { return contains(oci({"state", "web"}).out, "stopped"); }));
  expect_refused({"--pids-limit", "5"}, "cannot update container web: it is stopped");
  EXPECT_TRUE(contains(oci({"events", "--stats", "web"}).err, "is not running"));
  EXPECT_TRUE(contains(oci({"events", "web"}).err, "is not running"));
  EXPECT_TRUE(contains(oci({"events", "nobody"}).err, "nobody"));
}

TEST(IntelRdt, a_class_of_service_without_resctrl_is_an_error_that_says_so) {
  if (read_file("/proc/filesystems").find("resctrl") != std::string::npos)
    GTEST_SKIP() << "a machine without resctrl";
  Config config = Config::minimal();
  config.for_linux["intelRdt"] = R"({"closID":"gold"})";
  const Bundle bundle(config);
  const CommandResult result = oci({"create", "--bundle", bundle.path(), "web"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(
      contains(result.err, "linux.intelRdt: no resctrl file system is mounted at /sys/fs/resctrl"))
      << result.err;
}

// Calls `look` with the `data` of a line of stats of the container "web".
template <class Look>
void look_at_stats(std::string_view line, Look look) {
  auto document = codec::json::Document::parse(line);
  ASSERT_TRUE(document) << document.error().message() << line;
  const auto event = document->root().object();
  ASSERT_TRUE(event);
  std::string type, id;
  ASSERT_TRUE(event->need("type", type) && event->need("id", id)) << line;
  EXPECT_EQ(type, "stats");
  EXPECT_EQ(id, "web");
  const auto data = event->need("data");
  ASSERT_TRUE(data) << line;
  look(*data->object());
}

TEST_F(Limits, stats_are_one_line_with_what_the_kernel_counts_and_nothing_made_up) {
  const CommandResult result = oci({"events", "--stats", "web"});
  ASSERT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(std::ranges::count(result.out, '\n'), 1);
  look_at_stats(result.out, [&](const codec::json::Object& data) {
    uint64_t total = 0, kernel = 0, user = 0;
    const auto usage = data.need("cpu")->object()->need("usage")->object();
    ASSERT_TRUE(usage->need("total", total) && usage->need("kernel", kernel) &&
                usage->need("user", user))
        << result.out;
    EXPECT_GT(total, 0u);
    EXPECT_LE(kernel, total);
    // No controller, no figures: 0 would be a lie.
    EXPECT_TRUE(contains(result.out, R"("pids":{},"blkio":{})")) << result.out;
    EXPECT_TRUE(
        contains(result.out, R"("memory":{"usage":{},"swap":{},"kernel":{},"kernelTCP":{}})"))
        << result.out;
    EXPECT_TRUE(contains(result.out, R"("intel_rdt":{})")) << result.out;
    if (!has_hugetlb()) return;
    // The container's group has the controller once something is limited with it.
    ASSERT_TRUE(update({"-r", "-"}, R"({"unified":{"hugetlb.2MB.max":"0"}})").ok());
    EXPECT_TRUE(
        contains(oci({"events", "--stats", "web"}).out, R"("2MB":{"usage":0,"failcnt":0})"));
  });
}

TEST_F(Limits, events_go_on_until_the_container_stops) {
  RunningCommand events(
      {runtime_path(), "--root", runtime_root, "events", "--interval", "20ms", "web"});
  EXPECT_TRUE(eventually([&] { return std::ranges::count(events.out_now(), '\n') >= 3; }))
      << events.out_now() << events.err_now();
  ASSERT_TRUE(oci({"kill", "web", "KILL"}).ok());
  const CommandResult result = events.wait();
  EXPECT_TRUE(result.ok()) << result.text();
  std::string_view rest = result.out;
  while (!rest.empty()) look_at_stats(take_until(rest, '\n'), [](const codec::json::Object&) {});
}

TEST_F(Limits, an_interval_is_a_time_above_nothing) {
  for (const char* interval : {"0", "0s", "5", "-1s"}) {
    const CommandResult result = oci({"events", "--stats", "--interval", interval, "web"});
    EXPECT_EQ(result.exit_code, 1) << interval;
    EXPECT_TRUE(contains(result.err, "events: --interval: '")) << result.err;
  }
  for (const char* interval : {"1m30s", "1.5h", "300ms", "10us", "1ns"}) {
    EXPECT_TRUE(oci({"events", "--stats", "--interval", interval, "web"}).ok()) << interval;
  }
}

}  // namespace
}  // namespace nacelle::test
