#include "tests/root/security/attack.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/text.h"

namespace nacelle::test {

namespace fs = std::filesystem;

ArmedBundle::ArmedBundle(const Config& config) : Bundle(config) {
  fs::copy_file(NACELLE_BUILT_ATTACKER, rootfs() + "/attacker");
}

namespace {

std::vector<std::string> joined(std::vector<std::string> first, std::vector<std::string> second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace

CommandResult Box::start(std::vector<std::string> options) {
  return oci(joined(joined({"run", "--detach", "--bundle", bundle_.path()}, options), {id_}));
}

CommandResult Box::run(std::vector<std::string> options, const CommandOptions& how) {
  return oci(joined(joined({"run", "--bundle", bundle_.path()}, options), {id_}), how);
}

CommandResult Box::create(std::vector<std::string> options) {
  return oci(joined(joined({"create", "--bundle", bundle_.path()}, options), {id_}));
}

CommandResult Box::exec(std::vector<std::string> words, std::vector<std::string> options) {
  return oci(joined(joined(joined({"exec"}, options), {id_}), words));
}

int Box::pid() const {
  CommandOptions options;
  options.input = oci({"state", id_}).out;
  return std::atoi(nacelle::test::run({"jq", "-r", ".pid"}, options).out.c_str());
}

// What the runtime makes once and keeps, such as its cache of filters, is there before any census.
void Attack::SetUpTestSuite() {
  Box box("warm-up", Config::minimal());
  const CommandResult warm = box.run();
  ASSERT_TRUE(warm.ok()) << warm.text();
}

testing::AssertionResult nothing_of_ours_left_since(const Census& before) {
  std::string difference;
  const bool same = eventually([&] {
    Census old = before;
    Census now = take_census(runtime_root);
    for (Census* census : {&old, &now}) {
      if (!is_long_run()) census->found.erase("bpf");
      census->found.erase("descriptor");  // the test's own: the runtime is another process
      std::erase_if(census->found["state"], [](const std::string& entry) {
        return entry.starts_with(cat(runtime_root, "/@seccomp"));  // a cache: it is to stay
      });
    }
    difference = census_difference(old, now);
    return difference.empty();
  });
  if (same) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '\n' << difference;
}

bool is_long_run() { return std::getenv("NACELLE_LONG_SECONDS") != nullptr; }

double race_seconds(double seconds) {
  const char* wanted = std::getenv("NACELLE_LONG_SECONDS");
  return wanted == nullptr ? seconds : std::atof(wanted);
}

std::string mount_json(const std::string& destination, const std::string& type,
                       const std::string& source, const std::vector<std::string>& options) {
  return cat("{\"destination\":", json_string(destination), ",\"type\":", json_string(type),
             ",\"source\":", json_string(source), ",\"options\":", json_strings(options), "}");
}

std::string bind_json(const std::string& source, const std::string& destination,
                      std::vector<std::string> options) {
  return mount_json(destination, "bind", source, options);
}

std::string snapshot(const std::string& directory) {
  std::vector<std::string> lines;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    struct stat status{};
    if (::lstat(entry.path().c_str(), &status) != 0) continue;
    std::string line = cat(entry.path().string(), ' ', status.st_mode, ' ', status.st_uid, ' ',
                           status.st_gid, ' ', status.st_rdev);
    if (S_ISREG(status.st_mode)) line += cat(' ', read_file(entry.path()));
    if (S_ISLNK(status.st_mode)) line += cat(' ', fs::read_symlink(entry.path()).string());
    lines.push_back(std::move(line));
  }
  std::ranges::sort(lines);
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::string sha256(const std::string& path) { return run({"sha256sum", "--", path}).out; }

std::string value_of(const std::string& output, const std::string& key) {
  std::string found;
  std::string_view rest = output;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    if (line.starts_with(key + "=")) found = line.substr(key.size() + 1);
  }
  return found;
}

Config docker_without(const std::string& place) {
  Config config = Config::docker_like();
  CommandOptions options;
  options.input = config.top["mounts"];
  config.top["mounts"] =
      run({"jq", "-c", "--arg", "p", place,
           "map(select(.destination != $p and (.destination | startswith($p + \"/\") | not)))"},
          options)
          .out;
  while (config.top["mounts"].ends_with('\n')) config.top["mounts"].pop_back();
  return config;
}

}  // namespace nacelle::test
