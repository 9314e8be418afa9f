#include "container/cgroup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/root/cgroup/born.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::container {
namespace {

using test::nothing_left_since;
using test::sleep_for_ever;
using test::take_census;
using test::Tenant;

sys::Deadline soon() { return sys::deadline_in(std::chrono::seconds(5)); }

sys::CgroupTree open_tree() {
  auto tree = sys::open_cgroup_tree();
  EXPECT_TRUE(tree) << tree.error().message();
  return *std::move(tree);
}

// What the private host's root can hand down: at most hugetlb, and nothing where the machine's own
// root has not handed that down.
std::string controllers_here() {
  std::string have = test::read_file("/sys/fs/cgroup/cgroup.controllers");
  while (have.ends_with('\n')) have.pop_back();
  return have.empty() ? "none" : have;
}
bool has_hugetlb() { return sys::has_word(controllers_here(), "hugetlb"); }

// A plan without limits and without a device program.
const CgroupPlan nothing;

template <class T>
std::string complaint(const Result<T>& result) {
  return result ? "(success)" : result.error().message();
}

#define ASSERT_OK(expression) \
  if (auto done = (expression); !done) FAIL() << done.error().message()

bool exists(const std::string& path) {
  return ::access(("/sys/fs/cgroup/" + path).c_str(), F_OK) == 0;
}

TEST(Cgroup, the_tree_is_found_and_what_is_there_is_named_when_it_is_not) {
  EXPECT_EQ(open_tree().mount, "/sys/fs/cgroup");
  EXPECT_EQ(complaint(sys::open_cgroup_tree_at("/tmp")),
            "cgroup v2 is not mounted at /tmp: what is there is a tmpfs (cgroup v1 controllers)");
  EXPECT_FALSE(sys::open_cgroup_tree_at("/nowhere"));
  EXPECT_EQ(*sys::read_own_cgroup(), "/test");
}

TEST(Cgroup, create_and_destroy_leave_nothing) {
  const auto before = take_census();
  {
    const auto tree = open_tree();
    auto group = create_cgroup(tree, "a/b/c", *plan_cgroup({}));
    ASSERT_TRUE(group) << complaint(group);
    EXPECT_TRUE(exists("a/b/c"));
    EXPECT_EQ(group->made, (std::vector<std::string>{"a", "a/b", "a/b/c"}));
    ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
    EXPECT_FALSE(exists("a"));
    ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
  }
  EXPECT_TRUE(nothing_left_since(before));
}

TEST(Cgroup, destroy_keeps_what_it_did_not_make_and_what_others_use) {
  const auto before = take_census();
  {
    const auto tree = open_tree();
    auto first = create_cgroup(tree, "shared/one", nothing);
    auto second = create_cgroup(tree, "shared/two", nothing);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(second->made, std::vector<std::string>{"shared/two"});
    ASSERT_OK(destroy_cgroup(tree, first->path, first->made, soon()));
    EXPECT_TRUE(exists("shared/two"));
    ASSERT_OK(destroy_cgroup(tree, second->path, second->made, soon()));
    EXPECT_TRUE(exists("shared"));
    ASSERT_OK(destroy_cgroup(tree, "shared", {}, soon()));
  }
  EXPECT_TRUE(nothing_left_since(before));
}

// Goal: destroy ends a whole tree of groups that a workload made, processes and all.
TEST(Cgroup, groups_made_inside_go_with_their_processes) {
  const auto before = take_census();
  {
    const auto tree = open_tree();
    auto group = create_cgroup(tree, "box", nothing);
    ASSERT_TRUE(group);
    std::string path = "box";
    for (int depth = 0; depth < 30; ++depth) {
      path += "/in";
      ASSERT_TRUE(sys::ensure_cgroup(tree, path));
      ASSERT_TRUE(sys::ensure_cgroup(tree, path + "-beside"));
    }
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(sys::ensure_cgroup(tree, "box/n" + std::to_string(i)));
    const auto deep = sys::open_cgroup(tree, path);
    ASSERT_TRUE(deep);
    Tenant low(*deep, sleep_for_ever);
    Tenant high(group->dir, sleep_for_ever);
    auto pids = sys::list_cgroup_pids(group->dir);
    ASSERT_TRUE(pids);
    EXPECT_EQ(pids->size(), 2u);
    ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
    EXPECT_EQ(WTERMSIG(low.wait()), SIGKILL);
    EXPECT_EQ(WTERMSIG(high.wait()), SIGKILL);
    EXPECT_FALSE(exists("box"));
  }
  EXPECT_TRUE(nothing_left_since(before));
}

TEST(Cgroup, a_process_is_born_in_the_group_by_either_kind_of_descriptor) {
  const auto tree = open_tree();
  auto group = create_cgroup(tree, "cradle", nothing);
  ASSERT_TRUE(group);
  const Fd by_path(::open("/sys/fs/cgroup/cradle", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (const Fd* fd : {&std::as_const(group->dir), &by_path}) {
    Tenant tenant(*fd, sleep_for_ever);
    ASSERT_GT(tenant.pid(), 0) << tenant.error_number();
    EXPECT_EQ(*sys::list_cgroup_pids(group->dir), std::vector<pid_t>{tenant.pid()});
  }
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

TEST(Cgroup, freeze_stops_thaw_goes_on_and_kill_reaches_the_frozen) {
  const auto tree = open_tree();
  auto group = create_cgroup(tree, "ice", nothing);
  ASSERT_TRUE(group);
  Tenant tenant(group->dir, sleep_for_ever);
  ASSERT_OK(sys::freeze_cgroup(group->dir, soon()));
  EXPECT_EQ(sys::find_keyed(*sys::read_control(group->dir, "cgroup.events"), "frozen"), "1");
  ASSERT_OK(sys::thaw_cgroup(group->dir, soon()));
  EXPECT_EQ(sys::find_keyed(*sys::read_control(group->dir, "cgroup.events"), "frozen"), "0");
  ASSERT_OK(sys::freeze_cgroup(group->dir, soon()));
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
  EXPECT_EQ(WTERMSIG(tenant.wait()), SIGKILL);
}

TEST(Cgroup, waiting_ends_at_the_deadline) {
  const auto tree = open_tree();
  auto group = create_cgroup(tree, "late", nothing);
  ASSERT_TRUE(group);
  Tenant tenant(group->dir, sleep_for_ever);
  const auto waited = sys::wait_cgroup_event(group->dir, "populated", '0',
                                             sys::deadline_in(std::chrono::milliseconds(20)));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind(), Kind::Unavailable);
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

TEST(Cgroup, a_group_in_use_or_frozen_is_refused_and_left_as_it_is) {
  const auto tree = open_tree();
  auto group = create_cgroup(tree, "mine", nothing);
  ASSERT_TRUE(group);
  {
    const auto below = sys::ensure_cgroup(tree, "mine/below");
    ASSERT_TRUE(below);
    Tenant tenant(below->dir, sleep_for_ever);
    const auto second = create_cgroup(tree, "mine", nothing);
    EXPECT_EQ(complaint(second), "container's cgroup is not empty: 1 process(es) found");
    EXPECT_EQ(second.error().kind(), Kind::Conflict);
  }
  ASSERT_OK(sys::write_control(group->dir, "cgroup.freeze", "1"));
  const auto second = create_cgroup(tree, "mine", nothing);
  EXPECT_EQ(complaint(second), "container's cgroup is frozen: thaw it or choose another");
  ASSERT_OK(sys::write_control(group->dir, "cgroup.freeze", "0"));
  EXPECT_TRUE(create_cgroup(tree, "mine", nothing)) << "an empty group is taken";
  EXPECT_TRUE(exists("mine/below"));
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

// Goal: a limit the host cannot give is refused by name, and nothing stays behind.
TEST(Cgroup, absent_controllers_are_named_with_the_limit_that_needs_them) {
  const auto before = take_census();
  struct Case {
    void (*ask)(oci::Resources&);
    const char* source;
    const char* controller;
  };
  const Case cases[] = {
      {[](oci::Resources& r) { r.memory = {.limit = 1 << 20}; }, "memory.limit", "memory"},
      {[](oci::Resources& r) { r.memory = {.reservation = 1}; }, "memory.reservation", "memory"},
      {[](oci::Resources& r) { r.pids_limit = 5; }, "pids.limit", "pids"},
      {[](oci::Resources& r) { r.cpu = {.shares = 5}; }, "cpu.shares", "cpu"},
      {[](oci::Resources& r) { r.cpu = {.cpus = "0"}; }, "cpu.cpus", "cpuset"},
      {[](oci::Resources& r) { r.block_io = {.weight = 10}; }, "blockIO.weight", "io"},
      {[](oci::Resources& r) { r.rdma["x"] = {1, 1}; }, "rdma.x", "rdma"},
      {[](oci::Resources& r) { r.unified["nonsense.max"] = "1"; }, "unified[\"nonsense.max\"]",
       "nonsense"},
  };
  {
    const auto tree = open_tree();
    for (const Case& c : cases) {
      oci::Resources resources;
      c.ask(resources);
      const auto plan = plan_cgroup(resources);
      ASSERT_TRUE(plan) << complaint(plan);
      const auto group = create_cgroup(tree, "out/of/reach", *plan);
      EXPECT_EQ(complaint(group),
                std::string("linux.resources.") + c.source + ": the " + c.controller +
                    " controller is not available in /sys/fs/cgroup: enabled there: " +
                    controllers_here());
      EXPECT_FALSE(exists("out"));
    }
  }
  EXPECT_TRUE(nothing_left_since(before));
}

TEST(Cgroup, values_the_kernel_refuses_are_named_and_leave_nothing) {
  const auto tree = open_tree();
  oci::Resources resources;
  resources.unified["cgroup.max.depth"] = "much";
  EXPECT_EQ(complaint(create_cgroup(tree, "out/of/reach", *plan_cgroup(resources))),
            "linux.resources.unified[\"cgroup.max.depth\"]: write 'much' to 'cgroup.max.depth': "
            "Invalid argument");
  resources.unified = {{"nonsense.pressure", "1"}};
  EXPECT_EQ(complaint(create_cgroup(tree, "out/of/reach", *plan_cgroup(resources))),
            "linux.resources.unified[\"nonsense.pressure\"]: the kernel has no "
            "'nonsense.pressure' in /sys/fs/cgroup/out/of/reach");
  EXPECT_FALSE(exists("out"));
}

TEST(Cgroup, limits_of_the_core_are_in_force_and_absent_counters_are_absent) {
  const auto tree = open_tree();
  oci::Resources resources;
  resources.unified["cgroup.max.depth"] = "1";
  resources.pids_limit = -1;  // lifts what cannot be there
  auto group = create_cgroup(tree, "deep/er/one", *plan_cgroup(resources));
  ASSERT_TRUE(group) << complaint(group);
  EXPECT_EQ(*sys::read_control(group->dir, "cgroup.max.depth"), "1\n");
  EXPECT_TRUE(sys::ensure_cgroup(tree, "deep/er/one/x"));
  const auto too_deep = sys::ensure_cgroup(tree, "deep/er/one/x/y");
  ASSERT_FALSE(too_deep);
  EXPECT_EQ(too_deep.error().kind(), Kind::Exhausted);

  const auto stats = read_stats(group->dir);
  ASSERT_TRUE(stats);
  EXPECT_TRUE(stats->cpu) << "the core counts time without a controller";
  EXPECT_FALSE(stats->memory_current) << "absent is absent, not zero";
  EXPECT_FALSE(stats->memory);
  EXPECT_FALSE(stats->pids_current);
  EXPECT_FALSE(stats->io);
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

TEST(Cgroup, limits_of_a_controller_that_is_there_are_in_force_at_every_depth) {
  if (!has_hugetlb()) GTEST_SKIP() << "needs the hugetlb controller in the private host";
  const auto tree = open_tree();
  oci::Resources resources;
  resources.unified["hugetlb.2MB.max"] = "4194304";
  auto group = create_cgroup(tree, "deep/er/one", *plan_cgroup(resources));
  ASSERT_TRUE(group) << complaint(group);
  const auto stats = read_stats(group->dir);
  ASSERT_TRUE(stats);
  ASSERT_FALSE(stats->hugepages.empty());
  EXPECT_EQ(stats->hugepages.back().page_size, "2MB");
  EXPECT_EQ(stats->hugepages.back().current, 0u);
  EXPECT_EQ(stats->hugepages.back().max, 4194304u);
  resources.unified["hugetlb.2MB.max"] = "much";
  EXPECT_EQ(complaint(apply_limits(tree, group->path, group->dir, *plan_cgroup(resources))),
            "linux.resources.unified[\"hugetlb.2MB.max\"]: write 'much' to 'hugetlb.2MB.max': "
            "Invalid argument");
  resources.unified.clear();
  resources.hugepage_limits = {{"3MB", 0}};
  EXPECT_EQ(complaint(apply_limits(tree, group->path, group->dir, *plan_cgroup(resources))),
            "linux.resources.hugepageLimits[0]: the kernel has no 'hugetlb.3MB.max' in "
            "/sys/fs/cgroup/deep/er/one");
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

TEST(Cgroup, an_ancestor_with_processes_of_its_own_cannot_hand_controllers_down) {
  if (!has_hugetlb()) GTEST_SKIP() << "needs the hugetlb controller in the private host";
  const auto tree = open_tree();
  auto above = create_cgroup(tree, "busy", nothing);
  ASSERT_TRUE(above);
  Tenant tenant(above->dir, sleep_for_ever);
  oci::Resources resources;
  resources.hugepage_limits = {{"2MB", 0}};
  const auto group = create_cgroup(tree, "busy/below", *plan_cgroup(resources));
  EXPECT_EQ(complaint(group),
            "linux.resources.hugepageLimits[0]: the hugetlb controller cannot be enabled beneath "
            "/sys/fs/cgroup/busy: it holds processes of its own, and a group with enabled "
            "controllers may not: move them into a group beneath it");
  EXPECT_FALSE(exists("busy/below"));
  ASSERT_OK(destroy_cgroup(tree, above->path, above->made, soon()));
}

TEST(Cgroup, paths_never_leave_the_tree) {
  const auto tree = open_tree();
  for (const char* path : {"..", "a/..", "../x", "a/../../x", "/../x"}) {
    EXPECT_FALSE(sys::open_cgroup(tree, path)) << path;
    EXPECT_FALSE(sys::ensure_cgroup(tree, path)) << path;
    EXPECT_FALSE(sys::remove_cgroup(tree, path, soon())) << path;
  }
  EXPECT_FALSE(sys::remove_cgroup(tree, "/", soon())) << "the root";
  EXPECT_FALSE(sys::ensure_cgroup(tree, "cgroup.procs")) << "a file is not a group";
  EXPECT_FALSE(sys::open_cgroup(tree, "cgroup.procs/x"));
}

TEST(Cgroup, a_delegated_group_belongs_to_its_owner_with_the_safe_files_only) {
  const auto tree = open_tree();
  auto group = create_cgroup(tree, "given", nothing);
  ASSERT_TRUE(group);
  ASSERT_OK(delegate_cgroup(group->dir, 4242));
  const auto owner = [&](const char* file) {
    struct stat found = {};
    EXPECT_EQ(::fstatat(group->dir.get(), file, &found, 0), 0) << file;
    return found.st_uid;
  };
  for (const char* file : {".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}) {
    EXPECT_EQ(owner(file), 4242u) << file;
  }
  for (const char* file : {"cgroup.max.depth", "cgroup.freeze", "cgroup.kill", "cgroup.type"}) {
    EXPECT_EQ(owner(file), 0u) << file;
  }
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

TEST(Cgroup, its_id_is_the_inode_of_the_directory) {
  const auto tree = open_tree();
  auto group = create_cgroup(tree, "number", nothing);
  ASSERT_TRUE(group);
  struct stat found = {};
  ASSERT_EQ(::fstat(group->dir.get(), &found), 0);
  EXPECT_EQ(*sys::read_cgroup_id(group->dir), found.st_ino);
  ASSERT_OK(destroy_cgroup(tree, group->path, group->made, soon()));
}

}  // namespace
}  // namespace nacelle::container
