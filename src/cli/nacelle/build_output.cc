#include "cli/nacelle/build_output.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/text.h"
#include "sys/file.h"

namespace nacelle::cli {
namespace {

// With those it is in.
Result<Fd> make_directory(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0777) != 0 && errno != EEXIST) {
      return fail_errno(errno, cat("mkdir ", part));
    }
    if (at == std::string::npos) break;
  }
  return sys::open_at(sys::working_directory, path.c_str(), O_RDONLY | O_DIRECTORY);
}

}  // namespace

std::string_view BuildOutput::wanted() const {
  if (destination_.type == "image") return {};
  // The same archive: a directory's files are taken out of it here.
  return destination_.type == "local" ? "tar" : std::string_view(destination_.type);
}

Result<> BuildOutput::prepare() {
  if (!destination_.is_handed_out()) return {};
  if (destination_.type == "local") {
    struct stat status{};
    if (::stat(destination_.path.c_str(), &status) == 0 && !S_ISDIR(status.st_mode)) {
      return fail(Kind::Conflict, cat("--output: ", destination_.path, " is not a directory"));
    }
    return {};
  }
  file_ = TRY(OutputFile::open(destination_.path == "-" ? std::string() : destination_.path));
  return {};
}

Result<> BuildOutput::take(std::string_view piece) {
  if (file_) return sys::write_all(file_->file(), piece, destination_.path);
  if (!files_) {
    // The build has gone well: the directory is made now.
    files_.emplace(TRY(make_directory(destination_.path)), std::string(), UnpackOptions());
  }
  return files_->feed(piece).context(destination_.path);
}

Result<> BuildOutput::finish() {
  if (files_) TRY(files_->finish().context(destination_.path));
  if (file_) TRY(file_->finish());
  is_whole_ = true;
  return {};
}

}  // namespace nacelle::cli
