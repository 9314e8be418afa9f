// Where an archive goes and comes from: a file of the user's, or our own standard streams.
#pragma once

#include <string>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// Standard output, which must not be a terminal; or a file that gets its name when it is whole and
// before that has none, so that nothing is left of one that was not finished.
class OutputFile {
 public:
  static Result<OutputFile> open(const std::string& path);
  const Fd& file() const { return file_; }
  Result<> finish();

 private:
  std::string path_;
  Fd file_;
  bool is_nameless_ = false;
};

// A file, or standard input for "" and "-".
Result<Fd> open_input(const std::string& path);

}  // namespace nacelle::cli
