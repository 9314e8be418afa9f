// Listening sockets: how they are made, and who is on the other side of what they accept.
#pragma once

#include <string>

#include "http/server.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::http {

// See Server::listen_unix() and listen_tcp().
Result<Fd> open_unix_listener(const std::string& path, const std::string& group);
Result<Fd> open_tcp_listener(const std::string& address);
Peer peer_of(const Fd& connection);

}  // namespace nacelle::http
