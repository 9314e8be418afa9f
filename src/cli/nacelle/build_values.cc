#include "cli/nacelle/build_values.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "codec/json.h"
#include "sys/file.h"

namespace nacelle::cli {
namespace {

using codec::json::in_quotes;

// All of them go in one header of a request.
constexpr size_t secret_bytes_max = 24u << 10;

using Pairs = std::map<std::string, std::string, std::less<>>;

// "type=local,dest=x"
Result<Pairs> read_pairs(std::string_view text, std::string_view option) {
  Pairs pairs;
  while (!text.empty()) {
    std::string_view value = take_until(text, ',');
    const bool is_pair = value.contains('=');
    const std::string key(take_until(value, '='));
    if (!is_pair || key.empty() || pairs.contains(key)) {
      return fail(Kind::Invalid, cat(option, ": ", in_quotes(key), " is no name=value of its own"));
    }
    pairs.emplace(key, value);
  }
  return pairs;
}

std::string take(Pairs& pairs, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (const auto found = pairs.find(name); found != pairs.end()) {
      std::string value = std::move(found->second);
      pairs.erase(found);
      return value;
    }
  }
  return {};
}

Result<> nothing_left(const Pairs& pairs, std::string_view option) {
  if (pairs.empty()) return {};
  return fail(Kind::Invalid, cat(option, ": ", in_quotes(pairs.begin()->first), " is not known"));
}

Result<> check_destination(const BuildDestination& destination) {
  constexpr std::array types{"image", "cacheonly", "local", "tar", "docker", "oci"};
  if (!contains(types, destination.type)) {
    return fail(Kind::Invalid, cat("--output: type=", destination.type,
                                   ": image, cacheonly, local, tar, docker and oci are known"));
  }
  const bool needs_path = destination.is_handed_out();
  if (needs_path && destination.path.empty()) {
    return fail(Kind::Invalid, cat("--output: type=", destination.type, " needs dest=PATH"));
  }
  if (!needs_path && !destination.path.empty()) {
    return fail(Kind::Invalid, cat("--output: type=", destination.type, " has no dest"));
  }
  if (destination.type == "local" && destination.path == "-") {
    return fail(Kind::Invalid, "--output: type=local cannot go to standard output: type=tar can");
  }
  return {};
}

}  // namespace

Result<BuildDestination> parse_build_destination(const std::string& text) {
  BuildDestination destination;
  if (text == "-") {
    destination = {.type = "tar", .path = "-"};
  } else if (!text.contains('=')) {
    destination = {.type = "local", .path = text};
  } else {
    Pairs pairs = TRY(read_pairs(text, "--output"));
    destination = {.type = take(pairs, {"type"}), .path = take(pairs, {"dest", "d"})};
    TRY(nothing_left(pairs, "--output"));
    if (destination.type == "docker" && destination.path.empty()) destination.type = "image";
    const bool to_output = destination.type == "tar" || destination.type == "oci";
    if (to_output && destination.path.empty()) destination.path = "-";
  }
  TRY(check_destination(destination));
  return destination;
}

Result<BuildSecret> read_build_secret(const std::string& text) {
  Pairs pairs = TRY(read_pairs(text, "--secret"));
  BuildSecret secret;
  secret.id = take(pairs, {"id"});
  const std::string type = take(pairs, {"type"});
  std::string file = take(pairs, {"src", "source"});
  std::string variable = take(pairs, {"env"});
  TRY(nothing_left(pairs, "--secret"));
  if (secret.id.empty()) return fail(Kind::Invalid, "--secret: an id is needed");
  if (!type.empty() && type != "file" && type != "env") {
    return fail(Kind::Invalid, cat("--secret: type=", type, ": file and env are known"));
  }
  // Of an environment, `src` is a variable's name.
  if (type == "env" && variable.empty()) variable = std::exchange(file, {});
  if (file.empty() && variable.empty()) {
    const bool is_variable = type != "file" && ::getenv(secret.id.c_str()) != nullptr;
    (is_variable || type == "env" ? variable : file) = secret.id;
  }
  const auto doing = [&] { return cat("--secret id=", secret.id); };
  if (!file.empty()) {
    secret.value = TRY(
        sys::read_file_at(sys::working_directory, file.c_str(), secret_bytes_max).context(doing));
    return secret;
  }
  const char* const value = ::getenv(variable.c_str());
  if (value == nullptr) {
    return fail(Kind::NotFound, cat(doing(), ": the environment has no ", variable));
  }
  secret.value = value;
  if (secret.value.size() > secret_bytes_max) {
    return fail(Kind::Exhausted, cat(doing(), ": more than ", secret_bytes_max, " bytes"));
  }
  return secret;
}

Result<std::vector<BuildAgent>> read_build_agents(const std::vector<std::string>& texts) {
  std::vector<BuildAgent> agents;
  for (const std::string& text : texts) {
    std::string_view socket = text;
    BuildAgent agent;
    agent.id = take_until(socket, '=');
    agent.socket = socket;
    if (agent.id.empty()) return fail(Kind::Invalid, "--ssh: an id is needed: default[=SOCKET]");
    const auto doing = [&] { return cat("--ssh ", agent.id); };
    if (contains(agents, agent.id, &BuildAgent::id)) {
      return fail(Kind::Invalid, cat(doing(), ": this id is given twice"));
    }
    const char* const by_default = ::getenv("SSH_AUTH_SOCK");
    if (agent.socket.empty() && by_default != nullptr) agent.socket = by_default;
    if (agent.socket.empty()) {
      return fail(Kind::NotFound, cat(doing(), ": no agent runs here: SSH_AUTH_SOCK is not set"));
    }
    struct stat status{};
    if (::stat(agent.socket.c_str(), &status) < 0) {
      return fail_errno(errno, cat(doing(), ": ", agent.socket));
    }
    if (!S_ISSOCK(status.st_mode)) {
      return fail(Kind::Unsupported,
                  cat(doing(), ": ", agent.socket,
                      " is no socket: keys are used by an agent that has them (ssh-add)"));
    }
    agents.push_back(std::move(agent));
  }
  return agents;
}

}  // namespace nacelle::cli
