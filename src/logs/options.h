// How the output of a container is kept: Docker's logging drivers `json-file`, `local` and `none`
// with their options, as checked values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::logs {

enum class Driver : uint8_t { JsonFile, Local, None };

struct Options {
  Driver driver = Driver::JsonFile;
  uint64_t file_bytes_max = 0;  // max-size; 0: no limit (Local: 20 MiB)
  uint32_t files_max = 1;       // max-file
  bool compress = false;        // rotated files
  // mode=non-blocking: what does not fit into buffer_bytes_max is dropped and counted. Else the
  // container waits for its log.
  bool non_blocking = false;
  uint64_t buffer_bytes_max = 1u << 20;  // max-buffer-size
  // `attrs` of every line (options `labels`, `env`, `tag`): name and value, ready to be written.
  std::vector<std::pair<std::string, std::string>> attributes;
  template <class Visit>
  void fields(Visit& visit) {
    visit(driver, file_bytes_max, files_max, compress, non_blocking, buffer_bytes_max, attributes);
  }
};

// `type` as in HostConfig.LogConfig ("" is json-file). Errors are Docker's words, such as
// `unknown log opt 'x' for json-file log driver`. `attributes` stays empty.
Result<Options> parse_options(const std::string& type,
                              const std::map<std::string, std::string>& config);

}  // namespace nacelle::logs
