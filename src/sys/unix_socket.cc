#include "sys/unix_socket.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/text.h"
#include "sys/file.h"

namespace nacelle::sys {
namespace {

// A message with room for one descriptor.
struct FdMessage {
  explicit FdMessage(void* bytes, size_t count) : payload{bytes, count} {
    header.msg_iov = &payload;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
  iovec payload;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
};

}  // namespace

Result<Fd> connect_unix(std::string_view path) {
  const auto attempt = [&](const char* call) { return cat(call, " '", path, "'"); };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail_errno(ENAMETOOLONG, attempt("connect"));
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, attempt("socket"));
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    return fail_errno(errno, attempt("connect"));
  }
  return socket;
}

Result<> send_fd(const Fd& socket, const Fd& fd, std::string_view bytes) {
  CHECK(!bytes.empty());
  FdMessage message(const_cast<char*>(bytes.data()), bytes.size());
  cmsghdr* rights = CMSG_FIRSTHDR(&message.header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = fd.get();
  std::memcpy(CMSG_DATA(rights), &number, sizeof number);
  const ssize_t sent = ::sendmsg(socket.get(), &message.header, MSG_NOSIGNAL);
  if (sent < 0) return fail_errno(errno, "sendmsg of a descriptor");
  return write_all(socket, bytes.substr(static_cast<size_t>(sent)), "socket");
}

Result<Fd> receive_fd(const Fd& socket) {
  char dropped[64];
  FdMessage message(dropped, sizeof dropped);
  if (::recvmsg(socket.get(), &message.header, MSG_CMSG_CLOEXEC) < 0) {
    return fail_errno(errno, "recvmsg of a descriptor");
  }
  const cmsghdr* rights = CMSG_FIRSTHDR(&message.header);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) {
    return fail(Kind::Internal, "no descriptor came with the message");
  }
  int number = -1;
  std::memcpy(&number, CMSG_DATA(rights), sizeof number);
  return Fd(number);
}

}  // namespace nacelle::sys
