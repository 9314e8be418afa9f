// The profiles that the tests compare with, and the system calls to try on one.
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "codec/cbpf.h"
#include "oci/spec.h"

namespace nacelle::container::test {

struct NamedProfile {
  std::string name;
  oci::Seccomp profile;
};

// Docker 28's, from tests/data.
oci::Seccomp docker_profile();

// Every action, operator and flag; one to four architectures; empty, permissive, contradictory.
std::vector<NamedProfile> made_profiles();

// `conditions_max` is the number of conditions of one rule.
oci::Seccomp random_profile(std::mt19937& random, int conditions_max,
                            const std::vector<oci::SeccompOperator>& operators);

// What to try on a filter compiled from `profile`: every number of every architecture, foreign
// architectures, and argument values at the edges of every condition.
std::vector<codec::SeccompData> probes_for(const oci::Seccomp& profile, std::mt19937& random);

}  // namespace nacelle::container::test
