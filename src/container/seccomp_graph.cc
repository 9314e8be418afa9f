#include "container/seccomp_graph.h"

#include <linux/filter.h>

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::container {
namespace {

constexpr uint32_t near_max = 255;  // conditional jumps have 8 bits
constexpr uint32_t nowhere = UINT32_MAX;

}  // namespace

size_t SeccompGraph::StepHash::operator()(const Step& step) const {
  uint64_t hash = step.code;
  for (const uint32_t part : {step.k, step.next, step.otherwise}) {
    hash = (hash ^ part) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

SeccompGraph::Node SeccompGraph::add(const Step& step) {
  const auto [entry, is_new] = known_.try_emplace(step, static_cast<Node>(steps_.size()));
  if (is_new) steps_.push_back(step);
  return entry->second;
}

SeccompGraph::Node SeccompGraph::verdict(uint32_t action) {
  return add({BPF_RET | BPF_K, action, nowhere, nowhere});
}

SeccompGraph::Node SeccompGraph::load(uint32_t offset, Node then) {
  // A verdict does not look at the accumulator.
  if (BPF_CLASS(steps_[then].code) == BPF_RET) return then;
  return add({BPF_LD | BPF_W | BPF_ABS, offset, then, nowhere});
}

SeccompGraph::Node SeccompGraph::mask(uint32_t bits, Node then) {
  if (BPF_CLASS(steps_[then].code) == BPF_RET) return then;
  return add({BPF_ALU | BPF_AND | BPF_K, bits, then, nowhere});
}

SeccompGraph::Node SeccompGraph::test(uint16_t comparison, uint32_t value, Node if_true,
                                      Node if_false) {
  if (if_true == if_false) return if_true;
  return add({static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, if_true, if_false});
}

// Writes the program from its end to its beginning, so that every target has a place before the
// jump that wants it; `places_` count instructions from the end.
class SeccompGraph::Layout {
 public:
  explicit Layout(const std::vector<Step>& steps) : steps_(steps), places_(steps.size(), nowhere) {}

  std::vector<codec::CbpfInstruction> run(Node entry) {
    place(entry);
    CHECK(places_[entry] + 1 == written_.size());
    std::reverse(written_.begin(), written_.end());
    return std::move(written_);
  }

 private:
  // The depth of the recursion is that of the graph: logarithmic in the number of system calls plus
  // the longest chain of conditions, which the callers bound.
  void place(Node node) {
    if (places_[node] != nowhere) return;
    const Step& step = steps_[node];
    switch (BPF_CLASS(step.code)) {
      case BPF_RET: write(node, {step.code, 0, 0, step.k}); break;
      case BPF_JMP:
        // The branch placed last stands right behind its test.
        place(step.next);
        place(step.otherwise);
        bring_near(step.next, step.otherwise);
        write(node, {step.code, distance(step.next), distance(step.otherwise), step.k});
        break;
      default:
        place(step.next);
        // It may have been placed earlier, by someone who shares it.
        if (away(step.next) != 0) again(step.next);
        write(node, {step.code, 0, 0, step.k});
    }
  }

  void write(Node node, codec::CbpfInstruction instruction) {
    places_[node] = static_cast<uint32_t>(written_.size());
    written_.push_back(instruction);
  }

  // How many instructions the next one written would have to skip to reach `node`.
  uint32_t away(Node node) const {
    return static_cast<uint32_t>(written_.size()) - places_[node] - 1;
  }
  uint8_t distance(Node node) const { return static_cast<uint8_t>(away(node)); }

  // Gives `node` a place right here: a copy of a verdict, else a jump to where it stands.
  void again(Node node) {
    const Step& step = steps_[node];
    if (BPF_CLASS(step.code) == BPF_RET) {
      write(node, {step.code, 0, 0, step.k});
    } else {
      write(node, {BPF_JMP | BPF_JA, 0, 0, away(node)});
    }
  }

  // Bringing one near moves the other one instruction away: at most three rounds.
  void bring_near(Node a, Node b) {
    while (away(a) > near_max || away(b) > near_max) again(away(a) > near_max ? a : b);
  }

  const std::vector<Step>& steps_;
  std::vector<uint32_t> places_;
  std::vector<codec::CbpfInstruction> written_;
};

Result<std::vector<codec::CbpfInstruction>> SeccompGraph::lay_out(Node entry) const {
  auto program = Layout(steps_).run(entry);
  if (program.size() > codec::cbpf_instructions_max) {
    return fail(Kind::Exhausted,
                cat("the filter needs ", program.size(), " instructions, the kernel takes ",
                    codec::cbpf_instructions_max));
  }
  return program;
}

}  // namespace nacelle::container
