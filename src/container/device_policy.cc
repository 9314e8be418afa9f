#include "container/device_policy.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::container {
namespace {

constexpr uint8_t all_bits = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
constexpr size_t rules_max = 4000;  // folding compares each with each
// Alternating verdicts make the verifier follow every rule through all that come after it: its
// million steps would be used up at about twice this.
constexpr size_t folded_rules_max = 500;

constexpr DeviceMatch character(uint8_t bits, std::optional<uint32_t> major,
                                std::optional<uint32_t> minor) {
  return {true, bits, BPF_DEVCG_DEV_CHAR, major, minor};
}

constexpr DeviceMatch defaults[] = {
    character(BPF_DEVCG_ACC_MKNOD, std::nullopt, std::nullopt),
    {true, BPF_DEVCG_ACC_MKNOD, BPF_DEVCG_DEV_BLOCK, std::nullopt, std::nullopt},
    character(all_bits, 1, 3),               // null
    character(all_bits, 1, 5),               // zero
    character(all_bits, 1, 7),               // full
    character(all_bits, 1, 8),               // random
    character(all_bits, 1, 9),               // urandom
    character(all_bits, 5, 0),               // tty
    character(all_bits, 5, 2),               // ptmx
    character(all_bits, 136, std::nullopt),  // pts
};

// -1 is what many callers write for "any"; the spec's own way is to leave the number out.
Result<std::optional<uint32_t>> check_number(std::optional<int64_t> number, std::string_view where,
                                             size_t index) {
  if (!number || *number == -1) return std::optional<uint32_t>();
  if (*number < 0 || *number > std::numeric_limits<uint32_t>::max()) {
    return fail(Kind::Invalid, cat("linux.resources.devices[", index, "].", where, ": ", *number,
                                   " is not a device number (0 to 4294967295, or -1 for any)"));
  }
  return std::optional<uint32_t>(static_cast<uint32_t>(*number));
}

Result<uint8_t> check_access(std::string_view access, size_t index) {
  uint8_t bits = 0;
  for (const char c : access) {
    switch (c) {
      case 'r': bits |= BPF_DEVCG_ACC_READ; break;
      case 'w': bits |= BPF_DEVCG_ACC_WRITE; break;
      case 'm': bits |= BPF_DEVCG_ACC_MKNOD; break;
      default: bits |= 0x80; break;
    }
  }
  if (bits == 0 || bits > all_bits) {
    return fail(Kind::Invalid, cat("linux.resources.devices[", index, "].access: '", access,
                                   "' is not some of the letters r, w and m"));
  }
  return bits;
}

Result<DeviceMatch> check_rule(const oci::DeviceRule& rule, size_t index) {
  DeviceMatch match;
  match.allow = rule.allow;
  match.bits = TRY(check_access(rule.access, index));
  match.major = TRY(check_number(rule.major, "major", index));
  match.minor = TRY(check_number(rule.minor, "minor", index));
  switch (rule.type) {
    case 'a': break;
    case 'c': match.type = BPF_DEVCG_DEV_CHAR; break;
    case 'b': match.type = BPF_DEVCG_DEV_BLOCK; break;
    default:
      return fail(Kind::Invalid, cat("linux.resources.devices[", index, "].type: '", rule.type,
                                     "' is not a (all), c (character) or b (block)"));
  }
  return match;
}

template <class Number>
bool covers(const std::optional<Number>& wide, const std::optional<Number>& narrow) {
  return !wide || wide == narrow;
}

bool covers_devices(const DeviceMatch& wide, const DeviceMatch& narrow) {
  return covers(wide.type, narrow.type) && covers(wide.major, narrow.major) &&
         covers(wide.minor, narrow.minor);
}

bool overlaps(const DeviceMatch& a, const DeviceMatch& b) {
  const auto agree = [](const auto& x, const auto& y) { return !x || !y || *x == *y; };
  return (a.bits & b.bits) != 0 && agree(a.type, b.type) && agree(a.major, b.major) &&
         agree(a.minor, b.minor);
}

// Drops what later rules decide in every case, and denials of what nothing before them allows.
std::vector<DeviceMatch> drop_dead_rules(const std::vector<DeviceMatch>& rules) {
  std::vector<DeviceMatch> reversed;
  for (size_t i = rules.size(); i-- > 0;) {
    uint8_t undecided = rules[i].bits;
    for (const DeviceMatch& later : reversed) {
      if (covers_devices(later, rules[i])) undecided &= static_cast<uint8_t>(~later.bits);
    }
    // Kept with all its bits: a rule of all three takes fewer instructions.
    if (undecided != 0) reversed.push_back(rules[i]);
  }
  std::vector<DeviceMatch> living;
  for (size_t i = reversed.size(); i-- > 0;) {
    const DeviceMatch& rule = reversed[i];
    const auto is_undone = [&](const DeviceMatch& earlier) {
      return earlier.allow && overlaps(earlier, rule);
    };
    if (rule.allow || std::ranges::any_of(living, is_undone)) living.push_back(rule);
  }
  return living;
}

// Appends a sorted run without what is said twice in it. A rule that covers another sorts before
// it, and two for the same devices are neighbours.
void append_folded(std::vector<DeviceMatch>& out, std::span<const DeviceMatch> run) {
  const size_t begin = out.size();
  for (const DeviceMatch& rule : run) {
    uint8_t unsaid = rule.bits;
    DeviceMatch* same = nullptr;
    for (size_t i = begin; i < out.size(); ++i) {
      if (!covers_devices(out[i], rule)) continue;
      unsaid &= static_cast<uint8_t>(~out[i].bits);
      if (covers_devices(rule, out[i])) same = &out[i];
    }
    if (unsaid == 0) continue;
    if (same != nullptr) {
      same->bits |= rule.bits;
    } else {
      out.push_back(rule);
    }
  }
}

// Rules of one run (all allow, or all deny) commute, so they are put in the order in which the
// program shares most comparisons: any type first, then by type, and any major first in each.
std::vector<DeviceMatch> fold_runs(std::vector<DeviceMatch> rules) {
  const auto key = [](const DeviceMatch& rule) {
    return std::tuple(rule.type.value_or(0), rule.major.has_value(), rule.major.value_or(0),
                      rule.minor.has_value(), rule.minor.value_or(0));
  };
  std::vector<DeviceMatch> folded;
  for (auto begin = rules.begin(); begin != rules.end();) {
    const auto end = std::find_if(
        begin, rules.end(), [&](const DeviceMatch& rule) { return rule.allow != begin->allow; });
    std::sort(begin, end,
              [&](const DeviceMatch& a, const DeviceMatch& b) { return key(a) < key(b); });
    append_folded(folded, {begin, end});
    begin = end;
  }
  return folded;
}

// Register use of the program.
constexpr uint8_t verdict = BPF_REG_0;
constexpr uint8_t context = BPF_REG_1;
constexpr uint8_t wanted = BPF_REG_2;  // bits asked for that no rule has decided yet
constexpr uint8_t type = BPF_REG_3;
constexpr uint8_t major = BPF_REG_4;
constexpr uint8_t minor = BPF_REG_5;

class Assembler {
 public:
  using Label = size_t;

