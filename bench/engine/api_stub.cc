// api_stub: an engine that does nothing, at once: what a client's command costs by itself.
//
//   api_stub SOCKET        answers what `docker run` asks for: ping, create, attach, wait, start
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct Client {
  int fd;
  std::string input;
};

std::string answer(const char* status, std::string_view body) {
  return std::string("HTTP/1.1 ") + status +
         "\r\nApi-Version: 1.51\r\nOstype: linux\r\nContent-Type: application/json\r\n"
         "Content-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

std::string answer_to(std::string_view line) {
  const auto asks = [&](std::string_view part) {
    return line.find(part) != std::string_view::npos;
  };
  if (line.starts_with("HEAD")) return answer("200 OK", "");
  if (asks("/containers/create")) {
    return answer("201 Created", "{\"Id\":\"" + std::string(64, 'a') + "\",\"Warnings\":[]}");
  }
  if (asks("/attach")) {
    return "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
           "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
  }
  if (asks("/wait")) return answer("200 OK", "{\"StatusCode\":0}\n");
  if (asks("/start")) return "HTTP/1.1 204 No Content\r\nApi-Version: 1.51\r\n\r\n";
  return answer("200 OK", "{}");
}

// The length of the first request, or 0 if it is not all there.
size_t request_length(const std::string& input) {
  const size_t end = input.find("\r\n\r\n");
  if (end == std::string::npos) return 0;
  const size_t length = input.find("Content-Length: ");
  size_t body = 0;
  if (length < end) body = std::strtoul(input.c_str() + length + 16, nullptr, 10);
  return input.size() < end + 4 + body ? 0 : end + 4 + body;
}

// False when the connection is over.
bool serve(Client& client) {
  char bytes[16384];
  const ssize_t got = ::recv(client.fd, bytes, sizeof bytes, 0);
  if (got <= 0) return false;
  client.input.append(bytes, static_cast<size_t>(got));
  while (const size_t length = request_length(client.input)) {
    const std::string line = client.input.substr(0, client.input.find("\r\n"));
    const std::string said = answer_to(line);
    if (::send(client.fd, said.data(), said.size(), MSG_NOSIGNAL) < 0) return false;
    if (line.find("/attach") != std::string::npos) return false;  // the container has said it all
    client.input.erase(0, length);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (argc == 2) std::strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  if (argc != 2 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 64) != 0) {
    std::perror("api_stub SOCKET");
    return 1;
  }
  std::vector<Client> clients;
  for (;;) {
    std::vector<pollfd> waiting{{listener, POLLIN, 0}};
    for (const Client& each : clients) waiting.push_back({each.fd, POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), -1) < 0) return 1;
    for (size_t i = waiting.size(); i-- > 1;) {
      if (waiting[i].revents == 0 || serve(clients[i - 1])) continue;
      ::close(clients[i - 1].fd);
      clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i - 1));
    }
    if (waiting[0].revents != 0) clients.push_back({::accept(listener, nullptr, nullptr), {}});
  }
}
