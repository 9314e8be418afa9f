#include "container/cgroup_wire.h"

#include <gtest/gtest.h>

#include <functional>

namespace nacelle::container {
namespace {

CgroupPlan some_plan() {
  CgroupPlan plan;
  plan.controllers.push_back({"memory", "linux.resources.memory.limit"});
  plan.writes.push_back({"memory.max", "1048576", "linux.resources.memory.limit"});
  plan.writes.push_back({"io.bfq.weight", "10", "blockIO.weight", IfAbsent::Next});
  plan.writes.push_back({"io.weight", "10", "blockIO.weight", IfAbsent::Skip});
  plan.check_before_update = {1, 2};
  plan.device_program.push_back({.code = 0x95, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0});
  return plan;
}

TEST(CgroupWire, a_plan_comes_back_as_it_was) {
  const CgroupPlan plan = some_plan();
  const auto back = decode_cgroup_plan(encode_cgroup_plan(plan));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->controllers, plan.controllers);
  EXPECT_EQ(back->writes, plan.writes);
  EXPECT_EQ(back->check_before_update, plan.check_before_update);
  EXPECT_EQ(back->device_program.size(), 1u);
  EXPECT_TRUE(decode_cgroup_plan(encode_cgroup_plan({})));
}

TEST(CgroupWire, cut_bytes_are_refused) {
  const std::string bytes = encode_cgroup_plan(some_plan());
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(decode_cgroup_plan(bytes.substr(0, cut))) << cut;
  }
  EXPECT_FALSE(decode_cgroup_plan(bytes + "x"));
}

// Goal: no plan writes anything but a limit of the group it is for.
TEST(CgroupWire, what_is_no_limit_is_refused) {
  struct Case {
    const char* what;
    std::function<void(CgroupPlan&)> change;
  };
  const Case cases[] = {
      {"a path", [](auto& p) { p.writes[0].file = "../memory.max"; }},
      {"an absolute path", [](auto& p) { p.writes[0].file = "/etc/x.y"; }},
      {"no name", [](auto& p) { p.writes[0].file = ""; }},
      {"no parameter", [](auto& p) { p.writes[0].file = "memory."; }},
      {"no controller", [](auto& p) { p.writes[0].file = ".max"; }},
      {"a name with a space", [](auto& p) { p.writes[0].file = "memory.max x"; }},
      {"a name with a NUL", [](auto& p) { p.writes[0].file = std::string("memory.m\0x", 10); }},
      {"moving a process", [](auto& p) { p.writes[0].file = "cgroup.procs"; }},
      {"killing", [](auto& p) { p.writes[0].file = "cgroup.kill"; }},
      {"controllers", [](auto& p) { p.writes[0].file = "cgroup.subtree_control"; }},
      {"freezing", [](auto& p) { p.writes[0].file = "cgroup.freeze"; }},
      {"two lines", [](auto& p) { p.writes[0].value = "1\n2"; }},
      {"a value without end", [](auto& p) { p.writes[0].value = std::string(4096, '1'); }},
      {"a source of two lines", [](auto& p) { p.writes[0].source = "a\nb"; }},
      {"an unknown rule", [](auto& p) { p.writes[0].if_absent = static_cast<IfAbsent>(7); }},
      {"a last write before a next", [](auto& p) { p.writes.back().if_absent = IfAbsent::Next; }},
      {"a controller that is two", [](auto& p) { p.controllers[0].name = "memory -cpu"; }},
      {"a controller without name", [](auto& p) { p.controllers[0].name = ""; }},
      {"too many controllers",
       [](auto& p) { p.controllers.resize(cgroup_plan_controllers_max + 1, p.controllers[0]); }},
      {"too many writes",
       [](auto& p) { p.writes.resize(cgroup_plan_writes_max + 1, p.writes[0]); }},
      {"a program without end",
       [](auto& p) { p.device_program.resize(device_program_instructions_max + 1); }},
  };
  for (const Case& each : cases) {
    CgroupPlan plan = some_plan();
    each.change(plan);
    EXPECT_FALSE(decode_cgroup_plan(encode_cgroup_plan(plan))) << each.what;
  }
}

}  // namespace
}  // namespace nacelle::container
