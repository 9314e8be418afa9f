#include "container/seccomp_conditions.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <tuple>

#include "base/check.h"

namespace nacelle::container {
namespace {

using Op = oci::SeccompOperator;

uint32_t high_word(uint64_t value) { return static_cast<uint32_t>(value >> 32); }
uint32_t low_word(uint64_t value) { return static_cast<uint32_t>(value); }

// The machine has "greater" but not "less": an upper bound is a lower bound that must not hold.
bool is_upper_bound(Op op) { return op == Op::Less || op == Op::LessOrEqual; }
bool is_bound(Op op) { return is_upper_bound(op) || op == Op::Greater || op == Op::GreaterOrEqual; }
uint16_t test_of(Op op) {
  switch (op) {
    case Op::Greater:
    case Op::LessOrEqual: return BPF_JGT;
    case Op::GreaterOrEqual:
    case Op::Less: return BPF_JGE;
    default: return BPF_JEQ;
  }
}
// Whether the rule goes on when the comparison holds, or when it does not.
bool accepts_when(Op op) { return !is_upper_bound(op) && op != Op::NotEqual; }

uint8_t priority_of(Op op) {
  if (!is_bound(op)) return 3;
  return is_upper_bound(op) ? 2 : 1;
}

}  // namespace

ConditionTree::Choice ConditionTree::narrow_choice(const Condition& condition,
                                                   const Branch& accept) const {
  const uint32_t mask = low_word(condition.mask);
  Choice choice{.comparison = {.argument = condition.argument,
                               .masked = condition.op == Op::MaskedEqual,
                               .priority = priority_of(condition.op),
                               .bound_above = is_upper_bound(condition.op),
                               .test = test_of(condition.op),
                               .mask = mask,
                               .value = low_word(condition.value) & mask,
                               .whole = condition.value}};
  choice.branch[accepts_when(condition.op)] = accept;
  return choice;
}

ConditionTree::Choice ConditionTree::wide_choice(const Condition& condition,
                                                 const Branch& accept) const {
  const uint32_t mask = high_word(condition.mask);
  Choice equal_high = narrow_choice(condition, {});
  equal_high.comparison.high = true;
  equal_high.comparison.test = BPF_JEQ;
  equal_high.comparison.mask = mask;
  equal_high.comparison.value = high_word(condition.value) & mask;
  equal_high.branch[1].level.push_back(narrow_choice(condition, accept));
  switch (condition.op) {
    case Op::Equal:
    case Op::MaskedEqual: return equal_high;
    case Op::NotEqual: equal_high.branch[0] = accept; return equal_high;
    default: break;
  }
  // Greater upper word: beyond the bound whatever the lower one. Smaller: below it.
  Choice greater_high{.comparison = equal_high.comparison};
  greater_high.comparison.test = BPF_JGT;
  if (is_upper_bound(condition.op)) {
    equal_high.branch[0] = accept;
  } else {
    greater_high.branch[1] = accept;
  }
  greater_high.branch[0].level.push_back(std::move(equal_high));
  return greater_high;
}

// The rule alone. A condition with several ways to hold gets what follows it once for each, so that
// merging another rule into one of them cannot leak into the others.
ConditionTree::Branch ConditionTree::rule_from(std::span<const Condition> conditions,
                                               uint32_t action) const {
  Branch rest{.action = action, .level = {}};
  for (size_t left = conditions.size(); left > 0; --left) {
    const Condition& condition = conditions[left - 1];
    Level level;
    level.push_back(shape_.wide ? wide_choice(condition, rest) : narrow_choice(condition, rest));
    rest = Branch{.action = std::nullopt, .level = std::move(level)};
  }
  return rest;
}

bool ConditionTree::same(const Comparison& a, const Comparison& b) {
  return std::tie(a.argument, a.high, a.test, a.masked, a.value, a.mask) ==
         std::tie(b.argument, b.high, b.test, b.masked, b.value, b.mask);
}

// Whether `b` is to be tried before `a`.
bool ConditionTree::before(const Comparison& a, const Comparison& b) {
  const auto word = [](const Comparison& c) { return c.argument * 2 + c.high; };
  if (word(a) != word(b)) return word(a) < word(b);
  if (a.priority != b.priority) return a.priority < b.priority;
  // The narrower bound first.
  return a.bound_above ? a.value > b.value : a.value < b.value;
}

bool ConditionTree::leads_elsewhere(const Level& level, uint32_t action) {
  for (const Choice& choice : level) {
    for (const Branch& branch : choice.branch) {
      if (branch.action && *branch.action != action) return true;
      if (leads_elsewhere(branch.level, action)) return true;
    }
  }
  return false;
}

// Both compare the same; false when that is a contradiction.
bool ConditionTree::join(Choice& existing, const Choice& added) {
  for (const size_t way : {size_t{1}, size_t{0}}) {
    Branch& mine = existing.branch[way];
    const Branch& theirs = added.branch[way];
    if (!theirs.action) continue;
    if (!mine.action) {
      if (leads_elsewhere(mine.level, *theirs.action)) return false;
      mine = theirs;  // fewer conditions: the longer rules are part of it
      continue;
    }
    if (*mine.action == *theirs.action) continue;
    // Two lower bounds with the same upper word: above it the higher one decides, as it does
    // further down for equal upper words.
    if (way == 1 && added.comparison.high && added.comparison.whole > existing.comparison.whole) {
      mine.action = theirs.action;
    }
    if (existing.is_leaf() || added.is_leaf()) return false;
  }
  for (const size_t way : {size_t{1}, size_t{0}}) {
    Branch& mine = existing.branch[way];
    const Branch& theirs = added.branch[way];
    if (mine.action) continue;  // the rule that is there has fewer conditions and decides
    if (mine.level.empty()) {
      mine.level = theirs.level;
      continue;
    }
    for (const Choice& choice : theirs.level) {
      if (!merge(mine.level, choice)) return false;
    }
  }
  return true;
}

bool ConditionTree::merge(Level& level, const Choice& added) {
  for (auto choice = level.begin(); choice != level.end(); ++choice) {
    if (same(choice->comparison, added.comparison)) return join(*choice, added);
    if (before(choice->comparison, added.comparison)) {
      level.insert(choice, added);
      return true;
    }
  }
  level.push_back(added);
  return true;
}

ConditionTree::Added ConditionTree::add(std::span<const Condition> conditions, uint32_t action) {
  if (++rules_ > rules_max) return Added::TooMany;
  const Branch rule = rule_from(conditions, action);
  CHECK(rule.level.size() == 1);
  return merge(top_, rule.level.front()) ? Added::Yes : Added::Contradiction;
}

// Walks the tree with what the accumulator holds at each point, so that a word is loaded only when
// another one (or a masked one) is there.
class ConditionTree::Builder {
 public:
  Builder(SeccompGraph& graph, Shape shape, SeccompGraph::Node otherwise)
      : graph_(graph), shape_(shape), otherwise_(otherwise) {}

