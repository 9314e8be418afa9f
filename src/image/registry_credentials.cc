#include "image/registry_credentials.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "base/text.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "http/client.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

using codec::json::Object;
using codec::json::Value;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// What Docker's own client calls its registry in these files.
constexpr std::string_view docker_server = "https://index.docker.io/v1/";

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

// "https://index.docker.io/v1/" is "docker.io"; "https://reg:5000/v2/" is "reg:5000"; a path that
// is not the API's own stays: "quay.io/team".
std::string place_of(std::string_view key) {
  if (const size_t scheme = key.find("://"); scheme != std::string_view::npos) {
    key.remove_prefix(scheme + 3);
  }
  while (key.ends_with('/')) key.remove_suffix(1);
  for (const std::string_view version : {"/v1", "/v2"}) {
    if (key.ends_with(version)) key.remove_suffix(version.size());
  }
  std::string_view rest = key;
  std::string host(take_until(rest, '/'));
  for (char& c : host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (host == "index.docker.io" || host == "registry-1.docker.io") host = "docker.io";
  return rest.empty() ? host : cat(host, '/', rest);
}

bool lies_in(std::string_view name, std::string_view place) {
  return name.starts_with(place) && (name.size() == place.size() || name[place.size()] == '/');
}

// Errors of these objects name the key but never a value: those are secrets.
Result<Credentials> read_entry(const Value& value) {
  const Object object = TRY(value.object());
  Credentials found;
  std::string pair;
  TRY(object.maybe("auth", pair));
  TRY(object.maybe("username", found.username));
  TRY(object.maybe("password", found.password));
  TRY(object.maybe("identitytoken", found.identity_token));
  if (pair.empty()) return found;
  const auto decoded = codec::from_base64(pair);
  if (!decoded) return object.invalid("auth", "is not base 64");
  const size_t colon = decoded->find(':');
  if (colon == std::string::npos || colon == 0) {
    return object.invalid("auth", "is not a user name, a colon and a password");
  }
  found.username = decoded->substr(0, colon);
  found.password = decoded->substr(colon + 1);
  // Docker pads with NULs what was encrypted once.
  while (found.password.ends_with('\0')) found.password.pop_back();
  return found;
}

// The value in `map` whose key is the longest place that `name` lies in.
Result<std::optional<Value>> longest_match(const Object& parent, std::string_view key,
                                           std::string_view name) {
  const std::optional<Value> map = parent.find(key);
  std::optional<Value> best;
  if (!map) return best;
  size_t best_size = 0;
  for (const auto [entry, value] : TRY(map->object())) {
    const std::string place = place_of(TRY(entry.string()));
    if (place.size() > best_size && lies_in(name, place)) {
      best = value;
      best_size = place.size();
    }
  }
  return best;
}

Result<Credentials> find_in(std::string_view text, std::string_view registry,
                            std::string_view repository) {
  const auto document =
      TRY(codec::json::Document::parse(text, {.bytes_max = credential_file_bytes_max}));
  const Object object = TRY(document.root().object());
  const std::string name = cat(registry, '/', repository);
  const std::string_view server = registry == "docker.io" ? docker_server : registry;
  std::string helper;
  TRY(object.maybe("credsStore", helper));
  if (const auto own = TRY(longest_match(object, "credHelpers", name))) {
    helper = TRY(own->string());
  }
  if (!helper.empty()) {
    Credentials found = TRY(ask_credential_helper(helper, server));
    if (!found.empty()) return found;
  }
  if (const auto entry = TRY(longest_match(object, "auths", name))) return read_entry(*entry);
  return Credentials();
}

Result<std::optional<std::string>> read_if_there(const std::string& path) {
  auto text = sys::read_file_at(sys::working_directory, path.c_str(), credential_file_bytes_max);
  if (text) return std::move(*text);
  const int reason = text.error().error_number();
  if (reason == ENOENT || reason == ENOTDIR) return std::nullopt;
  return std::unexpected(std::move(text).error());
}

// Helpers ----------------------------------------------------------------------------------------

struct Pipe {
  Fd read, write;
};
Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// A child of ours in a process group of its own; ended with everything it started.
class Helper {
 public:
  ~Helper() {
    if (pid_ > 0) end();
  }
  Result<> start(const std::string& program);
  // What it writes to `input` until the end, and how it ended.
  Result<std::string> talk(std::string_view input, milliseconds deadline);
  bool succeeded() const { return WIFEXITED(status_) && WEXITSTATUS(status_) == 0; }

 private:
  void end() {
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  Result<> wait(steady_clock::time_point until);

  pid_t pid_ = -1;
  int status_ = -1;
  Pipe in_, out_;
};

Result<> Helper::start(const std::string& program) {
  in_ = TRY(make_pipe());
  out_ = TRY(make_pipe());
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, in_.read.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out_.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  char name[] = "get";
  std::string copy = program;
  char* arguments[] = {copy.data(), name, nullptr};
  const int error =
      ::posix_spawnp(&pid_, program.c_str(), &actions, &attributes, arguments, ::environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  in_.read = Fd();
  out_.write = Fd();
  if (error == 0) return {};
  pid_ = -1;
  return fail_errno(error, "starting it");
}

Result<std::string> Helper::talk(std::string_view input, milliseconds deadline) {
  const auto until = steady_clock::now() + deadline;
  // A server's name fits a pipe's buffer, so nobody has to read it first. A helper that is gone
  // already must not end us.
  ::signal(SIGPIPE, SIG_IGN);
  if (const auto given = sys::write_all(in_.write, input, "its input");
      !given && given.error().error_number() != EPIPE) {
    return std::unexpected(given.error());
  }
  in_.write = Fd();
  std::string reply;
  char buffer[4096];
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now()).count();
    pollfd one{out_.read.get(), POLLIN, 0};
    const int ready = left > 0 ? ::poll(&one, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return fail(Kind::Unavailable, "no answer in time");
    const ssize_t size = ::read(out_.read.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno(errno, "reading its answer");
    if (size == 0) break;
    reply.append(buffer, static_cast<size_t>(size));
    if (reply.size() > helper_reply_bytes_max) {
      return fail(Kind::Exhausted,
                  cat("its answer is longer than ", helper_reply_bytes_max, " bytes"));
    }
  }
  TRY(wait(until));
  return reply;
}

Result<> Helper::wait(steady_clock::time_point until) {
  for (;;) {
    const pid_t ended = ::waitpid(pid_, &status_, WNOHANG);
    if (ended == pid_) break;
    if (ended < 0 && errno != EINTR) return fail_errno(errno, "waiting for it");
    if (steady_clock::now() >= until) return fail(Kind::Unavailable, "does not end in time");
    const timespec pause{0, 2'000'000};
    ::nanosleep(&pause, nullptr);
  }
  pid_ = -1;
  return {};
}

}  // namespace

std::vector<std::string> credential_files() {
  std::vector<std::string> files;
  const std::string home = environment("HOME");
  if (const std::string path = environment("REGISTRY_AUTH_FILE"); !path.empty()) {
    files.push_back(path);
  }
  if (const std::string directory = environment("DOCKER_CONFIG"); !directory.empty()) {
    files.push_back(cat(directory, "/config.json"));
  } else if (!home.empty()) {
    files.push_back(cat(home, "/.docker/config.json"));
  }
  if (const std::string directory = environment("XDG_RUNTIME_DIR"); !directory.empty()) {
    files.push_back(cat(directory, "/containers/auth.json"));
  }
  if (!home.empty()) files.push_back(cat(home, "/.config/containers/auth.json"));
  return files;
}

Result<Credentials> find_credentials(const std::vector<std::string>& files,
                                     std::string_view registry, std::string_view repository) {
  for (const std::string& path : files) {
    const auto text = TRY(read_if_there(path));
    if (!text) continue;
    Credentials found = TRY(find_in(*text, registry, repository).context([&] {
      return cat("credentials in '", path, "'");
    }));
    if (!found.empty()) return found;
  }
  return Credentials();
}

Result<Credentials> ask_credential_helper(std::string_view name, std::string_view server,
                                          milliseconds deadline) {
  const bool plain = !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
  if (!plain) {
    return fail(Kind::Invalid,
                cat("credential helper ", codec::json::in_quotes(name), ": no such name"));
  }
  const std::string program = cat("docker-credential-", name);
  Helper helper;
  TRY(helper.start(program).context(program));
  const std::string reply = TRY(helper.talk(server, deadline).context(program));
  if (!helper.succeeded()) {
    if (reply.contains("credentials not found")) return Credentials();
    return fail(Kind::Unavailable, cat(program, " fails: ", http::plain_words(reply)));
  }
  const auto document = TRY(codec::json::Document::parse(reply).context(program));
  const Object object = TRY(document.root().object().context(program));
  Credentials found;
  TRY(object.maybe("Username", found.username).context(program));
  TRY(object.maybe("Secret", found.password).context(program));
  if (found.username == "<token>") {
    found.identity_token = std::move(found.password);
    found.username.clear();
    found.password.clear();
  }
  return found;
}

}  // namespace nacelle::image
