// The side of COPY and ADD that is read: files found from descriptors inside their own root, and
// the way through a source with what of it is meant. Others wrote what is there and may change it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/ignore.h"
#include "image/jobs.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

// A file found by `name` in a directory, no link followed.
struct Found {
  Fd file;  // for reading if it is a file or directory, else for its place alone
  struct stat status{};
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::string link_target;
};

// `path` is for messages alone.
Result<Found> look_in(const Fd& directory, const char* name, std::string_view path);
// What a source of COPY leads to: its links are followed inside `root`.
Result<Found> look_from_root(const Fd& root, const std::string& path);
// In their order; `path` is for messages alone.
Result<std::vector<std::string>> names_in(const Fd& directory, std::string_view path);
// An empty directory is the top.
std::string joined_path(std::string_view directory, std::string_view name);
std::string_view last_component(std::string_view path);

// What of a source is meant. Paths are relative to the source.
class Selection {
 public:
  // `pattern`: of what is wanted, with all that is in it (COPY --parents); empty: everything.
  // `exclude`: what is not, by the rules of .dockerignore.
  static Result<Selection> make(const std::string& pattern,
                                const std::vector<std::string>& exclude);
  // Inside: of a directory, no more than what is wanted below it.
  enum class Choice : uint8_t { Nothing, Inside, Whole };
  Choice choose(std::string_view path) const;

 private:
  codec::IgnoreList unwanted_, excluded_;
};

// Who is shown the files of a source.
class SourceVisitor {
 public:
  virtual Result<> enter(Found& found, const std::string& path) = 0;
  virtual Result<> leave() = 0;  // the directory entered last

 protected:
  ~SourceVisitor() = default;
};

// Through a source, in the order of names. The source itself is meant, whatever the selection says;
// a directory of which only the inside is meant is entered with the first file that is.
class SourceWalk {
 public:
  SourceWalk(const Selection& selection, SourceVisitor& visitor, Asker& asker)
      : selection_(selection), visitor_(visitor), asker_(asker) {}

  // `name`: of a source that is no directory; what is in a directory has paths relative to it.
  Result<> run(Found& found, const std::string& name);

 private:
  struct Directory {
    Found* found;
    const std::string* path;
    bool entered;
  };

  Result<> walk_inside(const Found& directory, const std::string& path, int depth);
  Result<> walk(Found found, const std::string& path, int depth);
  Result<> enter_waiting();

  const Selection& selection_;
  SourceVisitor& visitor_;
  Asker& asker_;
  std::vector<Directory> directories_;  // that we are in
};

}  // namespace nacelle::image
