// nacelled: the engine. Opens it, serves its API, and ends on SIGTERM with every container running
// on. One per data root.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/fault.h"
#include "base/text.h"
#include "cli/nacelled/settings.h"
#include "core/messages.h"
#include "engine/engine.h"
#include "http/server.h"
#include "ring/notice.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::cli {
namespace {

using ring::Loop;
using ring::Task;

constexpr std::chrono::milliseconds grace{2'000};
constexpr int first_handed_over = 3;  // sd_listen_fds(3)

LogLevel shown = LogLevel::Info;

void say(LogLevel level, std::string_view text) {
  if (level < shown) return;
  constexpr const char* names[] = {"debug", "info", "warning", "error"};
  const time_t now = ::time(nullptr);
  tm parts{};
  ::gmtime_r(&now, &parts);
  char when[32];
  ::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
  std::string line = cat("time=", std::string_view(when),
                         " level=", std::string_view(names[static_cast<int>(level)]), " msg=\"");
  for (const char c : text) {
    if (c == '"' || c == '\\') line += '\\';
    line += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  line += "\"\n";
  // One write, so that lines of several processes do not mix.
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

Result<> make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const bool last = at == std::string::npos;
    if (::mkdir(path.substr(0, at).c_str(), last ? 0700 : 0755) != 0 && errno != EEXIST) {
      return fail_errno(errno, cat("mkdir '", path.substr(0, at), "'"));
    }
    if (last) break;
  }
  // One that others could look into is closed: what lies below relies on it (CVE-2021-41091).
  if (::chmod(path.c_str(), 0700) != 0) return fail_errno(errno, cat("chmod '", path, "'"));
  return {};
}

// Held until we end; a second engine on the same data would undo what the first does.
Result<Fd> lock_data_root(const std::string& data_root) {
  Fd lock = TRY(sys::open_at(sys::working_directory, cat(data_root, "/nacelled.lock").c_str(),
                             O_RDWR | O_CREAT, 0600));
  struct flock whole{};
  whole.l_type = F_WRLCK;
  if (::fcntl(lock.get(), F_OFD_SETLK, &whole) != 0) {
    return fail(Kind::Conflict, cat("data-root '", data_root, "': another nacelled uses it"));
  }
  return lock;
}

Result<> listen_on_handed_over(http::Server& server) {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  const auto number = count == nullptr ? std::nullopt : parse_number<int>(count);
  if (pid == nullptr || parse_number<pid_t>(pid) != ::getpid() || !number || *number < 1) {
    return fail(Kind::Invalid, "fd://: no socket was handed over (LISTEN_FDS)");
  }
  for (int i = 0; i < *number; ++i) {
    Fd socket(first_handed_over + i);
    ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
    TRY(server.listen_on(std::move(socket)));
  }
  return {};
}

// A group that may use a socket in our run directory may pass through that, and no more.
Result<> open_way(const std::string& path, const Settings& settings) {
  const std::string& directory = settings.exec_root;
  if (settings.group.empty() || path.substr(0, path.rfind('/')) != directory) return {};
  const struct stat status = TRY(sys::stat_at(sys::working_directory, path.c_str(), 0));
  if (::chown(directory.c_str(), 0, status.st_gid) != 0 || ::chmod(directory.c_str(), 0710) != 0) {
    return fail_errno(errno, cat("opening '", directory, "' to group ", settings.group));
  }
  return {};
}

Result<> listen(http::Server& server, const Settings& settings) {
  for (const std::string& host : settings.hosts) {
    if (host.starts_with("unix://")) {
      const std::string path = host.substr(7);
      const size_t slash = path.rfind('/');
      if (slash != std::string::npos && slash > 0 &&
          ::access(path.substr(0, slash).c_str(), F_OK) != 0) {
        TRY(make_directories(path.substr(0, slash)));
      }
      TRY(server.listen_unix(path, settings.group));
      TRY(open_way(path, settings));
    } else if (host.starts_with("tcp://")) {
      TRY(server.listen_tcp(host.substr(6),
                            {settings.tlscert, settings.tlskey, settings.tlscacert}));
    } else {
      TRY(listen_on_handed_over(server));
    }
    say(LogLevel::Info, cat("API listens on ", host));
  }
  return {};
}

// sd_notify(3): READY=1 to whoever started us and wants to know.
void notify_ready() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  const std::string_view name = path;
  if (name.size() >= sizeof address.sun_path) return;
  name.copy(address.sun_path, name.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr std::string_view ready = "READY=1";
  (void)::sendto(socket.get(), ready.data(), ready.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size()));
}

Result<engine::Options> engine_options(const Settings& settings) {
  engine::Options options;
  options.data_root = settings.data_root;
  options.run_directory = settings.exec_root;
  options.cgroup_root = settings.cgroup_parent;
  options.labels = TRY(read_pairs(settings.labels, "label"));
  options.log.type = settings.log_driver.empty() ? "json-file" : settings.log_driver;
  options.log.config = TRY(read_pairs(settings.log_opts, "log-opt"));
  TRY(logs::parse_options(options.log.type, options.log.config));
  options.registries.insecure_registries = settings.insecure_registries;
  options.registries.mirrors = settings.registry_mirrors;
  options.default_subnet = settings.bip;
  if (settings.shm_bytes) options.default_shm_bytes = *settings.shm_bytes;
  return options;
}

bool something_runs(engine::Engine& engine) {
  for (const engine::Container* each : engine.containers->all()) {
    switch (each->state.phase) {
      case engine::Phase::Running:
      case engine::Phase::Paused:
      case engine::Phase::Restarting: return true;
      default: break;
    }
  }
  return false;
}

// What ends the program: a signal, or nobody wanting anything of it.
struct Ending {
  ring::Notice notice;
  bool come = false;
  bool by_idleness = false;
  void tell() {
    come = true;
    notice.notify_all();
  }
};

// `said`: the command line, which holds for what is read again as well.
Task<> watch_signals(Loop& loop, const Fd& signals, const std::vector<std::string>& said,
                     engine::Engine& engine, Ending& ending) {
  for (;;) {
    signalfd_siginfo info{};
    co_await ring::read_some(loop, signals, {reinterpret_cast<char*>(&info), sizeof info});
    if (info.ssi_signo != SIGHUP) break;
    // What dockerd takes up again without a restart.
    const auto fresh = read_settings(said);
    if (!fresh) {
      say(LogLevel::Error, cat("SIGHUP: ", fresh.error().message()));
      continue;
    }
    shown = fresh->level();
    if (auto labels = read_pairs(fresh->labels, "label")) engine.options.labels = *labels;
    say(LogLevel::Info, fresh->config_file.empty() ? "SIGHUP: there is no configuration file"
                                                   : cat("took up ", fresh->config_file, " again"));
  }
  say(LogLevel::Info, "asked to end; containers run on");
  ending.tell();
}

Task<> watch_idleness(Loop& loop, engine::Engine& engine, const http::Server& server,
                      std::chrono::seconds limit, Ending& ending) {
  auto since = loop.now();
  while (loop.now() - since < limit) {
    co_await ring::sleep_for(loop, std::chrono::milliseconds(500));
    if (server.connections() > 0 || something_runs(engine)) since = loop.now();
  }
  say(LogLevel::Info, "nothing runs and nobody asks: ending");
  ending.by_idleness = true;
  ending.tell();
}

Task<> serve(Loop& loop, const Settings& settings, const std::vector<std::string>& said,
             const Fd& signals) {
  auto opened = co_await engine_options(settings);
  const std::unique_ptr<engine::Engine> engine =
      co_await engine::open_engine(loop, std::move(opened));
  for (const std::string& warning : engine->warnings) say(LogLevel::Warn, warning);
  http::Server server(loop, api::make_handler(*engine), api::common_headers());
  http::Server metrics(loop, api::make_metrics_handler(*engine), {}, api::metrics_limits());
  Result<> listening = listen(server, settings);
  if (listening && !settings.metrics_addr.empty()) {
    listening = metrics.listen_open_tcp(settings.metrics_addr);
  }
  Ending ending;
  if (listening) {
    ring::Scope background(loop, [](const Error& error) { say(LogLevel::Error, error.message()); });
    background.start(server.serve(grace));
    if (!settings.metrics_addr.empty()) {
      background.start(metrics.serve(grace));
      say(LogLevel::Info, cat("metrics at http://", settings.metrics_addr, "/metrics"));
    }
    background.start(watch_signals(loop, signals, said, *engine, ending));
    if (settings.idle_exit_s > 0) {
      background.start(watch_idleness(loop, *engine, server,
                                      std::chrono::seconds(settings.idle_exit_s), ending));
    }
    notify_ready();
    while (!ending.come) co_await ending.notice.wait();
    background.cancel();
    co_await background.join();
  }
  if (ending.by_idleness) {
    // Refused where a container was started a moment ago; then it stays.
    (void)co_await as_result(engine->core->call(core::ShutdownRequest{}));
  }
  co_await engine::close_engine(*engine);
  co_await std::move(listening);
}

// Every container that runs and every client costs a descriptor, and a shell's limit is not meant
// for us. Containers have limits of their own.
void raise_files_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<> run(const Settings& settings, const std::vector<std::string>& said) {
  raise_files_limit();
  TRY(make_directories(settings.data_root));
  TRY(make_directories(settings.exec_root));
  const Fd lock = TRY(lock_data_root(settings.data_root));
  if (!settings.pidfile.empty()) {
    TRY(sys::replace_file_at(sys::working_directory, settings.pidfile.c_str(),
                             cat(::getpid(), "\n"), 0644));
  }
  sigset_t caught;
  sigemptyset(&caught);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&caught, signal);
  ::pthread_sigmask(SIG_BLOCK, &caught, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const Fd signals(::signalfd(-1, &caught, SFD_CLOEXEC));
  if (!signals) return fail_errno(errno, "signalfd");
  const std::unique_ptr<Loop> loop = TRY(Loop::open());
  Result<> served = loop->run(serve(*loop, settings, said, signals));
  if (!settings.pidfile.empty()) {
    (void)sys::unlink_at(sys::working_directory, settings.pidfile.c_str());
  }
  return served;
}

}  // namespace
}  // namespace nacelle::cli

int main(int argc, char** argv) {
  using namespace nacelle;
  arm_faults();
  const std::vector<std::string> said(argv + 1, argv + argc);
  auto settings = cli::read_settings(said);
  if (!settings) {
    std::fprintf(stderr, "nacelled: %s\n", settings.error().message().c_str());
    return 1;
  }
  if (settings->help || settings->version) {
    std::fputs(
        settings->help ? cli::settings_help().c_str() : "nacelled version " NACELLE_VERSION "\n",
        stdout);
    return 0;
  }
  if (settings->validate) {
    std::fputs("configuration OK\n", stdout);
    return 0;
  }
  cli::shown = settings->level();
  sys::run_promptly();
  if (Result<> ran = cli::run(*settings, said); !ran) {
    cli::say(cli::LogLevel::Error, ran.error().message());
    return 1;
  }
  return 0;
}
