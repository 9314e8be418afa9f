// The rules of one system call on one architecture, as an ordered tree of 32-bit comparisons.
// The order decides which of two rules wins when both match with different actions; it is the one
// that libseccomp 2.5.4 uses, so that a profile means the same under Nacelle as under runc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "container/seccomp_graph.h"
#include "oci/spec.h"

namespace nacelle::container {

struct Condition {
  uint8_t argument = 0;
  oci::SeccompOperator op = oci::SeccompOperator::Equal;
  uint64_t value = 0;
  uint64_t mask = UINT64_MAX;  // for MaskedEqual; all ones otherwise
};

class ConditionTree {
 public:
  struct Shape {
    bool wide = false;  // compare 64 bits
    bool big_endian = false;
  };

  // More rules than this for one system call are refused by add().
  static constexpr size_t rules_max = 1024;

  enum class Added { Yes, Contradiction, TooMany };

  explicit ConditionTree(Shape shape) : shape_(shape) {}

  // `conditions` are in the order of their arguments, at most one for each.
  // Contradiction: the same conditions, or fewer of them, already lead to another action.
  Added add(std::span<const Condition> conditions, uint32_t action);

  // The comparisons as instructions; `otherwise` is the outcome when no rule matches.
  SeccompGraph::Node build(SeccompGraph& graph, SeccompGraph::Node otherwise) const;

 private:
  struct Comparison {
    uint8_t argument = 0;
    bool high = false;     // the upper word
    bool masked = false;   // from MaskedEqual: never the same as a plain comparison
    uint8_t priority = 0;  // equalities, then upper bounds, then lower bounds
    bool bound_above = false;
    uint16_t test = 0;  // BPF_JEQ, BPF_JGT, BPF_JGE
    uint32_t mask = UINT32_MAX;
    uint32_t value = 0;
    uint64_t whole = 0;  // the value of which this is a half
  };
  struct Branch;
  struct Choice;
  using Level = std::vector<Choice>;  // tried in order until one leads to an action
  struct Branch {
    std::optional<uint32_t> action;
    Level level;
  };
  struct Choice {
    Comparison comparison;
    std::array<Branch, 2> branch;  // [1]: the comparison holds

    bool is_leaf() const { return branch[0].level.empty() && branch[1].level.empty(); }
  };
  class Builder;

  Branch rule_from(std::span<const Condition> conditions, uint32_t action) const;
  Choice wide_choice(const Condition& condition, const Branch& accept) const;
  Choice narrow_choice(const Condition& condition, const Branch& accept) const;
  static bool merge(Level& level, const Choice& added);
  static bool join(Choice& existing, const Choice& added);
  static bool same(const Comparison& a, const Comparison& b);
  static bool before(const Comparison& a, const Comparison& b);
  static bool leads_elsewhere(const Level& level, uint32_t action);

  Shape shape_;
  Level top_;
  size_t rules_ = 0;
};

}  // namespace nacelle::container
