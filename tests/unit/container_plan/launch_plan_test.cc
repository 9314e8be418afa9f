// Plans as bytes: what a planner writes is accepted, and nothing that was cut or changed leads a
// reader outside.
#include "container/launch_plan.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "container/plan.h"
#include "oci/spec_parse.h"
#include "tests/unit/container_plan/walk_plan.h"

namespace nacelle::container {
namespace {

constexpr const char* config = R"({
  "ociVersion":"1.2.0","hostname":"h","domainname":"d","root":{"path":"rootfs","readonly":true},
  "process":{"cwd":"/","args":["/bin/sh","-c","x"],"env":["PATH=/bin","A=1","A=2"],
    "user":{"uid":1,"gid":2,"additionalGids":[3,4]},
    "rlimits":[{"type":"RLIMIT_CORE","soft":0,"hard":0}]},
  "mounts":[{"destination":"/proc","type":"proc","source":"proc"},
    {"destination":"/t","type":"tmpfs","source":"tmpfs","options":["size=1k","rshared","nosuid"]},
    {"destination":"/b","type":"none","source":"/x","options":["bind","idmap"],
     "uidMappings":[{"containerID":0,"hostID":1,"size":1}],
     "gidMappings":[{"containerID":0,"hostID":1,"size":1}]}],
  "hooks":{"prestart":[{"path":"/h","args":["h","1"],"env":["E=1"],"timeout":3}]},
  "linux":{"namespaces":[{"type":"mount"},{"type":"uts"},{"type":"ipc"},{"type":"pid","path":"/p"}],
    "devices":[{"type":"c","path":"/dev/x","major":1,"minor":2}],
    "sysctl":{"kernel.msgmax":"9"},"maskedPaths":["/m"],"readonlyPaths":["/r"]}})";

std::string make_plan() {
  auto spec = oci::parse_spec(config);
  EXPECT_TRUE(spec) << spec.error().message();
  PlanOptions options;
  options.bundle = "/bundle";
  auto plan = plan_container(*spec, options);
  EXPECT_TRUE(plan) << plan.error().message();
  return *std::move(plan);
}

// Bytes on the heap, exactly as long as they are: a read past the end is one the sanitizer sees.
struct Bytes {
  explicit Bytes(std::string_view from) : size(from.size()), data(new uint64_t[(size + 7) / 8]) {
    std::memcpy(data.get(), from.data(), size);
  }
  std::string_view view() const { return {reinterpret_cast<const char*>(data.get()), size}; }
  size_t size;
  std::unique_ptr<uint64_t[]> data;
};

TEST(LaunchPlan, what_the_planner_writes_is_accepted_and_holds_what_was_asked_for) {
  const Bytes bytes(make_plan());
  const auto plan = PlanView::check(bytes.view());
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_GT(PlanWalk(*plan).all(), 0u);
  const PlanHeader& header = plan->header();
  EXPECT_EQ(plan->view(header.root), "/bundle/rootfs");
  EXPECT_EQ(plan->view(header.hostname), "h");
  EXPECT_EQ(header.flags & plan_root_readonly, plan_root_readonly);
  ASSERT_EQ(header.mounts.count, 3u);
  EXPECT_EQ(header.idmaps.count, 1u);
  EXPECT_EQ(header.joins.count, 1u);
  EXPECT_EQ(header.devices.count, 7u);  // six by default and one
  EXPECT_EQ(plan->view(plan->items(header.sysctls)[0].path), "kernel/msgmax");
  const auto env = plan->items(header.process.env);
  ASSERT_EQ(env.size(), 2u);
  EXPECT_EQ(plan->view(env[1]), "A=2");
  EXPECT_TRUE(header.process.flags & process_home_missing);
  EXPECT_EQ(plan->view(header.process.search_path), "/bin");
}

TEST(LaunchPlan, the_same_config_gives_the_same_bytes) { EXPECT_EQ(make_plan(), make_plan()); }

TEST(LaunchPlan, a_plan_cut_anywhere_is_refused) {
  const std::string whole = make_plan();
  for (size_t length = 0; length < whole.size(); ++length) {
    const Bytes bytes(std::string_view(whole).substr(0, length));
    EXPECT_FALSE(PlanView::check(bytes.view())) << length;
  }
}

TEST(LaunchPlan, a_plan_cut_anywhere_that_lies_about_its_size_leads_nowhere) {
  const std::string whole = make_plan();
  for (size_t length = sizeof(PlanHeader); length < whole.size(); ++length) {
    std::string cut = whole.substr(0, length);
    const auto size = static_cast<uint32_t>(length);
    std::memcpy(cut.data() + offsetof(PlanHeader, size), &size, sizeof size);
    const Bytes bytes(cut);
    if (const auto plan = PlanView::check(bytes.view())) (void)PlanWalk(*plan).all();
  }
}

