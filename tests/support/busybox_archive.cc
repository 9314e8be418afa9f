#include "tests/support/busybox_archive.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "tests/support/command.h"

namespace nacelle::test {

const std::string& busybox_archive() {
  static const std::string path = [] {
    const std::string root = "/tmp/busybox-root";
    const std::string script = cat(
        "set -e; rm -rf ", root, "; mkdir -p ", root, "/bin ", root, "/etc ", root, "/tmp ", root,
        "/data/sub; cp /bin/busybox ", root,
        "/bin/; for each in sh sleep true false echo cat kill ls id env seq dd head mkdir touch ",
        "test stat trap grep hostname rm ln mkfifo pwd readlink tr wc; do ln -s busybox ", root,
        "/bin/$each; done; echo 'root:x:0:0:root:/root:/bin/sh' > ", root, "/etc/passwd; ",
        "echo 'user:x:1000:1001:u:/home/user:/bin/sh' >> ", root, "/etc/passwd; ",
        "echo 'root:x:0:' > ", root, "/etc/group; echo 'users:x:1001:' >> ", root, "/etc/group; ",
        "echo content > ", root, "/data/sub/file; chmod 640 ", root, "/data/sub/file; ",
        "echo text > ", root, "/etc/notexec; tar -C ", root, " -cf ", root, ".tar .");
    const CommandResult made = run({"/bin/sh", "-c", script});
    EXPECT_TRUE(made.ok()) << made.text();
    return root + ".tar";
  }();
  return path;
}

}  // namespace nacelle::test