  struct Accumulator {
    uint32_t offset = 0;  // 0 is the number: never an argument
    uint32_t mask = UINT32_MAX;
    auto operator<=>(const Accumulator&) const = default;
  };
  // What to try when the choices so far led nowhere: the rest of `level`, then `outer`.
  struct Rest {
    const Level* level;
    size_t index;
    const Rest* outer;
  };

  SeccompGraph::Node enter(const Rest* rest, Accumulator has) {
    while (rest != nullptr && rest->index == rest->level->size()) rest = rest->outer;
    if (rest == nullptr) return otherwise_;
    const auto key = std::tuple(rest->level, rest->index, has);
    if (const auto found = built_.find(key); found != built_.end()) return found->second;
    const SeccompGraph::Node node = choose(*rest, has);
    built_.emplace(key, node);
    return node;
  }

 private:
  SeccompGraph::Node choose(const Rest& rest, Accumulator has) {
    const Choice& choice = (*rest.level)[rest.index];
    const Comparison& comparison = choice.comparison;
    const Rest next{rest.level, rest.index + 1, rest.outer};
    // A mask without bits holds without a look.
    if (comparison.mask == 0) return follow(choice.branch[1], &next, has);
    const Accumulator wanted{offset_of(comparison), comparison.mask};
    const auto if_true = follow(choice.branch[1], &next, wanted);
    const auto if_false = follow(choice.branch[0], &next, wanted);
    auto node = graph_.test(comparison.test, comparison.value, if_true, if_false);
    if (has == wanted) return node;
    if (comparison.mask != UINT32_MAX) node = graph_.mask(comparison.mask, node);
    if (has == Accumulator{wanted.offset, UINT32_MAX}) return node;
    return graph_.load(wanted.offset, node);
  }

  SeccompGraph::Node follow(const Branch& branch, const Rest* next, Accumulator has) {
    if (branch.action) return graph_.verdict(*branch.action);
    const Rest inner{&branch.level, 0, next};
    return enter(&inner, has);
  }

  uint32_t offset_of(const Comparison& comparison) const {
    const auto base =
        static_cast<uint32_t>(offsetof(seccomp_data, args)) + comparison.argument * 8u;
    return base + (comparison.high != shape_.big_endian ? 4 : 0);
  }

  SeccompGraph& graph_;
  const Shape shape_;
  const SeccompGraph::Node otherwise_;
  std::map<std::tuple<const Level*, size_t, Accumulator>, SeccompGraph::Node> built_;
};

SeccompGraph::Node ConditionTree::build(SeccompGraph& graph, SeccompGraph::Node otherwise) const {
  const Builder::Rest all{&top_, 0, nullptr};
  return Builder(graph, shape_, otherwise).enter(&all, {});
}

}  // namespace nacelle::container