TEST(LaunchPlan, a_plan_of_another_kind_or_version_is_refused) {
  std::string plan = make_plan();
  plan[0] = 'N';
  EXPECT_FALSE(PlanView::check(Bytes(plan).view()));
  plan = make_plan();
  plan[offsetof(PlanHeader, version)] ^= 1;
  EXPECT_FALSE(PlanView::check(Bytes(plan).view()));
  plan = make_plan() + std::string(8, '\0');
  EXPECT_FALSE(PlanView::check(Bytes(plan).view()));
  EXPECT_FALSE(PlanView::check(Bytes(std::string(plan_bytes_max + 8, 'x')).view()));
}

TEST(LaunchPlan, bytes_that_are_not_aligned_are_refused) {
  const std::string plan = make_plan();
  const Bytes shifted(std::string(1, 'x') + plan);
  EXPECT_FALSE(PlanView::check(shifted.view().substr(1)));
}

// Whatever check() lets through, its readers survive; the sanitizers watch.
TEST(LaunchPlan, flipped_bytes_lead_nobody_outside) {
  const std::string whole = make_plan();
  uint64_t let_through = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x08, 0x80, 0xff}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      const Bytes bytes(changed);
      const auto plan = PlanView::check(bytes.view());
      if (!plan) continue;
      ++let_through;
      (void)PlanWalk(*plan).all();
    }
  }
  EXPECT_GT(let_through, 0u);
}

TEST(LaunchPlan, many_random_changes_lead_nobody_outside) {
  const std::string whole = make_plan();
  std::mt19937 random(42);
  for (int round = 0; round < 20'000; ++round) {
    std::string changed = whole;
    const size_t changes = 1 + random() % 4;
    for (size_t i = 0; i < changes; ++i) {
      // Behind the magic, the version and the size; whole words as often as bytes.
      const size_t at = 16 + random() % (changed.size() - 20);
      const auto word =
          static_cast<uint32_t>(random() % 2 == 0 ? random() : random() % (2 * changed.size()));
      std::memcpy(changed.data() + at / 4 * 4, &word, sizeof word);
    }
    const Bytes bytes(changed);
    if (const auto plan = PlanView::check(bytes.view())) (void)PlanWalk(*plan).all();
  }
}

// --- exec and hooks -----------------------------------------------------------------------------

TEST(LaunchPlan, an_exec_plan_has_a_process_and_nothing_else) {
  const Bytes bytes(make_plan());
  const auto container = PlanView::check(bytes.view());
  ASSERT_TRUE(container);
  oci::Process process = process_of(*container);
  EXPECT_EQ(process.args, (std::vector<std::string>{"/bin/sh", "-c", "x"}));
  EXPECT_EQ(process.user.uid, 1u);
  EXPECT_EQ(process.user.additional_gids, (std::vector<uint32_t>{3, 4}));
  process.args = {"id"};
  const auto exec = plan_exec(process, *container, {});
  ASSERT_TRUE(exec);
  const Bytes exec_bytes(*exec);
  const auto plan = PlanView::check(exec_bytes.view());
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->header().mounts.count, 0u);
  EXPECT_EQ(plan->header().hooks.count, 0u);
  EXPECT_EQ(plan->header().new_namespaces, 0u);
  EXPECT_EQ(plan->view(plan->items(plan->header().process.args)[0]), "id");
}

TEST(LaunchPlan, a_hook_inside_is_run_from_its_path_with_its_own_words) {
  const Bytes bytes(make_plan());
  const auto container = PlanView::check(bytes.view());
  ASSERT_TRUE(container);
  const auto hook = plan_hook_inside(container->items(container->header().hooks)[0], *container);
  ASSERT_TRUE(hook);
  const Bytes hook_bytes(*hook);
  const auto plan = PlanView::check(hook_bytes.view());
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->view(plan->header().process.program), "/h");
  EXPECT_EQ(plan->view(plan->items(plan->header().process.args)[1]), "1");
  EXPECT_EQ(plan->view(plan->items(plan->header().process.env)[0]), "E=1");
}

TEST(CleanPath, is_absolute_and_has_no_detours) {
  EXPECT_EQ(clean_path("/a//b/./c/"), "/a/b/c");
  EXPECT_EQ(clean_path("a/b"), "/a/b");
  EXPECT_EQ(clean_path("/a/../b"), "/b");
  EXPECT_EQ(clean_path("/../../etc"), "/etc");
  EXPECT_EQ(clean_path("/a/b/../../.."), "/");
  EXPECT_EQ(clean_path(""), "/");
  EXPECT_EQ(clean_path("////"), "/");
  EXPECT_EQ(clean_path("/..a/...//.b"), "/..a/.../.b");
}

}  // namespace
}  // namespace nacelle::container
