// Clients of builds whom we ask: for their files, their secrets and agents and who they are to
// registries; and to take what was built. A client opens a session (POST /session) and serves
// BuildKit's calls on it; its builds name it. What it says is a stranger's word: sizes, names and
// order are checked, and what it sends of files goes to a worker as an archive.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/build.h"
#include "http/grpc.h"
#include "image/registry_credentials.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::api {

class BuildSession {
 public:
  BuildSession(ring::Loop& loop, std::shared_ptr<http::GrpcConnection> connection)
      : loop_(loop), connection_(std::move(connection)) {}

  // Files of the directory that the client calls `directory` ("context", "dockerfile"), as an
  // archive into a pipe. `follow`: only these and what they lead to; empty: all. `ignored`:
  // patterns as of .dockerignore, one each.
  struct Wish {
    std::string directory;
    std::vector<std::string> follow, ignored;
  };
  ring::Task<> send_files(Wish wish, Fd pipe) const;
  // The same for few small ones: their content by their names.
  ring::Task<std::map<std::string, std::string>> read_files(Wish wish) const;
  // What a client has put up for us under a URL of its session's: an archive, into a pipe.
  static bool is_upload(std::string_view url);
  ring::Task<> send_upload(std::string url, Fd pipe) const;
  // Anonymous where the client has no word for this registry.
  ring::Task<image::Credentials> credentials(std::string registry) const;
  ring::Task<std::optional<std::string>> secret(std::string id) const;
  // An agent (ssh) by its id: whether there is one (the error says why not), and a connection to
  // it, carried until both ends have closed it.
  ring::Task<> check_agent(std::string id) const;
  ring::Task<> serve_agent(std::string id, Fd connection) const;
  engine::BuildAgents agents() const;  // the same, for a build

  // What is handed to the client: an archive that comes out of `archive`. `produced` says, once
  // that has ended, whether it is whole: the client keeps nothing that is not.
  struct Parcel {
    size_t output = 0;       // the client's number for it
    http::Headers metadata;  // what it is told beside
    const Fd* archive = nullptr;
    std::function<Result<>()> produced;
  };
  // As it is, into a file of the client's.
  ring::Task<> give_archive(Parcel parcel) const;
  // What is in it, into a directory of the client's.
  ring::Task<> give_files(Parcel parcel) const;

 private:
  ring::Loop& loop_;
  std::shared_ptr<http::GrpcConnection> connection_;
};

// Those that are open, by the id their clients gave them.
class BuildSessions {
 public:
  // Until the client closes it. A later one of the same id takes its place.
  ring::Task<> serve(ring::Loop& loop, std::string id, http::Hijacked taken);
  // Waits a moment for one that is on its way. NotFound.
  ring::Task<BuildSession> find(ring::Loop& loop, std::string id);

 private:
  ring::Task<> await_session(std::string id);

  std::map<std::string, std::shared_ptr<http::GrpcConnection>, std::less<>> open_;
  ring::Notice opened_;
};

}  // namespace nacelle::api
