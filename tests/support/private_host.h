// A private host for tests that need one: own mount, network, pid, cgroup, uts and ipc namespaces,
// a pure cgroup v2 tree at /sys/fs/cgroup that is a group made for this run, empty tmpfs on /run
// and /tmp, loopback up. The whole of it, with every process left inside, is gone afterwards. It
// never alters a hierarchy or a mount outside itself.
#pragma once

#include <functional>

namespace nacelle::test {

// Runs `body` in a private host and returns what it returns, or 125 with a message on stderr when
// the host cannot be made. Needs root. Our cgroup inside is /test, so that the root group has no
// process of its own and can hand controllers down.
int in_private_host(const std::function<int()>& body);

}  // namespace nacelle::test
