#include "tests/unit/container_seccomp/profiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "oci/spec_parse.h"
#include "tests/unit/container_seccomp/reference.h"

namespace nacelle::container::test {
namespace {

using Action = oci::SeccompAction;
using Arch = oci::SeccompArch;
using Op = oci::SeccompOperator;
using oci::Seccomp;

constexpr uint64_t big = 0x100000005;

Seccomp profile_of(Action fallback, std::vector<Arch> archs, std::vector<oci::SeccompRule> rules) {
  Seccomp profile;
  profile.default_action = fallback;
  profile.architectures = std::move(archs);
  profile.rules = std::move(rules);
  return profile;
}

oci::SeccompRule rule(std::vector<std::string> names, Action action,
                      std::vector<oci::SeccompArgument> args = {}) {
  return {.names = std::move(names), .action = action, .errno_ret = {}, .args = std::move(args)};
}

oci::SeccompRule errno_rule(std::vector<std::string> names, uint32_t number,
                            std::vector<oci::SeccompArgument> args = {}) {
  return {.names = std::move(names),
          .action = Action::Errno,
          .errno_ret = number,
          .args = std::move(args)};
}

Seccomp every_operator(std::vector<Arch> archs, uint64_t value) {
  return profile_of(Action::Errno, std::move(archs),
                    {rule({"read"}, Action::Allow, {{0, value, 0, Op::Equal}}),
                     rule({"open"}, Action::Allow, {{1, value, 0, Op::NotEqual}}),
                     rule({"close"}, Action::Allow, {{2, value, 0, Op::Less}}),
                     rule({"stat"}, Action::Allow, {{3, value, 0, Op::LessOrEqual}}),
                     rule({"fstat"}, Action::Allow, {{4, value, 0, Op::Greater}}),
                     rule({"lstat"}, Action::Allow, {{5, value, 0, Op::GreaterOrEqual}}),
                     rule({"poll"}, Action::Allow, {{0, 0xff000000ff, value, Op::MaskedEqual}}),
                     rule({"lseek"}, Action::Allow, {{0, 0xff, value, Op::MaskedEqual}}),
                     rule({"mmap"}, Action::Allow, {{0, 0xff00000000, value, Op::MaskedEqual}}),
                     rule({"brk"}, Action::Allow, {{0, 0, 0, Op::MaskedEqual}})});
}

// Values at which a condition could change its mind.
std::vector<uint64_t> edges(const oci::SeccompArgument& arg) {
  const uint64_t value = arg.op == Op::MaskedEqual ? arg.value_two : arg.value;
  std::vector<uint64_t> values = {value - 1,
                                  value,
                                  value + 1,
                                  value ^ (1ull << 32),
                                  value + (1ull << 32),
                                  value - (1ull << 32),
                                  value & UINT32_MAX,
                                  value | 0xffffffff00000000,
                                  0,
                                  UINT64_MAX};
  if (arg.op == Op::MaskedEqual) {
    values.insert(values.end(), {arg.value, ~arg.value, value | ~arg.value, value & arg.value,
                                 (value & arg.value) | (~arg.value & 0x1111111111111111)});
  }
  return values;
}

struct Candidates {
  std::vector<uint64_t> of[6];
};

void try_arguments(std::vector<codec::SeccompData>& probes, uint32_t audit, uint32_t number,
                   const Candidates& candidates, std::mt19937& random) {
  for (size_t argument = 0; argument < 6; ++argument) {
    for (const uint64_t value : candidates.of[argument]) {
      for (int round = 0; round < 4; ++round) {
        codec::SeccompData data{.number = number, .arch = audit, .args = {}};
        for (size_t other = 0; other < 6; ++other) {
          const auto& values = candidates.of[other];
          if (!values.empty()) data.args[other] = values[random() % values.size()];
        }
        data.args[argument] = value;
        probes.push_back(data);
      }
    }
  }
}

}  // namespace

Seccomp docker_profile() {
  const std::ifstream file(NACELLE_TEST_DATA "/docker-28-config.json");
  std::ostringstream text;
  text << file.rdbuf();
  const auto spec = oci::parse_spec(text.str());
  if (!spec) ADD_FAILURE() << spec.error().message();
  const auto profile = oci::parse_seccomp(spec->linux_->seccomp_json);
  if (!profile) ADD_FAILURE() << profile.error().message();
  return *profile;
}

std::vector<NamedProfile> made_profiles() {
  const std::vector<Arch> three = {Arch::X86_64, Arch::X86, Arch::X32};
  const std::vector<std::string> sockets = {"socket", "bind", "accept4", "send", "recvmmsg"};
  const std::vector<std::string> ipc = {"semop", "semtimedop", "shmget", "msgctl"};
  Seccomp data =
      profile_of(Action::Errno, three,
                 {errno_rule({"read"}, 65536 + 7),
                  errno_rule({"write"}, 0),
                  {.names = {"open"}, .action = Action::Trace, .errno_ret = 0x1234, .args = {}},
                  rule({"close"}, Action::Trace),
                  errno_rule({"stat"}, 38)});
  data.default_errno_ret = 99;
  Seccomp enosys_default =
      profile_of(Action::Errno, three, {rule({"read", "openat2"}, Action::Allow)});
  enosys_default.default_errno_ret = 38;
  std::vector<NamedProfile> profiles = {
      {"empty, denying", profile_of(Action::Errno, three, {})},
      {"empty, allowing", profile_of(Action::Allow, {}, {})},
      {"empty, killing", profile_of(Action::KillProcess, {Arch::X86}, {})},
      {"denials on an allowing default",
       profile_of(
           Action::Allow, three,
           {errno_rule({"mount", "umount2", "bpf"}, 1), rule({"reboot"}, Action::KillProcess),
            rule({"ptrace"}, Action::Trap), rule({"keyctl"}, Action::KillThread)})},
      {"every action",
       profile_of(Action::KillThread, three,
                  {rule({"read"}, Action::KillProcess), rule({"open"}, Action::Trap),
                   rule({"close"}, Action::Errno), rule({"stat"}, Action::Trace),
                   rule({"fstat"}, Action::Allow), rule({"lstat"}, Action::Log),
                   rule({"poll"}, Action::Notify), rule({"lseek"}, Action::KillThread)})},
      {"logging default", profile_of(Action::Log, {Arch::X86_64}, {rule({"read"}, Action::Allow)})},
      {"tracing default",
       profile_of(Action::Trace, {Arch::X86_64}, {rule({"read"}, Action::Allow)})},
      {"trapping default",
       profile_of(Action::Trap, three, {rule({"read", "statx"}, Action::Allow)})},
      {"operators, small", every_operator(three, 5)},
      {"operators, large", every_operator(three, big)},
      {"operators, zero", every_operator({Arch::X86_64}, 0)},
      {"operators, all ones", every_operator({Arch::X86_64, Arch::Aarch64}, UINT64_MAX)},
      {"data of errno and trace", data},
      {"default is ENOSYS", enosys_default},
      {"multiplexed", profile_of(Action::Errno, three,
                                 {rule(sockets, Action::Allow), rule(ipc, Action::Allow),
                                  rule({"read", "statx"}, Action::Allow)})},
      {"multiplexed with conditions",
       profile_of(
           Action::Errno, three,
           {rule(sockets, Action::Allow, {{0, 40, 0, Op::NotEqual}, {1, 7, 0, Op::Equal}}),
            rule(ipc, Action::Log, {{0, 3, 0, Op::Equal}}), rule({"statx"}, Action::Allow)})},
      {"multiplexers themselves",
       profile_of(Action::Errno, three, {rule({"socketcall", "ipc", "socket"}, Action::Allow)})},
      {"conditions that must all hold",
       profile_of(
           Action::Errno, three,
           {rule({"clone"}, Action::Allow,
                 {{0, 0x7e020000, 0, Op::MaskedEqual},
                  {2, 9, 0, Op::Equal},
                  {5, big, 0, Op::Greater}}),
            rule({"clone"}, Action::Log, {{1, 3, 0, Op::Less}, {4, big, 0, Op::NotEqual}})})},
      {"one argument twice: either",
       profile_of(
           Action::Errno, three,
           {rule({"ioctl"}, Action::Allow,
                 {{1, 0x5401, 0, Op::Equal}, {1, 0x5402, 0, Op::Equal}, {2, 1, 0, Op::Equal}})})},
      {"unconditional after and before conditional",
       profile_of(Action::Errno, three,
                  {rule({"read"}, Action::Log, {{0, 5, 0, Op::Equal}}),
                   rule({"read"}, Action::Allow), rule({"open"}, Action::Allow),
                   errno_rule({"open"}, 9, {{0, 5, 0, Op::Equal}}), rule({"open"}, Action::Trap)})},
      {"overlapping conditions, other actions",
       profile_of(Action::Allow, three,
                  {errno_rule({"read"}, 1, {{0, 10, 0, Op::Greater}}),
                   errno_rule({"read"}, 2, {{0, 20, 0, Op::Greater}}),
                   errno_rule({"read"}, 3, {{0, 15, 0, Op::Equal}}),
                   errno_rule({"read"}, 4, {{0, 5, 0, Op::Less}}),
                   errno_rule({"read"}, 5, {{0, 3, 0, Op::LessOrEqual}}),
                   errno_rule({"read"}, 6, {{1, 3, 0, Op::Equal}}),
                   errno_rule({"read"}, 7, {{0, 0xf, 9, Op::MaskedEqual}}),
                   errno_rule({"read"}, 8, {{0, 77, 0, Op::NotEqual}})})},
      {"x86_64 and x86 only", profile_of(Action::Errno, {Arch::X86, Arch::X86_64},
                                         {rule({"read", "clone3"}, Action::Allow)})},
      {"native not listed",
       profile_of(Action::Errno, {Arch::X32}, {rule({"read", "clone3"}, Action::Allow)})},
      {"foreign architectures",
       profile_of(Action::Errno, {Arch::Aarch64, Arch::Arm, Arch::Riscv64, Arch::Ppc64le},
                  {rule({"read", "clone3", "socket", "semget", "cacheflush"}, Action::Allow),
                   rule({"write"}, Action::Allow, {{0, big, 0, Op::Less}})})},
      {"mips", profile_of(Action::Errno, {Arch::Mipsel, Arch::Mipsel64, Arch::Mipsel64N32},
                          {rule({"read", "clone3", "socket", "semget"}, Action::Allow),
                           rule({"write"}, Action::Allow, {{0, big, 0, Op::Less}})})},
      {"architecture twice", profile_of(Action::Errno, {Arch::X86, Arch::X86, Arch::X86_64},
                                        {rule({"read"}, Action::Allow)})},
  };
  Seccomp flags = profile_of(Action::Errno, three, {rule({"read"}, Action::Allow)});
  flags.flags = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                 "SECCOMP_FILTER_FLAG_TSYNC"};
  profiles.push_back({"flags", flags});
  return profiles;
}

