#include "container/intel_rdt.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/text.h"
#include "sys/file.h"

namespace nacelle::container {
namespace {

using Lines = std::vector<std::string>;

TEST(IntelRdt, without_a_class_the_container_has_its_own) {
  const RdtPlan plan = plan_rdt({}, "web");
  EXPECT_EQ(plan, (RdtPlan{.group = "web", .own = true}));
}

TEST(IntelRdt, schemata_are_written_after_the_two_older_schemas) {
  oci::IntelRdt rdt;
  rdt.l3_cache_schema = "L3:0=f";
  rdt.mem_bw_schema = "MB:0=20";
  rdt.schemata = {"L2:0=3", "L3:0=ff"};
  const RdtPlan plan = plan_rdt(rdt, "web");
  EXPECT_EQ(plan.schemata, (Lines{"L3:0=f", "MB:0=20", "L2:0=3", "L3:0=ff"}));
  EXPECT_TRUE(plan.compared.empty());
  EXPECT_FALSE(plan.must_exist);
}

TEST(IntelRdt, a_named_class_is_compared_or_must_be_there) {
  oci::IntelRdt rdt;
  rdt.clos_id = "gold";
  EXPECT_EQ(plan_rdt(rdt, "web"), (RdtPlan{.group = "gold", .must_exist = true}));
  rdt.mem_bw_schema = "MB:0=20";
  rdt.schemata = {"L2:0=3"};
  EXPECT_EQ(plan_rdt(rdt, "web"),
            (RdtPlan{.group = "gold", .schemata = {"MB:0=20", "L2:0=3"}, .compared = {"MB:0=20"}}));
  rdt = {};
  rdt.clos_id = "/";
  EXPECT_EQ(plan_rdt(rdt, "web"), (RdtPlan{.group = ".", .must_exist = true}));
}

TEST(IntelRdt, a_monitoring_group_is_the_containers_below_its_class) {
  oci::IntelRdt rdt;
  rdt.enable_monitoring = true;
  EXPECT_EQ(plan_rdt(rdt, "web").monitoring, "web/mon_groups/web");
  rdt.clos_id = "/";
  EXPECT_EQ(plan_rdt(rdt, "web").monitoring, "./mon_groups/web");
}

TEST(IntelRdt, schemata_are_compared_as_the_kernel_prints_them) {
  constexpr std::string_view have = "    MB:0=  20;1=  70\n    L3:0=000f;1=0ff0\nL2:0=00000\n";
  for (const char* line : {"L3:0=f;1=ff0", "L3:0=F", "L3:1=0FF0", "L3:1=ff0;0=f", "MB:0=20",
                           "MB:1=070;0=20", "L3:00=f", "L2:0=0"}) {
    EXPECT_TRUE(schemata_hold(have, line)) << line;
  }
  for (const char* line : {"L3:0=ff", "L3:2=f", "L3:0=f;1=f", "L3:0", "L3:0=", "MB:0=2", "MB:0=200",
                           "L3CODE:0=f", "l3:0=f", "", "L2:0=1"}) {
    EXPECT_FALSE(schemata_hold(have, line)) << line;
  }
}

// A directory with the files a class of service has.
class Tree : public testing::Test {
 protected:
  Tree() {
    EXPECT_NE(::mkdtemp(path_), nullptr);
    root_ = Fd(::open(path_, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  ~Tree() override {
    const std::string words = cat("rm -rf ", static_cast<const char*>(path_));
    EXPECT_EQ(::system(words.c_str()), 0);
  }
  void make_group(const char* name, std::string_view schemata) {
    ASSERT_EQ(::mkdirat(root_.get(), name, 0755), 0);
    for (const char* file : {"schemata", "tasks"}) {
      ASSERT_TRUE(sys::replace_file_at(root_.get(), cat(name, "/", file).c_str(),
                                       file[0] == 's' ? schemata : "", 0644));
    }
  }
  std::string read(const char* file) {
    const auto text = sys::read_file_at(root_.get(), file, 4096);
    return text ? *text : "(absent)";
  }
  bool exists(const char* name) { return ::faccessat(root_.get(), name, F_OK, 0) == 0; }

  char path_[32] = "/tmp/rdt.XXXXXX";
  Fd root_;
};

TEST_F(Tree, a_class_that_is_there_is_joined_and_not_given_back_for_removal) {
  make_group("gold", "L3:0=00ff\n");
  const auto made = join_rdt(root_, {.group = "gold", .must_exist = true}, 42);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_TRUE(made->empty());
  EXPECT_EQ(read("gold/tasks"), "42");
  EXPECT_EQ(read("gold/schemata"), "L3:0=00ff\n");
}

TEST_F(Tree, a_class_with_other_values_is_a_conflict_and_untouched) {
  make_group("gold", "L3:0=00ff\n");
  const auto made =
      join_rdt(root_, {.group = "gold", .schemata = {"L3:0=f"}, .compared = {"L3:0=f"}}, 42);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message(),
            "linux.intelRdt: closID 'gold' is there with other values than 'L3:0=f'");
  EXPECT_EQ(made.error().kind(), Kind::Conflict);
  EXPECT_EQ(read("gold/schemata"), "L3:0=00ff\n");
  EXPECT_EQ(read("gold/tasks"), "");
}

TEST_F(Tree, a_class_that_must_be_there_and_is_not_is_named) {
  const auto made = join_rdt(root_, {.group = "gold", .must_exist = true}, 42);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind(), Kind::NotFound);
  EXPECT_FALSE(exists("gold"));
}

// Method: a directory on another file system gets no control files, so the first write fails.
TEST_F(Tree, a_failure_takes_back_what_was_made_with_the_kernels_reason) {
  ASSERT_EQ(::mkdirat(root_.get(), "info", 0755), 0);
  ASSERT_TRUE(sys::replace_file_at(root_.get(), "info/last_cmd_status", "no room\n", 0644));
  const auto made = join_rdt(root_, {.group = "web", .own = true, .schemata = {"L3:0=f"}}, 42);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message(),
            "linux.intelRdt: open 'web/schemata': No such file or directory (no room)");
  EXPECT_FALSE(exists("web"));
}

TEST_F(Tree, an_own_group_that_is_there_already_is_not_taken) {
  make_group("web", "");
  EXPECT_FALSE(join_rdt(root_, {.group = "web", .own = true}, 42));
  EXPECT_EQ(read("web/tasks"), "");
  EXPECT_TRUE(exists("web"));
}

TEST_F(Tree, removing_is_innermost_first_and_twice_is_no_error) {
  ASSERT_EQ(::mkdirat(root_.get(), "a", 0755), 0);
  ASSERT_EQ(::mkdirat(root_.get(), "a/b", 0755), 0);
  const Lines groups = {"a", "a/b"};
  EXPECT_TRUE(remove_rdt_groups(root_, groups));
  EXPECT_FALSE(exists("a"));
  EXPECT_TRUE(remove_rdt_groups(root_, groups));
}

TEST(IntelRdt, where_there_is_no_resctrl_the_error_says_where_it_was_looked_for) {
  const auto root = open_resctrl();
  if (root) GTEST_SKIP() << "a machine without resctrl";
  EXPECT_EQ(root.error().message(), "no resctrl file system is mounted at /sys/fs/resctrl");
  EXPECT_EQ(root.error().kind(), Kind::Unsupported);
}

}  // namespace
}  // namespace nacelle::container
