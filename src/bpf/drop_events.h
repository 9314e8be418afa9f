// What the programs on links drop, told while it happens: for one listener at a time, who says
// again and again that he listens. When he stops, or dies, they stop telling.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "bpf/abi/link.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::bpf {

class DropEvents {
 public:
  // `directory`: of the pins.
  static Result<DropEvents> open(const std::string& directory);
  ~DropEvents();
  DropEvents(DropEvents&& other) noexcept;
  DropEvents& operator=(DropEvents&&) = delete;

  // From now on for as long; zero: no longer. Of each CPU at most NACELLE_EVENTS_PER_SECOND come.
  Result<> listen(std::chrono::milliseconds duration);
  // Readable (POLLIN) where next() has one.
  const Fd& descriptor() const { return events_; }
  std::optional<nacelle_drop_event> next();

 private:
  DropEvents() = default;

  Fd events_, settings_;
  size_t page_bytes_ = 0, ring_bytes_ = 0;
  char* consumer_ = nullptr;  // one page, ours to write
  char* producer_ = nullptr;  // one page, and the ring twice in a row
};

}  // namespace nacelle::bpf
