// An image for tests of the engine: busybox, two users and a few files, as a layer's archive.
#pragma once

#include <string>

namespace nacelle::test {

// The archive's path, below /tmp of the private host; made once.
const std::string& busybox_archive();

}  // namespace nacelle::test
