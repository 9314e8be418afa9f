// cp.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"
#include "cli/nacelle/archive_source.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/output_file.h"
#include "cli/nacelle/streams.h"
#include "cli/nacelle/terminal.h"
#include "cli/nacelle/units.h"
#include "codec/base64.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

struct CopyOptions {
  bool archive = false, follow = false, quiet = false;
};

// `CONTAINER:PATH`; a name with a slash or dot before the colon is a path here.
struct Place {
  std::string container, path;
};
Place parse_place(const std::string& text) {
  if (text.starts_with('/') || text.starts_with('.')) return {.container = {}, .path = text};
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0) return {.container = {}, .path = text};
  return {.container = text.substr(0, colon), .path = text.substr(colon + 1)};
}

// What the engine says of a path, in a header.
struct PathStat {
  bool is_directory = false, is_link = false;
  std::string link_target;
};
Result<PathStat> path_stat(const http::ResponseHead& head) {
  const std::string* header = http::find_header(head.headers, "x-docker-container-path-stat");
  if (header == nullptr) return fail(Kind::Invalid, "the engine's answer lacks the path's state");
  const Datum stat = TRY(Datum::parse(TRY(codec::from_base64(*header))));
  // As Go's os.FileMode has it.
  constexpr int64_t directory_bit = int64_t{1} << 31, link_bit = int64_t{1} << 27;
  const int64_t mode = stat["mode"].integer();
  return PathStat{.is_directory = (mode & directory_bit) != 0,
                  .is_link = (mode & link_bit) != 0,
                  .link_target = stat["linkTarget"].text()};
}

Target archive_target(const Place& place) {
  Target target("/containers/", place.container, "/archive");
  return target.with("path", place.path);
}

Result<PathStat> stat_in_container(Api& api, const Place& place) {
  return path_stat(TRY(api.call({.method = "HEAD", .target = archive_target(place)})));
}

bool means_content(std::string_view path) { return path == "." || path.ends_with("/."); }

