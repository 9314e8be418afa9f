// info, version, system df, system prune, login, logout, build.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/terminal.h"
#include "cli/nacelle/units.h"
#include "codec/base64.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

void print_pair(const char* name, const std::string& value) {
  if (!value.empty()) std::printf(" %s: %s\n", name, value.c_str());
}

void print_list_of(const char* name, const Datum& list) {
  if (list.items().empty()) return;
  std::printf(" %s:\n", name);
  for (const Datum& each : list.items()) std::printf("  %s\n", each.text().c_str());
}

std::string joined(const Datum& list) {
  std::string text;
  for (const Datum& each : list.items()) text += cat(text.empty() ? "" : " ", each.text());
  return text;
}

void print_info(const Datum& info) {
  std::printf("Client:\n Version:    %s\n\nServer:\n", NACELLE_VERSION);
  for (const auto& [name, key] : {std::pair{"Containers", "Containers"},
                                  {" Running", "ContainersRunning"},
                                  {" Paused", "ContainersPaused"},
                                  {" Stopped", "ContainersStopped"},
                                  {"Images", "Images"}}) {
    std::printf(" %s: %lld\n", name, static_cast<long long>(info[key].integer()));
  }
  print_pair("Server Version", info["ServerVersion"].text());
  print_pair("Storage Driver", info["Driver"].text());
  for (const Datum& pair : info["DriverStatus"].items()) {
    std::printf("  %s: %s\n", pair[0].text().c_str(), pair[1].text().c_str());
  }
  print_pair("Logging Driver", info["LoggingDriver"].text());
  print_pair("Cgroup Driver", info["CgroupDriver"].text());
  print_pair("Cgroup Version", info["CgroupVersion"].text());
  const Datum& plugins = info["Plugins"];
  std::printf(" Plugins:\n  Volume: %s\n  Network: %s\n  Log: %s\n",
              joined(plugins["Volume"]).c_str(), joined(plugins["Network"]).c_str(),
              joined(plugins["Log"]).c_str());
  const std::string& swarm = info["Swarm"]["LocalNodeState"].text();
  print_pair("Swarm", swarm.empty() ? "inactive" : swarm);
  std::string runtimes;
  for (const auto& runtime : info["Runtimes"].members()) {
    runtimes += cat(runtimes.empty() ? "" : " ", runtime.key);
  }
  print_pair("Runtimes", runtimes);
  print_pair("Default Runtime", info["DefaultRuntime"].text());
  print_pair("Init Binary", info["InitBinary"].text());
  if (!info["SecurityOptions"].items().empty()) {
    std::printf(" Security Options:\n");
    for (const Datum& each : info["SecurityOptions"].items()) {
      std::string_view rest = each.text();
      const std::string_view first = take_until(rest, ',');
      const bool named = first.starts_with("name=");
      std::printf("  %s\n", std::string(named ? first.substr(5) : first).c_str());
      while (!rest.empty()) {
        std::string_view value = take_until(rest, ',');
        const std::string key(take_until(value, '='));
        std::printf("   %s: %s\n", key == "profile" ? "Profile" : key.c_str(),
                    std::string(value).c_str());
      }
    }
  }
  print_pair("Kernel Version", info["KernelVersion"].text());
  print_pair("Operating System", info["OperatingSystem"].text());
  print_pair("OSType", info["OSType"].text());
  print_pair("Architecture", info["Architecture"].text());
  std::printf(" CPUs: %lld\n", static_cast<long long>(info["NCPU"].integer()));
  print_pair("Total Memory", binary_size(info["MemTotal"].number()));
  print_pair("Name", info["Name"].text());
  print_pair("ID", info["ID"].text());
  print_pair("Docker Root Dir", info["DockerRootDir"].text());
  std::printf(" Debug Mode: %s\n", info["Debug"].boolean() ? "true" : "false");
  print_pair("HTTP Proxy", info["HttpProxy"].text());
  print_pair("HTTPS Proxy", info["HttpsProxy"].text());
  print_pair("No Proxy", info["NoProxy"].text());
  print_list_of("Labels", info["Labels"]);
  std::printf(" Experimental: %s\n", info["ExperimentalBuild"].boolean() ? "true" : "false");
  print_list_of("Insecure Registries", info["RegistryConfig"]["InsecureRegistryCIDRs"]);
  print_list_of("Registry Mirrors", info["RegistryConfig"]["Mirrors"]);
  std::printf(" Live Restore Enabled: %s\n",
              info["LiveRestoreEnabled"].boolean() ? "true" : "false");
  // What is ours and in no other engine's answer.
  for (const auto& [key, value] : info["Nacelle"].members()) {
    const std::string text = value.text().empty() ? value.json() : value.text();
    std::printf(" %s: %s\n", key.c_str(), text.c_str());
  }
  for (const Datum& warning : info["Warnings"].items()) {
    std::fprintf(stderr, "%s\n", warning.text().c_str());
  }
}