Seccomp random_profile(std::mt19937& random, int conditions_max, const std::vector<Op>& operators) {
  static const std::vector<std::string> names = {
      "read",  "open",   "close", "clone", "personality", "ioctl", "socket", "sendto", "accept4",
      "semop", "shmctl", "ipc",   "statx", "clone3",      "mmap",  "mmap2",  "prctl",  "fcntl64"};
  static const uint64_t values[] = {0,          1,          5,          6,   0xff,
                                    0x80000000, UINT32_MAX, 1ull << 32, big, UINT64_MAX};
  const auto pick = [&](const auto& from) { return from[random() % std::size(from)]; };
  const auto action = [&] { return static_cast<Action>(random() % 7); };
  static const std::vector<Arch> arch_sets[] = {{},
                                                {Arch::X86_64},
                                                {Arch::X86_64, Arch::X86},
                                                {Arch::X86_64, Arch::X86, Arch::X32},
                                                {Arch::Aarch64, Arch::X32}};
  Seccomp profile = profile_of(action(), pick(arch_sets), {});
  for (size_t count = random() % 14; count > 0; --count) {
    oci::SeccompRule made = rule({}, action());
    for (size_t name = random() % 3 + 1; name > 0; --name) made.names.push_back(pick(names));
    if (made.action == Action::Errno && random() % 2)
      made.errno_ret = static_cast<uint32_t>(random() % 3);
    std::set<uint32_t> used;
    const int conditions =
        random() % 4 == 0 ? 0
                          : static_cast<int>(random() % static_cast<unsigned>(conditions_max)) + 1;
    for (int i = 0; i < conditions; ++i) {
      const auto index = static_cast<uint32_t>(random() % (conditions_max == 1 ? 2 : 4));
      if (!used.insert(index).second) continue;
      made.args.push_back({.index = index,
                           .value = pick(values),
                           .value_two = pick(values),
                           .op = pick(operators)});
    }
    profile.rules.push_back(made);
  }
  return profile;
}

