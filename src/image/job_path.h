// Paths of a container's, looked up from inside of it: "/" is the worker's root, and every link
// leads somewhere below. Magic links are not followed.
#pragma once

#include <string>
#include <string_view>

#include "image/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

struct FoundPath {
  Fd parent;  // of what is no directory
  Fd file;    // O_PATH
  FileStat stat;
};

// "PATH" is what has that name, be it a link; "PATH/" and "PATH/." are the directory it leads to.
// NotFound where there is nothing.
Result<FoundPath> find_path(const Fd& root, std::string_view path);

// Lexically: "/a/b", no "." or ".." left.
std::string absolute_path(std::string_view path);

// Where a path leads, each link followed; what does not exist stays as it is written.
Result<std::string> follow_path(const Fd& root, const std::string& path);

// The directory `path` leads to, for reading; "" is `directory` itself.
Result<Fd> open_directory(const Fd& directory, const std::string& path);

}  // namespace nacelle::image
