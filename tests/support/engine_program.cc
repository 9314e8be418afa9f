#include "tests/support/engine_program.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <thread>

#include "base/text.h"
#include "codec/digest.h"
#include "http/stream_client.h"
#include "tests/support/bundle.h"
#include "tests/support/busybox_archive.h"
#include "tests/support/hostile_tar.h"

namespace nacelle::test {
namespace {

using namespace std::chrono_literals;

constexpr size_t answer_bytes_max = 64u << 20;
constexpr const char* cgroup_root = "/sys/fs/cgroup/nacelle";

// The process whose command line has all of these; 0 where there is none.
// By what its command line contains, and what not.
pid_t find_process(const std::vector<std::string>& parts, const std::vector<std::string>& others) {
  DIR* directory = ::opendir("/proc");
  pid_t found = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const auto pid = parse_number<pid_t>(std::string_view(entry->d_name));
    if (!pid || *pid == ::getpid()) continue;
    const std::string line = read_file(cat("/proc/", *pid, "/cmdline"));
    bool all = !line.empty();
    for (const std::string& part : parts) all = all && line.contains(part);
    for (const std::string& other : others) all = all && !line.contains(other);
    if (all) found = *pid;
  }
  ::closedir(directory);
  return found;
}

pid_t parent_of(pid_t pid) {
  const std::string text = read_file(cat("/proc/", pid, "/status"));
  const size_t at = text.find("PPid:\t");
  return at == std::string::npos ? 0 : static_cast<pid_t>(::atol(text.c_str() + at + 6));
}

void end_process(pid_t pid) {
  if (pid <= 0) return;
  ::kill(pid, SIGKILL);
  eventually([&] { return ::kill(pid, 0) != 0; });
}

// Whoever is left in there ends, and the groups go.
void remove_groups(const std::string& group) {
  write_file(group + "/cgroup.kill", "1");
  eventually([&] {
    (void)run({"/bin/sh", "-c", cat("find ", group, " -depth -type d -exec rmdir {} + 2>&1")});
    return ::access(group.c_str(), F_OK) != 0;
  });
}

std::string without_frames(std::string_view bytes) {
  std::string text;
  while (bytes.size() >= 8) {
    size_t length = 0;
    for (size_t i = 4; i < 8; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    text += bytes.substr(8, length);
    bytes.remove_prefix(std::min(bytes.size(), 8 + length));
  }
  return text;
}

std::string architecture() {
  utsname name{};
  ::uname(&name);
  return std::string_view(name.machine) == "aarch64" ? "arm64" : "amd64";
}

}  // namespace

std::string ping_engine(const std::string& socket_path) {
  for (int i = 0; i < 500; ++i) {
    auto client = http::StreamClient::connect("unix://" + socket_path);
    if (client && client->call({.method = "GET", .target = "/_ping"})) {
      return client->read_all(100).value_or("cut");
    }
    std::this_thread::sleep_for(10ms);
  }
  return "nobody";
}

unsigned mode_of(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

std::string percent_encoded(std::string_view text) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', digits[byte >> 4], digits[byte & 15]};
  }
  return out;
}

std::string json_member(std::string_view json, std::string_view name) {
  const std::string key = cat('"', name, "\":");
  const size_t at = json.find(key);
  if (at == std::string_view::npos) return {};
  json.remove_prefix(at + key.size());
  if (!json.starts_with('"')) return std::string(json.substr(0, json.find_first_of(",}]")));
  json.remove_prefix(1);
  return std::string(json.substr(0, json.find('"')));
}

// A connection that is spoken to byte by byte. ----------------------------------------------------

RawClient::RawClient(const std::string& socket_path)
    : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* at = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket_.get(), at, sizeof address) != 0) socket_ = Fd();
}

bool RawClient::send(std::string_view bytes) {
  while (socket_ && !bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return static_cast<bool>(socket_);
}

const std::string& RawClient::read_until(std::string_view token, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (socket_ && !ended_ && (token.empty() || !received_.contains(token))) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) break;
    char piece[65536];
    const ssize_t got = ::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) continue;
    ended_ = got <= 0;
    if (got > 0) received_.append(piece, static_cast<size_t>(got));
  }
  return received_;
}

