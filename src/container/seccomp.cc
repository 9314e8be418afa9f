#include "container/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>

#include "base/check.h"
#include "base/text.h"
#include "container/seccomp_columns.h"
#include "container/seccomp_conditions.h"
#include "container/seccomp_graph.h"
#include "container/seccomp_syscalls.h"

// REMOVE when Linux 6.1 headers are the floor: 5.19 brought it.
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace nacelle::container {
namespace {

using Action = oci::SeccompAction;
using Arch = oci::SeccompArch;
using Node = SeccompGraph::Node;

constexpr uint32_t answer_enosys = SECCOMP_RET_ERRNO | ENOSYS;
// libseccomp's answer to architectures that the filter does not list.
constexpr uint32_t answer_foreign = SECCOMP_RET_KILL_THREAD;
// A tracer sets this number to skip a call; it belongs to no architecture.
constexpr uint32_t skipped_number = UINT32_MAX;
constexpr uint8_t arguments_max = 6;
constexpr uint32_t errno_end = 4095;

std::unexpected<Error> invalid(std::string path, std::string_view reason) {
  return fail(Kind::Invalid, cat("linux.seccomp.", path, ": ", reason));
}
std::string rule_path(size_t rule) { return cat("syscalls[", rule, "]"); }

bool takes_data(Action action) { return action == Action::Errno || action == Action::Trace; }

uint32_t encode(Action action, const std::optional<uint32_t>& data) {
  const uint32_t low = data.value_or(EPERM) & SECCOMP_RET_DATA;
  switch (action) {
    case Action::KillThread: return SECCOMP_RET_KILL_THREAD;
    case Action::KillProcess: return SECCOMP_RET_KILL_PROCESS;
    case Action::Trap: return SECCOMP_RET_TRAP;
    case Action::Errno: return SECCOMP_RET_ERRNO | low;
    case Action::Trace: return SECCOMP_RET_TRACE | low;
    case Action::Allow: return SECCOMP_RET_ALLOW;
    case Action::Log: return SECCOMP_RET_LOG;
    case Action::Notify: return SECCOMP_RET_USER_NOTIF;
  }
  return SECCOMP_RET_KILL_PROCESS;
}

// A default that lets calls through needs no ENOSYS, and a tracer answers new calls itself.
bool wants_enosys(const oci::Seccomp& profile) {
  switch (profile.default_action) {
    case Action::Allow:
    case Action::Log:
    case Action::Trace: return false;
    default: return profile.default_errno_ret.value_or(EPERM) != ENOSYS;
  }
}

// One rule for one number of one architecture.
struct Placed {
  uint32_t number = 0;
  uint32_t order = 0;  // among the architecture's rules
  uint32_t rule = 0;   // index in the profile
  uint32_t action = 0;
  uint32_t conditions = 0;  // index in Compiler::conditions_; 0: none
};

struct Plan {
  const SyscallArchitecture* architecture = nullptr;
  std::vector<Placed> placed;  // in the order of the profile, then by number
  uint32_t newest = 0;         // the highest number that the profile names
};

// From `first` up to the next range's `first` the answer is `node`.
struct Range {
  uint32_t first = 0;
  Node node = 0;
  uint32_t weight = 0;
};

class Ranges {
 public:
  void begin_at(uint32_t first, Node node) {
    if (!ranges_.empty() && ranges_.back().first == first) ranges_.pop_back();
    if (!ranges_.empty() && ranges_.back().node == node) return;
    ranges_.push_back({first, node, 1});
  }

  // The ranges with their weights: how often the kernel comes by when, loading the filter, it runs
  // it once for every number it has (kernel/seccomp.c, seccomp_cache_prepare()). It does not do so
  // for x32, nor for the numbers beyond its table, of which there are many in a range or none.
  std::span<const Range> weigh() {
    constexpr uint32_t numbers_max = 128;
    for (size_t i = 0; i + 1 < ranges_.size() && ranges_[i].first < x32_bit; ++i) {
      ranges_[i].weight = std::min(ranges_[i + 1].first - ranges_[i].first, numbers_max);
    }
    return ranges_;
  }

 private:
  std::vector<Range> ranges_;
};

// `ranges` hold all numbers that can come here. Each half gets about half the weight.
Node search(SeccompGraph& graph, std::span<const Range> ranges) {
  if (ranges.size() == 1) return ranges[0].node;
  // One number that differs from both its neighbours is one comparison, not two.
  if (ranges.size() == 3 && ranges[0].node == ranges[2].node &&
      ranges[1].first + 1 == ranges[2].first) {
    return graph.test(BPF_JEQ, ranges[1].first, ranges[1].node, ranges[0].node);
  }
  size_t whole = 0;
  for (const Range& range : ranges) whole += range.weight;
  size_t middle = 1;
  size_t weight = ranges[0].weight;
  while (middle + 1 < ranges.size() && 2 * weight + ranges[middle].weight <= whole) {
    weight += ranges[middle++].weight;
  }
  const Node below = search(graph, ranges.first(middle));
  const Node above = search(graph, ranges.subspan(middle));
  return graph.test(BPF_JGE, ranges[middle].first, above, below);
}

class Compiler {
 public:
  Compiler(const oci::Seccomp& profile, const SeccompTarget& target)
      : profile_(profile), target_(target) {}

  Result<SeccompProgram> run() {
    TRY(check_default());
    TRY(take_flags());
    TRY(take_architectures());
    for (size_t rule = 0; rule < profile_.rules.size(); ++rule) TRY(take_rule(rule));
    finish_warnings();
    program_.instructions = TRY(emit());
    return std::move(program_);
  }

 private:
  Result<> check_default() {
    if (profile_.default_action == Action::Notify) {
      // The launch itself could not go on under such a filter.
      return invalid("defaultAction", "SCMP_ACT_NOTIFY cannot be the default action");
    }
    if (profile_.default_errno_ret && !takes_data(profile_.default_action)) {
      return invalid("defaultErrnoRet", "the default action takes no error number");
    }
    default_ = encode(profile_.default_action, profile_.default_errno_ret);
    return check_data("defaultErrnoRet", default_);
  }

  // libseccomp refuses what the kernel would cut down to its highest error number.
  Result<> check_data(std::string path, uint32_t action) {
    const bool is_errno = (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO;
    if (!is_errno || (action & SECCOMP_RET_DATA) < errno_end) return {};
    return invalid(std::move(path), cat("must be below ", errno_end));
  }

  Result<> take_flags() {
    for (const auto& rule : profile_.rules) program_.has_notify |= rule.action == Action::Notify;
    if (program_.has_notify) program_.filter_flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    for (size_t i = 0; i < profile_.flags.size(); ++i) {
      const std::string& flag = profile_.flags[i];
      if (flag == "SECCOMP_FILTER_FLAG_LOG") {
        program_.filter_flags |= SECCOMP_FILTER_FLAG_LOG;
      } else if (flag == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
        program_.filter_flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
      } else if (flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") {
        take_wait_killable(i);
      } else if (flag != "SECCOMP_FILTER_FLAG_TSYNC") {
        // TSYNC passes: the filter is loaded while there is one thread.
        return invalid(cat("flags[", i, "]"), cat("unknown flag '", flag, "'"));
      }
    }
    return {};
  }

  // The kernel refuses it for a filter without a listener, where it could have no effect.
  void take_wait_killable(size_t index) {
    if (program_.has_notify) {
      program_.filter_flags |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
      return;
    }
    warn([&] { return cat("linux.seccomp.flags[", index, "]: no rule notifies, ignored"); });
  }

  Result<> take_architectures() {
    const SyscallArchitecture* native = find_architecture(target_.native);
    CHECK(native != nullptr);
    plans_.push_back({.architecture = native});
    for (size_t i = 0; i < profile_.architectures.size(); ++i) {
      const Arch listed = profile_.architectures[i];
      const std::string path = cat("architectures[", i, "]");
      const SyscallArchitecture* architecture = find_architecture(listed);
      if (architecture == nullptr) {
        return invalid(path, cat(architecture_name(listed), " is not supported"));
      }
      if (architecture->big_endian != native->big_endian) {
        return invalid(path,
                       cat(architecture->name, " has another byte order than ", native->name));
      }
      const auto known = [&](const Plan& plan) { return plan.architecture == architecture; };
      if (std::ranges::none_of(plans_, known)) plans_.push_back({.architecture = architecture});
    }
    return {};
  }

  Result<> take_rule(size_t index) {
    const oci::SeccompRule& rule = profile_.rules[index];
    if (rule.errno_ret && !takes_data(rule.action)) {
      return invalid(cat(rule_path(index), ".errnoRet"), "the action takes no error number");
    }
    const auto sets = TRY(take_conditions(index));
    const uint32_t action = encode(rule.action, rule.errno_ret);
    TRY(check_data(cat(rule_path(index), ".errnoRet"), action));
    for (size_t i = 0; i < rule.names.size(); ++i) {
      if (rule.action == Action::Notify && rule.names[i] == "write") {
        // As runc: the launch writes the listener's number to its parent.
        return invalid(rule_path(index), "SCMP_ACT_NOTIFY cannot be used for write");
      }
      const auto name = SyscallName::find(rule.names[i]);
      if (!name) {
        warn([&] {
          return cat("linux.seccomp.", rule_path(index), ".names[", i, "]: unknown system call '",
                     rule.names[i], "', ignored");
        });
        continue;
      }
      for (Plan& plan : plans_) place(plan, *name, index, action, sets);
    }
    return {};
  }

  // The rule's conditions as sets of which each is a rule of its own: one set of all, or, as runc
  // has it, one for each condition when some argument is named twice.
  Result<std::vector<uint32_t>> take_conditions(size_t index) {
    const auto& args = profile_.rules[index].args;
    if (args.empty()) return std::vector<uint32_t>{0};
    std::vector<Condition> all;
    bool twice = false;
    unsigned seen = 0;
    for (size_t i = 0; i < args.size(); ++i) {
      if (args[i].index >= arguments_max) {
        return invalid(cat(rule_path(index), ".args[", i, "].index"), "must be 0 to 5");
      }
      const bool masked = args[i].op == oci::SeccompOperator::MaskedEqual;
      all.push_back({.argument = static_cast<uint8_t>(args[i].index),
                     .op = args[i].op,
                     .value = masked ? args[i].value_two : args[i].value,
                     .mask = masked ? args[i].value : UINT64_MAX});
      twice |= (seen >> args[i].index & 1) != 0;
      seen |= 1u << args[i].index;
    }
    std::vector<uint32_t> sets;
    if (!twice) {
      std::ranges::sort(all, {}, &Condition::argument);
      sets.push_back(keep(std::move(all)));
      return sets;
    }
    for (const Condition& condition : all) sets.push_back(keep({condition}));
    return sets;
  }

  uint32_t keep(std::vector<Condition> conditions) {
    conditions_.push_back(std::move(conditions));
    return static_cast<uint32_t>(conditions_.size() - 1);
  }

  void place(Plan& plan, const SyscallName& name, size_t rule, uint32_t action,
             const std::vector<uint32_t>& sets) {
    const auto put = [&](uint32_t number, uint32_t set) {
      plan.newest = std::max(plan.newest, number);
      // What the default does anyway is no rule.
      if (action == default_) return;
      plan.placed.push_back({.number = number,
                             .order = static_cast<uint32_t>(plan.placed.size()),
                             .rule = static_cast<uint32_t>(rule),
                             .action = action,
                             .conditions = set});
    };
    const auto number = name.number_in(plan.architecture->id);
    for (const uint32_t set : sets) {
      if (plan.architecture->socketcall) {
        if (const auto code = name.socketcall_code()) {
          put(*plan.architecture->socketcall, with_first_argument(set, *code));
        } else if (const auto ipc = name.ipc_code()) {
          put(*plan.architecture->ipc, with_first_argument(set, *ipc));
        }
      }
      if (number) put(*number, set);
    }
  }

  // The rule for a multiplexed call: its first argument says which call is meant, so a condition on
  // the real first argument cannot be kept; libseccomp drops it too.
  uint32_t with_first_argument(uint32_t set, uint32_t code) {
    std::vector<Condition> conditions{{.argument = 0, .value = code}};
    for (const Condition& condition : conditions_[set]) {
      if (condition.argument != 0) conditions.push_back(condition);
    }
    return keep(std::move(conditions));
  }

  Result<std::vector<codec::CbpfInstruction>> emit() {
    const Node foreign = graph_.verdict(answer_foreign);
    Node dispatch = foreign;
    // The native architecture, which is the first, is asked for first.
    for (size_t i = plans_.size(); i-- > 0;) {
      const SyscallArchitecture& architecture = *plans_[i].architecture;
      const Plan* companion = nullptr;
      if (architecture.id == Arch::X32 || architecture.id == Arch::X86_64) {
        companion = find_plan(architecture.id == Arch::X32 ? Arch::X86_64 : Arch::X32);
        // x32 goes with x86_64, under the same mark.
        if (architecture.id == Arch::X32 && companion != nullptr) continue;
      }
      const Node by_number = TRY(emit_architecture(plans_[i], companion, foreign));
      const Node numbered = graph_.load(offsetof(seccomp_data, nr), by_number);
      dispatch = graph_.test(BPF_JEQ, architecture.audit, numbered, dispatch);
    }
    return graph_.lay_out(graph_.load(offsetof(seccomp_data, arch), dispatch))
        .context("linux.seccomp");
  }

  const Plan* find_plan(Arch id) const {
    for (const Plan& plan : plans_) {
      if (plan.architecture->id == id) return &plan;
    }
    return nullptr;
  }

  Result<Node> emit_architecture(const Plan& plan, const Plan* x32, Node foreign) {
    Ranges ranges;
    const Node fallback = graph_.verdict(default_);
    // x32 alone, on a machine that is not x86_64: calls without its bit are not its own.
    const bool x32_alone = plan.architecture->id == Arch::X32;
    ranges.begin_at(0, x32_alone ? foreign : fallback);
    if (x32_alone) ranges.begin_at(x32_bit, fallback);
    TRY(append(ranges, plan, fallback));
    if (plan.architecture->id == Arch::X86_64) {
      const Node enosys = graph_.verdict(answer_enosys);
      const Node in_x32 = x32 == nullptr ? foreign : fallback;
      ranges.begin_at(x32_bit, in_x32);
      if (x32 != nullptr) TRY(append(ranges, *x32, fallback));
      // runc, adding ENOSYS, asks for the bit, so that there are four quarters.
      ranges.begin_at(2 * x32_bit, has_enosys(plan) ? enosys : in_x32);
      ranges.begin_at(3 * x32_bit, x32 != nullptr && has_enosys(*x32) ? enosys : in_x32);
      if (x32 == nullptr) ranges.begin_at(skipped_number, fallback);
    }
    return search(graph_, ranges.weigh());
  }

  bool has_enosys(const Plan& plan) const { return wants_enosys(profile_) && plan.newest > 0; }

  // The rules of one architecture, and ENOSYS from the first number that the profile's author
  // cannot have known.
  Result<> append(Ranges& ranges, const Plan& plan, Node fallback) {
    std::vector<Placed> placed = plan.placed;
    std::ranges::sort(placed, {}, [](const Placed& rule) {
      return static_cast<uint64_t>(rule.number) << 32 | rule.order;
    });
    const bool enosys = has_enosys(plan);
    // An unknown number above the table arrives as 0 there (the multiplexed setup(2)).
    const bool zero_is_unknown =
        enosys && (plan.architecture->id == Arch::S390 || plan.architecture->id == Arch::S390x);
    if (zero_is_unknown) {
      ranges.begin_at(0, graph_.verdict(answer_enosys));
      ranges.begin_at(1, fallback);
    }
    for (std::span<const Placed> left = placed; !left.empty();) {
      const uint32_t number = left.front().number;
      size_t count = 1;
      while (count < left.size() && left[count].number == number) ++count;
      const Node node = TRY(emit_number(*plan.architecture, left.first(count), fallback));
      left = left.subspan(count);
      if (zero_is_unknown && number == 0) continue;
      ranges.begin_at(number, node);
      ranges.begin_at(number + 1, fallback);
    }
    if (enosys) ranges.begin_at(plan.newest + 1, graph_.verdict(answer_enosys));
    return {};
  }

  // All rules of one number, in the order of the profile. A rule without conditions ends it: the
  // rules before it that have some lose, those after it are never asked.
  Result<Node> emit_number(const SyscallArchitecture& architecture, std::span<const Placed> rules,
                           Node fallback) {
    std::optional<ConditionTree> tree;
    std::vector<Condition> conditions;
    for (const Placed& rule : rules) {
      conditions = conditions_[rule.conditions];
      std::erase_if(conditions, [&](const Condition& condition) {
        const uint64_t mask = architecture.wide ? condition.mask : condition.mask & UINT32_MAX;
        return mask == 0;  // always holds
      });
      if (conditions.empty()) return graph_.verdict(rule.action);
      if (!tree) tree.emplace(ConditionTree::Shape{architecture.wide, architecture.big_endian});
      switch (tree->add(conditions, rule.action)) {
        case ConditionTree::Added::Yes: break;
        case ConditionTree::Added::Contradiction:
          return invalid(rule_path(rule.rule),
                         "an earlier rule has another action for the same conditions");
        case ConditionTree::Added::TooMany:
          return invalid(rule_path(rule.rule), cat("more than ", ConditionTree::rules_max,
                                                   " rules with conditions for one system call"));
      }
    }
    return tree->build(graph_, fallback);
  }

  template <class Text>
  void warn(Text&& text) {
    if (++warnings_ <= seccomp_warnings_max) program_.warnings.push_back(text());
  }

  void finish_warnings() {
    if (warnings_ <= seccomp_warnings_max) return;
    program_.warnings.push_back(
        cat("linux.seccomp: ", warnings_ - seccomp_warnings_max, " more warnings left out"));
  }

  const oci::Seccomp& profile_;
  const SeccompTarget& target_;
  SeccompProgram program_;
  uint32_t default_ = 0;
  std::vector<Plan> plans_;  // the native architecture first
  std::vector<std::vector<Condition>> conditions_{{}};
  SeccompGraph graph_;
  size_t warnings_ = 0;
};

}  // namespace

SeccompTarget SeccompTarget::of_this_build() {
#if defined(__x86_64__) && defined(__ILP32__)
  return {oci::SeccompArch::X32};
#elif defined(__x86_64__)
  return {oci::SeccompArch::X86_64};
#elif defined(__i386__)
  return {oci::SeccompArch::X86};
#elif defined(__aarch64__)
  return {oci::SeccompArch::Aarch64};
#elif defined(__arm__)
  return {oci::SeccompArch::Arm};
#elif defined(__riscv) && __riscv_xlen == 64
  return {oci::SeccompArch::Riscv64};
#elif defined(__s390x__)
  return {oci::SeccompArch::S390x};
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
  return {oci::SeccompArch::Ppc64le};
#elif defined(__loongarch64)
  return {oci::SeccompArch::Loongarch64};
#else
#error "name this architecture for seccomp"
#endif
}

Result<SeccompProgram> compile_seccomp(const oci::Seccomp& profile, const SeccompTarget& target) {
  return Compiler(profile, target).run();
}

}  // namespace nacelle::container
