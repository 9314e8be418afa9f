// Shows a transfer to a person: on a terminal a line per layer with a bar, redrawn in place;
// elsewhere a plain line whenever a layer's step changes.
#pragma once

#include <chrono>
#include <cstdint>
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

  explicit ProgressDisplay(Style style) : style_(style) {}
  ~ProgressDisplay() { finish(); }

  void layer(const image::Progress& progress) override;
  void say(std::string_view line) override;
  // Draws the last state; the cursor is below it.
  void finish();

 private:
  void draw();
  std::string bar(const image::Progress& progress, unsigned columns) const;

  Style style_;
  std::vector<image::Progress> layers_;  // in the order they were first heard of
  size_t drawn_ = 0;                     // lines of ours on the screen, above the cursor
  bool changed_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace nacelle::cli
