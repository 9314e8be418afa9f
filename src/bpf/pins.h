// Where programs and maps are kept while nobody of us runs: a file system of BPF's own, mounted at
// `<run directory>/bpf` and closed to others. Its names are those of bpf/*.bpf.c.
#pragma once

#include <string>
#include <string_view>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::bpf {

std::string pins_directory(std::string_view run_directory);
// Mounts one there if there is none.
Result<> ensure_pins_directory(const std::string& directory);
// Whatever is pinned goes, and the mount: programs stay on interfaces that still are there.
Result<> remove_pins_directory(const std::string& directory);

Result<Fd> open_pin(const std::string& directory, std::string_view name);
// A map whose rows are as this program knows them.
Result<Fd> open_pinned_map(const std::string& directory, std::string_view name, size_t key_bytes,
                           size_t value_bytes);

}  // namespace nacelle::bpf
