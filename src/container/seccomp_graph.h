// A filter as a graph of instructions without positions: build it from the verdicts upwards, then
// lay it out. Equal nodes are stored once, so that equal tails are shared whatever built them.
// It knows nothing of system calls; seccomp.cc and seccomp_conditions.cc give it its meaning.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "codec/cbpf.h"
#include "nacelle/result.h"

namespace nacelle::container {

class SeccompGraph {
 public:
  using Node = uint32_t;

  Node verdict(uint32_t action);
  Node load(uint32_t offset, Node then);
  Node mask(uint32_t bits, Node then);
  // Compares the accumulator with `value`; `comparison` is BPF_JEQ, BPF_JGT or BPF_JGE. A test
  // whose outcomes are the same is that outcome.
  Node test(uint16_t comparison, uint32_t value, Node if_true, Node if_false);

  // The program that begins at `entry`: all jumps forward, far ones by way of a BPF_JA (or, for a
  // verdict, a second copy). Fails when the kernel would find it too long.
  Result<std::vector<codec::CbpfInstruction>> lay_out(Node entry) const;

 private:
  struct Step {
    uint16_t code;
    uint32_t k;
    Node next;  // or the true branch
    Node otherwise;
    bool operator==(const Step&) const = default;
  };
  struct StepHash {
    size_t operator()(const Step& step) const;
  };
  class Layout;

  Node add(const Step& step);

  std::vector<Step> steps_;
  std::unordered_map<Step, Node, StepHash> known_;
};

}  // namespace nacelle::container