  Label make_label() {
    places_.push_back(0);
    return places_.size() - 1;
  }
  void place(Label label) { places_[label] = code_.size(); }
  bool ends_in_jump() const {
    return !code_.empty() &&
           (code_.back().code == (BPF_JMP | BPF_JA) || code_.back().code == (BPF_JMP | BPF_EXIT));
  }
  // Whether control can get to `label` if it is placed here: the verifier refuses dead code.
  bool is_reached(Label label) const {
    return !ends_in_jump() || std::ranges::any_of(jumps_, [&](const auto& jump) {
      return jump.second == label || places_[jump.second] == code_.size();
    });
  }

  void load(uint8_t to, size_t offset) {
    emit({BPF_LDX | BPF_MEM | BPF_W, to, context, static_cast<int16_t>(offset), 0});
  }
  void compute(uint8_t operation, uint8_t to, int32_t value) {
    emit({static_cast<uint8_t>(BPF_ALU | BPF_K | operation), to, 0, 0, value});
  }
  void copy(uint8_t to, uint8_t from) { emit({BPF_ALU | BPF_MOV | BPF_X, to, from, 0, 0}); }
  // 32-bit comparison: device numbers use all 32 bits, and 64-bit ones would sign-extend `value`.
  void jump_if(uint8_t comparison, uint8_t left, uint32_t value, Label target) {
    jumps_.emplace_back(code_.size(), target);
    emit({static_cast<uint8_t>(BPF_JMP32 | BPF_K | comparison), left, 0, 0,
          static_cast<int32_t>(value)});
  }
  void jump(Label target) {
    jumps_.emplace_back(code_.size(), target);
    emit({BPF_JMP | BPF_JA, 0, 0, 0, 0});
  }
  void finish_with(int32_t value) {
    compute(BPF_MOV, verdict, value);
    emit({BPF_JMP | BPF_EXIT, 0, 0, 0, 0});
  }

