// Socket addresses a stranger's link may not lead to.
#pragma once

struct sockaddr;

namespace nacelle::http {

// As is_link_local() of url.h, for an address that a name was resolved to.
bool is_link_local_address(const sockaddr* address);

}  // namespace nacelle::http