Datum client_version() {
  Datum client = Datum::object();
  client.set("Version", NACELLE_VERSION)
      .set("ApiVersion", "1.51")
      .set("DefaultAPIVersion", "1.51")
      .set("Os", "linux")
      .set("Arch",
#if defined(__x86_64__)
           "amd64"
#else
           "arm64"
#endif
           )
      .set("Context", "default");
  return client;
}

}  // namespace

Result<int> run_info(Session& session, const Arguments& arguments) {
  std::string format;
  Options options("info [OPTIONS]", "Shows what the engine is and has.");
  options.value("format", 'f', format, "FORMAT", "json, or a template").operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  Datum info = TRY(api->get(Target("/info")));
  if (format.empty()) {
    print_info(info);
    return 0;
  }
  info.set("ClientInfo", client_version());
  std::fputs(TRY(format_one(format, info)).c_str(), stdout);
  return 0;
}

Result<int> run_version(Session& session, const Arguments& arguments) {
  std::string format;
  Options options("version [OPTIONS]", "Shows the versions of this program and of the engine.");
  options.value("format", 'f', format, "FORMAT", "json, or a template").operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const Datum client = client_version();
  // What we are ourselves is told even where no engine answers.
  Result<Datum> server = Datum();
  const Result<Api*> api = session.api();
  server = api ? (*api)->get(Target("/version")) : Result<Datum>(std::unexpected(api.error()));
  if (!format.empty()) {
    Datum both = Datum::object();
    both.set("Client", client).set("Server", server ? *server : Datum());
    std::fputs(TRY(format_one(format, both)).c_str(), stdout);
  } else {
    std::printf(
        "Client:\n Version:           %s\n API version:       %s\n OS/Arch:           linux/%s\n",
        NACELLE_VERSION, client["ApiVersion"].text().c_str(), client["Arch"].text().c_str());
    if (server) {
      const Datum& s = *server;
      const std::string& platform = s["Platform"]["Name"].text();
      std::printf("\nServer:%s%s\n Engine:\n", platform.empty() ? "" : " ", platform.c_str());
      std::printf("  Version:          %s\n  API version:      %s (minimum version %s)\n",
                  s["Version"].text().c_str(), s["ApiVersion"].text().c_str(),
                  s["MinAPIVersion"].text().c_str());
      if (!s["GitCommit"].text().empty()) {
        std::printf("  Git commit:       %s\n", s["GitCommit"].text().c_str());
      }
      if (!s["BuildTime"].text().empty()) {
        std::printf("  Built:            %s\n", s["BuildTime"].text().c_str());
      }
      std::printf("  OS/Arch:          %s/%s\n  Experimental:     %s\n", s["Os"].text().c_str(),
                  s["Arch"].text().c_str(), s["Experimental"].boolean() ? "true" : "false");
      for (const Datum& part : s["Components"].items()) {
        if (part["Name"].text() == "Engine") continue;
        std::printf(" %s:\n  Version:          %s\n", part["Name"].text().c_str(),
                    part["Version"].text().c_str());
      }
    }
  }
  if (!server) return std::unexpected(std::move(server).error());
  return 0;
}

namespace {

struct Use {
  int64_t total = 0, active = 0;
  double size = 0, reclaimable = 0;
};

Datum use_row(const char* type, const Use& use) {
  std::string reclaimable = decimal_size(use.reclaimable);
  if (use.size > 0) {
    reclaimable += cat(" (", static_cast<int>(use.reclaimable * 100 / use.size), "%)");
  }
  Datum row = Datum::object();
  row.set("Type", type)
      .set("TotalCount", cat(use.total))
      .set("Active", cat(use.active))
      .set("Size", decimal_size(use.size))
      .set("Reclaimable", reclaimable);
  return row;
}

std::vector<Datum> disk_use(const Datum& answer) {
  Use images, containers, volumes, cache;
  images.size = answer["LayersSize"].number();
  double in_use = 0;
  for (const Datum& image : answer["Images"].items()) {
    ++images.total;
    if (image["Containers"].integer() <= 0) continue;
    ++images.active;
    const double shared = std::max(image["SharedSize"].number(), 0.0);
    in_use += image["Size"].number() - shared;
  }
  images.reclaimable = std::max(images.size - in_use, 0.0);
  for (const Datum& container : answer["Containers"].items()) {
    ++containers.total;
    const double size = container["SizeRw"].number();
    containers.size += size;
    const std::string& state = container["State"].text();
    const bool runs = state == "running" || state == "paused" || state == "restarting";
    if (runs) {
      ++containers.active;
    } else {
      containers.reclaimable += size;
    }
  }
  for (const Datum& volume : answer["Volumes"].items()) {
    ++volumes.total;
    const double size = std::max(volume["UsageData"]["Size"].number(), 0.0);
    volumes.size += size;
    if (volume["UsageData"]["RefCount"].integer() > 0) {
      ++volumes.active;
    } else {
      volumes.reclaimable += size;
    }
  }
  for (const Datum& record : answer["BuildCache"].items()) {
    ++cache.total;
    cache.size += record["Size"].number();
    if (record["InUse"].boolean()) {
      ++cache.active;
    } else {
      cache.reclaimable += record["Size"].number();
    }
  }
  return {use_row("Images", images), use_row("Containers", containers),
          use_row("Local Volumes", volumes), use_row("Build Cache", cache)};
}

}  // namespace

