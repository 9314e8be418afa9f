// Values of `nacelle build`'s options, well and badly typed.
#include "cli/nacelle/build_values.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nacelle/fd.h"

namespace nacelle::cli {
namespace {

TEST(BuildValues, destinations_are_read) {
  struct Case {
    const char* text;
    const char* type;
    const char* path;
    bool is_handed_out;
  };
  const Case cases[] = {{"out", "local", "out", true},
                        {"-", "tar", "-", true},
                        {"type=local,dest=a/b", "local", "a/b", true},
                        {"type=tar,dest=x.tar", "tar", "x.tar", true},
                        {"type=tar", "tar", "-", true},
                        {"dest=x,type=oci", "oci", "x", true},
                        {"type=docker,dest=-", "docker", "-", true},
                        {"type=docker", "image", "", false},
                        {"type=image", "image", "", false},
                        {"type=cacheonly", "cacheonly", "", false}};
  for (const Case& each : cases) {
    const auto destination = parse_build_destination(each.text);
    ASSERT_TRUE(destination) << each.text << ": " << destination.error().message();
    EXPECT_EQ(destination->type, each.type) << each.text;
    EXPECT_EQ(destination->path, each.path) << each.text;
    EXPECT_EQ(destination->is_handed_out(), each.is_handed_out) << each.text;
  }
}

TEST(BuildValues, destinations_that_mean_nothing_are_refused) {
  for (const char* text :
       {"", "type=", "type=floppy,dest=x", "type=local", "type=local,dest=-", "type=image,dest=x",
        "dest=x", "type=tar,dest=x,dest=y", "type=tar,dest=x,speed=9", "type=tar,dest"}) {
    EXPECT_FALSE(parse_build_destination(text)) << text;
  }
}

TEST(BuildValues, secrets_come_from_variables) {
  ASSERT_EQ(::setenv("NACELLE_TEST_SECRET", "of a variable", 1), 0);
  for (const char* text :
       {"id=NACELLE_TEST_SECRET", "id=NACELLE_TEST_SECRET,env=NACELLE_TEST_SECRET",
        "id=NACELLE_TEST_SECRET,type=env",
        "type=env,id=NACELLE_TEST_SECRET,src=NACELLE_TEST_SECRET"}) {
    const auto secret = read_build_secret(text);
    ASSERT_TRUE(secret) << text << ": " << secret.error().message();
    EXPECT_EQ(secret->id, "NACELLE_TEST_SECRET");
    EXPECT_EQ(secret->value, "of a variable");
  }
  ::unsetenv("NACELLE_TEST_SECRET");
}

TEST(BuildValues, secrets_that_are_none_are_refused) {
  for (const char* text : {"", "src=x", "id=", "id=a,env=NACELLE_TEST_NOT_THERE",
                           "id=a,src=/nacelle-test/not-there", "id=a,type=ssh", "id=a,mode=0400"}) {
    EXPECT_FALSE(read_build_secret(text)) << text;
  }
}

TEST(BuildValues, agents_are_sockets) {
  const std::string path = "/tmp/nacelle-agent-" + std::to_string(::getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::setenv("SSH_AUTH_SOCK", path.c_str(), 1), 0);
  const auto agents = read_build_agents({"default", "other=" + path});
  ::unsetenv("SSH_AUTH_SOCK");
  EXPECT_FALSE(read_build_agents({"default"}));
  ::unlink(path.c_str());
  ASSERT_TRUE(agents) << agents.error().message();
  ASSERT_EQ(agents->size(), 2u);
  EXPECT_EQ(agents->front().id, "default");
  EXPECT_EQ(agents->front().socket, path);
  EXPECT_EQ(agents->back().id, "other");
  EXPECT_EQ(agents->back().socket, path);
  for (const char* text : {"", "=x", "default=/nacelle-test/not-there", "default=/dev/null"}) {
    EXPECT_FALSE(read_build_agents({text})) << text;
  }
}

}  // namespace
}  // namespace nacelle::cli
