// What is told of a container while it happens: logs, attached streams, its end, its use of
// resources. And how a stream is framed for clients.
#pragma once

#include <string>
#include <string_view>

#include "api/route.h"
#include "logs/reader.h"
#include "nacelle/task.h"

namespace nacelle::api {

ring::Task<> container_logs(Call& call);
ring::Task<> container_wait(Call& call);
ring::Task<> container_attach(Call& call);
ring::Task<> container_attach_websocket(Call& call);
ring::Task<> container_stats(Call& call);

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
