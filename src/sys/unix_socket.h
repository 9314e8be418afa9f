// Unix sockets as runtimes use them: connect to a path, pass one descriptor along with some bytes.
#pragma once

#include <string_view>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

// A connected SOCK_STREAM socket. Paths of more than 107 bytes are refused, as by the kernel.
Result<Fd> connect_unix(std::string_view path);

// Sends `fd` (SCM_RIGHTS) with the first byte of `bytes`, and all of `bytes`; not empty.
Result<> send_fd(const Fd& socket, const Fd& fd, std::string_view bytes);

// The descriptor that comes with the next bytes, which are dropped.
Result<Fd> receive_fd(const Fd& socket);

}  // namespace nacelle::sys