Result<int> run_disk_use(Session& session, const Arguments& arguments) {
  std::string format;
  bool verbose = false;
  Options options("system df [OPTIONS]", "Shows what takes how much of the disk.");
  options.value("format", 0, format, "FORMAT", "table TEMPLATE, json, or a template")
      .flag("verbose", 'v', verbose, "All that the engine says, as JSON")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum answer = TRY(api->get(Target("/system/df")));
  if (verbose) {
    std::printf("%s\n", answer.json("    ").c_str());
    return 0;
  }
  TRY(print_list(format, "{{.Type}}\\t{{.TotalCount}}\\t{{.Active}}\\t{{.Size}}\\t{{.Reclaimable}}",
                 {{"Type", "TYPE"},
                  {"TotalCount", "TOTAL"},
                  {"Active", "ACTIVE"},
                  {"Size", "SIZE"},
                  {"Reclaimable", "RECLAIMABLE"}},
                 disk_use(answer)));
  return 0;
}

Result<int> run_system_prune(Session& session, const Arguments& arguments) {
  bool all = false, force = false, volumes = false;
  std::vector<std::string> filters;
  Options options("system prune [OPTIONS]", "Removes what nobody uses.");
  options.flag("all", 'a', all, "Images with a name too, where no container has them")
      .list("filter", 0, filters, "KEY=VALUE", "until=TIME, label=KEY[=VALUE]")
      .flag("force", 'f', force, "Do not ask")
      .flag("volumes", 0, volumes, "Anonymous volumes too")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const std::string question =
      cat("WARNING! This will remove:\n  - all stopped containers\n"
          "  - all networks not used by at least one container\n",
          volumes ? "  - all anonymous volumes not used by at least one container\n" : "",
          all ? "  - all images without at least one container associated to them\n"
              : "  - all dangling images\n");
  if (!force && !confirmed(question.c_str())) return 0;
  Api* api = TRY(session.api());
  const std::string chosen = TRY(filters_json(filters));
  double reclaimed = 0;
  const auto prune = [&](const char* path, const std::string& with, const char* key,
                         const char* heading) -> Result<> {
    const Datum answer = TRY(api->post(Target(path).maybe("filters", with)));
    reclaimed += answer["SpaceReclaimed"].number();
    const std::vector<Datum>& removed = answer[key].items();
    if (removed.empty()) return {};
    std::printf("%s:\n", heading);
    for (const Datum& each : removed) {
      if (!each.text().empty()) {
        std::printf("%s\n", each.text().c_str());
      } else if (const std::string& name = each["Untagged"].text(); !name.empty()) {
        std::printf("untagged: %s\n", name.c_str());
      } else {
        std::printf("deleted: %s\n", each["Deleted"].text().c_str());
      }
    }
    std::printf("\n");
    return {};
  };
  TRY(prune("/containers/prune", chosen, "ContainersDeleted", "Deleted Containers"));
  TRY(prune("/networks/prune", chosen, "NetworksDeleted", "Deleted Networks"));
  if (volumes) TRY(prune("/volumes/prune", chosen, "VolumesDeleted", "Deleted Volumes"));
  std::vector<std::string> of_images = filters;
  of_images.push_back(cat("dangling=", all ? "false" : "true"));
  TRY(prune("/images/prune", TRY(filters_json(of_images)), "ImagesDeleted", "Deleted Images"));
  std::printf("Total reclaimed space: %s\n", decimal_size(reclaimed).c_str());
  return 0;
}

// Credentials ------------------------------------------------------------------------------------

