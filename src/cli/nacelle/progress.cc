#include "cli/nacelle/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/text.h"

namespace nacelle::cli {

using image::Progress;

namespace {

constexpr std::chrono::milliseconds redraw_interval{50};
constexpr unsigned bar_columns = 50;

bool has_bytes(Progress::Step step) {
  return step == Progress::Step::Downloading || step == Progress::Step::Extracting ||
         step == Progress::Step::Pushing;
}

winsize terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) size = {};
  if (size.ws_col == 0) size.ws_col = 80;
  if (size.ws_row < 2) size.ws_row = 24;
  return size;
}

}  // namespace

std::string human_size(uint64_t bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  // Four significant digits as `docker images` prints them would flicker in a bar; three are
  // enough.
  std::snprintf(text, sizeof text, "%.3g%s", value, units[unit]);
  return text;
}

ProgressDisplay::Style ProgressDisplay::style_for_output() {
  return ::isatty(STDOUT_FILENO) == 1 ? Style::Bars : Style::Lines;
}

void ProgressDisplay::layer(const Progress& progress) {
  if (style_ == Style::Quiet || style_ == Style::Says) return;
  auto known = std::ranges::find(layers_, progress.id, &Progress::id);
  const bool is_new = known == layers_.end();
  const bool new_step = is_new || known->step != progress.step;
  if (is_new) {
    layers_.push_back(progress);
  } else {
    *known = progress;
  }
  if (style_ == Style::Lines) {
    if (new_step) std::printf("%s: %s\n", progress.id.c_str(), to_string(progress.step).data());
    return;
  }
  changed_ = true;
  const auto now = std::chrono::steady_clock::now();
  if (!new_step && now - last_ < redraw_interval) return;
  last_ = now;
  draw();
}

void ProgressDisplay::say(std::string_view line) {
  if (style_ == Style::Quiet) return;
  finish();
  std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
  std::fflush(stdout);
}

void ProgressDisplay::finish() {
  if (changed_) draw();
  // What is drawn is history from here on: later layers get lines of their own.
  drawn_ = 0;
  layers_.clear();
}

std::string ProgressDisplay::bar(const Progress& progress, unsigned columns) const {
  std::string line = cat(progress.id, ": ", to_string(progress.step));
  if (!has_bytes(progress.step)) return line;
  const std::string bytes = progress.total == 0
                                ? human_size(progress.done)
                                : cat(human_size(progress.done), '/', human_size(progress.total));
  const size_t taken = line.size() + bytes.size() + 6;
  if (progress.total != 0 && columns > taken + 10) {
    const unsigned width = std::min<unsigned>(bar_columns, columns - static_cast<unsigned>(taken));
    const uint64_t done = std::min(progress.done, progress.total);
    const auto filled = static_cast<unsigned>(static_cast<double>(done) /
                                              static_cast<double>(progress.total) * width);
    line += cat(" [", std::string(filled, '='), filled < width ? ">" : "",
                std::string(filled < width ? width - filled - 1 : 0, ' '), ']');
  }
  return cat(line, ' ', bytes);
}

void ProgressDisplay::draw() {
  changed_ = false;
  std::string screen;
  if (drawn_ != 0) screen += cat("\x1b[", drawn_, 'A');
  const winsize size = terminal_size();
  // The cursor cannot go up beyond the screen: of very many layers the last ones are shown.
  const size_t shown = std::min<size_t>(layers_.size(), size.ws_row - 1u);
  for (size_t each = layers_.size() - shown; each < layers_.size(); ++each) {
    std::string line = bar(layers_[each], size.ws_col);
    if (line.size() >= size.ws_col) line.resize(size.ws_col - 1u);
    screen += cat("\x1b[2K", line, '\n');
  }
  drawn_ = shown;
  std::fwrite(screen.data(), 1, screen.size(), stdout);
  std::fflush(stdout);
}

}  // namespace nacelle::cli
