// Goal: a profile means the same here as under runc with libseccomp 2.5.4. Method: both programs
// run in the emulator over every number of every architecture and over the edges of every
// condition; the answers are equal but for ENOSYS to numbers newer than the profile, which runc
// puts before libseccomp's program.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "container/seccomp.h"
#include "tests/unit/container_seccomp/profiles.h"
#include "tests/unit/container_seccomp/reference.h"

namespace nacelle::container {
namespace {

using namespace test;
using Op = oci::SeccompOperator;

constexpr SeccompTarget native{oci::SeccompArch::X86_64};
constexpr uint32_t enosys = SECCOMP_RET_ERRNO | 38;

// The highest number that the profile names, per architecture; empty when runc adds no ENOSYS.
std::map<oci::SeccompArch, uint32_t> newest_numbers(const oci::Seccomp& profile) {
  std::map<oci::SeccompArch, uint32_t> newest;
  const auto fallback = profile.default_action;
  if (fallback == oci::SeccompAction::Allow || fallback == oci::SeccompAction::Log ||
      fallback == oci::SeccompAction::Trace || profile.default_errno_ret == 38u) {
    return newest;
  }
  auto archs = profile.architectures;
  archs.push_back(native.native);
  for (const auto arch : archs) {
    uint32_t highest = 0;
    for (const auto& rule : profile.rules) {
      for (const std::string& name : rule.names) {
        const auto note = [&](std::string_view known) {
          highest = std::max(highest, libseccomp_number(arch, known).value_or(0));
        };
        note(name);
        static const std::vector<std::string> sockets = {"socket", "bind",     "accept4",
                                                         "send",   "recvmmsg", "sendto"};
        static const std::vector<std::string> ipc = {"semop",  "semtimedop", "shmget",
                                                     "msgctl", "semget",     "shmctl"};
        if (std::ranges::find(sockets, name) != sockets.end()) note("socketcall");
        if (std::ranges::find(ipc, name) != ipc.end()) note("ipc");
      }
    }
    if (highest > 0) newest[arch] = highest;
  }
  return newest;
}

bool is_newer(const std::map<oci::SeccompArch, uint32_t>& newest, const codec::SeccompData& data) {
  for (const KnownArch& arch : known_archs()) {
    if (arch.audit != data.arch || !newest.contains(arch.id)) continue;
    const bool has_bit = (data.number & 0x40000000) != 0;
    if (arch.audit == AUDIT_ARCH_X86_64 && has_bit != (arch.id == oci::SeccompArch::X32)) continue;
    if (data.number > newest.at(arch.id)) return true;
  }
  return false;
}

// What the profile itself says about one call, read without any compiler: the actions of all rules
// that match, of which a rule without conditions is the only one that counts.
class Meaning {
 public:
  explicit Meaning(const oci::Seccomp& profile) : profile_(profile) {}

  bool allows(const codec::SeccompData& data, uint32_t answer) const {
    std::set<uint32_t> possible;
    for (const oci::SeccompRule& rule : profile_.rules) {
      const uint32_t action = encode(rule.action, rule.errno_ret);
      if (action == fallback()) continue;
      for (const std::string& name : rule.names) {
        const Match match = look(rule, name, data);
        if (match == Match::Always) return answer == action;
        if (match == Match::Yes) possible.insert(action);
      }
    }
    return possible.empty() ? answer == fallback() : possible.contains(answer);
  }

 private:
  enum class Match { No, Yes, Always };

  // On x86, of the calls that random profiles name: the shared number and the code.
  using Multiplexed = std::map<std::string, std::pair<uint32_t, uint64_t>>;
  static const Multiplexed& multiplexed() {
    static const Multiplexed places = {{"socket", {102, 1}},
                                       {"sendto", {102, 11}},
                                       {"accept4", {102, 18}},
                                       {"semop", {117, 1}},
                                       {"shmctl", {117, 24}}};
    return places;
  }

