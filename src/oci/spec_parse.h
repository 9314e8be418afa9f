// config.json and its relatives, from bytes to spec.h. Pure: no fds, no kernel.
// A rejected document gives one line that names the JSON path at fault and the reason, such as
// `process.args[1]: expected a string`. Unknown properties pass in silence (config.md,
// "Extensibility"). Duplicate keys: the last wins, as in runc.
#pragma once

#include <string_view>

#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::oci {

// Larger documents are refused before they are read: a config is kilobytes.
inline constexpr size_t config_bytes_max = 10u << 20;
// Deeper nesting than any valid document has.
inline constexpr size_t config_depth_max = 64;

// A whole config.json, with everything but linux.seccomp parsed and checked for sense.
Result<Spec> parse_spec(std::string_view json);

// The `process` object alone: `exec --process FILE`.
Result<Process> parse_process(std::string_view json);

// The `linux.resources` object alone: `update --resources FILE`.
Result<Resources> parse_resources(std::string_view json);

// The `linux.seccomp` object alone (Linux::seccomp_json); paths in errors begin with linux.seccomp.
Result<Seccomp> parse_seccomp(std::string_view json);

}  // namespace nacelle::oci
