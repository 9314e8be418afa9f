#include "report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace nacelle::startup {
namespace {

const std::vector<double> no_samples;

// The nearest-rank percentile of sorted samples.
double percentile(const std::vector<double>& sorted, double fraction) {
  size_t rank = static_cast<size_t>(std::ceil(fraction * static_cast<double>(sorted.size())));
  return sorted[std::min(sorted.size(), std::max<size_t>(rank, 1)) - 1];
}

std::string format(const char* pattern, auto... values) {
  char text[256];
  snprintf(text, sizeof text, pattern, values...);
  return text;
}

std::string bar(double x, double y, double width, double height, const char* colour) {
  return format("<rect x='%.1f' y='%.1f' width='%.1f' height='%.1f' fill='%s'/>\n", x, y, width,
                height, colour);
}

std::string label(double x, double y, const char* style, const std::string& text) {
  return format("<text x='%.1f' y='%.1f' %s>", x, y, style) + text + "</text>\n";
}

}  // namespace

Summary summarize(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  return {.count = samples.size(),
          .min = samples.front(),
          .p50 = percentile(samples, 0.5),
          .p90 = percentile(samples, 0.9),
          .p99 = percentile(samples, 0.99)};
}

void Samples::add(const std::string& operation, const std::string& runtime, double microseconds) {
  auto remember = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  remember(operations_, operation);
  remember(runtimes_, runtime);
  samples_[operation][runtime].push_back(microseconds);
}

const std::vector<double>& Samples::find(const std::string& operation,
                                         const std::string& runtime) const {
  auto by_runtime = samples_.find(operation);
  if (by_runtime == samples_.end()) return no_samples;
  auto samples = by_runtime->second.find(runtime);
  return samples == by_runtime->second.end() ? no_samples : samples->second;
}

bool Samples::has(const std::string& operation, const std::string& runtime) const {
  return !find(operation, runtime).empty();
}

Summary Samples::summary(const std::string& operation, const std::string& runtime) const {
  return summarize(find(operation, runtime));
}

double Samples::paired_ratio(const std::string& operation, const std::string& runtime,
                             const std::string& reference) const {
  const std::vector<double>& ours = find(operation, runtime);
  const std::vector<double>& theirs = find(operation, reference);
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
    ratios.push_back(ours[i] / theirs[i]);
  }
  return summarize(ratios).p50;
}

void Samples::print_table() const {
  printf("%-26s %-18s %6s %9s %9s %9s %9s   (ms)\n", "operation", "runtime", "n", "p50", "p90",
         "p99", "min");
  for (const std::string& operation : operations_) {
    for (const std::string& runtime : runtimes_) {
      if (!has(operation, runtime)) continue;
      Summary s = summary(operation, runtime);
      printf("%-26s %-18s %6zu %9.3f %9.3f %9.3f %9.3f\n", operation.c_str(), runtime.c_str(),
             s.count, s.p50 / 1e3, s.p90 / 1e3, s.p99 / 1e3, s.min / 1e3);
    }
  }
}

// One panel per operation, one bar per runtime: solid to the median, paler to p90, a line to p99.
// Every panel has its own scale, which ends at its largest p90.
std::string Samples::to_svg(const std::string& title) const {
  constexpr double left = 150, width = 560, row = 22, panel_gap = 34;
  static const char* const colours[][2] = {{"#1f6feb", "#a8c7f7"}, {"#5b8def", "#c6d8f8"},
                                           {"#8b949e", "#d0d5da"}, {"#b0b8c0", "#e1e5e9"},
                                           {"#d9822b", "#f3d3ae"}, {"#c0392b", "#edb9b3"}};
  double y = 50;
  std::string body = label(12, 24, "font-size='16' font-weight='bold'", title);
  for (const std::string& operation : operations_) {
    double scale = 0;
    for (const std::string& runtime : runtimes_) {
      scale = std::max(scale, summary(operation, runtime).p90);
    }
    if (scale <= 0) continue;
    body += label(12, y, "font-weight='bold'", operation);
    y += 8;
    for (size_t i = 0; i < runtimes_.size(); ++i) {
      if (!has(operation, runtimes_[i])) continue;
      Summary s = summary(operation, runtimes_[i]);
      auto at = [&](double value) { return std::min(value / scale, 1.05) * width; };
      const char* const* colour = colours[i % (sizeof colours / sizeof colours[0])];
      body += label(left - 8, y + 14, "text-anchor='end'", runtimes_[i]);
      body += bar(left, y + 2, at(s.p90), row - 8, colour[1]);
      body += bar(left, y + 2, at(s.p50), row - 8, colour[0]);
      body += bar(left, y + 8, at(s.p99), 1, "#333");
      body += label(left + width + 40, y + 14, "fill='#333'",
                    format("%.2f / %.2f / %.2f", s.p50 / 1e3, s.p90 / 1e3, s.p99 / 1e3));
      y += row;
    }
    y += panel_gap;
  }
  body += label(12, y, "fill='#666'",
                "solid: p50, pale: p90, line: p99 (cut at the panel's end); p50 / p90 / p99 in ms");
  return format(
             "<svg xmlns='http://www.w3.org/2000/svg' width='930' height='%.0f' "
             "font-family='sans-serif' font-size='12'>\n",
             y + 20) +
         "<rect width='100%' height='100%' fill='white'/>\n" + body + "</svg>\n";
}

bool print_targets(const std::vector<Target>& targets) {
  bool all_met = true;
  printf("\n%-50s %-46s\n", "target", "measured");
  for (const Target& target : targets) {
    const char* verdict = !target.known ? "not measured" : target.met ? "met" : "MISSED";
    printf("%-50s %-46s %s\n", target.what.c_str(), target.measured.c_str(), verdict);
    if (target.known && !target.met) all_met = false;
  }
  return all_met;
}

}  // namespace nacelle::startup