  static uint32_t encode(oci::SeccompAction action, std::optional<uint32_t> number) {
    static constexpr uint32_t codes[] = {SECCOMP_RET_KILL_THREAD, SECCOMP_RET_KILL_PROCESS,
                                         SECCOMP_RET_TRAP,        SECCOMP_RET_ERRNO,
                                         SECCOMP_RET_TRACE,       SECCOMP_RET_ALLOW,
                                         SECCOMP_RET_LOG,         SECCOMP_RET_USER_NOTIF};
    const bool has_number =
        action == oci::SeccompAction::Errno || action == oci::SeccompAction::Trace;
    return codes[static_cast<int>(action)] | (has_number ? number.value_or(1) & 0xffff : 0);
  }
  uint32_t fallback() const { return encode(profile_.default_action, profile_.default_errno_ret); }

  static bool holds(const oci::SeccompArgument& arg, uint64_t value, bool wide) {
    const uint64_t bits = wide ? UINT64_MAX : UINT32_MAX;
    const uint64_t a = value & bits;
    const uint64_t b = arg.value & bits;
    switch (arg.op) {
      case Op::NotEqual: return a != b;
      case Op::Less: return a < b;
      case Op::LessOrEqual: return a <= b;
      case Op::Equal: return a == b;
      case Op::GreaterOrEqual: return a >= b;
      case Op::Greater: return a > b;
      case Op::MaskedEqual: return (a & b) == (arg.value_two & b);
    }
    return false;
  }

  static bool is_trivial(const oci::SeccompArgument& arg, bool wide) {
    return arg.op == Op::MaskedEqual && (wide ? arg.value : arg.value & UINT32_MAX) == 0;
  }

  Match look(const oci::SeccompRule& rule, const std::string& name,
             const codec::SeccompData& data) const {
    Match best = Match::No;
    for (const KnownArch& arch : known_archs()) {
      if (arch.audit != data.arch) continue;
      const bool wide = arch.id == oci::SeccompArch::X86_64 || arch.id == oci::SeccompArch::Aarch64;
      if (libseccomp_number(arch.id, name) == data.number) {
        best = std::max(best, match(rule, data, wide, false));
      }
      if (arch.id != oci::SeccompArch::X86) continue;
      const auto place = multiplexed().find(name);
      if (place == multiplexed().end() || place->second.first != data.number) continue;
      if (static_cast<uint32_t>(data.args[0]) != place->second.second) continue;
      best = std::max(best, std::min(Match::Yes, match(rule, data, wide, true)));
    }
    return best;
  }

  // `first_is_code`: the first argument is spoken for, a condition on it does not count.
  static Match match(const oci::SeccompRule& rule, const codec::SeccompData& data, bool wide,
                     bool first_is_code) {
    bool always = true;
    for (const oci::SeccompArgument& arg : rule.args) {
      if ((first_is_code && arg.index == 0) || is_trivial(arg, wide)) continue;
      always = false;
      if (!holds(arg, data.args[arg.index], wide)) return Match::No;
    }
    return always ? Match::Always : Match::Yes;
  }

