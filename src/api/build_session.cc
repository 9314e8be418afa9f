#include "api/build_session.h"

#include <api/buildkit/session.pb.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "api/agent_relay.h"
#include "api/body_pipe.h"
#include "api/file_sync.h"
#include "base/text.h"
#include "build/dockerfile.h"
#include "http/url.h"
#include "ring/ops.h"

namespace nacelle::api {
namespace {

namespace messages = buildkit::session;
using http::GrpcCall;
using http::GrpcConnection;

constexpr std::chrono::seconds patience{5};  // for a session that is on its way
constexpr std::chrono::seconds answer_patience{30};
constexpr std::string_view upload_host = "buildkit-session";
constexpr const char* docker_hub = "https://index.docker.io/v1/";

// Metadata is ASCII: others are sent as in a query, and said to be.
void add_words(http::Headers& metadata, std::string name, const std::vector<std::string>& words) {
  const bool plain = std::ranges::all_of(words, [](const std::string& word) {
    return std::ranges::all_of(word, [](char c) { return c >= ' ' && c < '\x7f'; });
  });
  if (!plain) metadata.emplace_back(cat(name, "-encoded"), "1");
  for (const std::string& word : words) {
    metadata.emplace_back(name, plain ? word : http::percent_encode(word));
  }
}

ring::Task<std::unique_ptr<GrpcCall>> begin_sync(GrpcConnection& connection,
                                                 const BuildSession::Wish& wish) {
  http::Headers metadata;
  add_words(metadata, "dir-name", {wish.directory});
  add_words(metadata, "followpaths", wish.follow);
  add_words(metadata, "exclude-patterns", wish.ignored);
  co_return co_await connection.call("/moby.filesync.v1.FileSync/DiffCopy", std::move(metadata));
}

// The next packet into the receiver, what it asks for back. False: that was the last.
ring::Task<bool> turn(GrpcCall& call, FileReceiver& receiver) {
  const std::optional<std::string> packet = co_await call.receive();
  if (!packet) {
    if (!receiver.finished())
      co_await fail(Kind::Invalid, "the client sent only part of its files");
    co_return false;
  }
  co_await receiver.take(*packet);
  for (std::string& each : receiver.take_packets()) co_await call.send(std::move(each));
  co_return true;
}

constexpr size_t piece_bytes = 128u << 10;

Result<std::unique_ptr<GrpcCall>> begin_parcel(GrpcConnection& connection,
                                               const BuildSession::Parcel& parcel) {
  http::Headers metadata = parcel.metadata;
  metadata.emplace_back("buildkit-attachable-exporter-id", cat(parcel.output));
  return connection.call("/moby.filesync.v1.FileSend/DiffCopy", std::move(metadata));
}

// The client has everything when it says so.
ring::Task<> end_parcel(GrpcCall& call) {
  call.end_sending();
  while (co_await call.receive()) {
  }
}

template <class Message>
Result<Message> parse(const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) {
    return fail(Kind::Invalid, "an answer of the build's client cannot be read");
  }
  return message;
}

}  // namespace

ring::Task<> BuildSession::send_files(Wish wish, Fd pipe) const {
  ArchiveSink sink;
  FileReceiver receiver(sink);
  const std::unique_ptr<GrpcCall> call = co_await begin_sync(*connection_, wish);
  bool goes_on = true;
  while (goes_on) {
    goes_on = co_await turn(*call, receiver);
    if (!co_await write_into_pipe(&loop_, &pipe, sink.take())) co_return;
  }
}

ring::Task<std::map<std::string, std::string>> BuildSession::read_files(Wish wish) const {
  SmallFilesSink sink(build::dockerfile_bytes_max);
  FileReceiver receiver(sink);
  const std::unique_ptr<GrpcCall> call = co_await begin_sync(*connection_, wish);
  while (co_await turn(*call, receiver)) {
  }
  co_return sink.take();
}

bool BuildSession::is_upload(std::string_view url) {
  const auto parsed = http::parse_url(url);
  return parsed && parsed->host == upload_host;
}

ring::Task<> BuildSession::send_upload(std::string url, Fd pipe) const {
  const http::Url parsed = co_await http::parse_url(url);
  const std::unique_ptr<GrpcCall> call = co_await connection_->call(
      "/moby.upload.v1.Upload/Pull", {{"urlpath", parsed.path}, {"urlhost", parsed.host}});
  call->end_sending();
  while (const std::optional<std::string> came = co_await call->receive()) {
    std::string bytes = std::move(*(co_await parse<messages::Bytes>(*came)).mutable_data());
    if (!co_await write_into_pipe(&loop_, &pipe, std::move(bytes))) co_return;
  }
}

