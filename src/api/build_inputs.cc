#include "api/build_inputs.h"

#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/ignore.h"

namespace nacelle::api {
namespace {

using engine::BuildRequest;
using Patterns = std::vector<std::string>;

// As clients call their directories.
constexpr const char* context_directory = "context";
constexpr const char* dockerfile_directory = "dockerfile";
constexpr const char* ignore_name = ".dockerignore";

ring::Task<std::string> read_ignore_file(const BuildSession* session, std::string directory) {
  auto files = co_await session->read_files(
      {.directory = std::move(directory), .follow = {ignore_name}, .ignored = {}});
  co_return std::move(files[ignore_name]);
}

Result<Patterns> parse_patterns(const std::string& text) {
  const codec::IgnoreList list = TRY(codec::parse_ignore(text).context(ignore_name));
  Patterns patterns;
  for (const codec::Pattern& pattern : list.patterns()) {
    patterns.push_back(cat(pattern.taken_back() ? "!" : "", pattern.text()));
  }
  return patterns;
}

// The Dockerfile, and what is not to be sent of the context. A .dockerignore of the Dockerfile's
// own name comes before the context's.
ring::Task<Patterns> read_dockerfile(const BuildSession* session, BuildRequest* request,
                                     BuildJournal* journal) {
  const std::string& name = request->dockerfile;
  const std::string vertex = journal->begin(cat("[internal] load build definition from ", name));
  const std::string own_ignore = cat(name, ignore_name);
  const std::string other_name = name == "Dockerfile" ? "dockerfile" : name;
  auto files = co_await session->read_files(
      {.directory = dockerfile_directory, .follow = {name, own_ignore, other_name}, .ignored = {}});
  auto found = files.find(name);
  if (found == files.end()) found = files.find(other_name);
  if (found == files.end()) {
    co_await fail(Kind::NotFound,
                  cat("failed to read dockerfile: open ", name, ": no such file or directory"));
  }
  journal->finish(vertex, cat("transferring dockerfile: ", found->second.size(), 'B'));
  request->dockerfile_text = std::move(found->second);
  const std::string ignoring = journal->begin("[internal] load .dockerignore");
  std::string text;
  if (const auto own = files.find(own_ignore); own != files.end()) {
    text = std::move(own->second);
  } else if (!request->context.is_set()) {
    text = co_await read_ignore_file(session, context_directory);
  }
  Patterns ignored = co_await parse_patterns(text);
  journal->finish(ignoring, cat("transferring context: ", text.size(), 'B'));
  co_return ignored;
}

ring::Task<> send_context(const BuildSession* session, BuildJournal* journal, Patterns ignored,
                          Fd pipe) {
  const std::string vertex = journal->begin("[internal] load build context");
  co_await session->send_files(
      {.directory = context_directory, .follow = {}, .ignored = std::move(ignored)},
      std::move(pipe));
  journal->finish(vertex);
}

ring::Task<> send_named(const BuildSession* session, BuildJournal* journal, std::string directory,
                        Fd pipe) {
  const std::string vertex = journal->begin(cat("[context ", directory, "] load from client"));
  const std::string text = co_await read_ignore_file(session, directory);
  Patterns ignored = co_await parse_patterns(text);
  co_await session->send_files(
      {.directory = std::move(directory), .follow = {}, .ignored = std::move(ignored)},
      std::move(pipe));
  journal->finish(vertex);
}

ring::Task<image::Images::Login> log_in(const BuildSession* session, oci::Reference name) {
  co_return co_await session->credentials(name.registry);
}

void take_named(const BuildSession* session, BuildJournal* journal, BuildRequest& request) {
  for (auto& [name, source] : request.contexts) {
    if (source.directory.empty()) continue;
    source.send = [=, directory = source.directory](Fd pipe) {
      return send_named(session, journal, directory, std::move(pipe));
    };
  }
}

}  // namespace

ring::Task<> take_from_session(const BuildSession* session, BuildJournal* journal,
                               bool has_own_dockerfile, BuildRequest* request) {
  if (BuildSession::is_upload(request->context.url)) {
    request->context.send = [session, url = std::exchange(request->context.url, {})](Fd pipe) {
      return session->send_upload(url, std::move(pipe));
    };
  }
  Patterns ignored;
  if (has_own_dockerfile || !request->context.is_set()) {
    ignored = co_await read_dockerfile(session, request, journal);
  }
  if (!request->context.is_set()) {
    request->context.send = [=](Fd pipe) {
      return send_context(session, journal, ignored, std::move(pipe));
    };
  }
  take_named(session, journal, *request);
  request->login = [session](oci::Reference name) { return log_in(session, std::move(name)); };
  request->secret = [session](std::string id) { return session->secret(std::move(id)); };
  request->agents = session->agents();
}

}  // namespace nacelle::api
