// nacelle: what people type. This file is the options before the verb and the table of verbs.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/session.h"

namespace nacelle::cli {

Result<image::Images*> Session::images() {
  if (images_ == nullptr) {
    if (::geteuid() != 0) {
      return fail(Kind::Denied, "must be run as root: rootless use is not supported yet");
    }
    loop_ = TRY(ring::Loop::open());
    images_ = TRY(image::Images::open(*loop_, options_));
  }
  return images_.get();
}

namespace {

constexpr Verb verbs[] = {
    {"image", run_image, "Manage images"},
    {"images", run_image_list, "List images"},
    {"pull", run_pull, "Download an image from a registry"},
    {"push", run_push, "Upload an image to a registry"},
    {"save", run_save, "Save images to a tar archive"},
    {"load", run_load, "Load images from a tar archive"},
    {"import", run_import, "Make an image of a root file system in a tar archive"},
    {"tag", run_tag, "Give an image another name"},
    {"rmi", run_image_remove, "Remove images"},
    {"history", run_history, "Show what an image was made by"},
};

void print_usage() {
  std::string text =
      "usage: nacelle [OPTIONS] VERB ...\n\n"
      "Builds, ships and runs containers.\n\nverbs:\n";
  for (const Verb& verb : verbs) {
    text += cat("  ", verb.name, std::string(10 - verb.name.size(), ' '), verb.summary, '\n');
  }
  text +=
      "\noptions:\n"
      "      --data-root DIR           where images are kept (default /var/lib/nacelle)\n"
      "      --insecure-registry HOST  talk to this registry without TLS, or without checking it\n"
      "      --registry-mirror URL     try this first for what docker.io has\n"
      "      --certs-dir DIR           authorities and client certificates, as "
      "/etc/docker/certs.d\n"
      "      --layer-form FORM         mount layers as directories (default) or erofs images\n"
      "  -v, --version                 print the version\n"
      "  -h, --help                    print this; `nacelle VERB --help` says more\n";
  std::fputs(text.c_str(), stdout);
}

// Options before the verb, and the verb with its own arguments.
struct CommandLine {
  image::ImagesOptions images;
  Arguments rest;
  bool version = false;
  bool help = false;
};

Result<CommandLine> parse_globals(int argc, char** argv) {
  CommandLine line;
  std::string layer_form = "directories";
  Options options("[OPTIONS] VERB ...", "");
  options.value("data-root", 0, line.images.data_root, "DIR", "")
      .list("insecure-registry", 0, line.images.registries.insecure_registries, "HOST", "")
      .list("registry-mirror", 0, line.images.registries.mirrors, "URL", "")
      .list("certs-dir", 0, line.images.registries.certificate_directories, "DIR", "")
      .value("layer-form", 0, layer_form, "FORM", "")
      .flag("version", 'v', line.version, "")
      .flag("help", 'h', line.help, "")
      .operands(0, any_number);
  int verb = 1;
  while (verb < argc && argv[verb][0] == '-') {
    // Those that take a value in the next argument; flags and `--name=value` stand alone.
    const std::string_view argument = argv[verb];
    const bool alone = argument.contains('=') || argument == "-v" || argument == "--version" ||
                       argument == "-h" || argument == "--help";
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
  if (layer_form == "erofs") line.images.layer_form = image::LayerForm::Erofs;
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
  if (line.help || line.rest.empty() || line.rest[0] == "help") {
    print_usage();
    return line.help || !line.rest.empty() ? 0 : exit_usage;
  }
  const std::string name = line.rest[0];
  for (const Verb& verb : verbs) {
    if (verb.name != name) continue;
    Session session(std::move(line.images));
    return verb.run(session, Arguments(line.rest.begin() + 1, line.rest.end()));
  }
  return misunderstood(cat("unknown verb '", name, "'; see nacelle --help"));
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