const std::string& RawClient::read_all(milliseconds limit) { return read_until({}, limit); }

// The engine. ------------------------------------------------------------------------------------

EngineProgram::EngineProgram(Options options)
    : data_root_(std::move(options.data_root)), arguments_(std::move(options.arguments)) {
  ::signal(SIGPIPE, SIG_IGN);
  char name[] = "/tmp/engine-XXXXXX";
  EXPECT_NE(::mkdtemp(name), nullptr);
  directory_ = name;
  ::chmod(name, 0755);  // what lies below is closed by itself
  if (data_root_.empty()) data_root_ = directory_ + "/data";
  start();
}

EngineProgram::~EngineProgram() {
  const pid_t core = core_pid();
  engine_ = nullptr;
  end_process(core);
  remove_groups(cgroup_root);
  // Where a core that was not killed would have taken its programs away.
  (void)::umount2(cat(run_directory(), "/bpf").c_str(), MNT_DETACH);
  (void)run({"/bin/rm", "-rf", directory_});
}

void EngineProgram::start() {
  engine_ = nullptr;  // one that was killed has let go of its place then
  std::vector<std::string> all = {NACELLED,
                                  "--data-root",
                                  data_root_,
                                  "--exec-root",
                                  run_directory(),
                                  "-H",
                                  "unix://" + socket_path()};
  all.insert(all.end(), arguments_.begin(), arguments_.end());
  engine_ = std::make_unique<RunningCommand>(all, CommandOptions{.deadline = 600s});
}

int EngineProgram::end() {
  ::kill(engine_->pid(), SIGTERM);
  return engine_->wait().exit_code;
}

pid_t EngineProgram::core_pid() const {
  // Its helpers are the same program, and know the same directory.
  return find_process({"nacelle-core", run_directory()}, {"--netns-maker", "--bpf-loader"});
}

pid_t EngineProgram::log_worker_pid() const {
  const pid_t core = core_pid();
  DIR* directory = ::opendir("/proc");
  pid_t found = 0;
  while (const dirent* entry = ::readdir(directory)) {
    const auto pid = parse_number<pid_t>(std::string_view(entry->d_name));
    if (!pid || parent_of(*pid) != core) continue;
    const std::string line = read_file(cat("/proc/", *pid, "/cmdline"));
    if (line.contains("nacelle-worker") && line.contains("logs")) found = *pid;
  }
  ::closedir(directory);
  return found;
}

Answer EngineProgram::call(std::string_view method, std::string_view target,
                           std::string_view body) const {
  auto client = http::StreamClient::connect("unix://" + socket_path());
  if (!client) return {0, client.error().message()};
  http::StreamClient::Call call{.method = std::string(method), .target = std::string(target)};
  call.body = body;
  if (!body.empty()) {
    const bool json = body.starts_with('{');
    call.headers.emplace_back("Content-Type", json ? "application/json" : "application/x-tar");
  }
  const auto head = client->call(call);
  if (!head) return {0, head.error().message()};
  auto text = client->read_all(answer_bytes_max);
  return {head->status, text ? *std::move(text) : text.error().message()};
}

Answer EngineProgram::import_image(std::string_view name,
                                   const std::vector<std::string>& changes) const {
  std::string target = cat("/images/create?fromSrc=-&tag=latest&repo=", name);
  for (const std::string& each : changes) target += cat("&changes=", percent_encoded(each));
  return call("POST", target, read_file(busybox_archive()));
}

Answer EngineProgram::load_image(std::string_view name, std::string_view layer,
                                 std::string_view config) const {
  const std::string base = read_file(busybox_archive());
  const std::string image =
      cat(R"({"architecture":")", architecture(), R"(","os":"linux","config":)", config,
          R"(,"rootfs":{"type":"layers","diff_ids":[")", codec::digest_of(base).text(), R"(",")",
          codec::digest_of(layer).text(), R"("]}})");
  TarBuilder archive;
  archive.file("base.tar", base).file("layer.tar", layer).file("config.json", image);
  archive.file("manifest.json", cat(R"([{"Config":"config.json","RepoTags":[")", name,
                                    R"(:latest"],"Layers":["base.tar","layer.tar"]}])"));
  return call("POST", "/images/load", archive.finish());
}

