// Files in and out of containers (`docker cp`), what has changed in one, and its whole tree. Done
// by a worker that stands inside the container: in its mount namespace and root where it runs, in
// a mount of its layers where it does not. The engine never resolves a path of a container's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/containers.h"
#include "nacelle/fd.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct PathStat {
  std::string name;  // the last component
  int64_t size = 0;
  uint32_t mode = 0;  // as Go's os.FileMode has it
  std::string mtime;  // RFC 3339
  std::string link_target;
};

// NotFound: `Could not find the file /x in container y`.
ring::Task<PathStat> stat_path(Engine& engine, Container& container, std::string path);
// A tar stream of `path` to a pipe or socket, ended by its end.
ring::Task<PathStat> read_archive(Engine& engine, Container& container, std::string path,
                                  Fd output);
struct ExtractOptions {
  bool no_overwrite_dir_non_dir = false;
  bool copy_uid_gid = false;
};
// A tar stream (plain, gzip, zstd) into the directory `path`.
ring::Task<> write_archive(Engine& engine, Container& container, std::string path,
                           ExtractOptions options, Fd input);
ring::Task<> export_container(Engine& engine, Container& container, Fd output);

struct Change {
  std::string path;
  int kind = 0;  // 0 modified, 1 added, 2 deleted
};
ring::Task<std::vector<Change>> changes(Engine& engine, Container& container);

}  // namespace nacelle::engine
