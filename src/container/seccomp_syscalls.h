// What seccomp has to know of each architecture: how the kernel marks it, how wide its arguments
// are, and which number each system call has there. Pure tables; no kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "oci/spec.h"

namespace nacelle::container {

struct SyscallArchitecture {
  oci::SeccompArch id;
  std::string_view name;  // as in config.json
  uint32_t audit = 0;     // AUDIT_ARCH_*, the `arch` that a filter sees
  bool wide = false;      // filters compare arguments as 64 bits
  bool big_endian = false;
  // Socket and System V IPC calls exist (also) as socketcall() and ipc() with these numbers.
  std::optional<uint32_t> socketcall;
  std::optional<uint32_t> ipc;
};

// Nothing for the architectures of the specification that no filter can be compiled for.
const SyscallArchitecture* find_architecture(oci::SeccompArch id);

std::string_view architecture_name(oci::SeccompArch id);

// A system call's name, looked up once, good for every architecture.
class SyscallName {
 public:
  // Nothing when no architecture has such a call.
  static std::optional<SyscallName> find(std::string_view name);

  // The number under which `architecture` has the call by itself (x32: with its marker bit).
  std::optional<uint32_t> number_in(oci::SeccompArch architecture) const;

  // The first argument of socketcall() or ipc() that stands for this call.
  std::optional<uint32_t> socketcall_code() const;
  std::optional<uint32_t> ipc_code() const;

 private:
  SyscallName(std::string_view name, int row, int later) : name_(name), row_(row), later_(later) {}

  std::string_view name_;
  int row_;    // in the generated table, or -1
  int later_;  // in the table of later calls, or -1
};

}  // namespace nacelle::container
