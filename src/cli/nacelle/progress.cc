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

winsize output_size(FILE* output) {
  winsize size{};
  if (::ioctl(::fileno(output), TIOCGWINSZ, &size) != 0) size = {};
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
  const bool has_bytes = progress.step == Progress::Step::Downloading ||
                         progress.step == Progress::Step::Extracting ||
                         progress.step == Progress::Step::Pushing;
  line({.id = progress.id,
        .status = std::string(to_string(progress.step)),
        .done = has_bytes ? progress.done : 0,
        .total = has_bytes ? progress.total : 0});
}

void ProgressDisplay::line(const Line& line) {
  if (style_ == Style::Quiet || style_ == Style::Says) return;
  auto known = std::ranges::find(lines_, line.id, &Line::id);
  const bool is_new = known == lines_.end();
  const bool new_step = is_new || known->status != line.status;
  if (is_new) {
    lines_.push_back(line);
  } else {
    *known = line;
  }
  if (style_ == Style::Lines) {
    if (new_step) std::fprintf(output_, "%s: %s\n", line.id.c_str(), line.status.c_str());
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
  std::fprintf(output_, "%.*s\n", static_cast<int>(line.size()), line.data());
  std::fflush(output_);
}

void ProgressDisplay::finish() {
  if (changed_) draw();
  // What is drawn is history from here on: later layers get lines of their own.
  drawn_ = 0;
  lines_.clear();
}

std::string ProgressDisplay::bar(const Line& progress, unsigned columns) const {
  std::string line = cat(progress.id, ": ", progress.status);
  if (progress.done == 0 && progress.total == 0) return line;
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
  const winsize size = output_size(output_);
  // The cursor cannot go up beyond the screen: of very many layers the last ones are shown.
  const size_t shown = std::min<size_t>(lines_.size(), size.ws_row - 1u);
  for (size_t each = lines_.size() - shown; each < lines_.size(); ++each) {
    std::string line = bar(lines_[each], size.ws_col);
    if (line.size() >= size.ws_col) line.resize(size.ws_col - 1u);
    screen += cat("\x1b[2K", line, '\n');
  }
  drawn_ = shown;
  std::fwrite(screen.data(), 1, screen.size(), output_);
  std::fflush(output_);
}

}  // namespace nacelle::cli