std::string base_of(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::string parent_of(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

void tell(const CopyOptions& options, uint64_t bytes, const std::string& to) {
  if (options.quiet) return;
  std::fprintf(stderr, "Successfully copied %s to %s\n",
               decimal_size(static_cast<double>(bytes)).c_str(), to.c_str());
}

// Where what comes out of the container is to be.
struct Destination {
  Fd directory;
  std::string name;  // empty: straight into the directory
};
Result<Destination> destination_of(const std::string& path, const std::string& source,
                                   bool is_directory) {
  struct stat status{};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  Destination destination;
  std::string directory = path;
  if (exists && S_ISDIR(status.st_mode)) {
    if (!(is_directory && means_content(source))) destination.name = base_of(source);
    // The root of a container has no name of its own.
    if (destination.name == "/" || destination.name == ".") destination.name.clear();
  } else {
    if (exists && is_directory) return fail(Kind::Conflict, "cannot copy directory");
    if (!is_directory && path.ends_with('/')) {
      return fail(Kind::NotFound, cat("no such directory: ", path));
    }
    directory = parent_of(path);
    destination.name = base_of(path);
  }
  destination.directory =
      TRY(sys::open_at(sys::working_directory, directory.c_str(), O_RDONLY | O_DIRECTORY));
  return destination;
}

Result<int> copy_out(Api& api, Place from, const std::string& to, const CopyOptions& options) {
  if (options.follow) {
    const PathStat stat = TRY(stat_in_container(api, from));
    if (stat.is_link && !stat.link_target.empty()) {
      from.path = stat.link_target.starts_with('/')
                      ? stat.link_target
                      : cat(parent_of(from.path), '/', stat.link_target);
    }
  }
  if (to == "-") {
    if (is_terminal(STDOUT_FILENO)) {
      return fail(Kind::Invalid,
                  "cowardly refusing to write an archive to a terminal: redirect it");
    }
    TRY(api.each_piece({.target = archive_target(from)},
                       [](std::string_view piece) -> Result<bool> {
                         TRY(write_out(STDOUT_FILENO, piece));
                         return true;
                       }));
    return 0;
  }
  const PathStat stat = TRY(stat_in_container(api, from));
  // A link that is copied as such is a file, even if it leads to a directory.
  Destination destination =
      TRY(destination_of(to, from.path, stat.is_directory).context(cat("copying to ", to)));
  ArchiveSink sink(std::move(destination.directory), std::move(destination.name),
                   {.keep_owners = options.archive});
  TRY(api.each_piece({.target = archive_target(from)}, [&](std::string_view piece) -> Result<bool> {
    TRY(sink.feed(piece));
    return true;
  }));
  TRY(sink.finish());
  tell(options, sink.content_bytes(), to);
  return 0;
}

Result<> send_archive(Api& api, const Place& to, const CopyOptions& options,
                      std::function<Result<size_t>(std::span<char>)> source) {
  Target target = archive_target(to);
  target.with("noOverwriteDirNonDir", "true");
  if (options.archive) target.with("copyUIDGID", "true");
  return api.send({.method = "PUT",
                   .target = target,
                   .body = {},
                   .headers = {},
                   .body_source = std::move(source)});
}

Result<int> copy_in(Api& api, const std::string& from, Place to, const CopyOptions& options) {
  Result<PathStat> there = stat_in_container(api, to);
  if (!there && there.error().kind() != Kind::NotFound) return std::unexpected(there.error());
  if (there && there->is_link && !there->link_target.empty()) {
    to.path = there->link_target.starts_with('/')
                  ? there->link_target
                  : cat(parent_of(to.path), '/', there->link_target);
    there = stat_in_container(api, to);
  }
  if (from == "-") {
    if (!there || !there->is_directory) {
      return fail(Kind::Invalid,
                  cat("destination \"", to.container, ':', to.path, "\" must be a directory"));
    }
    const Fd input = TRY(open_input("-"));
    TRY(send_archive(api, to, options, [&](std::span<char> into) -> Result<size_t> {
      const ssize_t length = ::read(input.get(), into.data(), into.size());
      if (length < 0) return fail_errno(errno, "reading standard input");
      return static_cast<size_t>(length);
    }));
    return 0;
  }
  struct stat status{};
  const bool follows = options.follow || means_content(from) || from.ends_with('/');
  if ((follows ? ::stat(from.c_str(), &status) : ::lstat(from.c_str(), &status)) != 0) {
    return fail_errno(errno, cat("lstat ", from));
  }
  const bool is_directory = S_ISDIR(status.st_mode);
  if (!is_directory && from.ends_with('/'))
    return fail(Kind::Invalid, cat(from, ": not a directory"));
  char resolved[PATH_MAX];
  std::string top = base_of(from);
  // "." and ".." have names too.
  if ((top == "." || top == "..") && ::realpath(from.c_str(), resolved) != nullptr)
    top = base_of(resolved);
  const std::string shown = cat(to.container, ':', to.path);
  if (there && there->is_directory) {
    if (is_directory && means_content(from)) top.clear();
  } else {
    if (there && is_directory) return fail(Kind::Conflict, "cannot copy directory");
    if (!there && !is_directory && to.path.ends_with('/')) {
      return fail(Kind::NotFound, cat("no such directory: ", to.path));
    }
    top = base_of(to.path);
    to.path = parent_of(to.path);
  }
  ArchiveSource source(from, top, follows);
  TRY(send_archive(api, to, options,
                   [&source](std::span<char> into) { return source.read(into); }));
  tell(options, source.content_bytes(), shown);
  return 0;
}

}  // namespace

Result<int> run_cp(Session& session, const Arguments& arguments) {
  CopyOptions chosen;
  Options options("cp [OPTIONS] CONTAINER:PATH PATH|- | PATH|- CONTAINER:PATH",
                  "Copies files between a container and here; - is a tar archive.");
  options.flag("archive", 'a', chosen.archive, "Keep owners and groups")
      .flag("follow-link", 'L', chosen.follow, "Copy what a link leads to")
      .flag("quiet", 'q', chosen.quiet, "Say nothing")
      .operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Place from = parse_place(parsed.operands[0]), to = parse_place(parsed.operands[1]);
  const bool out = !from.container.empty(), in = !to.container.empty();
  if (out && in) return fail(Kind::Invalid, "copying between containers is not supported");
  if (!out && !in) return fail(Kind::Invalid, "must specify at least one container source");
  if ((out ? from : to).path.empty()) return fail(Kind::Invalid, "source can not be empty");
  Api* api = TRY(session.api());
  return out ? copy_out(*api, from, to.path, chosen) : copy_in(*api, from.path, to, chosen);
}

}  // namespace nacelle::cli
