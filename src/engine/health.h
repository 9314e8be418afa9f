// What a health check asks, how often, and what its answers mean: Docker's rules. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/model.h"

namespace nacelle::engine {

struct HealthTimes {
  std::chrono::nanoseconds interval{}, timeout{}, start_period{}, start_interval{};
  int64_t retries = 0;
};
HealthTimes health_times(const HealthConfig& config);

// Nothing where there is no check.
std::optional<std::vector<std::string>> probe_command(const ContainerConfig& config);

// Takes an answer in; whether the status has changed by it.
bool note_probe(Health& health, HealthProbe probe, const HealthTimes& times,
                std::chrono::nanoseconds since_start);

}  // namespace nacelle::engine