  const oci::Seccomp& profile_;
};

struct Difference {
  codec::SeccompData data;
  uint32_t ours = 0;
  uint32_t theirs = 0;
};

// Whether libseccomp contradicts itself: 2.5.4 merges equal pieces of its program that want
// different words loaded, and drops or spreads rules whose conditions share an upper word. Its
// readable form agrees with us, or no matching rule gives its answer while one gives ours.
bool is_fault_of_libseccomp(const Reference& theirs, const Meaning& meaning,
                            const codec::SeccompData& data, uint32_t ours) {
  const uint32_t written = run_text(theirs.text, data);
  return written == ours || (meaning.allows(data, ours) && !meaning.allows(data, written));
}

std::optional<Difference> first_difference(const oci::Seccomp& profile, const SeccompProgram& ours,
                                           const Reference& theirs,
                                           const std::vector<codec::SeccompData>& probes,
                                           const Meaning* excuse = nullptr,
                                           int* excused = nullptr) {
  const auto newest = newest_numbers(profile);
  for (const codec::SeccompData& data : probes) {
    const uint32_t got = codec::run_seccomp(ours.instructions, data).action;
    const uint32_t expected =
        is_newer(newest, data) ? enosys : codec::run_seccomp(theirs.program, data).action;
    if (got == expected) continue;
    if (excuse != nullptr && is_fault_of_libseccomp(theirs, *excuse, data, got)) {
      ++*excused;
      continue;
    }
    return Difference{data, got, expected};
  }
  return std::nullopt;
}

std::string describe(const oci::Seccomp& profile, const Difference& difference) {
  std::ostringstream out;
  out << std::hex << "arch " << difference.data.arch << std::dec << " number "
      << difference.data.number << std::hex << " args";
  for (const uint64_t arg : difference.data.args) out << ' ' << arg;
  out << ": ours " << difference.ours << ", libseccomp's " << difference.theirs << "\ndefault "
      << static_cast<int>(profile.default_action) << '\n';
  for (const auto& rule : profile.rules) {
    for (const auto& name : rule.names) out << name << ' ';
    out << "-> " << static_cast<int>(rule.action) << '/' << rule.errno_ret.value_or(1);
    for (const auto& arg : rule.args) {
      out << " [" << arg.index << " op" << static_cast<int>(arg.op) << ' ' << arg.value << ' '
          << arg.value_two << ']';
    }
    out << '\n';
  }
  return out.str();
}

TEST(SeccompEquality, made_profiles_mean_what_libseccomp_makes_of_them) {
  std::mt19937 random(1);
  auto profiles = made_profiles();
  // What libseccomp cannot name it ignores, we do not: without those names the two are comparable.
  profiles.push_back({"Docker's", docker_profile()});
  for (auto& rule : profiles.back().profile.rules) {
    std::erase_if(rule.names, [](const std::string& name) { return !libseccomp_knows(name); });
  }
  for (const auto& [name, profile] : profiles) {
    const auto ours = compile_seccomp(profile, native);
    ASSERT_TRUE(ours) << name << ": " << ours.error().message();
    ASSERT_TRUE(codec::check_seccomp_program(ours->instructions)) << name;
    const auto probes = probes_for(profile, random);
    for (const uint32_t optimize : {1u, 2u}) {
      // libseccomp 2.5.4 never returns from a tree of no rules.
      if (optimize == 2 && profile.rules.empty()) continue;
      const Reference theirs = compile_with_libseccomp(profile, optimize);
      ASSERT_EQ(theirs.error, 0) << name;
      const auto difference = first_difference(profile, *ours, theirs, probes);
      EXPECT_FALSE(difference) << name << ", optimize " << optimize << ": "
                               << describe(profile, *difference);
    }
  }
}

// At most a few profiles may meet the faults of libseccomp.
void compare_random(unsigned seed, int rounds, int conditions_max,
                    const std::vector<Op>& operators) {
  std::mt19937 random(seed);
  int compared = 0, excused_profiles = 0;
  for (int round = 0; round < rounds; ++round) {
    const oci::Seccomp profile = random_profile(random, conditions_max, operators);
    const auto ours = compile_seccomp(profile, native);
    const Reference theirs = compile_with_libseccomp(profile, 1);
    ASSERT_EQ(ours.has_value(), theirs.error == 0) << "round " << round << '\n'
                                                   << describe(profile, {});
    if (!ours) continue;
    ASSERT_TRUE(codec::check_seccomp_program(ours->instructions)) << round;
    ++compared;
    const Meaning meaning(profile);
    int excused = 0;
    const auto difference =
        first_difference(profile, *ours, theirs, probes_for(profile, random), &meaning, &excused);
    ASSERT_FALSE(difference) << "round " << round << ": " << describe(profile, *difference);
    excused_profiles += excused > 0;
  }
  EXPECT_GT(compared, rounds * 2 / 3);
  EXPECT_LT(excused_profiles, compared / 5);
  printf("%d compared, %d where libseccomp contradicts itself\n", compared, excused_profiles);
}

TEST(SeccompEquality, random_profiles_with_one_condition_a_rule) {
  compare_random(11, 150, 1,
                 {Op::NotEqual, Op::Less, Op::LessOrEqual, Op::Equal, Op::GreaterOrEqual,
                  Op::Greater, Op::MaskedEqual});
}

TEST(SeccompEquality, random_profiles_with_several_equalities_a_rule) {
  compare_random(12, 150, 3, {Op::Equal, Op::MaskedEqual});
}

TEST(SeccompEquality, random_profiles_with_several_conditions_a_rule) {
  compare_random(13, 150, 3,
                 {Op::NotEqual, Op::Less, Op::LessOrEqual, Op::Equal, Op::GreaterOrEqual,
                  Op::Greater, Op::MaskedEqual});
}

}  // namespace
}  // namespace nacelle::container
