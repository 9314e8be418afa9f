// Where what a build hands out goes: files into a directory, archives into a file that has its name
// when it is whole, or to standard output.
#pragma once

#include <optional>
#include <string_view>

#include "cli/nacelle/archive_source.h"
#include "cli/nacelle/build_values.h"
#include "cli/nacelle/output_file.h"
#include "nacelle/result.h"

namespace nacelle::cli {

class BuildOutput {
 public:
  explicit BuildOutput(BuildDestination destination) : destination_(std::move(destination)) {}

  const BuildDestination& destination() const { return destination_; }
  // What the engine is asked for; empty: an image.
  std::string_view wanted() const;
  // Before the build: what surely cannot be written is said at once.
  Result<> prepare();
  Result<> take(std::string_view piece);
  // All of it has come.
  Result<> finish();
  bool is_whole() const { return is_whole_; }
  bool is_awaited() const { return destination_.is_handed_out(); }

 private:
  BuildDestination destination_;
  std::optional<OutputFile> file_;
  std::optional<ArchiveSink> files_;
  bool is_whole_ = false;
};

}  // namespace nacelle::cli
