// The words of the runtime-spec and the numbers the kernel has for them. Numbers are written out
// rather than taken from headers, so that a build on an older system knows the same words.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "oci/spec.h"

namespace nacelle::oci {

template <class T>
struct Named {
  std::string_view name;
  T value;
};

template <class T>
std::optional<T> find_named(std::span<const Named<T>> table, std::string_view name) {
  for (const Named<T>& each : table) {
    if (each.name == name) return each.value;
  }
  return std::nullopt;
}

// The place of a name is the kernel's number (capability.h).
std::span<const std::string_view> capability_names();
// The capability's number, or nothing when no such capability exists.
std::optional<unsigned> find_capability(std::string_view name);

std::span<const Named<int>> rlimit_names();
std::span<const Named<uint32_t>> scheduler_policy_names();
std::span<const Named<uint64_t>> scheduler_flag_names();
std::span<const Named<uint16_t>> io_priority_class_names();
std::span<const Named<NamespaceType>> namespace_names();
std::span<const Named<Propagation>> propagation_names();
std::span<const Named<int>> memory_policy_names();
std::span<const Named<unsigned>> memory_policy_flag_names();
std::span<const Named<uint32_t>> personality_names();
std::span<const Named<SeccompAction>> seccomp_action_names();
std::span<const Named<SeccompOperator>> seccomp_operator_names();
std::span<const Named<SeccompArch>> seccomp_arch_names();
std::span<const std::string_view> seccomp_flag_names();

}  // namespace nacelle::oci
