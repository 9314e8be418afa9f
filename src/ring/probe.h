// What the ring needs of the kernel, and what to tell a person when it is not there.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::ring {

struct RequiredOperation {
  unsigned opcode;
  std::string_view name;
  std::string_view since;  // the kernel that brought it
};
std::span<const RequiredOperation> required_operations();

// Where kernel.io_uring_disabled (Linux 6.6) can be read; its text, or nothing on older kernels.
inline constexpr const char* disabled_path = "/proc/sys/kernel/io_uring_disabled";
std::string read_disabled_setting();

// Pure: why io_uring_setup failed with `error_number`, given that setting's text, and what to do.
Error explain_setup_failure(int error_number, std::string_view disabled_setting);

// Pure: `supported(opcode)` for each required operation, or one error that names all that lack.
Result<> check_operations(std::span<const bool> supported);

}  // namespace nacelle::ring
