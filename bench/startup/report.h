// Turns samples into a table, a list of targets met and missed, and an SVG plot.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace nacelle::startup {

struct Summary {
  size_t count = 0;
  double min = 0, p50 = 0, p90 = 0, p99 = 0;
};

Summary summarize(std::vector<double> samples);

class Samples {
 public:
  // Runtimes are shown in this order; others follow as they are met.
  explicit Samples(std::vector<std::string> runtimes) : runtimes_(std::move(runtimes)) {}

  void add(const std::string& operation, const std::string& runtime, double microseconds);
  bool has(const std::string& operation, const std::string& runtime) const;
  Summary summary(const std::string& operation, const std::string& runtime) const;
  // The median of the ratios taken round by round: what drifts during the run cancels out.
  double paired_ratio(const std::string& operation, const std::string& runtime,
                      const std::string& reference) const;

  void print_table() const;
  std::string to_svg(const std::string& title) const;

 private:
  const std::vector<double>& find(const std::string& operation, const std::string& runtime) const;

  std::vector<std::string> operations_;  // in the order they were first measured
  std::vector<std::string> runtimes_;
  std::map<std::string, std::map<std::string, std::vector<double>>> samples_;
};

struct Target {
  std::string what;
  std::string measured;
  bool known = false;
  bool met = false;
};

// Returns whether all that were measured were met.
bool print_targets(const std::vector<Target>& targets);

}  // namespace nacelle::startup
