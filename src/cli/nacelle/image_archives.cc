// save, load, import, export.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/session.h"
#include "oci/image.h"
#include "oci/reference.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

// Standard output, which must not be a terminal; or a file that gets its name when it is whole and
// before that has none, so that nothing is left of one that was not finished.
class Output {
 public:
  static Result<Output> open(const std::string& path) {
    Output output;
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

  const Fd& file() const { return file_; }
  Result<> finish() {
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

 private:
  std::string path_;
  Fd file_;
  bool is_nameless_ = false;
};

// A file, or standard input for "" and "-".
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

}  // namespace

Result<int> run_save(Session& session, const Arguments& arguments) {
  std::string path;
  Options options("image save [OPTIONS] IMAGE [IMAGE...]", "Saves images to a tar archive.");
  options.value("output", 'o', path, "FILE", "Write to a file, not to standard output")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  Output output = TRY(Output::open(path));
  TRY(session.loop().run(images->save(parsed.operands, output.file())));
  TRY(output.finish());
  return 0;
}

Result<int> run_load(Session& session, const Arguments& arguments) {
  std::string path;
  bool quiet = false;
  Options options("image load [OPTIONS]", "Loads images from a tar archive, compressed or not.");
  options.value("input", 'i', path, "FILE", "Read a file, not standard input")
      .flag("quiet", 'q', quiet, "Show no progress")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments);
  if (parsed.exit_code) return *parsed.exit_code;
  const Fd input = TRY(open_input(path));
  image::Images* images = TRY(session.images());
  // What was loaded is said in any case; how it went on is for terminals.
  const bool bars = !quiet && ProgressDisplay::style_for_output() == ProgressDisplay::Style::Bars;
  ProgressDisplay display(bars ? ProgressDisplay::Style::Bars : ProgressDisplay::Style::Says);
  TRY(session.loop().run(images->load(input, display)));
  return 0;
}

Result<int> run_import(Session& session, const Arguments& arguments) {
  image::ImportOptions import;
  std::string platform;
  Options options("image import [OPTIONS] FILE|- [NAME[:TAG]]",
                  "Makes an image of a root file system in a tar archive.");
  options.list("change", 'c', import.changes, "INSTRUCTION", "Apply a Dockerfile instruction")
      .value("message", 'm', import.message, "TEXT", "Say where it comes from")
      .value("platform", 0, platform, "OS/ARCH", "What the files are for")
      .operands(1, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments);
  if (parsed.exit_code) return *parsed.exit_code;
  if (parsed.operands.size() == 2) import.name = TRY(parse_new_name(parsed.operands[1]));
  if (!platform.empty()) import.platform = TRY(oci::parse_platform(platform));
  const Fd input = TRY(open_input(parsed.operands[0]));
  image::Images* images = TRY(session.images());
  const image::Image image = TRY(session.loop().run(images->import(input, std::move(import))));
  const image::Details details = TRY(session.loop().run(images->inspect(image.manifest.digest)));
  std::printf("%s\n", details.id().text().c_str());
  return 0;
}

Result<int> run_image_export(Session& session, const Arguments& arguments) {
  std::string path;
  Options options("image export [OPTIONS] IMAGE",
                  "Writes an image's root file system to a tar archive.");
  options.value("output", 'o', path, "FILE", "Write to a file, not to standard output")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  Output output = TRY(Output::open(path));
  TRY(session.loop().run(images->export_tree(parsed.operands[0], output.file())));
  TRY(output.finish());
  return 0;
}

}  // namespace nacelle::cli
