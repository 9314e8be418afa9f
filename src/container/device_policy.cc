#include "container/device_policy.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <tuple>

#include "base/text.h"

namespace nacelle::container {
namespace {

constexpr uint8_t all_bits = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
// Folding compares each with each.
constexpr size_t rules_max = 1000;

constexpr DeviceMatch character(uint8_t bits, std::optional<uint32_t> major,
                                std::optional<uint32_t> minor) {
  return {true, bits, BPF_DEVCG_DEV_CHAR, major, minor};
}

constexpr DeviceMatch defaults[] = {
    {true, BPF_DEVCG_ACC_MKNOD, std::nullopt, std::nullopt, std::nullopt},
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
    // Kept with all its bits, so that more rules differ in nothing but the minor.
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

// Appends a sorted run without what is said twice in it: a rule that covers another sorts before
// it.
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
// program shares most comparisons, and what covers more comes first.
std::vector<DeviceMatch> fold_runs(std::vector<DeviceMatch> rules) {
  const auto key = [](const DeviceMatch& rule) {
    return std::tuple(rule.type.value_or(0), rule.major.has_value(), rule.major.value_or(0),
                      rule.minor.has_value(), rule.bits, rule.minor.value_or(0));
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
constexpr uint8_t granted = BPF_REG_0;  // the bits that the rules so far allow
constexpr uint8_t context = BPF_REG_1;
constexpr uint8_t wanted = BPF_REG_2;
constexpr uint8_t is_character = BPF_REG_3;  // all ones or 0, as the next
constexpr uint8_t major = BPF_REG_4;
constexpr uint8_t minor = BPF_REG_5;
constexpr uint8_t hit = BPF_REG_6;   // all ones where the rules at hand match, else 0
constexpr uint8_t term = BPF_REG_7;  // one comparison of a hit
constexpr uint8_t is_block = BPF_REG_8;
// There is no third type, so one subtraction makes a mask of it.
static_assert(BPF_DEVCG_DEV_BLOCK == 1 && BPF_DEVCG_DEV_CHAR == 2);
constexpr uint32_t small_minors = 32;  // those with a bit in one immediate operand

// The program follows the rules in their own order and has no branch at all: a comparison is a mask
// of ones or zeros. The verifier walks every path there is, so a program that jumps from rule to
// rule takes several times as long to load, and a long one is refused.
class Compiler {
 public:
  void begin() {
    load(wanted, offsetof(bpf_cgroup_dev_ctx, access_type));
    emit(BPF_ALU | BPF_MOV | BPF_X, is_block, wanted, 0);
    emit(BPF_ALU | BPF_AND | BPF_K, is_block, 0, 0xffff);
    emit(BPF_ALU64 | BPF_SUB | BPF_K, is_block, 0, BPF_DEVCG_DEV_CHAR);
    emit(BPF_ALU64 | BPF_MOV | BPF_X, is_character, is_block, 0);
    emit(BPF_ALU64 | BPF_XOR | BPF_K, is_character, 0, -1);
    emit(BPF_ALU | BPF_RSH | BPF_K, wanted, 0, 16);
    load(major, offsetof(bpf_cgroup_dev_ctx, major));
    load(minor, offsetof(bpf_cgroup_dev_ctx, minor));
    emit(BPF_ALU | BPF_MOV | BPF_K, granted, 0, 0);
  }

  // Rules that differ in nothing but the minor.
  void add(std::span<const DeviceMatch> rules) {
    const DeviceMatch& first = rules.front();
    if (first.minor) {
      match_minors(rules);
    } else {
      emit(BPF_ALU64 | BPF_MOV | BPF_K, hit, 0, -1);
    }
    if (first.major) compare(major, *first.major, BPF_AND);
    if (first.type) {
      const uint8_t is_type = *first.type == BPF_DEVCG_DEV_CHAR ? is_character : is_block;
      emit(BPF_ALU64 | BPF_AND | BPF_X, hit, is_type, 0);
    }
    emit(BPF_ALU64 | BPF_AND | BPF_K, hit, 0, first.bits);
    if (!first.allow) emit(BPF_ALU64 | BPF_XOR | BPF_K, hit, 0, -1);
    emit(static_cast<uint8_t>(BPF_ALU64 | BPF_X | (first.allow ? BPF_OR : BPF_AND)), granted, hit,
         0);
  }

  // Passes when nothing wanted is missing from a grant that is not empty.
  std::vector<bpf_insn> finish() && {
    emit(BPF_ALU64 | BPF_MOV | BPF_X, hit, granted, 0);
    emit(BPF_ALU64 | BPF_XOR | BPF_K, hit, 0, -1);
    emit(BPF_ALU64 | BPF_AND | BPF_X, hit, wanted, 0);  // what is missing
    emit(BPF_ALU64 | BPF_SUB | BPF_K, hit, 0, 1);       // negative: nothing
    emit(BPF_ALU64 | BPF_NEG, granted, 0, 0);           // negative: something is granted
    emit(BPF_ALU64 | BPF_AND | BPF_X, granted, hit, 0);
    emit(BPF_ALU64 | BPF_RSH | BPF_K, granted, 0, 63);
    emit(BPF_JMP | BPF_EXIT, 0, 0, 0);
    return std::move(code_);
  }

 private:
  void emit(uint8_t code, uint8_t to, uint8_t from, int32_t value) {
    bpf_insn instruction = {};
    instruction.code = code;
    instruction.dst_reg = to & 0xf;
    instruction.src_reg = from & 0xf;
    instruction.imm = value;
    code_.push_back(instruction);
  }
  void load(uint8_t to, size_t offset) {
    emit(BPF_LDX | BPF_MEM | BPF_W, to, context, 0);
    code_.back().off = static_cast<int16_t>(offset);
  }
  // Small minors are looked up in one word, the others are compared one by one.
  void match_minors(std::span<const DeviceMatch> rules) {
    uint32_t bitmap = 0;
    for (const DeviceMatch& rule : rules) {
      if (*rule.minor < small_minors) bitmap |= uint32_t{1} << *rule.minor;
    }
    emit(BPF_ALU | BPF_MOV | BPF_K, hit, 0, static_cast<int32_t>(bitmap));
    if (bitmap != 0) {
      emit(BPF_ALU64 | BPF_RSH | BPF_X, hit, minor, 0);  // by the low six bits of the minor
      emit(BPF_ALU64 | BPF_AND | BPF_K, hit, 0, 1);
      emit(BPF_ALU64 | BPF_NEG, hit, 0, 0);
      emit(BPF_ALU64 | BPF_MOV | BPF_X, term, minor, 0);
      emit(BPF_ALU64 | BPF_SUB | BPF_K, term, 0, small_minors);  // negative: it is small
      emit(BPF_ALU64 | BPF_ARSH | BPF_K, term, 0, 63);
      emit(BPF_ALU64 | BPF_AND | BPF_X, hit, term, 0);
    }
    for (const DeviceMatch& rule : rules) {
      if (*rule.minor >= small_minors) compare(minor, *rule.minor, BPF_OR);
    }
  }
  // Joins "`left` equals `value`" to the hit. The difference has 32 bits, so one less than it is
  // negative for none only.
  void compare(uint8_t left, uint32_t value, uint8_t join) {
    emit(BPF_ALU | BPF_MOV | BPF_X, term, left, 0);
    emit(BPF_ALU | BPF_XOR | BPF_K, term, 0, static_cast<int32_t>(value));
    emit(BPF_ALU64 | BPF_SUB | BPF_K, term, 0, 1);
    emit(BPF_ALU64 | BPF_ARSH | BPF_K, term, 0, 63);
    emit(static_cast<uint8_t>(BPF_ALU64 | BPF_X | join), hit, term, 0);
  }

  std::vector<bpf_insn> code_;
};

bool differ_in_minor_only(const DeviceMatch& a, const DeviceMatch& b) {
  return a.allow == b.allow && a.bits == b.bits && a.type == b.type && a.major == b.major &&
         a.minor && b.minor;
}

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
  return fold_runs(drop_dead_rules(matches));
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
  Compiler compiler;
  compiler.begin();
  for (size_t i = 0; i < rules.size();) {
    const size_t first = i++;
    while (i < rules.size() && differ_in_minor_only(rules[i], rules[first])) ++i;
    compiler.add(rules.subspan(first, i - first));
  }
  return std::move(compiler).finish();
}

}  // namespace nacelle::container
