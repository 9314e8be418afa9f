#include "cli/nacelle/output_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "base/text.h"
#include "sys/file.h"

namespace nacelle::cli {

Result<OutputFile> OutputFile::open(const std::string& path) {
  OutputFile output;
  if (path.empty()) {
    if (::isatty(STDOUT_FILENO) == 1) {
      return fail(Kind::Invalid,
                  "cowardly refusing to write an archive to a terminal: use -o, or redirect");
    }
    output.file_ = Fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!output.file_) return fail_errno(errno, "standard output");
    return output;
  }
  struct stat status{};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  // What a symbolic link, a pipe or a device stands for is written to, not replaced.
  char resolved[PATH_MAX];
  const bool is_link = ::realpath(path.c_str(), resolved) != nullptr;
  output.path_ = is_link ? resolved : path;
  if (exists && !S_ISREG(status.st_mode)) {
    if (S_ISDIR(status.st_mode)) return fail(Kind::Invalid, cat(path, ": is a directory"));
    output.file_ = TRY(sys::open_at(sys::working_directory, path.c_str(), O_WRONLY));
    return output;
  }
  const size_t slash = output.path_.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : output.path_.substr(0, slash + 1);
  output.file_ =
      TRY(sys::open_at(sys::working_directory, directory.c_str(), O_TMPFILE | O_WRONLY, 0600));
  output.is_nameless_ = true;
  return output;
}

Result<> OutputFile::finish() {
  if (!is_nameless_) return {};
  // linkat(2) replaces nothing, so what has the name already goes by way of a rename.
  const std::string source = cat("/proc/self/fd/", file_.get());
  if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    return {};
  }
  const std::string temporary = cat(path_, ".nacelle-", ::getpid());
  if (errno != EEXIST ||
      ::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, temporary.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return fail_errno(errno, cat("naming ", path_));
  }
  return sys::rename_at(sys::working_directory, temporary.c_str(), path_.c_str());
}

Result<Fd> open_input(const std::string& path) {
  if (!path.empty() && path != "-") {
    return sys::open_at(sys::working_directory, path.c_str(), O_RDONLY);
  }
  if (::isatty(STDIN_FILENO) == 1) {
    return fail(Kind::Invalid, "requires an archive on standard input, or a file's name");
  }
  Fd input(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!input) return fail_errno(errno, "standard input");
  return input;
}

}  // namespace nacelle::cli