std::string EngineProgram::create(const std::vector<std::string>& command, std::string_view more,
                                  std::string_view host, std::string_view image) const {
  const Answer answer = call(
      "POST", "/containers/create",
      cat(R"({"Image":")", image, R"(","Cmd":)", json_strings(command), more.empty() ? "" : ",",
          more, R"(,"HostConfig":{)", host.contains("NetworkMode") ? "" : R"("NetworkMode":"none")",
          host.empty() || host.contains("NetworkMode") ? "" : ",", host, "}}"));
  EXPECT_EQ(answer.status, 201) << answer.body;
  return answer.status == 201 ? json_member(answer.body, "Id") : std::string();
}

bool EngineProgram::start_container(const std::string& id) const {
  const Answer answer = call("POST", cat("/containers/", id, "/start"));
  EXPECT_EQ(answer.status, 204) << answer.body;
  return answer.status == 204;
}

std::string EngineProgram::run_container(const std::vector<std::string>& command,
                                         std::string_view more, std::string_view host,
                                         std::string_view image) const {
  const std::string id = create(command, more, host, image);
  if (!id.empty()) start_container(id);
  return id;
}

int EngineProgram::wait_container(const std::string& id) const {
  const Answer answer = call("POST", cat("/containers/", id, "/wait"));
  return parse_number<int>(json_member(answer.body, "StatusCode")).value_or(-1);
}

std::string EngineProgram::logs(const std::string& id) const {
  return without_frames(call("GET", cat("/containers/", id, "/logs?stdout=1&stderr=1")).body);
}

std::string EngineProgram::output_of(const std::vector<std::string>& command, std::string_view more,
                                     std::string_view host, std::string_view image) const {
  const std::string id = run_container(command, more, host, image);
  if (id.empty()) return {};
  (void)wait_container(id);
  std::string text = logs(id);
  (void)remove_container(id);
  return text;
}

bool EngineProgram::remove_container(const std::string& id) const {
  const Answer answer = call("DELETE", cat("/containers/", id, "?force=1&v=1"));
  EXPECT_EQ(answer.status, 204) << answer.body;
  return answer.status == 204;
}

void EngineProgram::remove_containers() const {
  const std::string list = call("GET", "/containers/json?all=1").body;
  for (size_t at = 0; (at = list.find("\"Id\":\"", at)) != std::string::npos; at += 6) {
    (void)remove_container(list.substr(at + 6, 64));
  }
}

std::string EngineProgram::exec(const std::string& id, const std::vector<std::string>& command,
                                std::string_view more) const {
  const Answer made = call("POST", cat("/containers/", id, "/exec"),
                           cat(R"({"AttachStdout":true,"AttachStderr":true,"Cmd":)",
                               json_strings(command), more.empty() ? "" : ",", more, "}"));
  if (made.status != 201) return made.body;
  RawClient client(socket_path());
  client.send(cat("POST /exec/", json_member(made.body, "Id"),
                  "/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
                  "Content-Length: 2\r\n\r\n{}"));
  std::string_view bytes = client.read_all();
  const size_t head = bytes.find("\r\n\r\n");
  if (!bytes.starts_with("HTTP/1.1 200")) return std::string(bytes);
  return without_frames(bytes.substr(head + 4));
}

pid_t EngineProgram::pid_of(const std::string& id) const {
  const std::string text = call("GET", cat("/containers/", id, "/json")).body;
  return parse_number<pid_t>(json_member(text, "Pid")).value_or(-1);
}

// Processes. -------------------------------------------------------------------------------------

size_t descriptors_of(pid_t pid) {
  DIR* directory = ::opendir(cat("/proc/", pid, "/fd").c_str());
  if (directory == nullptr) return 0;
  size_t count = 0;
  while (const dirent* entry = ::readdir(directory)) count += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(directory);
  return count;
}

long resident_kib_of(pid_t pid) {
  const std::string text = read_file(cat("/proc/", pid, "/status"));
  const size_t at = text.find("VmRSS:");
  return at == std::string::npos ? 0 : ::atol(text.c_str() + at + 6);
}

}  // namespace nacelle::test