  std::vector<bpf_insn> take() && {
    for (const auto& [from, label] : jumps_) {
      const size_t distance = places_[label] - from - 1;
      CHECK(places_[label] > from && distance <= std::numeric_limits<int16_t>::max());
      code_[from].off = static_cast<int16_t>(distance);
    }
    return std::move(code_);
  }

 private:
  void emit(bpf_insn instruction) { code_.push_back(instruction); }

  std::vector<bpf_insn> code_;
  std::vector<size_t> places_;
  std::vector<std::pair<size_t, Label>> jumps_;
};

// Emits one run. Later runs were emitted before it, so what is still `wanted` is this run's to
// decide.
class RunCompiler {
 public:
  RunCompiler(Assembler& to, Assembler::Label allowed, Assembler::Label denied)
      : to_(to), allowed_(allowed), denied_(denied) {}

  void compile(std::span<const DeviceMatch> run) {
    const Assembler::Label run_end = to_.make_label();
    for (size_t i = 0; i < run.size();) {
      const size_t begin = i;
      while (i < run.size() && same_group(run[i], run[begin])) ++i;
      compile_group(run.subspan(begin, i - begin), i == run.size(), run_end);
    }
    to_.place(run_end);
  }

 private:
  static bool same_group(const DeviceMatch& a, const DeviceMatch& b) {
    return a.type == b.type && a.major == b.major;
  }

  void compile_group(std::span<const DeviceMatch> group, bool is_last, Assembler::Label run_end) {
    const Assembler::Label group_end = to_.make_label();
    const DeviceMatch& first = group.front();
    if (first.type) to_.jump_if(BPF_JNE, type, *first.type, group_end);
    if (first.major) to_.jump_if(BPF_JNE, major, *first.major, group_end);
    const Assembler::Label minors_end = to_.make_label();
    for (const DeviceMatch& rule : group) {
      const Assembler::Label next = to_.make_label();
      // With all bits the verdict is final, so a match can jump there.
      if (rule.minor && rule.bits == all_bits) {
        to_.jump_if(BPF_JEQ, minor, *rule.minor, rule.allow ? allowed_ : denied_);
      } else {
        if (rule.minor) to_.jump_if(BPF_JNE, minor, *rule.minor, next);
        decide(rule);
        // A device has one minor: the others of the group cannot match.
        if (rule.minor && &rule != &group.back()) to_.jump(minors_end);
      }
      to_.place(next);
    }
    to_.place(minors_end);
    // A group of one type and one major is the only one of its run that a device can match besides
    // those for any major or any type, which come first: the rest is skipped, which also keeps the
    // verifier's work linear.
    if (first.type && first.major && !is_last && !to_.ends_in_jump()) to_.jump(run_end);
    to_.place(group_end);
  }

