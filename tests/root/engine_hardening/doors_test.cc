// Who can reach the engine, and what it takes for a request.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

#include <filesystem>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

class Doors : public Hardening {
 protected:
  // What the engine answers to these bytes, with the client's side ended behind them.
  std::string answer_to(const std::string& bytes) {
    RawClient client(engine().socket_path());
    EXPECT_TRUE(client.is_connected());
    client.send(bytes);
    ::shutdown(client.socket().get(), SHUT_WR);
    return client.read_all();
  }
};

// CVE-2020-15257: an abstract socket has no owner and no mode; whoever shares the network namespace
// reaches it.
TEST_F(Doors, no_socket_has_a_name_that_a_container_in_the_hosts_network_could_call) {
  const auto sockets_seen = [&] {
    return engine().output_of({"cat", "/proc/net/unix"}, "", R"("NetworkMode":"host")");
  };
  {
    // Such a one is seen.
    const Fd named(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, "\0named", 6);
    ASSERT_EQ(::bind(named.get(), reinterpret_cast<const sockaddr*>(&address),
                     offsetof(sockaddr_un, sun_path) + 6),
              0);
    ASSERT_TRUE(sockets_seen().contains(" @named"));
  }
  const std::string seen = sockets_seen();
  ASSERT_TRUE(seen.contains(engine().socket_path())) << seen;  // it is the same namespace
  EXPECT_FALSE(seen.contains(" @")) << seen;
  size_t sockets = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(engine().run_directory())) {
    if (!entry.is_socket()) continue;
    ++sockets;
    struct stat status{};
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07117, 0u) << entry.path();
    EXPECT_EQ(status.st_uid, 0u) << entry.path();
  }
  EXPECT_GE(sockets, 2u);
  // Nor do their paths lead anywhere in a container.
  EXPECT_EQ(
      engine().output_of({"sh", "-c", cat("test -e ", engine().run_directory(), " || echo no")}),
      "no\n");
}

// CVE-2024-41110, CVE-2026-34040: a body that two readers take for different ones. Whatever its
// length is said to be, it is read as a whole or the request is refused; nothing is made of a part.
TEST_F(Doors, a_body_is_whole_or_refused) {
  const std::string body =
      R"({"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}})";
  const auto request = [&](std::string_view headers, std::string_view bytes) {
    return cat("POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n",
               headers, "\r\n", bytes);
  };
  const std::string length = cat("Content-Length: ", body.size(), "\r\n");
  const std::string chunk = cat("46\r\n", body, "\r\n");
  ASSERT_EQ(body.size(), 0x46u);
  const std::string cut = cat("Content-Length: ", body.size() - 1, "\r\n");
  const std::string more = cat("Content-Length: ", body.size() + 1, "\r\n");
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  constexpr size_t limit = 4u << 20;  // api/route.h
  const std::string large = body + std::string(limit + 1 - body.size(), ' ');
  struct Case {
    const char* what;
    std::string bytes;
    const char* status;  // "": the connection is cut
  };
  const Case cases[] = {
      {"no length", request("", body), "400"},
      {"a length of 0", request("Content-Length: 0\r\n", body), "400"},
      {"an empty chunked one", request(chunked, "0\r\n\r\n"), "400"},
      {"two lengths", request(length + "Content-Length: 0\r\n", body), "400"},
      {"the same length twice", request(length + length, body), "400"},
      {"a list of lengths", request("Content-Length: 70, 70\r\n", body), "400"},
      {"a length with a sign", request("Content-Length: +70\r\n", body), "400"},
      {"a length in base 16", request("Content-Length: 0x46\r\n", body), "400"},
      {"a length beyond 64 bits", request("Content-Length: 18446744073709551686\r\n", body), "400"},
      {"both ways", request(length + chunked, chunk + "0\r\n\r\n"), "400"},
      {"both ways, the other way round", request(chunked + length, body), "400"},
      {"chunked twice", request(chunked + chunked, chunk + "0\r\n\r\n"), "400"},
      {"another encoding", request("Transfer-Encoding: gzip, chunked\r\n", chunk), "400"},
      {"an encoding with a trick", request("Transfer-Encoding: xchunked\r\n", chunk), "400"},
      {"a length cut short", request(cut, body), "400"},
      {"a length too long", request(more, body), "400"},
      {"chunks without an end", request(chunked, chunk), "400"},
      {"two documents", request(cat("Content-Length: ", 2 * body.size(), "\r\n"), body + body),
       "400"},
      {"one byte too many", request(cat("Content-Length: ", limit + 1, "\r\n"), large), "413"},
      {"one byte too many, chunked", request(chunked, cat("400001\r\n", large, "\r\n0\r\n\r\n")),
       "413"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    const std::string answer = answer_to(each.bytes);
    EXPECT_TRUE(answer.starts_with(cat("HTTP/1.1 ", each.status))) << answer.substr(0, 300);
    EXPECT_FALSE(answer.contains("HTTP/1.1 201"));
  }
  EXPECT_EQ(containers(), 0u);
  // The same in each of the right ways is taken, and so is one of just the limit.
  EXPECT_TRUE(answer_to(request(length, body)).starts_with("HTTP/1.1 201"));
  EXPECT_TRUE(answer_to(request(chunked, chunk + "0\r\n\r\n")).starts_with("HTTP/1.1 201"));
  EXPECT_TRUE(answer_to(request(cat("Content-Length: ", limit, "\r\n"), large.substr(0, limit)))
                  .starts_with("HTTP/1.1 201"));
  EXPECT_EQ(containers(), 3u);
}

}  // namespace
}  // namespace nacelle::test
