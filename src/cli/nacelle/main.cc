// nacelle: what people type. This file is the options before the verb and the table of verbs.
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/session.h"

namespace nacelle::cli {

namespace {

void print_usage() {
  const std::string text = cat(
      "usage: nacelle [OPTIONS] VERB ...\n\n"
      "Builds, ships and runs containers.\n\n",
      verbs_help(),
      "\noptions:\n"
      "  -H, --host HOST               the engine (default $NACELLE_HOST, $DOCKER_HOST or\n"
      "                                unix:///run/nacelle/nacelle.sock, where one is started)\n"
      "      --data-root DIR           image verbs work on the store here, without an engine\n"
      "      --insecure-registry HOST  without an engine: a registry without TLS, or unchecked\n"
      "      --registry-mirror URL     without an engine: try this first for what docker.io has\n"
      "      --certs-dir DIR           without an engine: authorities and client certificates\n"
      "      --layer-form FORM         without an engine: directories (default) or erofs images\n"
      "  -v, --version                 print the version\n"
      "  -h, --help                    print this; `nacelle VERB --help` says more\n");
  std::fputs(text.c_str(), stdout);
}

// Options before the verb, and the verb with its own arguments.
struct CommandLine {
  SessionOptions session;
  Arguments rest;
  bool version = false;
  bool help = false;
};

Result<CommandLine> parse_globals(int argc, char** argv) {
  CommandLine line;
  std::string layer_form = "directories";
  Options options("[OPTIONS] VERB ...", "");
  image::ImagesOptions& images = line.session.images;
  std::optional<std::string> data_root, host;
  bool debug = false;
  std::string unused, config;
  options.value("data-root", 0, data_root, "DIR", "")
      .value("host", 'H', host, "HOST", "")
      .list("insecure-registry", 0, images.registries.insecure_registries, "HOST", "")
      .list("registry-mirror", 0, images.registries.mirrors, "URL", "")
      .list("certs-dir", 0, images.registries.certificate_directories, "DIR", "")
      .value("layer-form", 0, layer_form, "FORM", "")
      .flag("debug", 'D', debug, "")
      .value("log-level", 'l', unused, "LEVEL", "")
      .value("config", 0, config, "DIR", "")
      .value("context", 'c', unused, "NAME", "")
      .flag("version", 'v', line.version, "")
      .flag("help", 'h', line.help, "")
      .operands(0, any_number);
  int verb = 1;
  while (verb < argc && argv[verb][0] == '-') {
    // Those that take a value in the next argument; flags and `--name=value` stand alone.
    const std::string_view argument = argv[verb];
    const bool alone = argument.contains('=') || argument == "-v" || argument == "--version" ||
                       argument == "-h" || argument == "--help" || argument == "-D" ||
                       argument == "--debug" || (argument.starts_with("-H") && argument.size() > 2);
    verb += alone ? 1 : 2;
  }
  if (verb > argc) verb = argc;
  Arguments globals(argv + 1, argv + verb);
  for (std::string& each : globals) {
    if (each == "-h" || each == "--help") each = "--help=true";
  }
  TRY(options.parse(globals));
  if (layer_form != "directories" && layer_form != "erofs") {
    return fail(Kind::Invalid,
                cat("--layer-form: '", layer_form, "': must be directories or erofs"));
  }
  if (data_root) {
    images.data_root = *data_root;
    line.session.direct = true;
  }
  for (const char* name : {"NACELLE_HOST", "DOCKER_HOST"}) {
    const char* value = ::getenv(name);
    if (!host && value != nullptr && *value != 0) host = value;
  }
  if (host) line.session.host = *host;
  if (!config.empty()) ::setenv("DOCKER_CONFIG", config.c_str(), 1);
  if (layer_form == "erofs") images.layer_form = image::LayerForm::Erofs;
  line.rest.assign(argv + verb, argv + argc);
  return line;
}

int misunderstood(const std::string& message) {
  std::fprintf(stderr, "nacelle: %s\n", message.c_str());
  return exit_usage;
}

Result<int> run(int argc, char** argv) {
  Result<CommandLine> parsed = parse_globals(argc, argv);
  if (!parsed) return misunderstood(parsed.error().message());
  CommandLine& line = *parsed;
  if (line.version) {
    std::printf("nacelle version %s\n", NACELLE_VERSION);
    return 0;
  }
  if (line.help || line.rest.empty()) {
    print_usage();
    return line.help ? 0 : exit_usage;
  }
  if (line.rest[0] == "help") {
    if (line.rest.size() == 1) {
      print_usage();
      return 0;
    }
    line.rest.erase(line.rest.begin());
    line.rest.push_back("--help");
  }
  Session session(std::move(line.session));
  return run_words(session, line.rest);
}

// A descriptor or two for each layer of an image, of which there may be 500: more than the 1,024
// that many shells give. Workers set limits of their own.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// What was printed must have arrived: a full disk behind `>` is an error like any other.
bool output_arrived() { return std::fflush(stdout) == 0 && std::ferror(stdout) == 0; }

}  // namespace
}  // namespace nacelle::cli

int main(int argc, char** argv) {
  // A reader who has gone away is an error of write(2), named like any other.
  ::signal(SIGPIPE, SIG_IGN);
  nacelle::arm_faults();
  nacelle::cli::raise_descriptor_limit();
  const nacelle::Result<int> code = nacelle::cli::run(argc, argv);
  if (!nacelle::cli::output_arrived()) {
    std::fprintf(stderr, "nacelle: writing to standard output failed\n");
    return 1;
  }
  if (code) return *code;
  std::fprintf(stderr, "nacelle: %s\n", code.error().message().c_str());
  return 1;
}
