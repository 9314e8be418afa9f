// Shows a transfer to a person: on a terminal a line per layer with a bar, redrawn in place;
// elsewhere a plain line whenever a layer's step changes.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "image/observer.h"

namespace nacelle::cli {

// "12.3MB", in powers of a thousand and three significant digits, as Docker writes sizes.
std::string human_size(uint64_t bytes);

class ProgressDisplay final : public image::Observer {
 public:
  enum class Style : uint8_t { Bars, Lines, Says, Quiet };  // Says: lines of say() only
  // Bars on a terminal, lines elsewhere.
  static Style style_for_output();

  explicit ProgressDisplay(Style style, FILE* output = stdout) : style_(style), output_(output) {}
  ~ProgressDisplay() { finish(); }

  // One line's state, by its id: what is being done, and how much of how much in bytes.
  struct Line {
    std::string id, status;
    uint64_t done = 0, total = 0;
  };
  void line(const Line& line);
  void layer(const image::Progress& progress) override;
  void say(std::string_view line) override;
  // Draws the last state; the cursor is below it.
  void finish();

 private:
  void draw();
  std::string bar(const Line& line, unsigned columns) const;

  Style style_;
  FILE* output_;
  std::vector<Line> lines_;  // in the order they were first heard of
  size_t drawn_ = 0;         // lines of ours on the screen, above the cursor
  bool changed_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace nacelle::cli
