// How streams of containers look to clients: their content types, and the entries of a log.
#pragma once

#include <string>

#include "api/route.h"
#include "logs/reader.h"
#include "nacelle/result.h"

namespace nacelle::api {

inline constexpr const char* raw_stream = "application/vnd.docker.raw-stream";
inline constexpr const char* multiplexed_stream = "application/vnd.docker.multiplexed-stream";
// Of an attached (or exec's) connection: framed streams have a name of their own since 1.42, and
// only where the client asked for an upgrade.
const char* attached_content_type(const Call& call, bool terminal);

struct LogFormat {
  bool framed = true;  // the 8-byte header before each entry
  bool timestamps = false, details = false;
};
void append_entry(std::string& out, const logs::Entry& entry, const LogFormat& format);
// GET logs' parameters. Invalid: `Bad parameters: you must choose at least one stream`.
Result<logs::ReadOptions> read_log_options(const Call& call);

}  // namespace nacelle::api