namespace {

constexpr std::string_view docker_io = "https://index.docker.io/v1/";

std::string config_directory() {
  if (const char* given = ::getenv("DOCKER_CONFIG"); given != nullptr && *given != 0) return given;
  const char* home = ::getenv("HOME");
  return cat(home == nullptr ? "/root" : home, "/.docker");
}

Result<Datum> read_config() {
  constexpr size_t bytes_max = 1u << 20;
  const std::string path = cat(config_directory(), "/config.json");
  const auto text = sys::read_file_at(sys::working_directory, path.c_str(), bytes_max);
  if (!text && text.error().error_number() == ENOENT) return Datum::object();
  if (!text) return std::unexpected(text.error());
  return Datum::parse(*text).context(path);
}

// What else is in the file stays as it is.
Result<> write_config(const Datum& config) {
  const std::string directory = config_directory();
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno(errno, cat("mkdir ", directory));
  }
  const std::string path = cat(directory, "/config.json");
  return sys::replace_file_at(sys::working_directory, path.c_str(), config.json("\t"), 0600);
}

Result<std::string> read_line(const char* question, bool hidden) {
  if (is_terminal(STDIN_FILENO)) {
    std::fputs(question, stderr);
    std::fflush(stderr);
  }
  termios before{};
  const bool silent = hidden && ::tcgetattr(STDIN_FILENO, &before) == 0;
  if (silent) {
    termios quiet = before;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
  }
  std::string line;
  char c = 0;
  while (::read(STDIN_FILENO, &c, 1) == 1 && c != '\n') line += c;
  if (silent) {
    ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
    std::fputc('\n', stderr);
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

Result<std::string> read_password_from_input() {
  std::string text = TRY(
      sys::read_all(Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)), 64u << 10, "standard input"));
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

}  // namespace

Result<int> run_login(Session& session, const Arguments& arguments) {
  std::string username, password;
  bool from_input = false;
  Options options("login [OPTIONS] [SERVER]", "Signs in to a registry.");
  options.value("password", 'p', password, "TEXT", "Password or token; others can see it here")
      .flag("password-stdin", 0, from_input, "Read the password from standard input")
      .value("username", 'u', username, "TEXT", "User name")
      .operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (from_input && !password.empty()) {
    return fail(Kind::Invalid,
                "conflicting options: cannot specify both --password and --password-stdin");
  }
  if (from_input && username.empty()) {
    return fail(Kind::Invalid, "the --password-stdin option requires --username to be set");
  }
  if (!password.empty()) {
    std::fputs("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n",
               stderr);
  }
  if (from_input) {
    password = TRY(read_password_from_input());
  } else {
    if ((username.empty() || password.empty()) && !is_terminal(STDIN_FILENO)) {
      return fail(Kind::Invalid, "cannot perform an interactive login from a non-TTY device");
    }
    if (username.empty()) username = TRY(read_line("Username: ", false));
    if (password.empty()) password = TRY(read_line("Password: ", true));
  }
  if (username.empty() || password.empty())
    return fail(Kind::Invalid, "username and password are required");
  std::string server = parsed.operands.empty() ? std::string(docker_io) : parsed.operands[0];
  if (server == "docker.io" || server == "index.docker.io") server = docker_io;

  Datum auth = Datum::object();
  auth.set("username", username).set("password", password).set("serveraddress", server);
  Api* api = TRY(session.api());
  const Datum answer = TRY(api->post(Target("/auth"), auth.json()));

  Datum config = TRY(read_config());
  Datum auths = config["auths"].is_null() ? Datum::object() : config["auths"];
  Datum entry = Datum::object();
  if (const std::string& token = answer["IdentityToken"].text(); !token.empty()) {
    entry.set("auth", codec::to_base64(cat(username, ':'))).set("identitytoken", token);
  } else {
    entry.set("auth", codec::to_base64(cat(username, ':', password)));
  }
  auths.set(server, std::move(entry));
  config.set("auths", std::move(auths));
  TRY(write_config(config));
  std::printf("%s\n", answer["Status"].text().empty() ? "Login Succeeded"
                                                      : answer["Status"].text().c_str());
  return 0;
}

Result<int> run_logout(Session& session, const Arguments& arguments) {
  Options options("logout [SERVER]", "Forgets the credentials for a registry.");
  options.operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  std::string server = parsed.operands.empty() ? std::string(docker_io) : parsed.operands[0];
  if (server == "docker.io" || server == "index.docker.io") server = docker_io;
  Datum config = TRY(read_config());
  if (config["auths"][server].is_null()) {
    std::printf("Not logged in to %s\n", server.c_str());
    return 0;
  }
  Datum auths = Datum::object();
  for (const auto& [key, value] : config["auths"].members()) {
    if (key != server) auths.set(key, value);
  }
  config.set("auths", std::move(auths));
  TRY(write_config(config));
  std::printf("Removing login credentials for %s\n", server.c_str());
  return 0;
}

}  // namespace nacelle::cli