  void decide(const DeviceMatch& rule) {
    if (rule.bits == all_bits) {
      to_.jump(rule.allow ? allowed_ : denied_);
    } else if (rule.allow) {
      to_.compute(BPF_AND, wanted, static_cast<uint8_t>(all_bits & ~rule.bits));
      to_.jump_if(BPF_JEQ, wanted, 0, allowed_);
    } else {
      to_.jump_if(BPF_JSET, wanted, rule.bits, denied_);
    }
  }

  Assembler& to_;
  Assembler::Label allowed_;
  Assembler::Label denied_;
};

}  // namespace

std::span<const DeviceMatch> default_device_rules() { return defaults; }

Result<std::vector<DeviceMatch>> plan_device_rules(std::span<const oci::DeviceRule> rules) {
  if (rules.size() > rules_max) {
    return fail(Kind::Exhausted, cat("linux.resources.devices: ", rules.size(), " rules; at most ",
                                     rules_max, " are supported"));
  }
  std::vector<DeviceMatch> matches;
  matches.reserve(rules.size() + std::size(defaults));
  for (size_t i = 0; i < rules.size(); ++i) matches.push_back(TRY(check_rule(rules[i], i)));
  matches.insert(matches.end(), std::begin(defaults), std::end(defaults));
  matches = fold_runs(drop_dead_rules(matches));
  if (matches.size() > folded_rules_max) {
    return fail(Kind::Exhausted,
                cat("linux.resources.devices: ", matches.size(),
                    " rules are left after folding; at most ", folded_rules_max, " are supported"));
  }
  return matches;
}

bool allows_everything(std::span<const DeviceMatch> rules) {
  uint8_t bits = 0;
  for (const DeviceMatch& rule : rules) {
    if (!rule.allow) return false;
    if (!rule.type && !rule.major && !rule.minor) bits |= rule.bits;
  }
  return bits == all_bits;
}

bool allows(std::span<const DeviceMatch> rules, const DeviceAccess& access) {
  bool matched = false;
  for (uint8_t bit = 1; bit <= BPF_DEVCG_ACC_WRITE; bit = static_cast<uint8_t>(bit << 1)) {
    bool allowed = false;
    for (const DeviceMatch& rule : rules) {
      if (rule.type.value_or(access.type) != access.type) continue;
      if (rule.major.value_or(access.major) != access.major) continue;
      if (rule.minor.value_or(access.minor) != access.minor) continue;
      if ((rule.bits & bit) != 0) allowed = rule.allow;
    }
    if ((access.bits & bit) != 0 && !allowed) return false;
    matched = matched || allowed;
  }
  // Asking for no bit at all is asking whether the device is there (access(2) with F_OK): so it is
  // for whoever may do anything with it.
  return access.bits != 0 || matched;
}

std::vector<bpf_insn> compile_device_program(std::span<const DeviceMatch> rules) {
  Assembler to;
  to.load(wanted, offsetof(bpf_cgroup_dev_ctx, access_type));
  to.copy(type, wanted);
  to.compute(BPF_AND, type, 0xffff);
  to.compute(BPF_RSH, wanted, 16);
  to.load(major, offsetof(bpf_cgroup_dev_ctx, major));
  to.load(minor, offsetof(bpf_cgroup_dev_ctx, minor));

  // From the last rule to the first: the first that covers a bit decides it.
  const Assembler::Label allowed = to.make_label();
  const Assembler::Label denied = to.make_label();
  RunCompiler compiler(to, allowed, denied);
  for (size_t end = rules.size(); end > 0;) {
    size_t begin = end;
    while (begin > 0 && rules[begin - 1].allow == rules[end - 1].allow) --begin;
    compiler.compile(rules.subspan(begin, end - begin));
    end = begin;
  }
  for (const auto& [label, value] : {std::pair(denied, 0), std::pair(allowed, 1)}) {
    if (!to.is_reached(label)) continue;
    to.place(label);
    to.finish_with(value);
  }
  return std::move(to).take();
}

}  // namespace nacelle::container
