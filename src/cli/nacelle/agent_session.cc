#include "cli/nacelle/agent_session.h"

#include <api/buildkit/session.pb.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "codec/digest.h"
#include "http/grpc.h"
#include "nacelle/loop.h"
#include "ring/ops.h"
#include "sys/unix_socket.h"

namespace nacelle::cli {
namespace {

namespace messages = api::buildkit::session;
using http::GrpcCall;

constexpr size_t length_bytes = 4;
constexpr size_t message_bytes_max = 256u << 10;  // OpenSSH's own
constexpr char request_identities = 11, sign_request = 13;
constexpr std::string_view failure("\0\0\0\1\5", 5);

// A whole message, with its length.
bool may_be_asked(std::string_view request) {
  return request[length_bytes] == request_identities || request[length_bytes] == sign_request;
}

// The first message that is whole, with its length; nothing: more is needed.
Result<std::optional<std::string>> take_message(std::string& bytes) {
  if (bytes.size() < length_bytes) return std::optional<std::string>();
  size_t size = 0;
  for (size_t at = 0; at < length_bytes; ++at) size = size << 8 | static_cast<uint8_t>(bytes[at]);
  if (size == 0 || size > message_bytes_max) {
    return fail(Kind::Invalid, cat("a message to an agent of ", size, " bytes"));
  }
  if (bytes.size() < length_bytes + size) return std::optional<std::string>();
  std::string message = bytes.substr(0, length_bytes + size);
  bytes.erase(0, message.size());
  return std::optional(std::move(message));
}

// One connection of a step's.
class AgentCall {
 public:
  AgentCall(ring::Loop& loop, GrpcCall& call, const std::string& socket)
      : loop_(loop), call_(call), path_(socket) {}

  ring::Task<> serve() {
    socket_ = co_await sys::connect_unix(path_);
    while (const std::optional<std::string> request = co_await next_request()) {
      messages::Bytes reply;
      std::string answer(failure);
      if (may_be_asked(*request)) answer = co_await ask(*request);
      reply.set_data(std::move(answer));
      co_await call_.send(reply.SerializeAsString());
    }
  }

 private:
  ring::Task<std::optional<std::string>> next_request() {
    for (;;) {
      std::optional<std::string> request = co_await take_message(asked_);
      if (request) co_return request;
      const std::optional<std::string> came = co_await call_.receive();
      if (!came) co_return std::nullopt;
      messages::Bytes message;
      if (!message.ParseFromString(*came)) co_await fail(Kind::Invalid, "no bytes");
      asked_ += message.data();
    }
  }

  ring::Task<std::string> ask(const std::string& request) {
    co_await ring::write_all(loop_, socket_, request);
    std::string piece(message_bytes_max, '\0');
    for (;;) {
      std::optional<std::string> reply = co_await take_message(answered_);
      if (reply) co_return *std::move(reply);
      const size_t got = co_await ring::receive(loop_, socket_, piece);
      if (got == 0) co_await fail(Kind::Unavailable, "the agent has gone");
      answered_.append(piece, 0, got);
    }
  }

  ring::Loop& loop_;
  GrpcCall& call_;
  const std::string& path_;
  Fd socket_;
  std::string asked_, answered_;
};

const BuildAgent* find_agent(const std::vector<BuildAgent>& agents, std::string_view id) {
  if (id.empty()) id = "default";
  for (const BuildAgent& each : agents) {
    if (each.id == id) return &each;
  }
  return nullptr;
}

ring::Task<> check_agent(GrpcCall& call, const std::vector<BuildAgent>& agents) {
  const std::optional<std::string> came = co_await call.receive();
  messages::CheckAgentRequest request;
  if (!came || !request.ParseFromString(*came)) co_await fail(Kind::Invalid, "no request");
  if (find_agent(agents, request.id()) == nullptr) {
    co_await fail(Kind::Invalid, cat("unset ssh forward key ", request.id()));
  }
  co_await call.send("");
}

ring::Task<> serve_agent(ring::Loop& loop, GrpcCall& call, const std::vector<BuildAgent>& agents) {
  const std::string id(call.metadata("buildkit.ssh.id"));
  const BuildAgent* const agent = find_agent(agents, id);
  if (agent == nullptr) co_await fail(Kind::Invalid, cat("unset ssh forward key ", id));
  AgentCall connection(loop, call, agent->socket);
  co_await connection.serve();
}

Result<> serve_session(http::Hijacked taken, const std::vector<BuildAgent>& agents) {
  const std::unique_ptr<ring::Loop> loop = TRY(ring::Loop::open());
  http::GrpcConnection connection(
      *loop, std::move(taken), http::GrpcConnection::End::Server, [&](GrpcCall& call) {
        if (call.path() == "/moby.sshforward.v1.SSH/CheckAgent") return check_agent(call, agents);
        if (call.path() == "/moby.sshforward.v1.SSH/ForwardAgent") {
          return serve_agent(*loop, call, agents);
        }
        return [](std::string path) -> ring::Task<> {
          co_await fail(Kind::Unsupported, cat("unknown method ", path));
        }(call.path());
      });
  return loop->run(connection.run());
}

Result<std::string> random_name() {
  std::string bytes(32, '\0');
  if (::getrandom(bytes.data(), bytes.size(), 0) < 0) return fail_errno(errno, "getrandom");
  return std::string(codec::digest_of(bytes).hex());
}

}  // namespace

Result<AgentSession> AgentSession::open(Api connection, std::vector<BuildAgent> agents) {
  std::string id = TRY(random_name());
  TRY(connection.call({.method = "POST",
                       .target = Target("/session"),
                       .body = {},
                       .headers = {{"X-Docker-Expose-Session-Uuid", id}},
                       .body_source = {},
                       .upgrade = "h2c"}));
  http::StreamClient::Taken taken = connection.take_over();
  if (!taken.socket) {
    return fail(Kind::Unsupported, "--ssh: agents are not spoken with over TLS");
  }
  const pid_t parent = ::getpid();
  const pid_t process = ::fork();
  if (process < 0) return fail_errno(errno, "fork");
  if (process == 0) {
    // Whatever ends the build's command ends this.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    const Result<> served =
        serve_session({std::move(taken.socket), std::move(taken.early_bytes)}, agents);
    ::_exit(served ? 0 : 1);
  }
  return AgentSession(std::move(id), process);
}

AgentSession::~AgentSession() {
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace nacelle::cli
