#include "container/device_policy.h"

#include <gtest/gtest.h>

#include <random>

namespace nacelle::container {
namespace {

constexpr uint8_t r = BPF_DEVCG_ACC_READ;
constexpr uint8_t w = BPF_DEVCG_ACC_WRITE;
constexpr uint8_t m = BPF_DEVCG_ACC_MKNOD;
constexpr uint8_t chr = BPF_DEVCG_DEV_CHAR;
constexpr uint8_t blk = BPF_DEVCG_DEV_BLOCK;

// Runs a device program as the kernel would: exactly the instructions the compiler may emit, and
// nothing for any other and for a missing exit.
std::optional<uint64_t> interpret(const std::vector<bpf_insn>& code, const DeviceAccess& access) {
  const uint32_t context[3] = {uint32_t{access.bits} << 16 | access.type, access.major,
                               access.minor};
  uint64_t registers[11] = {};
  for (const bpf_insn& i : code) {
    uint64_t& to = registers[i.dst_reg];
    const uint64_t from = registers[i.src_reg];
    const auto low = static_cast<uint32_t>(to);
    const auto low_value = static_cast<uint32_t>(i.imm);
    const auto value = static_cast<uint64_t>(int64_t{i.imm});
    switch (i.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        if (i.src_reg != BPF_REG_1 || i.off % 4 != 0 || i.off > 8) return std::nullopt;
        to = context[i.off / 4];
        break;
      case BPF_ALU | BPF_MOV | BPF_X: to = static_cast<uint32_t>(from); break;
      case BPF_ALU | BPF_MOV | BPF_K: to = low_value; break;
      case BPF_ALU | BPF_AND | BPF_K: to = low & low_value; break;
      case BPF_ALU | BPF_RSH | BPF_K: to = low >> low_value; break;
      case BPF_ALU | BPF_XOR | BPF_K: to = low ^ low_value; break;
      case BPF_ALU64 | BPF_MOV | BPF_X: to = from; break;
      case BPF_ALU64 | BPF_MOV | BPF_K: to = value; break;
      case BPF_ALU64 | BPF_AND | BPF_X: to &= from; break;
      case BPF_ALU64 | BPF_AND | BPF_K: to &= value; break;
      case BPF_ALU64 | BPF_OR | BPF_X: to |= from; break;
      case BPF_ALU64 | BPF_XOR | BPF_K: to ^= value; break;
      case BPF_ALU64 | BPF_SUB | BPF_K: to -= value; break;
      case BPF_ALU64 | BPF_NEG: to = ~to + 1; break;
      case BPF_ALU64 | BPF_RSH | BPF_X: to >>= from & 63; break;
      case BPF_ALU64 | BPF_RSH | BPF_K: to >>= value; break;
      case BPF_ALU64 | BPF_ARSH | BPF_K:
        to = static_cast<uint64_t>(static_cast<int64_t>(to) >> value);
        break;
      case BPF_JMP | BPF_EXIT: return registers[0];
      default: return std::nullopt;
    }
  }
  return std::nullopt;
}

std::vector<DeviceMatch> plan(const std::vector<oci::DeviceRule>& rules) {
  auto planned = plan_device_rules(rules);
  EXPECT_TRUE(planned) << planned.error().message();
  return planned ? *std::move(planned) : std::vector<DeviceMatch>();
}

bool passes(const std::vector<oci::DeviceRule>& rules, const DeviceAccess& access) {
  const auto verdict = interpret(compile_device_program(plan(rules)), access);
  EXPECT_TRUE(verdict) << "the program does something it must not";
  return verdict == 1u;
}

// What `docker run` of version 28 sends.
const std::vector<oci::DeviceRule> docker_rules = {
    {false, 'a', {}, {}, "rwm"},  {true, 'c', 1, 5, "rwm"},     {true, 'c', 1, 3, "rwm"},
    {true, 'c', 1, 9, "rwm"},     {true, 'c', 1, 8, "rwm"},     {true, 'c', 5, 0, "rwm"},
    {true, 'c', 5, 1, "rwm"},     {false, 'c', 10, 229, "rwm"}, {false, 'a', {}, {}, "rwm"},
    {true, 'c', 1, 5, "rwm"},     {true, 'c', 1, 3, "rwm"},     {true, 'c', 1, 9, "rwm"},
    {true, 'c', 1, 8, "rwm"},     {true, 'c', 5, 0, "rwm"},     {true, 'c', 5, 1, "rwm"},
    {false, 'c', 10, 229, "rwm"},
};

TEST(DevicePolicy, no_rules_deny_all_but_the_defaults) {
  EXPECT_TRUE(passes({}, {chr, 1, 3, r | w}));
  EXPECT_TRUE(passes({}, {chr, 136, 7, r | w}));
  EXPECT_TRUE(passes({}, {chr, 5, 2, r | w | m}));
  EXPECT_TRUE(passes({}, {blk, 8, 0, m}));
  EXPECT_TRUE(passes({}, {chr, 10, 229, m}));
  EXPECT_FALSE(passes({}, {blk, 8, 0, r}));
  EXPECT_FALSE(passes({}, {blk, 1, 3, r})) << "a block device with the numbers of /dev/null";
  EXPECT_FALSE(passes({}, {chr, 1, 1, r})) << "/dev/mem";
  EXPECT_FALSE(passes({}, {chr, 5, 1, w})) << "the host's console";
  EXPECT_FALSE(passes({}, {chr, 10, 229, r}));
  EXPECT_FALSE(passes({}, {chr, 10, 229, r | m})) << "one bit of two is not enough";
}

TEST(DevicePolicy, later_rules_override_earlier_ones) {
  const oci::DeviceRule allow_fuse = {true, 'c', 10, 229, "rwm"};
  const oci::DeviceRule deny_fuse = {false, 'c', 10, 229, "rwm"};
  EXPECT_FALSE(passes({allow_fuse, deny_fuse}, {chr, 10, 229, r}));
  EXPECT_TRUE(passes({deny_fuse, allow_fuse}, {chr, 10, 229, r}));
  EXPECT_FALSE(passes({allow_fuse, {false, 'a', {}, {}, "rwm"}}, {chr, 10, 229, r}));
  EXPECT_FALSE(passes({{true, 'a', {}, {}, "rwm"}, deny_fuse}, {chr, 10, 229, r}));
  EXPECT_TRUE(passes({{true, 'a', {}, {}, "rwm"}, deny_fuse}, {chr, 10, 228, r}));
}

TEST(DevicePolicy, each_bit_is_decided_for_itself) {
  EXPECT_TRUE(passes({{true, 'b', 8, 0, "r"}, {true, 'b', 8, 0, "w"}}, {blk, 8, 0, r | w}));
  EXPECT_FALSE(passes({{true, 'b', 8, 0, "rw"}, {false, 'b', 8, 0, "w"}}, {blk, 8, 0, r | w}));
  EXPECT_TRUE(passes({{true, 'b', 8, 0, "rw"}, {false, 'b', 8, 0, "w"}}, {blk, 8, 0, r}));
  EXPECT_FALSE(passes({{true, 'b', 8, {}, "r"}}, {blk, 8, 3, w}));
  EXPECT_TRUE(passes({{true, 'b', 8, {}, "r"}}, {blk, 8, 3, r}));
  EXPECT_TRUE(passes({{true, 'b', {}, 3, "r"}}, {blk, 9, 3, r}));
  EXPECT_FALSE(passes({{true, 'b', {}, 3, "r"}}, {blk, 9, 4, r}));
}

TEST(DevicePolicy, numbers_use_all_32_bits) {
  EXPECT_TRUE(passes({{true, 'b', 4294967295, 4294967295, "r"}}, {blk, UINT32_MAX, UINT32_MAX, r}));
  EXPECT_FALSE(passes({{true, 'b', 2147483648, 0, "r"}}, {blk, 2147483647, 0, r}));
}

TEST(DevicePolicy, minus_one_is_any) {
  EXPECT_TRUE(passes({{true, 'b', -1, -1, "r"}}, {blk, 77, 88, r}));
  EXPECT_FALSE(passes({{true, 'b', -1, -1, "r"}}, {chr, 77, 88, r}));
}

TEST(DevicePolicy, everything_allowed_needs_no_program) {
  EXPECT_TRUE(allows_everything(plan({{true, 'a', {}, {}, "rwm"}})));
  EXPECT_TRUE(allows_everything(plan({{false, 'a', {}, {}, "rwm"}, {true, 'a', -1, -1, "mwr"}})));
  EXPECT_TRUE(allows_everything(plan({{true, 'a', {}, {}, "r"}, {true, 'a', {}, {}, "wm"}})));
  EXPECT_TRUE(allows_everything(plan({{true, 'a', {}, {}, "rw"}}))) << "nodes may always be made";
  EXPECT_FALSE(allows_everything(plan({{true, 'a', {}, {}, "rm"}})));
  EXPECT_FALSE(allows_everything(plan({{true, 'a', {}, {}, "rwm"}, {false, 'b', 8, 0, "w"}})));
  EXPECT_FALSE(allows_everything(plan({{true, 'c', {}, {}, "rwm"}})));
  EXPECT_FALSE(allows_everything(plan({})));
  EXPECT_FALSE(allows_everything({}));
}

TEST(DevicePolicy, dockers_rules_fold_into_a_small_program) {
  const auto rules = plan(docker_rules);
  EXPECT_EQ(rules.size(), std::size(default_device_rules()) + 1) << "the defaults and the console";
  EXPECT_LE(compile_device_program(rules).size(), 64u);
}

TEST(DevicePolicy, asking_for_no_bit_passes_for_whoever_may_do_anything) {
  EXPECT_FALSE(allows({}, {chr, 1, 3, 0}));
  const DeviceMatch reads[] = {{true, r, chr, 1, 3}};
  EXPECT_TRUE(allows(reads, {chr, 1, 3, 0}));
  EXPECT_FALSE(allows(reads, {chr, 1, 4, 0}));
}

TEST(DevicePolicy, names_the_rule_at_fault) {
  struct Case {
    oci::DeviceRule rule;
    const char* complaint;
  };
  const Case cases[] = {
      {{true, 'x', 1, 1, "r"}, "linux.resources.devices[1].type: 'x'"},
      {{true, 'p', 1, 1, "r"}, "linux.resources.devices[1].type: 'p'"},
      {{true, 'u', 1, 1, "r"}, "linux.resources.devices[1].type: 'u'"},
      {{true, 'c', -2, 1, "r"}, "linux.resources.devices[1].major: -2"},
      {{true, 'c', 4294967296, 1, "r"}, "linux.resources.devices[1].major: 4294967296"},
      {{true, 'c', 1, -2, "r"}, "linux.resources.devices[1].minor: -2"},
      {{true, 'c', 1, INT64_MAX, "r"}, "linux.resources.devices[1].minor: 9223372036854775807"},
      {{true, 'c', 1, 1, ""}, "linux.resources.devices[1].access: ''"},
      {{true, 'c', 1, 1, "R"}, "linux.resources.devices[1].access: 'R'"},
      {{true, 'c', 1, 1, "rwmx"}, "linux.resources.devices[1].access: 'rwmx'"},
  };
  for (const Case& c : cases) {
    const std::vector<oci::DeviceRule> rules = {{false, 'a', {}, {}, "rwm"}, c.rule};
    const auto planned = plan_device_rules(rules);
    ASSERT_FALSE(planned) << c.complaint;
    EXPECT_TRUE(planned.error().message().starts_with(c.complaint)) << planned.error().message();
    EXPECT_EQ(planned.error().kind(), Kind::Invalid);
  }
}

TEST(DevicePolicy, there_is_a_limit_to_the_number_of_rules) {
  std::vector<oci::DeviceRule> rules(1000, {true, 'c', 200, 1, "rw"});
  EXPECT_EQ(plan(rules).size(), std::size(default_device_rules()) + 1) << "they fold into one";
  rules.push_back(rules.front());
  EXPECT_EQ(plan_device_rules(rules).error().kind(), Kind::Exhausted);
}

// Goal: folding and compiling never change what the rules mean. Method: random rule lists over few
// numbers, so that rules meet; every access to those numbers, the program against the rules as the
// config has them (checked one by one, nothing folded).
TEST(DevicePolicy, program_means_what_the_rules_say) {
  // The edges of the word in which the program looks small minors up, and of its wrapping round.
  constexpr uint32_t minors[] = {0, 1, 3, 31, 32, 64, 67, UINT32_MAX};
  std::mt19937 random(7);
  const auto pick = [&](uint32_t below) { return static_cast<uint32_t>(random() % below); };
  for (int round = 0; round < 600; ++round) {
    std::vector<oci::DeviceRule> rules;
    std::vector<DeviceMatch> plain;
    for (uint32_t left = pick(9); left > 0; --left) {
      oci::DeviceRule rule;
      DeviceMatch match;
      rule.allow = match.allow = pick(2) == 0;
      rule.type = "acb"[pick(3)];
      if (rule.type != 'a') match.type = rule.type == 'c' ? chr : blk;
      if (pick(3) != 0) rule.major = match.major = 1 + pick(2) * 4;
      if (pick(3) != 0) rule.minor = match.minor = minors[pick(std::size(minors))];
      match.bits = static_cast<uint8_t>(1 + pick(7));
      rule.access = std::string(match.bits & r ? "r" : "") + (match.bits & w ? "w" : "") +
                    (match.bits & m ? "m" : "");
      rules.push_back(rule);
      plain.push_back(match);
    }
    plain.insert(plain.end(), default_device_rules().begin(), default_device_rules().end());
    const auto planned = plan(rules);
    const auto code = compile_device_program(planned);
    for (const uint8_t type : {chr, blk}) {
      for (const uint32_t major : {1u, 5u, 7u}) {
        for (const uint32_t minor : minors) {
          for (uint8_t bits = 0; bits < 8; ++bits) {
            const DeviceAccess access = {type, major, minor, bits};
            const auto verdict = interpret(code, access);
            ASSERT_TRUE(verdict) << "round " << round;
            ASSERT_EQ(*verdict == 1, allows(plain, access)) << "round " << round;
            ASSERT_EQ(allows(planned, access), allows(plain, access)) << "round " << round;
          }
        }
      }
    }
    if (allows_everything(planned)) {
      EXPECT_TRUE(allows(plain, {blk, 99, 99, r | w | m}));
    }
  }
}

}  // namespace
}  // namespace nacelle::container
