// Stands in for nacelle-worker: the same sandbox, and then the deeds of one who has taken it over.
#include "tests/root/image_worker/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/text.h"
#include "codec/flat.h"
#include "image/channel.h"
#include "image/sandbox.h"
#include "sys/kernel.h"

namespace {

using namespace nacelle;
using namespace nacelle::image;

std::string answer_of(long result) {
  return result < 0 ? std::string(std::strerror(errno)) : std::string("done");
}

std::string list(const char* path) {
  DIR* listing = ::opendir(path);
  if (listing == nullptr) return std::strerror(errno);
  std::string names;
  while (const dirent* each = ::readdir(listing)) {
    const std::string_view name = each->d_name;
    if (name != "." && name != "..") names += cat(name, ' ');
  }
  ::closedir(listing);
  return names;
}

std::string do_deed(const std::string& deed, const Fd& socket, const Fd& root) {
  if (deed == "greet") return "hello";
  if (deed == "list") return list("/");
  if (deed == "up") return list("/..");
  if (deed == "passwd") return answer_of(::open("/etc/passwd", O_RDONLY));
  if (deed == "write") return answer_of(::open("/new", O_CREAT | O_WRONLY, 0600));
  if (deed == "environment") return environ[0] == nullptr ? "" : environ[0];
  if (deed == "ids") return cat(::getuid(), ' ', ::getgid(), ' ', ::getpid());
  if (deed == "descriptors") {
    std::string found;
    for (int fd = 0; fd < 64; ++fd)
      if (::fcntl(fd, F_GETFD) >= 0) found += cat(fd, ' ');
    return found;
  }
  if (deed == "code") {
    return answer_of(reinterpret_cast<long>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  }
  if (deed == "standard") {
    std::string seen;
    for (int fd = 0; fd < 3; ++fd) {
      struct stat status{};
      seen += ::fstat(fd, &status) < 0  ? std::strerror(errno)
              : S_ISREG(status.st_mode) ? cat("a file of ", status.st_size, ' ')
                                        : std::string("something else ");
    }
    return seen + answer_of(::write(1, "x", 1));
  }
  if (deed == "chmod") return answer_of(::fchmod(root.get(), 0755));
  if (deed == "huge pages") return answer_of(::memfd_create("x", MFD_HUGETLB));
  if (deed == "lease") return answer_of(::fcntl(root.get(), F_SETLEASE, F_RDLCK));
  if (deed == "owner") return answer_of(::fcntl(socket.get(), F_SETOWN, 1));
  if (deed == "flags") return answer_of(::fcntl(socket.get(), F_GETFL));
  if (deed == "datagrams" || deed == "packets" || deed == "streams") {
    const int type = deed == "datagrams" ? SOCK_DGRAM
                     : deed == "packets" ? SOCK_SEQPACKET
                                         : SOCK_STREAM;
    int ends[2];
    return answer_of(::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends));
  }
  if (deed == "namespace thread") {
    return answer_of(::syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_NEWNET,
                               nullptr, nullptr, nullptr, 0));
  }
  if (deed == "clone3") return answer_of(::syscall(SYS_clone3, nullptr, 0));
  if (deed == "spin") {
    for (volatile unsigned long turns = 0;; turns = turns + 1) {
    }
  }
  if (deed == "stand still" || deed == "move on") {
    for (uint64_t done = 1; done <= 25; ++done) {
      const image::WireProgress progress{.done = deed == "move on" ? done : 1};
      if (!send_packet(socket, PacketKind::Progress, 0, codec::flat::encode(progress))) break;
      ::usleep(100'000);
    }
    return "arrived";
  }
  if (deed == "mark-root") {
    const Fd* const gifts[] = {&root};
    (void)send_packet(socket, PacketKind::Opaque, 0, "", gifts);
    auto answer = receive_packet(socket);
    return answer && *answer ? "answered" : "no answer";
  }
  if (deed == "chown") return answer_of(::fchown(root.get(), 1, 1));
  if (deed == "network") return answer_of(::socket(AF_INET, SOCK_STREAM, 0));
  if (deed == "resolve") {
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo("localhost", "80", nullptr, &found);
    if (error == 0) ::freeaddrinfo(found);
    return error == 0 ? "found" : ::gai_strerror(error);
  }
  if (deed == "packet") return answer_of(::socket(AF_PACKET, SOCK_RAW, 0));
  if (deed == "mount") return answer_of(::syscall(SYS_mount, "none", "/", "tmpfs", 0ul, nullptr));
  if (deed == "unshare") return answer_of(::unshare(CLONE_NEWUSER));
  if (deed == "exec") {
    char name[] = "/nacelle-worker";
    char* const arguments[] = {name, nullptr};
    return answer_of(::execv(name, arguments));
  }
  if (deed == "fork") return answer_of(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (deed == "ptrace") return answer_of(::syscall(SYS_ptrace, 0, 0, 0, 0));
  if (deed == "bpf") return answer_of(::syscall(SYS_bpf, 0, nullptr, 0));
  if (deed == "ring") return answer_of(::syscall(SYS_io_uring_setup, 1, nullptr));
  if (deed == "memory") {
    std::vector<char*> all;
    while (all.size() < 4096) {
      all.push_back(new char[1u << 20]);
      std::memset(all.back(), 1, 1u << 20);
    }
    return "4 GiB";
  }
  if (deed == "hang") {
    while (true) ::pause(), ::sleep(1);
  }
  if (deed == "exit") ::_exit(7);
  if (deed == "abort") {
    ::signal(SIGABRT, SIG_DFL);
    std::abort();
  }
  const auto say = [&socket](std::string_view bytes) {
    (void)!::write(socket.get(), bytes.data(), bytes.size());
    return std::string();
  };
  if (deed == "nonsense") return say("this is not a message at all, not even nearly");
  if (deed == "byte") return say("x");
  if (deed == "header") {
    PacketHeader header{.kind = PacketKind::Reply, .code = test::ProbeRequest::code, .length = 99};
    return say(std::string_view(reinterpret_cast<const char*>(&header), sizeof header));
  }
  if (deed == "huge" || deed == "missing") {
    PacketHeader header{.kind = PacketKind::Reply,
                        .code = test::ProbeRequest::code,
                        .length = deed == "huge" ? ~0ull : inline_bytes_max + 1};
    return say(std::string_view(reinterpret_cast<const char*>(&header), sizeof header));
  }
  if (deed == "unsealed") {
    const Fd memory(::memfd_create("x", 0));
    (void)!::ftruncate(memory.get(), inline_bytes_max + 1);
    PacketHeader header{.kind = PacketKind::Reply,
                        .code = test::ProbeRequest::code,
                        .length = inline_bytes_max + 1};
    iovec part{.iov_base = &header, .iov_len = sizeof header};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = memory.get();
    std::memcpy(CMSG_DATA(rights), &number, sizeof number);
    (void)!::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
    return "";
  }
  if (deed == "other") {
    (void)send_packet(socket, PacketKind::Reply, 1, "");
    return "";
  }
  if (deed == "gift") {
    const Fd* const gifts[] = {&root};
    (void)send_packet(socket, PacketKind::Reply, test::ProbeRequest::code,
                      codec::flat::encode(test::ProbeRequest::Reply{}), gifts);
    return "";
  }
  if (deed == "mark-pipe") {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return "no pipe";
    const Fd one(ends[0]), two(ends[1]);
    const Fd* const gifts[] = {&one};
    (void)send_packet(socket, PacketKind::Opaque, 0, "", gifts);
    auto answer = receive_packet(socket);
    return answer && *answer ? decode_error((*answer)->payload).message() : "no answer";
  }
  if (deed == "large") return std::string(300'000, 'l');
  return "unknown deed";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  struct stat status;
  const Fd socket(3);
  SandboxOptions options{.kind = *parse_worker_kind(argv[1]),
                         .root = ::fstat(4, &status) == 0 ? Fd(4) : Fd(),
                         .read_only_root = std::string_view(argv[3]) == "read-only",
                         .memory_bytes_max = *parse_number<uint64_t>(argv[2])};
  if (const char* fault = std::getenv("NACELLE_WORKER_FAULT"))
    options.cpu_seconds_max = std::string_view(fault) == "one second" ? 1 : cpu_seconds_max;
  std::set_new_handler([] { ::_exit(exit_out_of_memory); });
  const auto root = enter_sandbox(std::move(options));
  while (true) {
    const auto packet = receive_packet(socket);
    if (!packet || !*packet) ::_exit(0);
    if (!root) {
      (void)send_packet(socket, PacketKind::Error, 0, encode_error(root.error()));
      ::_exit(1);
    }
    if ((*packet)->code == UnpackRequest::code) {
      const auto unpacking = codec::flat::decode<UnpackRequest>((*packet)->payload, "a request");
      const std::string seen = unpacking ? do_deed(unpacking->label, socket, *root) : "?";
      (void)send_packet(socket, PacketKind::Error, UnpackRequest::code,
                        encode_error(Error(Kind::Invalid, seen)));
      continue;
    }
    const auto request = codec::flat::decode<test::ProbeRequest>((*packet)->payload, "a deed");
    const test::ProbeRequest::Reply reply{.seen = request ? do_deed(request->deed, socket, *root)
                                                          : "?"};
    (void)send_packet(socket, PacketKind::Reply, test::ProbeRequest::code,
                      codec::flat::encode(reply));
  }
}