ring::Task<image::Credentials> BuildSession::credentials(std::string registry) const {
  messages::CredentialsRequest request;
  request.set_host(registry == "docker.io" ? docker_hub : registry);
  auto answer = co_await ring::as_result(
      ring::with_deadline(loop_,
                          http::grpc_ask(*connection_, "/moby.filesync.v1.Auth/Credentials",
                                         request.SerializeAsString()),
                          answer_patience, "asking the client for credentials"));
  if (!answer) {
    if (answer.error().kind() == Kind::Cancelled) co_await std::move(answer);
    co_return image::Credentials();
  }
  const auto said = co_await parse<messages::CredentialsResponse>(*answer);
  image::Credentials credentials;
  // A name that is none: the secret is an identity token.
  if (said.username().empty()) {
    credentials.identity_token = said.secret();
  } else {
    credentials.username = said.username();
    credentials.password = said.secret();
  }
  co_return credentials;
}

ring::Task<std::optional<std::string>> BuildSession::secret(std::string id) const {
  messages::GetSecretRequest request;
  request.set_id(id);
  auto answer = co_await ring::as_result(ring::with_deadline(
      loop_,
      http::grpc_ask(*connection_, "/moby.buildkit.secrets.v1.Secrets/GetSecret",
                     request.SerializeAsString()),
      answer_patience, cat("asking the client for the secret ", id)));
  if (!answer) {
    const Kind kind = answer.error().kind();
    if (kind == Kind::NotFound || kind == Kind::Unsupported) co_return std::nullopt;
    co_await std::move(answer);
  }
  co_return (co_await parse<messages::GetSecretResponse>(*answer)).data();
}

ring::Task<> BuildSession::check_agent(std::string id) const {
  messages::CheckAgentRequest request;
  request.set_id(id);
  co_await ring::with_deadline(loop_,
                               http::grpc_ask(*connection_, "/moby.sshforward.v1.SSH/CheckAgent",
                                              request.SerializeAsString()),
                               answer_patience, cat("asking the client for the agent ", id));
}

ring::Task<> BuildSession::serve_agent(std::string id, Fd connection) const {
  const std::unique_ptr<GrpcCall> call =
      co_await connection_->call("/moby.sshforward.v1.SSH/ForwardAgent", {{"buildkit.ssh.id", id}});
  co_await relay_agent(loop_, *call, connection);
}

engine::BuildAgents BuildSession::agents() const {
  engine::BuildAgents agents;
  agents.check = [session = *this](std::string id) { return session.check_agent(std::move(id)); };
  agents.serve = [session = *this](std::string id, Fd connection) {
    return session.serve_agent(std::move(id), std::move(connection));
  };
  return agents;
}

ring::Task<> BuildSession::give_archive(Parcel parcel) const {
  const std::unique_ptr<GrpcCall> call = co_await begin_parcel(*connection_, parcel);
  std::string piece(piece_bytes, '\0');
  for (;;) {
    co_await ring::readable(loop_, *parcel.archive);
    const size_t got = co_await ring::read_some(loop_, *parcel.archive, piece);
    if (got == 0) break;
    messages::Bytes message;
    message.set_data(piece.substr(0, got));
    co_await call->send(message.SerializeAsString());
  }
  co_await parcel.produced();
  co_await end_parcel(*call);
}

ring::Task<> BuildSession::give_files(Parcel parcel) const {
  const std::unique_ptr<GrpcCall> call = co_await begin_parcel(*connection_, parcel);
  FileSender sender;
  std::string piece(piece_bytes, '\0');
  std::string_view rest;
  while (!sender.finished()) {
    if (sender.waits()) {
      const std::optional<std::string> answer = co_await call->receive();
      if (!answer) co_await fail(Kind::Unavailable, "the client has gone before its last file");
      co_await sender.answer(*answer);
    } else if (rest.empty()) {
      co_await ring::readable(loop_, *parcel.archive);
      const size_t got = co_await ring::read_some(loop_, *parcel.archive, piece);
      if (got == 0) {
        co_await parcel.produced();
        co_await sender.end_of_archive();
      }
      rest = std::string_view(piece).substr(0, got);
    }
    co_await sender.take(rest);
    for (std::string& packet : sender.take_packets()) co_await call->send(std::move(packet));
  }
  co_await end_parcel(*call);
}

// Sessions. --------------------------------------------------------------------------------------

ring::Task<> BuildSessions::serve(ring::Loop& loop, std::string id, http::Hijacked taken) {
  const auto connection =
      std::make_shared<GrpcConnection>(loop, std::move(taken), GrpcConnection::End::Client);
  open_[id] = connection;
  opened_.notify_all();
  const Result<> ended = co_await ring::as_result(connection->run());
  if (const auto found = open_.find(id); found != open_.end() && found->second == connection) {
    open_.erase(found);
  }
  co_await Result<>(ended);
}

ring::Task<> BuildSessions::await_session(std::string id) {
  while (!open_.contains(id)) co_await opened_.wait();
}

ring::Task<BuildSession> BuildSessions::find(ring::Loop& loop, std::string id) {
  const Result<> waited =
      co_await ring::as_result(ring::with_deadline(loop, await_session(id), patience));
  if (!waited && waited.error().kind() == Kind::Cancelled) co_await Result<>(waited);
  const auto found = open_.find(id);
  if (found == open_.end()) co_await fail(Kind::NotFound, cat("no active session for ", id));
  co_return BuildSession(loop, found->second);
}

}  // namespace nacelle::api
