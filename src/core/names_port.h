// From 127.0.0.11 port 53, where a container's programs ask for names, to the port that our sockets
// have (dns/messages.h): so a program inside can have port 53 of every address for itself. Done by
// BPF programs at the root of our control groups, which no rule of a packet filter inside can undo;
// they hold for every container, and are there once.
#pragma once

#include <string>

#include "nacelle/result.h"
#include "sys/cgroup.h"

namespace nacelle::core {

// Attaches what is not attached yet.
Result<> lead_names_to_sockets(const sys::CgroupTree& tree, const std::string& cgroup_root);

}  // namespace nacelle::core
