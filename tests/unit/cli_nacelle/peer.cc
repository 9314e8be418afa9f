#include "peer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <list>

namespace nacelle::cli {

namespace {

struct Client {
  int fd = -1;
  std::string in;
  bool answered_upgrade = false;
  bool waits = false;
  Answer held;
};

std::string response(const Answer& answer, bool upgraded, bool head_only) {
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) +
                     " X\r\nContent-Type: " + answer.type + "\r\n" + answer.headers;
  if (upgraded) return text + "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + answer.stream;
  if (answer.status != 204)
    text += "Content-Length: " + std::to_string(answer.body.size()) + "\r\n";
  text += "\r\n";
  return head_only ? text : text + answer.body;
}

// The first whole request in `bytes`, taken off them.
bool take_request(std::string& bytes, Asked& asked) {
  const size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == std::string::npos) return false;
  const std::string head = bytes.substr(0, head_end + 2);
  const size_t space = head.find(' '), second = head.find(' ', space + 1);
  asked.method = head.substr(0, space);
  asked.target = head.substr(space + 1, second - space - 1);
  asked.headers = head.substr(head.find("\r\n") + 2);
  size_t length = 0, at = head_end + 4;
  if (const char* found = ::strcasestr(head.c_str(), "\r\ncontent-length: ")) {
    length = static_cast<size_t>(::atol(found + 18));
  }
  if (::strcasestr(head.c_str(), "\r\ntransfer-encoding: chunked") != nullptr) {
    std::string body;
    for (;;) {
      const size_t line = bytes.find("\r\n", at);
      if (line == std::string::npos) return false;
      const auto size = static_cast<size_t>(::strtoul(bytes.c_str() + at, nullptr, 16));
      if (bytes.size() < line + 2 + size + 2) return false;
      body += bytes.substr(line + 2, size);
      at = line + 2 + size + 2;
      if (size == 0) break;
    }
    asked.body = body;
    bytes.erase(0, at);
    return true;
  }
  if (bytes.size() < at + length) return false;
  asked.body = bytes.substr(at, length);
  bytes.erase(0, at + length);
  return true;
}

void send_all(int fd, const std::string& text) {
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t length = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (length <= 0) return;
    sent += static_cast<size_t>(length);
  }
}

}  // namespace

Ended run_client(const std::vector<std::string>& words,
                 const std::function<Answer(const Asked&)>& answer, const std::string& input) {
  char directory[] = "/tmp/nacelle-peer-XXXXXX";
  if (::mkdtemp(directory) == nullptr) return {};
  const std::string path = std::string(directory) + "/s";
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address);
  ::listen(listener, 16);
  int out[2], err[2], in[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0 || ::pipe2(in, O_CLOEXEC) != 0) {
    return {};
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in[0], 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    ::setenv("NACELLE_HOST", ("unix://" + path).c_str(), 1);
    ::setenv("HOME", directory, 1);
    ::setenv("TZ", "UTC", 1);
    std::vector<char*> arguments{const_cast<char*>("nacelle")};
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(NACELLE_PROGRAM, arguments.data());
    ::_exit(99);
  }
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  send_all(in[1], {});
  if (!input.empty()) (void)!::write(in[1], input.data(), input.size());
  ::close(in[1]);

  Ended ended;
  std::list<Client> clients;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto release = [&] {
    for (Client& client : clients) {
      if (!client.waits || ended.asked.size() < client.held.after_requests) continue;
      client.waits = false;
      send_all(client.fd, client.held.body.empty() ? client.held.stream : client.held.body);
      ::shutdown(client.fd, SHUT_WR);
    }
  };
  bool out_open = true, err_open = true;
  while (out_open || err_open) {
    if (std::chrono::steady_clock::now() > until) ::kill(child, SIGKILL);
    std::vector<pollfd> files{{.fd = listener, .events = POLLIN, .revents = 0},
                              {.fd = out_open ? out[0] : -1, .events = POLLIN, .revents = 0},
                              {.fd = err_open ? err[0] : -1, .events = POLLIN, .revents = 0}};
    for (const Client& client : clients)
      files.push_back({.fd = client.fd, .events = POLLIN, .revents = 0});
    ::poll(files.data(), files.size(), 100);
    char bytes[65536];
    const auto drain = [&](pollfd& file, std::string& into, bool& open) {
      if (file.revents == 0) return;
      const ssize_t length = ::read(file.fd, bytes, sizeof bytes);
      if (length <= 0) open = false;
      if (length > 0) into.append(bytes, static_cast<size_t>(length));
    };
    drain(files[1], ended.out, out_open);
    drain(files[2], ended.err, err_open);
    size_t place = 3;
    for (Client& client : clients) {
      const pollfd& file = files[place++];
      if (file.revents == 0 || client.fd < 0) continue;
      const ssize_t length = ::recv(client.fd, bytes, sizeof bytes, 0);
      if (length <= 0) {
        ::close(client.fd);
        client.fd = -1;
        client.waits = false;
        continue;
      }
      client.in.append(bytes, static_cast<size_t>(length));
      Asked asked;
      while (!client.answered_upgrade && take_request(client.in, asked)) {
        const Answer reply = answer(asked);
        const bool upgraded = reply.status == 101;
        ended.asked.push_back(asked);
        if (reply.after_requests != 0) {
          // The head at once, the rest when its time has come.
          Answer head = reply;
          head.stream.clear();
          std::string text = response(head, upgraded, true);
          send_all(client.fd, text);
          client.held = reply;
          client.waits = true;
          client.answered_upgrade = upgraded;
        } else {
          send_all(client.fd, response(reply, upgraded, asked.method == "HEAD"));
          if (upgraded) {
            client.answered_upgrade = true;
            ::shutdown(client.fd, SHUT_WR);
          }
        }
        asked = {};
      }
    }
    if (files[0].revents != 0) {
      Client& client = clients.emplace_back();
      client.fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    }
    release();
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ended.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  for (Client& client : clients) {
    if (client.fd >= 0) ::close(client.fd);
  }
  ::close(listener);
  ::close(out[0]);
  ::close(err[0]);
  (void)!::system(("rm -rf " + std::string(directory)).c_str());
  return ended;
}

}  // namespace nacelle::cli
