// From 127.0.0.11 port 53, where a container's programs ask for names, to the port that our sockets
// have (dns/messages.h): so a program inside can have port 53 of every address for itself. Done by
// BPF programs at the root of our control groups, which no rule of a packet filter inside can undo;
// they hold for every container, and are there once.
#pragma once

#include <cstdint>
#include <string>

#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "sys/cgroup.h"

namespace nacelle::core {

class NamesPort {
 public:
  // Attaches what is not attached yet; as a rule one look says that all is.
  Result<> ensure(const sys::CgroupTree& tree, const std::string& cgroup_root);

 private:
  Fd group_;
  uint32_t first_program_ = 0;  // id
};

}  // namespace nacelle::core
