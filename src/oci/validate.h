// Whether a configuration makes sense: what config.md and config-linux.md demand beyond types, and
// what would let a container change its host. Pure: what only this host or its kernel can answer
// (controllers, security modules, files) is found out at launch. An error begins with the JSON
// path.
#pragma once

#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::oci {

Result<> validate(const Spec& spec);
// The parts that arrive alone, with the paths they have inside a whole configuration.
Result<> validate(const Process& process);
Result<> validate(const Resources& resources);
Result<> validate(const Seccomp& seccomp);

}  // namespace nacelle::oci