std::vector<codec::SeccompData> probes_for(const Seccomp& profile, std::mt19937& random) {
  std::vector<codec::SeccompData> probes;
  std::vector<uint32_t> numbers = {0x3fffffff, 0x40000000,     0x7fffffff,
                                   0x80000000, UINT32_MAX - 1, UINT32_MAX};
  for (uint32_t i = 0; i <= 1024; ++i) numbers.insert(numbers.end(), {i, 0x40000000 | i});
  for (uint32_t base : {4000u, 5000u, 6000u}) {
    for (uint32_t i = 0; i < 480; ++i) numbers.push_back(base + i);
  }
  for (uint32_t i = 0; i < 16; ++i) numbers.push_back(0xf0000 + i);
  const auto try_numbers = [&](uint32_t audit, size_t step) {
    for (size_t i = 0; i < numbers.size(); i += step) {
      probes.push_back(
          {.number = numbers[i], .arch = audit, .args = {random(), random(), 7, 5, 1, 0}});
    }
  };
  for (const KnownArch& arch : known_archs()) {
    const bool listed = std::ranges::count(profile.architectures, arch.id) > 0;
    try_numbers(arch.audit, listed || arch.id == Arch::X86_64 ? 1 : 500);
  }
  for (const uint32_t audit : {0u, 1u, UINT32_MAX}) try_numbers(audit, 500);
  for (const KnownArch& arch : known_archs()) {
    std::map<uint32_t, Candidates> by_number;
    for (const auto& made : profile.rules) {
      for (const std::string& name : made.names) {
        const auto number = libseccomp_number(arch.id, name);
        std::vector<uint32_t> places;
        if (number) places.push_back(*number);
        for (const char* shared : {"socketcall", "ipc"}) {
          const auto multiplexer = libseccomp_number(arch.id, shared);
          if (!multiplexer) continue;
          places.push_back(*multiplexer);
          for (uint64_t code = 0; code < 26; ++code) by_number[*multiplexer].of[0].push_back(code);
        }
        for (const uint32_t place : places) {
          for (const auto& arg : made.args) {
            auto& values = by_number[place].of[arg.index];
            const auto more = edges(arg);
            if (values.size() < 80) values.insert(values.end(), more.begin(), more.end());
          }
        }
      }
    }
    for (auto& [number, candidates] : by_number) {
      for (auto& values : candidates.of) {
        std::ranges::sort(values);
        values.erase(std::ranges::unique(values).begin(), values.end());
      }
      try_arguments(probes, arch.audit, number, candidates, random);
    }
  }
  return probes;
}

}  // namespace nacelle::container::test
