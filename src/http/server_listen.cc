#include "http/server_listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.h"
#include "sys/file.h"

namespace nacelle::http {
namespace {

constexpr int waiting_max = 1024;
constexpr size_t group_file_bytes_max = 1u << 20;

// From /etc/group itself: a static program has no name services to ask.
Result<gid_t> find_group(const std::string& name) {
  if (const auto number = parse_number<gid_t>(name)) return *number;
  const std::string file =
      TRY(sys::read_file_at(sys::working_directory, "/etc/group", group_file_bytes_max));
  std::string_view rest = file;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    if (take_until(line, ':') != name) continue;
    take_until(line, ':');
    if (const auto number = parse_number<gid_t>(take_until(line, ':'))) return *number;
  }
  return fail(Kind::NotFound, cat("group ", name, " not found"));
}

// Whether somebody listens at the address; a file nobody listens at is in the way of nobody.
Result<> clear_stale_socket(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? Result<>() : fail_errno(errno, cat("lstat '", path, "'"));
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(Kind::Conflict, cat("'", path, "' is there and is no socket"));
  }
  const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN) {
    return fail(Kind::Conflict, cat("'", path, "': another process listens there"));
  }
  return sys::unlink_at(sys::working_directory, path.c_str());
}

}  // namespace

Result<Fd> open_unix_listener(const std::string& path, const std::string& group) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path[0] != '/') {
    return fail(Kind::Invalid, cat("unix://", path, ": the path must be absolute"));
  }
  if (path.size() >= sizeof address.sun_path) {
    return fail(Kind::Invalid, cat("unix://", path, ": longer than 107 bytes"));
  }
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  TRY(clear_stale_socket(path, address));
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  // Nobody else may connect between bind and chmod.
  const mode_t before = ::umask(0177);
  const int bound =
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int why = errno;
  ::umask(before);
  if (bound != 0) return fail_errno(why, cat("listening on unix://", path));
  if (!group.empty()) {
    const gid_t gid = TRY(find_group(group));
    if (::chown(path.c_str(), 0, gid) != 0) return fail_errno(errno, cat("chown '", path, "'"));
  }
  if (::chmod(path.c_str(), 0660) != 0) return fail_errno(errno, cat("chmod '", path, "'"));
  if (::listen(socket.get(), waiting_max) != 0) return fail_errno(errno, "listen");
  return socket;
}

Result<Fd> open_tcp_listener(const std::string& address) {
  const size_t colon = address.rfind(':');
  const auto port = colon == std::string::npos
                        ? std::nullopt
                        : parse_number<uint16_t>(std::string_view(address).substr(colon + 1));
  if (!port) return fail(Kind::Invalid, cat("tcp://", address, ": must be ADDRESS:PORT"));
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  sockaddr_in6 six{.sin6_family = AF_INET6, .sin6_port = htons(*port)};
  sockaddr_in four{.sin_family = AF_INET, .sin_port = htons(*port)};
  const sockaddr* at = reinterpret_cast<const sockaddr*>(&four);
  socklen_t length = sizeof four;
  if (host.empty()) {
    four.sin_addr.s_addr = INADDR_ANY;
  } else if (::inet_pton(AF_INET6, host.c_str(), &six.sin6_addr) == 1) {
    at = reinterpret_cast<const sockaddr*>(&six);
    length = sizeof six;
  } else if (::inet_pton(AF_INET, host.c_str(), &four.sin_addr) != 1) {
    return fail(Kind::Invalid, cat("tcp://", address, ": '", host, "' is no address"));
  }
  Fd socket(::socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), at, length) != 0 || ::listen(socket.get(), waiting_max) != 0) {
    return fail_errno(errno, cat("listening on tcp://", address));
  }
  return socket;
}

Peer peer_of(const Fd& connection) {
  Peer peer;
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;
    peer.pid = credentials.pid;
  }
  return peer;
}

}  // namespace nacelle::http
