// A container's record: everything about it that must outlive the engine, as JSON. Reading one
// that is cut short, damaged or of another version is an error, never half a container.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/containers.h"
#include "engine/model.h"
#include "engine/spec_builder.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::engine {

inline constexpr size_t record_bytes_max = 16u << 20;
inline constexpr const char* record_name = "record";
inline constexpr const char* new_record_name = ".record";  // until it is whole

struct Record {
  Container container;  // without what only a running engine knows: directory, phases, execs
  std::vector<MountPlan> mounts;
  bool removing = false;
  bool remove_volumes = false;  // of a removal that goes on
};

std::string write_record(const Record& record);
// The same without a copy of the container.
std::string write_record(const Container& container, const std::vector<MountPlan>& mounts,
                         bool removing, bool remove_volumes);
Result<Record> parse_record(std::string_view text);

// <directory>/record, replaced as a whole. It is on disk once flush() says so.
Result<> save_record(const Fd& directory, std::string_view text);
Result<Record> load_record(const Fd& containers, const std::string& id);

}  // namespace nacelle::engine
