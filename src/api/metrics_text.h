// Prometheus' text format (0.0.4), and what is told in it of containers and of the engine. Pure:
// values in, text out. Names of containers' metrics are cAdvisor's where they mean the same. What
// could not be measured is absent, and nacelle_unavailable says for how many containers and why.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/messages.h"
#include "engine/containers.h"
#include "engine/stats.h"
#include "nacelle/loop.h"

namespace nacelle::api {

// Samples of one family stand together, behind its two lines of head.
class MetricsWriter {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  void family(std::string_view name, std::string_view type, std::string_view help);
  // Of the family begun last; `fixed` are labels as label_text() made them. `suffix`: "_bucket".
  void sample(std::string_view fixed, Labels more, uint64_t value, std::string_view suffix = {});
  // `value` / `per_unit`, exactly: 1500 of 1000 is 1.5.
  void sample(std::string_view fixed, Labels more, uint64_t value, uint64_t per_unit,
              std::string_view suffix = {});

  static std::string label_text(Labels labels);
  std::string take() && { return std::move(text_); }

 private:
  void begin_sample(std::string_view fixed, Labels more, std::string_view suffix);
  std::string text_;
  std::string name_;
};

// What is known of engine and core at the time of a pass.
struct EngineFigures {
  std::string version;
  uint64_t running = 0, paused = 0, stopped = 0;
  engine::ContainerCounts counts;
  uint64_t removals_waiting = 0;
  ring::LoopStats loop;
  std::optional<core::StatusRequest::Reply> core;
  std::string core_trouble;  // why there is none
};

std::string metrics_text(const engine::Pass& pass, const EngineFigures& figures);

}  // namespace nacelle::api
